"""Which images a model learns from, and which are held out; sets may be sorted by class, or by anything else."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from sepviz.core import SepvizError
from sepviz.data.base import Dataset

SEED = 1_414_213_562  # the same for every run, so that what one model has not seen is new to the next one as well


def spread(labels: Tensor) -> Tensor:
    """A random order of the images, always the same, in which every stretch holds the classes in their proportions.

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
    """Part a set: images to learn from and, of each class the same share, ``count`` that are held out.

    Returns
    -------
    learned, held_out : Dataset
        Both in the order of `spread`, so that the first so many images of either are of all classes.

    Raises
    ------
    SepvizError
        If there is nothing to learn: fewer than two images, or all of them alike.
    """
    name, images, labels = data
    if len(images) < 2:
        raise SepvizError(f"{name}: {len(images)} image to learn from; want at least 2, better thousands")
    if bool((images == images[0, 0, 0, 0]).all()):
        raise SepvizError(f"{name}: every pixel of its {len(images)} images is {int(images[0, 0, 0, 0])}: "
                          "there is nothing to learn, take other images")
    if bool((images == images[:1]).all()):
        raise SepvizError(f"{name}: its {len(images)} images are all the same one: there is nothing to learn, take other images")
    order = spread(labels)
    learned, held_out = order[:len(order) - count], order[len(order) - count:]
    return Dataset(name, images[learned], labels[learned]), Dataset(name, images[held_out], labels[held_out])


def some(images: Tensor, most: int) -> Tensor:
    """At most so many of the images, drawn from all of them: the first so many of a sorted set are of one kind."""
    if len(images) <= most:
        return images
    return images[torch.randperm(len(images), generator=Generator().manual_seed(SEED))[:most].to(images.device)]
