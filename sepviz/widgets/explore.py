"""Sliders over a picture: move one, and the picture is drawn again."""

from __future__ import annotations

import io
from collections.abc import Callable

import ipywidgets
from matplotlib.figure import Figure
from PIL import Image

from sepviz.core import SepvizError, one_line
from sepviz.views import figures
from sepviz.widgets.shield import ShieldedBox, problem
from sepviz.widgets.still import Still


class Explore(Still, ShieldedBox):
    """A figure that depends on a few numbers, with a slider for each.

    The picture is a trait: `ipywidgets.interactive` shows nothing that its function only returns,
    and what a callback displays is lost where callbacks have their own thread, as in JupyterLab.

    Parameters
    ----------
    draw : callable
        Takes the numbers by name, returns a figure.
    **ranges : (low, high, step)
        Of each slider; it starts in the middle.

    Examples
    --------
    >>> def show(a): return figures.images({"G(z)": prior.decode(a * z)})  # doctest: +SKIP
    >>> Explore(show, a=(-8.0, 8.0, 0.5))                                  # doctest: +SKIP
    """

    def __init__(self, draw: Callable[..., Figure], **ranges: tuple[float, float, float]):
        if not ranges:
            raise SepvizError("Explore without ranges: give one, a=(-8.0, 8.0, 0.5) for example")
        self._draw = draw
        self.sliders = {
            name: ipywidgets.FloatSlider((low + high) / 2, min=low, max=high, step=step,
                                         description=name)
            for name, (low, high, step) in ranges.items()}
        self.picture = ipywidgets.Image(value=self._png(), format="png")
        self._says = ipywidgets.HTML()
        for slider in self.sliders.values():
            slider.observe(self._redraw, "value")
        super().__init__([*self.sliders.values(), self.picture, self._says])

    def _png(self) -> bytes:
        values = {name: slider.value for name, slider in self.sliders.items()}
        return figures.png_bytes(self._draw(**values))

    def _picture(self) -> Image.Image:
        return Image.open(io.BytesIO(self.picture.value)).convert("RGB")

    def _redraw(self, _change: object) -> None:
        try:
            self.picture.value, self._says.value = self._png(), ""
        except Exception as error:  # nobody looks into a log
            self._says.value = problem(one_line(error))
