"""What a method may see, and what it may not: the truth."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from torch import Tensor, device

from sepviz.core.medium import PICTURE, Medium, axes_from
from sepviz.core.mixing import Mixing

# Shapes are written for pictures, (C, H, W); another medium has its own axes in their place.

SEES = {  # what examples a method may learn from
    "mixtures": "other mixtures and nothing else: blind",
    "observed": "other mixtures, and clean images of the observed source that are in none of them",
    "all": "the images that those mixtures were made of as well: for an upper bound",
}


class Examples(NamedTuple):
    """Unpaired signals to learn from: what the setting allows a method to see, and no more."""

    mixtures: Tensor  # (M, C, H, W): other mixtures of the same kind
    observed: Tensor | None = None  # (N, C, H, W): the last source, clean, of none of the mixtures
    unobserved: Tensor | None = None  # (L, C, H, W): the first source, clean; for an upper bound


class Problem(NamedTuple):
    """All that a method may see."""

    mixtures: Tensor  # (B, C, H, W)
    mixing: Mixing  # what is known of the forward model
    examples: Examples | None = None  # for methods that learn from mixtures
    medium: Medium = PICTURE  # what the numbers are

    def to(self, where: str | device) -> Problem:
        """The same problem with all its tensors on another device, the examples too."""
        examples, visible = self.examples, self.mixing.visible
        if examples is not None:
            moved = (None if signals is None else signals.to(where) for signals in examples)
            examples = Examples(*moved)  # type: ignore[arg-type]  # the first is never None
        seen = None if visible is None else visible.to(where)
        mixing = dataclasses.replace(self.mixing, visible=seen)
        return self._replace(mixtures=self.mixtures.to(where), mixing=mixing, examples=examples)

    def left_over(self, sources: Tensor, filters: Tensor | None = None) -> Tensor:
        """The mixtures minus the remix, see `Mixing.apply`; 0 where nothing is visible."""
        left = self.mixtures - self.mixing.apply(sources, filters)
        return left if self.mixing.visible is None else left * self.mixing.visible.to(left)

    def residuals(self, sources: Tensor, filters: Tensor | None = None) -> Tensor:
        """RMS of `left_over` over what is visible, for each mixture (B,)."""
        visible = self.mixing.visible
        share = 1.0 if visible is None else float(visible.float().mean())
        square = self.left_over(sources, filters).square()
        return (square.mean(dim=axes_from(square, 1)) / share).sqrt()

    def residual(self, sources: Tensor, filters: Tensor | None = None) -> float:
        """`residuals` over all mixtures, in the medium's unit."""
        return float(self.residuals(sources, filters).square().mean().sqrt())


class Truth(NamedTuple):
    """What was mixed: for metrics and views, never for a method."""

    sources: Tensor  # (B, K, C, H, W)
    filters: Tensor | None = None  # (B, K, h, w), where the sources were filtered

    def to(self, where: str | device) -> Truth:
        """The same truth on another device."""
        filters = None if self.filters is None else self.filters.to(where)
        return Truth(self.sources.to(where), filters)
