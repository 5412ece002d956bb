"""What a set of images is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sepviz.core import SepvizError


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
    if count < 1:
        raise SepvizError(f"count {count}: ask for at least 1 image")


def check_classes(classes: Sequence[int], known: Sequence[int], name: str) -> list[int]:
    """``classes`` as sorted ints, all of them known."""
    chosen = sorted({int(label) for label in classes})
    unknown = [label for label in chosen if label not in known]
    if not chosen or unknown:
        raise SepvizError(f"classes {list(classes)}: {name} has {list(known)}")
    return chosen
