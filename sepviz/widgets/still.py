"""A still below every widget: what a notebook shows that is opened without its kernel."""

from __future__ import annotations

import base64
import html
import io
from typing import Any

import anywidget
import numpy as np
import torch
import traitlets
from PIL import Image

from sepviz.core import SepvizError
from sepviz.views.images import sheet_of

LARGEST = 30_000  # bytes of a still; a notebook may have many
SIDE = 84  # pixels of an image in it, at most


class Still:
    """Shows a picture and a line below the widget's view.

    Where a widget's model is gone, JupyterLab says so in its place and takes nothing else from the
    same output. So the still is an output of its own, which the widgets' style hides.
    """

    def _ipython_display_(self) -> None:
        from IPython.display import display

        view = self._repr_mimebundle_()  # type: ignore[attr-defined]
        data, about = view if isinstance(view, tuple) else (view, {})
        display(data, metadata=about, raw=True)
        words, picture = repr(self), self._picture()
        shown = ""
        if picture is not None:
            shown = f'<img alt="" src="data:image/png;base64,{_png(picture)}"><br>'
        text = f'<div class="sepviz-still">{shown}<small>{html.escape(words)}</small></div>'
        display({"text/html": text, "text/plain": words}, metadata={"sepviz-still": True}, raw=True)

    def __repr__(self) -> str:
        name, static = type(self).__name__, getattr(self, "static", None)
        if not static:
            return f"{name}: run this cell to have it"
        runs = [str(run.get("label", run.get("method"))) for run in getattr(self, "runs", [])]
        item = getattr(self, "item", static["items"][0])
        what = ", ".join(runs) or static["method"]
        last = "at the last step" if self._packs() else "before the first step"
        return f"{name}: {what}, mixture {item + 1} of {static['batch']}, {last}"

    def _packs(self) -> list[dict[str, Any]]:
        """The recorded steps, as `sepviz.views.packing.pack_frames` gives them."""
        found = [getattr(self, name, {}) for name in ("frames", "history")]
        found += getattr(self, "runs", [])
        return [pack for pack in found if pack.get("records")]

    def _picture(self) -> Image.Image | None:
        """The mixture and, for each run, its last estimates; None if there is nothing to draw."""
        static = getattr(self, "static", None)
        if not static:
            return None
        shape = (static["channels"], static["height"], static["width"])
        place = static["items"].index(getattr(self, "item", static["items"][0]))
        mixtures = np.frombuffer(static["mixtures"], np.float16).reshape(-1, *shape)
        mixture = torch.from_numpy(mixtures[place].astype(np.float32))
        mixture = (mixture - static["low"]) / (static["high"] - static["low"])
        rows = [[mixture, *_estimates(pack, place, shape)] for pack in self._packs()]
        return sheet_of(rows or [[mixture]], SIDE)


class OneMixture(Still, anywidget.AnyWidget):
    """A widget that shows one of the mixtures that it holds; set ``item`` to show another."""

    static = traitlets.Dict().tag(sync=True)
    item = traitlets.Int(0).tag(sync=True)

    @traitlets.validate("item")
    def _check_item(self, proposal: Any) -> int:
        item, items = proposal["value"], self.static["items"]
        if item not in items:
            raise SepvizError(f"item={item}: this view has mixtures {items[0]} to {items[-1]}")
        return item


def _estimates(pack: dict[str, Any], place: int, shape: tuple[int, ...]) -> list[torch.Tensor]:
    """The last estimates of one mixture."""
    steps = np.frombuffer(pack["bytes"], np.float16).reshape(len(pack["records"]), -1, *shape)
    count = pack["layers"][0]["panels"]  # the estimates come first
    last = steps[-1, place * count:(place + 1) * count].astype(np.float32)
    return list(torch.from_numpy(last))


def _png(picture: Image.Image) -> str:
    """As base64, made smaller until it is small enough."""
    while True:
        file = io.BytesIO()
        picture.save(file, format="PNG", optimize=True)
        if file.tell() <= LARGEST * 3 // 4:
            return base64.b64encode(file.getvalue()).decode()
        picture = picture.resize((max(1, picture.width * 3 // 4), max(1, picture.height * 3 // 4)))
