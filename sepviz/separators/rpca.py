"""Robust PCA of each mixture: a matrix of low rank and a sparse one (Candes et al. 2011)."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from sepviz.core import Problem, Separator, Step, parameter
from sepviz.separators import learning

LARGEST = 1e7  # growth of mu, as in Lin et al.


@dataclass(frozen=True)
class Rpca(Separator):
    """``minimise |L|_* + sparsity / sqrt(max(H, W)) |S|_1`` with ``L + S = y``, for each channel.

    The alternating directions of Lin et al. 2010, with a multiplier Y and a growing weight mu:

        L <- singular values of (y - S + Y / mu) shrunk by 1 / mu
        S <- values of (y - L + Y / mu) shrunk by sparsity / (sqrt(max(H, W)) mu)
        Y <- Y + mu (y - L - S)

    The sources are S, the sparse one, and L. Digits are neither (Hoshen 2019, section 5).
    """

    iterations: int = parameter(40, "iterations", low=1, high=1000)
    sparsity: float = parameter(1.0, "weight of the sparse part, in units of 1 / sqrt(max(H, W))",
                                low=0.05, high=10, log=True)
    growth: float = parameter(1.2, "factor of mu from iteration to iteration", low=1, high=2)

    assumes = "one source sparse, the other alike in all mixtures"
    order = "set"

    def check(self, problem: Problem) -> None:
        super().check(problem)
        learning.check_pair(problem)

    def total_steps(self, problem: Problem) -> int:
        return self.iterations

    def steps(self, problem: Problem, rng: Generator, start: Step | None = None) -> Iterator[Step]:
        """Yield step 0 (all of it sparse), then every iteration."""
        self.check(problem)
        y = problem.mixtures / problem.mixing.weights[0]
        length = torch.linalg.matrix_norm(y, 2).amax(dim=1)[:, None, None, None].clamp_min(1e-6)
        weight = self.sparsity / max(y.shape[-2:]) ** 0.5

        def made(index: int, sparse: Tensor, low_rank: Tensor, multiplier: Tensor) -> Step:
            sources = torch.stack([sparse, low_rank], dim=1)
            info = {"evaluations": index, "residual": problem.residual(sources)}
            state = {"multiplier": multiplier.clone()}  # (B, C, H, W)
            return Step(index, f"iteration {index}", sources, state=state, info=info)

        if start is None:
            start = made(0, y, torch.zeros_like(y), torch.zeros_like(y))
            yield learning.copy_of(start)
        sparse, multiplier = start.sources[:, 0].clone(), learning.held(start, "multiplier").clone()
        for index in range(start.index + 1, self.iterations + 1):
            mu = 1.25 / length * min(self.growth ** (index - 1), LARGEST)
            rest = y - sparse + multiplier / mu
            left, values, right = torch.linalg.svd(rest, full_matrices=False)
            low_rank = (left * (values - 1 / mu[..., 0]).clamp_min(0)[..., None, :]) @ right
            sparse = shrunk(y - low_rank + multiplier / mu, weight / mu)
            multiplier = multiplier + mu * (y - low_rank - sparse)
            yield made(index, sparse, low_rank, multiplier)


def shrunk(values: Tensor, by: Tensor) -> Tensor:
    """Every value moved towards 0 by this much, and no further than 0."""
    return values.sign() * (values.abs() - by).clamp_min(0)
