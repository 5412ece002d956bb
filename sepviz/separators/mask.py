"""A trained mask network on new mixtures: what `egg`, `remix` and their relatives leave behind."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Generator

from sepviz.core import Problem, Separator, Step
from sepviz.priors.mask import MaskNetwork
from sepviz.separators.learning import check_pair


@dataclass(frozen=True)
class Mask(Separator):
    """``b = y m(y)``, ``x = y - b`` in one pass (Halperin et al. 2019, equations 4 and 9)."""

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
        self.check(problem)
        if start is None:
            sources = self.prior.take_apart(problem.mixtures, problem.mixing.weights[0])
            info = {"evaluations": 1.0, "residual": problem.residual(sources)}
            yield Step(0, "mask", sources, info=info)
