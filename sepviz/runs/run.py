"""The one place that follows a separator's steps: it checks and times them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from sepviz.core import Problem, Separator, SepvizError, Step

SEED_STRIDE = 1_000_003  # between the seeds of two chunks that follow each other


def chunk_seed(seed: int, index: int) -> int:
    """The seed of a chunk of mixtures; that of the first is the run's own."""
    return seed + index * SEED_STRIDE


def generator(problem: Problem, seed: int, state: Tensor | None = None) -> Generator:
    """A generator on the device of the mixtures, from a seed or from a saved state."""
    rng = Generator(problem.mixtures.device).manual_seed(seed)
    if state is not None:
        rng.set_state(state.cpu())
    return rng


class Run(Iterator[Step]):
    """A separator's steps on a problem, each checked, with ``info["seconds"]``.

    Parameters
    ----------
    start : Step, optional
        The step to go on from, on any device, in any precision; the run begins with the next one.

    Attributes
    ----------
    step : Step or None
        The newest.
    seconds : float
        What all steps took so far, those before ``start`` included, without the time in between.

    Raises
    ------
    SepvizError
        If the method yields no step of this problem, or a step without any finite number.
    """

    def __init__(self, separator: Separator, problem: Problem, rng: Generator,
                 start: Step | None = None):
        self.problem = problem
        self.method = type(separator).__name__
        self.step = start
        self.seconds = 0.0 if start is None else float(start.info.get("seconds", 0.0))
        start = None if start is None else in_full(start, problem.mixtures.device)
        self._steps = iter(separator.steps(problem, rng, start))

    def __next__(self) -> Step:
        begun = time.perf_counter()
        step = next(self._steps)
        self._check(step)
        self.seconds += time.perf_counter() - begun
        self.step = step._replace(info={**step.info, "seconds": self.seconds})
        return self.step

    def last(self) -> Step:
        """Run to the end, and keep the last step alone."""
        for _ in self:
            pass
        if self.step is None:
            raise SepvizError(f"{self.method} gave no step: its parameters ask for none")
        return self.step

    def _check(self, step: Step) -> None:
        if not isinstance(step, Step):
            raise SepvizError(f"{self.method} yields a {type(step).__name__}: want a Step")
        mixtures = self.problem.mixtures
        want = (len(mixtures), self.problem.mixing.count, *mixtures.shape[1:])
        found = tuple(getattr(step.sources, "shape", ()))
        if found != want:
            raise SepvizError(f"step {step.index} has sources of shape {found}: this problem's "
                              f"are {want}")
        # this waits for a GPU, so the time is true
        if not bool(torch.isfinite(step.sources).any()):
            raise SepvizError(f"step {step.index} has no finite "
                              f"{self.problem.medium.value}: the run diverged; take smaller steps")


class Found(NamedTuple):
    """What a method made of some mixtures, on the CPU in float32."""

    sources: Tensor  # (B, K, C, H, W)
    results: dict[str, Tensor]  # beside them: filters (B, K, h, w), ...
    evaluations: float  # of the prior, per source
    seconds: float  # that the steps took


def found_by(step: Step) -> Found:
    """The last step of a run as its result."""
    results = {name: value.detach().cpu().float() for name, value in step.results.items()}
    return Found(step.sources.detach().cpu().float(), results,
                 float(step.info.get("evaluations", 0.0)), float(step.info.get("seconds", 0.0)))


def separated(separator: Separator, problem: Problem, seed: int = 0) -> Found:
    """Take all mixtures of a problem apart at once, as one chunk."""
    return found_by(Run(separator, problem, generator(problem, seed)).last())


def in_full(step: Step, device: torch.device | str = "cpu") -> Step:
    """The step in float32 on a device, so that a method can start from it."""
    return step.mapped(lambda tensor: tensor.detach().to(
        device, torch.float32 if tensor.is_floating_point() else tensor.dtype))
