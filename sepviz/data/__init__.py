"""Sets of images: drawn here, found on this machine, or fetched from their home."""

from __future__ import annotations

import difflib
import functools
import os
from collections.abc import Sequence
from typing import NamedTuple

from sepviz.core import SepvizError
from sepviz.data.base import Dataset, check_classes, expanded, floats, select
from sepviz.data.folder import load_folder
from sepviz.data.idx import read_idx
from sepviz.data.registry import FILES, HOMES, find, load_idx, located
from sepviz.data.split import hold_out, some, spread
from sepviz.data.strokes import strokes

__all__ = ["NAMES", "Dataset", "Found", "floats", "hold_out", "load", "load_folder", "read_idx",
           "some", "spread", "strokes", "summary"]

NAMES = ("strokes", *HOMES)
SPLITS = ("train", "test")
# seeds that nobody picks by hand: `strokes(n, seed=1)` is new to a model trained on the train split
STROKES_SEED = {"train": 2_718_281_828, "test": 3_141_592_653}
STROKES_COUNT = {"train": 20_000, "test": 5_000}


def load(name: str, split: str = "train", *, classes: Sequence[int] | None = None, count: int | None = None,
         size: int | None = None) -> Dataset:
    """Load a set of images.

    Parameters
    ----------
    name : str
        One of `NAMES`, or the path of a folder of images. "strokes" needs no network; the others are looked for
        in ``$SEPVIZ_DATA/<name>/``, then in the user's cache, and are downloaded if they are in neither.
    split : str
        "train" or "test".
    classes : sequence of int, optional
        Keep the images of these labels only.
    count : int, optional
        The first so many of them, in the set's order. "strokes" is endless: it gives any count, by default the images
        of these classes among the first 20,000 (train) or 5,000 (test).
    size : int, optional
        For a folder: resize and crop to this square (see `load_folder`).

    Returns
    -------
    Dataset
        Images (N, C, H, W) uint8 and labels (N,) int64.
    """
    if split not in SPLITS:
        raise SepvizError(f"split {split!r}: choose train or test")
    if not os.fspath(name).strip():
        raise SepvizError(f"data set {name!r} is blank: "
                          f"choose {', '.join(NAMES)} or the path of a folder of images")
    if name not in NAMES and _is_path(name):
        return select(load_folder(expanded(name), split, size=size), classes, count)
    if name not in NAMES:
        near = difflib.get_close_matches(str(name).lower(), NAMES, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}? " if near else ""
        raise SepvizError(f"data set {name!r} is unknown: {hint}choose {', '.join(NAMES)} or the path of a folder of images")
    if size is not None:
        raise SepvizError(f"size {size}: only a folder of images can be resized, {name} is 28 x 28")
    if classes is not None:
        check_classes(classes, range(10), name)  # before a download, not after
    if name == "strokes":
        if count is None:
            return select(_drawn(split), classes, None)
        return strokes(count, STROKES_SEED[split], classes)
    return select(load_idx(name, split), classes, count)


@functools.cache
def _drawn(split: str) -> Dataset:
    """The split as it is by default; drawing it takes seconds, so once."""
    return strokes(STROKES_COUNT[split], STROKES_SEED[split])


def _is_path(name: str) -> bool:
    name = os.fspath(name)
    return os.path.isdir(name) or "/" in name or os.sep in name or name.startswith((".", "~"))


class Found(NamedTuple):
    """A row of `summary`."""

    name: str
    split: str
    where: str
    items: int | None  # None if it is not here yet


def summary() -> list[Found]:
    """What there is to `load`, and where: a row for each set and split. Downloads nothing."""
    rows = [Found("strokes", split, "drawn when asked for", STROKES_COUNT[split]) for split in SPLITS]
    for name in HOMES:
        for split in SPLITS:
            try:
                folder = find(name, split)
                if folder is None:
                    rows.append(Found(name, split, "not found: would download", None))
                else:
                    rows.append(Found(name, split, str(folder), len(read_idx(located(folder, FILES[split][1]), dims=1))))
            except SepvizError as error:  # one broken set must not hide the others
                rows.append(Found(name, split, str(error), None))
    return rows
