"""A recipe carried out on all its mixtures, chunk by chunk; what is done is kept in a file."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor
from tqdm.auto import tqdm

from sepviz import files, zoo
from sepviz.core import Problem, SepvizError, Step, one_line, parameters_of, prior_of
from sepviz.runs.recipe import Recipe
from sepviz.runs.recorder import Recorder
from sepviz.runs.run import Found, Run, chunk_seed, found_by, generator
from sepviz.runs.trace import Trace

SAVE_EVERY = 60.0  # seconds between two savings of a run in progress
NOTHING_KEPT = "nothing was kept"


class _Progress(NamedTuple):
    """How far a run has come. Replaced as a whole: an interrupt anywhere finds parts that fit."""

    done: list[Found]  # of each finished chunk
    step: Step | None = None  # the newest of the chunk in work
    rng_state: Tensor | None = None  # of its generator, after that step


class Chunks:
    """The mixtures of a recipe, taken apart ``recipe.chunk`` at a time.

    A method that learns is trained once, on all mixtures. As a context: whatever stops the block,
    what is done is kept in the partial result ``path``, and the same recipe continues from there to
    the same bits. When the block ends without an error, that file is removed.

    >>> with Chunks(restore("task=separate,method=average")) as chunks:     # doctest: +SKIP
    ...     found = chunks.run()
    ...     files.save_separation("out.npz", found.sources, chunks.meta(found))

    Parameters
    ----------
    recipe : Recipe
    device : str or torch.device
    path : Path, optional
        Of the partial result; nothing is kept where left out.
    side_files : sequence of str
        Files that are made of the first chunk's steps, which needs all of them: a first chunk in
        part is then not kept, and only a run with the same files continues.

    Raises
    ------
    SepvizError
        If the recipe cannot be made, or ``path`` holds the partial result of another run.
    """

    def __init__(self, recipe: Recipe, device: str | torch.device = "cpu",
                 path: Path | None = None, side_files: Sequence[str] = ()):
        self.recipe, self.device, self.path = recipe, torch.device(device), path
        self.side_files = list(side_files)
        self.problem, self.truth = recipe.problem()
        self.separator = recipe.separator(device)
        learns = self.separator.sees is not None
        self.size = max(recipe.chunk, len(self.problem.mixtures)) if learns else recipe.chunk
        self.separator.check(self.problem.to(self.device))
        self.identity = self._identity()
        self._now = _Progress([])
        self._told: list[str] = []  # savings that failed
        self._kept = NOTHING_KEPT
        self.goes_on = ""  # from where, in words
        if path is not None and path.exists():
            self._now = self._take_up(path)
            self._kept = f"{path} is as it was"
        self._before = self._now

    @property
    def done(self) -> int:
        """The number of mixtures that are taken apart."""
        return sum(len(found.sources) for found in self._now.done)

    def run(self, take: Callable[[Trace], None] | None = None,
            progress: bool | None = None) -> Found:
        """Take apart what is left.

        Parameters
        ----------
        take : callable, optional
            Is given the trace of the first chunk, when that is finished in this call.
        progress : bool, optional
            Whether to show a bar; by default in a terminal.
        """
        parts = self.problem.mixtures.split(self.size)
        each = 1 + self.separator.total_steps(self.problem)
        done, step, _ = self._now
        behind = len(done) * each + (step.index + 1 if step else 0)
        self._saved = time.monotonic()
        with tqdm(total=len(parts) * each, initial=behind, desc=self.recipe.method, unit="step",
                  disable=None if progress is None else not progress) as bar:
            for index in range(len(done), len(parts)):
                self._run_chunk(index, parts[index], bar, take if index == 0 else None)
        return _joined(self._now.done)

    def _run_chunk(self, index: int, mixtures: Tensor, bar: Any,
                   take: Callable[[Trace], None] | None) -> None:
        part = self.problem._replace(mixtures=mixtures).to(self.device)
        rng = generator(part, chunk_seed(self.recipe.run, index))
        done, step, rng_state = self._now
        run = Run(self.separator, part, rng, step)
        recorder = Recorder.of(self.separator.total_steps(part)) if take else None
        first = index * self.size
        for step in run if rng_state is None else self._going_on(run, rng, rng_state):
            self._now = _Progress(done, step, rng.get_state())
            if recorder is not None:
                recorder.add(step)
            bar.set_postfix_str(f"mixtures {first + 1} to {first + len(mixtures)}: {step.stage}",
                                refresh=False)
            bar.update()
            if time.monotonic() - self._saved > SAVE_EVERY and self._can_go_on():
                self._save()
                self._saved = time.monotonic()
        last = run.last()
        if take is not None and recorder is not None:
            take(Trace.of(self.separator, part, recorder.kept(), self.recipe.run, run.seconds,
                          recipe=str(self.recipe)))
        files.check_finite(last.sources, first)
        self._now = _Progress([*done, found_by(last)])
        if take is not None:
            self._save()  # else the next call finds files of these steps, and is refused

    def meta(self, found: Found) -> dict[str, Any]:
        """What a result's file says of the run."""
        return {**self.identity, "recipe": str(self.recipe), "preset": self.recipe.preset,
                "evaluations": found.evaluations, "seconds": round(found.seconds, 3),
                "versions": files.versions()}

    def __enter__(self) -> Chunks:
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is None:
            if self.path is not None:
                self.path.unlink(missing_ok=True)
            return
        stopped = isinstance(error, KeyboardInterrupt)
        if (self._now is not self._before or stopped) and self._can_go_on():
            self._save()
        kept = self._kept
        if kept != NOTHING_KEPT:
            kept += "; the same command goes on from there"
            if isinstance(error, SepvizError):
                raise SepvizError(f"{error}; {kept}") from None
        if stopped:
            raise KeyboardInterrupt(kept) from None

    def _can_go_on(self) -> bool:
        """Whether there is something to keep: a chunk, or steps of which no trace is wanted."""
        step = self._now.step
        begun = step is not None and step.index > 0 and not self.side_files
        return bool(self._now.done) or begun

    # --- the partial result ---

    def _identity(self) -> dict[str, Any]:
        """What must be the same in a run that goes on."""
        mixtures, mixing, *_ = self.problem
        prior, seen = prior_of(self.separator), mixing.visible
        return {"method": self.recipe.method,
                "prior": None if prior is None else self.recipe.prior,
                "prior_digest": zoo.digest(prior),
                "parameters": parameters_of(self.separator), "seed": self.recipe.run,
                "chunk": self.size, "device": self.device.type, "weights": list(mixing.weights),
                "filter_size": mixing.filter_size,
                "visible_digest": None if seen is None else files.digest(seen),
                "mixtures": len(mixtures), "mixtures_digest": files.digest(mixtures)}

    def _save(self) -> None:
        if self.path is None:
            return
        path, found = self.path, _joined(self._now.done, self.problem)
        meta = {"run": self.identity, "side_files": self.side_files,
                "evaluations": found.evaluations, "seconds": found.seconds}
        partial = files.Partial(found.sources, *self._now[1:], meta, found.results)
        if files.patiently(lambda: files.save_partial(path, partial), self._told):
            step = self._now.step
            work = f" and step {step.index} of the next" if step is not None else ""
            self._kept = f"{path} keeps {self.done} of {len(self.problem.mixtures)} mixtures{work}"

    def _take_up(self, path: Path) -> _Progress:
        """The progress that a partial result holds, if it is of this run."""
        partial = files.load_partial(path)
        told = files.facts(path, partial.meta, {"run": dict, "evaluations": float,
                                                "seconds": float, "side_files": "names"})
        then = told["run"]
        for name, value in self.identity.items():
            if then.get(name) != value:
                raise SepvizError(f"{path} is of a run with {name} {then.get(name)}, this one has "
                                  f"{value}: give that command again, move the file away, or "
                                  "choose another name")
        self._check_fits(path, partial)
        evaluations, seconds, beside = told["evaluations"], told["seconds"], told["side_files"]
        many, step = len(partial.done), partial.step
        if many and self.side_files and beside != self.side_files:
            raise SepvizError(f"{path} has its first {many} mixtures done without "
                              f"{' and '.join(self.side_files)}: leave this out, or move the file "
                              "away")
        self.goes_on = (f"{path}: going on after {many} of {len(self.problem.mixtures)} mixtures"
                        + (f" and step {step.index} of the next" if step else ""))
        if self.side_files and not many:
            return _Progress([])  # a trace needs all steps of the first chunk
        done = []
        for first in range(0, many, self.size):
            part = slice(first, first + self.size)
            results = {name: value[part] for name, value in partial.results.items()}
            done.append(Found(partial.done[part], results, evaluations, 0.0 if first else seconds))
        return _Progress(done, step, partial.rng_state)

    def _check_fits(self, path: Path, partial: files.Partial) -> None:
        """Refuse arrays that are not of this problem's mixtures."""
        mixtures, done = self.problem.mixtures, len(partial.done)
        image = (self.problem.mixing.count, *mixtures.shape[1:])
        left = min(self.size, len(mixtures) - done)
        fits = left == 0 or (left > 0 and done % self.size == 0)
        fits = fits and partial.done.shape[1:] == image
        if partial.step is not None:
            fits = fits and partial.step.sources.shape == (left, *image)
        if not fits:
            raise SepvizError(f"{path} holds sources that are not of these {len(mixtures)} "
                              "mixtures: move it away, or choose another name")

    def _going_on(self, run: Run, rng: Generator, rng_state: Tensor) -> Iterator[Step]:
        """The steps after one of a partial result; refused if the run cannot use that one."""
        try:
            rng.set_state(rng_state)
            first = next(run, None)
        except (RuntimeError, TypeError, ValueError, LookupError) as error:
            raise SepvizError(f"{self.path} holds a step that this run cannot go on from "
                              f"({one_line(error)}): move it away, or choose another name"
                              ) from error
        if first is not None:
            yield first
        yield from run


def _joined(parts: list[Found], problem: Problem | None = None) -> Found:
    """The parts as one; of none, no sources of this problem."""
    if not parts and problem is not None:
        none = torch.zeros((0, problem.mixing.count, *problem.mixtures.shape[1:]))
        return Found(none, {}, 0.0, 0.0)
    results = {name: torch.cat([part.results[name] for part in parts]) for name in parts[0].results}
    return Found(torch.cat([part.sources for part in parts]), results, parts[-1].evaluations,
                 sum(part.seconds for part in parts))
