"""A run in a thread of its own: started, paused, changed and forked while it is watched."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import threading
import time
from collections.abc import Callable
from typing import Any

from sepviz.core import Problem, Separator, SepvizError, check_parameters, one_line, values_of
from sepviz.runs.branch import Branch
from sepviz.runs.run import Run
from sepviz.runs.trace import Trace
from sepviz.runs.words import method_in

BRANCHES = 8  # kept; the oldest goes first
PATIENCE = 5  # seconds that a reset or a close waits for the step that is being computed
TURN = 1 / 15  # seconds after which the thread pauses for GIVE_WAY: locks are not fair
GIVE_WAY = 0.002
_END = object()  # what `next` gives when there are no more steps: None would be a wrong step


class Session:
    """Run a method in a thread; start, pause, change and fork it from other threads.

    All steps are recorded within a budget of memory. A changed parameter takes effect from the last
    step on. Whatever the method raises or yields, the run ends with a message, and what was
    recorded is kept.

    Parameters
    ----------
    separator : Separator
        A frozen dataclass.
    problem : Problem
    seed : int
        Of the run, and of each of its branches.
    tell : callable, optional
        Called with what happened, with the session locked, from whichever thread it happened in:
        ``"step"`` (a step is recorded), ``"last"`` (the same, and no more are asked for),
        ``"steps"`` (the run rests or another branch is chosen: look at all that `branch` holds),
        ``"parameters"`` (`separator` was changed), ``"state"`` (`state` or `error` was set).
        What it raises while the method runs ends the run, as an error of the method does.

    Attributes
    ----------
    separator : Separator
        The method with the parameters as they are now.
    state : str
        "ready", "running", "paused", "finished" or "failed".
    error : str
        What went wrong, in one line; empty once something else has been done.
    branch : Branch
        The current one of `kept`.
    """

    def __init__(self, separator: Separator, problem: Problem, seed: int = 0,
                 tell: Callable[[str], None] = lambda event: None):
        self.separator: Any = separator
        if not dataclasses.is_dataclass(type(separator)):
            raise SepvizError(f"separator {separator!r}: want an instance of a dataclass, such as "
                              "Basis(prior)")
        self.problem, self.seed, self.method = problem, seed, type(separator).__name__
        self.state, self.error = "ready", ""
        self._tell = tell
        self._lock = threading.Condition()  # held by whoever touches what is below
        self._thread: threading.Thread | None = None  # the one that may run steps
        self._spent: threading.Thread | None = None  # the one before it
        self._stream: Run | None = None
        self._budget = 0.0  # steps that may still be run
        self._single = False  # one step was asked for
        self._busy = False  # a step is being computed
        self._gave_way = -math.inf
        self._numbers = 0
        self.kept: list[Branch] = []
        self._keep(Branch(problem, seed, self._numbers, "first run"))

    # --- what a user does ---

    def start(self) -> None:
        """Run, from the last step of the branch."""
        self._go(math.inf)

    def one_step(self) -> None:
        """Run one step."""
        self._go(1)

    def pause(self) -> None:
        """Stop after the step that is being computed; `wait` for it to be done."""
        with self._lock:
            self._budget = 0

    def wait(self, timeout: float | None = None) -> bool:
        """Block until the run rests; False if ``timeout`` seconds pass first."""
        with self._lock:
            return self._lock.wait_for(lambda: self.state != "running" and not self._busy, timeout)

    def reset(self) -> None:
        """Go back to before the first step; all branches are dropped, the parameters stay."""
        self._stop()
        with self._lock:
            self.kept = []
            self._keep(Branch(self.problem, self.seed, self._numbers, "first run"))
            self._tell("steps")
            self._say("ready")

    def close(self) -> None:
        """End the run; what is recorded stays."""
        self._stop()
        with self._lock:
            if self.state == "running":
                self._say("paused", self.error)

    def set(self, **values: Any) -> None:
        """Change parameters from the next step on.

        Raises
        ------
        SepvizError
            If there is no such parameter or the method refuses the value; nothing is changed.
        """
        with self._lock:
            now = values_of(self.separator)
            words: Any = {item.name: item.metadata.get("methods")
                          for item in dataclasses.fields(self.separator)}  # type: ignore[arg-type]
            for name, value in values.items():
                if name not in now:
                    raise SepvizError(f"no parameter {name!r}: {self.method} has {', '.join(now)}")
                if type(now[name]) is int and isinstance(value, float) and value.is_integer():
                    values[name] = int(value)
                elif isinstance(value, str) and words[name]:
                    values[name] = method_in(name, value, words[name])
            changed = dataclasses.replace(self.separator, **values)
            check_parameters(changed)
            self.separator = changed
            self._stream = None  # the next step opens a new one, from the last step
            self._tell("parameters")
            self._say("paused" if self.state == "finished" else self.state)

    def fork(self, index: int) -> None:
        """Begin a new branch at step ``index``, or at the last one recorded before it.

        The old branch is kept; the new one goes on with the parameters as they are now.
        """
        with self._lock:
            self._keep(self.branch.fork(index, self._numbers))
            self._look_at_branch()

    def select(self, branch: int) -> None:
        """Go on with another of `kept`, counted from 0; its parameters come back with it."""
        with self._lock:
            if not 0 <= branch < len(self.kept):
                raise SepvizError(f"branch={branch}: there are branches 0 to {len(self.kept) - 1}")
            self.branch = self.kept[branch]
            self.separator = self.branch.used or self.separator
            self._tell("parameters")
            self._look_at_branch()

    def report(self, error: BaseException) -> None:
        """Show an error that is not the run's, in `error`; the run goes on."""
        with self._lock:
            self._say(self.state, one_line(error))

    # --- what is recorded ---

    @property
    def trace(self) -> Trace:
        """What is recorded of the current branch, as a trace."""
        with self._lock:
            return self.branch.trace(self.separator)

    @property
    def branches(self) -> list[Trace]:
        """What is recorded of every branch that has steps, oldest first."""
        with self._lock:
            return [branch.trace(self.separator) for branch in self.kept if branch.last]

    # --- inside; the caller holds the lock ---

    def _keep(self, branch: Branch) -> None:
        self.branch = branch
        self.kept = [*self.kept, branch][-BRANCHES:]
        self._numbers += 1

    def _look_at_branch(self) -> None:
        self._budget, self._stream = 0, None
        self._tell("steps")
        self._say("paused")

    def _say(self, state: str, error: str = "") -> None:
        self.state, self.error = state, error
        self._tell("state")
        self._lock.notify_all()

    def _mine(self) -> bool:
        """Whether the thread that asks may run steps."""
        return self._thread is threading.current_thread()

    def _rest(self) -> None:
        """The run was paused, or the one step that was asked for is done."""
        if self.state == "running":
            if not self._single or self.branch.last is None:
                self._tell("steps")
            self._say("paused", self.error)  # an error stays until something else is done

    def _finish(self) -> None:
        self._tell("steps")
        self._leave()
        self._say("finished", self.error)

    def _fail(self, error: BaseException) -> None:
        self._leave()
        with contextlib.suppress(Exception):  # what made it fail may be what cannot be shown
            self._tell("steps")
        used = self.branch.used
        if used is None or used is self.separator:
            self._say("failed", one_line(error))
        else:
            self.separator = used
            self._tell("parameters")
            self._say("paused", f"{one_line(error)} (the parameters are as before)")

    def _leave(self) -> None:
        """The thread ends as soon as the lock is free."""
        self._budget, self._stream, self._busy = 0, None, False
        self._spent, self._thread = self._thread, None

    # --- the thread ---

    def _go(self, steps: float) -> None:
        with self._lock:
            self._single = steps == 1 and self.state != "running"
            self._budget = steps
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=f"sepviz {self.method}",
                                                daemon=True)
                self._thread.start()
            self._say("running")

    def _stop(self) -> None:
        with self._lock:
            threads = [self._spent, self._thread]
            self._leave()
            self._spent = None
            self._lock.notify_all()
        for thread in threads:  # not with the lock held: they may be waiting for it
            if thread is not None and thread is not threading.current_thread():
                thread.join(PATIENCE)  # one whose step never ends is left behind

    def _work(self) -> None:
        """Run steps until the thread has to leave; whatever is raised ends the run."""
        try:
            while self._turn():
                pass
        except BaseException as error:
            with self._lock:
                if self._mine():
                    self._fail(error)

    def _turn(self) -> bool:
        """Wait until a step is asked for; compute it without the lock. False: leave."""
        with self._lock:
            while self._budget == 0 and self._mine():
                self._rest()  # also when a start and a pause came while this was waiting
                self._lock.wait()
            if not self._mine():
                return False
            branch, separator, stream = self.branch, self.separator, self._stream
            self._busy = True
        step: Any = None
        error: BaseException | None = None
        try:
            if stream is None:
                stream = Run(separator, self.problem, branch.rng, branch.last)
            step = next(stream, _END)
        except BaseException as caught:  # SystemExit too: it is shown
            error = caught
        with self._lock:
            if not self._mine():
                return False
            self._busy = False
            if branch is self.branch and separator is self.separator:  # else it is of no use
                if error is not None:
                    self._fail(error)
                elif step is _END:
                    self._finish()
                else:
                    self._stream = stream
                    branch.take(step, separator)
                    self._budget = max(0, self._budget - 1)  # paused meanwhile, it is 0 already
                    self._tell("step" if self._budget else "last")
            self._lock.notify_all()
        if time.perf_counter() - self._gave_way >= TURN:
            time.sleep(GIVE_WAY)
            self._gave_way = time.perf_counter()
        return True
