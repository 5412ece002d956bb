"""What the numbers of a signal mean. Only this file, the views and the metrics know a picture.

Code that only computes with signals uses `axes_from` and `spread`, which work with any axes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from sepviz.core.errors import SepvizError

DARK = 8  # pixels: noise averages out over a square of this side, and what is black stays near 0


@dataclass(frozen=True)
class Medium:
    """What a number of a source is, along which axes the numbers lie, and how to show them.

    Parameters
    ----------
    name : str
        In files, a key of `MEDIA`.
    value : str
        What one number is, in messages: "pixel".
    axes : tuple of str
        Names of the axes after those of batch and source. Where there is an axis "channels", it is
        the first; a mask of what is visible, or a filter, is the same for all channels.
    low, high : float
        The range of a source; ``high`` may be infinite.
    peak : float
        What PSNR and SSIM measure errors against.
    unit : str
        Of differences: "pixel values".
    drawn, heard : str
        The ways in which views draw and play it; empty where there is none.
    """

    name: str
    value: str
    axes: tuple[str, ...]
    low: float
    high: float
    peak: float
    unit: str
    drawn: str = ""
    heard: str = ""

    def form(self, *before: str) -> str:
        """A shape in words, "(B, C, H, W)" for ``form("B")``: an axis is its first letter."""
        return f"({', '.join([*before, *(axis[0].upper() for axis in self.axes)])})"

    @property
    def range(self) -> str:
        """``[0, 1]``, in words."""
        return f"[{self.low:g}, {self.high:g}{']' if math.isfinite(self.high) else ')'}"

    def clamp(self, values: Tensor) -> Tensor:
        """Values brought into the range."""
        return values.clamp(self.low, self.high)

    def extent(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The lengths of the axes other than channels: (H, W) of ``shape`` (..., C, H, W)."""
        return tuple(shape[len(shape) - len(self.axes) + (self.axes[0] == "channels"):])

    def reach(self, weights: Sequence[float]) -> tuple[float, float]:
        """The least and the largest value of a mixture with these weights."""
        ends = [sorted((weight * self.low, weight * self.high)) for weight in weights]
        return sum(low for low, _ in ends), sum(high for _, high in ends)

    def want_drawn(self, way: str = "picture") -> None:
        """Refuse, in a view that draws in this way only, a medium that is drawn in another."""
        if self.drawn != way:
            raise SepvizError(f"signals of medium {self.name} (axes {', '.join(self.axes)}): this "
                              f"view draws only media that are drawn as a {way}; "
                              "read the numbers from the trace")

    def check_form(self, mixtures: Tensor) -> None:
        """Refuse what is no batch of finite numbers (B, C, H, W), float32 and without gradients."""
        form = self.form("B")
        if not isinstance(mixtures, Tensor):
            raise SepvizError(f"mixtures of type {type(mixtures).__name__}: want a torch tensor "
                              f"{form}, torch.as_tensor(mixtures).float() for example")
        shape, kind = tuple(mixtures.shape), mixtures.dtype
        if mixtures.layout != torch.strided or mixtures.is_meta:
            raise SepvizError(f"mixtures of layout {mixtures.layout} on {mixtures.device}: "
                              "want all numbers, mixtures.to_dense() for example")
        if len(shape) != 1 + len(self.axes) or not kind.is_floating_point or not mixtures.numel():
            raise SepvizError(f"mixtures of shape {shape} and type {kind}: want floats {form}")
        if kind != torch.float32:
            raise SepvizError(f"mixtures of type {kind}: methods compute in float32, "
                              "take mixtures.float()")
        if mixtures.requires_grad:
            raise SepvizError("mixtures require gradients, which no method gives: "
                              "take mixtures.detach()")
        if self.axes[0] == "channels" and shape[1] > 4 >= shape[-1]:
            raise SepvizError(f"mixtures of shape {shape} have their channels last: "
                              f"move that axis, to {form}")
        bad = ~torch.isfinite(mixtures)
        if bool(bad.any()):
            raise SepvizError(f"mixture {int(bad.nonzero()[0, 0])} holds "
                              f"{float(mixtures[bad][0])}: every {self.value} must be a finite "
                              "number")

    def check_range(self, mixtures: Tensor, weights: Sequence[float]) -> None:
        """Refuse mixtures that no sources in the range, under these weights, can have made.

        One such range beside it is allowed: the overshoot of noise passes, pictures of 0 to 255
        do not, nor do pictures in [-1, 1].
        """
        low, high = self.reach(weights)
        margin = self.peak * max(1.0, sum(map(abs, weights)))
        least, most = float(mixtures.min()), float(mixtures.max())
        if least < low - margin or most > high + margin:
            raise SepvizError(f"mixtures from {least:.4g} to {most:.4g}: sources in {self.range} "
                              f"with weights {tuple(weights)} give {low:g} to {high:g}; "
                              "rescale the mixtures or state other weights")
        if self.drawn != "picture":
            return
        side = min(DARK, *self.extent(mixtures.shape))
        darkest = float(functional.avg_pool2d(mixtures, side).min())
        if darkest < low - max(0.5, 3 / side):  # noise of up to 1 deviates by 0.6 / side
            raise SepvizError(f"mixtures have a dark part of {darkest:.2g} on average, sources in "
                              f"{self.range} give {low:g} and more: these look like images in "
                              f"[-1, 1], take (mixtures + {sum(weights):g}) / 2")


PICTURE = Medium("picture", "pixel", ("channels", "height", "width"), 0.0, 1.0, peak=1.0,
                 unit="pixel values", drawn="picture")  # gray or in colours, by its channels
MEDIA = {PICTURE.name: PICTURE}


def axes_from(values: Tensor, first: int) -> tuple[int, ...]:
    """The axes of a signal, to reduce over: all from the first after batch (and source) on."""
    return tuple(range(first, values.ndim))


def spread(values: Tensor, like: Tensor) -> Tensor:
    """A number for each item (B,) or source (B, K) with axes of 1 behind, to multiply ``like``."""
    return values.reshape(*values.shape, *[1] * (like.ndim - values.ndim))
