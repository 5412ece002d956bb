"""A small grid of cells to paint a filter on."""

from __future__ import annotations

import ipywidgets
import torch
from torch import Tensor

from sepviz.core import SepvizError
from sepviz.widgets.shield import ShieldedBox
from sepviz.widgets.still import Still


class KernelPad(Still, ShieldedBox):
    """Click the taps of a filter; ``kernel`` is what was painted, divided by its sum.

    Parameters
    ----------
    size : int
        Taps along each side; odd.
    painted : Tensor (size, size), optional
        What it starts with: every tap above 0 is on. Left out: a short diagonal stroke.
    """

    def __init__(self, size: int = 5, painted: Tensor | None = None):
        if size < 1 or size % 2 == 0:
            raise SepvizError(f"filter size {size}: want an odd number, 5 for example")
        painted = torch.eye(size) if painted is None else painted
        if tuple(painted.shape) != (size, size):
            raise SepvizError(f"painted of shape {tuple(painted.shape)}: want ({size}, {size})")
        layout = ipywidgets.Layout(width="36px", height="36px", margin="1px")
        self._taps = [ipywidgets.ToggleButton(value=bool(painted[row, column] > 0), layout=layout,
                                              tooltip=f"row {row + 1}, column {column + 1}")
                      for row in range(size) for column in range(size)]
        self._size = size
        for tap in self._taps:
            tap.observe(self._colour, "value")
        self._colour()
        super().__init__([ipywidgets.HBox(self._taps[row * size:(row + 1) * size]) for row in range(size)])

    def _colour(self, _change: object = None) -> None:
        for tap in self._taps:
            tap.button_style = "primary" if tap.value else ""

    @property
    def kernel(self) -> Tensor:
        """The filter, (size, size), of sum 1."""
        taps = torch.tensor([float(tap.value) for tap in self._taps]).reshape(self._size, self._size)
        if not bool(taps.any()):
            raise SepvizError("the filter is empty: click at least one tap")
        return taps / taps.sum()
