"""The command line: ``sepviz COMMAND ...``.

Each command has a file of its own, with its arguments beside it, and loads what it needs when it
runs, so that ``sepviz --help`` is quick. An error of the user's is one line on stderr and exit code
2. Ctrl-C is exit code 130 and a line that says what was kept; so are SIGTERM (143) and SIGHUP
(129), which hubs and clusters send.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import shlex
import signal
import sys
from collections.abc import Callable, Sequence

from sepviz.cli import (
    bench,
    data,
    demo,
    exercises,
    export,
    lab,
    mix,
    score,
    separate,
    signals,
    train,
)
from sepviz.cli.common import Commands, Parser, UsageError

COMMANDS = (lab, exercises, demo, mix, separate, score, train, export, bench, data)


def parser() -> tuple[Parser, dict[str, Parser]]:
    """The whole command line, and the parser of each command."""
    top = Parser(prog="sepviz", description="Watch a mixture come apart: single-channel source "
                 "separation with deep generative priors.")
    top.add_argument("--version", action="store_true", help="print the version and stop")
    commands = Commands(top)
    for one in COMMANDS:
        one.add(commands)
    return top, commands.every


def _parse(words: list[str]) -> argparse.Namespace:
    from sepviz.suggest import unknown

    top, every = parser()
    passed_on: list[str] = []
    if words[:1] == ["lab"] and "--" in words:
        words, passed_on = words[:words.index("--")], words[words.index("--") + 1:]
    arguments, extra = top.parse_known_args(words)
    arguments.passed_on = passed_on
    if extra:
        one: Parser = every.get(arguments.command, top)
        wrong = extra[0].partition("=")[0]
        if not wrong.startswith("-"):
            raise UsageError(f"argument {wrong!r} is one too many (see {one.prog} --help)")
        known = [option for option in one._option_string_actions if option.startswith("--")]
        raise UsageError(unknown("option", wrong, known))
    arguments.command_line = "sepviz " + shlex.join(words)
    return arguments


def _tell(line: str) -> None:
    """Say a line on stderr; a closed terminal takes none."""
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr, flush=True)


def _fail(message: object) -> int:
    _tell(f"sepviz: {' '.join(str(message).split())}")
    return 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; returns its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    signals.open_closed_streams()
    try:
        with signals.ending_interrupts():
            return _command(words)
    except KeyboardInterrupt as stop:  # between two of the lines above
        return _stopped(stop)


def _version(_: argparse.Namespace) -> int:
    import sepviz

    print(f"sepviz {sepviz.__version__}")
    return 0


def _help(_: argparse.Namespace) -> int:
    parser()[0].print_help()
    return 0


def _command(words: list[str]) -> int:
    try:
        arguments = _parse(words)
        run = arguments.run if arguments.command else _version if arguments.version else _help
        return _guarded(lambda: run(arguments), "force" in arguments)
    except UsageError as error:
        return _fail(error)
    except KeyboardInterrupt as stop:
        return _stopped(stop)
    except SystemExit as leave:  # argparse's, after --help
        code = leave.code or 0
        return code if isinstance(code, int) else _fail(code)


def _stopped(stop: KeyboardInterrupt) -> int:
    _tell(f"sepviz: stopped; {stop.args[0] if stop.args else 'nothing was kept'}")
    return 128 + (signals.received() or signal.SIGINT)


def _guarded(command: Callable[[], int], has_force: bool = False) -> int:
    """Run a command; the user's errors and the machine's limits are one line each."""
    from sepviz.core import SepvizError
    from sepviz.files import Taken

    try:
        code = command()
        sys.stdout.flush()  # what cannot be written is said here, not at the interpreter's end
        return 128 + number if code == 0 and (number := signals.received()) else code
    except Taken as error:  # the library's mend is a Python argument
        mend = ", or --force to write over it" if has_force else ""
        return _fail(f"{error.path} is there already: give another name{mend}")
    except SepvizError as error:
        return _fail(error)
    except BrokenPipeError:  # the reader of our output went away, as in `sepviz data | head -1`
        signals.drop(sys.stdout)
        return 1
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EIO) and not error.filename:
            signals.drop(sys.stdout)  # what is left in its buffer would fail once more
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}")
    except (MemoryError, RuntimeError) as error:
        if type(error) is RuntimeError and "memory" not in str(error):
            raise
        return _fail("out of memory: take fewer mixtures at a time (--chunk, --count)")
