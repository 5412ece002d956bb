"""Several chains of one mixture, by mode, with their mean and spread, on one scrubber."""

from __future__ import annotations

import anywidget
import torch
import traitlets

from sepviz import metrics
from sepviz.core import SepvizError, Truth
from sepviz.runs.trace import Trace
from sepviz.views import assets
from sepviz.views.packing import make_view, pack_static
from sepviz.views.view import ITEMS
from sepviz.widgets.compare import pack_run
from sepviz.widgets.still import Still


class Posterior(Still, anywidget.AnyWidget):
    """Samples of one posterior: every chain, the modes they end in, mean and spread of each pixel.

    Parameters
    ----------
    trace : Trace
        Of `repeat`'s problem: one mixture two to eight times.
    truth : Truth, optional
        Of that one mixture, (1, K, C, H, W): shown beside the mean.
    apart : float
        RMS distance, in pixel values, above which two answers are different modes.

    Attributes
    ----------
    mode : list of int
        The mode that each chain ends in, 0 for the largest.

    Examples
    --------
    >>> chains = tasks.repeat(problem, item=2)                             # doctest: +SKIP
    >>> Posterior(sepviz.record(method, chains), truth_of_2)               # doctest: +SKIP
    """

    _esm, _css = assets.code_of("sepviz.widgets.posterior.Posterior")
    static = traitlets.Dict().tag(sync=True)
    frames = traitlets.Dict().tag(sync=True)
    mode: traitlets.List = traitlets.List().tag(sync=True)

    def __init__(self, trace: Trace, truth: Truth | None = None, apart: float = metrics.APART):
        mixtures, weights = trace.problem.mixtures, trace.problem.mixing.weights
        one = torch.equal(mixtures, mixtures[:1].expand_as(mixtures))
        if not one or not 2 <= len(mixtures) <= ITEMS:
            raise SepvizError(f"a run of {len(mixtures)} mixtures: Posterior shows 2 to {ITEMS} "
                              "chains of one mixture; run the method on "
                              "tasks.repeat(problem, item)")
        if apart <= 0:
            raise SepvizError(f"apart={apart}: want a distance above 0, in pixel values; "
                              f"{metrics.APART} for example")
        ends = trace.final.sources.float().cpu().nan_to_num(0)
        medium = trace.problem.medium
        order, found = metrics.modes(ends, apart, weights, medium=medium)
        if truth is not None:
            target = truth.sources[:1].float().cpu()
            if target.shape[1:] != ends.shape[1:]:
                raise SepvizError(f"truth of shape {tuple(truth.sources.shape)}: this mixture's "
                                  f"sources are {tuple(ends.shape[1:])}")
            mean = metrics.reorder(ends, order).mean(dim=0, keepdim=True)
            best = metrics.match(mean, target, weights=weights, medium=medium)
            order = order.gather(1, best.expand_as(order))
            truth = Truth(target.expand_as(ends).contiguous())
        self.trace = trace
        view = make_view(trace.problem, truth)
        super().__init__(static=pack_static(view, len(mixtures), trace.method),
                         frames=pack_run(trace, view, order), mode=found.tolist())
