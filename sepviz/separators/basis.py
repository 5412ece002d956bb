"""BASIS: noise-annealed Langevin dynamics on the sources (Jayaram & Thickstun 2020)."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor

from sepviz.core import Problem, ScoreModel, Separator, SepvizError, Step, parameter


@dataclass(frozen=True)
class Basis(Separator):
    """Algorithm 1 of the paper, with the sign of the data term corrected.

    At each of ``levels`` noise levels sigma, geometric from ``sigma_max`` to ``sigma_min``, repeat
    ``steps_per_level`` times, for all sources at once, from Uniform(0, 1),

        x_k <- x_k + eta (score(x_k, sigma) + a_k / gamma^2 (m - sum_j a_j x_j)) + sqrt(2 eta) noise

    with ``eta = delta sigma^2 / sigma_min^2`` and ``gamma^2 = gamma_ratio sigma^2``.

    The step is stable while ``c (1 + sum_k a_k^2 / gamma_ratio) < 2``, ``c = delta / sigma_min^2``;
    one that is not is refused. The noise of the last level limits PSNR to about 40 dB:
    ``denoise_last`` adds one Tweedie step.
    """

    prior: ScoreModel
    delta: float = parameter(2e-5, "step size at the last level", low=1e-6, high=1e-4, log=True)
    steps_per_level: int = parameter(100, "Langevin steps at each noise level", low=1, high=300)
    noise: bool = parameter(True, "fresh noise in each step; without it the ascent gets stuck")
    gamma_ratio: float = parameter(1.0, "gamma^2 / sigma^2: how loosely the mixture is held",
                                   low=0.1, high=4, log=True)
    levels: int = parameter(10, "number of noise levels", low=2, high=50)
    sigma_max: float = parameter(1.0, "first noise level", low=0.1, high=2, log=True,
                                 unit="pixel value")
    sigma_min: float = parameter(0.01, "last noise level", low=0.005, high=0.1, log=True,
                                 unit="pixel value")
    denoise_last: bool = parameter(False, "remove the noise of the last level at the end")

    assumes = "a score prior of clean images, independent sources, known weights"
    presets: ClassVar = {"paper": {"delta": 2e-5, "gamma_ratio": 1.0},
                         "program": {"delta": 3e-5, "gamma_ratio": 0.5}}

    def total_steps(self, problem: Problem) -> int:
        return self.levels * self.steps_per_level + self.denoise_last

    def sigmas(self) -> Tensor:
        """The noise levels, first to last."""
        first, last = math.log10(self.sigma_max), math.log10(self.sigma_min)
        return torch.logspace(first, last, self.levels, dtype=torch.float64)

    def check(self, problem: Problem) -> None:
        """Refuse a step that diverges; the curvature of the prior is at most 1."""
        super().check(problem)
        curvature = 1 + problem.mixing.energy / self.gamma_ratio
        growth = self.delta / self.sigma_min**2 * curvature
        if growth >= 2:
            raise SepvizError(f"delta {self.delta:g} diverges for K = {problem.mixing.count} "
                              f"(c * curvature = {growth:.2f}, must be below 2): take delta below "
                              f"{2 * self.sigma_min**2 / curvature:.2g}, or gamma_ratio above "
                              f"{self.gamma_ratio:g}")

    def steps(self, problem: Problem, rng: Generator, start: Step | None = None) -> Iterator[Step]:
        """Yield step 0 (uniform noise), then every Langevin step."""
        mixtures, mixing, *_ = problem
        self.check(problem)
        if start is None:
            batch, *image = mixtures.shape
            x = torch.rand((batch, mixing.count, *image), generator=rng, device=mixtures.device)
            info = {"sigma": self.sigma_max, "level": 0, "iteration": 0, "evaluations": 0,
                    "residual": problem.residual(x)}
            start = Step(0, "start: uniform noise", x, info=info)
            yield start.mapped(torch.clone)
        x, index, evaluations = start.sources, start.index, start.info["evaluations"]
        done = int(start.info["level"]), int(start.info["iteration"])
        sigmas = self.sigmas().tolist()
        for level, iteration in itertools.product(range(self.levels), range(self.steps_per_level)):
            if (level, iteration) < done:
                continue
            sigma = sigmas[level]
            eta = self.delta * sigma**2 / self.sigma_min**2
            gamma2 = self.gamma_ratio * sigma**2
            prior_force = eta * self.prior.score(x, sigma)
            data_force = eta / gamma2 * mixing.adjoint(mixtures - mixing.apply(x))
            noise = torch.zeros_like(x)
            if self.noise:
                noise = math.sqrt(2 * eta) * torch.randn(x.shape, generator=rng, device=x.device)
            x = x + prior_force + data_force + noise
            index, evaluations = index + 1, evaluations + 1
            info = {"sigma": sigma, "step_size": eta, "level": level, "iteration": iteration + 1,
                    "evaluations": evaluations, "residual": problem.residual(x)}
            forces = {"prior_force": prior_force, "data_force": data_force, "noise": noise}
            yield Step(index, f"sigma {sigma:.3g}", x.clone(), forces, info=info)
        if self.denoise_last and done[0] <= self.levels:
            prior_force, nothing = self.prior.denoise(x, self.sigma_min) - x, torch.zeros_like(x)
            x = x + prior_force
            info = {"sigma": self.sigma_min, "step_size": self.sigma_min**2,
                    "level": self.levels + 1, "iteration": 0, "evaluations": evaluations + 1,
                    "residual": problem.residual(x)}
            forces = {"prior_force": prior_force, "data_force": nothing, "noise": nothing}
            yield Step(index + 1, "last denoise", x.clone(), forces, info=info)
