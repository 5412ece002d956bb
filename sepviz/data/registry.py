"""The sets that have a name: a new one is a row of `SETS`."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Protocol

import torch

from sepviz.core import SepvizError
from sepviz.data.base import Dataset, select
from sepviz.data.home import Home, located
from sepviz.data.idx import parse_idx, read_idx
from sepviz.data.strokes import strokes

SPLITS = ("train", "test")
COUNTS = {"train": 20_000, "test": 5_000}  # of "strokes"
# Seeds that nobody picks by hand: `strokes(n, seed=1)` is new to a model trained on the set.
SEEDS = {"train": 2_718_281_828, "test": 3_141_592_653}
IDX_FILES = {"train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
             "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")}


class Source(Protocol):
    """What a row of `SETS` offers."""

    @property
    def classes(self) -> Sequence[int]:
        """The labels there are."""
        ...

    def load(self, split: str, classes: Sequence[int] | None, count: int | None) -> Dataset:
        """Images of some classes; None takes all."""
        ...

    def found(self, split: str) -> tuple[str, int | None]:
        """Where a split is and how many images it has, None if it is not here yet."""
        ...


class Strokes:
    """Digits drawn here, without end; as many as `COUNTS` by default."""

    classes = range(10)

    def load(self, split: str, classes: Sequence[int] | None, count: int | None) -> Dataset:
        if count is None:
            return select(_drawn(split), classes, None)
        return strokes(count, SEEDS[split], classes)

    def found(self, split: str) -> tuple[str, int]:
        return "drawn when asked for", COUNTS[split]


@functools.cache
def _drawn(split: str) -> Dataset:
    """A split of "strokes" as it is by default; drawing it takes seconds, so once."""
    return strokes(COUNTS[split], SEEDS[split])


class IdxSet(Home):
    """A set in four IDX files, as MNIST: images and labels of both splits."""

    classes = range(10)

    def load(self, split: str, classes: Sequence[int] | None, count: int | None) -> Dataset:
        data = self.contents(IDX_FILES[split])
        images_at, labels_at = data
        images = parse_idx(data[images_at], str(images_at), dims=3)
        labels = parse_idx(data[labels_at], str(labels_at), dims=1).to(torch.int64)
        if len(images) != len(labels):
            raise SepvizError(f"{images_at}: {len(images)} images but {len(labels)} labels in "
                              f"{labels_at.name}; fetch both again")
        if labels.max() > self.classes[-1]:
            raise SepvizError(f"{labels_at}: label {int(labels.max())}, {self.name} has 0 to "
                              f"{self.classes[-1]}; fetch it again")
        return select(Dataset(self.name, images[:, None], labels), classes, count)

    def found(self, split: str) -> tuple[str, int | None]:
        folder = self.find(IDX_FILES[split])
        if folder is None:
            return "not found: would download", None
        return str(folder), len(read_idx(located(folder, IDX_FILES[split][1]), dims=1))


SETS: dict[str, Source] = {
    "strokes": Strokes(),
    "mnist": IdxSet(
        "mnist",
        ("https://ossci-datasets.s3.amazonaws.com/mnist/",
         "https://storage.googleapis.com/cvdf-datasets/mnist/"),
        {"train-images-idx3-ubyte":
         "sha256:ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
         "train-labels-idx1-ubyte":
         "sha256:65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
         "t10k-images-idx3-ubyte":
         "sha256:0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
         "t10k-labels-idx1-ubyte":
         "sha256:ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"}),
    "fashion-mnist": IdxSet(
        "fashion-mnist", ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
        {"train-images-idx3-ubyte": "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d",
         "train-labels-idx1-ubyte": "md5:25c81989df183df01b3e8a0aad5dffbe",
         "t10k-images-idx3-ubyte": "md5:bef4ecab320f06d8554ea6380940ec79",
         "t10k-labels-idx1-ubyte": "md5:bb300cfdad3c16e7a12a480ee83cd310"}),
}
