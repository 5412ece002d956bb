"""Sets of images: drawn here, found on this machine, or fetched from their home."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

from sepviz.core import SepvizError
from sepviz.data.base import Dataset, check_classes, expanded, floats, select
from sepviz.data.folder import load_folder
from sepviz.data.idx import read_idx
from sepviz.data.registry import SETS, SPLITS
from sepviz.data.split import hold_out, some, spread
from sepviz.data.strokes import strokes
from sepviz.suggest import nearest

__all__ = ["NAMES", "Dataset", "Found", "floats", "hold_out", "load", "load_folder", "read_idx",
           "some", "spread", "strokes", "summary"]

NAMES = tuple(SETS)


def load(name: str, split: str = "train", *, classes: Sequence[int] | None = None,
         count: int | None = None, size: int | None = None) -> Dataset:
    """Load a set of images.

    Parameters
    ----------
    name : str
        One of `NAMES`, or the path of a folder of images. "strokes" needs no network; the others
        are looked for in ``$SEPVIZ_DATA/<name>/``, then in the user's cache, and are downloaded if
        they are in neither.
    split : str
        "train" or "test".
    classes : sequence of int, optional
        Keep the images of these labels only.
    count : int, optional
        The first so many of them, in the set's order. "strokes" is endless: it gives any count, by
        default the images of these classes among the first 20,000 (train) or 5,000 (test).
    size : int, optional
        For a folder: resize and crop to this square (see `load_folder`).

    Returns
    -------
    Dataset
        Images (N, C, H, W) uint8 and labels (N,) int64.
    """
    if split not in SPLITS:
        raise SepvizError(f"split {split!r}: choose train or test")
    choice = f"choose {', '.join(NAMES)} or the path of a folder of images"
    if not os.fspath(name).strip():
        raise SepvizError(f"data set {name!r} is blank: {choice}")
    if name in SETS:
        if size is not None:
            raise SepvizError(f"size {size}: only a folder of images can be resized, {name} cannot")
        if classes is not None:
            check_classes(classes, SETS[name].classes, name)  # before a download, not after
        return SETS[name].load(split, classes, count)
    text = os.fspath(name)
    if os.path.isdir(text) or "/" in text or os.sep in text or text.startswith((".", "~")):
        return select(load_folder(expanded(text), split, size=size), classes, count)
    hint = nearest(text.lower(), NAMES)
    raise SepvizError(f"data set {name!r} is unknown: "
                      f"{f'{hint} ' if hint.startswith('did') else ''}{choice}")


class Found(NamedTuple):
    """A row of `summary`."""

    name: str
    split: str
    where: str
    items: int | None  # None if it is not here yet


def summary() -> list[Found]:
    """What there is to `load`, and where: a row for each set and split. Downloads nothing."""
    rows = []
    for name in NAMES:
        for split in SPLITS:
            try:
                rows.append(Found(name, split, *SETS[name].found(split)))
            except SepvizError as error:  # one broken set must not hide the others
                rows.append(Found(name, split, str(error), None))
    return rows
