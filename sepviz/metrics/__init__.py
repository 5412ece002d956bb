"""How good a separation is. Names, conventions and bounds are stated, since the literature's differ.

Estimates are clamped to [0, 1] first and the peak is 1. Many methods give the sources back in no
order, so every metric first finds the permutation of the estimates that fits best, see `match`:

- Only sources of equal ``weights`` change places: the mixture tells the others apart.
- ``order`` is the method's (`sepviz.core.ORDERS`): "each" mixture has its own permutation; a method
  that gives all mixtures one order is matched once for the whole "set"; where the method says which
  source is which, the order is "fixed".
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from sepviz.core import ORDERS, SepvizError

PIXELS = 2**20  # values worked on at once: memory stays bounded, however large the images
APART = 0.1  # RMS distance in pixel values (20 dB) beyond which two answers are of different modes


def decibels(mse: Tensor) -> Tensor:
    """``-10 log10(mse)``, the PSNR for a peak of 1."""
    return -10 * torch.log10(mse.clamp_min(1e-12))


def _check(estimates: Tensor, sources: Tensor) -> None:
    for name, images in (("estimates", estimates), ("sources", sources)):
        if not isinstance(images, Tensor) or images.is_meta or images.layout != torch.strided:
            raise SepvizError(f"{name} of type {type(images).__name__}: "
                              "want a dense torch tensor (B, K, C, H, W)")
        if not images.is_floating_point():
            raise SepvizError(f"{name} of type {images.dtype}: want floats in [0, 1], "
                              "images.float() / 255 for example")
    if estimates.shape != sources.shape or estimates.ndim != 5 or sources.numel() == 0:
        raise SepvizError(f"estimates {tuple(estimates.shape)} and sources {tuple(sources.shape)}: "
                          "want the same (B, K, C, H, W)")


def _parts(*images: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Tensors of B items each, a few items at a time; at most `PIXELS` values, or one item."""
    return zip(*(one.split(max(1, PIXELS // images[0][0].numel())) for one in images), strict=True)


def pairwise_mse(estimates: Tensor, sources: Tensor) -> Tensor:
    """MSE of every estimate against every source: (B, K, ...) twice -> (B, K, K), [b, true, estimate]."""
    _check(estimates, sources)
    found = []
    for ours, true in _parts(estimates.to(sources.device), sources):
        ours, true = ours.double().clamp(0, 1), true.double()
        found.append(torch.stack([(source[:, None] - ours).square().mean(dim=(2, 3, 4))
                                  for source in true.unbind(1)], dim=1))
    return torch.cat(found)


def assign(cost: Tensor) -> Tensor:
    """The permutation of least cost by the Hungarian method: (B, K, K), [b, true, estimate] -> (B, K)."""
    from scipy.optimize import linear_sum_assignment

    return torch.stack([torch.as_tensor(linear_sum_assignment(item)[1]) for item in cost.detach().cpu().numpy()])


def match(estimates: Tensor, sources: Tensor, convention: str = "per_source",
          weights: Sequence[float] | None = None, order: str = "each") -> Tensor:
    """The best permutation of the estimates, by the Hungarian method.

    Parameters
    ----------
    estimates, sources : Tensor (B, K, C, H, W)
    convention : {"per_source", "summed_mse"}
        Whether the sum of the PSNRs is maximised (BASIS) or the sum of the MSEs minimised (S-D).
    weights : sequence of K floats, optional
        Of the sources in the mixture: only those of equal weights change places.
    order : {"each", "set", "fixed"}
        A permutation for each mixture, one for all of them, or none.

    Returns
    -------
    Tensor (B, K) int64
        ``permutation[b, k]`` is the estimate that belongs to source k.
    """
    return _matched(pairwise_mse(estimates, sources), convention, weights, order)


def _matched(mse: Tensor, convention: str, weights: Sequence[float] | None, order: str) -> Tensor:
    """`match` from the errors of every estimate (B, K, K) against every source."""
    if bool(mse.isnan().any()):
        raise SepvizError(f"mixture {int(mse.isnan().nonzero()[0, 0])}: its estimates or sources hold "
                          "nan; every pixel must be a number")
    if convention not in ("per_source", "summed_mse"):
        raise SepvizError(f"convention {convention!r}: choose per_source or summed_mse")
    if order not in ORDERS:
        raise SepvizError(f"order {order!r}: choose {', '.join(ORDERS)}")
    cost = -decibels(mse) if convention == "per_source" else mse
    if weights is not None:
        if len(weights) != mse.shape[1]:
            raise SepvizError(f"{len(weights)} weights for {mse.shape[1]} sources: give one for each")
        weight = torch.as_tensor(weights, device=cost.device)
        cost = cost + 1e6 * (weight[:, None] != weight)  # more than any order of the others can save
    if order == "fixed":
        return torch.arange(mse.shape[1]).expand(len(mse), -1)
    if order == "set":
        return assign(cost.sum(dim=0, keepdim=True)).expand(len(mse), -1)
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


def _picked(mse: Tensor, permutation: Tensor) -> Tensor:
    """The errors of the matched pairs: (B, K, K) -> (B, K)."""
    return mse.gather(2, permutation.to(mse.device)[:, :, None])[:, :, 0]


def psnr(estimates: Tensor, sources: Tensor, convention: str = "per_source",
         weights: Sequence[float] | None = None, order: str = "each") -> Tensor:
    """Peak signal-to-noise ratio of each mixture's separation, in dB.

    Parameters
    ----------
    estimates, sources : Tensor (B, K, C, H, W)
    convention : {"per_source", "summed_mse"}
        ``per_source``: the mean over the sources of each image's PSNR (Jayaram & Thickstun 2020).
        ``summed_mse``: ``-10 log10`` of the sum over the sources of the MSEs (Kong et al. 2019), about
        3 dB lower for two sources.
    weights, order
        Which sources may change places, see `match`.

    Returns
    -------
    Tensor (B,)
    """
    mse = pairwise_mse(estimates, sources)
    mse = _picked(mse, _matched(mse, convention, weights, order))
    return (decibels(mse).mean(dim=1) if convention == "per_source" else decibels(mse.sum(dim=1))).float()


def pooled_psnr(estimates: Tensor, sources: Tensor, weights: Sequence[float] | None = None,
                order: str = "each") -> float:
    """One PSNR from one MSE over all images, ``per_source`` permutations of `match`, in dB."""
    mse = pairwise_mse(estimates, sources)
    return float(decibels(_picked(mse, _matched(mse, "per_source", weights, order)).mean()))


def ssim_image(first: Tensor, second: Tensor) -> Tensor:
    """SSIM of images (N, C, H, W) in [0, 1]; Wang et al. 2004's settings -> (N,).

    Gaussian window sigma 1.5 cut at 3.5 sigma (11 pixels), population covariance, K1 = 0.01, K2 = 0.03,
    mean over the pixels whose window lies inside and over channels: scikit-image's
    ``gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1``.
    """
    count, channels, height, width = first.shape
    if min(height, width) < 11:
        raise SepvizError(f"images of {height}x{width}: SSIM's window needs at least 11x11")
    c1, c2, found = 0.01**2, 0.03**2, []
    for x, y in _parts(first.reshape(-1, height, width), second.reshape(-1, height, width)):
        x, y = x.double(), y.double()
        mean_x, mean_y, square_x, square_y, product = map(_windowed, (x, y, x * x, y * y, x * y))
        spread = square_x - mean_x**2 + square_y - mean_y**2
        covariance = product - mean_x * mean_y
        similarity = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
        similarity /= (mean_x**2 + mean_y**2 + c1) * (spread + c2)
        found.append(similarity.mean(dim=(1, 2)))
    return torch.cat(found).reshape(count, channels).mean(dim=1)


def _windowed(images: Tensor) -> Tensor:
    """Images (N, H, W) under a Gaussian window of 11 pixels each way, where it lies inside.

    Sums of shifted copies: torch's convolution of doubles unfolds its input, 121 times as large.
    """
    taps = torch.exp(-0.5 * (torch.arange(-5, 6, dtype=torch.float64) / 1.5) ** 2)
    for dim in (1, 2):
        size = images.shape[dim] - 10
        total = torch.zeros_like(images.narrow(dim, 0, size))
        for place, tap in enumerate((taps / taps.sum()).tolist()):
            total.add_(images.narrow(dim, place, size), alpha=tap)
        images = total
    return images


def ssim(estimates: Tensor, sources: Tensor, weights: Sequence[float] | None = None,
         order: str = "each") -> Tensor:
    """Structural similarity of each mixture's separation, mean over sources -> (B,).

    Under the ``per_source`` permutations of `match`.
    """
    permutation = match(estimates, sources, weights=weights, order=order)
    matched = reorder(estimates.to(sources.device).clamp(0, 1), permutation)
    return ssim_image(matched.flatten(0, 1), sources.flatten(0, 1)).reshape(sources.shape[:2]).mean(dim=1).float()


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


def align(estimates: Tensor, sources: Tensor, filters: Tensor | None = None, reach: int = 2,
          weights: Sequence[float] | None = None, order: str = "each") -> Aligned:
    """Take off what no blind method can know: order, a shift and a gain traded between a source and its filter.

    Each estimate is moved by up to ``reach`` pixels each way (25 places for 2) and scaled by the
    least-squares gain; place and permutation are those of the least summed MSE.

    Parameters
    ----------
    estimates, sources : Tensor (B, K, C, H, W)
    filters : Tensor (B, K, h, w), optional
        The estimates' filters: ``f * x = (shifted back f / gain) * (gain shifted x)``.
    weights, order
        Which sources may change places, see `match`.
    """
    _check(estimates, sources)
    side = range(-reach, reach + 1)
    places = torch.tensor([(down, right) for down in side for right in side])
    fits = [_fits(ours, true, places)
            for ours, true in _parts(estimates.to(sources.device), sources)]
    mse, gains = (torch.cat(parts) for parts in zip(*fits, strict=True))
    least, where = mse.min(dim=1)
    permutation = _matched(least, "summed_mse", weights, order).to(sources.device)
    place = _picked(where, permutation)
    gain = _picked(gains.gather(1, where[:, None])[:, 0], permutation)
    shifts = places.to(place.device)[place]
    moved = _moved(reorder(estimates.to(sources.device), permutation), shifts).double().clamp(0, 1)
    found = (gain[:, :, None, None, None] * moved).clamp(0, 1)
    turned = None
    if filters is not None:
        rows = torch.arange(len(sources), device=permutation.device)[:, None]
        turned = _moved(filters.to(sources.device)[rows, permutation], -shifts)
        turned = turned / gain[:, :, None, None].to(turned.dtype).clamp_min(1e-9)
    return Aligned(found.to(sources.dtype), turned, permutation, shifts, gain.float())


def _fits(estimates: Tensor, sources: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """MSE and gain of each estimate at each place against each source: (B, place, true, estimate)."""
    true, errors, gains = sources.double().flatten(2), [], []
    for down, right in places.tolist():
        moved = shift(estimates, down, right).double().clamp(0, 1).flatten(2)
        gain = true @ moved.mT / moved.square().sum(dim=2)[:, None].clamp_min(1e-9)
        errors.append(torch.stack([torch.stack([
            (gain[:, j, k, None] * moved[:, k]).clamp(0, 1).sub(true[:, j]).square().mean(dim=1)
            for k in range(moved.shape[1])], dim=1) for j in range(true.shape[1])], dim=1))
        gains.append(gain)
    return torch.stack(errors, dim=1), torch.stack(gains, dim=1)


def _moved(images: Tensor, shifts: Tensor) -> Tensor:
    """Images (B, K, ...), each moved by its own shift (B, K, 2)."""
    return torch.stack([torch.stack([shift(image, *by)
                                     for image, by in zip(row, moves, strict=True)])
                        for row, moves in zip(images, shifts.tolist(), strict=True)])


def aligned_figures(estimates: Tensor, sources: Tensor, filters: Tensor | None, true: Tensor,
                    convention: str = "per_source", weights: Sequence[float] | None = None,
                    order: str = "each") -> tuple[float, float | None]:
    """After `align`: the mean PSNR in dB and, for filters of the true ones' shape, their median correlation."""
    found = align(estimates, sources, filters, weights=weights, order=order)
    same = None
    if found.filters is not None and found.filters.shape == true.shape:
        same = float(filter_correlation(found.filters, true).median())
    mean = float(psnr(found.sources, sources, convention, weights, order).mean())
    return mean, same


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
    ssim: float  # nan for images too small for its window: a table of PSNRs still has its use
    convention: str
    order: str


def summarize(estimates: Tensor, sources: Tensor, convention: str = "per_source", *,
              weights: Sequence[float] | None = None, order: str = "each") -> Summary:
    """All the figures of a set of separations (B, K, C, H, W); a mean of PSNRs alone over-weights easy items.

    Parameters
    ----------
    convention
        Of mean and median, see `psnr`; pooled PSNR and SSIM are of the per_source permutations.
    weights, order
        Which sources may change places, see `match`.
    """
    values = psnr(estimates, sources, convention, weights, order)
    interval = 1.96 * float(values.std()) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    similar = math.nan
    if min(sources.shape[-2:]) >= 11:
        similar = float(ssim(estimates, sources, weights, order).mean())
    return Summary(len(values), float(values.mean()), interval, float(values.median()),
                   pooled_psnr(estimates, sources, weights, order), similar, convention, order)
