"""One line of recorded steps of a session, from step 0 to where it was left."""

from __future__ import annotations

from typing import Any

from sepviz.core import Problem, Separator, SepvizError, Step, parameters_of
from sepviz.runs.recorder import LIMIT, MAX_FRAMES, Recorder
from sepviz.runs.run import generator
from sepviz.runs.trace import Trace


class Branch:
    """What is recorded of a run, and of its changes of parameters.

    Parameters
    ----------
    number : int
        Of this branch in its session, never given twice.
    steps : list of Step, optional
        What is recorded already, of the branch that it was forked from.
    every : int
        Record every so-many-th step.
    """

    def __init__(self, problem: Problem, seed: int, number: int, name: str,
                 steps: list[Step] | None = None, every: int = 1):
        self.problem, self.seed, self.number, self.name = problem, seed, number, name
        self.recorder = Recorder(every, LIMIT // 4, 2 * MAX_FRAMES, steps)
        self.rng = generator(problem, seed)
        self.used: Any = None  # the separator that made the last step
        self.changes: list[dict[str, Any]] = []
        self.seconds = 0.0

    @property
    def last(self) -> Step | None:
        """The newest step."""
        return self.recorder.last

    def take(self, step: Step, separator: Separator) -> None:
        """Record the next step, and what was changed before it."""
        if self.used is not None and self.used is not separator:
            before, after = parameters_of(self.used), parameters_of(separator)
            change = {name: [before[name], after[name]] for name in after
                      if before[name] != after[name]}
            self.changes.append({"before_step": step.index, **change})
        self.used = separator
        self.seconds, last = step.info["seconds"], self.last
        try:
            self.recorder.add(step)
        except BaseException:
            self.recorder.last = last  # what cannot be kept is not what a run goes on from
            raise

    def fork(self, index: int, number: int) -> Branch:
        """A new branch from step ``index``, or from the last one recorded before it."""
        steps = [step for step in self.recorder.kept() if step.index <= index]
        if not steps:
            raise SepvizError(f"fork at step {index}: nothing is recorded up to there")
        end = steps[-1]
        made = Branch(self.problem, self.seed, number, f"fork {number} at step {end.index}", steps,
                      self.recorder.stride)
        made.used, made.seconds = self.used, end.info.get("seconds", 0.0)
        made.changes = [change for change in self.changes if change["before_step"] <= end.index]
        return made

    def trace(self, separator: Separator) -> Trace:
        """What is recorded, as a trace; of ``separator`` where no step was made yet."""
        steps = self.recorder.kept()
        if not steps:
            raise SepvizError("nothing is recorded yet: start the run first")
        used = self.used or separator
        return Trace.of(used, self.problem, steps, self.seed, self.seconds,
                        changes=list(self.changes))
