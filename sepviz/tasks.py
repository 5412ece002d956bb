"""Images -> (Problem, Truth): the tasks of the papers, with named protocols."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from sepviz import kernels as filters_of
from sepviz.core import Examples, Problem, SepvizError, Truth, check_whole
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
    if not isinstance(sources, Tensor) or sources.ndim != 5:
        shape = tuple(getattr(sources, "shape", ()))
        raise SepvizError(f"sources of shape {shape}: want a torch tensor (B, K, C, H, W)")
    mixing = mixing_of(weights, sources.shape[1])
    return Problem(mixing.apply(sources), mixing), Truth(sources)


def mixing_of(weights: Sequence[float] | str, count: int) -> Mixing:
    """The mixing of ``count`` sources with weights "sum", "mean", or one number for each."""
    if isinstance(weights, str) and weights in ("sum", "mean"):
        return Mixing.sum(count) if weights == "sum" else Mixing.mean(count)
    if isinstance(weights, str):
        raise SepvizError(f"weights {weights!r}: want sum, mean or {count} numbers")
    mixing = Mixing(weights)  # type: ignore[arg-type]
    if mixing.count != count:
        raise SepvizError(f"{mixing.count} weights {mixing.weights} for K = {count} sources: give "
                          f"one for each of {count}, or sum or mean")
    return mixing


def separate(dataset: str = "strokes", *, count: int = 8, sources: int = 2, seed: int = 0, protocol: str = "agnostic",
             weights: Sequence[float] | str = "sum", kernels: str | Tensor | None = None, split: str = "test",
             device: str | torch.device = "cpu") -> tuple[Problem, Truth]:
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
    kernels : "paper", "smooth" or Tensor (N, h, w), optional
        Filter each source by one of these; the method is told their size alone.

    Returns
    -------
    Problem, Truth
    """
    from sepviz.data import floats, load
    check_whole(count=count, sources=sources, seed=seed)

    if not (1 <= count <= 1_000_000 and 1 <= sources <= 100):
        raise SepvizError(f"count {count}, sources {sources}: want 1 to 1,000,000 mixtures of 1 to 100 sources")
    mixing = mixing_of(weights, sources)
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
    if kernels is None:
        return Problem(mixing.apply(truth), mixing), Truth(truth)
    filters = filters_of.choose(kernels, count * sources, rng).unflatten(0, (count, sources)).to(device)
    blind = Mixing(mixing.weights, filter_size=max(filters.shape[-2:]))
    return Problem(blind.apply(truth, filters), blind), Truth(truth, filters)


def deconvolve(dataset: str = "strokes", *, count: int = 8, seed: int = 0, kernels: str | Tensor = "paper", split: str = "test",
               device: str | torch.device = "cpu") -> tuple[Problem, Truth]:
    """One image through one unknown filter (Kong et al. 2019, Table 2); arguments as of `separate`."""
    return separate(dataset, count=count, sources=1, seed=seed, kernels=kernels, split=split, device=device)


def _disturbed(change: Callable[[Tensor, torch.Generator], Tensor], dataset: str, count: int, seed: int, split: str,
               device: str | torch.device) -> tuple[Problem, Truth]:
    """One image each, with something done to it that the mixing does not speak of."""
    problem, truth = separate(dataset, count=count, sources=1, seed=seed, split=split)
    changed = change(problem.mixtures, torch.Generator().manual_seed(seed + 1))
    return Problem(changed.to(device), problem.mixing), Truth(truth.sources.to(device))


def denoise(dataset: str = "strokes", *, count: int = 8, seed: int = 0, amplitude: float = 0.31, split: str = "test",
            device: str | torch.device = "cpu") -> tuple[Problem, Truth]:
    """One image and noise from Uniform(-amplitude, amplitude), not clipped; arguments as of `separate`."""
    def change(images: Tensor, rng: torch.Generator) -> Tensor:
        return with_noise(images, amplitude, rng)

    if not 0 <= amplitude <= 1:
        raise SepvizError(f"amplitude {amplitude}: want 0 to 1 in pixel units")
    return _disturbed(change, dataset, count, seed, split, device)


def with_noise(images: Tensor, amplitude: float, rng: torch.Generator) -> Tensor:
    """The images and noise from Uniform(-amplitude, amplitude), not clipped."""
    return images + amplitude * (2 * torch.rand(images.shape, generator=rng) - 1).to(images)


def inpaint(dataset: str = "strokes", *, count: int = 8, seed: int = 0, split: str = "test",
            device: str | torch.device = "cpu") -> tuple[Problem, Truth]:
    """One image under three parallel lines of one pixel and value 1, added, not clipped, and nobody says where.

    Offsets of -3, 0 and 3 pixels, slope from Uniform(-0.4, 0.4), steep instead of flat half of the time.
    """
    def change(images: Tensor, rng: torch.Generator) -> Tensor:
        *_, height, width = images.shape
        slope = 0.8 * torch.rand((len(images), 1), generator=rng) - 0.4
        steep = torch.rand(len(images), generator=rng) < 0.5
        along = torch.arange(width) - (width - 1) / 2
        lines = torch.zeros(len(images), height, width)
        for offset in (-3, 0, 3):
            row = (slope * along + (height - 1) / 2 + offset).round().long().clamp(0, height - 1)
            lines.scatter_(1, row[:, None, :], 1.0)
        lines = torch.where(steep[:, None, None], lines.transpose(1, 2), lines) if height == width else lines
        return images + lines[:, None]

    return _disturbed(change, dataset, count, seed, split, device)


def complete(dataset: str = "strokes", *, count: int = 8, seed: int = 0, split: str = "test",
             device: str | torch.device = "cpu") -> tuple[Problem, Truth]:
    """One image of which the top half is seen; the rest of the mixture is 0. Arguments as of `separate`."""
    problem, truth = separate(dataset, count=count, sources=1, seed=seed, split=split, device=device)
    return hide(problem, top_half(*problem.mixtures.shape[-2:])), truth


def top_half(height: int, width: int) -> Tensor:
    """The mask (height, width) that shows the upper half."""
    return (torch.arange(height) < height // 2)[:, None].expand(height, width).clone()


def hide(problem: Problem, visible: Tensor) -> Problem:
    """The same problem seen through a mask (H, W): pixels that are not visible are set to 0."""
    mixing = dataclasses.replace(problem.mixing, visible=visible)
    if tuple(visible.shape) != tuple(problem.mixtures.shape[-2:]):
        raise SepvizError(f"visible of shape {tuple(visible.shape)}: the mixtures are {tuple(problem.mixtures.shape[-2:])}")
    return Problem(problem.mixtures * visible.to(problem.mixtures), mixing)


def repeat(problem: Problem, item: int = 0, chains: int = 8) -> Problem:
    """One mixture so many times: what a method is run on to draw several samples of its posterior.

    Raises
    ------
    SepvizError
        If there is no such mixture, or fewer than two chains are asked for.
    """
    check_whole(item=item, chains=chains)
    if not 0 <= item < len(problem.mixtures):
        raise SepvizError(f"item={item}: the problem has mixtures 0 to {len(problem.mixtures) - 1}")
    if chains < 2:
        raise SepvizError(f"chains={chains}: want at least 2")
    return Problem(problem.mixtures[item].expand(chains, -1, -1, -1).clone(), problem.mixing)


SEES = {
    "mixtures": "other mixtures and nothing else: blind",
    "observed": "other mixtures, and clean images of the observed source that are in none of them",
    "all": "the images that those mixtures were made of as well: for an upper bound",
}
HELD_OUT = 1000  # images of each source that no example is made of
HELD_OUT_SEED = 1_618_033_988  # of strokes, which are endless
HELD_OUT_IS = "strokes: 1,000 of each source, drawn for this; else the last 1,000 of each in the train split, or a quarter of fewer"


def unmix(unseen: str = "strokes:0-4", observed: str = "strokes:5-9", *, count: int = 8, seed: int = 0, sees: str = "observed",
          training: int = 12_000, split: str = "test", size: int | None = None, invert: bool = False,
          device: str | torch.device = "cpu") -> tuple[Problem, Truth]:
    """Sums of an image of a source that is never seen clean and one of a source that is, with examples to learn from.

    The setting of Halperin et al. 2019, section 4.1: images of the observed source fall into two halves, B and those that
    are mixed with images of the unseen source to give Y. Source 0 is the unseen one. Images of 28x28 are padded to 32x32.

    Parameters
    ----------
    unseen, observed : str
        What the two sources are: a data set's name with classes, as in "mnist:0-4" or "fashion-mnist:5,7,9", or a folder of images.
    count : int
        Mixtures to take apart.
    seed : int
        Picks the images. What is learned from comes from the train split, whatever ``split`` is.
    sees : {"mixtures", "observed", "all"}
        What a method may learn from, see `SEES`.
    training : int
        At most so many mixtures Y, and as many images of B; blind, all images of the observed source are mixed.
    split : {"test", "held-out"}
        Where the mixtures' images come from; ``held-out`` are images that no example is ever made of, nor of the test split.
    size : int, optional
        For folders: resize and crop to this square.
    invert : bool
        Take ``1 - image``: for pictures of dark things on white, since masks and sums want a background of 0.

    Returns
    -------
    Problem, Truth
    """
    check_whole(count=count, seed=seed, training=training)
    if sees not in SEES:
        raise SepvizError(f"sees {sees!r}: choose one of {', '.join(SEES)}")
    if split not in ("test", "held-out"):
        raise SepvizError(f"split {split!r}: choose test or held-out")
    if count < 1 or training < 2:
        raise SepvizError(f"count {count}, training {training}: want at least 1 mixture and 2 images to learn from")
    need = training if sees == "mixtures" else 2 * training
    pools = [_source(name, wanted, split, size, invert) for name, wanted in ((unseen, training), (observed, need))]
    _check_alike((unseen, observed), pools)
    learned, new = zip(*pools, strict=True)
    rng = torch.Generator().manual_seed(seed)
    b = learned[1][torch.randperm(len(learned[1]), generator=rng)]
    b, alone = (b, None) if sees == "mixtures" else (b[len(b) // 2:], b[:len(b) // 2])
    x = learned[0][_draw(torch.arange(len(learned[0])), len(b), rng)]
    examples = Examples((x + b).to(device), None if alone is None else alone.to(device), x.to(device) if sees == "all" else None)
    pick = torch.Generator().manual_seed(seed)
    truth = torch.stack([images[_draw(torch.arange(len(images)), count, pick)] for images in new], dim=1).to(device)
    mixing = Mixing.sum(2)
    return Problem(mixing.apply(truth), mixing, examples), Truth(truth)


def blind(*sources: str, count: int = 8, seed: int = 0, training: int = 12_000, split: str = "test",
          device: str | torch.device = "cpu") -> tuple[Problem, Truth]:
    """Sums of one image of each of K sets, and other such sums to learn from; arguments as of `unmix`, which is the case K = 2."""
    check_whole(count=count, seed=seed, training=training)
    if len(sources) < 2:
        raise SepvizError(f"{len(sources)} sets of images: want two or more, as in blind('strokes:0-2', 'strokes:3-5', 'strokes:6-9')")
    if split not in ("test", "held-out") or count < 1 or training < 2:
        raise SepvizError(f"split {split!r}, count {count}, training {training}: want test or held-out, at least 1 and at least 2")
    pools = [_source(name, training, split, None, False) for name in sources]
    _check_alike(sources, pools)
    rng = torch.Generator().manual_seed(seed)
    learned = torch.stack([images[_draw(torch.arange(len(images)), training, rng)] for images, _ in pools], dim=1)
    truth = torch.stack([images[_draw(torch.arange(len(images)), count, rng)] for _, images in pools], dim=1).to(device)
    mixing = Mixing.sum(len(sources))
    return Problem(mixing.apply(truth), mixing, Examples(learned.sum(dim=1).to(device))), Truth(truth)


def _source(name: str, wanted: int, split: str, size: int | None, invert: bool) -> tuple[Tensor, Tensor]:
    """Images to learn from, at most ``wanted``, and images to mix anew, of "SET" or "SET:CLASSES"."""
    from sepviz.data import NAMES, floats, load, strokes

    classes, home = None, name
    if ":" in name and not Path(name).is_dir():
        home, _, text = name.rpartition(":")
        classes = _classes(name, text)
    size = None if home in NAMES else size
    if home == "strokes":  # any number can be had, and each takes time
        train = load(home, "train", classes=classes, count=wanted).images[:wanted]
        new = strokes(HELD_OUT, HELD_OUT_SEED, classes).images if split == "held-out" else load(home, split, classes=classes).images
    else:
        train = load(home, "train", classes=classes, size=size).images
        if len(train) < 4:
            raise SepvizError(f"{name}: {len(train)} images to learn from, want at least 4")
        aside = min(HELD_OUT, len(train) // 4)
        new = train[-aside:] if split == "held-out" else load(home, split, classes=classes, size=size).images
        train = train[:-aside][:wanted]
    first, second = (_padded(1 - floats(images) if invert else floats(images)) for images in (train, new))
    return first, second


def _check_alike(names: Sequence[str], pools: Sequence[tuple[Tensor, Tensor]]) -> None:
    """Refuse sets whose images cannot be added up."""
    for name, pool in zip(names, pools, strict=True):
        for images in pool:
            if images.shape[1:] != pools[0][0].shape[1:]:
                raise SepvizError(f"{names[0]} has images of (C, H, W) = {tuple(pools[0][0].shape[1:])}, {name} of "
                                  f"{tuple(images.shape[1:])}: give a size for folders, or choose sets that are alike")


def _classes(name: str, text: str) -> list[int]:
    """The numbers of "0-4" or "5,7,9"."""
    try:
        ranges = [[int(number) for number in part.split("-")] for part in text.split(",")]
        return [label for bounds in ranges for label in range(bounds[0], bounds[-1] + 1)]
    except ValueError:
        raise SepvizError(f"{name}: the classes after the colon are written like 0-4 or 5,7,9") from None


def _padded(images: Tensor) -> Tensor:
    """Images of 28x28 with 2 pixels of 0 on each side, the size of the papers that halve them; others as they are."""
    return functional.pad(images, (2, 2, 2, 2)) if images.shape[-2:] == (28, 28) else images


TASKS: dict[str, Callable[..., tuple[Problem, Truth]]] = {
    "denoise": denoise, "inpaint": inpaint, "complete": complete, "deconvolve": deconvolve, "separate": separate,
    "separate-deconvolve": functools.partial(separate, kernels="paper"),
}
