"""Every method on the same mixtures: its scores, what it assumes, and its steps to play."""

from __future__ import annotations

import math
from collections.abc import Mapping

import anywidget
import traitlets

from sepviz import metrics, separators
from sepviz.core import SepvizError, Truth
from sepviz.runs.trace import Trace
from sepviz.views import assets
from sepviz.views.packing import first, make_view, matching, pack_static, short
from sepviz.widgets.compare import check_alike, pack_run
from sepviz.widgets.still import Still

BUDGET = 2 * 2**20  # bytes of frames of all runs together


class Leaderboard(Still, anywidget.AnyWidget):
    """Recorded runs of one problem, best first; a click on a run's pictures plays it.

    Parameters
    ----------
    traces : mapping of str to Trace
        Runs on the same mixtures, by name.
    truth : Truth
        What the runs are measured against: mean PSNR and SSIM over all mixtures at the last step,
        matched as the method's ``order`` and the weights allow (`sepviz.metrics.match`).
    shown : int
        How many mixtures are shown, 1 to 4.

    Attributes
    ----------
    rows : list of dict
        ``name, psnr, interval, ssim, evaluations, seconds, assumes`` of every run, best first.

    Raises
    ------
    SepvizError
        If there is no run, or one is of other mixtures.
    """

    _esm, _css = assets.code_of("sepviz.widgets.leaderboard.Leaderboard")
    static = traitlets.Dict().tag(sync=True)
    rows: traitlets.List = traitlets.List().tag(sync=True)
    runs: traitlets.List = traitlets.List().tag(sync=True)

    def __init__(self, traces: Mapping[str, Trace], truth: Truth, shown: int = 4):
        if not traces:
            raise SepvizError("no runs: give at least one trace")
        if not 1 <= shown <= 4:
            raise SepvizError(f"shown={shown}: want 1 to 4 mixtures")
        pairs = []
        for name, trace in traces.items():
            ours, true = trace.sources.cpu(), truth.sources.cpu()
            if ours.shape != true.shape:
                raise SepvizError(f"run {name!r} has sources of {tuple(ours.shape)}, the truth "
                                  f"{tuple(true.shape)}: compare runs of one problem")
            check_alike(traces, name)
            found = metrics.summarize(ours, true, order=trace.order,
                                      weights=trace.problem.mixing.weights,
                                      medium=trace.problem.medium)
            view = first(make_view(trace.problem, truth, order=trace.order), shown)
            run = pack_run(trace, view, matching(view, ours), BUDGET // len(traces))
            row = {"name": name, "psnr": short(found.mean), "interval": short(found.interval),
                   "ssim": short(found.ssim), "n": found.n, "seconds": round(trace.seconds, 2),
                   "evaluations": trace.final.info.get("evaluations", 0),
                   "assumes": separators.named(trace.method).assumes}
            pairs.append((row, {**run, "method": name}))
        pairs.sort(key=lambda pair: -math.inf if pair[0]["psnr"] is None else pair[0]["psnr"],
                   reverse=True)
        super().__init__(static=pack_static(view, len(view.items), ""),
                         rows=[row for row, _ in pairs], runs=[run for _, run in pairs])
