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


def check_target(path: str | Path, overwrite: bool = False) -> Path:
    """Refuse a path that cannot be written, before the long work whose result goes there.

    Raises
    ------
    SepvizError
        If the file is there already (unless ``overwrite``), or its folder is missing or read-only.
    """
    path = Path(path)
    if path.is_dir():
        raise SepvizError(f"cannot write {path}: it is a folder, give the name of a file")
    if path.exists() and not overwrite:
        raise SepvizError(f"{path} is there already: give another name, or --force (overwrite=True) to write over it")
    if not path.parent.is_dir():
        raise SepvizError(f"cannot write {path}: there is no folder {path.parent}")
    if not os.access(path.parent, os.W_OK):
        raise SepvizError(f"cannot write {path}: the folder {path.parent} is read-only")
    return path


def write(path: str | Path, writer: Callable[[BinaryIO], Any], overwrite: bool = False) -> Path:
    """Call ``writer(file)`` on a temporary file and put it in place at once: no half-written file is ever seen."""
    return write_all({Path(path): writer}, overwrite)[0]


def write_all(writers: Mapping[Path, Callable[[BinaryIO], Any]],
              overwrite: bool = False) -> list[Path]:
    """`write` for files that belong together, as weights and their card: all of them, or none."""
    with contextlib.ExitStack() as temporaries, together() as made:
        staged = []
        for path, writer in writers.items():
            check_target(path, overwrite)
            try:
                handle, temporary = tempfile.mkstemp(prefix=f".{path.name[:40]}.", dir=path.parent)
                temporaries.callback(Path(temporary).unlink, missing_ok=True)
                with os.fdopen(handle, "wb") as file:
                    writer(file)
                    file.flush()
                    os.fsync(file.fileno())
                umask = os.umask(0)
                os.umask(umask)
                os.chmod(temporary, 0o666 & ~umask)  # mkstemp's files are for their owner only
            except OSError as error:
                raise SepvizError(f"cannot write {path}: {error.strerror or error}") from None
            staged.append((temporary, path))
        for temporary, path in staged:
            try:
                os.replace(temporary, path)
            except OSError as error:
                raise SepvizError(f"cannot write {path}: {error.strerror or error}") from None
            made.append(path)
    return made


@contextlib.contextmanager
def together() -> Iterator[list[Path]]:
    """A list for the files that a block makes; they are removed if it fails, to block no other run."""
    made: list[Path] = []
    try:
        yield made
    except BaseException:
        for path in made:
            path.unlink(missing_ok=True)
        raise


def patiently(save: Callable[[], Any], told: list[str]) -> bool:
    """Save in mid-run: a save that fails is told on stderr, once, and does not end the run.

    Parameters
    ----------
    save : callable
    told : list of str
        What was told so far; one list for each run.

    Returns
    -------
    bool
        Whether it was saved.
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

    The lock is on ``PATH.lock`` and ends with the process, however that ends. A system without such
    locks keeps the file after a crash, and it must be removed by hand.
    """
    try:
        import fcntl
    except ImportError:
        fcntl = None  # type: ignore[assignment]
    check_target(path, overwrite=True)
    place = path.with_name(path.name + ".lock")
    try:
        while True:
            if fcntl is None and os.name == "nt":
                place.unlink(missing_ok=True)  # Windows refuses that while another has it open
            handle = os.open(place, os.O_CREAT | os.O_RDWR | (os.O_EXCL if fcntl is None else 0))
            if fcntl is None or _locked(fcntl, handle, place):
                break
    except OSError as error:
        if not isinstance(error, FileExistsError | BlockingIOError) and os.name != "nt":
            raise SepvizError(f"cannot write {place}: {error.strerror or error}") from None
        raise SepvizError(f"{path} is being made by another run, which holds {place}: wait for it, "
                          "or choose another name; if there is no such run, remove that file") from None
    try:
        yield
    finally:
        if fcntl is None:
            os.close(handle)
        place.unlink(missing_ok=True)  # where it can be locked: before somebody else locks it
        if fcntl is not None:
            os.close(handle)


def _locked(fcntl: Any, handle: int, place: Path) -> bool:
    """Lock an open file; False if its last holder has removed it in between."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise
    except OSError:  # a file system without locks: go on as if alone
        return True
    if place.exists() and os.path.samestat(os.fstat(handle), place.stat()):
        return True
    os.close(handle)
    return False


def free_name(path: Path, *beside: str) -> Path:
    """``path``, or NAME-2, NAME-3, ... where it, or its like with one of these suffixes, is there."""
    number, free = 1, path
    while any(one.exists() for one in (free, *map(free.with_suffix, beside))):
        number += 1
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return free


def check_apart(outputs: Iterable[Path], inputs: Iterable[Path] = ()) -> None:
    """Refuse outputs of one name, and an output that is an input, by whatever name or link.

    Raises
    ------
    SepvizError
        Before anything is written: an input that is written over is lost.
    """
    def same(one: Path, other: Path) -> bool:
        if os.path.realpath(one) == os.path.realpath(other):
            return True
        return one.exists() and other.exists() and os.path.samefile(one, other)

    outputs, inputs = list(outputs), list(inputs)
    for number, output in enumerate(outputs):
        for other in inputs:
            if same(output, other):
                raise SepvizError(f"{output} would be written over {other}, "
                                  "which this command reads: "
                                  "give another name")
        for other in outputs[:number]:
            if same(output, other):
                raise SepvizError(f"{output} and {other} are one file: "
                                  "all outputs need names of their own")


def to_json(value: Any, **options: Any) -> str:
    """Valid JSON: a number that is not finite becomes null."""
    def plain(part: Any) -> Any:
        if isinstance(part, Mapping):
            return {name: plain(one) for name, one in part.items()}
        if isinstance(part, list | tuple):
            return [plain(one) for one in part]
        return None if isinstance(part, float) and not math.isfinite(part) else part

    return json.dumps(plain(value), allow_nan=False, **options)


@contextlib.contextmanager
def fresh_folder(folder: Path) -> Iterator[Path]:
    """A folder to write into that takes the name ``folder`` at the end, with all that is in it.

    A full disk or Ctrl-C leaves nothing behind, so the same command can be given again.
    """
    temporary = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name[:40]}.", dir=folder.parent))
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o777 & ~umask)  # mkdtemp's folders are for their owner only
        temporary.rename(folder)
    except OSError as error:
        raise SepvizError(f"cannot write {folder}: {error.strerror or error}") from None
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
