"""A CNN trained to remove known noise, on any disturbance."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch import Generator

from sepviz.core import Problem, Separator, SepvizError, Step
from sepviz.priors.cnn import CnnRegressor


@dataclass(frozen=True)
class Cnn(Separator):
    """``x = f(m / a)`` in one pass, for one source (Kong et al. 2019, section 4.1)."""

    prior: CnnRegressor

    assumes = "one image; the disturbance it was trained on"
    handles: ClassVar = {"solves_filters": True, "fills_in": True}  # see `Mixing.check`; badly

    def check(self, problem: Problem) -> None:
        if problem.mixing.count != 1:
            raise SepvizError(f"{problem.mixing.count} sources: a regression from one image to one "
                              "image; take nmf, synthesis or split-gibbs")
        super().check(problem)

    def total_steps(self, problem: Problem) -> int:
        return 0

    def steps(self, problem: Problem, rng: Generator, start: Step | None = None) -> Iterator[Step]:
        self.check(problem)
        if start is None:
            sources = self.prior.regress(problem.mixtures / problem.mixing.weights[0])[:, None]
            info = {"evaluations": 1.0, "residual": problem.residual(sources)}
            yield Step(0, "regression", sources, info=info)
