"""A pad to draw on: sources by pen, or picked from a data set, mixed before one's eyes."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import anywidget
import torch
import traitlets

from sepviz.core import Problem, SepvizError, Truth, one_line
from sepviz.data import NAMES, load
from sepviz.runs.recipe import State, restore
from sepviz.tasks.drawn import PEN, Stroke, decode, encode, image_of
from sepviz.views import assets
from sepviz.views.packing import make_view, pack_static
from sepviz.widgets.still import Still

MOST = 4  # sources of one pad


class SketchPad(Still, anywidget.AnyWidget):
    """Draw sources with mouse, pen, finger or keyboard, or pick them from a data set; see their mixture at once.

    Drawings are sized and centred as the digits are that the priors know (`sepviz.tasks.drawn.draw`). Weights, noise, the pen, a 5x5
    filter to paint and a hidden lower half are beside them.

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
    state : State
        Its text restores the pad, or makes the mixture elsewhere.

    Examples
    --------
    >>> pad = SketchPad()                                                  # doctest: +SKIP
    >>> pad.problem, pad.truth                                             # doctest: +SKIP
    """

    _esm, _css = assets.code_of("sepviz.widgets.sketch_pad.SketchPad")
    strokes: traitlets.List = traitlets.List().tag(sync=True)  # of each pad; the browser's
    sources: traitlets.List = traitlets.List().tag(sync=True)  # of each pad, as `sepviz.tasks.drawn.drawn` wants them; "" for an empty one
    options: traitlets.Dict = traitlets.Dict().tag(sync=True)
    shown: traitlets.Dict = traitlets.Dict().tag(sync=True)
    names: traitlets.List = traitlets.List().tag(sync=True)

    def __init__(self, count: int = 2, state: str | None = None):
        if not 1 <= count <= MOST:
            raise SepvizError(f"count={count}: a pad has 1 to {MOST} sources")
        self._chance = random.Random(0)
        first = {"weights": [1.0] * count, "pen": PEN, "taps": "", "noise": 0.0, "visible": "all", "seed": 0}
        super().__init__(strokes=[[] for _ in range(count)], sources=[""] * count, options=first, names=list(NAMES))
        self._mix()
        self.observe(self._draw, "strokes")
        self.observe(self._mix, ["sources", "options"])
        self.on_msg(self._on_message)
        if state is not None:
            self.restore(state)

    # --- what a user does ---

    def restore(self, text: str | State) -> None:
        """Put on the pad what a state of task ``drawn`` says.

        Raises
        ------
        SepvizError
            If it is of another task, or has another number of sources than this pad.
        """
        state = restore(text) if isinstance(text, str) else text
        if state.task != "drawn":
            raise SepvizError(f"a state of task {state.task}: a pad takes those of task drawn")
        names = state.mixture.get("sources", "").split("+")
        if len(names) != len(self.sources):
            raise SepvizError(f"a state of {len(names)} sources: this pad has {len(self.sources)}")
        state.problem()  # it says what is wrong with it
        words = state.mixture
        weights = words.get("weights", "sum")
        equal = {"sum": 1.0, "mean": 1 / len(names)}
        numbers = [equal[weights]] * len(names) if weights in equal else [float(word) for word in weights.split("+")]
        self.options = {"weights": numbers, "pen": float(words.get("pen", PEN)), "taps": words.get("taps", ""),
                        "noise": float(words.get("noise", 0)), "visible": words.get("visible", "all"), "seed": int(words.get("seed", 0))}
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
    def state(self) -> State:
        """The mixture in one line of text.

        Raises
        ------
        SepvizError
            If one of the pads is empty.
        """
        empty = [str(i + 1) for i, source in enumerate(self.sources) if not source]
        if empty:
            first, last = ", ".join(empty[:-1]), empty[-1]
            pads = f"pads {first} and {last} are" if first else f"pad {last} is"
            raise SepvizError(f"{pads} empty: draw something there, or pick an image")
        return self._state(self.sources)

    # --- inside ---

    def _state(self, sources: Sequence[str]) -> State:
        options = self.options
        plain = {"weights": "+".join(map(_word, options["weights"])), "pen": _word(options["pen"]), "taps": options["taps"],
                 "noise": _word(options["noise"]), "visible": options["visible"], "seed": str(options["seed"])}
        usual = {"weights": "+".join(["1"] * len(self.sources)), "pen": f"{PEN:g}", "taps": "", "noise": "0", "visible": "all", "seed": "0"}
        unusual = {name: word for name, word in plain.items() if word != usual[name]}
        return State("drawn", {"sources": "+".join(sources), **unusual})

    def _put(self, pad: int, source: str) -> None:
        if not 0 <= pad < len(self.sources):
            raise SepvizError(f"pad={pad}: this one has pads 0 to {len(self.sources) - 1}")
        strokes = decode(source) if source.startswith("ink:") else []
        self.strokes = [strokes if i == pad else old for i, old in enumerate(self.strokes)]
        self.sources = [source if i == pad else old for i, old in enumerate(self.sources)]

    def _draw(self, change: Any) -> None:
        """The browser's strokes changed: pads with new ones show these, others keep what they had."""
        self.sources = [(encode(new) if new else "") if new != before else source
                        for new, before, source in zip(change["new"], change["old"], self.sources, strict=True)]

    def _mix(self, _change: Any = None) -> None:
        """Show the images as a method gets them, and the mixture once there is one."""
        images, error = [], ""
        for i, source in enumerate(self.sources):
            try:
                image = image_of(source, self.options["pen"]) if source else None
                images.append(b"" if image is None else (image * 255).round().to(torch.uint8).numpy().tobytes())
            except SepvizError as caught:
                images.append(b"")
                error = f"pad {i + 1}: {caught}"
        fixed: dict[str, Any] = {}
        if all(images):
            try:
                problem, _ = self.state.problem()
                fixed = pack_static(make_view(problem, None), 1, "drawn")
            except SepvizError as caught:
                error = str(caught)
        self.shown = {"images": images, "mixture": fixed.get("mixtures", b""), "low": fixed.get("low", 0.0), "high": fixed.get("high", 1.0),
                      "error": error, "state": str(self.state) if fixed else ""}

    def _on_message(self, _widget: Any, message: dict[str, Any], _buffers: Any) -> None:
        try:
            if message.get("do") == "pick":
                self.pick(int(message["pad"]), str(message["set"]))
            elif message.get("do") == "clear":
                self._put(int(message["pad"]), "")
        except Exception as caught:  # whatever it is, the user sees it in the widget
            self.shown = {**self.shown, "error": one_line(caught)}


def _word(number: float) -> str:
    """The shortest text that gives the number back."""
    return repr(float(number)).removesuffix(".0")
