"""What a set of images is."""

from __future__ import annotations

import numbers
import operator
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from sepviz.core import SepvizError

MOST = 1_000_000  # images at once


class Dataset(NamedTuple):
    """Images with their labels."""

    name: str
    images: Tensor  # (N, C, H, W) uint8
    labels: Tensor  # (N,) int64


def floats(images: Tensor) -> Tensor:
    """Images (N, C, H, W) uint8 -> float32 in [0, 1]."""
    if images.dtype != torch.uint8:
        raise SepvizError(f"images of type {images.dtype}: floats wants torch.uint8")
    return images.to(torch.float32) / 255


def select(data: Dataset, classes: Sequence[int] | None, count: int | None) -> Dataset:
    """The first ``count`` items whose label is in ``classes``; None takes all."""
    name, images, labels = data
    if classes is not None:
        classes = check_classes(classes, sorted(set(labels.tolist())), name)
        keep = torch.isin(labels, torch.tensor(classes))
        images, labels = images[keep], labels[keep]
    if count is not None:
        check_count(count)
        if count > len(images):
            raise SepvizError(f"count {count}: {name} has only {len(images)} such images")
        images, labels = images[:count], labels[:count]
    return Dataset(name, images, labels)


def check_count(count: int) -> None:
    if not isinstance(count, numbers.Integral) or not 1 <= count <= MOST:
        raise SepvizError(f"count {str(count)[:20]}: ask for 1 to {MOST:,} images")


def check_classes(classes: Sequence[int], known: Sequence[int], name: str) -> list[int]:
    """``classes`` as sorted ints, all of them known."""
    whole = len(known) > 2 and list(known) == list(range(known[0], known[-1] + 1))
    listed = f"{known[0]} to {known[-1]}" if whole else ", ".join(map(str, known))
    chosen = set()
    for label in classes:  # refused one by one: a range may be endless
        try:
            chosen.add(operator.index(label))
        except TypeError:
            raise SepvizError(f"class {label!r}: classes are whole numbers, "
                              f"{name} has {listed}") from None
        if label not in known:
            raise SepvizError(f"class {str(label)[:20]}: {name} has the classes {listed}")
    if not chosen:
        raise SepvizError(f"classes []: choose some of {name}'s, {listed}")
    return sorted(chosen)


def expanded(path: str | Path) -> Path:
    """The path with the home folder in place of a ``~``."""
    whole = os.path.expanduser(path)
    if os.fspath(path).startswith("~") and whole == os.fspath(path) and not os.path.exists(whole):
        raise SepvizError(f"{path}: there is no such user's home folder; write the whole path")
    return Path(whole)
