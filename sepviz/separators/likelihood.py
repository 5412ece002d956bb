"""How well images and filters explain a mixture, and the filters that explain it best."""

import math

import torch
from torch import Tensor

from sepviz.core.mixing import Mixing

NORMAL = 1.4826  # the standard deviation of a normal distribution in medians of |r|
OUTLIERS = 8  # standard deviations from which a value counts less and less


def typical_filter(size: int) -> Tensor:
    """The filter f_0 (size, size) that is assumed before anything is known: a Gaussian of sum 1."""
    width = max(size / 4, 0.5)
    along = torch.exp(-0.5 * (torch.arange(size) - size // 2) ** 2 / width**2)
    return torch.outer(along, along) / along.sum() ** 2


def remix_error(images: Tensor, copies: Tensor | None, filters: Tensor, mixtures: Tensor,
                mixing: Mixing, outlier: float = 0.0) -> Tensor:
    """Mean squared error of remixes over the seen pixels (B, S).

    With an ``outlier`` scale the squares are ``s^2 log(1 + r^2 / s^2)``, see `Synthesis`.

    Parameters
    ----------
    images : Tensor (B, S, K, C, H, W)
    copies : Tensor (B, S, K, h w, C H W), optional
        `shifted_copies` of the images, where they are filtered.
    filters : Tensor (B, S, K, h w)
    mixtures : Tensor (B, C, H, W)
    """
    if copies is None:
        weights = mixing.weights_like(images, images.ndim - 3)
        left = mixtures[:, None] - (weights * images).sum(dim=2)
    else:
        weighted = mixing.weights_like(filters, 1) * filters
        remix = torch.einsum("bsktp,bskt->bsp", copies, weighted)
        left = mixtures[:, None] - remix.unflatten(2, mixtures.shape[1:])
    if mixing.visible is not None:
        left = left[..., mixing.visible.to(left.device)]
    left = left.flatten(2)
    if outlier == 0:
        return left.square().mean(dim=2)
    deviation = NORMAL * left.detach().abs().median(dim=2, keepdim=True).values
    scale = (OUTLIERS * deviation).clamp_min(outlier)  # noise in all pixels: least squares
    return (scale.square() * (left / scale).square().log1p()).mean(dim=2)


def solve_filters(copies: Tensor, mixtures: Tensor, mixing: Mixing, penalty: float) -> Tensor:
    """Filters (B, S, K, h w): ``argmin_f |m - A f|^2 / n + penalty |f - f_0|^2`` in closed form.

    Parameters
    ----------
    copies : Tensor (B, S, K, h w, C H W)
        `shifted_copies` of the images.
    """
    batch, starts, count, values, pixels = copies.shape
    weighted = mixing.weights_like(copies, 2) * copies
    design = weighted.reshape(batch * starts, count * values, pixels)
    target = mixtures.flatten(1)
    if mixing.visible is not None:
        seen = mixing.visible.to(design.device).expand(mixtures.shape[1:]).flatten()
        design, target = design[..., seen], target[:, seen]
    gram = design @ design.mT
    pull = max(penalty, 1e-6) * design.shape[2]
    gram.diagonal(dim1=1, dim2=2).add_(pull)
    right = design @ target.repeat_interleave(starts, 0)[:, :, None]
    usual = typical_filter(math.isqrt(values)).to(right).flatten().repeat(count)
    right += pull * usual[None, :, None]
    return torch.linalg.solve(gram, right).reshape(batch, starts, count, values)
