"""The contract of a method, and what it may ask of a prior."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

from torch import Generator, Tensor

from sepviz.core.parameters import check_parameters
from sepviz.core.problem import Problem
from sepviz.core.step import NOTHING, Step

# The order of the sources that a method gives, and so which permutations a score may try.
ORDERS = {
    "each": "each mixture in its own best order",  # the sources are alike, one prior for all
    "set": "all mixtures in the one best order",  # alike in all mixtures, but which is which?
    "fixed": "as the method gives them",  # it says which source is which
}


@runtime_checkable
class ScoreModel(Protocol):
    """A prior that knows its noisy versions, p_sigma = p * N(0, sigma^2)."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The only shape (C, H, W) that it takes."""
    def denoise(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """``E[clean | x]`` for x (N, C, H, W)."""
    def variance(self, clean: Tensor, sigma: float) -> Tensor:
        """``Var[clean | x]`` of every number, given what `denoise` gave."""
    def score(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """``grad log p_sigma(x)``."""


@runtime_checkable
class LatentModel(Protocol):
    """A prior that decodes latents, z ~ N(0, 1)."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The only shape (C, H, W) that it makes."""
    @property
    def latent_size(self) -> int:
        """The length of a latent."""
    def decode(self, z: Tensor) -> Tensor:
        """Latents (..., latent_size) -> (..., C, H, W), with gradients."""


class Separator:
    """A method: a frozen dataclass whose fields are its parameters, each a `parameter`.

    A field ``prior`` holds the prior, where the method has one. A method defines `total_steps` and
    `steps`, and sets the class variables below where their defaults are not right for it.
    """

    assumes: ClassVar[str] = ""  # one sentence, for the leaderboard
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = NOTHING  # named parameters
    order: ClassVar[str] = "each"  # of its sources, a key of `ORDERS`
    sees: ClassVar[str | None] = None  # the examples it learns from, a key of `SEES`; None: none
    handles: ClassVar[Mapping[str, bool]] = NOTHING  # `Mixing.check`: solves_filters, fills_in
    leaves: ClassVar[bool] = False  # whether a run leaves a network for new mixtures, see `trained`

    def check(self, problem: Problem) -> None:
        """Refuse a problem that the method cannot take, before anything is run or drawn.

        Raises
        ------
        SepvizError
            It names the value and the mend.
        """
        check_parameters(self)
        prior = prior_of(self)
        problem.mixing.check(problem.mixtures, takes(prior), prior=prior, medium=problem.medium,
                             **self.handles)

    def total_steps(self, problem: Problem) -> int:
        """The number of steps after step 0, the same for any number of mixtures."""
        raise NotImplementedError(f"{type(self).__name__}.total_steps")

    def steps(self, problem: Problem, rng: Generator, start: Step | None = None) -> Iterator[Step]:
        """Yield step 0 (where the method starts), then every step; from ``start``, those after it.

        All randomness comes from ``rng``, which is on the device of the mixtures.
        """
        raise NotImplementedError(f"{type(self).__name__}.steps")

    def trained(self, step: Step, image_shape: Sequence[int], name: str = "") -> Any:
        """The network of a step, to separate other mixtures with; the method ``leaves`` it."""
        raise NotImplementedError(f"{type(self).__name__} leaves no network")


def prior_of(separator: Separator) -> Any:
    """A method's prior; None where it has none."""
    return getattr(separator, "prior", None)


def takes(prior: Any) -> tuple[int, int, int] | None:
    """The only (C, H, W) that a prior takes; None where it takes any, or checks shapes itself."""
    return None if hasattr(prior, "mask") else getattr(prior, "image_shape", None)


def folded(prior: LatentModel) -> LatentModel:
    """The prior in its fastest form that gives the same images, see `GanPrior.folded`."""
    fold = getattr(prior, "folded", None)
    return prior if fold is None else fold()
