"""A training run: what it learns from, how far it is, and its file, for the same run alone."""

from __future__ import annotations

import io
import json
import math
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor

from sepviz import files
from sepviz.core import SepvizError

FORMAT = 2  # of checkpoints; another one is refused
SAVE_EVERY = 60.0  # seconds between two savings
LOOK_EVERY = 20  # iterations between two looks at the losses on a GPU, which has to be waited for
PARTS = {"format", "settings", "iteration", "elapsed", "rng", "parts"}


def check_images(images: Tensor, batch: int, held_out: Tensor | None = None) -> None:
    """Refuse what nothing can be learned from: not uint8 (N, C, H, W), too few, or all alike."""
    for what, some, least in (("training", images, batch), ("held-out", held_out, 1)):
        if some is not None and (some.ndim != 4 or some.dtype != torch.uint8 or len(some) < least):
            raise SepvizError(f"{what} images {tuple(some.shape)} {some.dtype}: want at least "
                              f"{least} uint8 images (N, C, H, W); take a larger set")
    if held_out is not None and held_out.shape[1:] != images.shape[1:]:
        raise SepvizError(f"held-out images of (C, H, W) = {tuple(held_out.shape[1:])}: "
                          f"the training images are {tuple(images.shape[1:])}")
    if bool((images == images[0, 0, 0, 0]).all()):
        raise SepvizError(f"training images are all of one value, {int(images[0, 0, 0, 0])}: "
                          "there is nothing to learn; take another set")
    if bool((images == images[:1]).all()):
        raise SepvizError(f"training images are {len(images)} times the same one: "
                          "there is nothing to learn; take another set")


def digest(*tensors: Tensor) -> str:
    """The first 16 digits of the sha256 of what tensors hold: tells images, or weights, apart."""
    return files.fingerprint(part for tensor in tensors
                             for part in (f"{tensor.dtype} {tuple(tensor.shape)}", tensor))


def described(images: Tensor) -> str:
    """A set of images as the settings of a run tell it."""
    size = "x".join(map(str, images.shape[1:]))
    return f"{len(images)} of {size}, digest {digest(images)}"


def is_finite(state: Any) -> bool:
    """Whether every number of every tensor in it is."""
    if isinstance(state, Tensor):
        return not state.is_floating_point() or bool(torch.isfinite(state).all())
    if isinstance(state, Mapping):
        state = list(state.values())
    return not isinstance(state, list | tuple) or all(map(is_finite, state))


def read(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """A checkpoint, whole.

    Raises
    ------
    SepvizError
        If it is damaged, no checkpoint, of another format, or holds numbers that are not finite.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # torch does not look at the sums of a zip file
            bitten = archive.testzip()
        state = None if bitten else torch.load(path, weights_only=True, map_location=device)
    except OSError as error:
        raise SepvizError(f"cannot read {path}: {error.strerror or error}") from None
    except Exception:  # torch raises whatever the damage makes of the file
        state = None
    if isinstance(state, dict) and "settings" in state and state.get("format") != FORMAT:
        raise SepvizError(f"{path} is a checkpoint of format {state.get('format', 1)}, "
                          f"this sepviz goes on from {FORMAT}: finish it with the sepviz that wrote it, "
                          "or remove it")
    whole = (isinstance(state, dict) and set(state) >= PARTS and isinstance(state["settings"], dict)
             and isinstance(state["parts"], dict) and isinstance(state["rng"], Tensor)
             and isinstance(state["iteration"], int) and isinstance(state["elapsed"], float)
             and state["iteration"] >= 0 and 0 <= state["elapsed"] < math.inf and is_finite(state))
    if state is None or not whole:
        raise SepvizError(f"{path} is damaged or no checkpoint: remove it, or choose another --out")
    return state


def take_up(path: Path, settings: dict[str, Any], device: torch.device) -> dict[str, Any] | None:
    """The state that `keep` wrote, None where there is none.

    Raises
    ------
    SepvizError
        If it is of a run with other settings; it says which.
    """
    if not path.exists():
        return None
    state = read(path, device)
    then, now = state["settings"], json.loads(json.dumps(settings))
    unlike = [name for name in now | then if then.get(name) != now.get(name)]
    if unlike:
        changes = ", ".join(f"{name} {then.get(name)} (here {now.get(name)})" for name in unlike)
        raise SepvizError(f"{path} is of a run with {changes}: give that command again, "
                          "remove the file, or choose another --out")
    return state


def keep(path: Path, settings: dict[str, Any], state: dict[str, Any]) -> None:
    """Write a run's state (``PARTS`` but the first two) over its earlier one."""
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, "settings": json.loads(json.dumps(settings)), **state}, buffer)
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write(path, lambda file: file.write(buffer.getbuffer()), overwrite=True)


def kept(path: Path) -> str:
    """What there is to go on from, for messages."""
    if not path.exists():
        return "nothing was kept"
    iteration = read(path)["iteration"]
    return f"{path} keeps the run up to iteration {iteration}; the same command goes on from there"


class Run:
    """The iterations of one training: counted, timed, kept once a minute, stopped where they diverge.

        with Run(checkpoint, settings, rng, prior=prior, optimizer=optimizer) as run:
            while run.iteration < iterations:
                run.begin()
                ...  # a step down the loss
                run.end(loss)

    Parameters
    ----------
    path : path
        The checkpoint; the run goes on from it if it is there.
    settings : dict
        All that decides how the training goes: images, seed, options.
        A checkpoint of others is refused.
    rng : Generator
    parts : modules and optimisers
        What the iterations change.
    """

    def __init__(self, path: str | Path, settings: dict[str, Any], rng: Generator, **parts: Any):
        self.path, self.rng, self.parts = Path(path), rng, parts
        self.settings = {**settings, "device": rng.device.type}
        self.iteration, self.elapsed = 0, 0.0  # that of earlier calls included
        self._losses: list[Tensor] = []  # not yet looked at
        self._seen, self._least, self._most = 0, math.inf, -math.inf  # of the losses that were
        self._told: list[str] = []
        state = take_up(self.path, self.settings, rng.device)
        if state is not None:
            try:
                for name, part in parts.items():
                    part.load_state_dict(state["parts"][name])
                rng.set_state(state["rng"].cpu())
            except (RuntimeError, KeyError, ValueError, TypeError, AttributeError):
                raise SepvizError(f"{path} is damaged: its settings are those of this run, "
                                  "and its weights do not fit: "
                                  "remove it, or choose another --out") from None
            self.iteration, self.elapsed = state["iteration"], state["elapsed"]
        self._drawn_from = rng.get_state()
        self._tick = self._saved = time.monotonic()

    def begin(self) -> None:
        """Before an iteration draws anything: one that is stopped half-way is done again."""
        self._drawn_from = self.rng.get_state()
        self._tick = time.monotonic()

    def end(self, *losses: Tensor) -> None:
        """After an iteration."""
        self.iteration += 1
        self._drawn_from = self.rng.get_state()
        self._losses.append(torch.stack([loss.detach() for loss in losses]))
        due = time.monotonic() - self._saved > SAVE_EVERY
        if due or self.rng.device.type == "cpu" or len(self._losses) >= LOOK_EVERY:
            self._look()
        if due:
            self._keep()
            self._saved = time.monotonic()
        self.elapsed += time.monotonic() - self._tick

    def _look(self) -> None:
        if not self._losses:
            return
        losses = torch.stack(self._losses).cpu()
        bad = (~torch.isfinite(losses)).any(dim=1)
        if bool(bad.any()):
            first = int(bad.nonzero()[0, 0])
            value = float(losses[first][~torch.isfinite(losses[first])][0])
            self._diverged(f"loss {value:g}", self.iteration - len(losses) + 1 + first)
        self._least = min(self._least, float(losses.min()))
        self._most = max(self._most, float(losses.max()))
        self._seen += len(losses)
        self._losses = []

    def _diverged(self, what: str, iteration: int) -> None:
        left = kept(self.path).partition(";")[0] if self.path.exists() else "no checkpoint was made"
        raise Diverged(f"{what} at iteration {iteration}: the training diverged, "
                       f"and no weights are written; {left}; look at the images, "
                       "or give another --seed and --out")

    def _keep(self) -> None:
        state = {name: part.state_dict() for name, part in self.parts.items()}
        if not is_finite(state):
            self._diverged("weights that are not finite", self.iteration)
        whole = {"parts": state, "rng": self._drawn_from, "iteration": self.iteration,
                 "elapsed": self.elapsed}
        files.patiently(lambda: keep(self.path, self.settings, whole), self._told)

    def __enter__(self) -> Run:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is Diverged:
            return
        if kind is None:
            self._look()
            if self._seen >= LOOK_EVERY and self._least == self._most:
                raise SepvizError(f"the loss stayed at {self._most:g} for {self._seen} iterations: "
                                  "nothing was learned, and no weights are written; look at the images, "
                                  "or give another --seed and --out")
        self._keep()


class Diverged(SepvizError):
    """A training that came to numbers that are not finite."""
