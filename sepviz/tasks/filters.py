"""Filters for the tasks that blur: the nine of Kong et al. 2019, and random smooth ones."""

from __future__ import annotations

import torch
from torch import Generator, Tensor
from torch.nn import functional

from sepviz.core import SepvizError


def paper_kernels() -> Tensor:
    """The nine 5x5 filters of Kong et al. 2019, section 4.3 -> (9, 5, 5).

    Lines of one pixel through the centre (horizontal, vertical, both diagonals) over 5, bands of
    three pixels over 15, the box over 25. All are the same turned by 180 degrees, so they cannot
    tell convolution from correlation.
    """
    row, column = torch.meshgrid(torch.arange(5) - 2, torch.arange(5) - 2, indexing="ij")
    distances = [row, column, row - column, row + column]
    lines = [(distance == 0).float() / 5 for distance in distances]
    bands = [(distance.abs() <= 1).float() / 15 for distance in distances]
    return torch.stack([*lines, *bands, torch.ones(5, 5) / 25])


def smooth_kernels(count: int, size: int, rng: Generator) -> Tensor:
    """Positive filters of sum 1: softmax of a blurred random field -> (count, size, size)."""
    if size < 1 or size % 2 == 0:
        raise SepvizError(f"filter size {size}: want an odd number, 5 for example")
    field = torch.randn((count, 1, size + 2, size + 2), generator=rng)
    field = 6 * functional.avg_pool2d(field, 3, stride=1).flatten(1)
    return field.softmax(dim=1).reshape(count, size, size)


def choose(kernels: str | Tensor, count: int, rng: Generator, size: int = 5) -> Tensor:
    """``count`` filters (count, h, w), drawn at random.

    Parameters
    ----------
    kernels : "paper", "smooth" or Tensor (h, w) or (N, h, w)
        Draw from the paper's nine, from all smooth ones of this ``size``, or from these.
    """
    if isinstance(kernels, str):
        if kernels == "smooth":
            return smooth_kernels(count, size, rng)
        if kernels != "paper":
            raise SepvizError(f"kernels {kernels!r}: choose paper or smooth, or give a tensor "
                              "(h, w) or (N, h, w)")
        kernels = paper_kernels()
    shape, kernels = tuple(kernels.shape), kernels.float()
    kernels = kernels[None] if kernels.ndim == 2 else kernels
    odd = kernels.ndim == 3 and all(side % 2 for side in kernels.shape[1:])
    if not odd or not bool(torch.isfinite(kernels).all()):
        raise SepvizError(f"kernels of shape {shape}: want finite numbers (h, w) or (N, h, w) "
                          "with h and w odd")
    return kernels[torch.randint(len(kernels), (count,), generator=rng)]
