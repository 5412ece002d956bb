"""The same share of every pixel to each source: where `egg` starts, and what it must beat."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from sepviz.core import Problem, Separator, Step, parameter
from sepviz.separators.learning import check_pair


@dataclass(frozen=True)
class Constant(Separator):
    """``x = share y``, ``b = (1 - share) y`` for mixtures y (Halperin et al. 2019)."""

    share: float = parameter(0.5, "the first source's share of every pixel", low=0, high=1)

    assumes = "nothing: a constant share of every pixel"
    order = "fixed"

    def check(self, problem: Problem) -> None:
        super().check(problem)
        check_pair(problem)

    def total_steps(self, problem: Problem) -> int:
        return 0

    def steps(self, problem: Problem, rng: Generator, start: Step | None = None) -> Iterator[Step]:
        self.check(problem)
        if start is None:
            sources = shared_out(problem.mixtures / problem.mixing.weights[0], self.share)
            info = {"evaluations": 0.0, "residual": problem.residual(sources)}
            yield Step(0, "constant share", sources, info=info)


def shared_out(mixtures: Tensor, share: float = 0.5) -> Tensor:
    """Mixtures (B, C, H, W) -> (B, 2, C, H, W): ``share`` of every pixel, and the rest."""
    return torch.stack([share * mixtures, (1 - share) * mixtures], dim=1)


def in_proportion(mixtures: Tensor, images: Tensor) -> Tensor:
    """Mixtures (B, C, H, W) shared out in proportion to positive images (B, K, C, H, W)."""
    return mixtures[:, None] * images / images.sum(dim=1, keepdim=True)
