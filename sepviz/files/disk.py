"""Putting files in their place: whole or not at all, over nothing, by one run at a time."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from sepviz.core import SepvizError


class Taken(SepvizError):
    """A file that is there already, and that nobody said to overwrite."""

    def __init__(self, path: Path):
        super().__init__(f"{path} is there already: give another name, or overwrite it "
                         "(overwrite=True)")
        self.path = path


def check_target(path: str | Path, overwrite: bool = False) -> Path:
    """Refuse a path that cannot be written, before the long work whose result goes there."""
    path = Path(path)
    if path.is_dir():
        raise SepvizError(f"cannot write {path}: it is a folder, give the name of a file")
    if path.exists() and not overwrite:
        raise Taken(path)
    if not path.parent.is_dir():
        raise SepvizError(f"cannot write {path}: there is no folder {path.parent}")
    if not os.access(path.parent, os.W_OK):
        raise SepvizError(f"cannot write {path}: the folder {path.parent} is read-only")
    return path


def write(path: str | Path, writer: Callable[[BinaryIO], Any], overwrite: bool = False) -> Path:
    """Call ``writer(file)`` on a temporary file, then put it in place: whole, or not at all."""
    return write_all({Path(path): writer}, overwrite)[0]


def write_all(writers: Mapping[Path, Callable[[BinaryIO], Any]],
              overwrite: bool = False) -> list[Path]:
    """`write` several files that belong together: all of them, or none."""
    with contextlib.ExitStack() as temporaries, together() as made:
        staged = []
        for path, writer in writers.items():
            check_target(path, overwrite)
            with _writing(path):
                handle, temporary = tempfile.mkstemp(prefix=f".{path.name[:40]}.", dir=path.parent)
                temporaries.callback(Path(temporary).unlink, missing_ok=True)
                with os.fdopen(handle, "wb") as file:
                    writer(file)
                    file.flush()
                    os.fsync(file.fileno())
                _open_to_others(temporary, 0o666)
            staged.append((temporary, path))
        for temporary, path in staged:
            with _writing(path):
                os.replace(temporary, path)
            made.append(path)
    return made


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn an error of the system into one line that names the path."""
    try:
        yield
    except OSError as error:
        raise SepvizError(f"cannot write {path}: {error.strerror or error}") from None


def _open_to_others(temporary: str | Path, mode: int) -> None:
    """Give a temporary file, which is for its owner only, the permissions of a usual one."""
    umask = os.umask(0)
    os.umask(umask)
    os.chmod(temporary, mode & ~umask)


@contextlib.contextmanager
def together() -> Iterator[list[Path]]:
    """A list for the files that a block makes; they are removed if it fails."""
    made: list[Path] = []
    try:
        yield made
    except BaseException:
        for path in made:
            path.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def fresh_folder(folder: Path) -> Iterator[Path]:
    """A folder to write into that takes the name ``folder`` at the end, with all that is in it.

    A full disk or Ctrl-C leaves nothing behind, so the same command can be given again.
    """
    with contextlib.ExitStack() as temporaries, _writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name[:40]}.", dir=folder.parent))
        temporaries.callback(shutil.rmtree, temporary, ignore_errors=True)
        yield temporary
        _open_to_others(temporary, 0o777)
        temporary.rename(folder)


def patiently(save: Callable[[], Any], told: list[str]) -> bool:
    """Save in mid-run, and say whether it was saved; a failure does not end the run.

    The first failure of a run is reported on stderr; ``told`` is the list of those so far.
    """
    from tqdm.auto import tqdm

    try:
        save()
    except (SepvizError, OSError) as error:
        if not told:
            tqdm.write(f"sepviz: note: {error}; the run goes on and tries again", file=sys.stderr)
        told.append(str(error))
        return False
    return True


@contextlib.contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold ``path`` while it is being made: another run that wants it is refused at once.

    The lock is on ``PATH.lock`` and ends with the process, however that ends.
    """
    from filelock import FileLock, Timeout

    check_target(path, overwrite=True)
    place = path.with_name(path.name + ".lock")
    held = FileLock(place)
    with _writing(place):
        try:
            held.acquire(blocking=False)
        except Timeout:
            raise SepvizError(f"{path} is being made by another run, which holds {place}: wait "
                              "for it, or choose another name; if there is no such run, remove "
                              "that file") from None
    try:
        yield
    finally:
        if os.name != "nt":
            place.unlink(missing_ok=True)  # before it is released: then another may lock it
        held.release()


def free_name(path: Path, *beside: str) -> Path:
    """``path`` or, where it or a file that differs in one of these suffixes exists, NAME-2, ..."""
    number, free = 1, path
    while any(one.exists() for one in (free, *map(free.with_suffix, beside))):
        number += 1
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return free


def check_apart(outputs: Iterable[Path], inputs: Iterable[Path] = ()) -> None:
    """Refuse outputs of one name, and an output that is an input, by whatever name or link."""
    outputs, inputs = list(outputs), list(inputs)
    for number, output in enumerate(outputs):
        for other in inputs:
            if _same(output, other):
                raise SepvizError(f"{output} would be written over {other}, "
                                  "which this command reads: give another name")
        for other in outputs[:number]:
            if _same(output, other):
                raise SepvizError(f"{output} and {other} are one file: "
                                  "all outputs need names of their own")


def _same(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other) or (
        one.exists() and other.exists() and os.path.samefile(one, other))


def to_json(value: Any, **options: Any) -> str:
    """Valid JSON: a number that is not finite becomes null."""
    def plain(part: Any) -> Any:
        if isinstance(part, Mapping):
            return {name: plain(one) for name, one in part.items()}
        if isinstance(part, list | tuple):
            return [plain(one) for one in part]
        return None if isinstance(part, float) and not math.isfinite(part) else part

    return json.dumps(plain(value), allow_nan=False, **options)
