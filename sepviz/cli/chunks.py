"""Mixtures taken apart chunk by chunk, with all that is done kept in a file."""

from __future__ import annotations

import argparse
import functools
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from sepviz.core import Problem, Separator, Truth


CHUNK = 32  # mixtures taken apart at once
SAVE_EVERY = 60.0  # seconds between two savings of a run in progress


def same_run(path: Path, then: dict[str, Any], now: dict[str, Any]) -> None:
    """Refuse to go on from the partial result of another run."""
    from sepviz.core import SepvizError

    for name in now:
        if then.get(name) != now[name]:
            raise SepvizError(f"{path} is of a run with {name} {then.get(name)}, this one has {now[name]}: "
                              "give that command again, move the file away, or choose another --out")


def check_fits_in(path: Path, partial: Any, problem: Problem, chunk: int) -> None:
    """Refuse a partial result whose arrays are not of this problem's mixtures."""
    from sepviz import files
    from sepviz.core import SepvizError

    done, behind = len(partial.done), len(problem.mixtures) - len(partial.done)
    image = (problem.mixing.count, *problem.mixtures.shape[1:])
    fits = behind >= 0 and (done % chunk == 0 or behind == 0)
    fits = fits and tuple(partial.done.shape[1:]) == image
    if partial.step is not None:
        fits = fits and tuple(partial.step.sources.shape) == (min(chunk, behind), *image)
    if not fits:
        raise SepvizError(f"{path} holds sources that are not of these {len(problem.mixtures)} "
                          "mixtures: "
                          "move it away, or choose another --out")
    for name in ("evaluations", "seconds"):
        files.field(path, partial.meta, name, float)


def still_free(path: Path, *beside: str) -> Path:
    """The name of a result, or one like it where another program took that name during the run."""
    from sepviz import files

    free = files.free_name(path, *beside)
    if free != path:
        print(f"sepviz: note: {path} was made by another program meanwhile: the result is {free}",
              file=sys.stderr)
    return free


def run_chunks(separator: Separator, problem: Problem, truth: Truth | None, run: dict[str, Any], partial: Any, partial_path: Path,
                side_files: list[str], arguments: argparse.Namespace, device: torch.device,
                write: Callable[[dict[str, Tensor], float, float], str]) -> str:
    """Take the mixtures apart, ``--chunk`` at a time; whatever stops it, what is done is kept in a partial file.

    ``write`` is given the sources and the results beside them, the evaluations per source and
    the seconds, earlier calls' included; what it says is returned.
    """
    import torch
    from tqdm.auto import tqdm

    from sepviz.core import SepvizError, Step
    from sepviz.files import Partial, check_finite, patiently, save_partial
    from sepviz.runs import Run, chunk_seed, generator

    mixtures, chunk = problem.mixtures, arguments.chunk
    traced = bool(side_files)
    # the chunks that are done, then the last step of the one in work and its generator's state; always
    # changed together, so that an interrupt anywhere finds three that fit
    state: tuple[list[dict[str, Tensor]], Step | None, Tensor | None] = [], None, None
    evaluations, earlier = 0.0, 0.0
    told: list[str] = []  # of savings that failed
    held = "nothing was kept"
    if partial is not None:
        finished = {"sources": partial.done, **partial.results}
        done = [{name: value[first:first + chunk] for name, value in finished.items()} for first in range(0, len(partial.done), chunk)]
        evaluations, earlier = partial.meta["evaluations"], partial.meta["seconds"]
        # a trace needs all steps of the first chunk
        state = ([], None, None) if traced and not done else (done, partial.step, partial.rng_state)
        held = f"{partial_path} is as it was"
    before = state
    begun = saved = time.monotonic()

    def joined(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        if not parts:
            return {"sources": torch.zeros((0, problem.mixing.count, *mixtures.shape[1:]))}
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def keep() -> None:
        nonlocal held
        done, step, rng_state = state
        meta = {"run": run, "side_files": side_files, "evaluations": evaluations, "seconds": earlier + time.monotonic() - begun}
        finished = joined(done)
        sources = finished.pop("sources")
        newest = Partial(sources, step, rng_state, meta, finished)
        if patiently(lambda: save_partial(partial_path, newest), told):
            work = f" and step {step.index} of the next" if step is not None else ""
            held = f"{partial_path} keeps {len(sources)} of {len(mixtures)} mixtures{work}"

    parts = mixtures.split(chunk)
    each = 1 + separator.total_steps(problem)
    total, behind = len(parts) * each, len(state[0]) * each + (state[1].index + 1 if state[1] else 0)
    try:
        with tqdm(total=total, initial=behind, desc=arguments.method, unit="step", disable=None) as bar:
            for index in range(len(state[0]), len(parts)):
                part = problem._replace(mixtures=parts[index]).to(device)
                done, step, rng_state = state
                rng = generator(part, chunk_seed(arguments.seed, index))
                stream: Iterator[Step] = Run(separator, part, rng, step)
                if step is not None and rng_state is not None:
                    stream = _going_on(stream, rng, rng_state, partial_path)
                if traced and index == 0:
                    stream = _traced(stream, separator, part, truth, arguments)
                for step in stream:
                    state = done, step, rng.get_state()
                    bar.set_postfix_str(f"mixtures {index * chunk + 1} to {index * chunk + len(parts[index])}: {step.stage}", refresh=False)
                    bar.update()
                    if time.monotonic() - saved > SAVE_EVERY and not (traced and not done):
                        keep()
                        saved = time.monotonic()
                if step is None:
                    raise SepvizError(f"{arguments.method} gave no step: its parameters ask for none")
                check_finite(step.sources, index * chunk)
                evaluations = float(step.info.get("evaluations", 0.0))
                found = {"sources": step.sources, **step.results}
                state = [*done, {name: value.detach().cpu().float() for name, value in found.items()}], None, None
                if traced and index == 0:
                    keep()  # without it, the same command would find these steps, and be refused
        line = write(joined(state[0]), evaluations, earlier + time.monotonic() - begun)
    except BaseException as error:
        done, step, _ = state
        fresh = state is not before or isinstance(error, KeyboardInterrupt)  # else the partial file stays
        if fresh and (done or (not traced and step is not None and step.index > 0)):
            keep()
        goes_on = "" if held == "nothing was kept" else "; the same command goes on from there"
        if isinstance(error, KeyboardInterrupt):
            raise KeyboardInterrupt(held + goes_on) from None
        if isinstance(error, SepvizError) and goes_on:
            raise SepvizError(f"{error}; {held}{goes_on}") from None
        raise
    partial_path.unlink(missing_ok=True)
    return line


def _going_on(stream: Iterator[Any], rng: torch.Generator, rng_state: Tensor,
              path: Path) -> Iterator[Any]:
    """The steps after one of a partial result, refused if the run cannot use that one."""
    from sepviz.core import SepvizError, one_line

    try:
        rng.set_state(rng_state)
        first = next(stream, None)
    except (RuntimeError, TypeError, ValueError, LookupError) as error:
        raise SepvizError(f"{path} holds a step that this run cannot go on from "
                          f"({one_line(error)}): move it away, "
                          "or choose another --out") from error
    if first is not None:
        yield first
    yield from stream


def _traced(stream: Iterator[Any], separator: Separator, problem: Problem, truth: Truth | None,
            arguments: argparse.Namespace) -> Iterator[Any]:
    """Pass the steps on, and at the end write their trace and its page."""
    from sepviz.core import SepvizError, Truth, parameters_of
    from sepviz.runs.trace import MAX_FRAMES, Recorder, Trace
    from sepviz.views.page import save_page

    steps = separator.total_steps(problem)
    recorder = Recorder(max(1, -(-steps // MAX_FRAMES)), max_frames=MAX_FRAMES + 1)
    for step in stream:
        recorder.add(step)
        yield step
    steps_kept = recorder.kept()
    trace = Trace(problem, steps_kept, type(separator).__name__, parameters_of(separator), arguments.seed,
                  steps_kept[-1].info["seconds"])
    shown = None if truth is None else Truth(truth.sources[:len(problem.mixtures)])
    page = functools.partial(save_page, trace, truth=shown)
    for path, save in ((arguments.trace, trace.save), (arguments.html, page)):
        try:
            if path is not None:
                save(path if arguments.force else still_free(path), overwrite=arguments.force)
        except SepvizError as error:  # said at the end: the result must not be lost with it
            arguments.unwritten.append(str(error))
