"""The contract: what a method may see, what it gives, and what it may ask of a prior.

Data passes through one way: ``Problem`` -> separator -> ``Step``s -> trace -> player, figure, table.
"""

from __future__ import annotations

import dataclasses
import numbers
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, runtime_checkable

from torch import Generator, Tensor, device

if TYPE_CHECKING:
    from sepviz.mixing import Mixing


# letters that no line of text holds
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


GROUPS = ("shown", "results", "state")  # of a step's tensors, each with its own readers
NOTHING: Mapping[str, Any] = MappingProxyType({})


class SepvizError(ValueError):
    """An error of the user's input: one line that names the value and the mend."""


def one_line(error: BaseException) -> str:
    """An error as a widget shows it: on one line, with its kind if it is not ours."""
    text = " ".join(str(error).split())
    return text if isinstance(error, SepvizError) and text else f"{type(error).__name__}: {text}"


def shown(value: object) -> str:
    """A value as an error names it: on one line, and no longer than a line."""
    try:
        text = " ".join(repr(value).split())
    except (ValueError, RecursionError):  # a number of 5,000 digits; lists in lists in lists
        text = f"of type {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."


def check_whole(**values: object) -> None:
    """Refuse what is no whole number."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, numbers.Integral):
            raise SepvizError(f"{name} {shown(value)}: want a whole number")


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


class Step(NamedTuple):
    """One moment of a run: enough to look at, and enough to go on from.

    Tensors are detached, and never those that the method goes on to change.
    """

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs of a step
    stage: str  # for people: "sigma 0.36"
    sources: Tensor  # (B, K, C, H, W)
    shown: Mapping[str, Tensor] = NOTHING  # layers to look at, of the sources' shape: "prior_force", "data_force", "noise"
    results: Mapping[str, Tensor] = NOTHING  # found beside the sources: "filters" (B, K, h, w), "start_error" (B, starts), ...
    state: Mapping[str, Tensor] = NOTHING  # what the method needs to go on from here; nobody else reads it
    info: Mapping[str, float] = NOTHING  # "sigma", "residual" (RMS), "evaluations" (per source, so far), ...

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Step:
        """The step with every tensor changed: copied, moved, rounded."""
        shown, results, state = ({name: change(value) for name, value in getattr(self, group).items()} for group in GROUPS)
        return self._replace(sources=change(self.sources), shown=shown, results=results, state=state, info=dict(self.info))

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Every tensor beside the sources, by "GROUP/NAME"."""
        for group in GROUPS:
            for name, value in getattr(self, group).items():
                yield f"{group}/{name}", value


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


# How a method orders the sources that it gives, and so which orders a score may try.
ORDERS = {
    "each": "each mixture in its own best order",  # the sources are alike, one prior for all
    "set": "all mixtures in the one best order",  # alike in all mixtures, but which is which?
    "fixed": "as the method gives them",  # it says which source is which
}


SEES = {  # what examples a method may learn from
    "mixtures": "other mixtures and nothing else: blind",
    "observed": "other mixtures, and clean images of the observed source that are in none of them",
    "all": "the images that those mixtures were made of as well: for an upper bound",
}


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


def parameter(default: Any, meaning: str, *, low: float | None = None, high: float | None = None, log: bool = False,
              unit: str = "", choices: tuple[str, ...] | None = None) -> Any:
    """A field of a separator, with what a slider, the command line and the docs need to know of it."""
    metadata = {"meaning": meaning, "low": low, "high": high, "log": log, "unit": unit, "choices": choices}
    return dataclasses.field(default=default, metadata=metadata)


def check_parameters(separator: Any) -> None:
    """Refuse numbers that no run can use: not finite, not positive (or negative, where 0 is allowed), or beyond a million."""
    for field in dataclasses.fields(separator):
        value: Any = getattr(separator, field.name)
        low, choices = field.metadata.get("low"), field.metadata.get("choices")
        if choices and value not in choices:
            raise SepvizError(f"{field.name} {shown(value)}: choose one of {', '.join(choices)}")
        if low is None or isinstance(value, bool):
            continue
        whole = isinstance(field.default, int)
        number: Any = numbers.Integral if whole else numbers.Real  # NumPy's too
        if not isinstance(value, number):
            raise SepvizError(f"{field.name} {shown(value)}: want a {'whole ' * whole}number "
                              f"({field.metadata['meaning']})")
        if not (value > 0 or value == low == 0) or not value <= 1e6 or 0 < value < 1e-9:
            raise SepvizError(f"{field.name} {value}: want a number {'of at least' if low == 0 else 'above'} 0, "
                              f"for example {low:g} to {field.metadata['high']:g} ({field.metadata['meaning']})")
    if getattr(separator, "sigma_max", 1) < getattr(separator, "sigma_min", 0):
        raise SepvizError(f"sigma_max {separator.sigma_max:g} is below sigma_min {separator.sigma_min:g}: noise must fall")


def parameters_of(separator: Any) -> dict[str, Any]:
    """The fields of a separator as plain values, for files and tables; a prior by its name."""
    def plain(value: Any) -> Any:
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, tuple | list):
            return [plain(item) for item in value]
        return getattr(value, "name", type(value).__name__)

    return {field.name: plain(getattr(separator, field.name)) for field in dataclasses.fields(separator)}
