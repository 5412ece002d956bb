"""The player: a recorded run in one canvas view, scrubbed wholly in the browser."""

from __future__ import annotations

from typing import Any

import anywidget
import traitlets

from sepviz.core import SepvizError, Step, Truth
from sepviz.runs.trace import Trace
from sepviz.views import assets
from sepviz.views.packing import make_view, pack
from sepviz.widgets.still import Still


class Player(Still, anywidget.AnyWidget):
    """Play, scrub and look into a recorded run.

    All frames are sent once, as float16 (see `sepviz.views.packing`); moving through them sends
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

    _esm, _css = assets.code_of("sepviz.widgets.player.Player")
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
