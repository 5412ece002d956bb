"""A recipe: a run in one line of text, to be copied, sent and run again.

    task=separate,dataset=strokes,count=3,seed=4,method=basis,prior=score-strokes,delta=3e-05,run=0
    problem=mine.npz,weights=mean,method=split-gibbs,prior=score-strokes,run=3

The mixtures come first: a task of `tasks` with its arguments, or files (joined by ``+``) with what
they do not say: ``sources``, ``weights``, ``filter_size``, ``visible``. The method follows, with
its ``prior``, its ``preset`` and the parameters that are not the defaults; then the seed ``run``
and, where it is not `CHUNK`, the number of mixtures in a ``chunk``. A shell needs no quotes for it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from sepviz import files, zoo
from sepviz import tasks as made
from sepviz.core import (
    CONTROL,
    NOTHING,
    Problem,
    Separator,
    SepvizError,
    Truth,
    one_line,
    settings_of,
    shown,
)
from sepviz.runs.words import LARGEST, MOST, argument, separator_of, value_of
from sepviz.separators import METHODS
from sepviz.suggest import choose
from sepviz.tasks.drawn import drawn

CHUNK = 32  # mixtures taken apart at once, unless a recipe says otherwise
SAFE = "/:+-_.~"  # letters that are written as they are
FORM = "task=...,NAME=VALUE,...,method=...,NAME=VALUE,...,run=SEED (or problem=FILE first)"


@dataclasses.dataclass(frozen=True)
class Recipe:
    """All that a run needs to be made again.

    Parameters
    ----------
    task : str
        A name of `tasks`; empty where the mixtures are in files.
    mixture : mapping of str to str
        The task's arguments, as words; of files see `from_files`.
    method : str
        A name of `sepviz.separators.METHODS`; empty where only the mixtures are meant.
    prior : str, optional
        A shipped prior or the path of a ``.safetensors`` file.
    parameters : mapping of str to str
        Fields of the method, as words, that are neither its defaults nor the preset's.
    run : int
        Seed of the run.
    preset : str, optional
        Named parameters of the method.
    chunk : int
        Mixtures taken apart at once, each such chunk from a seed of its own.
    """

    task: str
    mixture: Mapping[str, str]
    method: str = ""
    prior: str | None = None
    parameters: Mapping[str, str] = dataclasses.field(default_factory=dict)
    run: int = 0
    preset: str | None = None
    chunk: int = CHUNK

    def __post_init__(self):
        pairs = [*self.mixture.items(), *self.parameters.items()]
        words = [self.task, self.method, self.prior or "", self.preset or ""]
        for text in [*words, *(text for pair in pairs for text in pair)]:
            if not isinstance(text, str) or CONTROL.search(text):
                raise SepvizError(f"recipe: {shown(text)}: want words of visible letters; copy the "
                                  "whole line, or rename the file")
        if not self.task and "problem" not in self.mixture:
            raise SepvizError(f"recipe: names no mixtures: want {FORM}")
        for name, least in (("run", 0), ("chunk", 1)):
            number = getattr(self, name)
            if type(number) is not int or not least <= number < LARGEST:
                raise SepvizError(f"recipe: {name}={shown(number)}: want a whole number below "
                                  f"{LARGEST}, at least {least}")

    @classmethod
    def from_files(cls, paths: Sequence[str | Path], mixture: Mapping[str, str] | None = None,
                   **method: Any) -> Recipe:
        """A recipe for the mixtures of files, with the other parameters of `Recipe`.

        Parameters
        ----------
        paths : sequence of path
            A problem.npz, a .npz, a .npy, or PNG files, see `sepviz.files.load_problem`.
        mixture : mapping of str to str, optional
            What the files do not say, see `load_problem`.
        """
        joined = "+".join(str(path).replace("%", "%25").replace("+", "%2B") for path in paths)
        return cls("", {"problem": joined, **(mixture or {})}, **method)

    @property
    def paths(self) -> list[Path]:
        """The files that hold the mixtures; none where a task makes them."""
        return [] if self.task else _paths(self.mixture["problem"])

    def reads(self) -> list[Path]:
        """Every file that a run reads: mixtures, a mask, weights with their card."""
        found = self.paths
        if not self.task and "visible" in self.mixture:
            found.append(Path(self.mixture["visible"]))
        if self.prior is not None:
            weights = zoo.path_of(self.prior)
            found += [weights, weights.with_suffix(".json")]
        return found

    def __str__(self) -> str:
        before = {"task": self.task, "problem": "", **self.mixture}
        after = {"method": self.method, "prior": self.prior or "", "preset": self.preset or "",
                 **self.parameters, "run": str(self.run),
                 "chunk": str(self.chunk) if self.chunk != CHUNK else ""}
        pairs = [*before.items(), *(after.items() if self.method else ())]
        return ",".join(f"{name}={urllib.parse.quote(text, safe=SAFE)}"
                        for name, text in pairs if text)

    def problem(self, device: str | torch.device = "cpu") -> tuple[Problem, Truth | None]:
        """Make or read the mixtures; the truth is None where a file does not hold it.

        Raises
        ------
        SepvizError
            If there is no such task, file or argument, or a value is refused.
        """
        every = tasks()
        task = every[choose("task", self.task, every)] if self.task else load_problem
        known = dict(inspect.signature(task).parameters)
        known.pop("device")
        arguments = {}
        for name, text in self.mixture.items():
            item = known[choose(f"argument of {self.task or 'a problem file'}", name, known)]
            arguments[name] = argument(name, text, item.default)
        sources = arguments.get("sources", 1)  # of drawn, their names
        images = arguments.get("count", 1) * (sources if isinstance(sources, int) else 1)
        if images > MOST:
            raise SepvizError(f"recipe: {images} images to mix: want count times sources below "
                              f"{MOST}")
        with self._one_line():
            return task(**arguments, device=device)

    def separator(self, device: str | torch.device = "cpu") -> Separator:
        """Make the method, with its prior on a device.

        Raises
        ------
        SepvizError
            If there is no such method, preset, prior or parameter, or a value is refused.
        """
        if not self.method:
            raise SepvizError(f"{self}: names no method; add "
                              "method=split-gibbs,prior=score-strokes for example")
        with self._one_line():
            return separator_of(self.method, self.preset, self.parameters, self.prior,
                                torch.device(device))

    @contextlib.contextmanager
    def _one_line(self) -> Iterator[None]:
        """Errors of the file system, the memory or the device as one line."""
        try:
            yield
        except (OSError, MemoryError, RuntimeError) as error:
            raise SepvizError(f"recipe {shown(str(self))}: {one_line(error)}") from error

    def of(self, separator: Separator, run: int | None = None) -> Recipe:
        """The same mixtures with a method as it is now, and the name of its prior.

        Raises
        ------
        SepvizError
            If the method is not one of `sepviz.separators.METHODS`.
        """
        cls: Any = type(separator)
        method = next((name for name, known in METHODS.items() if known is cls), None)
        if method is None:
            raise SepvizError(f"{cls.__name__} is a method of your own: no recipe can name it")
        preset = self.preset if method == self.method else None
        words = settings_of(separator, cls.presets[preset] if preset else NOTHING)
        prior = words.pop("prior", None)
        path = self.prior if (self.prior or "").endswith(".safetensors") else None
        if prior is not None and path is not None and (prior not in zoo.names()
                                                       or prior == Path(path).stem):
            prior = path  # one's own, by the path it was loaded from
        return dataclasses.replace(self, method=method, prior=prior, preset=preset,
                                   parameters=words, run=self.run if run is None else run)


State = Recipe  # the name of version 0.1


def restore(text: str) -> Recipe:
    """Read a recipe from its line of text.

    Raises
    ------
    SepvizError
        If the text is not of the form
        ``task=...,NAME=VALUE,...,method=...,NAME=VALUE,...,run=SEED``.
    """
    line = "".join(text.split()).removesuffix(",") if isinstance(text, str) else ""
    if CONTROL.search(urllib.parse.unquote(line)):
        raise SepvizError(f"recipe {shown(text)}: holds letters that cannot be seen; copy the "
                          "whole line")
    pairs = [part.partition("=") for part in line.split(",")]
    bad = next(("".join(part) for part in pairs if not all(part)), None)
    if bad is not None or pairs[0][0] not in ("task", "problem"):
        raise SepvizError(f"recipe {shown(text if bad is None else bad)}: want {FORM}; "
                          "copy the whole line")
    before: dict[str, str] = {}
    after: dict[str, str] = {}
    target = before
    for name, _, value in pairs:
        target = after if name == "method" else target
        if name in target:
            raise SepvizError(f"recipe: {name} is there twice; copy the whole line once")
        target[name] = urllib.parse.unquote(value)
    numbers = {name: value_of(name, after.pop(name), {int}, LARGEST)
               for name in ("run", "chunk") if name in after}
    return Recipe(before.pop("task", ""), before, after.pop("method", ""), after.pop("prior", None),
                  preset=after.pop("preset", None), parameters=after, **numbers)


def load_problem(problem: str, *, sources: int = 0, weights: Sequence[float] | str = "",
                 filter_size: int = 0, visible: str = "",
                 device: str | torch.device = "cpu") -> tuple[Problem, Truth | None]:
    """The mixtures of a recipe's files, with what these do not say.

    Parameters
    ----------
    problem : str
        Paths, joined by ``+``.
    sources : int
        K; 0 (here and below "") says nothing.
    weights : "sum", "mean" or K floats
    filter_size : int
        Of unknown filters that the sources went through.
    visible : str
        "top-half", or a .png whose bright pixels of the mixtures are seen.
    """
    given, truth = files.load_problem(_paths(problem), weights=weights or None,
                                      count=sources or None, filter_size=filter_size or None)
    if visible:
        extent = given.medium.extent(given.mixtures.shape)
        given = made.hide(given, files.read_mask(visible, *extent))
    return given.to(device), None if truth is None else truth.to(device)


def _paths(text: str) -> list[Path]:
    return [Path(urllib.parse.unquote(part)) for part in text.split("+") if part]


def tasks() -> dict[str, Callable[..., tuple[Problem, Truth]]]:
    """What can make a mixture, by name."""
    return {**made.TASKS, "unmix": made.unmix, "drawn": drawn}
