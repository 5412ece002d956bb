"""The player: a recorded run, played and scrubbed in the browser alone."""

from __future__ import annotations

from typing import Any

import traitlets

from sepviz.core import SepvizError, Step, Truth
from sepviz.runs.trace import Trace
from sepviz.views import assets
from sepviz.views.packing import make_view, pack
from sepviz.widgets.still import OneMixture


class Player(OneMixture):
    """Play, scrub and look into a recorded run.

    All frames are sent once, as float16; moving through them sends nothing to the kernel. When the
    player comes to rest, Python is told where: `step` is the step on the screen.

    Parameters
    ----------
    trace : Trace
    truth : Truth, optional
        Shown beside the estimates, which are matched to it once, at the last step.
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
    frames = traitlets.Dict().tag(sync=True)
    cursor = traitlets.Int(0).tag(sync=True)

    def __init__(self, trace: Trace, truth: Truth | None = None, item: int = 0):
        self.trace = trace
        view = make_view(trace.problem, truth, item, trace.order)
        self._positions, static, frames = pack(trace, view)
        super().__init__(static=static, frames=frames, item=item)

    @traitlets.validate("cursor")
    def _check_cursor(self, proposal: Any) -> int:
        cursor, last = proposal["value"], len(self._positions) - 1
        if not 0 <= cursor <= last:
            raise SepvizError(f"cursor={cursor}: this player has frames 0 to {last}")
        return cursor

    @property
    def step(self) -> Step:
        """The step on the screen, as it was recorded: a start for another run."""
        return self.trace[self._positions[self.cursor]]
