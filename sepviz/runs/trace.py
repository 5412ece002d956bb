"""The steps of a run that were kept: recorded, looked at, saved, loaded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from sepviz import files, metrics, separators
from sepviz.core import (
    ORDERS,
    Mixing,
    Problem,
    Separator,
    SepvizError,
    Step,
    Truth,
    parameters_of,
    shown,
)
from sepviz.files.arrays import save_arrays
from sepviz.runs.recipe import Recipe
from sepviz.runs.recorder import LIMIT, Recorder
from sepviz.runs.run import Run, generator, in_full

FORMAT = 1  # of saved files; another number is refused
# What a file says of its run, as fields of `Trace`, and of which type each is.
SAID = {"method": str, "parameters": dict, "seed": int, "seconds": float, "interrupted": bool,
        "versions": dict, "changes": list, "order": str, "recipe": str}
FOUND = {"mixing": dict, "steps": list}  # what it says beside them
ARRAYS = {"mixtures": files.Field("B C H W", "f", np.float32),
          "visible": files.Field("H W", "b", optional=True)}


def record(separator: Separator, problem: Problem, *, seed: int = 0, every: int | None = None,
           start: Step | None = None, limit: int = LIMIT, progress: bool = True,
           recipe: Recipe | None = None) -> Trace:
    """Run a method and keep its steps.

    Parameters
    ----------
    separator : Separator
    problem : Problem
    seed : int
        Of the run's own generator, on the device of the mixtures.
    every : int, optional
        Keep every so-many-th step; by default so that about 200 are kept.
    start : Step, optional
        Go on from this step (a fork); the trace then begins with the step after it.
    limit : int
        Bytes of frames to hold; when passed, every second frame is dropped.
    progress : bool
        Show a progress bar.
    recipe : Recipe, optional
        Where the mixtures came from; the trace then stores the recipe of this run.

    Returns
    -------
    Trace
        The first and the last step are always kept, each with ``info["seconds"]``. Images of the
        steps between are rounded to float16. Ctrl-C (or Jupyter's stop button) ends the run and
        keeps what there is.

    Raises
    ------
    SepvizError
        If ``every`` or ``limit`` is not positive, or the method gave no step.
    """
    if every is not None and every < 1:
        raise SepvizError(f"every={every}: want 1 or more steps")
    if limit < 1:
        raise SepvizError(f"limit={limit}: want a positive number of bytes")
    text = "" if recipe is None else str(recipe.of(separator, seed))
    total = max(0, separator.total_steps(problem) - (start.index if start else 0))
    recorder = Recorder(every, limit) if every else Recorder.of(total, limit)
    method, interrupted = type(separator).__name__, False
    run = Run(separator, problem, generator(problem, seed), start)
    before = run.seconds
    with tqdm(total=total + (start is None), desc=method, unit="step", disable=not progress) as bar:
        try:
            for step in run:
                recorder.add(step)
                bar.set_postfix_str(step.stage, refresh=False)
                bar.update()
        except KeyboardInterrupt:
            if recorder.last is None:
                raise
            interrupted = True
    if recorder.last is None:
        why = (f" after step {start.index}: start from an earlier one" if start
               else ": its parameters ask for none")
        raise SepvizError(f"{method} gave no step{why}")
    trace = Trace.of(separator, problem, recorder.kept(), seed, run.seconds - before,
                     interrupted=interrupted, recipe=text)
    if interrupted:
        tqdm.write(f"{method} interrupted at step {trace.final.index}: {len(trace)} steps kept")
    return trace


@dataclass(frozen=True, eq=False, repr=False)
class Trace:
    """What was recorded of one run.

    ``trace[i]`` is the i-th kept step, in float32 on the problem's device; it can be the ``start``
    of another run. ``trace.steps`` holds the same steps as stored: on the CPU, images in float16
    (about three decimal digits) except in the last step, which is kept in float32.
    """

    problem: Problem
    steps: list[Step]
    method: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    seconds: float = 0.0
    interrupted: bool = False
    versions: dict[str, str] = field(default_factory=files.versions)
    # of parameters in mid-run: {"before_step": index, name: [old, new]}
    changes: list[dict[str, Any]] = field(default_factory=list)
    order: str = ""  # of the sources, a key of `sepviz.core.ORDERS`; empty: the method's
    recipe: str = ""  # the line that makes the run again; empty where it is not known

    def __post_init__(self):
        if not self.steps:
            raise SepvizError("a trace of no steps: record at least one")
        if not self.order:
            object.__setattr__(self, "order", separators.named(self.method).order)

    @classmethod
    def of(cls, separator: Separator, problem: Problem, steps: list[Step], seed: int,
           seconds: float, **more: Any) -> Trace:
        """The trace of a method's run; ``more`` are other fields."""
        return cls(problem, steps, type(separator).__name__, parameters_of(separator), seed,
                   seconds, **{"order": separator.order, **more})

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, i: int) -> Step:
        try:
            return in_full(self.steps[i], self.problem.mixtures.device)
        except IndexError:
            raise IndexError(f"step {i} of a trace of {len(self)} kept steps") from None

    def __iter__(self) -> Iterator[Step]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        batch, count = self.steps[-1].sources.shape[:2]
        state = ", interrupted" if self.interrupted else ""
        first, last = self.steps[0].index, self.steps[-1].index
        return (f"Trace({self.method}: {len(self)} steps kept, {first} to {last}; "
                f"{batch} mixtures of {count}; {self.seconds:.1f} s{state})")

    def step(self, i: int) -> Step:
        """The i-th kept step, to look at or to start from; the same as ``trace[i]``."""
        return self[i]

    @property
    def final(self) -> Step:
        """The last step."""
        return self[-1]

    @property
    def sources(self) -> Tensor:
        """The sources of the last step, (B, K, C, H, W)."""
        return self.final.sources

    @property
    def indices(self) -> np.ndarray:
        """The step number of every kept step."""
        return np.array([step.index for step in self.steps])

    def curve(self, name: str) -> np.ndarray:
        """One figure of ``Step.info`` over the kept steps; nan where a step does not have it."""
        names = sorted({key for step in self.steps for key in step.info})
        if name not in names:
            raise SepvizError(f"no curve {name!r}: this trace has {', '.join(names) or 'none'}")
        return np.array([step.info.get(name, float("nan")) for step in self.steps])

    def metric(self, truth: Truth, name: str = "psnr") -> Tensor:
        """``psnr`` or ``ssim`` of `sepviz.metrics` at every kept step: (steps, B)."""
        measures: dict[str, Any] = {"psnr": metrics.psnr, "ssim": metrics.ssim}
        if name not in measures:
            raise SepvizError(f"no metric {name!r} of a step: choose psnr or ssim")
        device = self.problem.mixtures.device
        true = truth.sources.to(device)
        bar = tqdm(self.steps, desc=name, delay=1, leave=False)
        return torch.stack([
            measures[name](step.sources.to(device, torch.float32), true,
                           weights=self.problem.mixing.weights, order=self.order,
                           medium=self.problem.medium)
            for step in bar])

    # --- files ---

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the trace to one ``.npz`` file, without pickle.

        Raises
        ------
        SepvizError
            If the file is there and ``overwrite`` is not set, it cannot be written, or the run
            diverged: `load` takes finite numbers only.
        """
        arrays = {"mixtures": self.problem.mixtures.detach().cpu().numpy()}
        mixing = self.problem.mixing
        if mixing.visible is not None:
            arrays["visible"] = mixing.visible.cpu().numpy()
        for i, step in enumerate(self.steps):
            files.check_finite(step.sources)
            arrays |= files.step_arrays(step, str(i))
        meta = {"sepviz trace": FORMAT, **{name: getattr(self, name) for name in SAID},
                "mixing": {"weights": mixing.weights, "filter_size": mixing.filter_size},
                "medium": self.problem.medium.name,
                "steps": [files.head_of(step) for step in self.steps]}
        return save_arrays(path, arrays, meta, overwrite)

    @classmethod
    def load(cls, path: str | Path) -> Trace:
        """Read what `save` wrote.

        Raises
        ------
        SepvizError
            If the file is missing, damaged, of another version, or not a trace.
        """
        path = Path(path)
        arrays, meta = files.open_file(path, "sepviz trace")
        if "sepviz trace" not in meta:
            raise SepvizError(f"{path} is not a sepviz trace: give a file that Trace.save wrote")
        said = files.facts(path, {"order": "", "recipe": "", **meta}, SAID | FOUND)
        stated, heads = said.pop("mixing"), said.pop("steps")
        weights = files.facts(path, stated, {"weights": list})["weights"]
        held = files.tensors(path, arrays, ARRAYS)
        medium, mixtures = files.medium_of(path, meta), held["mixtures"]
        with files.naming(path):
            mixing = Mixing(weights, stated.get("filter_size"), held.get("visible"))
            mixing.check_form(mixtures, medium)
        steps = [files.read_step(path, arrays, head, str(i)) for i, head in enumerate(heads)]
        _check_steps(path, steps, (len(mixtures), mixing.count, *mixtures.shape[1:]))
        for change in said["changes"]:
            pairs = isinstance(change, dict) and all(
                name == "before_step" or (isinstance(both, list) and len(both) == 2)
                for name, both in change.items())
            _check(path, "changes", said["changes"], pairs)
            files.facts(path, change, {"before_step": int})
        _check(path, "order", said["order"], said["order"] in ("", *ORDERS))
        with files.naming(path):
            return cls(Problem(mixtures, mixing, medium=medium), steps, **said)


def _check(path: Path, name: str, value: Any, good: bool) -> None:
    if not good:
        raise SepvizError(f"{path}: its meta says {name} {shown(value)}: the file is damaged, "
                          "save it again")


def _check_steps(path: Path, steps: list[Step], shape: tuple[int, ...]) -> None:
    """Refuse steps of other sources, or out of order."""
    before = -1
    for step in steps:
        if tuple(step.sources.shape) != shape:
            raise SepvizError(f"{path}: step {step.index} has sources of shape "
                              f"{tuple(step.sources.shape)}: want {shape}")
        if before >= step.index:
            raise SepvizError(f"{path}: step {step.index} comes after step {before}: "
                              "the file is damaged")
        before = step.index
