"""The live run: a method that is started, stopped, changed and forked while one looks on."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import threading
import time
from collections.abc import Iterator
from typing import Any

import anywidget
import torch
import traitlets

from sepviz.core import Problem, Separator, SepvizError, Step, Truth, check_parameters, one_line, parameters_of, values_of
from sepviz.runs import Run
from sepviz.runs.recipe import State, method_of
from sepviz.runs.trace import LIMIT, MAX_FRAMES, Recorder, Trace
from sepviz.views import assets
from sepviz.views.packing import make_view, matching, pack_frames, pack_static, thin
from sepviz.widgets.still import Still

BRANCHES = 8  # kept; the oldest goes first
INTERVAL = 1 / 15  # seconds between frames that are sent, at least
BANDWIDTH = 4e6  # bytes per second of frames, at most
PATIENCE = 5  # seconds that a reset or a close waits for the step that is being computed


_END = object()  # what `next` gives when a method has no more steps: None would be a wrong step


@dataclasses.dataclass(eq=False)
class _Branch:
    """One line of steps, from step 0 to where it was left."""

    number: int  # never given twice, so that the browser can tell whose frame it gets
    name: str
    recorder: Recorder
    rng: torch.Generator
    used: Any = None  # the separator that made its last step
    changes: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    seconds: float = 0.0


def _controls(separator: Any) -> list[dict[str, Any]]:
    """The fields of a separator that say what they mean, as the browser needs them."""
    if not dataclasses.is_dataclass(separator) or isinstance(separator, type):
        raise SepvizError(f"separator {separator!r}: want an instance of a dataclass, such as Basis(prior)")
    controls, values, plain = [], values_of(separator), parameters_of(separator)
    for item in dataclasses.fields(separator):
        value = values[item.name]
        if "meaning" not in item.metadata:
            continue
        choices = item.metadata.get("methods") or item.metadata.get("choices")
        if choices:
            kind, value = "choice", plain[item.name]
            choices = choices if value in choices else (*choices, value)  # a method with parameters
        elif isinstance(value, (bool, int, float)):
            kind = type(value).__name__
        else:
            continue  # a tuple, a prior: set it in Python
        known = {name: item.metadata.get(name) for name in ("meaning", "low", "high", "log", "unit")}
        controls.append({"name": item.name, "kind": kind, "value": value, **known, "choices": choices})
    return controls


class LiveRun(Still, anywidget.AnyWidget):
    """Run a method and change it while it runs.

    The method runs in a thread of its own, so the kernel stays free. About fifteen frames a second are
    shown, the latest first; all steps are recorded within a budget of memory. A parameter that is changed
    takes effect from the last step on. Any recorded step can be gone back to and forked from.

    Parameters
    ----------
    separator : Separator
        A frozen dataclass; its fields with a range become sliders.
    problem : Problem
    truth : Truth, optional
        For PSNR, and shown under the estimate that it fits best.
    seed : int
        Of the run, and of each of its branches.
    state : State, optional
        How the mixtures were made (`sepviz.restore`): a line of text to copy, which restores the run as it is set, is then shown.

    Examples
    --------
    >>> live = LiveRun(method, problem, truth)  # doctest: +SKIP
    >>> live.start()                            # doctest: +SKIP
    >>> live.set(step_size=1e-5)                # doctest: +SKIP
    >>> live.pause(); live.fork(200)            # doctest: +SKIP
    """

    _esm, _css = assets.code_of("sepviz.widgets.live.LiveRun")
    static = traitlets.Dict().tag(sync=True)
    history = traitlets.Dict().tag(sync=True)  # all frames of the branch, sent when it comes to rest
    frame = traitlets.Dict().tag(sync=True)  # the newest frame; one trait, so that its parts arrive together
    status = traitlets.Dict().tag(sync=True)
    controls: traitlets.List = traitlets.List().tag(sync=True)

    def __init__(self, separator: Separator, problem: Problem, truth: Truth | None = None, seed: int = 0,
                 state: State | None = None):
        # Widget callbacks run on other threads than the kernel's, so everything here is touched with this held.
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None  # the one that may run steps
        self._spent: threading.Thread | None = None  # the one before it
        self._stream: Iterator[Step] | None = None
        self._budget = 0.0  # steps that may still be run
        controls = _controls(separator)
        self._problem = problem
        self._seed = seed
        self._state = state
        self._view = make_view(problem, truth, order=separator.order)
        self._method = type(separator).__name__
        self._separator: Any = separator
        self._busy = False  # a step is being computed
        self._single = False  # one step was asked for
        self._sent = -math.inf
        self._interval = INTERVAL
        self._numbers = 0
        self._says = 0
        self._branches: list[_Branch] = []
        self._branch = self._new_branch("first run", [])
        # Whole from the first message on: what is set later may reach the browser after it has drawn.
        super().__init__(static=pack_static(self._view, len(problem.mixtures), self._method), controls=controls,
                         history={"branch": self._branch.number, **pack_frames(self._view, [], order=None)},
                         status={"state": "ready", "error": "", "branch": 0, "branches": [self._branch.name], "says": 0,
                                 "text": self._text(), "changed": False})
        self.on_msg(self._on_message)

    # --- what a user does, by the buttons or from Python ---

    def start(self) -> None:
        """Run, from the last step of the branch."""
        self._go(math.inf)

    def one_step(self) -> None:
        """Run one step."""
        self._go(1)

    def pause(self) -> None:
        """Stop after the step that is being computed; `wait` for it to be done."""
        with self._changed:
            self._budget = 0
            self._changed.notify_all()

    def wait(self, timeout: float | None = None) -> bool:
        """Block until the run rests (paused, finished or failed); False if ``timeout`` seconds pass first."""
        with self._changed:
            return self._changed.wait_for(lambda: self.status["state"] != "running" and not self._busy, timeout)

    def reset(self) -> None:
        """Back to before the first step; all branches are forgotten, the parameters stay."""
        self._end_thread()
        with self._changed:
            self._branches.clear()
            self._branch = self._new_branch("first run", [])
            self._publish_history()
            self._say("ready")

    def set(self, **values: Any) -> None:
        """Change parameters from the next step on.

        Raises
        ------
        SepvizError
            If there is no such parameter or the method refuses the value; the run goes on as it was.
        """
        with self._changed:
            specs = {item.name: item for item in dataclasses.fields(self._separator)}
            for name, value in values.items():
                if name not in specs:
                    raise SepvizError(f"no parameter {name!r}: {self._method} has {', '.join(specs)}")
                if type(values_of(self._separator)[name]) is int and isinstance(value, float) and value.is_integer():
                    values[name] = int(value)
                elif specs[name].metadata.get("methods") and isinstance(value, str):
                    values[name] = method_of(specs[name], value)
            changed = dataclasses.replace(self._separator, **values)
            check_parameters(changed)
            self._separator = changed
            self._stream = None  # the next step opens a new one, from the last step
            self.controls = _controls(self._separator)
            self._say("paused" if self.status["state"] == "finished" else self.status["state"])

    def fork(self, index: int) -> None:
        """Begin a new branch at a recorded step, or at the one recorded before it; the old one is kept.

        Parameters
        ----------
        index : int
            The number of the step. The new branch goes on, when started, with the parameters as they are now.
        """
        with self._changed:
            kept = [step for step in self._branch.recorder.kept() if step.index <= index]
            if not kept:
                raise SepvizError(f"fork at step {index}: nothing is recorded up to there")
            self._budget = 0
            old = self._branch
            self._branch = self._new_branch(f"fork {self._numbers} at step {kept[-1].index}", kept, old.recorder.stride)
            self._branch.used = old.used
            self._branch.seconds = kept[-1].info.get("seconds", 0.0)
            self._branch.changes = [change for change in old.changes if change["before_step"] <= kept[-1].index]
            self._publish_history()
            self._say("paused")
            self._changed.notify_all()

    def select(self, branch: int) -> None:
        """Look at, and go on with, another of `branches`; its parameters come back with it."""
        with self._changed:
            if not 0 <= branch < len(self._branches):
                raise SepvizError(f"branch={branch}: there are branches 0 to {len(self._branches) - 1}")
            self._budget = 0
            self._stream = None
            self._branch = self._branches[branch]
            self._separator = self._branch.used or self._separator
            self.controls = _controls(self._separator)
            self._publish_history()
            self._say("paused")
            self._changed.notify_all()

    def close(self) -> None:
        """End the run and the widget."""
        self._end_thread()
        super().close()

    @property
    def separator(self) -> Any:
        """The method with the parameters as they are now."""
        return self._separator

    @property
    def trace(self) -> Trace:
        """What is recorded of the current branch."""
        with self._changed:
            return self._trace(self._branch)

    @property
    def branches(self) -> list[Trace]:
        """What is recorded of every branch that has steps, oldest first."""
        with self._changed:
            return [self._trace(branch) for branch in self._branches if branch.recorder.last is not None]

    # --- inside ---

    def _new_branch(self, name: str, frames: list[Step], every: int = 1) -> _Branch:
        rng = torch.Generator(device=self._problem.mixtures.device).manual_seed(self._seed)
        branch = _Branch(self._numbers, name, Recorder(every, LIMIT // 4, 2 * MAX_FRAMES, frames), rng)
        self._numbers += 1
        self._branches = [*self._branches, branch][-BRANCHES:]
        self._stream = None
        return branch

    def _trace(self, branch: _Branch) -> Trace:
        steps = branch.recorder.kept()
        if not steps:
            raise SepvizError("nothing is recorded yet: start the run first")
        parameters = parameters_of(branch.used or self._separator)
        return Trace(self._problem, steps, self._method, parameters, self._seed, branch.seconds, changes=list(branch.changes),
                     order=self._view.order)

    def _say(self, state: str, error: str = "") -> None:
        number = self._branches.index(self._branch)
        names = [branch.name for branch in self._branches]
        self._says += 1  # an error that comes twice is shown twice, and its knob set back twice
        self.status = {"state": state, "error": error, "branch": number, "branches": names, "says": self._says, "text": self._text(),
                       "changed": bool(self._branch.changes)}

    def _text(self) -> str:
        return "" if self._state is None else str(self._state.of(self._separator, self._seed))

    def _on_message(self, _widget: Any, message: dict[str, Any], _buffers: Any) -> None:
        actions = {"start": self.start, "pause": self.pause, "one_step": self.one_step, "reset": self.reset,
                   "select": lambda: self.select(int(message["branch"])), "set": lambda: self.set(**{message["name"]: message["value"]})}
        try:
            if message["do"] == "fork":
                self.fork(int(message["index"]))
                self.start()
            else:
                actions[message["do"]]()
        except Exception as error:  # whatever it is, the user sees it in the widget
            with self._changed:
                self._say(self.status["state"], one_line(error))

    def _go(self, steps: float) -> None:
        with self._changed:
            self._budget = steps
            self._single = steps == 1
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=f"sepviz {self._method}", daemon=True)
                self._thread.start()
            self._say("running")
            self._changed.notify_all()

    def _end_thread(self) -> None:
        with self._changed:
            threads = [self._thread, self._spent]
            self._thread = self._spent = None
            self._budget = 0
            self._stream = None
            self._busy = False
            self._changed.notify_all()
        for thread in threads:  # not with the lock held: they may be waiting for it
            if thread is not None and thread is not threading.current_thread():
                thread.join(PATIENCE)  # one whose step never ends is left behind

    def _work(self) -> None:
        """The thread: whatever is raised in it ends the run, with a message."""
        try:
            self._run()
        except BaseException as error:
            with self._changed:
                if self._thread is threading.current_thread():
                    self._fail(error)
                    self._changed.notify_all()

    def _run(self) -> None:
        """One step at a time, without the lock while it is computed."""
        while True:
            with self._changed:
                while self._budget == 0 and self._thread is threading.current_thread():
                    self._rest()  # also when a start and a pause came while this was waiting
                    self._changed.wait()
                if self._thread is not threading.current_thread():
                    return
                branch, separator, stream = self._branch, self._separator, self._stream
                self._busy = True
            step: Any = None
            error: BaseException | None = None
            begun = time.perf_counter()
            try:
                if stream is None:
                    stream = Run(separator, self._problem, branch.rng, branch.recorder.last)
                step = next(stream, _END)
            except BaseException as caught:  # SystemExit too: shown in the widget, by _fail
                error = caught
            with self._changed:
                if self._thread is not threading.current_thread():
                    return
                self._busy = False
                if branch is self._branch and separator is self._separator:
                    if error is not None:
                        self._fail(error)
                    elif step is _END:
                        self._finish()
                    else:
                        self._stream = stream
                        self._take(step)
                self._changed.notify_all()
                sent = self._sent
            if sent >= begun:  # locks are not fair: let a button or a slider have its turn
                time.sleep(0.002)

    def _take(self, step: Step) -> None:
        branch = self._branch
        if branch.used is not self._separator:
            if branch.used is not None:
                before, after = parameters_of(branch.used), parameters_of(self._separator)
                change = {name: [before[name], after[name]] for name in after if before[name] != after[name]}
                branch.changes.append({"before_step": step.index, **change})
            branch.used = self._separator
        branch.seconds, last = step.info["seconds"], branch.recorder.last
        try:
            branch.recorder.add(step)
        except BaseException:
            branch.recorder.last = last  # what cannot be kept is not what a run goes on from
            raise
        self._budget = max(0, self._budget - 1)  # paused meanwhile, it is 0 already
        if time.perf_counter() - self._sent >= self._interval:
            self._publish(step)

    def _rest(self) -> None:
        """The run has been paused: what the screen missed is sent."""
        if self.status["state"] != "running":
            return
        if self._single and self._branch.recorder.last is not None:
            self._publish(self._branch.recorder.last)
        else:
            self._publish_history()
        self._say("paused", self.status["error"])  # an error stays to be read until something else is done
        self._changed.notify_all()

    def _finish(self) -> None:
        self._budget = 0
        self._stream = None
        self._spent, self._thread = self._thread, None  # it leaves as soon as the lock is free
        self._publish_history()
        self._say("finished", self.status["error"])

    def _fail(self, error: BaseException) -> None:
        self._budget = 0
        self._stream = None
        self._busy = False
        self._spent, self._thread = self._thread, None  # it leaves as soon as the lock is free
        used = self._branch.used
        with contextlib.suppress(Exception):  # what made it fail may be what cannot be sent
            self._publish_history()
        if used is not None and used is not self._separator:
            self._separator = used
            self.controls = _controls(used)
            self._say("paused", f"{one_line(error)} (the parameters are as before)")
        else:
            self._say("failed", one_line(error))

    def _order(self, step: Step) -> list[list[int]] | None:
        """Which true source fits each estimate best; the estimates keep their places while they change."""
        if self._view.truth is None:
            return None
        return matching(self._view, step.sources).argsort(dim=1).tolist()

    def _publish(self, step: Step) -> None:
        pack = pack_frames(self._view, [step], order=self._order(step))
        self._interval = max(INTERVAL, len(pack["bytes"]) / BANDWIDTH)
        self._sent = time.perf_counter()
        self.frame = {"branch": self._branch.number, **pack}

    def _publish_history(self) -> None:
        steps = self._branch.recorder.kept()
        order = self._order(steps[-1]) if steps else None
        pack = pack_frames(self._view, [steps[i] for i in thin(steps, self._view)], order=order)
        self.history = {"branch": self._branch.number, **pack}
