"""Synthesising-Decomposition: find the generator's latents, and the filters, whose remix is the mixture (Kong et al. 2019)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor

from sepviz.core import LatentModel, Problem, SepvizError, Step, check_parameters, parameter
from sepviz.mixing import Mixing, shifted_copies

BETAS, EPSILON = (0.9, 0.999), 1e-8  # Adam's
STATE = ("latents", "taps", "alive", "start_error", "latents_mean", "latents_square", "taps_mean", "taps_square")  # what a run goes on from


@dataclass(frozen=True)
class Synthesis:
    """Gradient descent on the latents of a frozen generator, from many starts, of which the best is kept.

    For each mixture m and each start, with images ``x_k = G(z_k)``, minimise

        mean over the seen pixels of (m - sum_k a_k (f_k * x_k))^2 + latent_penalty mean(z^2) + filter_penalty sum(f^2)

    over the latents z and, where the filters are unknown, over them too. With ``filter_update = "ridge"`` the
    filters are no variables of the descent: each iteration solves for them in closed form,
    ``f = (A^T A + filter_penalty n I)^-1 A^T m`` with the n x K h w matrix A of the images' shifted copies, and the
    gradient of z at that solution is that of the whole minimum (variable projection, Golub & Pereyra 1973).

    After each ``start_iterations`` the share ``keep`` of the starts with the least error on the seen pixels goes on, at
    least one (successive halving, Jamieson & Talwalkar 2016); the last one is refined. The truth is never asked.
    """

    prior: LatentModel
    starts: int = parameter(8, "latents tried for each mixture", low=1, high=128)
    start_iterations: int = parameter(40, "iterations before starts are dropped", low=1, high=1000)
    keep: float = parameter(0.25, "share of the starts that goes on; 0: the best alone", low=0.0, high=0.9)
    refine_iterations: int = parameter(150, "iterations of the last start", low=0, high=10_000)
    learning_rate: float = parameter(0.1, "Adam's step", low=0.001, high=1.0, log=True)
    last_rate: float = parameter(0.1, "the step at the end, as a share of that at the start", low=0.001, high=1.0, log=True)
    latent_penalty: float = parameter(1e-3, "weight of mean(z^2)", low=0.0, high=0.1)
    filter_penalty: float = parameter(1e-3, "weight of sum(f^2)", low=0.0, high=0.1)
    filter_update: str = parameter("ridge", "how filters are found", choices=("ridge", "gradient"))
    filter_deviation: float = parameter(0.1, "standard deviation of the filters' first taps, for gradient", low=0.01, high=2.0, log=True)

    handles: ClassVar[dict[str, bool]] = {"solves_filters": True, "fills_in": True}  # see `Mixing.check`
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "program": {"start_iterations": 201, "keep": 0.0, "refine_iterations": 5001, "learning_rate": 0.01, "last_rate": 1.0,
                    "latent_penalty": 1e-3, "filter_penalty": 0.0, "filter_update": "gradient", "filter_deviation": 0.1},
        "paper": {"start_iterations": 201, "keep": 0.0, "refine_iterations": 5001, "learning_rate": 0.01, "last_rate": 1.0,
                  "latent_penalty": 0.0, "filter_penalty": 1e-3, "filter_update": "gradient", "filter_deviation": 1.0},
        "fast": {},
    }

    def total_steps(self, problem: Problem) -> int:
        """The number of steps after step 0."""
        alive, total = self.starts, self.refine_iterations + (self.start_iterations if self.starts == 1 else 0)
        while alive > 1:
            alive, total = self._survivors(alive), total + self.start_iterations
        return total

    def steps(self, problem: Problem, rng: Generator, start: Step | None = None) -> Iterator[Step]:
        """Yield step 0 (the starts as drawn), then every iteration; from ``start``, those after it.

        ``sources`` and ``extras["filters"]`` (B, K, h, w) are those of the start with the least error at present,
        ``extras["start_error"]`` (B, starts) is the last mean squared error of every start, dropped ones too, and
        ``extras["alive"]`` (B, alive) are the numbers of those that still run.
        """
        mixtures, mixing = problem
        mixing.check(mixtures, self.prior.image_shape, **self.handles)
        check_parameters(self)
        prior = self.prior.folded() if hasattr(self.prior, "folded") else self.prior
        total, size = self.total_steps(problem), mixing.filter_size
        state = self._draw(problem, rng) if start is None else {name: start.extras[name].clone() for name in STATE}
        index, iteration, evaluations, seen = 0, 0, 0, False
        if start is not None:
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
                error = remix_error(images, copies, taps, mixtures, mixing)
                loss = error + self.latent_penalty * z.square().mean(dim=(2, 3)) + self.filter_penalty * taps.square().sum(dim=(2, 3))
                slopes = torch.autograd.grad(loss.sum(), [z, taps] if descends else [z])
            state |= {"latents": z.detach(), "taps": taps.detach()}
            if not bool(torch.isfinite(error).all()):
                raise SepvizError(f"learning_rate {self.learning_rate:g} diverged at iteration {index}: take a smaller one")
            state["start_error"].scatter_(1, alive, error.detach())
            if not seen:
                info: dict[str, float] = {"iteration": iteration, "evaluations": evaluations, "alive": alive.shape[1]}
                yield self._step(index, info, images.detach(), error.detach(), state, problem)
            seen = False
            if iteration >= self._limit(alive.shape[1]):
                if alive.shape[1] == 1:
                    return
                kept = error.detach().argsort(dim=1)[:, :self._survivors(alive.shape[1])]
                state |= {name: pick(state[name], kept) for name in state if name != "start_error"}
                slopes = tuple(pick(slope, kept) for slope in slopes)
                iteration = 0
                if self._limit(kept.shape[1]) == 0:
                    return
            index, iteration, evaluations = index + 1, iteration + 1, evaluations + state["alive"].shape[1]
            rate = self.learning_rate * self.last_rate ** min(1.0, index / total)
            for name, slope in zip(("latents", "taps"), slopes, strict=False):
                mean, square = state[f"{name}_mean"], state[f"{name}_square"]
                mean.lerp_(slope, 1 - BETAS[0])
                square.lerp_(slope.square(), 1 - BETAS[1])
                scale = (square / (1 - BETAS[1] ** index)).sqrt() + EPSILON
                state[name] = state[name] - rate / (1 - BETAS[0] ** index) * mean / scale

    def _survivors(self, alive: int) -> int:
        return max(1, math.floor(self.keep * alive))

    def _limit(self, alive: int) -> int:
        """Iterations of the stage with this many starts."""
        if alive > 1:
            return self.start_iterations
        return self.refine_iterations + (self.start_iterations if self.starts == 1 else 0)

    def _draw(self, problem: Problem, rng: Generator) -> dict[str, Tensor]:
        """Latents, filter taps (K, h w) and Adam's moments of every start."""
        mixtures, mixing = problem
        shape = (len(mixtures), self.starts, mixing.count)
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
        extras = {name: value.clone() for name, value in state.items()}
        size, filters = problem.mixing.filter_size, None
        if size is not None:
            filters = extras["filters"] = taps.unflatten(2, (size, size)).clone()
        alive = int(info["alive"])
        stage = f"{alive} of {self.starts} starts" if alive > 1 else "refine"
        return Step(index, stage, sources.clone(), extras, {**info, "residual": problem.residual(sources, filters)})


def pick(values: Tensor, index: Tensor) -> Tensor:
    """``values[b, index[b, i]]``: (B, S, ...) and (B, I) -> (B, I, ...)."""
    return values.gather(1, index.reshape(*index.shape, *[1] * (values.ndim - 2)).expand(-1, -1, *values.shape[2:]))


def remix_error(images: Tensor, copies: Tensor | None, taps: Tensor, mixtures: Tensor, mixing: Mixing) -> Tensor:
    """Mean squared error on the seen pixels: images (B, S, K, C, H, W) or their copies and taps -> (B, S)."""
    weights = mixing.weights_like(mixtures)
    if copies is None:
        left = mixtures[:, None] - (weights * images).sum(dim=2)
    else:
        remix = torch.einsum("bsktp,bskt->bsp", copies, taps * weights[:, :, 0, 0])
        left = mixtures[:, None] - remix.reshape(*remix.shape[:2], *mixtures.shape[1:])
    if mixing.visible is not None:
        left = left[..., mixing.visible.to(left.device)]
    return left.square().flatten(2).mean(dim=2)


def solve_filters(copies: Tensor, mixtures: Tensor, mixing: Mixing, penalty: float) -> Tensor:
    """The filters that explain the mixture best: ``argmin_f |m - A f|^2 / n + penalty |f|^2``, in closed form.

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
    gram.diagonal(dim1=1, dim2=2).add_(max(penalty, 1e-6) * design.shape[2])
    right = design @ target.repeat_interleave(starts, 0)[:, :, None]
    return torch.linalg.solve(gram, right)[:, :, 0].reshape(batch, starts, count, taps)
