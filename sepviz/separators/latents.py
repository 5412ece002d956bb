"""Latents as variables of a descent: Adam for many vectors, and what a step keeps of them."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from sepviz.separators.choice import pick

BALL_EPSILON, STARTS_EPSILON = 1e-12, 1e-8  # Adam's guard against a division by 0


def adam(values: Tensor, slope: Tensor, moments: tuple[Tensor, Tensor], rate: float, visits: int,
         betas: tuple[float, float], epsilon: float) -> tuple[Tensor, Tensor, Tensor]:
    """The ``visits``-th step of Adam (Kingma & Ba 2015): new values and both moments."""
    mean = moments[0].lerp(slope, 1 - betas[0])
    square = moments[1].lerp(slope.square(), 1 - betas[1])
    scale = (square / (1 - betas[1] ** visits)).sqrt() + epsilon
    return values - rate / (1 - betas[0] ** visits) * mean / scale, mean, square


class Starts(NamedTuple):
    """The starts of `Synthesis` that still run, with Adam's moments."""

    latents: Tensor  # (B, alive, K, latent_size)
    taps: Tensor  # (B, alive, K, h w): the filters; h w = 0 where there are none
    alive: Tensor  # (B, alive): the numbers of these starts
    start_error: Tensor  # (B, starts): the last error of every start, dropped ones too
    latents_mean: Tensor
    latents_square: Tensor
    taps_mean: Tensor
    taps_square: Tensor

    @classmethod
    def of(cls, latents: Tensor, filters: Tensor) -> Starts:
        """New starts."""
        batch, count = latents.shape[:2]
        alive = torch.arange(count, device=latents.device).repeat(batch, 1)
        error = torch.full((batch, count), math.inf, device=latents.device)
        moments = (torch.zeros_like(one) for one in (latents, latents, filters, filters))
        return cls(latents, filters, alive, error, *moments)

    def kept(self, best: Tensor) -> Starts:
        """The starts at these positions (B, fewer)."""
        picked = {name: pick(value, best) for name, value in self._asdict().items()}
        return Starts(**{**picked, "start_error": self.start_error})

    def descended(self, slopes: list[Tensor], rate: float, visits: int,
                  betas: tuple[float, float]) -> Starts:
        """After a step down the slopes of the latents and, where given, of the filters."""
        found: dict[str, Tensor] = {}
        for name, slope in zip(("latents", "taps"), slopes, strict=False):
            names = name, f"{name}_mean", f"{name}_square"
            values, *moments = (getattr(self, one) for one in names)
            moved = adam(values, slope, tuple(moments), rate, visits, betas, STARTS_EPSILON)
            found.update(zip(names, moved, strict=True))
        return self._replace(**found)


class BallLatents(NamedTuple):
    """The latents (N, K, latent_size) of `GloMasking`, in the unit ball, with Adam's moments."""

    latents: Tensor
    latents_mean: Tensor
    latents_square: Tensor

    @classmethod
    def of(cls, latents: Tensor) -> BallLatents:
        """Latents before the first step."""
        return cls(latents, torch.zeros_like(latents), torch.zeros_like(latents))

    @classmethod
    def draw(cls, shape: tuple[int, int, int], rng: Generator) -> BallLatents:
        """Uniform on the surface of the ball."""
        return cls.of(into_ball(torch.randn(shape, generator=rng, device=rng.device) / 1e-6))

    def descend(self, chosen: Tensor, slope: Tensor, rate: float, visits: int,
                betas: tuple[float, float]) -> None:
        """Change the chosen ones in place: their ``visits``-th step, and back into the ball."""
        moments = self.latents_mean[chosen], self.latents_square[chosen]
        moved, self.latents_mean[chosen], self.latents_square[chosen] = adam(
            self.latents[chosen], slope, moments, rate, visits, betas, BALL_EPSILON)
        self.latents[chosen] = into_ball(moved)


def into_ball(z: Tensor) -> Tensor:
    """The nearest latents of length at most 1."""
    return z / z.norm(dim=-1, keepdim=True).clamp_min(1)
