"""Split-Gibbs: denoise every source, meet the mixture exactly, add fresh noise, ever less of it."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor

from sepviz.core import PICTURE, Medium, Problem, ScoreModel, Separator, Step, parameter
from sepviz.separators.average import least_squares
from sepviz.separators.choice import JUDGES, consensus, prior_loss

LEAST_NOISE = 0.01  # the last noise level of a prior draw, as a share of its first


@dataclass(frozen=True)
class SplitGibbs(Separator):
    """An annealed Gibbs sampler on the sources x and noisy copies z of them.

    At each of ``levels`` noise levels, geometric from ``sigma_max`` to ``sigma_min``, repeat
    ``sweeps`` times

        z_k <- x_k + sigma noise               z given x: without fresh noise the run gets stuck
        d_k <- E[x_k | z_k] = D(z_k, sigma)    x given z: the prior, N(d_k, v_k) for each pixel
        x_k <- d_k + v_k a_k (m - sum_j a_j d_j) / sum_j a_j^2 v_j    and given m, in closed form

    Every step ends on the mixture exactly, for any K and any weights, and no step size can diverge.
    v is the prior's uncertainty of each pixel: the residual goes to the source that is least
    certain. The prior's step takes the posterior mean where an exact Gibbs sampler takes a draw,
    which favours the modes (DiffPIR, Zhu et al. 2023, is similar; Vono et al. 2019 is exact);
    ``draws`` > 1 takes a draw, in that many steps down to no noise.

    The answer of a cycle is the mean of its sweeps with sigma at most ``sigma_average``: each of
    them is E[x | z, m] for its own z, so this is the Rao-Blackwell estimate of the posterior mean
    (Gelfand & Smith 1990). A chain often ends in a mode that is not the best, so it is heated to
    ``sigma_return`` and cooled again, ``cycles`` times in all (Zhang et al. 2020), and ``chains``
    may run side by side. The last step is the consensus of all answers: the one that the prior
    finds likeliest, averaged with those of the same mode, each by its probability.
    """

    prior: ScoreModel
    levels: int = parameter(14, "number of noise levels of a cycle", low=2, high=100)
    sweeps: int = parameter(4, "sweeps at each noise level", low=1, high=50)
    cycles: int = parameter(3, "times the noise falls", low=1, high=10)
    sigma_max: float = parameter(2.0, "first noise level", low=0.1, high=2.5, log=True,
                                 unit="pixel value")
    sigma_return: float = parameter(1.0, "first noise level of the later cycles", low=0.1, high=2.5,
                                    log=True, unit="pixel value")
    sigma_min: float = parameter(0.08, "last noise level", low=0.005, high=0.3, log=True,
                                 unit="pixel value")
    sigma_average: float = parameter(0.28, "the answer is the mean of the sweeps from this noise "
                                     "level down; 0: the last sweep", low=0, high=1,
                                     unit="pixel value")
    chains: int = parameter(1, "runs side by side, with a consensus at the end", low=1, high=16)
    draws: int = parameter(1, "steps of one prior draw; 1 takes the posterior mean", low=1, high=50)
    same_mode: float = parameter(0.05, "answers closer than this to the chosen one are averaged",
                                 low=0, high=0.5, unit="RMS pixel value")

    assumes = ("a score prior of clean images, independent sources, known weights, "
               "no noise in the mixture")
    presets: ClassVar = {"single": {}, "consensus": {"chains": 4}}

    def total_steps(self, problem: Problem) -> int:
        return self.cycles * self.levels * self.sweeps + self._concludes()

    def sigmas(self) -> list[float]:
        """The noise levels of all cycles, first to last."""
        firsts = [self.sigma_max, *[self.sigma_return] * (self.cycles - 1)]
        ends = [(math.log10(first), math.log10(self.sigma_min)) for first in firsts]
        return [sigma for first, last in ends for sigma in
                torch.logspace(first, last, self.levels, dtype=torch.float64).tolist()]

    def steps(self, problem: Problem, rng: Generator, start: Step | None = None) -> Iterator[Step]:
        """Yield step 0 (equal shares), every sweep, the answer; ``shown`` is of the first chain."""
        mixtures, mixing, *_ = problem
        self.check(problem)
        if start is None:
            shares = least_squares(problem)
            info = {"sigma": self.sigma_max, "level": 0, "sweep": 0, "evaluations": 0,
                    "residual": problem.residual(shares)}
            start = Step(0, "start: equal shares", shares, info=info)
            yield start.mapped(torch.clone)
        x, mean, answers, averaged = self._resumed(start)
        index, evaluations = start.index, start.info["evaluations"]
        done = int(start.info["level"]), int(start.info["sweep"])
        sigmas, repeated = self.sigmas(), mixtures.repeat_interleave(self.chains, 0)
        for level, sweep in itertools.product(range(len(sigmas)), range(self.sweeps)):
            if (level, sweep) < done:
                continue
            if sweep == 0 < level and level % self.levels == 0:  # a new cycle
                answers, averaged = torch.cat([answers, mean], dim=1), 0
            sigma = sigmas[level]
            noisy = x + sigma * _normal(x, rng)
            clean = self.draw(noisy, sigma, rng)
            variance = self.prior.variance(clean, sigma).flatten(0, 1)
            now = mixing.condition(clean.flatten(0, 1), repeated, variance).view_as(x)
            averaged = averaged + 1 if sigma <= self.sigma_average else 0
            mean = mean + (now - mean) / averaged if averaged > 1 else now
            forces = {"noise": (noisy - x)[:, 0], "prior_force": (clean - noisy)[:, 0],
                      "data_force": (now - clean)[:, 0]}
            x, index, evaluations = now, index + 1, evaluations + self.draws * self.chains
            info = {"sigma": sigma, "level": level, "sweep": sweep + 1, "averaged": averaged,
                    "evaluations": evaluations, "residual": problem.residual(x[:, 0])}
            state = {"mean": mean.clone()} if averaged else {}
            state |= {"answers": answers.clone()} if answers.shape[1] else {}
            state |= {"chains": x.clone()} if self.chains > 1 else {}
            stage = f"sigma {sigma:.3g}"
            yield Step(index, stage, x[:, 0].clone(), forces, state=state, info=info)
        if self._concludes() and done[0] <= len(sigmas):
            answers, results, state = torch.cat([answers, mean], dim=1), {}, {}
            answer, stage = mean[:, 0], f"mean of {averaged} sweeps"
            if answers.shape[1] > 1:
                answer, results["answer_loss"] = self.consensus(
                    answers, mixing.weights, rng, problem.medium)
                state, stage = {"answers": answers}, f"consensus of {answers.shape[1]} answers"
                evaluations += answers.shape[1] * len(JUDGES) * self.chains
            info = {"sigma": self.sigma_min, "level": len(sigmas) + 1, "sweep": 0,
                    "averaged": averaged, "evaluations": evaluations,
                    "residual": problem.residual(answer)}
            forces = {"data_force": answer - x[:, 0]}
            yield Step(index + 1, stage, answer.clone(), forces, results, state, info)

    def draw(self, noisy: Tensor, sigma: float, rng: Generator) -> Tensor:
        """Sources given their noisy copies: the posterior mean, or a draw in ``draws`` steps."""
        ladder = [sigma * LEAST_NOISE ** (step / self.draws) for step in range(self.draws)]
        for now, then in itertools.pairwise([*ladder, 0.0]):
            clean = self.prior.denoise(noisy, now)
            keep = (then / now) ** 2
            noisy = clean + keep * (noisy - clean)
            if then > 0:
                noisy = noisy + then * math.sqrt(1 - keep) * _normal(noisy, rng)
        return noisy

    def consensus(self, answers: Tensor, weights: Sequence[float], rng: Generator,
                  medium: Medium = PICTURE) -> tuple[Tensor, Tensor]:
        """`consensus` of answers (B, N, K, C, H, W), and the `prior_loss` of each (B, N)."""
        # the more answers, the likelier a lucky loss: so as many noises as there are chains
        loss = prior_loss(self.prior, answers, rng, draws=self.chains)
        return consensus(answers, loss, self.same_mode, weights, medium), loss

    def _concludes(self) -> bool:
        """Whether the answer is more than the last sweep of one chain."""
        return self.chains > 1 or self.cycles > 1 or self.sigmas()[-1] <= self.sigma_average

    def _resumed(self, start: Step) -> tuple[Tensor, Tensor, Tensor, int]:
        """Chains (B, N, K, C, H, W), their running mean, past answers, and sweeps in the mean.

        If the start has another number of chains, all begin at its sources.
        """
        x = start.state.get("chains")
        if x is None or x.shape[1] != self.chains:
            x = start.sources[:, None].expand(-1, self.chains, *start.sources.shape[1:])
        x = x.to(start.sources.dtype)
        mean = start.state.get("mean", x)
        if mean.shape != x.shape:
            return x, x, x[:, :0], 0
        return x, mean, start.state.get("answers", x[:, :0]), int(start.info.get("averaged", 0))


def _normal(like: Tensor, rng: Generator) -> Tensor:
    return torch.randn(like.shape, generator=rng, device=like.device, dtype=like.dtype)
