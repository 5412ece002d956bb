"""A Gaussian prior, known in closed form, so that methods can be tested against it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sepviz.core import Mixing, SepvizError


class GaussianPrior:
    """``x ~ N(mean, deviation^2)``, every value on its own.

    Parameters
    ----------
    mean, deviation : Tensor (C, H, W)
        Of every value; or of the shape of another medium's signals. deviation > 0.
    """

    name = "gaussian"

    def __init__(self, mean: Tensor, deviation: Tensor):
        if mean.shape != deviation.shape:
            raise SepvizError(f"mean {tuple(mean.shape)} and deviation {tuple(deviation.shape)}: "
                              "want the same shape, (C, H, W) for images")
        if not bool((deviation > 0).all()):
            raise SepvizError(f"deviation {float(deviation.min()):g}: must be above 0 everywhere")
        self.mean, self.deviation = mean, deviation
        self.image_shape = tuple(mean.shape)

    @classmethod
    def fit(cls, images: Tensor, floor: float = 0.02) -> GaussianPrior:
        """Of images (N, C, H, W); deviations below ``floor`` are raised to it."""
        return cls(images.mean(dim=0), images.std(dim=0).clamp_min(floor))

    def sample(self, count: int, rng: torch.Generator) -> Tensor:
        """``count`` draws, (count, C, H, W)."""
        noise = torch.randn((count, *self.image_shape), generator=rng, device=self.mean.device,
                            dtype=self.mean.dtype)
        return self.mean + self.deviation * noise

    def denoise(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """``(deviation^2 x + sigma^2 mean) / (deviation^2 + sigma^2)``, for x (..., C, H, W)."""
        mine, noise = self.deviation.to(x).square(), self._variance_of_noise(sigma, x)
        return (mine * x + noise * self.mean.to(x)) / (mine + noise)

    def variance(self, clean: Tensor, sigma: float) -> Tensor:
        """``Var[x_0 | x_0 + sigma n] = deviation^2 sigma^2 / (deviation^2 + sigma^2)``."""
        mine = self.deviation.to(clean).square()
        return (mine * sigma**2 / (mine + sigma**2)).expand_as(clean)

    def score(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """``(mean - x) / (deviation^2 + sigma^2)``, for x (..., C, H, W)."""
        noise = self._variance_of_noise(sigma, x)
        return (self.mean.to(x) - x) / (self.deviation.to(x).square() + noise)

    def _variance_of_noise(self, sigma: float | Tensor, x: Tensor) -> Tensor:
        """``sigma^2`` (...) with axes of length 1 for those of a signal."""
        sigma = torch.as_tensor(sigma, dtype=x.dtype, device=x.device)
        return sigma.square().reshape(*sigma.shape, *[1] * self.mean.ndim)

    def log_prob(self, x: Tensor, sigma: float = 0.0) -> Tensor:
        """``log p_sigma(x)`` in nats: (..., C, H, W) -> (...)."""
        variance = self.deviation.to(x).square() + sigma**2
        terms = (x - self.mean.to(x)).square() / variance + variance.log() + math.log(2 * math.pi)
        return -0.5 * terms.sum(dim=tuple(range(-self.mean.ndim, 0)))

    def posterior(self, mixtures: Tensor, mixing: Mixing,
                  noise_variance: float = 0.0) -> tuple[Tensor, Tensor]:
        """Mean and variance (B, K, C, H, W) of the sources given mixtures (B, C, H, W).

        ``mean_k = mu + v a_k / S (m - sum_j a_j mu)``, ``variance_k = v - (v a_k)^2 / S``, with
        ``S = v sum_j a_j^2 + g^2``.
        """
        shape = (len(mixtures), mixing.count, *self.image_shape)
        prior_mean = self.mean.to(mixtures).expand(shape)
        variance = self.deviation.to(mixtures).square().expand(shape)
        mean = mixing.condition(prior_mean, mixtures, variance, noise_variance)
        weights = mixing.weights_like(mixtures, self.mean.ndim)
        total = variance[:, :1] * mixing.energy + noise_variance
        return mean, variance - (variance * weights).square() / total
