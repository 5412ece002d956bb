"""Words of a recipe as the values that they stand for: arguments of tasks, methods."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import sys
import types
import typing
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from sepviz import zoo
from sepviz.core import Separator, SepvizError
from sepviz.separators import METHODS
from sepviz.suggest import choose, unknown

LARGEST = 2**31  # of seeds
MOST = 100_000  # of other whole numbers: what a text that was sent may make a machine compute
TRUTHS = {**dict.fromkeys(("true", "yes", "on", "1"), True),
          **dict.fromkeys(("false", "no", "off", "0"), False)}
WANTED = {"LatentModel": "a prior that decodes latents (gan-...)",
          "ScoreModel": "a prior that denoises (score-...)",
          "DictionaryPrior": "a dictionary (nmf-..., conv-nmf-...)",
          "CnnRegressor": "a regression (cnn-...)",
          "MaskNetwork": "a mask (egg-..., remix-..., supervised-...)"}


def value_of(name: str, text: str, kinds: Collection[type], most: float = math.inf,
             meaning: str = "") -> Any:
    """A word as a value of one of these types, a number of magnitude below ``most``."""
    if types.NoneType in kinds and text.lower() == "none":
        return None
    if bool in kinds and text.lower() in TRUTHS:
        return TRUTHS[text.lower()]
    for number in (int, float):
        if number in kinds and text.isascii():
            with contextlib.suppress(ValueError, OverflowError):
                value = number(text)
                if math.isfinite(value) and abs(value) < most:
                    return value
    if str in kinds:
        return text
    wanted = {bool: "true or false", float: "a number", int: "a whole number"}
    kind = next((wanted[kind] for kind in wanted if kind in kinds), None)
    if kind is None:
        raise SepvizError(f"{name}={text[:30]}: no word can say this, set it in Python")
    raise SepvizError(f"{name}={text[:30]}: want {kind}"
                      + (f" below {most}" if most < math.inf else "")
                      + (f" ({meaning})" if meaning else ""))


def argument(name: str, text: str, default: Any) -> Any:
    """A word as an argument of a task: of the type of its default."""
    if name == "weights":
        return weights_of(text.split("+"))
    if name == "size":
        return value_of(name, text, {int}, MOST)
    if isinstance(default, int) and not isinstance(default, bool):
        return value_of(name, text, {int}, LARGEST if name == "seed" else MOST)
    return value_of(name, text, {type(default) if isinstance(default, bool | float) else str})


def weights_of(words: Sequence[str]) -> list[float] | str:
    """"sum" or "mean", or one number for each source."""
    if len(words) == 1 and words[0] in ("sum", "mean"):
        return words[0]
    try:
        return [float(text) for text in words]
    except ValueError:
        raise SepvizError(f"weights {' '.join(words)[:60]}: want sum, mean or one number for each "
                          "source") from None


def separator_of(method: str, preset: str | None, settings: Mapping[str, str], prior: str | None,
                 device: torch.device) -> Separator:
    """The method of this name with the values of its preset, then those of ``settings``."""
    cls: Any = METHODS[choose("method", method, METHODS)]
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
    needs_prior = fields.pop("prior", None) is not None
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    if preset is not None:
        if not cls.presets:
            raise SepvizError(f"no preset {preset!r}: {method} has none")
        values |= cls.presets[choose(f"preset of {method}", preset, cls.presets)]
    for name, text in dict(settings).items():
        if not fields:
            raise SepvizError(f"{name}={text[:30]}: {method} has no fields to set")
        values[name] = _setting(fields[choose(f"field of {method}", name, fields)],
                                hints[name], text)
    if needs_prior:
        values["prior"] = _prior(method, hints["prior"], prior, device)
    elif prior is not None:
        print(f"sepviz: {method} uses no prior, {prior} is left aside", file=sys.stderr)
    return cls(**values)


def _setting(field: dataclasses.Field, kind: Any, text: str) -> Any:
    """A word as its field's type wants it."""
    union = typing.get_origin(kind) in (typing.Union, types.UnionType)
    kinds = typing.get_args(kind) if union else (kind,)
    choices, methods = field.metadata.get("choices"), field.metadata.get("methods")
    if methods:
        return method_in(field.name, text, methods)
    if choices and not (types.NoneType in kinds and text.lower() == "none"):
        return choose(f"value of {field.name}", text, choices)
    return value_of(field.name, text, kinds, meaning=field.metadata.get("meaning", ""))


def method_in(name: str, text: str, methods: Sequence[str]) -> Separator | None:
    """The method that a word names, for a field that holds one: glo-masking+epochs=5."""
    method, *settings = text.split("+")
    if choose(f"value of {name}", method, methods) != methods[0]:
        parameters = {field: value for field, _, value in (one.partition("=") for one in settings)}
        return separator_of(method, None, parameters, None, torch.device("cpu"))
    if settings:
        raise SepvizError(f"{name}={text[:30]}: {method} takes no parameters here; write {method}")
    return None


def _prior(method: str, wanted: Any, name: str | None, device: torch.device) -> Any:
    """The prior of this name or path, of the kind that the method needs."""
    able = zoo.names_for(method, wanted)
    known = ", ".join(able) or "your own .safetensors files"
    if name is None:
        raise SepvizError(f"{method} needs a prior: choose one of {known}")
    if name.endswith(".safetensors"):
        if not Path(name).is_file():
            raise SepvizError(f"no weights at {name}: check the path, or choose one of {known}")
    elif name not in zoo.names():
        near = unknown("prior", name, able)
        raise SepvizError(f"{near} Or give the path of a .safetensors file")
    prior = zoo.load(name, device)
    if not isinstance(prior, wanted):
        raise SepvizError(f"prior {name}: {method} needs {WANTED[wanted.__name__]}, this is none; "
                          f"choose one of {known}")
    return prior
