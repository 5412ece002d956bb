"""The linear forward model: a mixture is the weighted sum of its sources, filtered or not, seen whole or in part."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Generator, Tensor
from torch.nn import functional

from sepviz.core.errors import SepvizError, shown
from sepviz.core.parameters import check_whole

DARK = 8  # pixels: noise averages out over a square of this side, and what is black stays near 0
MOST_SOURCES = 1000


def convolve(images: Tensor, filters: Tensor) -> Tensor:
    """True convolution, image by image, zero padded to the same size.

    ``(f * x)[u] = sum_v f[v] x[u - v]``, v from the filter's centre: a filter with its one tap right of the centre
    moves the image to the right. (torch's conv2d correlates: it would move it to the left.)

    Parameters
    ----------
    images : Tensor (B, K, C, H, W)
    filters : Tensor (B, K, h, w)
        h and w odd; the same for all channels.
    """
    batch, count, channels, height, width = images.shape
    if filters.shape[:2] != (batch, count) or filters.ndim != 4 or not (filters.shape[2] % 2 and filters.shape[3] % 2):
        raise SepvizError(f"filters of shape {tuple(filters.shape)}: want ({batch}, {count}, h, w) with h and w odd")
    taps = filters.flip(2, 3).repeat_interleave(channels, dim=1).flatten(0, 1)[:, None]
    padding = (filters.shape[2] // 2, filters.shape[3] // 2)
    flat = images.reshape(1, batch * count * channels, height, width)
    return functional.conv2d(flat, taps, padding=padding, groups=flat.shape[1]).view_as(images)


def top_half(height: int, width: int) -> Tensor:
    """The mask (height, width) that shows the upper half."""
    return (torch.arange(height) < height // 2)[:, None].expand(height, width).clone()


def shifted_copies(images: Tensor, size: int) -> Tensor:
    """The images as each tap of a filter moves them: ``f * x = sum_t f_t copy_t``, zero padded.

    Parameters
    ----------
    images : Tensor (N, K, C, H, W)
    size : int
        Of the square filters; odd.

    Returns
    -------
    Tensor (N, K, size^2, C H W)
    """
    number, count, channels, height, width = images.shape
    windows = functional.unfold(images.reshape(-1, 1, height, width), size, padding=size // 2).flip(1)
    return windows.reshape(number, count, channels, size**2, height * width).transpose(2, 3).flatten(3)


def _sources(count: Any) -> int:
    """A number K of sources, checked."""
    check_whole(K=count)
    if not 1 <= count <= MOST_SOURCES:
        raise SepvizError(f"K = {shown(count)} sources: want at least 1, at most {MOST_SOURCES}")
    return int(count)


def _device(prior: Any) -> torch.device | None:
    """Where a prior's numbers are; None where it has none."""
    parameters = getattr(prior, "parameters", None)  # of a module
    held = parameters() if callable(parameters) else getattr(prior, "__dict__", {}).values()
    return next((value.device for value in held if isinstance(value, Tensor)), None)


@dataclass(frozen=True)
class Mixing:
    """``m = sum_k a_k (f_k * x_k)`` where it is seen, the same weights for every mixture.

    Parameters
    ----------
    weights : tuple of float
        The K weights ``a``; ``(1, 1)`` is the sum of two sources, ``(0.5, 0.5)`` their mean.
    filter_size : int, optional
        Each source went through an unknown filter f_k of at most this size, another for each mixture; odd.
    visible : Tensor (H, W) of bool, optional
        Where the mixtures were seen at all.
    """

    weights: tuple[float, ...]
    filter_size: int | None = None
    visible: Tensor | None = field(default=None, compare=False)

    def __post_init__(self):
        given = self.weights.tolist() if hasattr(self.weights, "tolist") else self.weights
        if isinstance(given, str) or not isinstance(given, Sequence):
            raise SepvizError(f"weights {shown(self.weights)}: want a number for each source, "
                              "(1.0,) for one")
        if not given:
            raise SepvizError("weights are empty: a mixture needs at least one source")
        plain = [one.item() if getattr(one, "ndim", None) == 0 else one for one in given]
        if any(isinstance(weight, bool) or not isinstance(weight, numbers.Real)
               or not 1e-6 <= abs(weight) <= 1e6 for weight in plain):
            raise SepvizError(f"weights {shown(tuple(plain))}: each must be a finite number, not "
                              "0, "
                              "and of size 1e-6 to 1e6")
        object.__setattr__(self, "weights", tuple(float(weight) for weight in plain))
        size: Any = self.filter_size
        if size is not None:
            whole = isinstance(size, numbers.Integral) and not isinstance(size, bool)
            if not whole or size < 1 or size % 2 == 0:
                raise SepvizError(f"filter size {shown(size)}: want one odd whole number, 5 for "
                                  "example")
            object.__setattr__(self, "filter_size", int(size))
        if self.visible is not None:
            if not isinstance(self.visible, Tensor):
                raise SepvizError(f"visible {shown(self.visible)}: "
                                  "want a torch tensor (H, W) of bool")
            if self.visible.ndim != 2 or self.visible.dtype != torch.bool:
                raise SepvizError(f"visible of shape {tuple(self.visible.shape)} and type "
                                  f"{self.visible.dtype}: want bool (H, W)")
            if not bool(self.visible.any()):
                raise SepvizError("visible: no pixel is seen, and nothing can be told from nothing")

    @classmethod
    def sum(cls, count: int) -> Mixing:
        """Equal weights 1: the sum of ``count`` sources."""
        return cls((1.0,) * _sources(count))

    @classmethod
    def mean(cls, count: int) -> Mixing:
        """Equal weights 1/K: the mean of ``count`` sources."""
        return cls((1.0 / _sources(count),) * count)

    @property
    def count(self) -> int:
        """The number K of sources."""
        return len(self.weights)

    @property
    def energy(self) -> float:
        """``sum_k a_k^2``."""
        return sum(weight * weight for weight in self.weights)

    def check(self, mixtures: Tensor, image_shape: tuple[int, int, int] | None = None, *,
              prior: Any = None, solves_filters: bool = False, fills_in: bool = False) -> None:
        """Refuse mixtures that no sources in [0, 1] under these weights can have made.

        Parameters
        ----------
        mixtures : Tensor (B, C, H, W)
            Of float32, finite, and within the range of the weights or one such range beside it: the
            overshoot of noise passes, images of 0 to 255 do not, nor do images in [-1, 1].
        image_shape : (C, H, W), optional
            What the prior knows.
        prior : optional
            What must be on the device of the mixtures.
        solves_filters, fills_in : bool
            What the method can do about unknown filters and pixels that were not seen.
        """
        self.check_form(mixtures)
        if image_shape is not None and tuple(mixtures.shape[1:]) != tuple(image_shape):
            raise SepvizError(f"mixtures of (C, H, W) = {tuple(mixtures.shape[1:])}: the prior knows {tuple(image_shape)}; "
                              "resize them or choose another prior")
        place = _device(prior)
        if place is not None and place != mixtures.device:
            raise SepvizError(f"mixtures on {mixtures.device}, the prior is on {place}: take "
                              f"problem.to({str(place)!r})")
        height, width = mixtures.shape[-2:]
        if self.filter_size is not None:
            if not solves_filters:
                raise SepvizError(f"mixtures through unknown filters of size {self.filter_size}: this method knows none; take synthesis")
            if self.filter_size > min(height, width):
                raise SepvizError(f"filter size {self.filter_size}: larger than the images, {height}x{width}")
        if self.visible is not None and not fills_in:
            raise SepvizError("mixtures that are seen in part: this method needs all pixels; take "
                              "synthesis")
        low, high = sum(min(weight, 0.0) for weight in self.weights), sum(max(weight, 0.0) for weight in self.weights)
        margin = max(1.0, high - low)
        least, most = float(mixtures.min()), float(mixtures.max())
        if least < low - margin or most > high + margin:
            raise SepvizError(f"mixtures from {least:.4g} to {most:.4g}: sources in [0, 1] with weights {self.weights} "
                              f"give {low:g} to {high:g}; rescale the mixtures or state other weights")
        side = min(DARK, height, width)
        darkest = float(functional.avg_pool2d(mixtures, side).min())
        if darkest < low - max(0.5, 3 / side):  # noise of up to 1 deviates by 0.6 / side
            total = sum(self.weights)
            raise SepvizError(f"mixtures have a dark part of {darkest:.2g} on average, sources in "
                              f"[0, 1] give {low:g} "
                              "and more: these look like images in [-1, 1], take (mixtures + "
                              f"{total:g}) / 2")

    def check_form(self, mixtures: Tensor) -> None:
        """Refuse what is no batch of images: of another shape or type, or not finite."""
        if not isinstance(mixtures, Tensor):
            raise SepvizError(f"mixtures of type {type(mixtures).__name__}: want a torch tensor "
                              "(B, C, H, W), "
                              "torch.as_tensor(mixtures).float() for example")
        if mixtures.layout != torch.strided or mixtures.is_meta:
            raise SepvizError(f"mixtures of layout {mixtures.layout} on {mixtures.device}: "
                              "want all numbers, mixtures.to_dense() for example")
        if mixtures.ndim != 4 or not mixtures.is_floating_point() or mixtures.numel() == 0:
            raise SepvizError(f"mixtures of shape {tuple(mixtures.shape)} and type "
                              f"{mixtures.dtype}: want floats (B, C, H, W)")
        if mixtures.dtype != torch.float32:
            raise SepvizError(f"mixtures of type {mixtures.dtype}: methods compute in float32, "
                              "take mixtures.float()")
        if mixtures.requires_grad:
            raise SepvizError("mixtures require gradients, which no method gives: take "
                              "mixtures.detach()")
        if mixtures.shape[1] > 4 >= mixtures.shape[3]:
            raise SepvizError(f"mixtures of shape {tuple(mixtures.shape)} have their channels "
                              "last: "
                              "move that axis, to (B, C, H, W)")
        if self.visible is not None and self.visible.shape != mixtures.shape[-2:]:
            raise SepvizError(f"visible of shape {tuple(self.visible.shape)}: the mixtures are "
                              f"{mixtures.shape[2]}x{mixtures.shape[3]}")
        bad = ~torch.isfinite(mixtures)
        if bool(bad.any()):
            raise SepvizError(f"mixture {int(bad.nonzero()[0, 0])} holds "
                              f"{float(mixtures[bad][0])}: every pixel must be a finite number")

    def weights_like(self, sources: Tensor) -> Tensor:
        """The weights as a tensor (K, 1, 1, 1) on the device of ``sources``."""
        return torch.tensor(self.weights, dtype=sources.dtype, device=sources.device)[:, None, None, None]

    def apply(self, sources: Tensor, filters: Tensor | None = None) -> Tensor:
        """Mix: sources (B, K, C, H, W), filtered by ``filters`` (B, K, h, w) if there are any -> mixtures (B, C, H, W), all pixels."""
        if sources.ndim != 5 or sources.shape[1] != self.count:
            raise SepvizError(f"sources of shape {tuple(sources.shape)}: want (B, {self.count}, C, H, W) for {self.count} weights")
        if filters is not None:
            sources = convolve(sources, filters)
        return (self.weights_like(sources) * sources).sum(dim=1)

    def adjoint(self, images: Tensor) -> Tensor:
        """The transpose of `apply`: images (B, C, H, W) -> ``a_k`` times each, (B, K, C, H, W)."""
        return self.weights_like(images) * images[:, None]

    def condition(self, sources: Tensor, mixtures: Tensor, variance: float | Sequence[float] | Tensor = 1.0,
                  noise_variance: float = 0.0, rng: Generator | None = None) -> Tensor:
        """The sources given the mixture, in closed form.

        With ``x_k ~ N(mu_k, v_k)`` independent and ``m = sum_k a_k x_k + N(0, g^2)``, the posterior mean is

            mu_k + v_k a_k / (sum_j a_j^2 v_j + g^2) * (m - sum_j a_j mu_j).

        If ``sources`` is itself a draw from ``N(mu, v)`` and ``rng`` is given, the result is a draw
        from the posterior (Matheron's rule): the residual is then taken to a noisy mixture.

        Parameters
        ----------
        sources : Tensor (B, K, C, H, W)
            The means ``mu``, or a draw.
        mixtures : Tensor (B, C, H, W)
        variance : float, K floats or a tensor that broadcasts to ``sources``
            The variances ``v_k``; only their ratios count when ``noise_variance`` is 0.
        noise_variance : float
            ``g^2``; 0 projects onto the mixture exactly.
        """
        if isinstance(variance, Sequence):
            variance = torch.tensor(variance, dtype=sources.dtype, device=sources.device)[:, None, None, None]
        variance = torch.as_tensor(variance, dtype=sources.dtype, device=sources.device).expand_as(sources)
        weights = self.weights_like(sources)
        residual = mixtures - self.apply(sources)
        if rng is not None and noise_variance > 0:
            noise = torch.randn(residual.shape, generator=rng, device=residual.device, dtype=residual.dtype)
            residual = residual - math.sqrt(noise_variance) * noise
        total = (weights.square() * variance).sum(dim=1) + noise_variance
        return sources + weights * variance * (residual / total)[:, None]
