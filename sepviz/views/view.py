"""Which mixtures of a run are shown, and how well they are separated."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from sepviz import metrics
from sepviz.core import Problem, SepvizError, Step, Truth
from sepviz.views.images import check_channels, range_of

ITEMS = 8  # mixtures of one player
TOGETHER = 16  # steps whose PSNR is computed in one call, which is several times as fast


class View(NamedTuple):
    """Which mixtures are shown, with what is needed to show them."""

    problem: Problem
    truth: Truth | None
    items: list[int]
    low: float
    high: float
    order: str  # of the method's sources, a key of `sepviz.core.ORDERS`
    all_sources: Tensor | None  # the truth of all mixtures, for "one order for the set"


def make_view(problem: Problem, truth: Truth | None, item: int = 0, order: str = "each") -> View:
    """The block of `ITEMS` mixtures that ``item`` is in.

    Raises
    ------
    SepvizError
        If there is no such mixture, the truth does not fit, or the signals are no pictures, gray
        or RGB.
    """
    problem.medium.want_drawn()
    batch, channels, height, width = problem.mixtures.shape
    if not 0 <= item < batch:
        raise SepvizError(f"item={item}: the problem has mixtures 0 to {batch - 1}")
    check_channels(channels)
    want = (batch, problem.mixing.count, channels, height, width)
    if truth is not None and tuple(truth.sources.shape) != want:
        raise SepvizError(f"truth of shape {tuple(truth.sources.shape)}: "
                          f"this problem's sources are {want}")
    begin = item - item % ITEMS
    items = list(range(begin, min(begin + ITEMS, batch)))
    mixtures = floats(problem.mixtures[items]).nan_to_num(0)
    shown = None if truth is None else Truth(floats(truth.sources[items]))
    return View(problem._replace(mixtures=mixtures, examples=None), shown, items,
                *range_of(mixtures), order, None if truth is None else truth.sources)


def first(view: View, count: int) -> View:
    """The view of its first mixtures only."""
    problem = view.problem._replace(mixtures=view.problem.mixtures[:count])
    truth = None if view.truth is None else Truth(view.truth.sources[:count])
    return view._replace(problem=problem, truth=truth, items=view.items[:count])


def floats(tensor: Tensor) -> Tensor:
    """Without gradients, on the CPU."""
    return tensor.detach().to("cpu", torch.float32)


def short(value: float) -> float | None:
    """Four digits, as JSON knows no nan and the browser needs no more."""
    return float(f"{value:.4g}") if math.isfinite(value) else None


def matching(view: View, sources: Tensor) -> Tensor:
    """For the mixtures in view: ``permutation[b, k]`` is the estimate of source k.

    Parameters
    ----------
    sources : Tensor (B, K, C, H, W)
        Of all mixtures, in view or not.
    """
    assert view.all_sources is not None
    whole = view.order == "set"
    chosen = slice(None) if whole else view.items
    ours, true = (floats(images[chosen]) for images in (sources, view.all_sources))
    found = metrics.match(ours.nan_to_num(0), true, weights=view.problem.mixing.weights,
                          order=view.order, medium=view.problem.medium)
    return found[view.items] if whole else found


def psnrs(view: View, steps: list[Step]) -> list[list[float | None]]:
    """PSNR of every step and mixture."""
    assert view.truth is not None
    found: list[list[float | None]] = []
    order = "each" if view.order == "each" else "fixed"

    def images(step: Step) -> Tensor:
        chosen = floats(step.sources[view.items]).nan_to_num(0)
        if view.order == "set":
            return metrics.reorder(chosen, matching(view, step.sources))
        return chosen

    for begin in range(0, len(steps), TOGETHER):
        some = torch.stack([images(step) for step in steps[begin : begin + TOGETHER]])
        truth = view.truth.sources.expand_as(some).flatten(0, 1)
        values = metrics.psnr(some.flatten(0, 1), truth, weights=view.problem.mixing.weights,
                              order=order, medium=view.problem.medium)
        found += [[short(value) for value in row]
                  for row in values.reshape(len(some), -1).tolist()]
    return found
