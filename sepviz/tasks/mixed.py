"""Problems of sources that are given, and problems of other problems."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from sepviz.core import PICTURE, Medium, Mixing, Problem, SepvizError, Truth, check_whole


def mix(sources: Tensor, weights: Sequence[float] | str = "sum",
        medium: Medium = PICTURE) -> tuple[Problem, Truth]:
    """Mix given sources.

    Parameters
    ----------
    sources : Tensor (B, K, C, H, W) in [0, 1]
        Of another medium, with its axes and in its range.
    weights : "sum", "mean" or K floats
    """
    if not isinstance(sources, Tensor) or sources.ndim != 2 + len(medium.axes):
        raise SepvizError(f"sources of shape {tuple(getattr(sources, 'shape', ()))}: "
                          f"want a torch tensor {medium.form('B', 'K')}")
    mixing = Mixing.of(weights, sources.shape[1])
    return Problem(mixing.apply(sources), mixing, medium=medium), Truth(sources)


def with_noise(images: Tensor, amplitude: float, rng: torch.Generator) -> Tensor:
    """The images and noise from Uniform(-amplitude, amplitude), not clipped."""
    return images + amplitude * (2 * torch.rand(images.shape, generator=rng) - 1).to(images)


def hide(problem: Problem, visible: Tensor) -> Problem:
    """The same problem seen through a mask (H, W): what is not visible is set to 0."""
    mixing = dataclasses.replace(problem.mixing, visible=visible)
    mixing.check_form(problem.mixtures, problem.medium)
    mixtures = problem.mixtures * visible.to(problem.mixtures)
    return problem._replace(mixtures=mixtures, mixing=mixing, examples=None)


def repeat(problem: Problem, item: int = 0, chains: int = 8) -> Problem:
    """One mixture so many times (2 or more): a method run on it draws samples of its posterior."""
    check_whole(item=item, chains=chains)
    if not 0 <= item < len(problem.mixtures):
        raise SepvizError(f"item={item}: the problem has mixtures 0 to {len(problem.mixtures) - 1}")
    if chains < 2:
        raise SepvizError(f"chains={chains}: want at least 2")
    copies = problem.mixtures[[item] * chains]
    return problem._replace(mixtures=copies, examples=None)
