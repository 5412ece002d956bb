"""What a method is, and what it may ask of a prior."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

from torch import Generator, Tensor

from sepviz.core.parameters import check_parameters
from sepviz.core.problem import Problem
from sepviz.core.step import NOTHING, Step

# How a method orders the sources that it gives, and so which orders a score may try.
ORDERS = {
    "each": "each mixture in its own best order",  # the sources are alike, one prior for all
    "set": "all mixtures in the one best order",  # alike in all mixtures, but which is which?
    "fixed": "as the method gives them",  # it says which source is which
}


@runtime_checkable
class ScoreModel(Protocol):
    """A prior that knows its noisy versions, p_sigma = p * N(0, sigma^2)."""

    @property
    def image_shape(self) -> tuple[int, int, int]: ...  # (C, H, W)
    def denoise(self, x: Tensor, sigma: float | Tensor) -> Tensor: ...  # E[clean | x], (N, C, H, W)
    def variance(self, clean: Tensor, sigma: float) -> Tensor: ...  # Var[clean | x] per pixel, given what `denoise` gave
    def score(self, x: Tensor, sigma: float | Tensor) -> Tensor: ...  # grad log p_sigma(x)


@runtime_checkable
class LatentModel(Protocol):
    """A prior that decodes latent vectors, z ~ N(0, 1)."""

    @property
    def image_shape(self) -> tuple[int, int, int]: ...  # (C, H, W)
    @property
    def latent_size(self) -> int: ...
    def decode(self, z: Tensor) -> Tensor: ...  # (..., latent_size) -> (..., C, H, W), with gradients


class Separator:
    """A method: a frozen dataclass whose fields are its parameters, each a `parameter`.

    A field ``prior`` holds the prior, where the method has one. The rest of what a reader needs is
    here, so that nobody has to ask whether a method has it.
    """

    assumes: ClassVar[str] = ""  # one sentence, for the leaderboard
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = NOTHING  # named parameters
    order: ClassVar[str] = "each"  # of its sources, a key of `ORDERS`
    sees: ClassVar[str | None] = None  # what it learns from, a key of `SEES`; None: it needs no examples
    handles: ClassVar[Mapping[str, bool]] = NOTHING  # arguments of `Mixing.check`: unknown filters, hidden parts
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
        problem.mixing.check(problem.mixtures, takes(prior), prior=prior, **self.handles)

    def total_steps(self, problem: Problem) -> int:
        """The number of steps after step 0, the same for any number of mixtures."""
        raise NotImplementedError(f"{type(self).__name__}.total_steps")

    def steps(self, problem: Problem, rng: Generator, start: Step | None = None) -> Iterator[Step]:
        """Yield step 0 (where the method starts), then every step; from ``start``, those after it.

        All randomness comes from ``rng``, which is on the device of the mixtures.
        """
        raise NotImplementedError(f"{type(self).__name__}.steps")

    def trained(self, step: Step, image_shape: Sequence[int], name: str = "") -> Any:
        """The network of a step, ready to separate other mixtures with, of a method that ``leaves`` one."""
        raise NotImplementedError(f"{type(self).__name__} leaves no network")


def prior_of(separator: Separator) -> Any:
    """A method's prior; None where it has none."""
    return getattr(separator, "prior", None)


def takes(prior: Any) -> tuple[int, int, int] | None:
    """The (C, H, W) that a prior is limited to; None where it is to none, or says by itself what it cannot take."""
    return None if hasattr(prior, "mask") else getattr(prior, "image_shape", None)


def folded(prior: LatentModel) -> LatentModel:
    """The prior in its fastest form that gives the same images: `GanPrior.folded` where it has one."""
    fold = getattr(prior, "folded", None)
    return prior if fold is None else fold()
