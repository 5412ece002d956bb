"""Convolutive NMF: bases that may stand at several places, so that a filter is a way of placing them (Smaragdis 2004)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch import Generator, Tensor

from sepviz.core import Problem, SepvizError, Step
from sepviz.priors.dictionary import TINY
from sepviz.separators.nmf import Nmf


@dataclass(frozen=True)
class ConvNmf(Nmf):
    """`Nmf` with movable bases, ``m ~ sum_r h_r * basis_r``; each activation h_r is a small picture of places.

    Where sources went through unknown filters, all bases of a class move alike, ``h_r = w_r f``: the source is every basis at
    its middle place with its weight w_r, f is the filter, and the two are updated in turn.
    """

    assumes: ClassVar[str] = "nonnegative bases of each class, and that the sources are of different classes; a filter"

    def check(self, problem: Problem) -> None:
        """Refuse a dictionary of immovable bases, and filters of another size than these move."""
        super().check(problem)
        side, size = 2 * self.prior.reach + 1, problem.mixing.filter_size
        if side == 1:
            raise SepvizError(f"the bases of {self.prior.name} stand at one place: take a convolutive dictionary, or the method nmf")
        if size is not None and size != side:
            raise SepvizError(f"filter size {size}: the bases of {self.prior.name} move within {side}x{side}; state that size")

    def steps(self, problem: Problem, rng: Generator, start: Step | None = None) -> Iterator[Step]:
        """As of `Nmf`; where filters are unknown, ``results["filters"]`` (B, K, h, w), of sum 1 each."""
        return super().steps(problem, rng, start)

    def _update(self, activations: Tensor, atoms: Tensor, images: Tensor, visible: Tensor | None, problem: Problem) -> Tensor:
        """With unknown filters: of the weights w, then of the filters f, of sum 1, each a step that never lets the error grow."""
        if problem.mixing.filter_size is None:
            return super()._update(activations, atoms, images, visible, problem)
        seen = atoms if visible is None else atoms * visible
        wanted = (images @ seen.T).reshape(activations.shape)
        weights, filters = activations.sum(dim=3, keepdim=True), activations.sum(dim=2, keepdim=True)
        over = (1, 2) if problem.mixing.count == 1 else (2,)  # of a single source, all classes are parts, and share its filter
        filters = filters.sum(dim=over, keepdim=True) / weights.sum(dim=over, keepdim=True).clamp_min(TINY)
        made = ((weights * filters).flatten(1) @ atoms @ seen.T).reshape(activations.shape)
        weights = weights * (wanted * filters).sum(dim=3, keepdim=True) / ((made * filters).sum(dim=3, keepdim=True) + TINY)
        made = ((weights * filters).flatten(1) @ atoms @ seen.T).reshape(activations.shape)
        filters = filters * (wanted * weights).sum(dim=over, keepdim=True) / ((made * weights).sum(dim=over, keepdim=True) + TINY)
        return weights * filters

    def _unfiltered(self, images: Tensor, activations: Tensor, atoms: Tensor, problem: Problem) -> tuple[Tensor, Tensor | None]:
        size = problem.mixing.filter_size
        if size is None:
            return images, None
        middle = atoms.reshape(*activations.shape[1:], -1)[:, :, size**2 // 2]
        return (activations.sum(dim=3)[..., None] * middle).sum(dim=2), activations.sum(dim=2).unflatten(2, (size, size))
