"""A mask network that was trained before: what `egg`, `remix` and their relatives leave behind, on new mixtures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Generator

from sepviz.core import Problem, Separator, Step
from sepviz.priors.mask import MaskNetwork
from sepviz.separators.learning import check_pair


@dataclass(frozen=True)
class Mask(Separator):
    """``b = y m(y)``, ``x = y - b`` in one pass (Halperin et al. 2019, equations 4 and 9); two sources of equal weight."""

    prior: MaskNetwork

    assumes = "two sources of equal weight that were mixed as in the mask's training"
    order = "set"  # one mask serves both orders of its two sources

    def check(self, problem: Problem) -> None:
        super().check(problem)
        check_pair(problem)
        self.prior.check(problem.mixtures)

    def total_steps(self, problem: Problem) -> int:
        return 0

    def steps(self, problem: Problem, rng: Generator, start: Step | None = None) -> Iterator[Step]:
        """Yield the only step."""
        self.check(problem)
        if start is None:
            sources = self.prior.take_apart(problem.mixtures, problem.mixing.weights[0])
            yield Step(0, "mask", sources, info={"evaluations": 1.0, "residual": problem.residual(sources)})
