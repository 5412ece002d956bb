"""Images -> (Problem, Truth): the tasks of the papers, with named protocols."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from sepviz.core import SEES, Examples, Mixing, Problem, SepvizError, Truth, check_whole
from sepviz.core.mixing import top_half
from sepviz.tasks import filters as filters_of

PROTOCOLS = {
    "agnostic": "every source from any class",
    "split": "the classes in K groups in order, one source from each: 0-4 and 5-9 for two sources of ten classes",
}


def _draw(pool: Tensor, count: int, rng: torch.Generator) -> Tensor:
    """``count`` indices out of ``pool``, none twice before all were drawn once."""
    rounds = -(-count // len(pool))
    return torch.cat([pool[torch.randperm(len(pool), generator=rng)] for _ in range(rounds)])[:count]


def _numbered(*sets: Tensor) -> list[Tensor]:
    """A number for each image of each set (N, C, H, W), the same for images that are alike."""
    known: dict[bytes, int] = {}

    def number(image: Any) -> int:
        content = hashlib.blake2b(image.tobytes(), digest_size=16).digest()
        return known.setdefault(content, len(known))

    return [torch.tensor([number(image) for image in images.numpy()]).long() for images in sets]


def _no_image_twice(index: Tensor, pools: Sequence[Tensor], numbers: Sequence[Tensor],
                    what: str) -> Tensor:
    """Change as few of the drawn indices (B, K) as needed, so that no mixture holds an image twice.

    Parameters
    ----------
    pools : K tensors
        The indices that each source is drawn from; the images used least take the places.
    numbers : K tensors
        Of the images of each source, see `_numbered`.
    what : str
        For the error, where a pool has too few different images.
    """
    index = index.clone()
    held = torch.stack([of[column] for of, column in zip(numbers, index.T, strict=True)], dim=1)
    used = torch.bincount(held.flatten(), minlength=1 + max(int(of.max()) for of in numbers))
    # the smallest pool has the least choice, so it comes first
    order = sorted(range(len(pools)), key=lambda k: len(numbers[k][pools[k]].unique()))
    twice = (held.sort(dim=1).values.diff(dim=1) == 0).any(dim=1)
    for row in twice.nonzero().flatten().tolist():
        for place, k in enumerate(order):
            taken = held[row, order[:place]]
            if not bool((taken == held[row, k]).any()):
                continue
            free = pools[k][~torch.isin(numbers[k][pools[k]], taken)]
            if not len(free):
                raise SepvizError(f"{what}: too few different images for mixtures of {len(order)}; "
                                  "add images or take fewer sources")
            used[held[row, k]] -= 1
            index[row, k] = free[used[numbers[k][free]].argmin()]
            held[row, k] = numbers[k][index[row, k]]
            used[held[row, k]] += 1
    return index


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
        Picks the images, none twice in a mixture; the same seed gives the same mixtures on every
        machine.
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

    if not (1 <= count <= MOST and 1 <= sources <= 100):
        raise SepvizError(f"count {count}, sources {sources}: "
                          f"want 1 to {MOST:,} mixtures of 1 to 100 sources")
    mixing = mixing_of(weights, sources)
    images = load(dataset, split)
    rng = torch.Generator().manual_seed(seed)
    if protocol == "agnostic":
        pools = [torch.arange(len(images.images))] * sources
        index = _draw(pools[0], count * sources, rng).reshape(count, sources)
    elif protocol == "split":
        classes = images.labels.unique()
        if len(classes) < sources:
            raise SepvizError(f"protocol split: {dataset} has {len(classes)} classes, too few for K = {sources} groups")
        groups = classes.tensor_split(sources)
        pools = [torch.isin(images.labels, group).nonzero().flatten() for group in groups]
        index = torch.stack([_draw(pool, count, rng) for pool in pools], dim=1)
    else:
        raise SepvizError(f"protocol {protocol!r}: choose one of {', '.join(PROTOCOLS)}")
    numbers = _numbered(images.images) * sources
    index = _no_image_twice(index, pools, numbers, f"{dataset}, {split} split")
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


HELD_OUT = 1000  # images of each source that no example is made of
HELD_OUT_SEED = 1_618_033_988  # of strokes, which are endless
HELD_OUT_IS = ("strokes: 1,000 of each source, drawn for this; else 1,000 of each in the train "
               "split, or a quarter of fewer, drawn at random, the same share of every class")
MOST = 1_000_000  # mixtures or examples at once


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
        Where the mixtures' images come from; ``held-out`` are images of neither the examples nor
        the test split. (Shipped masks of MNIST held out others, as their cards say: score them on
        the test split.)
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
    if not 1 <= count <= MOST or not 2 <= training <= MOST:
        raise SepvizError(f"count {count}, training {training}: want at least 1 mixture "
                          f"and 2 images to learn from, at most {MOST:,}")
    need = training if sees == "mixtures" else 2 * training
    pools = [_source(name, wanted, split, size, invert) for name, wanted in ((unseen, training), (observed, need))]
    _check_alike((unseen, observed), pools)
    learned, new = _apart((unseen, observed), pools)
    what = f"{unseen} and {observed}"
    numbers = _numbered(*learned)
    rng = torch.Generator().manual_seed(seed)
    b = torch.randperm(len(learned[1]), generator=rng)
    alone, b = b.tensor_split([0 if sees == "mixtures" else len(b) // 2])
    # all of them, unless the two sets overlap
    x = (~torch.isin(numbers[0], numbers[1][alone])).nonzero().flatten()
    if not len(x):
        raise SepvizError(f"{what}: the same few images, none is left unseen; take other sets")
    y = torch.stack([b, _draw(x, len(b), rng)], dim=1)
    b, x = _no_image_twice(y, (b, x), numbers[::-1], what).T
    b, x = learned[1][b], learned[0][x]
    clean = None if sees == "mixtures" else learned[1][alone].to(device)
    examples = Examples((x + b).to(device), clean, x.to(device) if sees == "all" else None)
    truth = _mixed_anew(new, count, torch.Generator().manual_seed(seed), what).to(device)
    mixing = Mixing.sum(2)
    return Problem(mixing.apply(truth), mixing, examples), Truth(truth)


def blind(*sources: str, count: int = 8, seed: int = 0, training: int = 12_000, split: str = "test",
          device: str | torch.device = "cpu") -> tuple[Problem, Truth]:
    """Sums of one image of each of K sets, and other such sums to learn from; arguments as of `unmix`, which is the case K = 2."""
    check_whole(count=count, seed=seed, training=training)
    if len(sources) < 2:
        raise SepvizError(f"{len(sources)} sets of images: want two or more, as in blind('strokes:0-2', 'strokes:3-5', 'strokes:6-9')")
    if split not in ("test", "held-out") or not 1 <= count <= MOST or not 2 <= training <= MOST:
        raise SepvizError(f"split {split!r}, count {count}, training {training}: "
                          f"want test or held-out, at least 1 and at least 2, at most {MOST:,}")
    pools = [_source(name, training, split, None, False) for name in sources]
    _check_alike(sources, pools)
    learned, new = _apart(sources, pools)
    rng = torch.Generator().manual_seed(seed)
    what = " and ".join(sources)
    parts = _mixed_anew(learned, training, rng, what)
    truth = _mixed_anew(new, count, rng, what).to(device)
    mixing = Mixing.sum(len(sources))
    return Problem(mixing.apply(truth), mixing, Examples(parts.sum(dim=1).to(device))), Truth(truth)


def _apart(names: Sequence[str],
           pools: Sequence[tuple[Tensor, Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
    """The images of each source to learn from, none of which is to be mixed anew; these others."""
    learned, new = (list(images) for images in zip(*pools, strict=True))
    numbers = _numbered(*learned, *new)
    anew = torch.cat(numbers[len(learned):])
    for k, name in enumerate(names):
        learned[k] = learned[k][~torch.isin(numbers[k], anew)]
        if len(learned[k]) < 2:
            raise SepvizError(f"{name}: {len(learned[k])} images to learn from that are not among "
                              "those to separate; take other sets")
    return learned, new


def _mixed_anew(pools: Sequence[Tensor], count: int, rng: torch.Generator, what: str) -> Tensor:
    """One image of each of K pools for each of ``count`` mixtures, (count, K, C, H, W)."""
    every = [torch.arange(len(images)) for images in pools]
    index = torch.stack([_draw(indices, count, rng) for indices in every], dim=1)
    index = _no_image_twice(index, every, _numbered(*pools), what)
    columns = zip(pools, index.T, strict=True)
    return torch.stack([images[column] for images, column in columns], dim=1)


def _source(name: str, wanted: int, split: str, size: int | None, invert: bool) -> tuple[Tensor, Tensor]:
    """Images to learn from, at most ``wanted``, and images to mix anew, of "SET" or "SET:CLASSES"."""
    from sepviz.data import NAMES, floats, hold_out, load, strokes

    classes, home = None, name
    if ":" in name and not os.path.isdir(os.path.expanduser(name)):
        home, _, text = name.rpartition(":")
        classes = _classes(name, text)
    size = None if home in NAMES else size
    if home == "strokes":  # any number can be had, and each takes time
        train = load(home, "train", classes=classes, count=wanted).images[:wanted]
        new = strokes(HELD_OUT, HELD_OUT_SEED, classes).images if split == "held-out" else load(home, split, classes=classes).images
    else:
        whole = load(home, "train", classes=classes, size=size)
        if len(whole.images) < 4:
            raise SepvizError(f"{name}: {len(whole.images)} images to learn from, want at least 4")
        learned, held_out = hold_out(whole, min(HELD_OUT, len(whole.images) // 4))
        new = (held_out.images if split == "held-out"
               else load(home, split, classes=classes, size=size).images)
        train = learned.images[:wanted]
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
    classes: set[int] = set()
    for part in text.split(","):
        found = re.fullmatch(r"([0-9]+)(?:-([0-9]+))?", part.strip())
        if not found:
            raise SepvizError(f"{name[:60]}: {part[:20]!r} is no class; "
                              "the classes after the colon are written like 0-4 or 5,7,9")
        first, last = (bound.lstrip("0") or "0" for bound in (found[1], found[2] or found[1]))
        if max(len(first), len(last)) > 4:  # as text: neither the number nor the range is built
            raise SepvizError(f"{name[:60]}: no set has a class {max(first, last, key=len)[:20]}; "
                              "classes are numbered from 0")
        if int(first) > int(last):
            raise SepvizError(f"{name[:60]}: {part} is written backwards; write {last}-{first}")
        here = range(int(first), int(last) + 1)
        twice = next((label for label in here if label in classes), None)
        if twice is not None:
            raise SepvizError(f"{name[:60]}: class {twice} is named twice; name each once")
        classes.update(here)
    return sorted(classes)


def _padded(images: Tensor) -> Tensor:
    """Images of 28x28 with 2 pixels of 0 on each side, the size of the papers that halve them; others as they are."""
    return functional.pad(images, (2, 2, 2, 2)) if images.shape[-2:] == (28, 28) else images


TASKS: dict[str, Callable[..., tuple[Problem, Truth]]] = {
    "denoise": denoise, "inpaint": inpaint, "complete": complete, "deconvolve": deconvolve, "separate": separate,
    "separate-deconvolve": functools.partial(separate, kernels="paper"),
}
