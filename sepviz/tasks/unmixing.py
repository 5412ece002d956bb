"""Sums of images of different sets, with other such sums to learn from."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from sepviz import data
from sepviz.core import SEES, Examples, Mixing, Problem, SepvizError, Truth, check_whole
from sepviz.tasks.pools import MOST, draw_from, no_image_twice, numbered, one_of_each

HELD_OUT = 1000  # images of each source that no example is made of
HELD_OUT_SEED = 1_618_033_988  # of strokes, which are endless
HELD_OUT_IS = ("strokes: 1,000 of each source, drawn for this; else 1,000 of each in the train "
               "split, or a quarter of fewer, drawn at random, the same share of every class")
SPLITS = ("test", "held-out")


def unmix(unseen: str = "strokes:0-4", observed: str = "strokes:5-9", *, count: int = 8,
          seed: int = 0, sees: str = "observed", training: int = 12_000, split: str = "test",
          size: int | None = None, invert: bool = False,
          device: str | torch.device = "cpu") -> tuple[Problem, Truth]:
    """Sums of an unseen source, of which there are no clean images, and an observed one.

    The setting of Halperin et al. 2019, section 4.1: half of the observed source's images, B, are
    given clean; the others are mixed with images of the unseen source to give Y. Source 0 is the
    unseen one. Images of 28x28 are padded to 32x32.

    Parameters
    ----------
    unseen, observed : str
        What the two sources are: a data set's name with classes, as in "mnist:0-4" or
        "fashion-mnist:5,7,9", or a folder of images.
    count : int
        Mixtures to take apart.
    seed : int
        Picks the images. What is learned from is of the train split, whatever ``split`` is.
    sees : {"mixtures", "observed", "all"}
        What a method may learn from, see `SEES`.
    training : int
        At most so many mixtures Y, and as many images of B; blind, all images of the observed
        source are mixed.
    split : {"test", "held-out"}
        Where the images to take apart come from; ``held-out`` ones are in neither the examples nor
        the test split. (Shipped masks of MNIST held out others, as their cards say: score them on
        the test split.)
    size : int, optional
        For folders: resize and crop to this square.
    invert : bool
        Take ``1 - image``: for dark things on white, since masks and sums want a background of 0.

    Returns
    -------
    Problem, Truth
    """
    _check_request(count, seed, training, split)
    if sees not in SEES:
        raise SepvizError(f"sees {sees!r}: choose one of {', '.join(SEES)}")
    names, blindly = (unseen, observed), sees == "mixtures"
    wanted = (training, training if blindly else 2 * training)
    learned, new = _apart(names, [_source(name, most, split, size, invert)
                                  for name, most in zip(names, wanted, strict=True)])
    what = f"{unseen} and {observed}"
    numbers = numbered(*learned)
    rng = torch.Generator().manual_seed(seed)
    b = torch.randperm(len(learned[1]), generator=rng)
    clean, b = b.tensor_split([0 if blindly else len(b) // 2])
    # all of them, unless the two sets overlap
    x = (~torch.isin(numbers[0], numbers[1][clean])).nonzero().flatten()
    if not len(x):
        raise SepvizError(f"{what}: the same few images, none is left unseen; take other sets")
    pairs = torch.stack([b, draw_from(x, len(b), rng)], dim=1)
    b, x = no_image_twice(pairs, (b, x), numbers[::-1], what).T
    b, x = learned[1][b], learned[0][x]
    examples = Examples(x + b, None if blindly else learned[1][clean], x if sees == "all" else None)
    truth = one_of_each(new, count, torch.Generator().manual_seed(seed), what)
    return _sums(truth, examples, device)


def blind(*sources: str, count: int = 8, seed: int = 0, training: int = 12_000,
          split: str = "test", device: str | torch.device = "cpu") -> tuple[Problem, Truth]:
    """Sums of one image of each of K sets, and other such sums to learn from; see `unmix`."""
    if len(sources) < 2:
        raise SepvizError(f"{len(sources)} sets of images: want two or more, as in "
                          "blind('strokes:0-2', 'strokes:3-5', 'strokes:6-9')")
    _check_request(count, seed, training, split)
    learned, new = _apart(sources, [_source(name, training, split, None, False)
                                    for name in sources])
    what, rng = " and ".join(sources), torch.Generator().manual_seed(seed)
    examples = Examples(one_of_each(learned, training, rng, what).sum(dim=1))
    return _sums(one_of_each(new, count, rng, what), examples, device)


def _check_request(count: int, seed: int, training: int, split: str) -> None:
    check_whole(count=count, seed=seed, training=training)
    if split not in SPLITS:
        raise SepvizError(f"split {split!r}: choose test or held-out")
    if not 1 <= count <= MOST or not 2 <= training <= MOST:
        raise SepvizError(f"count {count}, training {training}: want at least 1 mixture "
                          f"and 2 images to learn from, at most {MOST:,}")


def _sums(sources: Tensor, examples: Examples,
          device: str | torch.device) -> tuple[Problem, Truth]:
    sources, mixing = sources.to(device), Mixing.sum(sources.shape[1])
    here = Examples(*(None if images is None else images.to(device)  # type: ignore[arg-type]
                      for images in examples))
    return Problem(mixing.apply(sources), mixing, here), Truth(sources)


def _source(name: str, wanted: int, split: str, size: int | None,
            invert: bool) -> tuple[Tensor, Tensor]:
    """Of "SET" or "SET:CLASSES": images to learn from, at most ``wanted``, and images to mix."""
    classes, home = None, name
    if ":" in name and not os.path.isdir(os.path.expanduser(name)):
        home, _, text = name.rpartition(":")
        classes = classes_of(name, text)
    size = None if home in data.NAMES else size
    if home == "strokes":  # any number can be had, and each takes time
        learned = data.load(home, "train", classes=classes, count=wanted)
        held_out = data.strokes(HELD_OUT, HELD_OUT_SEED, classes) if split == "held-out" else None
    else:
        whole = data.load(home, "train", classes=classes, size=size)
        if len(whole.images) < 4:
            raise SepvizError(f"{name}: {len(whole.images)} images to learn from, want at least 4")
        learned, held_out = data.hold_out(whole, min(HELD_OUT, len(whole.images) // 4))
    if split == "test" or held_out is None:
        held_out = data.load(home, "test", classes=classes, size=size)
    first, second = (_padded(1 - images if invert else images)
                     for images in map(data.floats, (learned.images[:wanted], held_out.images)))
    return first, second


def _apart(names: Sequence[str],
           pools: Sequence[tuple[Tensor, Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
    """The images of each source to learn from, none of which is to be mixed; the others, to mix.

    Refuses sets whose images cannot be added, and sets of which nothing is left to learn from.
    """
    learned, new = (list(images) for images in zip(*pools, strict=True))
    shape = tuple(learned[0].shape[1:])
    for k, images in enumerate([*learned, *new]):
        if tuple(images.shape[1:]) != shape:
            raise SepvizError(f"{names[0]} has images of (C, H, W) = {shape}, "
                              f"{names[k % len(names)]} of {tuple(images.shape[1:])}: give a size "
                              "for folders, or choose sets that are alike")
    numbers = numbered(*learned, *new)
    anew = torch.cat(numbers[len(learned):])
    for k, name in enumerate(names):
        learned[k] = learned[k][~torch.isin(numbers[k], anew)]
        if len(learned[k]) < 2:
            raise SepvizError(f"{name}: {len(learned[k])} images to learn from that are not among "
                              "those to separate; take other sets")
    return learned, new


def classes_of(name: str, text: str) -> list[int]:
    """The numbers of "0-4" or "5,7,9"."""
    name, classes = name[:60], set[int]()
    for part in text.split(","):
        found = re.fullmatch(r"([0-9]+)(?:-([0-9]+))?", part.strip())
        if not found:
            raise SepvizError(f"{name}: {part[:20]!r} is no class; "
                              "the classes after the colon are written like 0-4 or 5,7,9")
        first, last = (bound.lstrip("0") or "0" for bound in (found[1], found[2] or found[1]))
        if max(len(first), len(last)) > 4:  # as text: neither the number nor the range is built
            raise SepvizError(f"{name}: no set has a class {max(first, last, key=len)[:20]}; "
                              "classes are numbered from 0")
        if int(first) > int(last):
            raise SepvizError(f"{name}: {part} is written backwards; write {last}-{first}")
        here = set(range(int(first), int(last) + 1))
        if here & classes:
            raise SepvizError(f"{name}: class {min(here & classes)} is named twice; "
                              "name each once")
        classes |= here
    return sorted(classes)


def _padded(images: Tensor) -> Tensor:
    """Images of 28x28 with 2 pixels of 0 on each side, the papers' size; others as they are."""
    return functional.pad(images, (2, 2, 2, 2)) if images.shape[-2:] == (28, 28) else images
