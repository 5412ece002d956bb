"""A Gaussian prior: everything about it is known in closed form, so methods can be tested against it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sepviz.core import Mixing, SepvizError


class GaussianPrior:
    """``x ~ N(mean, deviation^2)``, each pixel on its own.

    Parameters
    ----------
    mean, deviation : Tensor (C, H, W)
        Per pixel, in pixel units; deviation > 0.
    """

    name = "gaussian"

    def __init__(self, mean: Tensor, deviation: Tensor):
        if mean.shape != deviation.shape or mean.ndim != 3:
            raise SepvizError(f"mean {tuple(mean.shape)} and deviation {tuple(deviation.shape)}: want the same (C, H, W)")
        if not bool((deviation > 0).all()):
            raise SepvizError(f"deviation {float(deviation.min()):g}: must be above 0 everywhere")
        self.mean, self.deviation = mean, deviation
        self.image_shape = tuple(mean.shape)

    @classmethod
    def fit(cls, images: Tensor, floor: float = 0.02) -> GaussianPrior:
        """The per-pixel mean and deviation of images (N, C, H, W); deviations below ``floor`` are raised to it."""
        return cls(images.mean(dim=0), images.std(dim=0).clamp_min(floor))

    def sample(self, count: int, rng: torch.Generator) -> Tensor:
        """``count`` draws, (count, C, H, W)."""
        noise = torch.randn((count, *self.image_shape), generator=rng, device=self.mean.device, dtype=self.mean.dtype)
        return self.mean + self.deviation * noise

    def denoise(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """``(deviation^2 x + sigma^2 mean) / (deviation^2 + sigma^2)``, for x (..., C, H, W)."""
        variance = torch.as_tensor(sigma, dtype=x.dtype, device=x.device)[..., None, None, None].square()
        mine = self.deviation.to(x).square()
        return (mine * x + variance * self.mean.to(x)) / (mine + variance)

    def variance(self, clean: Tensor, sigma: float) -> Tensor:
        """``Var[x_0 | x_0 + sigma n] = deviation^2 sigma^2 / (deviation^2 + sigma^2)``, of the shape of ``clean``."""
        mine = self.deviation.to(clean).square()
        return (mine * sigma**2 / (mine + sigma**2)).expand_as(clean)

    def score(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """``(mean - x) / (deviation^2 + sigma^2)``, for x (..., C, H, W)."""
        variance = torch.as_tensor(sigma, dtype=x.dtype, device=x.device)[..., None, None, None].square()
        return (self.mean.to(x) - x) / (self.deviation.to(x).square() + variance)

    def log_prob(self, x: Tensor, sigma: float = 0.0) -> Tensor:
        """``log p_sigma(x)`` in nats, summed over pixels: (..., C, H, W) -> (...)."""
        variance = self.deviation.to(x).square() + sigma**2
        terms = (x - self.mean.to(x)).square() / variance + variance.log() + math.log(2 * math.pi)
        return -0.5 * terms.sum(dim=(-3, -2, -1))

    def posterior(self, mixtures: Tensor, mixing: Mixing, noise_variance: float = 0.0) -> tuple[Tensor, Tensor]:
        """Mean and per-pixel variance of the sources given mixtures (B, C, H, W): (B, K, C, H, W) twice.

        ``mean_k = mu + v a_k / S (m - sum_j a_j mu)``, ``variance_k = v - (v a_k)^2 / S``, with
        ``S = v sum_j a_j^2 + g^2``.
        """
        shape = (len(mixtures), mixing.count, *self.image_shape)
        prior_mean = self.mean.to(mixtures).expand(shape)
        variance = self.deviation.to(mixtures).square().expand(shape)
        mean = mixing.condition(prior_mean, mixtures, variance, noise_variance)
        weights = mixing.weights_like(mixtures)
        total = variance[:, :1] * mixing.energy + noise_variance
        return mean, variance - (variance * weights).square() / total
