"""The live run: a method that is started, paused, changed and forked while one looks on."""

from __future__ import annotations

import dataclasses
import math
import time
from typing import Any

import anywidget
import traitlets

from sepviz.core import Problem, Separator, Step, Truth, parameters_of, values_of
from sepviz.runs.recipe import Recipe
from sepviz.runs.session import Session
from sepviz.runs.trace import Trace
from sepviz.views import assets
from sepviz.views.packing import make_view, matching, pack_frames, pack_static, thin
from sepviz.widgets.still import Still

INTERVAL = 1 / 15  # seconds between frames that are sent, at least
BANDWIDTH = 4e6  # bytes per second of frames, at most


class LiveRun(Still, anywidget.AnyWidget):
    """Run a method and change it while it runs.

    The method runs in a thread (`sepviz.runs.Session`), so the kernel stays free. About fifteen
    frames a second are shown; all steps are recorded within a budget of memory. A changed parameter
    takes effect from the last step on, and every recorded step can be forked from.

    Parameters
    ----------
    separator : Separator
        A frozen dataclass; its fields with a range become sliders.
    problem : Problem
    truth : Truth, optional
        For PSNR, and shown under the estimate that it fits best.
    seed : int
        Of the run, and of each of its branches.
    state : Recipe, optional
        How the mixtures were made (`sepviz.restore`). The widget then shows a line of text that
        restores the run as it is set.

    Examples
    --------
    >>> live = LiveRun(method, problem, truth)  # doctest: +SKIP
    >>> live.start()                            # doctest: +SKIP
    >>> live.set(step_size=1e-5)                # doctest: +SKIP
    >>> live.pause(); live.fork(200)            # doctest: +SKIP
    """

    _esm, _css = assets.code_of("sepviz.widgets.live.LiveRun")
    static = traitlets.Dict().tag(sync=True)
    history = traitlets.Dict().tag(sync=True)  # all frames of the branch, sent when it rests
    frame = traitlets.Dict().tag(sync=True)  # the newest; one trait: its parts arrive together
    status = traitlets.Dict().tag(sync=True)
    controls: traitlets.List = traitlets.List().tag(sync=True)

    def __init__(self, separator: Separator, problem: Problem, truth: Truth | None = None,
                 seed: int = 0, state: Recipe | None = None):
        self._session = Session(separator, problem, seed, self._heard)
        self._view = make_view(problem, truth, order=separator.order)
        self._state = state
        self._sent, self._interval = -math.inf, INTERVAL
        self._says = 0
        # Complete from the first message on: the browser draws before it gets what is set later.
        static = pack_static(self._view, len(problem.mixtures), self._session.method)
        super().__init__(static=static, controls=_controls(separator), history=self._pack([]),
                         status=self._status())
        self.on_msg(self._on_message)

    # --- what a user does, by the buttons or from Python ---

    def start(self) -> None:
        """Run, from the last step of the branch."""
        self._session.start()

    def one_step(self) -> None:
        """Run one step."""
        self._session.one_step()

    def pause(self) -> None:
        """Stop after the step that is being computed; `wait` for it to be done."""
        self._session.pause()

    def wait(self, timeout: float | None = None) -> bool:
        """Block until the run rests; False if ``timeout`` seconds pass first."""
        return self._session.wait(timeout)

    def reset(self) -> None:
        """Go back to before the first step; all branches are dropped, the parameters stay."""
        self._session.reset()

    def set(self, **values: Any) -> None:
        """Change parameters from the next step on; a wrong value changes nothing."""
        self._session.set(**values)

    def fork(self, index: int) -> None:
        """Begin a new branch at step ``index``, or at the last one recorded before it."""
        self._session.fork(index)

    def select(self, branch: int) -> None:
        """Go on with another branch, counted from 0; its parameters come back with it."""
        self._session.select(branch)

    def close(self) -> None:
        """End the run and the widget."""
        if "_session" in vars(self):  # else the widget was refused before it had one
            self._session.close()
        super().close()

    @property
    def separator(self) -> Any:
        """The method with the parameters as they are now."""
        return self._session.separator

    @property
    def trace(self) -> Trace:
        """What is recorded of the current branch."""
        return self._session.trace

    @property
    def branches(self) -> list[Trace]:
        """What is recorded of every branch that has steps, oldest first."""
        return self._session.branches

    # --- inside ---

    def _on_message(self, _widget: Any, message: dict[str, Any], _buffers: Any) -> None:
        actions = {"start": self.start, "pause": self.pause, "one_step": self.one_step,
                   "reset": self.reset, "select": lambda: self.select(int(message["branch"])),
                   "set": lambda: self.set(**{message["name"]: message["value"]}),
                   "fork": lambda: self.fork(int(message["index"]))}
        try:
            actions[message["do"]]()
            if message["do"] == "fork":
                self.start()
        except Exception as error:  # whatever it is, the user sees it in the widget
            self._session.report(error)

    def _heard(self, event: str) -> None:
        """Show what happened in the session, which is locked meanwhile."""
        session = self._session
        if event == "parameters":
            self.controls = _controls(session.separator)
        elif event == "state":
            self.status = self._status()
        elif event == "steps":
            steps = session.branch.recorder.kept()
            self.history = self._pack([steps[i] for i in thin(steps, self._view)])
        elif event == "last" or time.perf_counter() - self._sent >= self._interval:
            assert session.branch.last is not None
            frame = self._pack([session.branch.last])
            self._interval = max(INTERVAL, len(frame["bytes"]) / BANDWIDTH)
            self._sent = time.perf_counter()
            self.frame = frame

    def _status(self) -> dict[str, Any]:
        session = self._session
        self._says += 1  # an error that comes twice is shown twice, and its knob set back twice
        text = "" if self._state is None else str(self._state.of(session.separator, session.seed))
        return {"state": session.state, "error": session.error, "says": self._says, "text": text,
                "branch": session.kept.index(session.branch),
                "branches": [branch.name for branch in session.kept],
                "changed": bool(session.branch.changes)}

    def _pack(self, steps: list[Step]) -> dict[str, Any]:
        """Steps of the branch as the browser gets them.

        The estimates keep their places while they change: it is told which source fits which.
        """
        order = None
        if steps and self._view.truth is not None:
            order = matching(self._view, steps[-1].sources).argsort(dim=1).tolist()
        frames = pack_frames(self._view, steps, order=order)
        return {"branch": self._session.branch.number, **frames}


def _controls(separator: Any) -> list[dict[str, Any]]:
    """The fields of a separator that say what they mean, as the browser needs them."""
    controls, plain = [], parameters_of(separator)
    for item in dataclasses.fields(separator):
        value: Any = values_of(separator)[item.name]
        known = {name: item.metadata.get(name)
                 for name in ("meaning", "low", "high", "log", "unit", "choices")}
        if words := item.metadata.get("methods"):
            value = plain[item.name]
            known["choices"] = words if value in words else (*words, value)
        if known["meaning"] is None or not (known["choices"] or isinstance(value, int | float)):
            continue  # a tuple, a prior: set it in Python
        kind = "choice" if known["choices"] else type(value).__name__
        controls.append({"name": item.name, "kind": kind, "value": value, **known})
    return controls
