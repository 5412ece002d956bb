"""Average: every source gets its least-squares share of the mixture. A strong baseline."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from sepviz.core import Problem, Separator, Step


@dataclass(frozen=True)
class Average(Separator):
    """``x_k = a_k m / sum_j a_j^2``, the shortest sources that meet the mixture."""

    assumes = "nothing: each source gets its least-squares share"

    def total_steps(self, problem: Problem) -> int:
        return 0

    def steps(self, problem: Problem, rng: Generator, start: Step | None = None) -> Iterator[Step]:
        self.check(problem)
        if start is None:
            info = {"residual": 0.0, "evaluations": 0.0}
            yield Step(0, "average", least_squares(problem), info=info)


def least_squares(problem: Problem) -> Tensor:
    """The shortest sources (B, K, C, H, W) that meet the mixtures."""
    batch, *image = problem.mixtures.shape
    nothing = torch.zeros((batch, problem.mixing.count, *image), device=problem.mixtures.device)
    return problem.mixing.condition(nothing, problem.mixtures)
