"""Tasks of held-out images: mixtures to separate, and single images that something was done to."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from sepviz import data
from sepviz.core import Mixing, Problem, SepvizError, Truth, check_whole
from sepviz.core.mixing import top_half
from sepviz.tasks import filters as filters_of
from sepviz.tasks.mixed import hide, with_noise
from sepviz.tasks.pools import MOST, draw_from, no_image_twice, numbered

PROTOCOLS = {
    "agnostic": "every source from any class",
    "split": "the classes in K groups in order, one source from each: 0-4 and 5-9 for two sources "
             "of ten classes",
}
MOST_SOURCES = 100


def separate(dataset: str = "strokes", *, count: int = 8, sources: int = 2, seed: int = 0,
             protocol: str = "agnostic", weights: Sequence[float] | str = "sum",
             kernels: str | Tensor | None = None, split: str = "test",
             device: str | torch.device = "cpu") -> tuple[Problem, Truth]:
    """Mixtures of held-out images, to be taken apart.

    Parameters
    ----------
    dataset : str
        A name or folder that `sepviz.data.load` knows.
    count, sources : int
        Mixtures B and sources K of each.
    seed : int
        Picks the images, none twice in a mixture; the same seed gives the same mixtures on every
        machine.
    protocol : {"agnostic", "split"}
        ``agnostic`` draws every source from all classes; ``split`` divides the classes in K groups
        (0-4 and 5-9 for K = 2) and source k comes from group k.
    weights : "sum", "mean" or K floats
    kernels : "paper", "smooth" or Tensor (N, h, w), optional
        Filter each source by one of these; the method is told their size alone.

    Returns
    -------
    Problem, Truth
    """
    check_whole(count=count, sources=sources, seed=seed)
    if not (1 <= count <= MOST and 1 <= sources <= MOST_SOURCES):
        raise SepvizError(f"count {count}, sources {sources}: "
                          f"want 1 to {MOST:,} mixtures of 1 to {MOST_SOURCES} sources")
    mixing = Mixing.of(weights, sources)
    images = data.load(dataset, split)
    rng = torch.Generator().manual_seed(seed)
    if protocol == "agnostic":
        pools = [torch.arange(len(images.images))] * sources
        index = draw_from(pools[0], count * sources, rng).reshape(count, sources)
    elif protocol == "split":
        classes = images.labels.unique()
        if len(classes) < sources:
            raise SepvizError(f"protocol split: {dataset} has {len(classes)} classes, too few for "
                              f"K = {sources} groups")
        pools = [torch.isin(images.labels, group).nonzero().flatten()
                 for group in classes.tensor_split(sources)]
        index = torch.stack([draw_from(pool, count, rng) for pool in pools], dim=1)
    else:
        raise SepvizError(f"protocol {protocol!r}: choose one of {', '.join(PROTOCOLS)}")
    numbers = numbered(images.images) * sources
    index = no_image_twice(index, pools, numbers, f"{dataset}, {split} split")
    truth = data.floats(images.images[index.flatten()]).unflatten(0, index.shape).to(device)
    if kernels is None:
        return Problem(mixing.apply(truth), mixing), Truth(truth)
    filters = filters_of.choose(kernels, index.numel(), rng).unflatten(0, index.shape).to(device)
    mixing = Mixing(mixing.weights, filter_size=max(filters.shape[-2:]))
    return Problem(mixing.apply(truth, filters), mixing), Truth(truth, filters)


def deconvolve(dataset: str = "strokes", *, count: int = 8, seed: int = 0,
               kernels: str | Tensor = "paper", split: str = "test",
               device: str | torch.device = "cpu") -> tuple[Problem, Truth]:
    """One image through one unknown filter (Kong et al. 2019, Table 2); see `separate`."""
    return separate(dataset, count=count, sources=1, seed=seed, kernels=kernels, split=split,
                    device=device)


def _disturbed(change: Callable[[Tensor, torch.Generator], Tensor], dataset: str, count: int,
               seed: int, split: str, device: str | torch.device) -> tuple[Problem, Truth]:
    """Single images, changed in a way that the mixing does not say."""
    problem, truth = separate(dataset, count=count, sources=1, seed=seed, split=split)
    changed = change(problem.mixtures, torch.Generator().manual_seed(seed + 1))
    return problem._replace(mixtures=changed.to(device)), truth.to(device)


def denoise(dataset: str = "strokes", *, count: int = 8, seed: int = 0, amplitude: float = 0.31,
            split: str = "test", device: str | torch.device = "cpu") -> tuple[Problem, Truth]:
    """One image and the noise of `with_noise`; other arguments as of `separate`."""
    if not 0 <= amplitude <= 1:
        raise SepvizError(f"amplitude {amplitude}: want 0 to 1 in pixel units")
    return _disturbed(lambda images, rng: with_noise(images, amplitude, rng), dataset, count, seed,
                      split, device)


def inpaint(dataset: str = "strokes", *, count: int = 8, seed: int = 0, split: str = "test",
            device: str | torch.device = "cpu") -> tuple[Problem, Truth]:
    """One image under three parallel lines at unknown places, see `with_lines` and `separate`."""
    return _disturbed(with_lines, dataset, count, seed, split, device)


def with_lines(images: Tensor, rng: torch.Generator) -> Tensor:
    """The images and three parallel lines of one pixel and value 1, added, not clipped.

    Offsets of -3, 0 and 3 pixels, slope from Uniform(-0.4, 0.4), steep instead of flat half of the
    time.
    """
    *_, height, width = images.shape
    slope = 0.8 * torch.rand((len(images), 1), generator=rng) - 0.4
    steep = torch.rand(len(images), generator=rng) < 0.5
    along = torch.arange(width) - (width - 1) / 2
    lines = torch.zeros(len(images), height, width)
    for offset in (-3, 0, 3):
        row = (slope * along + (height - 1) / 2 + offset).round().long().clamp(0, height - 1)
        lines.scatter_(1, row[:, None, :], 1.0)
    if height == width:
        lines = torch.where(steep[:, None, None], lines.transpose(1, 2), lines)
    return images + lines[:, None]


def complete(dataset: str = "strokes", *, count: int = 8, seed: int = 0, split: str = "test",
             device: str | torch.device = "cpu") -> tuple[Problem, Truth]:
    """One image of which the top half is visible, the rest of the mixture 0; see `separate`."""
    problem, truth = separate(dataset, count=count, sources=1, seed=seed, split=split,
                              device=device)
    return hide(problem, top_half(*problem.mixtures.shape[-2:])), truth


TASKS: dict[str, Callable[..., tuple[Problem, Truth]]] = {
    "denoise": denoise, "inpaint": inpaint, "complete": complete, "deconvolve": deconvolve,
    "separate": separate, "separate-deconvolve": functools.partial(separate, kernels="paper"),
}
