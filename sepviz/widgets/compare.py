"""Runs side by side: methods, seeds, settings, or a run and its forks, on one scrubber."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import traitlets
from torch import Tensor
from tqdm.auto import tqdm

from sepviz import metrics
from sepviz.core import SepvizError, Truth
from sepviz.runs.trace import Trace
from sepviz.views import assets
from sepviz.views.packing import BUDGET, View, make_view, matching, pack_frames, pack_static, thin
from sepviz.widgets.still import OneMixture

RUNS = 8  # side by side, at most: so many colours can be told apart


class Compare(OneMixture):
    """Several recorded runs of one problem on one scrubber, by evaluations, seconds or share.

    Each run shows its last step up to where the scrubber stands; the curves of all are in one plot.

    Parameters
    ----------
    traces : mapping of str to Trace, or sequence of Trace
        Two to eight runs on the same mixtures; those without names are named after what differs.
    truth : Truth, optional
        The estimates are brought into its order; without it, into that of the first run.
    item : int
        The mixture to show first, with those of its block of eight.

    Attributes
    ----------
    item : int
        The mixture on the screen; set it to show another.

    Raises
    ------
    SepvizError
        If there are fewer than two runs or more than eight, or they are not of the same mixtures.

    Examples
    --------
    >>> Compare({"basis": slow, "split-gibbs": fast}, truth)      # doctest: +SKIP
    >>> Compare(live.branches, truth)                             # doctest: +SKIP
    """

    _esm, _css = assets.code_of("sepviz.widgets.compare.Compare")
    runs: traitlets.List = traitlets.List().tag(sync=True)

    def __init__(self, traces: Mapping[str, Trace] | Sequence[Trace], truth: Truth | None = None,
                 item: int = 0):
        if not isinstance(traces, Mapping):
            traces = dict(zip(names_of(traces), traces, strict=True))
        if not 2 <= len(traces) <= RUNS:
            raise SepvizError(f"{len(traces)} runs: Compare shows 2 to {RUNS} side by side")
        for name in traces:
            check_alike(traces, name)
        self.traces = dict(traces)
        first = next(iter(traces.values()))
        target = _shown(first, make_view(first.problem, None, item))
        runs = []
        for name, trace in tqdm(traces.items(), desc="packing", delay=1, leave=False):
            view = make_view(trace.problem, truth, item, trace.order)
            if truth is not None:
                order = matching(view, trace.final.sources)
            else:
                weights = trace.problem.mixing.weights
                order = metrics.match(_shown(trace, view), target, weights=weights,
                                      medium=trace.problem.medium)
            runs.append({"label": name, **pack_run(trace, view, order, BUDGET // len(traces))})
        static = pack_static(make_view(first.problem, truth, item), len(first.problem.mixtures),
                             first.method)
        super().__init__(static=static, runs=runs, item=item)


def _shown(trace: Trace, view: View) -> Tensor:
    """The last estimates of the mixtures in view."""
    return trace.final.sources[view.items].float().cpu().nan_to_num(0)


def check_alike(traces: Mapping[str, Trace], name: str) -> None:
    """Refuse a run that is not of the same mixtures, of as many sources, as the first."""
    first = next(iter(traces))
    ours, theirs = traces[name].problem, traces[first].problem
    pair = ours.mixtures.cpu(), theirs.mixtures.cpu()
    alike = pair[0].shape == pair[1].shape and ours.mixing.count == theirs.mixing.count
    if not alike or not torch.allclose(*pair, atol=1e-3):
        raise SepvizError(f"run {name!r} is of other mixtures than {first!r}: compare runs of one "
                          "problem")


def pack_run(trace: Trace, view: View, order: Tensor, budget: int = BUDGET) -> dict[str, Any]:
    """A run's estimates and curves without its forces, as the browser gets them.

    Parameters
    ----------
    order : Tensor (items, K)
        Of the estimates, as `pack_frames` takes it.
    budget : int
        Bytes of frames.
    """
    steps = [step._replace(shown={}, state={}) for step in trace.steps]  # the filters are needed
    steps = [steps[i] for i in thin(steps, view, budget)]
    frames = pack_frames(view, steps, order)
    for record, step in zip(frames["records"], steps, strict=True):
        record["seconds"] = step.info.get("seconds")
    return frames


def names_of(traces: Sequence[Trace]) -> list[str]:
    """The runs' methods, and for those of one method what differs: parameters, seed, changes."""
    facts = []
    for trace in traces:
        changes = {f"{name} from step {change['before_step']}": both[1] for change in trace.changes
                   for name, both in change.items() if name != "before_step"}
        facts.append({name: str(value) for name, value in
                      {**trace.parameters, "seed": trace.seed, **changes}.items()})
    names = []
    for trace, fact in zip(traces, facts, strict=True):
        alike = [other for other, rival in zip(facts, traces, strict=True)
                 if rival.method == trace.method]
        differing = [f"{name.replace('_', ' ')} {fact[name]}" for name in fact
                     if len({other.get(name) for other in alike}) > 1]
        names.append(", ".join([trace.method, *differing]))
    return [f"{name} ({i + 1})" if names.count(name) > 1 else name for i, name in enumerate(names)]
