"""A run in one line of text: data set, mixture, method, parameters and seed, to be copied, sent and restored.

    task=separate,dataset=strokes,count=3,seed=4,method=basis,prior=score-strokes,delta=3e-05,run=0

What stands before ``method`` are the arguments of a task of `sepviz.tasks` (or `sepviz.tasks.drawn.drawn`), what stands after it the
prior and the parameters that are not the method's own defaults; ``run`` is the seed of the run. A shell needs no quotes for it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import math
import sys
import types
import typing
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from sepviz.core import (
    CONTROL,
    Problem,
    Separator,
    SepvizError,
    Truth,
    one_line,
    settings_of,
    shown,
)
from sepviz.suggest import choose, unknown

LARGEST = 2**31  # of seeds in a state
MOST = 100_000  # of its other whole numbers: what a text that was sent may make a machine compute
SAFE = "/:+-_.~"  # letters that are written as they are
WANTED = {"LatentModel": "a prior that decodes latents (gan-...)", "ScoreModel": "a prior that denoises (score-...)",
          "DictionaryPrior": "a dictionary (nmf-..., conv-nmf-...)", "CnnRegressor": "a regression (cnn-...)",
          "MaskNetwork": "a mask (egg-..., remix-..., supervised-...)"}


@dataclasses.dataclass(frozen=True)
class State:
    """All that a run needs to be made again.

    Parameters
    ----------
    task : str
        A name of `tasks`.
    mixture : mapping of str to str
        The task's arguments, as words.
    method : str
        A name of `sepviz.separators.METHODS`; empty where only the mixture is meant.
    prior : str, optional
        A shipped prior or the path of a ``.safetensors`` file.
    parameters : mapping of str to str
        Fields of the method that are not its defaults, as words.
    run : int
        Seed of the run.
    """

    task: str
    mixture: Mapping[str, str]
    method: str = ""
    prior: str | None = None
    parameters: Mapping[str, str] = dataclasses.field(default_factory=dict)
    run: int = 0

    def __post_init__(self):
        pairs = [*self.mixture.items(), *self.parameters.items()]
        words = [self.task, self.method, self.prior or ""]
        for word in [*words, *(word for pair in pairs for word in pair)]:
            if not isinstance(word, str) or CONTROL.search(word):
                raise SepvizError(f"state: {shown(word)}: want words on one line; copy the whole "
                                  "text")
        if type(self.run) is not int or not 0 <= self.run < LARGEST:
            raise SepvizError(f"state: run={shown(self.run)}: want a whole number below "
                              f"{LARGEST}, the seed of the run")

    def __str__(self) -> str:
        pairs = [("task", self.task), *self.mixture.items()]
        if self.method:
            prior = [("prior", self.prior)] if self.prior else []
            pairs += [("method", self.method), *prior, *self.parameters.items(), ("run", str(self.run))]
        return ",".join(f"{name}={urllib.parse.quote(value, safe=SAFE)}" for name, value in pairs)

    def problem(self, device: str | torch.device = "cpu") -> tuple[Problem, Truth]:
        """Make the mixtures again.

        Raises
        ------
        SepvizError
            If there is no such task, it has no such argument, or it refuses a value.
        """
        task = tasks()[choose("task", self.task, tasks())]
        known = {name: item for name, item in inspect.signature(task).parameters.items() if name != "device"}
        words = {choose(f"argument of {self.task}", name, known): text for name, text in self.mixture.items()}
        arguments = {name: _argument(known[name], text) for name, text in words.items()}
        sources = arguments.get("sources", 1)  # of drawn, their names
        images = arguments.get("count", 1) * (sources if isinstance(sources, int) else 1)
        if images > MOST:
            raise SepvizError(f"state: {images} images to mix: want count times sources below "
                              f"{MOST}")
        with self._one_line():
            return task(**arguments, device=device)

    def separator(self, device: str | torch.device = "cpu") -> Separator:
        """Make the method again.

        Raises
        ------
        SepvizError
            If there is no such method, prior or parameter, or the method refuses a value.
        """
        if not self.method:
            raise SepvizError(f"{self}: names no method; add method=split-gibbs,prior=score-strokes for example")
        settings = [f"{name}={text}" for name, text in self.parameters.items()]
        with self._one_line():
            return separator_of(self.method, None, settings, self.prior, torch.device(device))

    @contextlib.contextmanager
    def _one_line(self) -> Iterator[None]:
        """What the file system, the memory or the device refuse is one line too."""
        try:
            yield
        except (OSError, MemoryError, RuntimeError) as error:
            raise SepvizError(f"state {shown(str(self))}: {one_line(error)}") from error

    def of(self, separator: Separator, run: int | None = None) -> State:
        """The same mixtures with a method as it is now: what differs from its defaults, and its prior's name."""
        from sepviz import zoo
        from sepviz.separators import METHODS

        method = next((name for name, cls in METHODS.items() if cls is type(separator)), None)
        if method is None:
            raise SepvizError(f"{type(separator).__name__} is a method of your own: it has no state, leave state= out")
        words = settings_of(separator)
        prior = words.pop("prior", None)
        kept = prior if prior is None or prior in zoo.names() else self.prior or prior  # of one's own: the path it was loaded from
        return dataclasses.replace(self, method=method, prior=kept, parameters=words, run=self.run if run is None else run)


def restore(text: str) -> State:
    """Read what `State` wrote.

    Raises
    ------
    SepvizError
        If the text is not of the form ``task=...,NAME=VALUE,...,method=...,NAME=VALUE,...,run=...``.
    """
    words = "".join(text.split()).removesuffix(",") if isinstance(text, str) else ""
    if CONTROL.search(urllib.parse.unquote(words)):
        raise SepvizError(f"state {shown(text)}: holds letters that cannot be seen; copy the "
                          "whole line")
    pairs = [part.partition("=") for part in words.split(",")]
    bad = next(("".join(part) for part in pairs if not all(part)), None)
    if bad is not None or pairs[0][0] != "task":
        raise SepvizError(f"state {shown(text if bad is None else bad)}: want "
                          "task=...,NAME=VALUE,...,method=...,NAME=VALUE,...,run=SEED; "
                          "copy the whole line")
    before: dict[str, str] = {}
    after: dict[str, str] = {}
    target = before
    for name, _, value in pairs[1:]:
        target = after if name == "method" else target
        if name in target:
            raise SepvizError(f"state: {name} is there twice; copy the whole line once")
        target[name] = urllib.parse.unquote(value)
    run = after.pop("run", "0")
    digits = run.isdecimal() and run.isascii() and len(run) <= len(str(LARGEST))
    if not digits or int(run) >= LARGEST:
        raise SepvizError(f"state: run={run[:30]}: want a whole number below {LARGEST}, the seed "
                          "of the run")
    return State(urllib.parse.unquote(pairs[0][2]), before, after.pop("method", ""), after.pop("prior", None), after, int(run))


def tasks() -> dict[str, Callable[..., tuple[Problem, Truth]]]:
    """What can make a mixture, by name."""
    from sepviz import tasks as made
    from sepviz.tasks import drawn as sketch

    return {**made.TASKS, "unmix": made.unmix, "drawn": sketch.drawn}


def _argument(item: inspect.Parameter, text: str) -> Any:
    """A word as a task's argument: of the type of its default."""
    default = item.default
    most = LARGEST if item.name == "seed" else MOST
    try:
        if item.name == "weights" and text not in ("sum", "mean"):
            return [float(word) for word in text.split("+")]
        if isinstance(default, bool):
            return {"true": True, "false": False}[text]
        if isinstance(default, int) or item.name == "size":
            number = int(text)
            if not text.isascii() or not abs(number) < most:
                raise ValueError
            return number
        return float(text) if isinstance(default, float) else text
    except (ValueError, KeyError):
        raise SepvizError(f"{item.name}={text[:30]}: want "
                          f"{'true or false' if isinstance(default, bool) else 'a number'}"
                          + (f" below {most}" if text.isdecimal() else "")) from None


def _value(field: dataclasses.Field, kind: Any, text: str) -> Any:
    """The word of ``--set field=text`` as the field's type wants it."""
    kinds = typing.get_args(kind) if typing.get_origin(kind) in (typing.Union, types.UnionType) else (kind,)
    if type(None) in kinds and text.lower() == "none":
        return None
    if field.metadata.get("methods"):
        return method_of(field, text)
    choices = field.metadata.get("choices")
    if choices:
        return choose(f"value of {field.name}", text, choices)
    if bool in kinds:
        if text.lower() in ("true", "yes", "on", "1", "false", "no", "off", "0"):
            return text.lower() in ("true", "yes", "on", "1")
        raise SepvizError(f"{field.name}={text}: want true or false ({field.metadata.get('meaning', field.name)})")
    for number in (int, float):
        if number in kinds:
            with contextlib.suppress(ValueError, OverflowError):
                value = number(text)
                if math.isfinite(value):
                    return value
    if str in kinds:
        return text
    if int not in kinds and float not in kinds:
        raise SepvizError(f"{field.name}={text}: this field cannot be set from the command line")
    wanted = "a number" if float in kinds else "a whole number"
    raise SepvizError(f"{field.name}={text}: want {wanted} ({field.metadata.get('meaning', field.name)})")


def method_of(field: dataclasses.Field, text: str) -> Separator | None:
    """The method that a word names, for a field that holds one: glo-masking, glo-masking+epochs=5."""
    methods = field.metadata["methods"]
    name, *settings = text.split("+")
    if choose(f"value of {field.name}", name, methods) != methods[0]:
        return separator_of(name, None, settings, None, torch.device("cpu"))
    if settings:
        raise SepvizError(f"{field.name}={text}: {name} takes no parameters here; write {name}")
    return None


def separator_of(method: str, preset: str | None, settings: Sequence[str], prior: str | None, device: torch.device) -> Separator:
    """The method of this name with its preset, then its settings, words like ``delta=3e-5``."""
    from sepviz import load_prior, zoo
    from sepviz.separators import METHODS

    cls: Any = METHODS[choose("method", method, METHODS)]
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
    needs_prior = fields.pop("prior", None) is not None
    values: dict[str, Any] = {}
    if preset is not None:
        presets = cls.presets
        if not presets:
            raise SepvizError(f"no preset {preset!r}: {method} has none")
        values |= presets[choose(f"preset of {method}", preset, presets)]
    hints = typing.get_type_hints(cls)
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise SepvizError(f"--set {setting}: want FIELD=VALUE")
        if not fields:
            raise SepvizError(f"--set {setting}: {method} has no fields to set")
        values[name] = _value(fields[choose(f"field of {method}", name, fields)], hints[name], text)
    if needs_prior:
        able = zoo.names_for(method, hints["prior"])
        if prior is None:
            known = ", ".join(able) or "your own .safetensors files"
            raise SepvizError(f"{method} needs a prior: give --prior, one of {known}")
        if prior.endswith(".safetensors") and not Path(prior).is_file():
            raise SepvizError(f"no weights at {prior}: check the path, "
                              f"or choose one of {', '.join(able)}")
        if prior not in zoo.names() and not prior.endswith(".safetensors"):
            near = unknown("prior", prior, able)
            raise SepvizError(f"{near} Or give the path of a .safetensors file")
        values["prior"] = load_prior(prior, device)
        if not isinstance(values["prior"], hints["prior"]):
            wanted = WANTED[hints["prior"].__name__]
            raise SepvizError(f"--prior {prior}: {method} needs {wanted}, this is none; "
                              f"choose one of {', '.join(able)}")
    elif prior is not None:
        print(f"sepviz: {method} uses no prior, {prior} is left aside", file=sys.stderr)
    return cls(**values)
