"""Draw or restore a mixture, choose a method, watch it run: pad and live run on one page."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import typing
from collections.abc import Callable
from typing import Any

import ipywidgets
import torch

from sepviz import zoo
from sepviz.core import Problem, Separator, SepvizError, Truth, one_line
from sepviz.data import NAMES
from sepviz.runs.recipe import Recipe, restore, separator_of
from sepviz.runs.trace import Trace
from sepviz.separators import METHODS
from sepviz.widgets.compare import RUNS, Compare
from sepviz.widgets.live import LiveRun
from sepviz.widgets.shield import ShieldedBox, problem
from sepviz.widgets.sketch_pad import SketchPad
from sepviz.widgets.still import Still

FIRST = f"split-gibbs, score-{NAMES[0]}"  # what is chosen at the beginning


@functools.cache
def choices() -> dict[str, tuple[str, str | None]]:
    """Every method that needs no examples, with every shipped prior that it can use.

    A label -> (method, prior).
    """
    found: dict[str, tuple[str, str | None]] = {}
    for method, cls in METHODS.items():
        wanted = typing.get_type_hints(cls).get("prior")
        if cls.sees is None and wanted is None:
            found[method] = (method, None)
        elif cls.sees is None:
            names = zoo.names_for(method, wanted)
            found |= {f"{method}, {name}": (method, name) for name in names}
    return found


@functools.cache
def _made(label: str) -> Separator:
    """One of the choices as it is by default."""
    method, prior = choices()[label]
    return separator_of(method, None, {}, prior, torch.device("cpu"))


def fitting(problem: Problem) -> list[str]:
    """Those of `choices` that take these mixtures."""
    found = []
    for label in choices():
        with contextlib.suppress(SepvizError):
            _made(label).check(problem)
            found.append(label)
    return found


class Workbench(Still, ShieldedBox):
    """A sketch pad, a choice of method, and the live run that the mixture on the pad is sent to.

    Parameters
    ----------
    state : str, optional
        What to begin with, as `sepviz.restore` reads it: any task, any method.
    count : int
        Sources of the pad, 1 to 4.

    Attributes
    ----------
    pad : SketchPad
    live : LiveRun or None
        The run of the mixture that was sent last.
    kept : list of Trace
        The runs before it, of the same mixture, to compare.

    Examples
    --------
    >>> bench = Workbench()                        # doctest: +SKIP
    >>> bench.send(); bench.live.start()           # doctest: +SKIP
    """

    def __init__(self, state: str | None = None, count: int = 2):
        self.pad = SketchPad(count)
        self.live: LiveRun | None = None
        self.kept: list[Trace] = []
        self._text = ""  # the mixture of the runs in `kept`
        self._restored: Recipe | None = None  # a mixture that is not on the pad, until one draws
        self._view: Compare | None = None
        self._truth: Truth | None = None
        wide = ipywidgets.Layout(width="auto", flex="1 1 240px")
        self._method_widget = ipywidgets.Dropdown(description="method", layout=wide)
        self._field_widget = ipywidgets.Text(
            placeholder="paste a state: task=...,method=...,run=...", description="state",
            layout=wide, continuous_update=False)
        self._send_widget = self._button("Separate", "Send the mixture to this method", self.send)
        self._send_widget.button_style = "primary"
        self._compare_widget = self._button(
            "Compare runs", "All runs of this mixture side by side", self.compare)
        self._compare_widget.disabled = True
        self._restore_widget = self._button(
            "Restore", "Make the mixture and the method of this state again",
            lambda: self.restore(self._field_widget.value))
        self._says = ipywidgets.HTML()
        self.pad.observe(self._drawn, ["sources", "options"])
        rows = ([self._method_widget, self._send_widget, self._compare_widget],
                [self._field_widget, self._restore_widget])
        wrap = ipywidgets.Layout(flex_flow="row wrap")
        self._head = [self.pad, *(ipywidgets.HBox(row, layout=wrap) for row in rows), self._says]
        super().__init__(self._head)
        self._offer(self.pad.blank)
        if state is not None:
            self.restore(state)

    def send(self) -> LiveRun:
        """Make a live run, with the chosen method, of the mixture on the pad or restored last.

        Raises
        ------
        SepvizError
            If a pad is empty, or the method refuses the mixture.
        """
        state = self._chosen(self._restored or self.pad.state)
        return self._show(state, *state.problem())

    def restore(self, text: str) -> LiveRun | None:
        """Make what a state says again.

        A drawn mixture comes back to the pad; another without a method gets the chosen one.

        Raises
        ------
        SepvizError
            If the text is no state, or something in it is not known.
        """
        state = restore(text)
        made = state.problem()  # it says what is wrong with it
        sources = state.mixture.get("sources", "").split("+")
        if state.task == "drawn" and len(sources) == len(self.pad.sources):
            self.pad.restore(state)
            self._restored = None
        else:
            self._restored = dataclasses.replace(state, method="", prior=None, parameters={})
            self._says.value = ('<div role="status">Separate now takes the restored mixture, '
                                'until you draw.</div>')
            self._offer(made[0])
        pairs = {pair: label for label, pair in choices().items()}
        label = pairs.get((state.method, state.prior))
        if label in self._method_widget.options:
            self._method_widget.value = label
        if not state.method and not self._restored:
            return None  # a drawing is there to be seen, and to be sent
        return self._show(state if state.method else self._chosen(state), *made)

    def compare(self) -> Compare:
        """All runs of this mixture so far, side by side, under the live run.

        Raises
        ------
        SepvizError
            If there are fewer than two.
        """
        view = Compare(self._runs()[-RUNS:], self._truth)
        self.children = [*self._head, *([self.live] if self.live else []), view]
        if self._view is not None:
            self._view.close()
        self._view = view
        return view

    def close(self) -> None:
        """End the run and all views."""
        for widget in (self.live, self._view, self.pad):
            if widget is not None:
                widget.close()
        super().close()

    # --- inside ---

    def _button(self, name: str, tooltip: str, action: Callable[[], Any]) -> ipywidgets.Button:
        """A button that shows below it what goes wrong."""
        def pressed(_button: Any) -> None:
            self._says.value = ""
            try:
                action()
            except Exception as error:
                self._says.value = problem(one_line(error))

        button = ipywidgets.Button(description=name, tooltip=tooltip)
        button.on_click(pressed)
        return button

    def _chosen(self, state: Recipe) -> Recipe:
        """The same mixture with the method that is chosen."""
        if self._method_widget.value is None:
            raise SepvizError("no method with a shipped prior takes this mixture: draw another")
        method, prior = choices()[self._method_widget.value]
        return dataclasses.replace(state, method=method, prior=prior, preset=None, parameters={})

    def _runs(self) -> list[Trace]:
        return [*self.kept, *(self.live.branches if self.live else [])]

    def _show(self, state: Recipe, problem: Problem, truth: Truth | None) -> LiveRun:
        separator = state.separator()
        separator.check(problem)
        mixture = str(dataclasses.replace(state, method=""))
        self.kept = self._runs()[-RUNS + 1:] if mixture == self._text else []
        live = LiveRun(separator, problem, truth, state.run, state)
        for old in (self.live, self._view):
            if old is not None:
                old.close()
        self._view = None
        self.live, self._text, self._truth = live, mixture, truth
        live.observe(self._count, "status")
        self.children = [*self._head, live]
        self._count()
        return live

    def _count(self, _change: Any = None) -> None:
        self._compare_widget.disabled = len(self._runs()) < 2

    def _drawn(self, _change: Any) -> None:
        """Who draws wants the drawing, not what was restored, nor what was said of it."""
        self._restored = None
        self._says.value = ""
        with contextlib.suppress(SepvizError):  # the pad shows what is wrong with its options
            self._offer(self.pad.blank)

    def _offer(self, problem: Problem) -> None:
        """Offer only the methods that take such mixtures; the chosen one stays, if it does."""
        labels, chosen = fitting(problem), self._method_widget.value
        if labels == list(self._method_widget.options):
            return
        first = FIRST if FIRST in labels else next(iter(labels), None)
        self._method_widget.options = labels
        self._method_widget.value = chosen if chosen in labels else first
