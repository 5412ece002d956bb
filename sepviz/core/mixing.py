"""The linear forward model: a mixture is the weighted sum of its sources.

The sources may go through unknown filters, and the mixture may be visible only in part.
"""

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
from sepviz.core.medium import PICTURE, Medium
from sepviz.core.parameters import check_whole, is_whole

MOST_SOURCES = 1000


def convolve(images: Tensor, filters: Tensor) -> Tensor:
    """Images (B, K, C, H, W) through filters (B, K, h, w) with odd h and w, zero padded.

    True convolution, ``(f * x)[u] = sum_v f[v] x[u - v]`` with v from the filter's centre: a filter
    with a single 1 right of its centre moves the image to the right. (torch's conv2d correlates: it
    would move the image to the left.)
    """
    if images.ndim != 5:
        raise SepvizError(f"signals of shape {tuple(images.shape)}: only pictures (B, K, C, H, W) "
                          "can be filtered")
    (batch, count), sides = images.shape[:2], filters.shape[2:]
    odd = filters.ndim == 4 and all(side % 2 for side in sides)
    if filters.shape[:2] != (batch, count) or not odd:
        raise SepvizError(f"filters of shape {tuple(filters.shape)}: "
                          f"want ({batch}, {count}, h, w) with h and w odd")
    turned = filters.flip(2, 3).repeat_interleave(images.shape[2], dim=1).flatten(0, 1)[:, None]
    flat = images.reshape(1, -1, *images.shape[3:])
    padding = (sides[0] // 2, sides[1] // 2)
    return functional.conv2d(flat, turned, padding=padding, groups=flat.shape[1]).view_as(images)


def top_half(height: int, width: int) -> Tensor:
    """The mask (height, width) that shows the upper half."""
    return (torch.arange(height) < height // 2)[:, None].expand(height, width).clone()


def shifted_copies(images: Tensor, size: int) -> Tensor:
    """Images (N, K, C, H, W) as each entry of a filter moves them -> (N, K, size^2, C H W).

    ``f * x = sum_t f_t copy_t``, zero padded, for square filters of this odd size.
    """
    flat = images.reshape(-1, 1, *images.shape[3:])
    windows = functional.unfold(flat, size, padding=size // 2).flip(1)
    return windows.reshape(*images.shape[:3], size**2, -1).transpose(2, 3).flatten(3)


def _sources(count: Any) -> int:
    """A number K of sources, checked."""
    check_whole(K=count)
    if not 1 <= count <= MOST_SOURCES:
        raise SepvizError(f"K = {shown(count)} sources: want at least 1, at most {MOST_SOURCES}")
    return int(count)


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _checked_weights(given: Any) -> tuple[float, ...]:
    """Weights of any kind of numbers as floats."""
    weights = given.tolist() if hasattr(given, "tolist") else given
    if isinstance(weights, str) or not isinstance(weights, Sequence):
        raise SepvizError(f"weights {shown(given)}: want a number for each source, (1.0,) for one")
    if not weights:
        raise SepvizError("weights are empty: a mixture needs at least one source")
    plain = [one.item() if getattr(one, "ndim", None) == 0 else one for one in weights]
    if not all(_is_number(weight) and 1e-6 <= abs(weight) <= 1e6 for weight in plain):
        raise SepvizError(f"weights {shown(tuple(plain))}: each must be a finite number, not 0, "
                          "and of size 1e-6 to 1e6")
    return tuple(float(weight) for weight in plain)


def _device(prior: Any) -> torch.device | None:
    """Where a prior's numbers are; None where it has none."""
    parameters = getattr(prior, "parameters", None)  # of a module
    held = parameters() if callable(parameters) else getattr(prior, "__dict__", {}).values()
    return next((value.device for value in held if isinstance(value, Tensor)), None)


@dataclass(frozen=True)
class Mixing:
    """``m = sum_k a_k (f_k * x_k)`` where it is visible, the same weights for every mixture.

    Parameters
    ----------
    weights : tuple of float
        The K weights ``a``; ``(1, 1)`` is the sum of two sources, ``(0.5, 0.5)`` their mean.
    filter_size : int, optional
        Each source went through an unknown filter f_k of at most this size, which differs from
        mixture to mixture; odd.
    visible : Tensor (H, W) of bool, optional
        Where the mixtures are known; left out: everywhere.
    """

    weights: tuple[float, ...]
    filter_size: int | None = None
    visible: Tensor | None = field(default=None, compare=False)

    def __post_init__(self):
        object.__setattr__(self, "weights", _checked_weights(self.weights))
        size: Any = self.filter_size
        if size is not None:
            if not is_whole(size) or size < 1 or size % 2 == 0:
                raise SepvizError(f"filter size {shown(size)}: want one odd whole number, "
                                  "5 for example")
            object.__setattr__(self, "filter_size", int(size))
        seen: Any = self.visible
        if seen is not None and not isinstance(seen, Tensor):
            raise SepvizError(f"visible {shown(seen)}: want a torch tensor (H, W) of bool")
        if seen is not None and (seen.ndim != 2 or seen.dtype != torch.bool or not seen.any()):
            raise SepvizError(f"visible of shape {tuple(seen.shape)} and type {seen.dtype}: want "
                              "bool (H, W), true where the mixtures are known, at least once")

    @classmethod
    def sum(cls, count: int) -> Mixing:
        """Weights 1 for each of ``count`` sources."""
        return cls((1.0,) * _sources(count))

    @classmethod
    def mean(cls, count: int) -> Mixing:
        """Weights 1/K for each of ``count`` sources."""
        return cls((1.0 / _sources(count),) * count)

    @classmethod
    def of(cls, weights: Sequence[float] | str, count: int | None) -> Mixing:
        """Of ``count`` sources (None: as many as weights) by "sum", "mean" or a number for each."""
        if isinstance(weights, str):
            if weights not in ("sum", "mean") or count is None:
                each = "a number for each source" if count is None else f"{count} numbers"
                raise SepvizError(f"weights {weights!r}: want sum, mean or {each}")
            return cls.sum(count) if weights == "sum" else cls.mean(count)
        mixing = cls(weights)  # type: ignore[arg-type]
        if count not in (None, mixing.count):
            raise SepvizError(f"{mixing.count} weights {mixing.weights} for K = {count} sources: "
                              f"give one for each of {count}, or sum or mean")
        return mixing

    @property
    def count(self) -> int:
        """The number K of sources."""
        return len(self.weights)

    @property
    def energy(self) -> float:
        """``sum_k a_k^2``."""
        return sum(weight * weight for weight in self.weights)

    def check(self, mixtures: Tensor, image_shape: tuple[int, int, int] | None = None, *,
              prior: Any = None, solves_filters: bool = False, fills_in: bool = False,
              medium: Medium = PICTURE) -> None:
        """Refuse mixtures (B, C, H, W) that a method cannot take, or that cannot be mixtures.

        Parameters
        ----------
        image_shape : (C, H, W), optional
            The only shape that the prior takes.
        prior : optional
            What must be on the device of the mixtures.
        solves_filters, fills_in : bool
            Whether the method takes unknown filters, and mixtures that are visible in part.
        """
        self.check_form(mixtures, medium)
        shape = tuple(mixtures.shape[1:])
        if image_shape is not None and shape != tuple(image_shape):
            raise SepvizError(f"mixtures of {medium.form()} = {shape}: the prior knows "
                              f"{tuple(image_shape)}; resize them or choose another prior")
        place = _device(prior)
        if place is not None and place != mixtures.device:
            raise SepvizError(f"mixtures on {mixtures.device}, the prior is on {place}: take "
                              f"problem.to({str(place)!r})")
        if self.filter_size is not None and not solves_filters:
            raise SepvizError(f"mixtures through unknown filters of size {self.filter_size}: this "
                              "method knows none; take synthesis")
        if self.filter_size is not None and self.filter_size > min(medium.extent(shape)):
            raise SepvizError(f"filter size {self.filter_size}: larger than the images, "
                              f"{'x'.join(map(str, medium.extent(shape)))}")
        if self.visible is not None and not fills_in:
            raise SepvizError(f"mixtures that are seen in part: this method needs every "
                              f"{medium.value}; take synthesis")
        medium.check_range(mixtures, self.weights)

    def check_form(self, mixtures: Tensor, medium: Medium = PICTURE) -> None:
        """Refuse what is no batch of signals, or does not fit ``visible``."""
        medium.check_form(mixtures)
        extent = medium.extent(mixtures.shape)
        if self.visible is not None and tuple(self.visible.shape) != extent:
            raise SepvizError(f"visible of shape {tuple(self.visible.shape)}: the mixtures are "
                              f"{'x'.join(map(str, extent))}")

    def weights_like(self, values: Tensor, axes: int) -> Tensor:
        """The weights (K, 1, 1, 1), with ``axes`` ones, of the type and device of ``values``."""
        return values.new_tensor(self.weights).reshape(-1, *[1] * axes)

    def apply(self, sources: Tensor, filters: Tensor | None = None) -> Tensor:
        """Mix sources (B, K, C, H, W), through filters (B, K, h, w) if given -> (B, C, H, W)."""
        if sources.ndim < 3 or sources.shape[1] != self.count:
            raise SepvizError(f"sources of shape {tuple(sources.shape)}: want "
                              f"(B, {self.count}, C, H, W) for {self.count} weights")
        if filters is not None:
            sources = convolve(sources, filters)
        return (self.weights_like(sources, sources.ndim - 2) * sources).sum(dim=1)

    def adjoint(self, images: Tensor) -> Tensor:
        """The transpose of `apply`: images (B, C, H, W) -> ``a_k`` times each, (B, K, C, H, W)."""
        return self.weights_like(images, images.ndim - 1) * images[:, None]

    def condition(self, sources: Tensor, mixtures: Tensor,
                  variance: float | Sequence[float] | Tensor = 1.0,
                  noise_variance: float = 0.0, rng: Generator | None = None) -> Tensor:
        """The sources given the mixture, in closed form.

        With ``x_k ~ N(mu_k, v_k)`` independent and ``m = sum_k a_k x_k + N(0, g^2)``, the posterior
        mean is

            mu_k + v_k a_k / (sum_j a_j^2 v_j + g^2) * (m - sum_j a_j mu_j).

        If ``sources`` is itself a draw from ``N(mu, v)`` and ``rng`` is given, the result is a draw
        from the posterior (Matheron's rule): the residual is then taken to a noisy mixture.

        Parameters
        ----------
        sources : Tensor (B, K, C, H, W)
            The means ``mu``, or a draw.
        variance : float, K floats or a tensor that broadcasts to ``sources``
            The variances ``v_k``; only their ratios count when ``noise_variance`` is 0.
        noise_variance : float
            ``g^2``; 0 projects onto the mixture (B, C, H, W) exactly.
        """
        axes = sources.ndim - 2
        if not isinstance(variance, Tensor):
            variance = sources.new_tensor(variance).reshape(-1, *[1] * axes)
        variance = variance.to(sources).expand_as(sources)
        weights = self.weights_like(sources, axes)
        residual = mixtures - self.apply(sources)
        if rng is not None and noise_variance > 0:
            noise = torch.randn(residual.shape, generator=rng, dtype=residual.dtype,
                                device=residual.device)
            residual = residual - math.sqrt(noise_variance) * noise
        total = (weights.square() * variance).sum(dim=1) + noise_variance
        return sources + weights * variance * (residual / total)[:, None]
