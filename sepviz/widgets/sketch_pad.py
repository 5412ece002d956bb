"""A pad to draw on: sources by pen or from a data set, and their mixture at once."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import anywidget
import numpy as np
import torch
import traitlets
from PIL import Image

from sepviz.core import Problem, SepvizError, Truth, one_line
from sepviz.data import NAMES, load
from sepviz.runs.recipe import Recipe, restore
from sepviz.tasks.drawn import PEN, Stroke, decode, encode, image_of
from sepviz.views import assets
from sepviz.views.images import sheet_of
from sepviz.views.packing import make_view, pack_static
from sepviz.widgets.still import SIDE, Still

MOST = 4  # sources of one pad
USUAL: dict[str, Any] = {"pen": PEN, "taps": "", "noise": 0.0, "visible": "all", "seed": 0}


class SketchPad(Still, anywidget.AnyWidget):
    """Draw sources, or pick them from a data set, and see their mixture at once.

    Mouse, pen, finger and keyboard draw. Drawings are sized and centred like the digits that the
    priors know (`sepviz.tasks.drawn.draw`). Weights, noise, the pen, a 5x5 filter to paint and a
    hidden lower half are beside them.

    Parameters
    ----------
    count : int
        Sources, 1 to 4.
    state : str, optional
        A state of task ``drawn`` to begin with, as `state` gives it.

    Attributes
    ----------
    problem, truth : Problem, Truth
        Of the mixture on the pad, like those of any task.
    state : Recipe
        Its text restores the pad, or makes the mixture elsewhere.

    Examples
    --------
    >>> pad = SketchPad()                                                  # doctest: +SKIP
    >>> pad.problem, pad.truth                                             # doctest: +SKIP
    """

    _esm, _css = assets.code_of("sepviz.widgets.sketch_pad.SketchPad")
    strokes: traitlets.List = traitlets.List().tag(sync=True)  # of each pad; the browser's
    # Of each pad, as `sepviz.tasks.drawn.drawn` wants them; "" for an empty one.
    sources: traitlets.List = traitlets.List().tag(sync=True)
    options: traitlets.Dict = traitlets.Dict().tag(sync=True)
    shown: traitlets.Dict = traitlets.Dict().tag(sync=True)
    names: traitlets.List = traitlets.List().tag(sync=True)

    def __init__(self, count: int = 2, state: str | None = None):
        if not 1 <= count <= MOST:
            raise SepvizError(f"count={count}: a pad has 1 to {MOST} sources")
        self._chance = random.Random(0)
        super().__init__(strokes=[[] for _ in range(count)], sources=[""] * count,
                         options={"weights": [1.0] * count, **USUAL}, names=list(NAMES))
        self._mix()
        self.observe(self._draw, "strokes")
        self.observe(self._mix, ["sources", "options"])
        self.on_msg(self._on_message)
        if state is not None:
            self.restore(state)

    # --- what a user does ---

    def restore(self, text: str | Recipe) -> None:
        """Put on the pad what a state of task ``drawn`` says.

        Raises
        ------
        SepvizError
            If it is of another task, or has another number of sources than this pad.
        """
        state = restore(text) if isinstance(text, str) else text
        if state.task != "drawn":
            raise SepvizError(f"a state of task {state.task}: a pad takes those of task drawn")
        words = state.mixture
        names = words.get("sources", "").split("+")
        if len(names) != len(self.sources):
            raise SepvizError(f"a state of {len(names)} sources: this pad has {len(self.sources)}")
        state.problem()  # it says what is wrong with it
        weights = words.get("weights", "sum")
        equal = {"sum": 1.0, "mean": 1 / len(names)}
        numbers = ([equal[weights]] * len(names) if weights in equal
                   else [float(word) for word in weights.split("+")])
        options = {name: type(usual)(words.get(name, usual)) for name, usual in USUAL.items()}
        self.options = {"weights": numbers, **options}
        for pad, name in enumerate(names):
            self._put(pad, name)

    def pick(self, pad: int, name: str = "strokes") -> None:
        """Put a random image of a data set's test split on one of the pads, counted from 0."""
        images = load(name, "test").images
        self._put(pad, f"{name}:{self._chance.randrange(len(images))}")

    def ink(self, pad: int, strokes: Sequence[Stroke]) -> None:
        """Put pen strokes on one of the pads: [[[x, y], ...], ...] in pixels of 28x28."""
        self._put(pad, encode(strokes) if strokes else "")

    @property
    def problem(self) -> Problem:
        """The mixture on the pad."""
        return self.state.problem()[0]

    @property
    def blank(self) -> Problem:
        """A mixture of dots with the options as they are: its kind, before anything is drawn."""
        return self._state([encode([[[14.0, 14.0]]])] * len(self.sources)).problem()[0]

    @property
    def truth(self) -> Truth:
        """What was mixed."""
        truth = self.state.problem()[1]
        assert truth is not None  # a drawing knows what was drawn
        return truth

    @property
    def state(self) -> Recipe:
        """The mixture in one line of text.

        Raises
        ------
        SepvizError
            If one of the pads is empty.
        """
        empty = [str(i + 1) for i, source in enumerate(self.sources) if not source]
        if empty:
            *first, last = empty
            pads = f"pads {', '.join(first)} and {last} are" if first else f"pad {last} is"
            raise SepvizError(f"{pads} empty: draw something there, or pick an image")
        return self._state(self.sources)

    # --- inside ---

    def _state(self, sources: Sequence[str]) -> Recipe:
        """What differs from the usual options is said."""
        usual = {"weights": [1.0] * len(self.sources), **USUAL}
        words = {name: (_word(self.options[name]), _word(value)) for name, value in usual.items()}
        unusual = {name: word for name, (word, common) in words.items() if word != common}
        return Recipe("drawn", {"sources": "+".join(sources), **unusual})

    def _put(self, pad: int, source: str) -> None:
        if not 0 <= pad < len(self.sources):
            raise SepvizError(f"pad={pad}: this one has pads 0 to {len(self.sources) - 1}")
        strokes = decode(source) if source.startswith("ink:") else []
        self.strokes = [strokes if i == pad else old for i, old in enumerate(self.strokes)]
        self.sources = [source if i == pad else old for i, old in enumerate(self.sources)]

    def _draw(self, change: Any) -> None:
        """The browser's strokes changed: pads with new ones show these, others keep theirs."""
        each = zip(change["new"], change["old"], self.sources, strict=True)
        self.sources = [source if new == before else encode(new) if new else ""
                        for new, before, source in each]

    def _mix(self, _change: Any = None) -> None:
        """Show the images as a method gets them, and the mixture once there is one."""
        images, error = [], ""
        for i, source in enumerate(self.sources):
            try:
                image = image_of(source, self.options["pen"]) if source else torch.zeros(0)
                images.append((image * 255).round().to(torch.uint8).numpy().tobytes())
            except SepvizError as caught:
                images.append(b"")
                error = f"pad {i + 1}: {caught}"
        mixture: dict[str, Any] = {"mixture": b"", "low": 0.0, "high": 1.0, "state": ""}
        if all(images):
            try:
                fixed = pack_static(make_view(self.problem, None), 1, "drawn")
                mixture = {"mixture": fixed["mixtures"], "low": fixed["low"],
                           "high": fixed["high"], "state": str(self.state)}
            except SepvizError as caught:
                error = str(caught)
        self.shown = {"images": images, "error": error, **mixture}

    def _on_message(self, _widget: Any, message: dict[str, Any], _buffers: Any) -> None:
        try:
            if message.get("do") == "pick":
                self.pick(int(message["pad"]), str(message["set"]))
            elif message.get("do") == "clear":
                self._put(int(message["pad"]), "")
        except Exception as caught:  # whatever it is, the user sees it in the widget
            self.shown = {**self.shown, "error": one_line(caught)}

    def __repr__(self) -> str:
        return f"SketchPad: {self.shown.get('state') or 'run this cell to have it'}"

    def _picture(self) -> Image.Image | None:
        images = [torch.from_numpy(np.frombuffer(image, np.uint8).reshape(1, 28, 28) / 255)
                  for image in self.shown["images"] if image]
        return sheet_of([images], SIDE) if images else None


def _word(value: Any) -> str:
    """An option in a state; the shortest text that gives a number back."""
    if isinstance(value, list):
        return "+".join(map(_word, value))
    return repr(float(value)).removesuffix(".0") if isinstance(value, float) else str(value)
