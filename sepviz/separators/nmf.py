"""Nonnegative matrix factorisation: the mixture as a nonnegative sum of bases learned from each class of clean images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor

from sepviz.core import Problem, Separator, SepvizError, Step, parameter
from sepviz.priors.dictionary import DictionaryPrior, update_activations


@dataclass(frozen=True)
class Nmf(Separator):
    """The baseline of Kong et al. 2019: find ``h >= 0`` with ``m ~ h W``, the rows of W the bases of all classes.

    One step is one multiplicative update of h (Lee & Seung 2001, Theorem 1). A single source is the whole
    reconstruction. Of several, each is what the bases of one class explain: those of the strongest classes are taken,
    and half-way the bases of all others are left out. What noise or a filter did to the image is taken for image.
    """

    prior: DictionaryPrior
    iterations: int = parameter(200, "multiplicative updates", low=1, high=2000)

    assumes: ClassVar[str] = "nonnegative bases of each class, and that the sources are of different classes"
    handles: ClassVar[dict[str, bool]] = {"solves_filters": True, "fills_in": True}  # see `Mixing.check`

    def total_steps(self, problem: Problem) -> int:
        """The number of steps after step 0."""
        return self.iterations

    def check(self, problem: Problem) -> None:
        """Refuse negative weights, and more sources than the dictionary has classes."""
        super().check(problem)
        mixing = problem.mixing
        if min(mixing.weights) < 0:
            raise SepvizError(f"weights {mixing.weights}: a nonnegative factorisation knows no negative "
                              "ones; take split-gibbs")
        if mixing.count > self.prior.classes:
            raise SepvizError(f"{mixing.count} sources: the dictionary knows {self.prior.classes} "
                              "classes, one source each")

    def steps(self, problem: Problem, rng: Generator, start: Step | None = None) -> Iterator[Step]:
        """Yield step 0 (random activations), then every update; ``state["activations"]`` (B, classes, bases of each, places)."""
        mixtures, mixing, *_ = problem
        self.check(problem)
        atoms, flat = self.prior.atoms(), mixtures.clamp_min(0).flatten(1)
        visible = None if mixing.visible is None else mixing.visible.to(flat).expand(mixtures.shape[1:]).flatten()
        shape = (len(flat), self.prior.classes, self.prior.per_class, len(atoms) // (self.prior.classes * self.prior.per_class))
        if start is None:
            level = flat.sum(dim=1, keepdim=True).clamp_min(1e-3) / len(atoms)  # every basis sums to 1
            activations = level * (0.5 + torch.rand((len(flat), len(atoms)), generator=rng, device=flat.device))
        else:
            activations = start.state["activations"].flatten(1).clone()
        for index in range(0 if start is None else start.index + 1, self.iterations + 1):
            if index:
                activations = self._update(activations.reshape(shape), atoms, flat, visible, problem).flatten(1)
            if index == self.iterations // 2 and mixing.count > 1:
                chosen = strongest(explained(activations.reshape(shape), atoms), mixing.count)
                kept = torch.zeros(shape[:2], device=flat.device).scatter_(1, chosen, 1.0)
                activations = (activations.reshape(shape) * kept[:, :, None, None]).flatten(1)
            yield self._step(index, activations.reshape(shape), atoms, problem)

    def _step(self, index: int, activations: Tensor, atoms: Tensor, problem: Problem) -> Step:
        mixing, images = problem.mixing, explained(activations, atoms)
        chosen = None
        if mixing.count > 1:  # the strongest class is the source of the largest weight
            by_weight = sorted(range(mixing.count), key=lambda k: -mixing.weights[k])
            chosen = strongest(images, mixing.count)
            chosen = torch.empty_like(chosen).index_copy_(1, torch.tensor(by_weight, device=chosen.device), chosen)
        info: dict[str, float] = {"evaluations": index}
        results: dict[str, Tensor] = {}
        images, filters = self._unfiltered(images, activations, atoms, problem)
        if filters is not None:
            filters = gather(filters, chosen)
            results["filters"] = filters / filters.sum(dim=(2, 3), keepdim=True).clamp_min(1e-9)
        sources = gather(images, chosen).reshape(len(images), mixing.count, *problem.mixtures.shape[1:]) / mixing.weights_like(images)
        info["residual"] = problem.residual(sources, results.get("filters"))
        return Step(index, f"update {index}", sources, results=results, state={"activations": activations.clone()}, info=info)

    def _update(self, activations: Tensor, atoms: Tensor, images: Tensor, visible: Tensor | None, problem: Problem) -> Tensor:
        """One multiplicative update of the activations (B, classes, bases of each, places)."""
        return update_activations(activations.flatten(1), atoms, images, visible).reshape(activations.shape)

    def _unfiltered(self, images: Tensor, activations: Tensor, atoms: Tensor, problem: Problem) -> tuple[Tensor, Tensor | None]:
        """What a filter that nobody knows did, taken off: images (B, classes, C H W) and filters; here, nothing."""
        return images, None


def explained(activations: Tensor, atoms: Tensor) -> Tensor:
    """What each class explains: (B, classes, bases, places) -> (B, classes, C H W)."""
    return torch.einsum("bca,can->bcn", activations.flatten(2), atoms.reshape(activations.shape[1], -1, atoms.shape[1]))


def strongest(images: Tensor, count: int) -> Tensor:
    """The ``count`` classes whose part (B, classes, C H W) has most energy, strongest first: (B, count)."""
    return images.square().sum(dim=2).topk(count, dim=1).indices


def gather(values: Tensor, chosen: Tensor | None) -> Tensor:
    """The chosen classes' (B, count, ...), or the sum over all classes (B, 1, ...)."""
    if chosen is None:
        return values.sum(dim=1, keepdim=True)
    return values.gather(1, chosen.reshape(*chosen.shape, *[1] * (values.ndim - 2)).expand(-1, -1, *values.shape[2:]))
