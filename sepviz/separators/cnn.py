"""A CNN trained to remove known noise: regression, and what it does where the disturbance is another one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch import Generator

from sepviz.core import Problem, Separator, SepvizError, Step
from sepviz.priors.cnn import CnnRegressor


@dataclass(frozen=True)
class Cnn(Separator):
    """``x = f(m / a)`` in one pass (Kong et al. 2019, section 4.1), for one source; it ignores what is not seen."""

    prior: CnnRegressor

    assumes = "one image; the disturbance it was trained on"
    handles: ClassVar = {"solves_filters": True, "fills_in": True}  # see `Mixing.check`; badly

    def check(self, problem: Problem) -> None:
        if problem.mixing.count != 1:
            raise SepvizError(f"{problem.mixing.count} sources: a regression from one image to one image; "
                              "take nmf, synthesis or split-gibbs")
        super().check(problem)

    def total_steps(self, problem: Problem) -> int:
        return 0

    def steps(self, problem: Problem, rng: Generator, start: Step | None = None) -> Iterator[Step]:
        """Yield the only step."""
        self.check(problem)
        if start is None:
            sources = self.prior.regress(problem.mixtures / problem.mixing.weights[0])[:, None]
            yield Step(0, "regression", sources, info={"evaluations": 1.0, "residual": problem.residual(sources)})
