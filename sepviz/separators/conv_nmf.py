"""Convolutive NMF: bases that may stand at several places, so that a filter is a way of placing them (Smaragdis 2004)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch import Generator, Tensor

from sepviz.core import Problem, SepvizError, Step
from sepviz.separators.nmf import Nmf


@dataclass(frozen=True)
class ConvNmf(Nmf):
    """`Nmf` with movable bases, ``m ~ sum_r h_r * basis_r``; each activation h_r is a small picture of places.

    Where sources went through unknown filters, the picture is read as ``h_r = (weight of basis r) f``: the source is
    every basis at its middle place with all of its weight, and the filter is what the class's activations sum to.
    """

    assumes: ClassVar[str] = "nonnegative bases of each class, and that the sources are of different classes; a filter"

    def steps(self, problem: Problem, rng: Generator, start: Step | None = None) -> Iterator[Step]:
        """As of `Nmf`; where filters are unknown, ``extras["filters"]`` (B, K, h, w), of sum 1 each."""
        side, size = 2 * self.prior.reach + 1, problem.mixing.filter_size
        if side == 1:
            raise SepvizError(f"the bases of {self.prior.name} stand at one place: take a convolutive dictionary, or the method nmf")
        if size is not None and size != side:
            raise SepvizError(f"filter size {size}: the bases of {self.prior.name} move within {side}x{side}; state that size")
        return super().steps(problem, rng, start)

    def _unfiltered(self, images: Tensor, activations: Tensor, atoms: Tensor, problem: Problem) -> tuple[Tensor, Tensor | None]:
        size = problem.mixing.filter_size
        if size is None:
            return images, None
        middle = atoms.reshape(*activations.shape[1:], -1)[:, :, size**2 // 2]
        return (activations.sum(dim=3)[..., None] * middle).sum(dim=2), activations.sum(dim=2).unflatten(2, (size, size))
