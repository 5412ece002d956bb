"""The page of a recorded run: its player, what was found, its parameters."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

from sepviz import files, metrics
from sepviz.core import Truth
from sepviz.runs.trace import Trace
from sepviz.views import assets
from sepviz.views.images import in_range, sheet_of
from sepviz.views.packing import pack_for_page
from sepviz.views.view import View, floats
from sepviz.views.web_page import Page, name_of, note, place_of, thumbnail

SIDE = 96  # pixels of an image in the gallery's picture, at most
SHOWN = 4  # mixtures in it


def run_page(path: Path, largest: int) -> Page:
    """The page of a trace; with ``NAME.problem.npz`` beside it, the truth is shown.

    Raises
    ------
    SepvizError
        If a file is damaged, or the images are too large for a page of so many bytes.
    """
    trace = Trace.load(path)
    beside = path.with_suffix(".problem.npz")
    truth = files.load_problem([beside])[1] if beside.is_file() else None
    view, static, frames, left_out = pack_for_page(trace, truth, largest)
    script, style = assets.code_of("sepviz.widgets.player.Player")
    state: dict[str, Any] = {"static": static, "frames": frames, "cursor": 0, "item": 0,
                             "_esm": script, "_css": style}
    says, name = _about(trace, truth), name_of(path)
    title = name if name.startswith(trace.method.lower()) else f"{trace.method}: {name}"
    rows = {**trace.parameters, "seed": trace.seed, "seconds": round(trace.seconds, 1)}
    table = "".join(f'<tr><th scope="row">{html.escape(str(key))}</th>'
                    f"<td>{html.escape(str(value))}</td></tr>" for key, value in rows.items())
    body = "\n".join([
        f"<h1>{html.escape(title)}</h1>",
        f"<p>{html.escape(says)}. Drag the slider, or use the arrow keys.</p>",
        note(html.escape(left_out)) if left_out else "",
        place_of("run"),
        f"<details><summary>Parameters of the run</summary><table>{table}</table></details>"])
    picture = thumbnail(sheet_of(_last(trace, view), SIDE))
    return Page(name, title, f"{says}.", "Recorded runs", picture, body, {"run": state})


def _about(trace: Trace, truth: Truth | None) -> str:
    """What was run, and how the PSNR grew if the truth is known."""
    batch, count = trace.sources.shape[:2]
    says = f"{trace.method}, {trace.final.index} steps: {batch} mixtures of {count} sources"
    if truth is None:
        return says
    begun, ended = (float(metrics.psnr(trace[i].sources, truth.sources, order=trace.order,
                                       weights=trace.problem.mixing.weights,
                                       medium=trace.problem.medium).mean())
                    for i in (0, -1))
    return (f"{says}, PSNR {begun:.1f} dB at the first recorded step and {ended:.1f} dB at the "
            "last")


def _last(trace: Trace, view: View) -> list[Any]:
    """Some mixtures, and below them their last estimates, in [0, 1]."""
    mixtures = in_range(view.problem.mixtures[:SHOWN], view.low, view.high)
    return [mixtures, *floats(trace.sources[view.items[:SHOWN]]).unbind(dim=1)]
