"""Average: every source gets its least-squares share of the mixture. No prior, no steps, a strong baseline."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator

from sepviz.core import Problem, Separator, Step


@dataclass(frozen=True)
class Average(Separator):
    """``x_k = a_k m / sum_j a_j^2``: the shortest sources that meet the mixture; m/2 each for a sum of two."""

    assumes: ClassVar[str] = "nothing: each source gets its least-squares share"

    def total_steps(self, problem: Problem) -> int:
        """The number of steps after step 0."""
        return 0

    def steps(self, problem: Problem, rng: Generator, start: Step | None = None) -> Iterator[Step]:
        """Yield the one step there is; nothing from a start."""
        self.check(problem)
        if start is None:
            batch, *image = problem.mixtures.shape
            nothing = torch.zeros((batch, problem.mixing.count, *image), device=problem.mixtures.device)
            sources = problem.mixing.condition(nothing, problem.mixtures)
            yield Step(0, "average", sources, info={"residual": 0.0, "evaluations": 0.0})
