"""A CNN that was trained to take known noise off: what regression does where the disturbance is another one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch import Generator

from sepviz.core import Problem, Separator, SepvizError, Step
from sepviz.priors.cnn import CnnRegressor


@dataclass(frozen=True)
class Cnn(Separator):
    """``x = f(m / a)`` in one pass (Kong et al. 2019, section 4.1); of one source only, and blind to what was not seen."""

    prior: CnnRegressor

    assumes: ClassVar[str] = "one image; the disturbance it was trained on"
    handles: ClassVar[dict[str, bool]] = {"solves_filters": True, "fills_in": True}  # see `Mixing.check`; badly

    def check(self, problem: Problem) -> None:
        """Refuse more than one source."""
        if problem.mixing.count != 1:
            raise SepvizError(f"{problem.mixing.count} sources: a regression from one image to one "
                              "image; take nmf, synthesis or split-gibbs")
        super().check(problem)

    def total_steps(self, problem: Problem) -> int:
        """The number of steps after step 0."""
        return 0

    def steps(self, problem: Problem, rng: Generator, start: Step | None = None) -> Iterator[Step]:
        """Yield the one step there is; nothing from a start."""
        mixtures, mixing, *_ = problem
        self.check(problem)
        if start is None:
            sources = self.prior.regress(mixtures / mixing.weights[0])[:, None]
            yield Step(0, "regression", sources, info={"evaluations": 1.0, "residual": problem.residual(sources)})
