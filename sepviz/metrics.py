"""How good a separation is. Names, conventions and bounds are stated, since the literature's differ.

Estimates are clamped to [0, 1] first and the peak is 1. Sources come back in no order, so every
metric first finds the permutation of the estimates that fits best.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from sepviz.core import SepvizError

APART = 0.1  # RMS distance in pixel values (20 dB) beyond which two answers are of different modes


def decibels(mse: Tensor) -> Tensor:
    """``-10 log10(mse)``, the PSNR for a peak of 1."""
    return -10 * torch.log10(mse.clamp_min(1e-12))


def pairwise_mse(estimates: Tensor, sources: Tensor) -> Tensor:
    """MSE of every estimate against every source: (B, K, ...) twice -> (B, K, K), [b, true, estimate]."""
    if estimates.shape != sources.shape or estimates.ndim != 5:
        raise SepvizError(f"estimates {tuple(estimates.shape)} and sources {tuple(sources.shape)}: want the same (B, K, C, H, W)")
    estimates = estimates.to(sources.device, torch.float64).clamp(0, 1)
    return (sources.double()[:, :, None] - estimates[:, None]).square().mean(dim=(3, 4, 5))


def assign(cost: Tensor) -> Tensor:
    """The permutation of least cost by the Hungarian method: (B, K, K), [b, true, estimate] -> (B, K)."""
    from scipy.optimize import linear_sum_assignment

    return torch.stack([torch.as_tensor(linear_sum_assignment(item)[1]) for item in cost.cpu().numpy()])


def match(estimates: Tensor, sources: Tensor, convention: str = "per_source", weights: Sequence[float] | None = None) -> Tensor:
    """The best permutation of the estimates, by the Hungarian method.

    Parameters
    ----------
    estimates, sources : Tensor (B, K, C, H, W)
    convention : {"per_source", "summed_mse"}
        Whether the sum of the PSNRs is maximised (BASIS) or the sum of the MSEs minimised (S-D).
    weights : sequence of K floats, optional
        Of the sources in the mixture: only those of equal weights change places.

    Returns
    -------
    Tensor (B, K) int64
        ``permutation[b, k]`` is the estimate that belongs to source k.
    """
    mse = pairwise_mse(estimates, sources)
    if convention not in ("per_source", "summed_mse"):
        raise SepvizError(f"convention {convention!r}: choose per_source or summed_mse")
    cost = -decibels(mse) if convention == "per_source" else mse
    if weights is not None:
        weight = torch.tensor(weights, device=cost.device)
        cost = cost + 1e6 * (weight[:, None] != weight)  # more than any order of the others can save
    return assign(cost)


def reorder(estimates: Tensor, permutation: Tensor) -> Tensor:
    """``estimates[b, permutation[b, k]]``, of the shape of ``estimates``."""
    index = permutation.to(estimates.device)[:, :, None, None, None].expand_as(estimates)
    return estimates.gather(1, index)


def in_order_of(chosen: Tensor, answers: Tensor, weights: Sequence[float]) -> Tensor:
    """Several answers to each mixture with their sources in the order of a chosen one, to be compared or averaged.

    Parameters
    ----------
    chosen : Tensor (B, K, C, H, W)
    answers : Tensor (B, N, K, C, H, W)
    weights : sequence of K floats
        Of the sources in the mixture: only those of equal weights change places.
    """
    return torch.stack([reorder(answer, match(answer, chosen, weights=weights)) for answer in answers.unbind(1)], dim=1)


def modes(samples: Tensor, apart: float = APART, weights: Sequence[float] | None = None) -> tuple[Tensor, Tensor]:
    """Bring samples of one mixture into one order of the sources, and group those that tell the same story.

    Parameters
    ----------
    samples : Tensor (N, K, C, H, W)
    apart : float
        RMS distance, in pixel values, beyond which two samples are of different modes (average linkage).
    weights : sequence of K floats, optional
        Of the sources in the mixture: only those of equal weights change places.

    Returns
    -------
    permutation : Tensor (N, K) int64
        ``permutation[n, k]`` is the source of sample n that is shown as source k.
    mode : Tensor (N,) int64
        The mode of every sample, 0 for the largest.
    """
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    samples, count = samples.nan_to_num(0).clamp(-1e3, 1e3), len(samples)
    if count == 1:
        return torch.arange(samples.shape[1])[None], torch.zeros(1, dtype=torch.long)
    orders = torch.stack([match(samples, samples[n:n + 1].expand_as(samples), weights=weights) for n in range(count)])
    distances = torch.stack([(reorder(samples, orders[n]) - samples[n]).square().flatten(1).mean(dim=1).sqrt() for n in range(count)])
    permutation = orders[int(distances.sum(dim=1).argmin())]  # the sample in the middle of all gives the order
    found = fcluster(linkage(squareform((distances + distances.T).numpy() / 2, checks=False), "average"), apart, "distance")
    sizes = torch.bincount(torch.from_numpy(found).long())
    ranks = torch.empty_like(sizes)
    ranks[sizes.argsort(descending=True, stable=True)] = torch.arange(len(sizes))
    return permutation, ranks[torch.from_numpy(found).long()]


def in_one_order(estimates: Tensor, sources: Tensor) -> Tensor:
    """The estimates in the one order that fits all mixtures together best: what a blind method leaves open, settled once a data set.

    Parameters
    ----------
    estimates, sources : Tensor (B, K, C, H, W)
    """
    order = assign(-decibels(pairwise_mse(estimates, sources)).sum(dim=0, keepdim=True))
    return reorder(estimates, order.expand(len(estimates), -1))


def psnr(estimates: Tensor, sources: Tensor, convention: str = "per_source") -> Tensor:
    """Peak signal-to-noise ratio of each mixture's separation, in dB.

    Parameters
    ----------
    estimates, sources : Tensor (B, K, C, H, W)
    convention : {"per_source", "summed_mse"}
        ``per_source``: the mean over the sources of each image's PSNR (Jayaram & Thickstun 2020).
        ``summed_mse``: ``-10 log10`` of the sum over the sources of the MSEs (Kong et al. 2019), about
        3 dB lower for two sources.

    Returns
    -------
    Tensor (B,)
    """
    permutation = match(estimates, sources, convention)
    mse = pairwise_mse(reorder(estimates, permutation), sources).diagonal(dim1=1, dim2=2)
    return (decibels(mse).mean(dim=1) if convention == "per_source" else decibels(mse.sum(dim=1))).float()


def pooled_psnr(estimates: Tensor, sources: Tensor) -> float:
    """One PSNR from one MSE over all images, under the ``per_source`` permutations, in dB."""
    matched = reorder(estimates.to(sources.device), match(estimates, sources)).clamp(0, 1)
    return float(decibels((matched.double() - sources.double()).square().mean()))


def ssim_image(first: Tensor, second: Tensor) -> Tensor:
    """SSIM of images (N, C, H, W) in [0, 1]; Wang et al. 2004's settings -> (N,).

    Gaussian window sigma 1.5 cut at 3.5 sigma (11 pixels), population covariance, K1 = 0.01, K2 = 0.03,
    mean over the pixels whose window lies inside and over channels: scikit-image's
    ``gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1``.
    """
    count, channels, height, width = first.shape
    if min(height, width) < 11:
        raise SepvizError(f"images of {height}x{width}: SSIM's window needs at least 11x11")
    taps = torch.exp(-0.5 * (torch.arange(-5, 6, dtype=torch.float64, device=first.device) / 1.5) ** 2)
    taps = taps / taps.sum()
    window = torch.outer(taps, taps)[None, None]
    x, y = (image.double().reshape(count * channels, 1, height, width) for image in (first, second))
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = (functional.conv2d(image, window) for image in (x, y, x * x, y * y, x * y))
    variance_x, variance_y, covariance = mean_xx - mean_x**2, mean_yy - mean_y**2, mean_xy - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    similarity = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / ((mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2))
    return similarity.reshape(count, -1).mean(dim=1)


def ssim(estimates: Tensor, sources: Tensor) -> Tensor:
    """Structural similarity of each mixture's separation, mean over sources, best PSNR permutation -> (B,)."""
    estimates = estimates.to(sources.device).clamp(0, 1)
    matched = reorder(estimates, match(estimates, sources))
    return ssim_image(matched.flatten(0, 1), sources.flatten(0, 1)).reshape(sources.shape[:2]).mean(dim=1).float()


def residual(mixtures: Tensor, remixed: Tensor) -> Tensor:
    """RMS of what the remix leaves of each mixture: (B, C, H, W) twice -> (B,), in pixel units."""
    return (mixtures - remixed).square().mean(dim=(1, 2, 3)).sqrt()


def shift(images: Tensor, down: int, right: int) -> Tensor:
    """Move images (..., H, W) by whole pixels; what comes in from outside is 0."""
    height, width = images.shape[-2:]
    moved = torch.zeros_like(images)
    moved[..., max(down, 0):height + min(down, 0), max(right, 0):width + min(right, 0)] = \
        images[..., max(-down, 0):height - max(down, 0), max(-right, 0):width - max(right, 0)]
    return moved


class Aligned(NamedTuple):
    """Estimates brought to the sources' order, place and scale."""

    sources: Tensor  # (B, K, C, H, W), clamped to [0, 1]
    filters: Tensor | None  # (B, K, h, w), moved and scaled the other way
    permutation: Tensor  # (B, K)
    shifts: Tensor  # (B, K, 2), down and right
    gains: Tensor  # (B, K)


def align(estimates: Tensor, sources: Tensor, filters: Tensor | None = None, reach: int = 2) -> Aligned:
    """Take off what no blind method can know: order, a shift and a gain traded between a source and its filter.

    Each estimate is moved by up to ``reach`` pixels each way (25 places for 2) and scaled by the
    least-squares gain; place and permutation are those of the least summed MSE.

    Parameters
    ----------
    estimates, sources : Tensor (B, K, C, H, W)
    filters : Tensor (B, K, h, w), optional
        The estimates' filters: ``f * x = (shifted back f / gain) * (gain shifted x)``.
    """
    pairwise_mse(estimates, sources)  # checks the shapes
    places = [(down, right) for down in range(-reach, reach + 1) for right in range(-reach, reach + 1)]
    moved = torch.stack([shift(estimates, *place) for place in places], dim=1).to(sources.device).clamp(0, 1).flatten(3).double()
    flat = sources.flatten(2).double()
    gains = torch.einsum("bpkn,bjn->bjpk", moved, flat) / moved.square().sum(dim=3)[:, None].clamp_min(1e-9)  # [b, true, place, estimate]
    mse = torch.stack([(gains[:, j, :, :, None] * moved).clamp(0, 1).sub(flat[:, j, None, None]).square().mean(dim=3)
                       for j in range(flat.shape[1])], dim=1)
    least, where = mse.min(dim=2)
    permutation = assign(least)
    index = permutation.to(where.device)[:, :, None]
    place = where.gather(2, index)[:, :, 0]
    gain = gains.gather(2, place[:, :, None, None].expand(-1, -1, 1, gains.shape[3]))[:, :, 0].gather(2, index)[:, :, 0]
    rows = torch.arange(len(sources), device=where.device)[:, None]
    picked = moved[rows, place, index[:, :, 0]]
    found = (gain[:, :, None] * picked).clamp(0, 1).reshape(sources.shape).to(sources.dtype)
    shifts = torch.tensor(places, device=where.device)[place]
    turned = None
    if filters is not None:
        ordered = filters.to(sources.device)[rows, index[:, :, 0]]
        turned = torch.stack([torch.stack([shift(ordered[b, k], *(-shifts[b, k]).tolist()) for k in range(ordered.shape[1])])
                              for b in range(len(ordered))]) / gain[:, :, None, None].to(ordered.dtype).clamp_min(1e-9)
    return Aligned(found, turned, permutation, shifts, gain.float())


def aligned_figures(estimates: Tensor, sources: Tensor, filters: Tensor | None, true: Tensor,
                    convention: str = "per_source") -> tuple[float, float | None]:
    """After `align`: the mean PSNR in dB and, for filters of the true ones' shape, their median correlation."""
    found = align(estimates, sources, filters)
    same = None
    if found.filters is not None and found.filters.shape == true.shape:
        same = float(filter_correlation(found.filters, true).median())
    return summarize(found.sources, sources, convention).mean, same


def filter_correlation(filters: Tensor, true: Tensor) -> Tensor:
    """Cosine between filters and the true ones, (B, K, h, w) twice -> (B, K); align them first."""
    return functional.cosine_similarity(filters.flatten(2).double(), true.to(filters.device).flatten(2).double(), dim=2).float()


class Summary(NamedTuple):
    """A set of separations in figures: PSNR in dB (per_source unless said), n mixtures."""

    n: int
    mean: float
    interval: float  # half width of the mean's 95% interval
    median: float
    pooled: float
    ssim: float
    convention: str


def _interval(values: Tensor) -> float:
    """Half width of the mean's 95% interval."""
    return 1.96 * float(values.std()) / math.sqrt(len(values)) if len(values) > 1 else math.nan


def _mean_ssim(estimates: Tensor, sources: Tensor) -> float:
    """nan for images too small for the window: a table of PSNRs still has its use."""
    return float(ssim(estimates, sources).mean()) if min(sources.shape[-2:]) >= 11 else math.nan


def summarize(estimates: Tensor, sources: Tensor, convention: str = "per_source", *, one_order: bool = False) -> Summary:
    """All the figures of a set of separations (B, K, C, H, W); a mean of PSNRs alone over-weights easy items.

    Parameters
    ----------
    one_order : bool
        Match estimates and sources once for the whole set, see `in_one_order`, and not for each mixture; per_source.
    """
    if one_order:
        ours, true = (images.flatten(0, 1)[:, None] for images in (in_one_order(estimates, sources), sources))  # K = 1: no choice left
        values = psnr(ours, true).reshape(sources.shape[:2]).mean(dim=1)
        return Summary(len(values), float(values.mean()), _interval(values), float(values.median()), pooled_psnr(ours, true),
                       _mean_ssim(ours, true), "per_source")
    values = psnr(estimates, sources, convention)
    return Summary(len(values), float(values.mean()), _interval(values), float(values.median()),
                   pooled_psnr(estimates, sources), _mean_ssim(estimates, sources), convention)
