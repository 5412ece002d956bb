"""Result files: what a run gave, what a stopped run had, and how a step is stored."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sepviz.core import GROUPS, NOTHING, SepvizError, Step
from sepviz.files.arrays import Field, facts, open_file, save_arrays, tensors, to_numpy

SOURCES = Field("B K C H W", "f")
RESULTS = {"filters": Field("B K h w"), "start_error": Field("B ...", finite=False)}
OTHER = Field("B ...")  # results of other names
STEP = {"index": "index", "stage": str, "info": dict}
LAYERS = Field("B K C H W", finite=False)
STATE = Field(finite=False, empty=True)

# Version 0.1 stored all tensors of a step in one group, "extras"; those not named here are state.
OLD_GROUPS = {"prior_force": "shown", "data_force": "shown", "noise": "shown",
              "filters": "results", "start_error": "results", "answer_loss": "results"}


class Separation(NamedTuple):
    """What a run gave, as read from a file."""

    sources: Tensor  # (B, K, C, H, W)
    meta: dict[str, Any]
    results: Mapping[str, Tensor] = NOTHING  # of the last step: filters (B, K, h, w), ...


class Partial(NamedTuple):
    """A run that was stopped: the mixtures that are done, and the newest step of the next ones."""

    done: Tensor  # (n, K, C, H, W), n may be 0
    step: Step | None
    rng_state: Tensor | None  # of the generator, after that step
    meta: dict[str, Any]
    results: Mapping[str, Tensor] = NOTHING  # of the mixtures that are done


def check_finite(sources: Tensor, first: int = 0) -> None:
    """Refuse sources (B, K, C, H, W) of a run that diverged; mixtures count from ``first``."""
    bad = ~torch.isfinite(sources)
    if bool(bad.any()):
        item = first + int(bad.nonzero()[0, 0])
        raise SepvizError(f"sources of mixture {item} hold {float(sources[bad][0])}: the run "
                          "diverged; take smaller steps or another preset, prior or method")


def result_table(names: Iterable[str], **changes: Any) -> dict[str, Field]:
    """The fields of the results of these names, with some properties changed."""
    return {name: RESULTS.get(name, OTHER)._replace(**changes) for name in names}


def head_of(step: Step) -> dict[str, Any]:
    """The part of a step that goes into a file's JSON object."""
    return {"index": step.index, "stage": step.stage,
            "info": {name: float(value) for name, value in step.info.items()},
            **{group: list(getattr(step, group)) for group in GROUPS}}


def step_arrays(step: Step, where: str) -> dict[str, np.ndarray]:
    """The arrays of a step, by their names in a file."""
    held = {"sources": step.sources, **dict(step.tensors())}
    return {f"{where}/{name}": value.detach().cpu().numpy() for name, value in held.items()}


def read_step(path: Path, arrays: Mapping[str, np.ndarray], head: Any, where: str) -> Step:
    """The step that `head_of` and `step_arrays` stored."""
    head = facts(path, {"step": head}, {"step": dict})["step"]
    old = "extras" in head
    names: dict[str, list[str]] = {group: [] for group in GROUPS}
    told = facts(path, head, dict.fromkeys(["extras"] if old else GROUPS, "names") | STEP)
    for name in told.get("extras", ()):
        names[OLD_GROUPS.get(name, "state")].append(name)
    names |= {group: told[group] for group in GROUPS if group in told}
    sizes: dict[str, int] = {}
    sources = tensors(path, arrays, {"sources": SOURCES}, sizes, f"{where}/")["sources"]
    tables = {"shown": dict.fromkeys(names["shown"], LAYERS),
              "results": result_table(names["results"], finite=False),
              "state": dict.fromkeys(names["state"], STATE)}
    groups = {group: tensors(path, arrays, table, sizes, f"{where}/{'extras' if old else group}/")
              for group, table in tables.items()}
    info = facts(path, told["info"], dict.fromkeys(told["info"], "figure"))
    return Step(told["index"], told["stage"], sources, **groups,
                info={name: math.nan if value is None else value for name, value in info.items()})


def save_separation(path: str | Path, sources: Tensor, meta: Mapping[str, Any],
                    results: Mapping[str, Tensor] = NOTHING, *, overwrite: bool = False) -> Path:
    """Write separated sources (B, K, C, H, W), other results and how they were found to a .npz.

    Raises
    ------
    SepvizError
        If a source is not finite: the run diverged, and there is no result.
    """
    check_finite(sources)
    found = {name: to_numpy(result) for name, result in results.items()}
    return save_arrays(path, {"sources": to_numpy(sources), **found},
                       {"kind": "separation", "extras": sorted(found), **meta}, overwrite)


def load_separation(path: str | Path) -> Separation:
    """Read what `save_separation` wrote."""
    path = Path(path)
    arrays, meta = open_file(path)
    if meta.get("kind") == "partial":
        raise SepvizError(f"{path} is of a run that was stopped: "
                          "give its sepviz separate command again to finish it")
    if "mixtures" in arrays:  # its sources are the truth: as a result, they would be perfect
        raise SepvizError(f"{path} is a problem, not a result: give what sepviz separate wrote")
    if "sources" not in arrays:
        raise SepvizError(f"{path} holds {', '.join(arrays) or 'nothing'} and no array sources: "
                          "give what sepviz separate wrote")
    names = facts(path, {"extras": [], **meta}, {"extras": "names"})["extras"]
    table = {"sources": SOURCES._replace(kinds="fiub"), **result_table(names)}
    found = tensors(path, arrays, {name: field._replace(dtype=np.float32)
                                   for name, field in table.items()})
    return Separation(found.pop("sources"), meta, found)


def save_partial(path: str | Path, partial: Partial) -> Path:
    """Write a stopped run over its earlier state; without its last step, if that diverged."""
    arrays = {"done": to_numpy(partial.done)}
    arrays |= {f"done/{name}": to_numpy(result) for name, result in partial.results.items()}
    step, head = partial.step, None
    if (step is not None and partial.rng_state is not None
            and bool(torch.isfinite(step.sources).all())):
        head = head_of(step)
        arrays |= step_arrays(step, "step") | {"step/rng": partial.rng_state.cpu().numpy()}
    meta = {"kind": "partial", "step": head, "run": partial.meta,
            "extras": sorted(partial.results)}
    return save_arrays(path, arrays, meta, overwrite=True)


def load_partial(path: str | Path) -> Partial:
    """Read what `save_partial` wrote."""
    path = Path(path)
    arrays, meta = open_file(path)
    if meta.get("kind") != "partial":
        raise SepvizError(f"{path} is not the partial result of a stopped run: move it away, or "
                          "write the result under another name")
    told = facts(path, meta, {"extras": "names", "run": dict})
    sizes: dict[str, int] = {}
    done = tensors(path, arrays, {"done": SOURCES._replace(empty=True)}, sizes)["done"]
    results = tensors(path, arrays, result_table(told["extras"], empty=True), sizes, "done/")
    step, rng_state = None, None
    if meta.get("step") is not None:
        step = read_step(path, arrays, meta["step"], "step")
        rng_state = tensors(path, arrays, {"rng": Field("N", "u")}, {}, "step/")["rng"]
    return Partial(done, step, rng_state, told["run"], results)
