"""The parameters of a method: what each means, and which values are allowed."""

from __future__ import annotations

import dataclasses
import numbers
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from sepviz.core.errors import SepvizError, shown
from sepviz.core.step import NOTHING


def is_whole(value: object) -> bool:
    """Whether a value is a whole number, NumPy's too; True and False are none."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def check_whole(**values: object) -> None:
    """Refuse what is no whole number."""
    for name, value in values.items():
        if not is_whole(value):
            raise SepvizError(f"{name} {shown(value)}: want a whole number")


def parameter(default: Any, meaning: str, *, low: float | None = None, high: float | None = None,
              log: bool = False, unit: str = "", choices: tuple[str, ...] | None = None,
              methods: tuple[str, ...] | None = None) -> Any:
    """A field of a separator, with what sliders, the command line and the docs need to know of it.

    A field with ``methods`` holds another separator or None: these are the words for it, the first
    one for None.
    """
    metadata = {"meaning": meaning, "low": low, "high": high, "log": log, "unit": unit,
                "choices": choices, "methods": methods}
    return dataclasses.field(default=default, metadata=metadata)


def check_parameters(separator: Any) -> None:
    """Refuse parameters that no run can use.

    Numbers must be finite, positive (or 0, where the field's ``low`` is 0), at least 1e-9 and at
    most a million; words must be among the field's ``choices``.
    """
    for field in dataclasses.fields(separator):
        value: Any = getattr(separator, field.name)
        low, choices = field.metadata.get("low"), field.metadata.get("choices")
        if choices and value not in choices:
            raise SepvizError(f"{field.name} {shown(value)}: choose one of {', '.join(choices)}")
        if low is None or isinstance(value, bool):
            continue
        meaning = field.metadata["meaning"]
        whole = isinstance(field.default, int)
        number: Any = numbers.Integral if whole else numbers.Real  # NumPy's too
        if not isinstance(value, number):
            raise SepvizError(f"{field.name} {shown(value)}: want a {'whole ' * whole}number "
                              f"({meaning})")
        if not (value > 0 or value == low == 0) or not value <= 1e6 or 0 < value < 1e-9:
            raise SepvizError(f"{field.name} {value}: want a number "
                              f"{'of at least' if low == 0 else 'above'} 0, "
                              f"for example {low:g} to {field.metadata['high']:g} ({meaning})")
    highest, lowest = getattr(separator, "sigma_max", 1), getattr(separator, "sigma_min", 0)
    if highest < lowest:
        raise SepvizError(f"sigma_max {highest:g} is below sigma_min {lowest:g}: noise must fall")


def values_of(separator: Any) -> dict[str, Any]:
    """The fields of a separator as they are."""
    return {field.name: getattr(separator, field.name) for field in dataclasses.fields(separator)}


def parameters_of(separator: Any) -> dict[str, Any]:
    """The fields of a separator as plain values, for files and tables; a prior by its name.

    Tensors, such as the images of a training, are left out.
    """
    def plain(value: Any) -> Any:
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, tuple | list):
            return [plain(item) for item in value]
        return getattr(value, "name", type(value).__name__)

    found = {name: plain(value) for name, value in values_of(separator).items()
             if not isinstance(value, Tensor)}
    for field in dataclasses.fields(separator):
        if methods := field.metadata.get("methods"):
            value = getattr(separator, field.name)
            found[field.name] = methods[0] if value is None else name_of(value)
    return found


def settings_of(separator: Any, preset: Mapping[str, Any] = NOTHING) -> dict[str, str]:
    """The fields that are neither their defaults nor a preset's, as words that a recipe holds."""
    usual = {field.name: field.default for field in dataclasses.fields(separator)} | {**preset}
    values = values_of(separator)
    return {name: word(value) for name, value in parameters_of(separator).items()
            if values[name] != usual[name]}


def word(value: Any) -> str:
    """A value as a recipe writes it."""
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    return repr(value) if isinstance(value, float) else str(value)


def name_of(separator: Any) -> str:
    """A method in one word, with its parameters beside the defaults: glo-masking+epochs=5."""
    name = re.sub("(?<=[a-z])(?=[A-Z])", "-", type(separator).__name__).lower()
    return "+".join([name, *(f"{field}={text}" for field, text in settings_of(separator).items())])
