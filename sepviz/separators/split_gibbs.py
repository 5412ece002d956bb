"""Split-Gibbs: denoise every source, meet the mixture exactly, put fresh noise back, at ever less noise."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor

from sepviz.core import Problem, ScoreModel, Separator, Step, parameter
from sepviz.metrics import in_order_of

JUDGES = (0.1, 0.2, 0.35, 0.6)  # noise levels at which chains are compared, in pixel units


@dataclass(frozen=True)
class SplitGibbs(Separator):
    """An annealed Gibbs sampler on the sources x and noisy copies z of them, the mixture step in closed form.

    At each of ``levels`` noise levels, geometric from ``sigma_max`` to ``sigma_min``, repeat ``sweeps`` times

        z_k <- x_k + sigma noise                 z given x: fresh noise, without it the run gets stuck
        d_k <- E[x_k | z_k] = D(z_k, sigma)      x given z: the prior, as a Gaussian N(d_k, v_k) per pixel
        x_k <- d_k + v_k a_k (m - sum_j a_j d_j) / sum_j a_j^2 v_j      and given m (`Mixing.condition`)

    so every step ends on the mixture exactly, for any K and any weights: there is no step size that could
    diverge. v is how unsure the prior is of each pixel, so what is left over goes to the source that may
    take it. The prior's step takes the posterior's mean where an exact Gibbs sampler would take a draw,
    which leans towards the modes (DiffPIR, Zhu et al. 2023, is a like scheme; Vono et al. 2019 the exact
    one); ``draws`` > 1 replaces it by a draw, in that many steps down to no noise.

    Each sweep ends on E[x | z, m] for its own z. The last step, the answer, is their mean over all sweeps with
    sigma at most ``sigma_average``: the Rao-Blackwell estimate of the posterior's mean, which errs less
    than any one sweep (Gelfand & Smith 1990), and is as exact on the mixture.

    A chain often ends in a mode that is not the best. So after each of ``cycles`` it is heated again to ``sigma_return``
    and cooled (cyclical annealing, Zhang et al. 2020), and with ``chains`` > 1 that many go side by side. Each
    cycle of each chain gives such a mean, and the answer is their consensus: the one whose sources the
    prior finds likeliest, averaged with those of the same mode, each by its probability.
    """

    prior: ScoreModel
    levels: int = parameter(14, "number of noise levels of a cycle", low=2, high=100)
    sweeps: int = parameter(4, "renoisings at each noise level", low=1, high=50)
    cycles: int = parameter(3, "times the noise falls", low=1, high=10)
    sigma_max: float = parameter(2.0, "first noise level", low=0.1, high=2.5, log=True, unit="pixel value")
    sigma_return: float = parameter(1.0, "first noise level of the later cycles", low=0.1, high=2.5, log=True, unit="pixel value")
    sigma_min: float = parameter(0.08, "last noise level", low=0.005, high=0.3, log=True, unit="pixel value")
    sigma_average: float = parameter(0.28, "the answer is the mean of the sweeps from this noise level down; 0: the last sweep",
                                     low=0.0, high=1.0, unit="pixel value")
    chains: int = parameter(1, "runs side by side, with a consensus at the end", low=1, high=16)
    draws: int = parameter(1, "steps of one prior draw; 1 takes the posterior mean", low=1, high=50)
    same_mode: float = parameter(0.05, "answers closer than this to the chosen one are averaged", low=0.0, high=0.5, unit="RMS pixel value")

    assumes: ClassVar[str] = "a score prior of clean images, independent sources, known weights, no noise in the mixture"
    presets: ClassVar[dict[str, dict[str, Any]]] = {"single": {}, "consensus": {"chains": 4}}

    def total_steps(self, problem: Problem) -> int:
        """The number of steps after step 0."""
        return self.cycles * self.levels * self.sweeps + self._concludes()

    def sigmas(self) -> list[float]:
        """The noise levels, first to last, of all cycles."""
        low = math.log10(self.sigma_min)
        return [sigma for cycle in range(self.cycles)
                for sigma in torch.logspace(math.log10(self.sigma_return if cycle else self.sigma_max), low, self.levels,
                                            dtype=torch.float64).tolist()]

    def draw(self, noisy: Tensor, sigma: float, rng: Generator) -> Tensor:
        """Sources given their noisy copies: the posterior's mean, or a draw in ``draws`` ancestral steps."""
        ladder = [sigma * 0.01 ** (step / self.draws) for step in range(self.draws)]
        for now, then in zip(ladder, [*ladder[1:], 0.0], strict=True):
            clean = self.prior.denoise(noisy, now)
            keep = (then / now) ** 2
            noisy = clean + keep * (noisy - clean)
            if then > 0:
                noisy = noisy + then * math.sqrt(1 - keep) * _normal(noisy, rng)
        return noisy

    def steps(self, problem: Problem, rng: Generator, start: Step | None = None) -> Iterator[Step]:
        """Yield step 0 (equal shares), every sweep, and the answer; from ``start``, those after it."""
        mixtures, mixing, *_ = problem
        self.check(problem)
        if start is None:
            batch, *image = mixtures.shape
            shares = mixing.condition(torch.zeros((batch, mixing.count, *image), device=mixtures.device), mixtures)
            info = {"sigma": self.sigma_max, "level": 0, "sweep": 0, "evaluations": 0, "residual": problem.residual(shares)}
            start = Step(0, "start: equal shares", shares, info=info)
            yield start._replace(sources=start.sources.clone())
        x = self._chains(start)
        mean, answers, averaged = start.state.get("mean", x), start.state.get("answers", x[:, :0]), int(start.info.get("averaged", 0))
        if mean.shape != x.shape:
            mean, answers, averaged = x, x[:, :0], 0
        index, level, sweep, evaluations = start.index, int(start.info["level"]), int(start.info["sweep"]), start.info["evaluations"]
        sigmas = self.sigmas()
        while level < len(sigmas):
            if sweep >= self.sweeps:
                level, sweep = level + 1, 0
                continue
            if level % self.levels == sweep == 0 < level:
                answers, averaged = torch.cat([answers, mean], dim=1), 0
            sigma = sigmas[level]
            noisy = x + sigma * _normal(x, rng)
            clean = self.draw(noisy, sigma, rng)
            variance = self.prior.variance(clean, sigma).flatten(0, 1)
            now = mixing.condition(clean.flatten(0, 1), mixtures.repeat_interleave(self.chains, 0), variance).view_as(x)
            forces = {"noise": (noisy - x)[:, 0], "prior_force": (clean - noisy)[:, 0], "data_force": (now - clean)[:, 0]}
            averaged = averaged + 1 if sigma <= self.sigma_average else 0
            mean = mean + (now - mean) / averaged if averaged > 1 else now
            state = {"mean": mean.clone()} if averaged else {}
            state |= {"answers": answers.clone()} if answers.shape[1] else {}
            state |= {"chains": now.clone()} if self.chains > 1 else {}
            x, index, sweep, evaluations = now, index + 1, sweep + 1, evaluations + self.draws * self.chains
            info = {"sigma": sigma, "level": level, "sweep": sweep, "averaged": averaged, "evaluations": evaluations,
                    "residual": problem.residual(x[:, 0])}
            yield Step(index, f"sigma {sigma:.3g}", x[:, 0].clone(), forces, state=state, info=info)
        if self._concludes() and level == len(sigmas):
            answers = torch.cat([answers, mean], dim=1)
            answer, stage, results, state = mean[:, 0], f"mean of {averaged} sweeps", {}, {}
            if answers.shape[1] > 1:
                answer, loss = self.consensus(answers, mixing.weights, rng)
                stage = f"consensus of {answers.shape[1]} answers"
                results, state = {"answer_loss": loss}, {"answers": answers.clone()}
                evaluations += answers.shape[1] * len(JUDGES) * self.chains
            info = {"sigma": self.sigma_min, "level": len(sigmas) + 1, "sweep": 0, "averaged": averaged, "evaluations": evaluations,
                    "residual": problem.residual(answer)}
            yield Step(index + 1, stage, answer.clone(), {"data_force": answer - x[:, 0]}, results, state, info)

    def _concludes(self) -> bool:
        """Whether the answer is more than the last sweep of one chain."""
        return self.chains > 1 or self.cycles > 1 or self.sigmas()[-1] <= self.sigma_average

    def consensus(self, x: Tensor, weights: Sequence[float], rng: Generator) -> tuple[Tensor, Tensor]:
        """The likeliest answer's mode: (B, N, K, C, H, W) -> sources (B, K, C, H, W) and each answer's `prior_loss` (B, N).

        Each answer of the mode counts by its probability under the prior: all of them meet the mixture alike.
        """
        # the more answers, the likelier the least of few noisy losses is but a lucky one: a noise for each chain
        loss = prior_loss(self.prior, x, rng, draws=self.chains)
        best = loss.argmin(dim=1)
        chosen = x[torch.arange(len(x)), best]
        aligned = in_order_of(chosen, x, weights)
        apart = (aligned - chosen[:, None]).square().mean(dim=(2, 3, 4, 5)).sqrt()
        likelihood = (apart <= self.same_mode) * ((loss.amin(dim=1, keepdim=True) - loss) * math.log(JUDGES[-1] / JUDGES[0])).exp()
        shares = (likelihood / likelihood.sum(dim=1, keepdim=True))[:, :, None, None, None, None]
        return (shares * aligned).sum(dim=1), loss

    def _chains(self, start: Step) -> Tensor:
        """(B, N, K, C, H, W): the start's chains where they are as many, else copies of its sources."""
        chains = start.state.get("chains")
        if chains is not None and chains.shape[1] == self.chains:
            return chains.to(start.sources.dtype)
        return start.sources[:, None].expand(-1, self.chains, *start.sources.shape[1:])


def prior_loss(prior: ScoreModel, sources: Tensor, rng: Generator, draws: int) -> Tensor:
    """How unlikely the prior finds sets of sources, to compare answers of one mixture.

    A prior's negative log likelihood of an image is, up to a constant, an integral of its denoising loss
    ``|D(x + sigma n, sigma) - x|^2 / sigma^2`` over noise levels (Kingma et al. 2021); here at a few, with
    the same noise for all answers, so that the difference is little more than that of the images.

    Parameters
    ----------
    sources : Tensor (B, N, K, C, H, W)
        N answers for each of B mixtures.
    draws : int
        Noises at each level.

    Returns
    -------
    Tensor (B, N)
        Summed over sources and pixels, the mean over `JUDGES`; lower is likelier. Times the logarithm of their
        range it is that part of the integral, in nats.
    """
    loss = torch.zeros(sources.shape[:2], device=sources.device)
    for sigma in JUDGES:
        for _ in range(draws):
            noise = torch.randn((len(sources), 1, *sources.shape[2:]), generator=rng, device=sources.device)
            error = prior.denoise(sources + sigma * noise, sigma) - sources
            loss += error.square().sum(dim=(2, 3, 4, 5)) / sigma**2 / (len(JUDGES) * draws)
    return loss


def _normal(like: Tensor, rng: Generator) -> Tensor:
    return torch.randn(like.shape, generator=rng, device=like.device, dtype=like.dtype)
