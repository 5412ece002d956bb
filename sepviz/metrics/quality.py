"""PSNR and SSIM of separations, and their summary."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sepviz.core import PICTURE, Medium, SepvizError
from sepviz.metrics.matching import decibels, match, matched, pairwise_mse, parts, picked, reorder

WINDOW = 11  # pixels on a side of SSIM's window


def psnr(estimates: Tensor, sources: Tensor, convention: str = "per_source",
         weights: Sequence[float] | None = None, order: str = "each",
         medium: Medium = PICTURE) -> Tensor:
    """Peak signal-to-noise ratio in dB of separations (B, K, C, H, W) -> (B,).

    Parameters
    ----------
    convention : {"per_source", "summed_mse"}
        ``per_source``: the mean over the sources of each image's PSNR (Jayaram & Thickstun 2020).
        ``summed_mse``: ``-10 log10`` of the sum over the sources of the MSEs (Kong et al. 2019),
        about 3 dB lower for two sources.
    weights, order
        Which sources may change places, see `match`.
    """
    mse = pairwise_mse(estimates, sources, medium)
    mse = picked(mse, matched(mse, convention, weights, order))
    if convention == "per_source":
        return decibels(mse, medium.peak).mean(dim=1).float()
    return decibels(mse.sum(dim=1), medium.peak).float()


def pooled_psnr(estimates: Tensor, sources: Tensor, weights: Sequence[float] | None = None,
                order: str = "each", medium: Medium = PICTURE) -> float:
    """One PSNR in dB, from one MSE over all images; ``per_source`` permutations of `match`."""
    mse = pairwise_mse(estimates, sources, medium)
    mse = picked(mse, matched(mse, "per_source", weights, order))
    return float(decibels(mse.mean(), medium.peak))


def ssim_image(first: Tensor, second: Tensor, peak: float = 1.0) -> Tensor:
    """SSIM of images (N, C, H, W); Wang et al. 2004's settings -> (N,).

    Gaussian window sigma 1.5 cut at 3.5 sigma (11 pixels), population covariance, K1 = 0.01,
    K2 = 0.03, mean over the pixels whose window lies inside and over channels: scikit-image's
    ``gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=peak``.
    """
    height, width = first.shape[-2:]
    if min(height, width) < WINDOW:
        raise SepvizError(f"images of {height}x{width}: SSIM's window needs at least "
                          f"{WINDOW}x{WINDOW}")
    c1, c2, found = (0.01 * peak) ** 2, (0.03 * peak) ** 2, []
    for x, y in parts(first.reshape(-1, height, width), second.reshape(-1, height, width)):
        x, y = x.double(), y.double()
        mean_x, mean_y, square_x, square_y, product = map(_windowed, (x, y, x * x, y * y, x * y))
        variances = square_x - mean_x**2 + square_y - mean_y**2
        covariance = product - mean_x * mean_y
        similarity = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
        similarity /= (mean_x**2 + mean_y**2 + c1) * (variances + c2)
        found.append(similarity.mean(dim=(1, 2)))
    return torch.cat(found).reshape(len(first), -1).mean(dim=1)


def _windowed(images: Tensor) -> Tensor:
    """Images (N, H, W) under a Gaussian window of 11 pixels each way, where it lies inside.

    Sums of shifted copies: torch's convolution of doubles unfolds its input, 121 times as large.
    """
    window = torch.exp(-0.5 * (torch.arange(-5, 6, dtype=torch.float64) / 1.5) ** 2)
    for dim in (1, 2):
        size = images.shape[dim] - WINDOW + 1
        total = torch.zeros_like(images.narrow(dim, 0, size))
        for place, weight in enumerate((window / window.sum()).tolist()):
            total.add_(images.narrow(dim, place, size), alpha=weight)
        images = total
    return images


def ssim(estimates: Tensor, sources: Tensor, weights: Sequence[float] | None = None,
         order: str = "each", medium: Medium = PICTURE) -> Tensor:
    """Structural similarity of each mixture's separation, mean over sources -> (B,).

    Under the ``per_source`` permutations of `match`; for media with two axes beside channels.
    """
    extent = medium.extent(sources.shape)
    if len(extent) != 2:
        raise SepvizError(f"signals of medium {medium.name} {medium.form()}: SSIM compares images, "
                          "which have two axes beside channels; use psnr")
    permutation = match(estimates, sources, weights=weights, order=order, medium=medium)
    ours = reorder(medium.clamp(estimates.to(sources.device)), permutation)
    values = ssim_image(ours.flatten(0, 1), sources.flatten(0, 1), medium.peak)
    return values.reshape(sources.shape[:2]).mean(dim=1).float()


class Summary(NamedTuple):
    """A set of separations in figures: PSNR in dB (per_source unless said), n mixtures."""

    n: int
    mean: float
    interval: float  # half width of the mean's 95% interval
    median: float
    pooled: float
    ssim: float  # nan where it cannot be computed: a table of PSNRs still has its use
    convention: str
    order: str


def summarize(estimates: Tensor, sources: Tensor, convention: str = "per_source", *,
              weights: Sequence[float] | None = None, order: str = "each",
              medium: Medium = PICTURE) -> Summary:
    """All the figures of separations (B, K, C, H, W); a mean of PSNRs over-weights easy items.

    Mean and median are in this ``convention`` of `psnr`, pooled PSNR and SSIM of the per_source
    permutations; ``weights`` and ``order`` say which sources may change places, see `match`.
    """
    values = psnr(estimates, sources, convention, weights, order, medium)
    interval = similar = math.nan
    if len(values) > 1:
        interval = 1.96 * float(values.std()) / math.sqrt(len(values))
    extent = medium.extent(sources.shape)
    if len(extent) == 2 and min(extent) >= WINDOW:
        similar = float(ssim(estimates, sources, weights, order, medium).mean())
    pooled = pooled_psnr(estimates, sources, weights, order, medium)
    return Summary(len(values), float(values.mean()), interval, float(values.median()), pooled,
                   similar, convention, order)
