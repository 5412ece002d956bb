"""Record a stream of steps; look at it again, save it, load it, export it."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from sepviz import files
from sepviz.core import ORDERS, Mixing, Problem, Separator, SepvizError, Step, Truth, parameters_of, shown
from sepviz.runs.run import Run, generator, in_full

FORMAT = 1  # of saved files; another number is refused
MAX_FRAMES = 200  # that `record` keeps when it may choose
LIMIT = 256 * 2**20  # bytes of frames held in memory


# --- what is kept of a stream -------------------------------------------------------------------


def _compact(step: Step) -> Step:
    """The step on the CPU with its images (sources, and what has their shape) in float16.

    Other tensors (optimiser moments, latents) keep their type: float16 would round them to zero.
    """
    def kept(tensor: Tensor) -> Tensor:
        tensor = tensor.detach().cpu()
        if tensor.shape != step.sources.shape or not tensor.is_floating_point():
            return tensor
        fits = tensor.abs().nan_to_num(0).amax() <= torch.finfo(torch.float16).max
        return tensor.to(torch.float16 if fits else torch.float32)

    return step.mapped(kept)


def _size(step: Step) -> int:
    return sum(tensor.nbytes for tensor in (step.sources, *(value for _, value in step.tensors())))


class Recorder:
    """Keeps every ``every``-th step within a budget; thins to every second frame when it is passed.

    The first step is always kept, and so is the newest, which is held in full precision.
    """

    def __init__(self, every: int = 1, limit: int = LIMIT, max_frames: int | None = None, frames: list[Step] | None = None):
        self.stride = every
        self.limit = limit
        self.max_frames = max_frames
        self.frames = list(frames or [])
        self.bytes = sum(map(_size, self.frames))
        self.last: Step | None = self.frames[-1] if self.frames else None
        self._count = 0

    def add(self, step: Step) -> None:
        self.last = step
        if self._count % self.stride == 0:
            kept = _compact(step)
            self.frames.append(kept)
            self.bytes += _size(kept)
            while len(self.frames) > 1 and (self.bytes > self.limit or (self.max_frames and len(self.frames) > self.max_frames)):
                self.frames = self.frames[::2]
                self.stride *= 2
                self.bytes = sum(map(_size, self.frames))
        self._count += 1

    def kept(self) -> list[Step]:
        """What is kept, the newest step in float32 at the end."""
        if self.last is None:
            return []
        return [step for step in self.frames if step.index != self.last.index] + [in_full(self.last)]


def record(separator: Separator, problem: Problem, *, seed: int = 0, every: int | None = None, start: Step | None = None,
           limit: int = LIMIT, progress: bool = True) -> Trace:
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

    Returns
    -------
    Trace
        The first and the last step are always kept, each with ``info["seconds"]``. Images of the steps between are rounded to
        float16. Ctrl-C (or Jupyter's stop button) ends the run and keeps what there is.

    Raises
    ------
    SepvizError
        If ``every`` or ``limit`` is not positive, or the method gave no step.
    """
    if every is not None and every < 1:
        raise SepvizError(f"every={every}: want 1 or more steps")
    if limit < 1:
        raise SepvizError(f"limit={limit}: want a positive number of bytes")
    total = max(0, separator.total_steps(problem) - (start.index if start else 0))
    chosen = every or max(1, -(-total // MAX_FRAMES))
    recorder = Recorder(chosen, limit, MAX_FRAMES + 1 if every is None else None)
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
        after = f" after step {start.index}: start from an earlier one" if start else ": its parameters ask for none"
        raise SepvizError(f"{method} gave no step{after}")
    trace = Trace(problem, recorder.kept(), method, parameters_of(separator), seed, run.seconds - before, interrupted,
                  order=separator.order)
    if interrupted:
        tqdm.write(f"{method} interrupted at step {trace.final.index}: {len(trace)} steps kept")
    return trace


# --- the trace ----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, repr=False)
class Trace:
    """What was recorded of one run.

    ``trace[i]`` is the i-th kept step, in float32 on the problem's device; it can be the ``start`` of
    another run. ``trace.steps`` holds the same steps as stored: on the CPU, images in float16 (about
    three decimal digits) except in the last step, which is kept in float32.
    """

    problem: Problem
    steps: list[Step]
    method: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    seconds: float = 0.0
    interrupted: bool = False
    versions: dict[str, str] = field(default_factory=files.versions)
    changes: list[dict[str, Any]] = field(default_factory=list)  # of parameters in mid-run: {"before_step": index, name: [old, new]}
    order: str = ""  # of the sources, a key of `sepviz.core.ORDERS`; left out: the method's

    def __post_init__(self):
        if not self.steps:
            raise SepvizError("a trace of no steps: record at least one")
        if not self.order:
            from sepviz import separators

            object.__setattr__(self, "order", separators.named(self.method).order)

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
        return (f"Trace({self.method}: {len(self)} steps kept, {self.steps[0].index} to {self.steps[-1].index}; "
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
        from sepviz import metrics

        if name not in ("psnr", "ssim"):
            raise SepvizError(f"no metric {name!r} of a step: choose psnr or ssim")
        measure = getattr(metrics, name)
        rules = {"weights": self.problem.mixing.weights, "order": self.order,
                 "medium": self.problem.medium}
        device = self.problem.mixtures.device
        sources = truth.sources.to(device)
        bar = tqdm(self.steps, desc=name, delay=1, leave=False)
        return torch.stack([measure(step.sources.to(device, torch.float32), sources, **rules)
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
        for step in self.steps:
            files.check_finite(step.sources)
        mixing = {"weights": self.problem.mixing.weights, "filter_size": self.problem.mixing.filter_size}
        visible = self.problem.mixing.visible
        steps = [files.head_of(step) for step in self.steps]
        meta = {"sepviz trace": FORMAT, "mixing": mixing, "method": self.method, "parameters": self.parameters, "seed": self.seed,
                "seconds": self.seconds, "interrupted": self.interrupted, "versions": self.versions, "changes": self.changes,
                "order": self.order, "medium": self.problem.medium.name, "steps": steps}

        def arrays() -> Iterator[tuple[str, np.ndarray]]:
            yield "meta", np.array(files.to_json(meta))
            yield "mixtures", self.problem.mixtures.detach().cpu().numpy()
            if visible is not None:
                yield "visible", visible.cpu().numpy()
            for i, step in enumerate(self.steps):
                yield f"{i}/sources", step.sources.numpy()
                for name, value in step.tensors():
                    yield f"{i}/{name}", value.numpy()

        def write(file: BinaryIO) -> None:
            total = 2 + sum(1 + len(list(step.tensors())) for step in self.steps)
            with zipfile.ZipFile(file, "w") as archive:
                for name, array in tqdm(arrays(), desc="saving", total=total, delay=1, leave=False):
                    with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                        np.lib.format.write_array(entry, array, allow_pickle=False)

        return files.write(path, write, overwrite)

    @classmethod
    def load(cls, path: str | Path) -> Trace:
        """Read what `save` wrote.

        Raises
        ------
        SepvizError
            If the file is missing, damaged, of another version, or not a trace.
        """
        path = Path(path)
        arrays = files.read(path)
        meta = files.read_meta(path, arrays, "sepviz trace")
        if "sepviz trace" not in meta:
            raise SepvizError(f"{path} is not a sepviz trace: give a file that Trace.save wrote")
        stated = files.field(path, meta, "mixing", dict)
        visible = None
        if "visible" in arrays:
            visible = files.tensor(path, arrays, "visible", ("H", "W"), kinds="b")
        weights: Any = files.field(path, stated, "weights", list)
        mixing = Mixing(weights, stated.get("filter_size"), visible)
        mixtures = files.tensor(path, arrays, "mixtures", ("B", "C", "H", "W"), kinds="f").float()
        medium = files.medium_of(path, meta)
        mixing.check_form(mixtures, medium)
        heads = files.field(path, meta, "steps", list)
        steps = [files.read_step(path, arrays, head, str(i)) for i, head in enumerate(heads)]
        shape = (len(mixtures), mixing.count, *mixtures.shape[1:])
        for before, step in zip([None, *steps], steps, strict=False):
            if tuple(step.sources.shape) != shape:
                raise SepvizError(f"{path}: step {step.index} has sources of shape "
                                  f"{tuple(step.sources.shape)}: want {shape}")
            if before is not None and before.index >= step.index:
                raise SepvizError(f"{path}: step {step.index} comes after step {before.index}: "
                                  "the file is damaged")
        changes = files.field(path, meta, "changes", list)
        for change in changes:
            if not isinstance(change, dict) or not all(
                    name == "before_step" or (isinstance(both, list) and len(both) == 2)
                    for name, both in change.items()):
                raise SepvizError(f"{path}: its meta says changes {shown(changes)}: the file is "
                                  "damaged, save it again")
            files.field(path, change, "before_step", int)
        kinds = {"method": str, "parameters": dict, "seed": int, "seconds": float,
                 "interrupted": bool, "versions": dict}
        told = {name: files.field(path, meta, name, kind) for name, kind in kinds.items()}
        order = meta.get("order", "")  # left out by version 0.1.0
        if order not in ("", *ORDERS):
            raise SepvizError(f"{path}: its meta says order {shown(order)}: the file is damaged, "
                              "save it again")
        return cls(Problem(mixtures, mixing, medium=medium), steps, **told, changes=changes, order=order)
