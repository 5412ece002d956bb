"""Choosing among answers to a mixture: the starts, the likeliest answer, the mean."""

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from sepviz.core import PICTURE, Medium, ScoreModel, spread
from sepviz.metrics import in_order_of

JUDGES = (0.1, 0.2, 0.35, 0.6)  # noise levels of `prior_loss`, in pixel values
BEAM = 500  # sums of two images to which `nearest_sums` adds a third


def pick(values: Tensor, index: Tensor) -> Tensor:
    """``values[b, index[b, i]]``: (B, S, ...) and (B, I) -> (B, I, ...)."""
    return values.gather(1, spread(index, values).expand(-1, -1, *values.shape[2:]))


def mean_in_order(answers: Tensor, shares: Tensor, chosen: Tensor, weights: Sequence[float],
                  medium: Medium = PICTURE) -> Tensor:
    """The mean of answers (B, N, K, ...) in the order of a chosen one's (B, K, ...) sources.

    Parameters
    ----------
    shares : Tensor (B, N)
        Of each answer, of sum 1.
    weights : sequence of K floats
        Of the sources in the mixture: only those of equal weights change places.
    """
    return (spread(shares, answers) * in_order_of(chosen, answers, weights, medium)).sum(dim=1)


def consensus(answers: Tensor, loss: Tensor, same_mode: float, weights: Sequence[float],
              medium: Medium = PICTURE) -> Tensor:
    """The likeliest answer averaged with those of its mode, each by its prior probability.

    Only the prior counts, since all answers meet the mixture exactly.

    Parameters
    ----------
    answers : Tensor (B, N, K, C, H, W)
    loss : Tensor (B, N)
        Of `prior_loss`.
    same_mode : float
        RMS distance up to which answers are of the same mode.
    weights : sequence of K floats
        See `mean_in_order`.
    """
    chosen = pick(answers, loss.argmin(dim=1, keepdim=True))[:, 0]
    aligned = in_order_of(chosen, answers, weights, medium)
    apart = (aligned - chosen[:, None]).flatten(2).square().mean(dim=2).sqrt()
    nats = (loss.amin(dim=1, keepdim=True) - loss) * math.log(JUDGES[-1] / JUDGES[0])
    likelihood = (apart <= same_mode) * nats.exp()
    return (spread(likelihood / likelihood.sum(dim=1, keepdim=True), aligned) * aligned).sum(dim=1)


def prior_loss(prior: ScoreModel, sources: Tensor, rng: Generator, draws: int) -> Tensor:
    """How unlikely the prior finds sets of sources, to compare the answers to one mixture.

    Up to a constant, the negative log likelihood of an image is an integral of its denoising loss
    ``|D(x + sigma n, sigma) - x|^2 / sigma^2`` over noise levels (Kingma et al. 2021). Here it is
    taken at a few of them, with the same noise for all answers so that differences vary little.

    Parameters
    ----------
    sources : Tensor (B, N, K, C, H, W)
        N answers to each of B mixtures.
    draws : int
        Noises at each level.

    Returns
    -------
    Tensor (B, N)
        Summed over sources and pixels, the mean over `JUDGES`; lower is likelier. Times the
        logarithm of their range it is that part of the integral, in nats.
    """
    loss = torch.zeros(sources.shape[:2], device=sources.device)
    for sigma in JUDGES:
        for _ in range(draws):
            shape = (len(sources), 1, *sources.shape[2:])
            noise = torch.randn(shape, generator=rng, device=sources.device)
            error = prior.denoise(sources + sigma * noise, sigma) - sources
            loss += error.flatten(2).square().sum(dim=2) / sigma**2 / (len(JUDGES) * draws)
    return loss


def nearest_sums(images: Tensor, mixtures: Tensor, weights: Sequence[float], count: int) -> Tensor:
    """The weighted sums of K images nearest to each mixture, no two with the same first image.

    For two sources all pairs are compared: ``|m - a x_i - b x_j|^2`` needs only the products of the
    images with each other and with m. A third and later ones are added to the best `BEAM` sums.

    Parameters
    ----------
    images : Tensor (N, P)
    mixtures : Tensor (B, P)
    weights : K floats

    Returns
    -------
    Tensor (B, count, K) int64
        Which images; the nearest sum first.
    """
    gram, found = images @ images.T, []
    square = gram.diagonal()
    for products in mixtures @ images.T:
        chosen = torch.arange(len(images), device=images.device)[:, None]
        cost, left = weights[0] ** 2 * square - 2 * weights[0] * products, products
        for before, weight in itertools.pairwise(weights):
            if chosen.shape[1] > 1:
                beam = min(len(cost), max(BEAM, len(weights) * count))
                kept = cost.topk(beam, largest=False).indices
                cost, left, chosen = cost[kept], left[kept], chosen[kept]
            left = left - before * gram[chosen[:, -1]]  # products with what is left of the mixture
            cost, added = (cost[:, None] + weight**2 * square - 2 * weight * left).min(dim=1)
            chosen = torch.cat([chosen, added[:, None]], dim=1)
        # each sum is found at most once for each of its images
        sums = [tuple(one) for one in chosen[cost.argsort()[:len(weights) * count]].tolist()]
        if len(set(weights)) == 1:
            sums = list({tuple(sorted(one)): one for one in reversed(sums)}.values())[::-1]
        found.append(torch.tensor(sums[:count], device=images.device))
    return torch.stack(found)
