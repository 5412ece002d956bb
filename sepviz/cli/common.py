"""What the commands share: the parser, kinds of arguments, where the labs are."""

from __future__ import annotations

import argparse
import math
import sys
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
            kind = action.metavar if isinstance(action.metavar, str) else action.dest
            raise UsageError(unknown(kind, value, action.choices))


def _number(name: str, read: Callable[[str], Any], good: Callable[[Any], bool], says: str) -> Any:
    """A type of argument; argparse calls it by its name in messages."""
    def number(text: str) -> Any:
        value = read(text)
        if not good(value):
            raise argparse.ArgumentTypeError(f"{text}: must be {says}")
        return value

    number.__name__ = name
    return number


whole = _number("whole number", int, lambda value: value >= 1, "at least 1")
seed = _number("whole number", int, lambda value: 0 <= value < 2**31,
               f"a whole number from 0 to {2**31 - 1}")
duration = _number("number", float, lambda value: 0 < value < math.inf, "above 0")


def weights(words: Sequence[str] | None) -> list[float] | str | None:
    """What --weights says: sum, mean, numbers or nothing."""
    from sepviz.runs.words import weights_of

    return None if words is None else weights_of(words)


def settings(words: Sequence[str]) -> dict[str, str]:
    """What every --set FIELD=VALUE says."""
    from sepviz.core import SepvizError

    for word in words:
        if "=" not in word:
            raise SepvizError(f"--set {word}: want FIELD=VALUE")
    return dict(word.split("=", 1) for word in words)


def check_npz(out: Path, what: str) -> None:
    """Refuse a name that NumPy would change."""
    from sepviz.core import SepvizError

    if out.suffix != ".npz":
        raise SepvizError(f"--out {out}: the name of {what} ends in .npz")


def still_free(path: Path, *beside: str) -> Path:
    """The name, or one like it where another program took that name during the run."""
    from sepviz import files

    free = files.free_name(path, *beside)
    if free != path:
        print(f"sepviz: note: {path} was made by another program meanwhile: the result is {free}",
              file=sys.stderr)
    return free


def device_of(name: str | None) -> torch.device:
    """What --device says."""
    import sepviz

    return sepviz.default_device(name)


def labs_home() -> Path:
    """The folder of the labs: a checkout's, as of an editable install, else the package's."""
    package = Path(__file__).parents[1]
    checkout = package.parent / "notebooks"
    here = (package.parent / "pyproject.toml").is_file() and checkout.is_dir()
    return checkout if here else package / "notebooks"


class Commands:
    """The commands' parsers, to be added to."""

    def __init__(self, top: Parser):
        self._commands = top.add_subparsers(dest="command", metavar="COMMAND", title="commands")
        self.every: dict[str, Parser] = {}

    def add(self, name: str, run: Callable[[argparse.Namespace], int], help: str,
            description: str = "") -> Parser:
        """The parser of a new command, which ``run`` carries out."""
        text = f"{help[0].upper()}{help[1:]}. {description}"
        one: Parser = self._commands.add_parser(name, help=help, description=text)
        one.set_defaults(run=run)
        self.every[name] = one
        return one


def shared(one: Parser, *, device: bool = True) -> None:
    """The options of all that computes."""
    one.add_argument("--seed", type=seed, default=0, help="random seed (default: 0)")
    if device:
        one.add_argument("--device", metavar="auto|cpu|cuda",
                         help="default: what SEPVIZ_DEVICE says, else cpu")
