"""Images -> (Problem, Truth): the tasks of the papers, with named protocols."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sepviz.core import Problem, SepvizError, Truth
from sepviz.mixing import Mixing

PROTOCOLS = {
    "agnostic": "every source from any class",
    "split": "the classes in K groups in order, one source from each: 0-4 and 5-9 for two sources of ten classes",
}


def _draw(pool: Tensor, count: int, rng: torch.Generator) -> Tensor:
    """``count`` indices out of ``pool``, none twice before all were drawn once."""
    rounds = -(-count // len(pool))
    return torch.cat([pool[torch.randperm(len(pool), generator=rng)] for _ in range(rounds)])[:count]


def mix(sources: Tensor, weights: Sequence[float] | str = "sum") -> tuple[Problem, Truth]:
    """Mix given sources.

    Parameters
    ----------
    sources : Tensor (B, K, C, H, W) in [0, 1]
    weights : "sum", "mean" or K floats
    """
    if sources.ndim != 5:
        raise SepvizError(f"sources of shape {tuple(sources.shape)}: want (B, K, C, H, W)")
    mixing = _mixing(weights, sources.shape[1])
    return Problem(mixing.apply(sources), mixing), Truth(sources)


def _mixing(weights: Sequence[float] | str, count: int) -> Mixing:
    if weights == "sum":
        return Mixing.sum(count)
    if weights == "mean":
        return Mixing.mean(count)
    if isinstance(weights, str):
        raise SepvizError(f"weights {weights!r}: want sum, mean or {count} numbers")
    if len(weights) != count:
        raise SepvizError(f"{len(weights)} weights {tuple(weights)} for K = {count} sources: give {count} weights, or sum or mean")
    return Mixing(tuple(weights))


def separate(dataset: str = "strokes", *, count: int = 8, sources: int = 2, seed: int = 0, protocol: str = "agnostic",
             weights: Sequence[float] | str = "sum", split: str = "test", device: str | torch.device = "cpu") -> tuple[Problem, Truth]:
    """Mixtures of held-out images, to be taken apart.

    Parameters
    ----------
    dataset : str
        A name or folder that `sepviz.data.load` knows.
    count, sources : int
        Mixtures B and sources K of each.
    seed : int
        Picks the images; the same seed gives the same mixtures on every machine.
    protocol : {"agnostic", "split"}
        ``agnostic`` draws every source from all classes; ``split`` divides the classes in K groups (0-4
        and 5-9 for K = 2) and source k comes from group k.
    weights : "sum", "mean" or K floats

    Returns
    -------
    Problem, Truth
    """
    from sepviz.data import floats, load

    if not (1 <= count <= 1_000_000 and 1 <= sources <= 100):
        raise SepvizError(f"count {count}, sources {sources}: want 1 to 1,000,000 mixtures of 1 to 100 sources")
    mixing = _mixing(weights, sources)
    images = load(dataset, split)
    rng = torch.Generator().manual_seed(seed)
    if protocol == "agnostic":
        index = _draw(torch.arange(len(images.images)), count * sources, rng).reshape(count, sources)
    elif protocol == "split":
        classes = images.labels.unique()
        if len(classes) < sources:
            raise SepvizError(f"protocol split: {dataset} has {len(classes)} classes, too few for K = {sources} groups")
        groups = [torch.isin(images.labels, group).nonzero().flatten() for group in classes.tensor_split(sources)]
        index = torch.stack([_draw(group, count, rng) for group in groups], dim=1)
    else:
        raise SepvizError(f"protocol {protocol!r}: choose one of {', '.join(PROTOCOLS)}")
    truth = floats(images.images[index.flatten()]).unflatten(0, (count, sources)).to(device)
    return Problem(mixing.apply(truth), mixing), Truth(truth)
