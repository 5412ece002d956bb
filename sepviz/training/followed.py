"""Follow a training to its end: saved, resumed, timed, watched, refused where it diverges."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from sepviz import files
from sepviz.core import Problem, Separator, SepvizError, Step, Truth
from sepviz.runs import Recorder, Run, Trace, generator
from sepviz.runs.recorder import MAX_FRAMES
from sepviz.training import checkpoint as store
from sepviz.training.loop import SHOWN, Diverged, NothingLearned, Training

SAVE_EVERY = 60.0  # seconds between two savings
WATCH_EVERY = 60.0  # seconds between two calls of ``watch``
Watch = Callable[[Trace, Truth | None], Any]


class Followed:
    """The steps of a training, or of a method that learns from mixtures, kept in a file.

    The newest step is saved once a minute, at the end, and when anything stops the run; the same
    run goes on from there, and ends at the same weights as one that was not stopped.

    Parameters
    ----------
    method : Training or Learner
    problem : Problem
        What the method is followed on.
    checkpoint : path
    seed : int
    settings : dict
        All that decides how the run goes, beside seed and device; a checkpoint of others is
        refused.
    truth : Truth, optional
        For ``watch``.
    watch : callable, optional
        Called with the trace so far and the truth of its mixtures: at first, once a minute, and at
        the end. What it raises is said, and does not end the run.

    Attributes
    ----------
    step : Step or None
        The newest; after the iteration, the last.
    """

    def __init__(self, method: Separator, problem: Problem, checkpoint: str | Path, seed: int,
                 settings: Mapping[str, Any], *, progress: bool = True, truth: Truth | None = None,
                 watch: Watch | None = None):
        self.method, self.problem, self.path, self.seed = method, problem, Path(checkpoint), seed
        self.progress, self.truth, self.watch = progress, truth, watch
        device = problem.mixtures.device
        self.settings = {**settings, "seed": seed, "device": device.type}
        self.rng = generator(problem, seed)
        self._newest: tuple[Step | None, Tensor] = None, self.rng.get_state()
        self._recorder = Recorder(max_frames=MAX_FRAMES)
        self._told: list[str] = []
        self._unwatched: list[str] = []
        state = store.take_up(self.path, self.settings, device)
        if state is not None:
            try:
                shown = [_step_of(part).mapped(Tensor.cpu) for part in state["parts"]["shown"]]
                step = _step_of(state["parts"]["step"])
                self.rng = generator(problem, seed, state["rng"])
            except (RuntimeError, KeyError, TypeError, AttributeError, ValueError):
                raise store.damaged(self.path) from None
            self._newest = step, self.rng.get_state()
            self._recorder = Recorder(max_frames=MAX_FRAMES, frames=shown)

    @property
    def step(self) -> Step | None:
        return self._newest[0]

    @property
    def minutes(self) -> float:
        """Time that the steps took, those of earlier calls included."""
        return 0.0 if self.step is None else float(self.step.info["seconds"]) / 60

    @property
    def frames(self) -> list[Step]:
        """What is shown of the steps so far, without their state."""
        return self._recorder.kept()

    @property
    def trace(self) -> Trace:
        """The steps so far, on the first `SHOWN` mixtures."""
        return Trace.of(self.method, _few(self.problem), self.frames, self.seed, 60 * self.minutes)

    @property
    def few(self) -> Truth | None:
        """The truth of the mixtures of `trace`."""
        return None if self.truth is None else Truth(self.truth.sources[:SHOWN]).to("cpu")

    def last(self) -> Step:
        """Follow to the end; the last step."""
        for _ in self:
            pass
        if self.step is None:
            raise SepvizError(f"{type(self.method).__name__} gave no step: "
                              "its parameters ask for none")
        return self.step

    def __iter__(self) -> Iterator[Step]:
        saved = watched = time.monotonic()
        begun_at = -1 if self.step is None else self.step.index
        name = type(self.method).__name__
        total, unit = self.method.total_steps(self.problem), "step"
        if isinstance(self.method, Training):
            name, (total, unit) = f"train {self.method.name}", self.method.length()
        try:
            with tqdm(total=total, initial=self._place(unit), unit=unit, desc=name,
                      disable=not self.progress) as bar:
                for step in Run(self.method, self.problem, self.rng, self.step):
                    _check(step)
                    self._newest = step, self.rng.get_state()
                    self._recorder.add(step._replace(sources=step.sources[:SHOWN], shown={},
                                                     results={}, state={}))
                    if step.index and time.monotonic() - saved > SAVE_EVERY:
                        self._save()
                        saved = time.monotonic()
                    if step.index == 0 or time.monotonic() - watched > WATCH_EVERY:
                        self._show()
                        watched = time.monotonic()
                    bar.set_postfix_str(_said(step), refresh=False)
                    bar.update(self._place(unit) - bar.n)
                    yield step
        except BaseException as error:
            fresh = self.step is not None and self.step.index > max(begun_at, 0)
            if sys.is_finalizing():  # left half-read; Python has no more to write with
                fresh = False
            if fresh and not isinstance(error, NothingLearned):  # else the next finds it done
                self._save()
                self._show()
            if isinstance(error, Diverged):
                left = store.kept(self.path) if self.path.exists() else "no checkpoint was made"
                raise Diverged(f"{error}: the training diverged, and no weights are "
                               f"written; {left}; look at the images, or take a smaller "
                               "learning_rate or another seed") from None
            raise
        if self.step is not None and self.step.index > begun_at:
            self._save()
        self._show()

    def _place(self, unit: str) -> int:
        """Where the bar stands."""
        if self.step is None:
            return 0
        return round(60 * self.minutes) if unit == "s" else self.step.index

    def _save(self) -> None:
        step, drawn_from = self._newest
        assert step is not None
        state = {"parts": {"step": _tuple_of(step),
                           "shown": [_tuple_of(frame) for frame in self._recorder.frames]},
                 "rng": drawn_from, "iteration": step.index, "elapsed": float(step.info["seconds"])}
        files.patiently(lambda: store.keep(self.path, self.settings, state), self._told)

    def _show(self) -> None:
        if self.watch is not None and self.step is not None:
            watch, trace = self.watch, self.trace
            files.patiently(lambda: watch(trace, self.few), self._unwatched)


def completed(training: Training, held_out: Tensor, checkpoint: str | Path, seed: int,
              progress: bool, watch: Watch | None) -> tuple[Step, Followed]:
    """Follow a training of a prior to its end, on held-out images (N, C, H, W) uint8.

    Returns
    -------
    Step, Followed
        The last step, and the run that came to it.
    """
    training.check_sets(held_out)
    problem, truth = training.view(held_out)
    run = Followed(training, problem, checkpoint, seed, training.settings(), progress=progress,
                   truth=truth, watch=watch)
    return run.last(), run


def _few(problem: Problem) -> Problem:
    """The first `SHOWN` mixtures, to be looked at."""
    return problem._replace(mixtures=problem.mixtures[:SHOWN], examples=None).to("cpu")


def _check(step: Step) -> None:
    if not (store.is_finite(step) and store.is_finite([torch.tensor(list(step.info.values()))])):
        raise Diverged(f"step {step.index} ({step.stage}) holds numbers that are not finite")


def _said(step: Step) -> str:
    """The newest step, for the bar."""
    losses = [f"{name.replace('_', ' ')} {value:.3g}"
              for name, value in step.info.items() if "loss" in name]
    return ", ".join([step.stage, *losses])


def _tuple_of(step: Step) -> tuple:
    """A step as torch writes it, of tuples and dictionaries alone."""
    return tuple(dict(part) if isinstance(part, Mapping) else part for part in step)


def _step_of(parts: Sequence[Any]) -> Step:
    """What `_tuple_of` made of a step, checked."""
    step = Step._make(parts)
    tensors = [step.sources, *step.shown.values(), *step.results.values(), *step.state.values()]
    if not (isinstance(step.index, int) and isinstance(step.stage, str)
            and all(isinstance(one, Tensor) for one in tensors)
            and isinstance(step.info["seconds"], float)):
        raise ValueError("no step")
    return step
