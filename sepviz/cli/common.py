"""What the commands share: the parser, kinds of arguments, where the labs are."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    import torch


class UsageError(Exception):
    """A command line that cannot be read."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, with the nearest name for a wrong one."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **{"allow_abbrev": False, **kwargs})

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        from sepviz.suggest import unknown

        if action.choices is not None and value not in action.choices:
            raise UsageError(unknown(action.metavar if isinstance(action.metavar, str) else action.dest, value, action.choices))


def whole(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: must be at least 1")
    return number


def seed(text: str) -> int:
    number = int(text)
    if not 0 <= number < 2**31:
        raise argparse.ArgumentTypeError(f"{text}: must be a whole number from 0 to {2**31 - 1}")
    return number


def duration(text: str) -> float:
    number = float(text)
    if not (0 < number < math.inf):
        raise argparse.ArgumentTypeError(f"{text}: must be above 0")
    return number


# argparse names a type in its messages by these
whole.__name__, seed.__name__, duration.__name__ = "whole number", "whole number", "number"


def weights(words: Sequence[str] | None) -> list[float] | str | None:
    """What --weights says: sum, mean, numbers or nothing."""
    from sepviz.core import SepvizError

    if words is None:
        return None
    if len(words) == 1 and words[0] in ("sum", "mean"):
        return words[0]
    try:
        return [float(word) for word in words]
    except ValueError:
        raise SepvizError(f"weights {' '.join(words)}: want sum, mean or one number for each source") from None


def device_of(name: str | None) -> torch.device:
    import sepviz
    from sepviz.core import SepvizError

    if name not in (None, "auto", "cpu", "cuda"):
        raise SepvizError(f"no device {name!r}: choose auto, cpu or cuda")
    return sepviz.default_device(name)


def labs_home() -> Path:
    """The folder of the labs: a checkout's own (an editable install has one too), else the packaged ones."""
    package = Path(__file__).parents[1]
    if (package.parent / "pyproject.toml").is_file() and (package.parent / "notebooks").is_dir():
        return package.parent / "notebooks"
    return package / "notebooks"


class Commands:
    """The commands' parsers, to be added to."""

    def __init__(self, top: Parser):
        self._commands = top.add_subparsers(dest="command", metavar="COMMAND", title="commands")
        self.every: dict[str, Parser] = {}

    def add(self, name: str, run: Callable[[argparse.Namespace], int], help: str, description: str = "") -> Parser:
        """The parser of a new command, which ``run`` carries out."""
        one: Parser = self._commands.add_parser(name, help=help, description=f"{help[0].upper()}{help[1:]}. {description}")
        one.set_defaults(run=run)
        self.every[name] = one
        return one


def shared(one: Parser, *, device: bool = True) -> None:
    """The options of all that computes."""
    one.add_argument("--seed", type=seed, default=0, help="of all randomness (default: 0)")
    if device:
        one.add_argument("--device", metavar="auto|cpu|cuda", help="default: what SEPVIZ_DEVICE says, else cpu")
