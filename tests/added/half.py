"""Half: every source is the same part of the mixture, and a little noise."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator

from sepviz.core import Problem, Separator, Step, parameter


@dataclass(frozen=True)
class Half(Separator):
    """``x_k = share m + 0.01 noise``."""

    share: float = parameter(0.5, "part of the mixture", low=0.0, high=1.0)

    assumes: ClassVar[str] = "nothing at all"

    def total_steps(self, problem: Problem) -> int:
        """The number of steps after step 0."""
        return 1

    def steps(self, problem: Problem, rng: Generator,
              start: Step | None = None) -> Iterator[Step]:
        """Yield the sources, twice."""
        self.check(problem)
        whole = problem.mixtures[:, None].repeat(1, problem.mixing.count, 1, 1, 1)
        for index in range(0 if start is None else start.index + 1, 2):
            noise = torch.randn(whole.shape, generator=rng, device=whole.device)
            sources = self.share * whole + 0.01 * noise
            info = {"evaluations": float(index), "residual": problem.residual(sources)}
            yield Step(index, "half", sources, info=info)
