"""Exercises of the labs: checks that explain mistakes, and versions for students and teachers.

An exercise is a group of cells with tags: ``exercise`` states the task and what the student starts
from, ``solution`` solves it, ``check`` calls `check` on the student's variables. The version for
students has empty solutions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from sepviz.core import SepvizError

STUB = "# --- your code here ---\n\n\n# --- end of your code ---"
TEXT_STUB = "*Your answer here.*"


# --- checks, called by the labs -----------------------------------------------------------------


def check(name: str, value: Any, right: Any, *, mistakes: Mapping[str, Any] | None = None,
          why: str = "", close: float = 0.02) -> None:
    """Print one line that says whether a student's value is right, and if not, what is wrong.

    It raises nothing and does not give the right value away.

    Parameters
    ----------
    name : str
        Of the value, for the line.
    value : number, str, array or Tensor
        The student's; None and ``...`` mean "not solved yet".
    right : number, str, array or Tensor
        The right value, computed by the lab.
    mistakes : {reason: value}, optional
        Values that known mistakes give, each with a sentence that explains the mistake.
    why : str
        A sentence that follows a right answer.
    close : float
        The largest difference allowed, relative to the largest magnitude in ``right``.
    """
    print(f"{name}: {_judge(value, right, dict(mistakes or {}), why, close)}")


def _judge(value: Any, right: Any, mistakes: dict[str, Any], why: str, close: float) -> str:
    if value is None or value is ...:
        return ("not solved yet: write your code in the cell above, run it, "
                "then run this cell again.")
    if isinstance(right, str):
        if isinstance(value, str) and value == right:
            return f"right. {why}".rstrip()
        reason = _reason(value, mistakes, lambda wrong: value == wrong)
        return f"wrong: {reason or f'not {value!r}'}."
    wanted = _array(right)
    found = _array(value)
    if wanted is None:
        raise SepvizError(f"right {right!r}: want a number, a string or an array")
    if found is None:
        return f"wrong: this is of type {type(value).__name__}, want {_kind(wanted)}."
    if found.size == 1 and wanted.size == 1:  # tensor(3.) is a number too
        found, wanted = found.reshape(()), wanted.reshape(())
    if found.shape == wanted.shape and _near(found, wanted, close):
        return f"right. {why}".rstrip()
    reason = _reason(value, mistakes, lambda wrong: _matches(found, wrong, close))
    return f"wrong: {reason or _difference(found, wanted, close)}."


def _reason(value: Any, mistakes: dict[str, Any], matches: Any) -> str | None:
    return next((reason.rstrip(".") for reason, wrong in mistakes.items() if matches(wrong)), None)


def _array(value: Any) -> np.ndarray | None:
    """Numbers of any kind as float64; None for what is not made of numbers."""
    try:
        value = value.detach().cpu() if hasattr(value, "detach") else value
        return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError, RuntimeError):
        return None


def _near(found: np.ndarray, wanted: np.ndarray, close: float) -> bool:
    size = float(np.abs(wanted).max(initial=0.0)) or 1.0
    off = np.abs(found - wanted).max(initial=0.0)
    return bool(np.isfinite(found).all() and off <= close * size)


def _matches(found: np.ndarray, wrong: Any, close: float) -> bool:
    array = _array(wrong)
    if array is None or array.size != found.size or (found.size > 1 and array.shape != found.shape):
        return False
    return _near(found, array.reshape(found.shape), close)


def _kind(array: np.ndarray) -> str:
    return "a number" if array.ndim == 0 else f"an array of shape {array.shape}"


def _difference(found: np.ndarray, wanted: np.ndarray, close: float) -> str:
    """What is wrong with a value that no known mistake explains."""
    if found.shape != wanted.shape:
        return f"this is {_kind(found)}, want {_kind(wanted)}"
    if not np.isfinite(found).all():
        return ("it holds values that are not finite "
                "(a division by zero, or the logarithm of 0 or less?)")
    if _near(-found, wanted, close):
        return "the sign is the wrong way round"
    if found.ndim:
        off = np.abs(found - wanted) > close * np.abs(wanted).max()
        first = tuple(map(int, np.argwhere(off)[0]))
        return f"{off.sum()} of {off.size} values differ, the first at {first}"
    ratio = float(found) / float(wanted) if wanted else math.inf
    if ratio > 0 and math.isfinite(ratio):
        side = "large" if abs(ratio) > 1 else "small"
        return f"{float(found):.4g} is too {side}, {ratio:.3g} times what it should be"
    return f"{float(found):.4g} is too {'large' if found > wanted else 'small'}"


# --- the two versions ---------------------------------------------------------------------------


def read_lab(path: Path) -> Any:
    """A lab's ``.py`` as a notebook without outputs, its cells in order.

    Raises
    ------
    SepvizError
        If a solution has no exercise before it, or no check after it.
    """
    import jupytext

    notebook = jupytext.read(path)
    notebook.metadata.pop("jupytext", None)  # else JupyterLab writes a .py beside the copy
    open_since = {"exercise": False, "solution": False}
    for number, cell in enumerate(notebook.cells):
        cell.id = f"{path.stem.replace('_', '-')}-{number}"  # the same at every writing
        tags = cell.metadata.get("tags", [])
        if "solution" in tags and not open_since["exercise"]:
            raise SepvizError(f"{path}: cell {number + 1} is a solution without an exercise "
                              "before it")
        if "exercise" in tags and open_since["solution"]:
            raise SepvizError(f"{path}: cell {number + 1} begins an exercise before the check of "
                              "the last one")
        open_since = {tag: "check" not in tags and (is_open or tag in tags)
                      for tag, is_open in open_since.items()}
    if open_since["solution"]:
        raise SepvizError(f"{path}: the last solution has no check after it")
    return notebook


def student_version(notebook: Any) -> Any:
    """A copy of a notebook with empty solutions and no outputs.

    The code of the checks, which gives the answers away, is folded.
    """
    import copy

    made = copy.deepcopy(notebook)
    for cell in made.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        if "solution" in cell.metadata.get("tags", []):
            cell.source = STUB if cell.cell_type == "code" else TEXT_STUB
        if "check" in cell.metadata.get("tags", []):
            cell.metadata["jupyter"] = {"source_hidden": True}
    return made


def _put(text: bytes, file: BinaryIO) -> None:
    file.write(text)


def write(home: Path, names: Sequence[str], folder: Path, overwrite: bool = False) -> list[Path]:
    """Write labs to a folder: ``NAME.ipynb`` for students, ``NAME.solution.ipynb`` complete.

    Parameters
    ----------
    home : Path
        The folder of the labs' ``.py`` files.
    names : sequence of str
        Of the labs, without a suffix.
    folder : Path
        Created if it does not exist.
    overwrite : bool
        Replace existing files; without it, nothing is written if one of the files exists.

    Returns
    -------
    list of Path
        The files written.
    """
    import nbformat

    from sepviz import files

    texts: dict[Path, bytes] = {}
    for name in names:
        whole = read_lab(home / f"{name}.py")
        for suffix, version in ((".ipynb", student_version(whole)), (".solution.ipynb", whole)):
            texts[folder / f"{name}{suffix}"] = (nbformat.writes(version) + "\n").encode()
    if folder.is_file():
        raise SepvizError(f"{folder} is a file: give the name of a folder")
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SepvizError(f"cannot write {folder}: {error.strerror or error}") from None
    for path in texts:
        files.check_target(path, overwrite)
    fresh = [path for path in texts if not path.exists()]
    try:
        return [files.write(path, partial(_put, text), overwrite) for path, text in texts.items()]
    except BaseException:  # a full disk, Ctrl-C: the same command must work when given again
        for path in fresh:
            path.unlink(missing_ok=True)
        if made:
            folder.rmdir()
        raise
