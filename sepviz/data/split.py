"""Which images a model learns from, and which are held out; a set may be sorted by anything."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from sepviz.core import SepvizError
from sepviz.data.base import Dataset

SEED = 1_414_213_562  # of every run: what one model has not seen is new to the others as well


def spread(labels: Tensor) -> Tensor:
    """A fixed random order of the images; every stretch holds the classes in their proportions.

    Parameters
    ----------
    labels : Tensor (N,)

    Returns
    -------
    Tensor (N,)
        Indices.
    """
    rng = Generator().manual_seed(SEED)
    place = torch.empty(len(labels), dtype=torch.float64)
    for label in labels.unique():
        members = (labels == label).nonzero().flatten()
        members = members[torch.randperm(len(members), generator=rng)]
        place[members] = (torch.arange(len(members), dtype=torch.float64) + 0.5) / len(members)
    return place.argsort(stable=True)


def hold_out(data: Dataset, count: int) -> tuple[Dataset, Dataset]:
    """Part a set: images to learn from, and ``count`` held out, the same share of every class.

    Returns
    -------
    learned, held_out : Dataset
        Both in the order of `spread`, so that the first images of either are of all classes.

    Raises
    ------
    SepvizError
        If there is nothing to learn: fewer than two images, or all of them alike.
    """
    name, images, labels = data
    if len(images) < 2:
        raise SepvizError(
            f"{name}: {len(images)} image to learn from; want at least 2, better thousands"
        )
    check_varied(name, images)
    order = spread(labels)
    learned, held_out = order[: len(order) - count], order[len(order) - count :]
    return Dataset(name, images[learned], labels[learned]), Dataset(
        name, images[held_out], labels[held_out]
    )


def check_varied(what: str, images: Tensor, alike: bool = True) -> None:
    """Refuse images that are all of one value or, unless ``alike`` is off, all the same."""
    count, first = len(images), images.flatten()[0]
    if bool((images == first).all()):
        raise SepvizError(f"{what}: every pixel of its {count} images is {float(first):g}: "
                          "there is nothing to learn, take other images")
    if alike and bool((images == images[:1]).all()):
        raise SepvizError(f"{what}: its {count} images are all the same one: "
                          "there is nothing to learn, take other images")


def some(images: Tensor, most: int) -> Tensor:
    """At most so many of the images, drawn from all: the first of a sorted set are of one kind."""
    if len(images) <= most:
        return images
    return images[
        torch.randperm(len(images), generator=Generator().manual_seed(SEED))[:most].to(
            images.device
        )
    ]
