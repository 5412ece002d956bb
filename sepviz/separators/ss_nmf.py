"""Semi-supervised, sparse NMF: bases of the observed source first, then those of what they leave unexplained (Smaragdis et al. 2007)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor

from sepviz.core import Problem, SepvizError, Step, parameter
from sepviz.separators import learning
from sepviz.separators.constant import in_proportion, shared_out

TINY = 1e-9


@dataclass(frozen=True)
class SsNmf(learning.Learner):
    """``B ~ H W_b``; then ``Y ~ H_b W_b + H_x W_x`` with W_b held (appendix B of Halperin et al. 2019); everything nonnegative.

    Both stages minimise ``|V - H W|^2 + sparsity sum_n (sum_r H_nr)^2`` with bases of length 1, column by column, each in closed form
    (hierarchical alternating least squares, Cichocki & Phan 2009): one step is one sweep over all.

    The paper's answer is the ``reconstruction``, ``x = H_x W_x`` (its equation 18), which does not
    add up to the mixture; the ``mask`` shares each pixel of the mixture out in proportion to the two.
    """

    rank: int = parameter(50, "bases of each source", low=1, high=500)
    observed_iterations: int = parameter(40, "sweeps over the observed images", low=1, high=2000)
    iterations: int = parameter(80, "sweeps over the mixtures", low=1, high=2000)
    sparsity: float = parameter(0.1, "weight of the squared sum of an image's activations", low=0.0, high=10.0)
    answer: str = parameter("mask", "what is made of the two reconstructions",
                            choices=("mask", "reconstruction"))

    assumes: ClassVar[str] = "mixtures and clean images of one source; both are sums of few nonnegative bases"
    order: ClassVar[str] = "fixed"
    sees: ClassVar[str] = "observed"
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {"sparsity": 1.0, "answer": "reconstruction"}}

    def total_steps(self, problem: Problem) -> int:
        """The number of steps after step 0."""
        return self.observed_iterations + self.iterations

    def steps(self, problem: Problem, rng: Generator, start: Step | None = None) -> Iterator[Step]:
        """Yield step 0 (random bases), then every update; ``state["bases"]`` (1 or 2, rank, C, H, W): of b, of x."""
        self.check(problem)
        weight, examples = problem.mixing.weights[0], learning.examples_of(problem, self.sees)
        assert examples.observed is not None
        observed, mixed, mixtures = (images.clamp_min(0).flatten(1) for images in (
            examples.observed, examples.mixtures / weight, problem.mixtures / weight))

        def drawn(*size: int) -> Tensor:
            return 0.5 + torch.rand(size, generator=rng, device=mixed.device)

        if start is None:
            bases = unit(drawn(self.rank, mixed.shape[1]))
            start = self._step(0, problem, bases, drawn(len(observed), self.rank), None)
            yield learning.copy_of(start)
        bases, activations = (learning.held(start, name).clone() for name in ("bases", "activations"))
        if bases.shape[1] != self.rank or (len(bases) > 1) != (start.index > self.observed_iterations):
            raise SepvizError(f"bases {tuple(bases.shape)} in step {start.index}: it is of a run with another rank or other "
                              "observed_iterations; start from a step of a run with these parameters")
        bases = bases.flatten(0, 1).flatten(1)
        new = learning.held(start, "mixtures_activations").clone() if len(bases) > self.rank else None
        for index in range(start.index + 1, self.total_steps(problem) + 1):
            if index == self.observed_iterations + 1:
                bases = torch.cat([bases, unit(drawn(self.rank, mixed.shape[1]))])
                activations, new = drawn(len(mixed), 2 * self.rank), drawn(len(mixtures), 2 * self.rank)
            images = observed if new is None else mixed
            update_activations(activations, bases, images, self.sparsity)
            update_last(bases, activations, images, self.rank)
            if new is not None:
                update_activations(new, bases, mixtures, self.sparsity)
            yield self._step(index, problem, bases, activations, new)

    def _step(self, index: int, problem: Problem, bases: Tensor, activations: Tensor, new: Tensor | None) -> Step:
        weight, shape = problem.mixing.weights[0], problem.mixtures.shape[1:]
        sources = shared_out(problem.mixtures / weight, 0.5)
        state = {"bases": bases.reshape(-1, self.rank, *shape).clone(), "activations": activations.clone()}
        stage = f"observed alone, update {index}"
        if new is not None:
            parts = [new[:, chosen] @ bases[chosen] + TINY for chosen in (slice(self.rank, None), slice(self.rank))]
            images = torch.stack(parts, dim=1).unflatten(2, shape)
            masked = self.answer == "mask"
            sources = in_proportion(problem.mixtures / weight, images) if masked else images
            state["mixtures_activations"], stage = new.clone(), f"update {index - self.observed_iterations}"
        return Step(index, stage, sources, state=state, info={"evaluations": index, "residual": problem.residual(sources)})


def unit(bases: Tensor) -> Tensor:
    """Bases (R, pixels) of length 1 each."""
    return bases / bases.norm(dim=1, keepdim=True).clamp_min(TINY)


def update_activations(activations: Tensor, bases: Tensor, images: Tensor, sparsity: float) -> None:
    """The best column of H after the other, in place, for ``|V - H W|^2 + sparsity sum_n (sum_r H_nr)^2``, H >= 0.

    Parameters
    ----------
    activations : Tensor (N, R)
    bases : Tensor (R, pixels)
    images : Tensor (N, pixels)
    """
    gram, products = bases @ bases.T + sparsity, images @ bases.T
    for r in range(len(bases)):
        left = products[:, r] - activations @ gram[:, r]
        activations[:, r] = (activations[:, r] + left / gram[r, r].clamp_min(TINY)).clamp_min(0)


def update_last(bases: Tensor, activations: Tensor, images: Tensor, count: int) -> None:
    """The best of each of the last ``count`` rows of W after the other, in place, nonnegative and of length 1."""
    gram, products = activations.T @ activations, activations.T @ images
    for r in range(len(bases) - count, len(bases)):
        left = products[r] - gram[r] @ bases
        bases[r] = unit((bases[r] + left / gram[r, r].clamp_min(TINY)).clamp_min(0)[None])[0]
