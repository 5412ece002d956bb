"""Several chains of one mixture: small multiples by mode, their mean and their spread, on one scrubber."""

from __future__ import annotations

from typing import Any

import anywidget
import torch
import traitlets

from sepviz import metrics
from sepviz.core import SepvizError, Truth
from sepviz.runs.trace import Trace
from sepviz.views import assets
from sepviz.views.packing import ITEMS, make_view, pack_frames, pack_static, thin
from sepviz.widgets.still import Still


class Posterior(Still, anywidget.AnyWidget):
    """Watch several samples of one posterior come to be: every chain, the modes they end in, mean and spread of each pixel.

    Parameters
    ----------
    trace : Trace
        Of `repeat`'s problem: one mixture two to eight times.
    truth : Truth, optional
        Of that one mixture, (1, K, C, H, W): shown beside the mean.
    apart : float
        RMS distance of two answers, in pixel values, from which they are taken for different modes.

    Attributes
    ----------
    mode : list of int
        The mode that each chain ends in, 0 for the largest.

    Examples
    --------
    >>> Posterior(sepviz.record(method, tasks.repeat(problem, item=2)), truth_of_2)      # doctest: +SKIP
    """

    _esm, _css = assets.code_of("sepviz.widgets.posterior.Posterior")
    static = traitlets.Dict().tag(sync=True)
    frames = traitlets.Dict().tag(sync=True)
    mode: traitlets.List = traitlets.List().tag(sync=True)

    def __init__(self, trace: Trace, truth: Truth | None = None, apart: float = metrics.APART):
        mixtures = trace.problem.mixtures
        if not 2 <= len(mixtures) <= ITEMS or not torch.equal(mixtures, mixtures[:1].expand_as(mixtures)):
            raise SepvizError(f"a run of {len(mixtures)} mixtures: Posterior shows 2 to {ITEMS} chains of one mixture; "
                              "run the method on tasks.repeat(problem, item)")
        if apart <= 0:
            raise SepvizError(f"apart={apart}: want a distance above 0, in pixel values; {metrics.APART} for example")
        ends = trace.final.sources.float().cpu().nan_to_num(0)
        weights = trace.problem.mixing.weights
        permutation, found = metrics.modes(ends, apart, weights)
        if truth is not None:
            ordered = metrics.reorder(ends, permutation)
            target = truth.sources[:1].float().cpu()
            if target.shape[1:] != ends.shape[1:]:
                raise SepvizError(f"truth of shape {tuple(truth.sources.shape)}: this mixture's sources are {tuple(ends.shape[1:])}")
            shuffle = metrics.match(ordered.mean(dim=0, keepdim=True), target, weights=weights)  # the mean of all, in the truth's order
            permutation = permutation.gather(1, shuffle.expand_as(permutation))
            truth = Truth(target.expand(len(mixtures), -1, -1, -1, -1).contiguous())
        self.trace = trace
        view = make_view(trace.problem, truth)
        steps = [step._replace(shown={}, results={}, state={}) for step in trace.steps]
        frames: dict[str, Any] = pack_frames(view, [steps[i] for i in thin(steps, view)], permutation)
        super().__init__(static=pack_static(view, len(mixtures), trace.method), frames=frames, mode=found.tolist())
