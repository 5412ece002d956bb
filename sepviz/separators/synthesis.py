"""Synthesising-Decomposition: find the generator's latents, and the filters, whose remix is the mixture (Kong et al. 2019)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor

from sepviz.core import LatentModel, Problem, Separator, SepvizError, Step, check_parameters, folded, parameter
from sepviz.core.mixing import Mixing, convolve, shifted_copies
from sepviz.metrics import in_order_of

AS_PUBLISHED = {"bank": 0, "start_iterations": 201, "keep": 0.0, "finalists": 1, "refine_iterations": 5001, "learning_rate": 0.01,
                "cooldown": 0.0, "outlier": 0.0, "beta1": 0.9, "beta2": 0.999, "filter_update": "gradient"}
EPSILON = 1e-8  # Adam's
SPREAD = 1 / 6  # a finalist whose error is so much above the least, as a share of it, counts 1/e as much
BEAM = 500  # sums of two images that are tried with a third
STATE = ("latents", "taps", "alive", "start_error", "latents_mean", "latents_square", "taps_mean", "taps_square")  # what a run goes on from


@dataclass(frozen=True)
class Synthesis(Separator):
    """Gradient descent on the latents of a frozen generator, from many starts, of which the best are kept.

    For each mixture m and each start, with images ``x_k = G(z_k)``, minimise

        mean over the seen pixels of (m - sum_k a_k (f_k * x_k))^2 + latent_penalty mean(z^2) + filter_penalty sum(f^2)

    over the latents z and, where the filters are unknown, over them too. With ``filter_update = "ridge"`` the
    filters are no variables of the descent: each iteration solves for them in closed form,
    ``f = (A^T A + filter_penalty n I)^-1 (A^T m + filter_penalty n f_0)`` with the n x K h w matrix A of the images'
    shifted copies, and z goes down the slope at that solution (variable projection, Golub & Pereyra 1973). The penalty
    is then ``|f - f_0|^2`` with the blur f_0 of `typical_filter`, which settles what the mixture leaves open: a shift and
    a gain that source and filter may trade.

    With an ``outlier`` scale, squares of the residual r become ``s^2 log(1 + r^2 / s^2)`` (Student's t in place of the normal
    distribution) with s this scale or, if larger, 8 standard deviations of the residual told by its median: the same
    where r is small, while a line drawn over the image does not draw the answer to itself.

    The starts are the sums of images of a ``bank`` of latents, drawn once for all mixtures, that are nearest to the
    mixture (`nearest_sums`); with no bank they are drawn blindly, as in the paper.

    After each ``start_iterations`` the share ``keep`` of the starts with the least error on the seen pixels goes on
    (successive halving, Jamieson & Talwalkar 2016), until the ``finalists`` are left. These are refined, for as many iterations
    for every mixture: errors rest and fall again, so a resting one is no sign to stop at. The truth is
    never asked. The last step, the answer, is the finalists' mean, in the order of the best one's sources and weighted by
    ``exp(-(error / least error - 1) / SPREAD)``: where they agree nothing changes, where they do not it errs less than they do
    on average. Only sources of equal weights change places for it.
    """

    prior: LatentModel
    starts: int = parameter(8, "latents tried for each mixture", low=1, high=128)
    bank: int = parameter(2000, "latents drawn once, of which every mixture's starts are chosen; 0: starts are drawn blindly",
                          low=0, high=20_000)
    start_iterations: int = parameter(5, "iterations before starts are dropped", low=1, high=1000)
    keep: float = parameter(0.25, "share of the starts that goes on; 0: no more than the finalists", low=0.0, high=0.9)
    finalists: int = parameter(2, "starts that are refined and averaged; 1: the best alone", low=1, high=32)
    refine_iterations: int = parameter(280, "iterations of the finalists", low=1, high=10_000)
    learning_rate: float = parameter(0.1, "Adam's step", low=0.001, high=1.0, log=True)
    cooldown: float = parameter(0.3, "last share of the iterations, in which the step falls to nothing; 0: it stays", low=0.0, high=1.0)
    outlier: float = parameter(0.3, "residual from which a pixel counts less and less; 0: all count alike", low=0.0, high=2.0,
                               unit="pixel values")
    beta1: float = parameter(0.8, "Adam's memory of the slope", low=0.0, high=0.999)
    beta2: float = parameter(0.95, "Adam's memory of the squared slope", low=0.0, high=0.9999)
    latent_penalty: float = parameter(3e-5, "weight of mean(z^2)", low=0.0, high=0.1)
    filter_penalty: float = parameter(5e-3, "weight of sum(f^2)", low=0.0, high=0.1)
    filter_update: str = parameter("ridge", "how filters are found", choices=("ridge", "gradient"))
    filter_deviation: float = parameter(0.1, "standard deviation of the filters' first taps, for gradient", low=0.01, high=2.0, log=True)

    assumes: ClassVar[str] = "a generator that can make every source; filters may be unknown"
    handles: ClassVar[dict[str, bool]] = {"solves_filters": True, "fills_in": True}  # see `Mixing.check`
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "program": {**AS_PUBLISHED, "latent_penalty": 1e-3, "filter_penalty": 0.0, "filter_deviation": 0.1},
        "paper": {**AS_PUBLISHED, "latent_penalty": 0.0, "filter_penalty": 1e-3, "filter_deviation": 1.0},
        "fast": {},
    }

    def total_steps(self, problem: Problem) -> int:
        """The number of steps after step 0."""
        check_parameters(self)
        return self._iterations(self.starts) + (min(self.starts, self.finalists) > 1)

    def steps(self, problem: Problem, rng: Generator, start: Step | None = None) -> Iterator[Step]:
        """Yield step 0 (the starts as drawn), then every iteration, and the answer; from ``start``, those after it.

        ``sources`` and ``results["filters"]`` (B, K, h, w) are those of the start with the least error at present, of the answer the
        mean and its filters, ``results["start_error"]`` (B, starts) is the last `remix_error` of every start, dropped ones too, and
        ``state["alive"]`` (B, alive) are the numbers of those that still run. ``info["evaluations"]`` are the
        images decoded for a mixture that is alone, per source: the whole bank's and every iteration's.
        """
        mixtures, mixing, *_ = problem
        self.check(problem)
        prior = folded(self.prior)
        size = mixing.filter_size
        if start is None:
            state, index, iteration, seen = self._draw(problem, prior, rng), 0, 0, False
            evaluations = -(-self._banked(mixing) // mixing.count)
        elif start.info.get("averaged") and start.info["iteration"] >= self._limit(int(start.info["alive"])):
            return
        else:
            state = {name: start.state[name].clone() for name in STATE}
            index, iteration, evaluations, seen = start.index, int(start.info["iteration"]), int(start.info["evaluations"]), True
        while True:
            z, taps, alive = state["latents"].requires_grad_(True), state["taps"], state["alive"]
            with torch.enable_grad():
                images = prior.decode(z)
                copies = None if size is None else shifted_copies(images.flatten(0, 1), size).unflatten(0, images.shape[:2])
                if copies is not None and self.filter_update == "ridge":
                    taps = solve_filters(copies.detach(), mixtures, mixing, self.filter_penalty)
                descends = size is not None and self.filter_update == "gradient"
                taps = taps.detach().requires_grad_(descends)
                error = remix_error(images, copies, taps, mixtures, mixing, self.outlier)
                loss = error + self.latent_penalty * z.square().mean(dim=(2, 3)) + self.filter_penalty * taps.square().sum(dim=(2, 3))
                slopes = torch.autograd.grad(loss.sum(), [z, taps] if descends else [z])
            state |= {"latents": z.detach(), "taps": taps.detach()}
            if not bool(torch.isfinite(error).all()):
                raise SepvizError(f"learning_rate {self.learning_rate:g} diverged at iteration {index}: take a smaller one")
            state["start_error"].scatter_(1, alive, error.detach())
            info: dict[str, float] = {"iteration": iteration, "evaluations": evaluations, "alive": alive.shape[1]}
            if not seen:
                yield self._step(index, info, images.detach(), error.detach(), state, problem)
            seen = False
            if iteration >= self._limit(alive.shape[1]):
                if alive.shape[1] <= self.finalists:
                    if alive.shape[1] > 1:
                        yield self._mean(index + 1, info, images.detach(), error.detach(), state, problem)
                    return
                kept = error.detach().argsort(dim=1)[:, :self._survivors(alive.shape[1])]
                state |= {name: pick(state[name], kept) for name in state if name != "start_error"}
                slopes = tuple(pick(slope, kept) for slope in slopes)
                iteration = 0
            index, iteration, evaluations = index + 1, iteration + 1, evaluations + state["alive"].shape[1]
            ahead = max(0, self._iterations(state["alive"].shape[1]) - iteration) + 1
            left = ahead / (index + ahead)  # of the run as it is now: parameters may have changed on the way
            rate = self.learning_rate * (min(1.0, left / self.cooldown) if self.cooldown else 1.0)
            for name, slope in zip(("latents", "taps"), slopes, strict=False):
                mean, square = state[f"{name}_mean"], state[f"{name}_square"]
                mean.lerp_(slope, 1 - self.beta1)
                square.lerp_(slope.square(), 1 - self.beta2)
                scale = (square / (1 - self.beta2**index)).sqrt() + EPSILON
                state[name] = state[name] - rate / (1 - self.beta1**index) * mean / scale

    def by_number_of_starts(self, step: Step, problem: Problem) -> list[Step]:
        """What would be chosen at a step if only the first n of its starts had been made, for every n: steps to play.

        Parameters
        ----------
        step : Step
            One of this method's on this problem, with all starts still running.
        """
        alive, size = step.state["alive"], problem.mixing.filter_size
        if alive.shape[1] < self.starts:
            raise SepvizError(f"step {step.index} has {alive.shape[1]} of {self.starts} starts left: take one before any was dropped")
        with torch.no_grad():
            images = self.prior.decode(step.state["latents"])
        errors, chosen = step.state["start_error"], []
        for count in range(1, self.starts + 1):
            best = errors[:, :count].argmin(dim=1, keepdim=True)
            sources, filters = pick(images, best)[:, 0], None
            if size is not None:
                filters = pick(step.state["taps"], best)[:, 0].unflatten(2, (size, size))
            drawn = -(-self._banked(problem.mixing) // problem.mixing.count)
            descended = (step.info["evaluations"] - drawn) * count / self.starts
            info = {"evaluations": drawn + descended, "residual": problem.residual(sources, filters)}
            chosen.append(Step(count, f"best of {count}", sources, results={} if filters is None else {"filters": filters}, info=info))
        return chosen

    def _banked(self, mixing: Mixing) -> int:
        """Latents in the bank: enough for every start."""
        return max(self.bank, mixing.count * self.starts) if self.bank else 0

    def _survivors(self, alive: int) -> int:
        return max(self.finalists, min(alive - 1, math.floor(self.keep * alive)))

    def _iterations(self, alive: int) -> int:
        """Of the stage with this many starts and all that follow."""
        total = self._limit(alive)
        while alive > self.finalists:
            alive = self._survivors(alive)
            total += self._limit(alive)
        return total

    def _limit(self, alive: int) -> int:
        """Iterations of the stage with this many starts."""
        if alive > self.finalists:
            return self.start_iterations
        return self.refine_iterations + (self.start_iterations if self.starts <= self.finalists else 0)

    def _draw(self, problem: Problem, prior: LatentModel, rng: Generator) -> dict[str, Tensor]:
        """Latents, filter taps (K, h w) and Adam's moments of every start."""
        mixtures, mixing, *_ = problem
        shape = (len(mixtures), self.starts, mixing.count)
        if self.bank:
            z = torch.randn((self._banked(mixing), self.prior.latent_size), generator=rng,
                            device=mixtures.device)
            with torch.no_grad():
                images = torch.cat([prior.decode(part) for part in z.split(500)])
            if mixing.filter_size is not None:
                images = convolve(images[None], typical_filter(mixing.filter_size).to(images).expand(1, len(images), -1, -1))[0]
            if mixing.visible is not None:
                images = images * mixing.visible.to(images)
            z = z[nearest_sums(images.flatten(1), mixtures.flatten(1), mixing.weights, self.starts)]
        else:
            z = torch.randn((*shape, self.prior.latent_size), generator=rng, device=mixtures.device)
        taps = self.filter_deviation * torch.randn((*shape, (mixing.filter_size or 0) ** 2), generator=rng, device=mixtures.device)
        state = {"latents": z, "taps": taps, "alive": torch.arange(self.starts, device=mixtures.device).repeat(len(mixtures), 1),
                 "start_error": torch.full(shape[:2], math.inf, device=mixtures.device)}
        for name in ("latents", "taps"):
            state |= {f"{name}_{moment}": torch.zeros_like(state[name]) for moment in ("mean", "square")}
        return state

    def _step(self, index: int, info: dict[str, float], images: Tensor, error: Tensor, state: dict[str, Tensor], problem: Problem) -> Step:
        best = error.argmin(dim=1, keepdim=True)
        sources, taps = pick(images, best)[:, 0], pick(state["taps"], best)[:, 0]
        results = {"start_error": state["start_error"].clone()}
        size, filters = problem.mixing.filter_size, None
        if size is not None:
            filters = results["filters"] = taps.unflatten(2, (size, size)).clone()
        alive = int(info["alive"])
        stage = f"{alive} of {self.starts} starts" if alive > self.finalists else "refine"
        return Step(index, stage, sources.clone(), results=results, state=copies(state),
                    info={**info, "residual": problem.residual(sources, filters)})

    def _mean(self, index: int, info: dict[str, float], images: Tensor, error: Tensor, state: dict[str, Tensor], problem: Problem) -> Step:
        """The answer: the finalists' mean, and the filters that explain it best."""
        chosen = pick(images, error.argmin(dim=1, keepdim=True))[:, 0]
        least = error.min(dim=1, keepdim=True).values.clamp_min(1e-12)
        shares = ((1 - error / least) / SPREAD).softmax(dim=1)[:, :, None, None, None, None]
        sources = (shares * in_order_of(chosen, images, problem.mixing.weights)).sum(dim=1)
        size, filters = problem.mixing.filter_size, None
        results = {"start_error": state["start_error"].clone()}
        if size is not None:
            taps = solve_filters(shifted_copies(sources, size)[:, None], problem.mixtures, problem.mixing, self.filter_penalty)[:, 0]
            filters = results["filters"] = taps.unflatten(2, (size, size))
        info = {**info, "averaged": images.shape[1], "residual": problem.residual(sources, filters)}
        return Step(index, f"mean of {images.shape[1]} starts", sources, results=results, state=copies(state), info=info)


def copies(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of a step's own, since the descent changes its moments in place."""
    return {name: value.clone() for name, value in state.items()}


def typical_filter(size: int) -> Tensor:
    """What an unknown filter is taken for before anything is known of it: a Gaussian of sum 1, (size, size)."""
    along = torch.exp(-0.5 * (torch.arange(size) - size // 2) ** 2 / max(size / 4, 0.5) ** 2)
    return torch.outer(along, along) / along.sum() ** 2


def nearest_sums(images: Tensor, mixtures: Tensor, weights: Sequence[float], count: int) -> Tensor:
    """The weighted sums of K images that come nearest to each mixture, no two with the same first image.

    For two sources all pairs are compared: ``|m - a x_i - b x_j|^2`` needs no more than the products of the images with
    each other and with m. A third and later ones are added to the best ``BEAM`` sums.

    Parameters
    ----------
    images : Tensor (N, P)
    mixtures : Tensor (B, P)
    weights : K floats

    Returns
    -------
    Tensor (B, count, K) int64
        Which images; the nearest sum first.
    """
    gram, found = images @ images.T, []
    square = gram.diagonal()
    for products in mixtures @ images.T:
        chosen = torch.arange(len(images), device=images.device)[:, None]
        cost, left = weights[0] ** 2 * square - 2 * weights[0] * products, products
        for before, weight in itertools.pairwise(weights):
            if chosen.shape[1] > 1:
                kept = cost.topk(min(len(cost), max(BEAM, len(weights) * count)), largest=False).indices
                cost, left, chosen = cost[kept], left[kept], chosen[kept]
            left = left - before * gram[chosen[:, -1]]  # the products with what is left of the mixture
            cost, added = (cost[:, None] + weight**2 * square - 2 * weight * left).min(dim=1)
            chosen = torch.cat([chosen, added[:, None]], dim=1)
        order = cost.argsort()[:len(weights) * count]  # the same sum is there at most once for each of its images
        sums = [tuple(one) for one in chosen[order].tolist()]
        if len(set(weights)) == 1:
            sums = list({tuple(sorted(one)): one for one in reversed(sums)}.values())[::-1]
        found.append(torch.tensor(sums[:count], device=images.device))
    return torch.stack(found)


def pick(values: Tensor, index: Tensor) -> Tensor:
    """``values[b, index[b, i]]``: (B, S, ...) and (B, I) -> (B, I, ...)."""
    return values.gather(1, index.reshape(*index.shape, *[1] * (values.ndim - 2)).expand(-1, -1, *values.shape[2:]))


def remix_error(images: Tensor, copies: Tensor | None, taps: Tensor, mixtures: Tensor, mixing: Mixing, outlier: float = 0.0) -> Tensor:
    """Mean squared error on the seen pixels: images (B, S, K, C, H, W) or their copies and taps -> (B, S).

    With an ``outlier`` scale the squares are ``s^2 log(1 + r^2 / s^2)``, see `Synthesis`.
    """
    weights = mixing.weights_like(mixtures)
    if copies is None:
        left = mixtures[:, None] - (weights * images).sum(dim=2)
    else:
        remix = torch.einsum("bsktp,bskt->bsp", copies, taps * weights[:, :, 0, 0])
        left = mixtures[:, None] - remix.reshape(*remix.shape[:2], *mixtures.shape[1:])
    if mixing.visible is not None:
        left = left[..., mixing.visible.to(left.device)]
    left = left.flatten(2)
    if outlier == 0:
        return left.square().mean(dim=2)
    deviation = 1.4826 * left.detach().abs().median(dim=2, keepdim=True).values  # the standard deviation, if most are normal
    scale = (8 * deviation).clamp_min(outlier)  # so noise all over is fitted by least squares
    return (scale.square() * (left / scale).square().log1p()).mean(dim=2)


def solve_filters(copies: Tensor, mixtures: Tensor, mixing: Mixing, penalty: float) -> Tensor:
    """The filters that explain the mixture best: ``argmin_f |m - A f|^2 / n + penalty |f - f_0|^2``, in closed form.

    Parameters
    ----------
    copies : Tensor (B, S, K, h w, C H W)
        `shifted_copies` of the images.

    Returns
    -------
    Tensor (B, S, K, h w)
    """
    batch, starts, count, taps, pixels = copies.shape
    design = (mixing.weights_like(copies)[:, :, 0] * copies).reshape(batch * starts, count * taps, pixels)
    target = mixtures.flatten(1)
    if mixing.visible is not None:
        seen = mixing.visible.to(design.device).expand(mixtures.shape[1:]).flatten()
        design, target = design[..., seen], target[:, seen]
    gram = design @ design.mT
    pull = max(penalty, 1e-6) * design.shape[2]
    gram.diagonal(dim1=1, dim2=2).add_(pull)
    right = design @ target.repeat_interleave(starts, 0)[:, :, None]
    right += pull * typical_filter(math.isqrt(taps)).to(right).flatten().repeat(count)[None, :, None]
    return torch.linalg.solve(gram, right)[:, :, 0].reshape(batch, starts, count, taps)
