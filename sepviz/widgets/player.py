"""The player: a recorded run in one canvas view, scrubbed wholly in the browser."""

from __future__ import annotations

import base64
import html
import json
import re
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from sepviz import export
from sepviz.core import SepvizError, Step, Truth
from sepviz.trace import Trace
from sepviz.widgets.packing import make_view, pack, pack_for_page
from sepviz.widgets.still import STILL_CSS, Still

FOLDER = Path(__file__).parent
SHIELD_JS = (FOLDER / "shield.js").read_text(encoding="utf-8")
VIEW_JS = SHIELD_JS + (FOLDER / "view.js").read_text(encoding="utf-8")  # shared by all widgets
VIEW_CSS = (FOLDER / "view.css").read_text(encoding="utf-8") + STILL_CSS
SAVED_MODEL_JS = (FOLDER / "saved_model.js").read_text(encoding="utf-8")  # for a page without a kernel
PLAYER_JS = VIEW_JS + (FOLDER / "player.js").read_text(encoding="utf-8")


class Player(Still, anywidget.AnyWidget):
    """Play, scrub and look into a recorded run.

    All frames are sent once, as float16 (see `sepviz.widgets.packing`); moving through them sends
    nothing to the kernel. When the player has come to rest, its place is told to Python, so
    `step` is the step on the screen.

    Parameters
    ----------
    trace : Trace
    truth : Truth, optional
        Shown beside the estimates, which are brought into its order by one matching, at the last step.
    item : int
        The mixture to show first. A player holds eight mixtures, those around this one.

    Attributes
    ----------
    cursor : int
        The frame on the screen; set it to move the player.
    item : int
        The mixture on the screen.

    Examples
    --------
    >>> player = Player(trace, truth)          # doctest: +SKIP
    >>> record(method, problem, start=player.step)  # doctest: +SKIP
    """

    _esm = PLAYER_JS
    _css = VIEW_CSS
    static = traitlets.Dict().tag(sync=True)
    frames = traitlets.Dict().tag(sync=True)
    cursor = traitlets.Int(0).tag(sync=True)
    item = traitlets.Int(0).tag(sync=True)

    def __init__(self, trace: Trace, truth: Truth | None = None, item: int = 0):
        self._view = make_view(trace.problem, truth, item, trace.order)
        self._positions, static, frames = pack(trace, self._view)
        self.trace = trace
        super().__init__(static=static, frames=frames, item=item)

    @traitlets.validate("cursor")
    def _check_cursor(self, proposal: Any) -> int:
        if not 0 <= proposal["value"] < len(self._positions):
            raise SepvizError(f"cursor={proposal['value']}: this player has frames 0 to {len(self._positions) - 1}")
        return proposal["value"]

    @traitlets.validate("item")
    def _check_item(self, proposal: Any) -> int:
        items = self._view.items
        if proposal["value"] not in items:
            raise SepvizError(f"item={proposal['value']}: this player has mixtures {items[0]} to {items[-1]}")
        return proposal["value"]

    @property
    def step(self) -> Step:
        """The step on the screen, as it was recorded: a start for another run."""
        return self.trace[self._positions[self.cursor]]


def html_page(trace: Trace, truth: Truth | None = None, title: str | None = None) -> str:
    """One HTML page with the player, its data and its code in it, as small as those of the gallery."""
    _, static, frames, left_out = pack_for_page(trace, truth, export.LARGEST)
    state = {"static": static, "frames": frames, "cursor": 0, "item": 0}
    return page_of(PLAYER_JS, state, title or f"{trace.method}, step by step", left_out)


def page_of(script: str, state: dict[str, Any], title: str, note: str = "") -> str:
    """A widget's page: its module, over a model with this state and no kernel."""
    def encode(value: bytes) -> dict[str, str]:
        return {"base64": base64.b64encode(value).decode("ascii")}

    text = json.dumps(state, default=encode).replace("<", "\\u003c")
    page = (FOLDER / "page.html").read_text(encoding="utf-8")
    parts = {"TITLE": html.escape(title), "NOTE": html.escape(note),
             "STYLE": VIEW_CSS, "STATE": text, "SCRIPT": script, "MODEL": SAVED_MODEL_JS}
    return re.sub("%%([A-Z]+)%%", lambda found: parts[found[1]], page)
