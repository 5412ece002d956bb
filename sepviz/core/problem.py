"""What a method may see, and what it may not: the truth."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from torch import Tensor, device

from sepviz.core.mixing import Mixing

SEES = {  # what examples a method may learn from
    "mixtures": "other mixtures and nothing else: blind",
    "observed": "other mixtures, and clean images of the observed source that are in none of them",
    "all": "the images that those mixtures were made of as well: for an upper bound",
}


class Examples(NamedTuple):
    """Unpaired images to learn from: what the setting allows a method to see, and no more."""

    mixtures: Tensor  # (M, C, H, W): other mixtures of the same kind
    observed: Tensor | None = None  # (N, C, H, W): clean images of the last source, none of them in the mixtures
    unobserved: Tensor | None = None  # (L, C, H, W): clean images of the first source; for an upper bound alone


class Problem(NamedTuple):
    """All that a method may see."""

    mixtures: Tensor  # (B, C, H, W)
    mixing: Mixing  # what is known of the forward model
    examples: Examples | None = None  # for methods that learn from mixtures

    def to(self, where: str | device) -> Problem:
        """The same problem with all its tensors on another device, the examples too."""
        examples, visible = self.examples, self.mixing.visible
        if examples is not None:
            moved = (None if images is None else images.to(where) for images in examples)
            examples = Examples(*moved)  # type: ignore[arg-type]  # the first is never None
        seen = None if visible is None else visible.to(where)
        mixing = dataclasses.replace(self.mixing, visible=seen)
        return Problem(self.mixtures.to(where), mixing, examples)

    def left_over(self, sources: Tensor, filters: Tensor | None = None) -> Tensor:
        """What the remix of sources (B, K, C, H, W) through ``filters`` (B, K, h, w) leaves of the mixtures; 0 where nothing is seen."""
        left = self.mixtures - self.mixing.apply(sources, filters)
        return left if self.mixing.visible is None else left * self.mixing.visible.to(left)

    def residuals(self, sources: Tensor, filters: Tensor | None = None) -> Tensor:
        """RMS of `left_over` over the pixels that are seen, for each mixture (B,)."""
        visible = self.mixing.visible
        share = 1.0 if visible is None else float(visible.float().mean())
        return (self.left_over(sources, filters).square().mean(dim=(1, 2, 3)) / share).sqrt()

    def residual(self, sources: Tensor, filters: Tensor | None = None) -> float:
        """`residuals` over all mixtures, in pixel units."""
        return float(self.residuals(sources, filters).square().mean().sqrt())


class Truth(NamedTuple):
    """What was mixed: for metrics and widgets, never for a method."""

    sources: Tensor  # (B, K, C, H, W)
    filters: Tensor | None = None  # (B, K, h, w), where the sources were filtered
