"""A small grid of cells to paint a filter on."""

from __future__ import annotations

from typing import Any

import ipywidgets
import torch
from torch import Tensor

from sepviz.core import SepvizError
from sepviz.widgets.shield import ShieldedBox
from sepviz.widgets.still import Still


class KernelPad(Still, ShieldedBox):
    """Click the cells of a filter; ``kernel`` is what was painted, divided by its sum.

    Parameters
    ----------
    size : int
        Cells along each side; odd.
    painted : Tensor (size, size), optional
        What it starts with: every cell above 0 is on. By default a short diagonal stroke.
    """

    def __init__(self, size: int = 5, painted: Tensor | None = None):
        if size < 1 or size % 2 == 0:
            raise SepvizError(f"filter size {size}: want an odd number, 5 for example")
        painted = torch.eye(size) if painted is None else painted
        if tuple(painted.shape) != (size, size):
            raise SepvizError(f"painted of shape {tuple(painted.shape)}: want ({size}, {size})")
        layout = ipywidgets.Layout(width="36px", height="36px", margin="1px")
        self._cells = [[ipywidgets.ToggleButton(layout=layout,
                                                tooltip=f"row {row + 1}, column {column + 1}")
                        for column in range(size)] for row in range(size)]
        for row, on in zip(self._cells, (painted > 0).tolist(), strict=True):
            for cell, value in zip(row, on, strict=True):
                cell.observe(_colour, "value")
                cell.value = value
        super().__init__([ipywidgets.HBox(row) for row in self._cells])

    @property
    def kernel(self) -> Tensor:
        """The filter, (size, size), of sum 1."""
        painted = torch.tensor([[float(cell.value) for cell in row] for row in self._cells])
        if not bool(painted.any()):
            raise SepvizError("the filter is empty: click at least one cell")
        return painted / painted.sum()


def _colour(change: Any) -> None:
    change["owner"].button_style = "primary" if change["new"] else ""
