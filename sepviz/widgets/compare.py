"""Runs side by side: two methods, two seeds, two settings, a run and its forks, on one scrubber."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import anywidget
import torch
import traitlets
from tqdm.auto import tqdm

from sepviz import metrics
from sepviz.core import SepvizError, Step, Truth
from sepviz.runs.trace import Trace
from sepviz.views import assets
from sepviz.views.packing import BUDGET, make_view, matching, pack_frames, pack_static, thin
from sepviz.widgets.still import Still

RUNS = 8  # side by side, at most: so many colours can be told apart


class Compare(Still, anywidget.AnyWidget):
    """Several recorded runs of one problem on one scrubber, aligned by evaluations, by seconds or by their share.

    Each run shows its last step up to where the scrubber stands; the curves of all are in one plot.

    Parameters
    ----------
    traces : mapping of str to Trace, or sequence of Trace
        Two to eight runs on the same mixtures, by name; without names they are told apart by what differs.
    truth : Truth, optional
        Every run's estimates are brought into its order; without it, into that of the first run.
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
    static = traitlets.Dict().tag(sync=True)
    runs: traitlets.List = traitlets.List().tag(sync=True)
    item = traitlets.Int(0).tag(sync=True)

    def __init__(self, traces: Mapping[str, Trace] | Sequence[Trace], truth: Truth | None = None, item: int = 0):
        named = dict(traces) if isinstance(traces, Mapping) else dict(zip(names_of(list(traces)), traces, strict=True))
        if not 2 <= len(named) <= RUNS:
            raise SepvizError(f"{len(named)} runs: Compare shows 2 to {RUNS} side by side")
        first = next(iter(named.values()))
        for name in named:
            check_alike(named, name)
        self.traces = named
        view = make_view(first.problem, truth, item)
        ends = {name: trace.final.sources[view.items].float().cpu().nan_to_num(0) for name, trace in named.items()}
        target = next(iter(ends.values()))
        runs = []
        for name, trace in tqdm(named.items(), desc="packing", delay=1, leave=False):
            slimmed = [slim(step) for step in trace.steps]
            steps = [slimmed[i] for i in thin(slimmed, view, BUDGET // len(named))]
            own = make_view(trace.problem, truth, item, trace.order)
            weights = trace.problem.mixing.weights
            order = (matching(own, trace.final.sources) if truth is not None
                     else metrics.match(ends[name], target, weights=weights))
            pack = pack_frames(own, steps, order)
            for record, step in zip(pack["records"], steps, strict=True):
                record["seconds"] = step.info.get("seconds")
            runs.append({"label": name, **pack})
        super().__init__(static=pack_static(view, len(first.problem.mixtures), first.method), runs=runs, item=item)

    @traitlets.validate("item")
    def _check_item(self, proposal: Any) -> int:
        items = self.static["items"]
        if proposal["value"] not in items:
            raise SepvizError(f"item={proposal['value']}: this view has mixtures {items[0]} to {items[-1]}")
        return proposal["value"]


def check_alike(traces: Mapping[str, Trace], name: str) -> None:
    """Refuse a run that is not of the same mixtures, of as many sources, as the first."""
    first, problem = next(iter(traces)), traces[name].problem
    other = traces[first].problem
    if problem.mixtures.shape != other.mixtures.shape or problem.mixing.count != other.mixing.count or not torch.allclose(
            problem.mixtures.cpu(), other.mixtures.cpu(), atol=1e-3):
        raise SepvizError(f"run {name!r} is of other mixtures than {first!r}: compare runs of one problem")


def slim(step: Step) -> Step:
    """The step without what this view does not show; filters are needed for the remix."""
    return step._replace(shown={}, state={})


def names_of(traces: Sequence[Trace]) -> list[str]:
    """The runs' methods, and for those of one method what differs: parameters, the seed, what was changed on the way."""
    facts = []
    for trace in traces:
        changes = [(f"{name} from step {change['before_step']}", both[1])
                   for change in trace.changes for name, both in change.items() if name != "before_step"]
        facts.append({name: str(value) for name, value in [*trace.parameters.items(), ("seed", trace.seed), *changes]})
    names = []
    for trace, fact in zip(traces, facts, strict=True):
        alike = [other for other, rival in zip(facts, traces, strict=True) if rival.method == trace.method]
        differing = [name for name in fact if len({other.get(name) for other in alike}) > 1]
        names.append(", ".join([trace.method, *(f"{name.replace('_', ' ')} {fact[name]}" for name in differing)]))
    return [f"{name} ({i + 1})" if names.count(name) > 1 else name for i, name in enumerate(names)]
