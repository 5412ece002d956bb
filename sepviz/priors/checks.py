"""Checks of the numbers that constructors of priors take."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sequence
from typing import Any

from sepviz.core import SepvizError

MOST = 65_536  # pixels on a side, or features: more is an error of the file or of the caller


def whole_numbers(what: str, values: Iterable[Any], count: int,
                  multiple_of: int = 1) -> tuple[int, ...]:
    """Return ``count`` whole numbers from 1 to `MOST`; the error names ``what`` they are."""
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
    """Return (C, H, W) with sides divisible by ``divisor``; the error says ``why`` they must be."""
    channels, height, width = whole_numbers("image_shape (C, H, W) =", image_shape, 3)
    if height % divisor or width % divisor:
        raise SepvizError(f"images of {height}x{width}: {why}, so both sides must be divisible by "
                          f"{divisor}; pad or resize them")
    return channels, height, width


def finite_number(what: str, value: Any, above: float = -math.inf) -> float:
    """Return a finite number above ``above`` as a float."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not above < value < math.inf:
        wanted = "" if above == -math.inf else f" above {above:g}"
        raise SepvizError(f"{what} {value!r}: want a finite number{wanted}")
    return float(value)
