"""Blind deconvolution, judged without what no blind method can know: order, shift and gain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from sepviz.core import PICTURE, spread
from sepviz.metrics.matching import check, matched, parts, picked, reorder
from sepviz.metrics.quality import psnr


def shift(images: Tensor, down: int, right: int) -> Tensor:
    """Move images (..., H, W) by whole pixels; what comes in from outside is 0."""
    moved = images.roll((down, right), dims=(-2, -1))
    for dim, by in ((-2, down), (-1, right)):
        length = images.shape[dim]
        outside = min(abs(by), length)
        moved.narrow(dim, 0 if by > 0 else length - outside, outside).zero_()
    return moved


class Aligned(NamedTuple):
    """Estimates brought to the sources' order, place and scale."""

    sources: Tensor  # (B, K, C, H, W), clamped to [0, 1]
    filters: Tensor | None  # (B, K, h, w), moved and scaled the other way
    permutation: Tensor  # (B, K)
    shifts: Tensor  # (B, K, 2), down and right
    gains: Tensor  # (B, K)


def align(estimates: Tensor, sources: Tensor, filters: Tensor | None = None, reach: int = 2,
          weights: Sequence[float] | None = None, order: str = "each") -> Aligned:
    """Undo the order, and what a source and its filter can trade: a shift and a gain.

    Each estimated picture (B, K, C, H, W) is moved by up to ``reach`` pixels each way (25 places
    for 2) and scaled by the least-squares gain; place and permutation (see `match`) are those of
    the least summed MSE. Its filter (B, K, h, w) takes the opposite:
    ``f * x = (shifted back f / gain) * (gain shifted x)``.
    """
    check(estimates, sources, PICTURE)
    estimates, side = estimates.to(sources.device), range(-reach, reach + 1)
    places = torch.tensor([(down, right) for down in side for right in side])
    fits = [_fits(ours, true, places) for ours, true in parts(estimates, sources)]
    mse, gains = (torch.cat(part) for part in zip(*fits, strict=True))
    least, where = mse.min(dim=1)
    permutation = matched(least, "summed_mse", weights, order).to(sources.device)
    place = picked(where, permutation)
    gain = picked(gains.gather(1, where[:, None])[:, 0], permutation)
    shifts = places.to(place.device)[place]
    moved = PICTURE.clamp(_moved(reorder(estimates, permutation), shifts).double())
    found = PICTURE.clamp(spread(gain, moved) * moved)
    turned = None
    if filters is not None:
        turned = _moved(reorder(filters.to(sources.device), permutation), -shifts)
        turned = turned / spread(gain, turned).to(turned.dtype).clamp_min(1e-9)
    return Aligned(found.to(sources.dtype), turned, permutation, shifts, gain.float())


def _fits(estimates: Tensor, sources: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """MSE and gain of each estimate at each place and source -> (B, place, true, estimate)."""
    true, errors, gains = sources.double().flatten(2), [], []
    for down, right in places.tolist():
        moved = PICTURE.clamp(shift(estimates, down, right).double()).flatten(2)
        gain = true @ moved.mT / moved.square().sum(dim=2)[:, None].clamp_min(1e-9)
        rows = [(PICTURE.clamp(gain[:, j, :, None] * moved) - one[:, None]).square().mean(dim=2)
                for j, one in enumerate(true.unbind(1))]
        errors.append(torch.stack(rows, dim=1))
        gains.append(gain)
    return torch.stack(errors, dim=1), torch.stack(gains, dim=1)


def _moved(images: Tensor, shifts: Tensor) -> Tensor:
    """Images (B, K, ...), each moved by its own shift (B, K, 2)."""
    flat, moves = images.flatten(0, 1), shifts.flatten(0, 1).tolist()
    moved = [shift(image, *by) for image, by in zip(flat, moves, strict=True)]
    return torch.stack(moved).view_as(images)


def aligned_figures(estimates: Tensor, sources: Tensor, filters: Tensor | None, true: Tensor,
                    convention: str = "per_source", weights: Sequence[float] | None = None,
                    order: str = "each") -> tuple[float, float | None]:
    """After `align`: the mean PSNR in dB, and median correlation of filters of the true size."""
    found = align(estimates, sources, filters, weights=weights, order=order)
    mean = float(psnr(found.sources, sources, convention, weights, order).mean())
    if found.filters is None or found.filters.shape != true.shape:
        return mean, None
    return mean, float(filter_correlation(found.filters, true).median())


def filter_correlation(filters: Tensor, true: Tensor) -> Tensor:
    """Cosine between filters and the true ones, (B, K, h, w) twice -> (B, K); align them first."""
    ours, theirs = (some.to(filters.device).flatten(2).double() for some in (filters, true))
    return functional.cosine_similarity(ours, theirs, dim=2).float()
