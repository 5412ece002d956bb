"""Which estimate belongs to which source, and which answers are alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from sepviz.core import ORDERS, PICTURE, Medium, SepvizError, axes_from, spread

AT_ONCE = 2**20  # values worked on together: memory stays bounded, however large the images
APART = 0.1  # RMS distance in pixel values (20 dB) beyond which two answers are of different modes


def decibels(mse: Tensor, peak: float = 1.0) -> Tensor:
    """``-10 log10(mse / peak^2)``: the PSNR."""
    return -10 * torch.log10((mse / peak**2).clamp_min(1e-12))


def check(estimates: Tensor, sources: Tensor, medium: Medium) -> None:
    """Refuse what are not two tensors of floats (B, K, C, H, W) of the same shape."""
    form, rank = medium.form("B", "K"), 2 + len(medium.axes)
    for name, values in (("estimates", estimates), ("sources", sources)):
        if not isinstance(values, Tensor) or values.is_meta or values.layout != torch.strided:
            raise SepvizError(f"{name} of type {type(values).__name__}: "
                              f"want a dense torch tensor {form}")
        if not values.is_floating_point():
            raise SepvizError(f"{name} of type {values.dtype}: want floats in {medium.range}, "
                              "images.float() / 255 for example")
    if estimates.shape != sources.shape or sources.ndim != rank or sources.numel() == 0:
        raise SepvizError(f"estimates {tuple(estimates.shape)} and sources {tuple(sources.shape)}: "
                          f"want the same {form}")


def parts(*values: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Tensors of B items each, a few items at a time; at most `AT_ONCE` values, or one item."""
    size = max(1, AT_ONCE // values[0][0].numel())
    return zip(*(one.split(size) for one in values), strict=True)


def pairwise_mse(estimates: Tensor, sources: Tensor, medium: Medium = PICTURE) -> Tensor:
    """MSE of every estimate against every source -> (B, K, K), [b, true, estimate]."""
    check(estimates, sources, medium)
    found = []
    for ours, true in parts(estimates.to(sources.device), sources):
        ours, true = medium.clamp(ours.double()), true.double()
        errors = [(source[:, None] - ours).square().mean(dim=axes_from(ours, 2))
                  for source in true.unbind(1)]
        found.append(torch.stack(errors, dim=1))
    return torch.cat(found)


def assign(cost: Tensor) -> Tensor:
    """The permutations (B, K) of least cost (B, K, K), [b, true, estimate]: Hungarian method."""
    from scipy.optimize import linear_sum_assignment

    found = [linear_sum_assignment(item)[1] for item in cost.detach().cpu().numpy()]
    return torch.stack([torch.as_tensor(permutation) for permutation in found])


def match(estimates: Tensor, sources: Tensor, convention: str = "per_source",
          weights: Sequence[float] | None = None, order: str = "each",
          medium: Medium = PICTURE) -> Tensor:
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
    return matched(pairwise_mse(estimates, sources, medium), convention, weights, order)


def matched(mse: Tensor, convention: str, weights: Sequence[float] | None, order: str) -> Tensor:
    """`match` from the errors of every estimate (B, K, K) against every source."""
    if bool(mse.isnan().any()):
        item = int(mse.isnan().nonzero()[0, 0])
        raise SepvizError(f"mixture {item}: its estimates or sources hold nan; "
                          "every value must be a number")
    if convention not in ("per_source", "summed_mse"):
        raise SepvizError(f"convention {convention!r}: choose per_source or summed_mse")
    if order not in ORDERS:
        raise SepvizError(f"order {order!r}: choose {', '.join(ORDERS)}")
    cost = -decibels(mse) if convention == "per_source" else mse
    if weights is not None:
        if len(weights) != mse.shape[1]:
            raise SepvizError(f"{len(weights)} weights for {mse.shape[1]} sources: "
                              "give one for each")
        weight = torch.as_tensor(weights, device=cost.device)
        # more than any order of the others can save
        cost = cost + 1e6 * (weight[:, None] != weight)
    if order == "fixed":
        return torch.arange(mse.shape[1]).expand(len(mse), -1)
    if order == "set":
        return assign(cost.sum(dim=0, keepdim=True)).expand(len(mse), -1)
    return assign(cost)


def picked(values: Tensor, permutation: Tensor) -> Tensor:
    """What is known of every pair (B, K, K), of the matched pairs alone -> (B, K)."""
    return values.gather(2, permutation.to(values.device)[:, :, None])[:, :, 0]


def reorder(estimates: Tensor, permutation: Tensor) -> Tensor:
    """``estimates[b, permutation[b, k]]``, of the shape of ``estimates``."""
    index = spread(permutation.to(estimates.device), estimates)
    return estimates.gather(1, index.expand_as(estimates))


def in_order_of(chosen: Tensor, answers: Tensor, weights: Sequence[float],
                medium: Medium = PICTURE) -> Tensor:
    """Answers (B, N, K, C, H, W), their sources in the order of a chosen one (B, K, C, H, W)."""
    return torch.stack([reorder(answer, match(answer, chosen, weights=weights, medium=medium))
                        for answer in answers.unbind(1)], dim=1)


def modes(samples: Tensor, apart: float = APART, weights: Sequence[float] | None = None,
          medium: Medium = PICTURE) -> tuple[Tensor, Tensor]:
    """Bring samples of one mixture into one order of the sources, and group those that are alike.

    Parameters
    ----------
    samples : Tensor (N, K, C, H, W)
    apart : float
        RMS distance beyond which two samples are of different modes (average linkage).
    weights : sequence of K floats, optional
        See `match`.

    Returns
    -------
    permutation : Tensor (N, K) int64
        ``permutation[n, k]`` is the source of sample n that is shown as source k.
    mode : Tensor (N,) int64
        The mode of every sample, 0 for the largest.
    """
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    samples = samples.nan_to_num(0).clamp(-1e3, 1e3)
    if len(samples) == 1:
        return torch.arange(samples.shape[1])[None], torch.zeros(1, dtype=torch.long)
    orders = torch.stack([match(samples, sample.expand_as(samples), weights=weights, medium=medium)
                          for sample in samples])
    far = [(reorder(samples, order) - sample).square().flatten(1).mean(dim=1).sqrt()
           for order, sample in zip(orders, samples, strict=True)]
    distances = torch.stack(far)
    permutation = orders[int(distances.sum(dim=1).argmin())]  # that of the sample in the middle
    pairs = squareform((distances + distances.T).numpy() / 2, checks=False)
    found = torch.from_numpy(fcluster(linkage(pairs, "average"), apart, "distance")).long()
    sizes = torch.bincount(found)
    ranks = torch.empty_like(sizes)
    ranks[sizes.argsort(descending=True, stable=True)] = torch.arange(len(sizes))
    return permutation, ranks[found]
