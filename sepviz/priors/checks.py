"""What the constructors of priors ask of their numbers, and networks of images."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch import Tensor, nn

from sepviz.core import SepvizError

MOST = 65_536  # pixels on a side, or features: more is an error of the file or of the caller


def whole_numbers(what: str, values: Iterable[Any], count: int,
                  multiple_of: int = 1) -> tuple[int, ...]:
    """``count`` whole numbers from 1 to `MOST`; an error that names ``what`` else."""
    wanted = f"want {count} whole number{'' if count == 1 else 's'} from 1 to {MOST}"
    wanted += f", divisible by {multiple_of}" if multiple_of > 1 else ""
    try:
        given = tuple(values)
        numbers = tuple(operator.index(value) for value in given if not isinstance(value, bool))
    except TypeError:
        raise SepvizError(f"{what} {values!r}: {wanted}") from None
    bad = [number for number in numbers if not 1 <= number <= MOST or number % multiple_of]
    if bad or not len(numbers) == len(given) == count:
        raise SepvizError(f"{what} {given}: {wanted}")
    return numbers


def shape_of_images(image_shape: Sequence[int], divisor: int = 1,
                    why: str = "") -> tuple[int, int, int]:
    """(C, H, W), its sides divisible by ``divisor``, which the error explains."""
    channels, height, width = whole_numbers("image_shape (C, H, W) =", image_shape, 3)
    if height % divisor or width % divisor:
        raise SepvizError(f"images of {height}x{width}: {why}, so both sides must be divisible by "
                          f"{divisor}; pad or resize them")
    return channels, height, width


def finite_number(what: str, value: Any, above: float = -math.inf) -> float:
    """A finite number above ``above``."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not above < value < math.inf:
        wanted = "" if above == -math.inf else f" above {above:g}"
        raise SepvizError(f"{what} {value!r}: want a finite number{wanted}")
    return float(value)


def in_its_type(network: nn.Module, function: Callable[..., Tensor], images: Tensor,
                *more: Tensor) -> Tensor:
    """``function(images, ...)`` of a network, in the type of its weights; it answers in ``images``' type."""
    own = next(network.parameters()).dtype
    return function(*(tensor.to(own) for tensor in (images, *more))).to(images.dtype)
