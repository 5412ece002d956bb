"""Signals and missing streams: what hubs, clusters and closed terminals do to a command."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import TextIO

ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
AGAIN = 0.05  # seconds until a signal that has to wait is looked at again
_received: list[int] = []  # the signal that ends this command, once there is one


class Ended(KeyboardInterrupt):
    """A signal to end: kept work is kept as after Ctrl-C."""

    def __init__(self, number: int):
        super().__init__()
        self.number = number


def received() -> int | None:
    """The number of the signal that ended the command; None where it was Ctrl-C or nothing."""
    return _received[0] if _received else None


def _importing(frame: FrameType | None) -> bool:
    while frame is not None and frame.f_code.co_filename != "<frozen importlib._bootstrap>":
        frame = frame.f_back
    return frame is not None


@contextlib.contextmanager
def ending_interrupts() -> Iterator[None]:
    """Make SIGTERM and SIGHUP raise `Ended`, once: a second one must not cut the saving short.

    A signal that was ignored from the start stays ignored, as ``nohup`` asks. One that comes during
    an import, Ctrl-C included, waits for its end: libraries swallow what is raised there, or cannot
    be imported again.
    """
    def end(number: int, frame: FrameType | None) -> None:
        if _importing(frame):
            later = threading.Timer(AGAIN, signal.raise_signal, [number])
            later.daemon = True
            later.start()
        elif number == signal.SIGINT:
            raise KeyboardInterrupt
        elif not _received:
            _received.append(number)
            raise Ended(number)

    _received.clear()
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, *ENDING):
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                before[number] = signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def open_closed_streams() -> None:
    """Put /dev/null where stdin, stdout or stderr were closed, as by ``2>&-``.

    Otherwise the next file to be opened gets the free number, and messages are written into it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
            os.set_inheritable(null, True)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", closefd=False))


def drop(stream: TextIO) -> None:
    """Discard what is in a stream's buffer: its reader is gone, or its disk full."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
