"""Boxes of plain ipywidgets that keep their keys: JupyterLab would go to another cell."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import anywidget
import ipywidgets
import traitlets

from sepviz.views.assets import SHIELD_JS, STILL_CSS


class Shield(anywidget.AnyWidget):
    """Nothing to see: it guards the keys of its box, as `shield` does in our own widgets."""

    _css = STILL_CSS
    _esm = SHIELD_JS + """
export default { render({ el }) {
  const guard = () => { // a view is drawn before it is put into its box
    const box = el.closest(".sepviz-shielded");
    if (box) shield(box); else requestAnimationFrame(guard);
  };
  guard();
  el.style.display = "none";
} };
"""


class ShieldedBox(ipywidgets.VBox):
    """A VBox whose keys stay in it; the shield stays the last of its children."""

    def __init__(self, children: Sequence[ipywidgets.Widget]):
        self._shield = Shield()
        super().__init__(children)
        self.add_class("sepviz-shielded")

    @traitlets.validate("children")
    def _with_shield(self, proposal: Any) -> tuple[ipywidgets.Widget, ...]:
        return (*(child for child in proposal["value"] if child is not self._shield), self._shield)


def problem(line: str) -> str:
    """An error as the HTML of a box: nobody looks into a log."""
    return f'<div role="alert" class="sepviz-problem">{html.escape(line)}</div>'
