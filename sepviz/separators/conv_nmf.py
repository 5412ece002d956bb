"""Convolutive NMF: bases that may stand at several places, so that a filter places them."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Generator, Tensor

from sepviz.core import Problem, SepvizError, Step
from sepviz.priors.dictionary import TINY
from sepviz.separators.nmf import Found, Nmf


@dataclass(frozen=True)
class ConvNmf(Nmf):
    """`Nmf` with movable bases, ``m ~ sum_r h_r * basis_r`` (Smaragdis 2004).

    The activation h_r is a small picture of places. Where sources went through unknown filters, all
    bases of a class move alike, ``h_r = w_r f``: the source is every basis at its middle place with
    its weight w_r, f is the filter, and both are updated in turn.
    """

    assumes = ("nonnegative bases of each class, and that the sources are of different classes; "
               "a filter")

    def check(self, problem: Problem) -> None:
        """Refuse a dictionary of immovable bases, and filters of another size than these move."""
        super().check(problem)
        side, size = 2 * self.prior.reach + 1, problem.mixing.filter_size
        if side == 1:
            raise SepvizError(f"the bases of {self.prior.name} stand at one place: take a "
                              "convolutive dictionary, or the method nmf")
        if size is not None and size != side:
            raise SepvizError(f"filter size {size}: the bases of {self.prior.name} move within "
                              f"{side}x{side}; state that size")

    def steps(self, problem: Problem, rng: Generator, start: Step | None = None) -> Iterator[Step]:
        """As of `Nmf`; ``results["filters"]`` (B, K, h, w) of sum 1 where filters are unknown."""
        return super().steps(problem, rng, start)

    def _update(self, h: Tensor, atoms: Tensor, images: Tensor, visible: Tensor | None,
                problem: Problem) -> Tensor:
        """With unknown filters: of the weights, then of the filters; the error never grows."""
        if problem.mixing.filter_size is None:
            return super()._update(h, atoms, images, visible, problem)
        seen = atoms if visible is None else atoms * visible
        wanted = (images @ seen.T).reshape(h.shape)
        of_filter = (1, 2) if problem.mixing.count == 1 else (2,)  # a single source has one filter

        def updated(values: Tensor, other: Tensor, over: tuple[int, ...]) -> Tensor:
            made = ((values * other).flatten(1) @ atoms @ seen.T).reshape(h.shape)
            above = (wanted * other).sum(dim=over, keepdim=True)
            return values * above / ((made * other).sum(dim=over, keepdim=True) + TINY)

        weights, filters = h.sum(dim=3, keepdim=True), h.sum(dim=2, keepdim=True)
        total = weights.sum(dim=of_filter, keepdim=True).clamp_min(TINY)
        filters = filters.sum(dim=of_filter, keepdim=True) / total
        weights = updated(weights, filters, (3,))
        return weights * updated(filters, weights, of_filter)

    def _unfiltered(self, images: Tensor, h: Tensor, atoms: Tensor, problem: Problem) -> Found:
        size = problem.mixing.filter_size
        if size is None:
            return images, None
        middle = atoms.reshape(*h.shape[1:], -1)[:, :, size**2 // 2]
        images = (h.sum(dim=3)[..., None] * middle).sum(dim=2)
        return images, h.sum(dim=2).unflatten(2, (size, size))
