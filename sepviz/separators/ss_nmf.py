"""Semi-supervised, sparse NMF: bases of the observed source first, then of what they leave open."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor

from sepviz.core import Problem, SepvizError, Step, parameter
from sepviz.separators import learning
from sepviz.separators.constant import in_proportion, shared_out

TINY = 1e-9  # keeps a denominator above 0


@dataclass(frozen=True)
class SsNmf(learning.Learner):
    """``B ~ H W_b``; then ``Y ~ H_b W_b + H_x W_x`` with W_b fixed; everything nonnegative.

    (Smaragdis et al. 2007; Halperin et al. 2019, appendix B.) Both stages minimise
    ``|V - H W|^2 + sparsity sum_n (sum_r H_nr)^2`` with bases of length 1, one column after another
    in closed form (hierarchical alternating least squares, Cichocki & Phan 2009). One step updates
    each column once.

    The paper's answer is the ``reconstruction``, ``x = H_x W_x`` (equation 18), which does not add
    up to the mixture; the ``mask`` shares each pixel of the mixture out in proportion to the two.
    """

    rank: int = parameter(50, "bases of each source", low=1, high=500)
    observed_iterations: int = parameter(40, "updates on the observed images", low=1, high=2000)
    iterations: int = parameter(80, "updates on the mixtures", low=1, high=2000)
    sparsity: float = parameter(0.1, "weight of the squared sum of an image's activations",
                                low=0, high=10)
    answer: str = parameter("mask", "what is made of the two reconstructions",
                            choices=("mask", "reconstruction"))

    assumes = "mixtures and clean images of one source; both are sums of few nonnegative bases"
    order = "fixed"
    sees = "observed"
    presets: ClassVar = {"paper": {"sparsity": 1.0, "answer": "reconstruction"}}

    def total_steps(self, problem: Problem) -> int:
        return self.observed_iterations + self.iterations

    def steps(self, problem: Problem, rng: Generator, start: Step | None = None) -> Iterator[Step]:
        """Yield step 0 (random bases), then every update.

        ``state["bases"]`` (1 or 2, rank, C, H, W) are those of b, then those of x.
        """
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
        bases = learning.held(start, "bases").clone()
        activations = learning.held(start, "activations").clone()
        second = start.index > self.observed_iterations
        if bases.shape[1] != self.rank or (len(bases) > 1) != second:
            raise SepvizError(f"bases {tuple(bases.shape)} in step {start.index}: it is of a run "
                              "with another rank or other observed_iterations; start from a step "
                              "of a run with these parameters")
        bases = bases.flatten(0, 1).flatten(1)
        new = learning.held(start, "mixtures_activations").clone() if second else None
        for index in range(start.index + 1, self.total_steps(problem) + 1):
            if index == self.observed_iterations + 1:
                bases = torch.cat([bases, unit(drawn(self.rank, mixed.shape[1]))])
                activations = drawn(len(mixed), 2 * self.rank)
                new = drawn(len(mixtures), 2 * self.rank)
            images = observed if new is None else mixed
            update_activations(activations, bases, images, self.sparsity)
            update_last(bases, activations, images, self.rank)
            if new is not None:
                update_activations(new, bases, mixtures, self.sparsity)
            yield self._step(index, problem, bases, activations, new)

    def _step(self, index: int, problem: Problem, bases: Tensor, activations: Tensor,
              new: Tensor | None) -> Step:
        mixtures, shape = problem.mixtures / problem.mixing.weights[0], problem.mixtures.shape[1:]
        state = {"bases": bases.reshape(-1, self.rank, *shape).clone(),
                 "activations": activations.clone()}
        stage, sources = f"observed alone, update {index}", shared_out(mixtures)
        if new is not None:
            stage = f"update {index - self.observed_iterations}"
            state["mixtures_activations"] = new.clone()
            x, b = (new[:, chosen] @ bases[chosen] + TINY
                    for chosen in (slice(self.rank, None), slice(self.rank)))
            sources = torch.stack([x, b], dim=1).unflatten(2, shape)
            if self.answer == "mask":
                sources = in_proportion(mixtures, sources)
        info = {"evaluations": index, "residual": problem.residual(sources)}
        return Step(index, stage, sources, state=state, info=info)


def unit(bases: Tensor) -> Tensor:
    """Bases (R, pixels) of length 1 each."""
    return bases / bases.norm(dim=1, keepdim=True).clamp_min(TINY)


def update_activations(activations: Tensor, bases: Tensor, images: Tensor, sparsity: float) -> None:
    """The best column of H after another, in place: least loss, H >= 0.

    Parameters
    ----------
    activations : Tensor (N, R)
    bases : Tensor (R, pixels)
    images : Tensor (N, pixels)
    """
    gram, products = bases @ bases.T + sparsity, images @ bases.T
    for r in range(len(bases)):
        left = products[:, r] - activations @ gram[:, r]
        step = left / gram[r, r].clamp_min(TINY)
        activations[:, r] = (activations[:, r] + step).clamp_min(0)


def update_last(bases: Tensor, activations: Tensor, images: Tensor, count: int) -> None:
    """The best of the last ``count`` rows of W after another, in place: W >= 0, of length 1."""
    gram, products = activations.T @ activations, activations.T @ images
    for r in range(len(bases) - count, len(bases)):
        step = (products[r] - gram[r] @ bases) / gram[r, r].clamp_min(TINY)
        bases[r] = unit((bases[r] + step).clamp_min(0)[None])[0]
