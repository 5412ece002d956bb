"""Nonnegative matrix factorisation: the mixture as a sum of bases learned from clean images."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor

from sepviz.core import Problem, Separator, SepvizError, Step, parameter, spread
from sepviz.priors.dictionary import TINY, DictionaryPrior, update_activations
from sepviz.separators.choice import pick

Found = tuple[Tensor, Tensor | None]  # images and filters


@dataclass(frozen=True)
class Nmf(Separator):
    """The baseline of Kong et al. 2019: find ``h >= 0`` with ``m ~ h W`` for bases W.

    One step is one multiplicative update of h (Lee & Seung 2001, Theorem 1). A single source is the
    whole reconstruction. Each of several is what the bases of one class explain: the strongest
    classes are taken, and half-way all other bases are dropped. What noise or a filter did to the
    image stays in the answer.
    """

    prior: DictionaryPrior
    iterations: int = parameter(200, "multiplicative updates", low=1, high=2000)

    assumes = "nonnegative bases of each class, and that the sources are of different classes"
    handles: ClassVar = {"solves_filters": True, "fills_in": True}  # see `Mixing.check`

    def total_steps(self, problem: Problem) -> int:
        return self.iterations

    def check(self, problem: Problem) -> None:
        """Refuse negative weights, and more sources than the dictionary has classes."""
        super().check(problem)
        weights, classes = problem.mixing.weights, self.prior.classes
        if min(weights) < 0:
            raise SepvizError(f"weights {weights}: a nonnegative factorisation takes no negative "
                              "ones; take split-gibbs")
        if len(weights) > classes:
            raise SepvizError(f"{len(weights)} sources: the dictionary knows {classes} classes, "
                              "one source each")

    def steps(self, problem: Problem, rng: Generator, start: Step | None = None) -> Iterator[Step]:
        """Yield step 0 (random activations), then every update.

        ``state["activations"]`` are (B, classes, bases of each, places).
        """
        mixtures, mixing, *_ = problem
        self.check(problem)
        atoms, flat = self.prior.atoms(), mixtures.clamp_min(0).flatten(1)
        visible = mixing.visible
        if visible is not None:
            visible = visible.to(flat).expand(mixtures.shape[1:]).flatten()
        if start is None:
            level = flat.sum(dim=1, keepdim=True).clamp_min(1e-3) / len(atoms)  # a basis sums to 1
            noise = torch.rand((len(flat), len(atoms)), generator=rng, device=flat.device)
            shape = (len(flat), self.prior.classes, self.prior.per_class, -1)
            h = (level * (0.5 + noise)).reshape(shape)
        else:
            h = start.state["activations"]
        for index in range(start.index + 1 if start else 0, self.iterations + 1):
            if index:
                h = self._update(h, atoms, flat, visible, problem)
            if index == self.iterations // 2 and mixing.count > 1:
                chosen = strongest(explained(h, atoms), mixing.count)
                kept = torch.zeros(h.shape[:2], device=flat.device).scatter_(1, chosen, 1.0)
                h = h * spread(kept, h)
            yield self._step(index, h, atoms, problem)

    def _step(self, index: int, h: Tensor, atoms: Tensor, problem: Problem) -> Step:
        mixing, images, chosen = problem.mixing, explained(h, atoms), None
        if mixing.count > 1:  # the strongest class is the source of the largest weight
            by_weight = sorted(range(mixing.count), key=lambda k: -mixing.weights[k])
            chosen = strongest(images, mixing.count)
            chosen[:, by_weight] = chosen.clone()
        images, filters = self._unfiltered(images, h, atoms, problem)
        results: dict[str, Tensor] = {}
        if filters is not None:
            filters = gather(filters, chosen)
            total = filters.sum(dim=(2, 3), keepdim=True).clamp_min(TINY)
            results["filters"] = filters = filters / total
        sources = gather(images, chosen).unflatten(2, problem.mixtures.shape[1:])
        sources = sources / mixing.weights_like(sources, sources.ndim - 2)
        info = {"evaluations": index, "residual": problem.residual(sources, filters)}
        state = {"activations": h.clone()}
        return Step(index, f"update {index}", sources, results=results, state=state, info=info)

    def _update(self, h: Tensor, atoms: Tensor, images: Tensor, visible: Tensor | None,
                problem: Problem) -> Tensor:
        """One multiplicative update of the activations (B, classes, bases of each, places)."""
        return update_activations(h.flatten(1), atoms, images, visible).reshape(h.shape)

    def _unfiltered(self, images: Tensor, h: Tensor, atoms: Tensor, problem: Problem) -> Found:
        """Images (B, classes, C H W) without an unknown filter, and the filters."""
        return images, None


def explained(h: Tensor, atoms: Tensor) -> Tensor:
    """What each class explains: (B, classes, bases, places) -> (B, classes, C H W)."""
    by_class = atoms.reshape(h.shape[1], -1, atoms.shape[1])
    return torch.einsum("bca,can->bcn", h.flatten(2), by_class)


def strongest(images: Tensor, count: int) -> Tensor:
    """The ``count`` classes of (B, classes, C H W) with most energy, in order: (B, count)."""
    return images.square().sum(dim=2).topk(count, dim=1).indices


def gather(values: Tensor, chosen: Tensor | None) -> Tensor:
    """The chosen classes' (B, count, ...), or the sum over all classes (B, 1, ...)."""
    return values.sum(dim=1, keepdim=True) if chosen is None else pick(values, chosen)
