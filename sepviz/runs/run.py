"""The one place that follows a separator's steps: checks them, times them, and says where the randomness comes from."""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch
from torch import Generator, Tensor

from sepviz.core import Problem, Separator, SepvizError, Step

SEED_STRIDE = 1_000_003  # apart are the seeds of two chunks that follow each other


def chunk_seed(seed: int, index: int) -> int:
    """The seed of a chunk of mixtures; that of the first is the run's own."""
    return seed + index * SEED_STRIDE


def generator(problem: Problem, seed: int, state: Tensor | None = None) -> Generator:
    """A generator on the device of the mixtures, from a seed or as it was left."""
    rng = Generator(problem.mixtures.device).manual_seed(seed)
    if state is not None:
        rng.set_state(state.cpu())
    return rng


class Run(Iterator[Step]):
    """A separator's steps on a problem, each checked, with ``info["seconds"]``.

    Parameters
    ----------
    start : Step, optional
        The step to go on from, on any device, in any precision; the run then begins with the one after it.

    Attributes
    ----------
    step : Step or None
        The newest.
    seconds : float
        What the steps took so far, those before ``start`` included; without the time in between.

    Raises
    ------
    SepvizError
        If the method yields what is no step of this problem, or nothing but numbers that are not finite.
    """

    def __init__(self, separator: Separator, problem: Problem, rng: Generator, start: Step | None = None):
        self.problem = problem
        self.method = type(separator).__name__
        self.step = start
        self.seconds = 0.0 if start is None else float(start.info.get("seconds", 0.0))
        device = problem.mixtures.device
        self._steps = iter(separator.steps(problem, rng, None if start is None else in_full(start, device)))

    def __next__(self) -> Step:
        begun = time.perf_counter()
        step = next(self._steps)
        self._check(step)
        self.seconds += time.perf_counter() - begun
        self.step = step._replace(info={**step.info, "seconds": self.seconds})
        return self.step

    def last(self) -> Step:
        """Run to the end; the last step, and no other is kept."""
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
            raise SepvizError(f"step {step.index} has sources of shape {found}: this problem's are {want}")
        if not bool(torch.isfinite(step.sources).any()):
            raise SepvizError(f"step {step.index} has no finite pixel: the run diverged; take smaller steps")


def in_full(step: Step, device: torch.device | str = "cpu") -> Step:
    """The step in float32 on a device: what a method can start from."""
    return step.mapped(lambda tensor: tensor.detach().to(
        device, torch.float32 if tensor.is_floating_point() else tensor.dtype))
