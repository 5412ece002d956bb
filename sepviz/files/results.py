"""Result files: what a run gave, what a stopped run had, and how a step is written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sepviz.core import GROUPS, NOTHING, SepvizError, Step, shown
from sepviz.files.arrays import IMAGES, field, floats, names, read, read_meta, save_arrays, tensor, to_numpy

# Version 0.1 wrote all of a step's tensors in one group; by their names they belong to these.
OLD_GROUPS = {"shown": ("prior_force", "data_force", "noise"), "results": ("filters", "start_error", "answer_loss")}


class Separation(NamedTuple):
    """What a run gave, as read from a file."""

    sources: Tensor  # (B, K, C, H, W)
    meta: dict[str, Any]
    results: Mapping[str, Tensor] = NOTHING  # of the last step: filters (B, K, h, w), ...


class Partial(NamedTuple):
    """A run that was stopped: the mixtures that are done, and how far the next ones had come."""

    done: Tensor  # (n, K, C, H, W), n may be 0
    step: Step | None
    rng_state: Tensor | None  # of the generator, after that step
    meta: dict[str, Any]
    results: Mapping[str, Tensor] = NOTHING  # of the mixtures that are done


def check_finite(sources: Tensor, first: int = 0) -> None:
    """Refuse sources (B, K, C, H, W) of a run that diverged; mixtures are numbered from ``first``."""
    bad = ~torch.isfinite(sources)
    if bool(bad.any()):
        item = first + int(bad.nonzero()[0, 0])
        raise SepvizError(f"sources of mixture {item} hold {float(sources[bad][0])}: "
                          "the run diverged; take smaller steps (--set) or another --preset, prior or method")


def save_separation(path: str | Path, sources: Tensor, meta: Mapping[str, Any], results: Mapping[str, Tensor] = NOTHING, *,
                    overwrite: bool = False) -> Path:
    """Write separated sources (B, K, C, H, W), what else was found (filters, ...) and how, in a .npz.

    Raises
    ------
    SepvizError
        If a source is not finite: then the run diverged, and there is no result.
    """
    check_finite(sources)
    found = {name: to_numpy(extra) for name, extra in results.items()}
    return save_arrays(path, {"sources": to_numpy(sources), **found}, {"kind": "separation", "extras": sorted(found), **meta}, overwrite)


def save_partial(path: str | Path, partial: Partial) -> Path:
    """Write a stopped run over its earlier state; without its last step, if that diverged."""
    arrays = {"done": to_numpy(partial.done)} | {f"done/{name}": to_numpy(extra) for name, extra in partial.results.items()}
    head = None
    step = partial.step
    if (step is not None and partial.rng_state is not None
            and bool(torch.isfinite(step.sources).all())):
        arrays |= step_arrays(step, "step") | {"step/rng": partial.rng_state.cpu().numpy()}
        head = head_of(step)
    meta = {"kind": "partial", "step": head, "run": partial.meta, "extras": sorted(partial.results)}
    return save_arrays(path, arrays, meta, overwrite=True)


def load_separation(path: str | Path) -> Separation:
    """The sources that `save_separation` wrote, and how they came about."""
    path = Path(path)
    arrays = read(path)
    meta = read_meta(path, arrays)
    if meta.get("kind") == "partial":
        raise SepvizError(f"{path} is of a run that was stopped: give its sepviz separate command again to finish it")
    if "mixtures" in arrays:  # whose sources are the truth: scored as a result, they would be perfect
        raise SepvizError(f"{path} is a problem, not a result: give what sepviz separate wrote")
    if "sources" not in arrays:
        raise SepvizError(f"{path} holds no array sources (it holds {', '.join(arrays) or 'nothing'}): give what sepviz separate wrote")
    sources = floats(path, arrays, "sources", IMAGES)
    extras = {name: tensor(path, arrays, name, finite=name != "start_error").float()
              for name in (names(path, meta, "extras") if "extras" in meta else [])}
    check_results(path, extras, sources)
    return Separation(sources, meta, extras)


def check_results(path: Path, results: Mapping[str, Tensor], sources: Tensor) -> None:
    """Refuse results that do not fit the sources that they were found beside."""
    batch, count = sources.shape[:2]
    for name, found in results.items():
        shape = tuple(found.shape)
        fits = shape[:1] == (batch,)
        if name == "filters":
            fits = len(shape) == 4 and shape[:2] == (batch, count) and all(side % 2 for side in shape[2:])
        _fit(path, name, found, sources, fits)


def _fit(path: Path, name: str, found: Tensor, sources: Tensor, fits: bool) -> None:
    if not fits:
        raise SepvizError(f"{path}: {name} of shape {tuple(found.shape)} beside sources of shape "
                          f"{tuple(sources.shape)}: they do not fit")


def head_of(step: Step) -> dict[str, Any]:
    """What a file says of a step besides its tensors."""
    return {"index": step.index, "stage": step.stage, "info": {name: float(value) for name, value in step.info.items()},
            **{group: list(getattr(step, group)) for group in GROUPS}}


def step_arrays(step: Step, where: str) -> dict[str, np.ndarray]:
    """The tensors of a step as a file holds them; the other half is `head_of`."""
    tensors = {"sources": step.sources, **dict(step.tensors())}
    return {f"{where}/{name}": value.detach().cpu().numpy() for name, value in tensors.items()}


def read_step(path: Path, arrays: Mapping[str, np.ndarray], head: Any, where: str) -> Step:
    """One step of a run: arrays ``where/sources``, ``where/GROUP/NAME``, the rest in ``head``."""
    if not isinstance(head, dict):
        raise SepvizError(f"{path}: its meta says step {shown(head)}: the file is damaged, save "
                          "it again with sepviz")
    sources = tensor(path, arrays, f"{where}/sources", IMAGES, kinds="f")
    groups: dict[str, dict[str, Tensor]] = {group: {} for group in GROUPS}
    if "extras" in head:
        homes = {name: group for group, known in OLD_GROUPS.items() for name in known}
        for name in names(path, head, "extras"):
            groups[homes.get(name, "state")][name] = tensor(path, arrays, f"{where}/extras/{name}", finite=False)
    else:
        groups = {group: {name: tensor(path, arrays, f"{where}/{group}/{name}", finite=False)
                          for name in names(path, head, group)} for group in GROUPS}
    for name, layer in groups["shown"].items():
        _fit(path, name, layer, sources, layer.shape == sources.shape)
    check_results(path, groups["results"], sources)
    if field(path, head, "index", int) < 0:
        raise SepvizError(f"{path}: its meta says step {head['index']}: the file is damaged, save "
                          "it again with sepviz")
    info = field(path, head, "info", dict)
    values = {name: field(path, info, name, float, finite=False) for name in info}
    return Step(head["index"], field(path, head, "stage", str), sources, **groups, info=values)


def load_partial(path: str | Path) -> Partial:
    """The stopped run that `save_partial` wrote."""
    path = Path(path)
    arrays = read(path)
    meta = read_meta(path, arrays)
    if meta.get("kind") != "partial":
        raise SepvizError(f"{path} is not the partial result of a stopped run: move it away, or "
                          "choose another --out")
    done, step, rng_state = tensor(path, arrays, "done", IMAGES, kinds="f"), None, None
    if meta.get("step") is not None:
        step = read_step(path, arrays, meta["step"], "step")
        rng_state = tensor(path, arrays, "step/rng", ("bytes",), kinds="u")
    extras = {name: tensor(path, arrays, f"done/{name}", finite=name != "start_error")
              for name in names(path, meta, "extras")}
    check_results(path, extras, done)
    return Partial(done, step, rng_state, field(path, meta, "run", dict), extras)
