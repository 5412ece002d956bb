"""Every method on the same mixtures: what it scores beside what it assumes, each picture one click from its steps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import anywidget
import traitlets

from sepviz import metrics, separators
from sepviz.core import SepvizError, Truth
from sepviz.runs.trace import Trace
from sepviz.views import assets
from sepviz.views.packing import (
    first,
    make_view,
    matching,
    pack_frames,
    pack_static,
    short,
    thin,
)
from sepviz.widgets.compare import check_alike, slim
from sepviz.widgets.still import Still

BUDGET = 2 * 2**20  # bytes of frames of all runs together


class Leaderboard(Still, anywidget.AnyWidget):
    """Recorded runs of one problem, best first; a click on a run's pictures plays it, in the browser alone.

    Parameters
    ----------
    traces : mapping of str to Trace
        Runs on the same mixtures, by name.
    truth : Truth
        What the runs are measured against: mean PSNR and SSIM over all mixtures at the last step,
        matched as the method's ``order`` and the weights allow (`sepviz.metrics.match`).
    shown : int
        The first mixtures, whose pictures and steps are shown, 1 to 4.

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
        rows: list[dict[str, Any]] = []
        runs: list[dict[str, Any]] = []
        for name, trace in traces.items():
            if trace.sources.shape != truth.sources.shape:
                raise SepvizError(f"run {name!r} has sources of {tuple(trace.sources.shape)}, the truth {tuple(truth.sources.shape)}: "
                                  "compare runs of one problem")
            check_alike(traces, name)
            found = metrics.summarize(trace.sources.cpu(), truth.sources.cpu(), order=trace.order,
                                      weights=trace.problem.mixing.weights)
            view = first(make_view(trace.problem, truth, order=trace.order), shown)
            steps = [slim(step) for step in trace.steps]
            chosen = [steps[i] for i in thin(steps, view, BUDGET // len(traces))]
            pack = pack_frames(view, chosen, matching(view, trace.final.sources))
            runs.append({**pack, "method": name})
            rows.append({"name": name, "psnr": short(found.mean), "interval": short(found.interval), "ssim": short(found.ssim),
                         "n": found.n, "seconds": round(trace.seconds, 2), "evaluations": trace.final.info.get("evaluations", 0),
                         "assumes": assumes(trace.method)})
        order = sorted(range(len(rows)), key=lambda i: rows[i]["psnr"] if rows[i]["psnr"] is not None else -math.inf, reverse=True)
        super().__init__(static=pack_static(view, len(view.items), ""), rows=[rows[i] for i in order], runs=[runs[i] for i in order])


def assumes(method: str) -> str:
    """What a method's class says it assumes; nothing for one that does not say."""
    return separators.named(method).assumes
