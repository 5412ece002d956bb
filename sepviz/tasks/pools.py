"""Drawing images for mixtures, so that no mixture holds an image twice."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sepviz.core import SepvizError

MOST = 1_000_000  # mixtures or examples at once


def draw_from(pool: Tensor, count: int, rng: torch.Generator) -> Tensor:
    """``count`` indices out of ``pool``, none twice before all were drawn once."""
    rounds = -(-count // len(pool))
    drawn = [pool[torch.randperm(len(pool), generator=rng)] for _ in range(rounds)]
    return torch.cat(drawn)[:count]


def numbered(*sets: Tensor) -> list[Tensor]:
    """A number for each image of each set (N, C, H, W); equal images have the same number."""
    known: dict[bytes, int] = {}

    def number(image: Any) -> int:
        content = hashlib.blake2b(image.tobytes(), digest_size=16).digest()
        return known.setdefault(content, len(known))

    return [torch.tensor([number(image) for image in images.numpy()]).long() for images in sets]


def no_image_twice(index: Tensor, pools: Sequence[Tensor], numbers: Sequence[Tensor],
                   what: str) -> Tensor:
    """Change as few of the drawn indices (B, K) as needed, so that no mixture holds an image twice.

    Each source is drawn from the indices in its pool, whose images have these numbers, see
    `numbered`; the images used least take the places. ``what`` names the pools in the error.
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


def one_of_each(pools: Sequence[Tensor], count: int, rng: torch.Generator, what: str) -> Tensor:
    """One image of each of K pools (N, C, H, W) for each mixture -> (count, K, C, H, W)."""
    every = [torch.arange(len(images)) for images in pools]
    index = torch.stack([draw_from(indices, count, rng) for indices in every], dim=1)
    index = no_image_twice(index, every, numbered(*pools), what)
    columns = zip(pools, index.T, strict=True)
    return torch.stack([images[column] for images, column in columns], dim=1)
