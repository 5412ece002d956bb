"""The command line: ``sepviz lab | exercises | demo | mix | separate | score | train | export | bench | data``.

Everything that takes time to load is loaded by the command that needs it, so that ``sepviz --help`` is quick.
Every error of the user's is one line on stderr and exit code 2; Ctrl-C is exit code 130 and a line that
says what was kept, and so are SIGTERM (143) and SIGHUP (129), which hubs and clusters send.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import functools
import hashlib
import json
import math
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import quote

from sepviz import signals

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from sepviz.core import Problem, Separator, Truth
    from sepviz.data import Dataset
    from sepviz.trace import Trace

CHUNK = 32  # mixtures taken apart at once
SAVE_EVERY = 60.0  # seconds between two savings of a run in progress
SEED_STRIDE = 1_000_003  # chunk i runs from seed + i * SEED_STRIDE; the first from the seed itself, as `sepviz.record` does
MANIFEST = ".sepviz-labs.json"


class UsageError(Exception):
    """A command line that cannot be read."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, with the nearest name for a wrong one."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **{"allow_abbrev": False, **kwargs})

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        from sepviz.suggest import unknown

        if action.choices is not None and value not in action.choices:
            raise UsageError(unknown(action.metavar if isinstance(action.metavar, str) else action.dest, value, action.choices))


# --- arguments ----------------------------------------------------------------------------------


def _whole(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: must be at least 1")
    return number


def _seed(text: str) -> int:
    number = int(text)
    if not 0 <= number < 2**31:
        raise argparse.ArgumentTypeError(f"{text}: must be a whole number from 0 to {2**31 - 1}")
    return number


def _duration(text: str) -> float:
    number = float(text)
    if not (0 < number < math.inf):
        raise argparse.ArgumentTypeError(f"{text}: must be above 0")
    return number


# argparse names a type in its messages by these
_whole.__name__, _seed.__name__, _duration.__name__ = "whole number", "whole number", "number"


def _weights(words: Sequence[str] | None) -> list[float] | str | None:
    """What --weights says: sum, mean, numbers or nothing."""
    from sepviz.core import SepvizError

    if words is None:
        return None
    if len(words) == 1 and words[0] in ("sum", "mean"):
        return words[0]
    try:
        return [float(word) for word in words]
    except ValueError:
        raise SepvizError(f"weights {' '.join(words)}: want sum, mean or one number for each source") from None


def _device(name: str | None) -> torch.device:
    import sepviz
    from sepviz.core import SepvizError

    if name not in (None, "auto", "cpu", "cuda"):
        raise SepvizError(f"no device {name!r}: choose auto, cpu or cuda")
    return sepviz.default_device(name)


# --- lab ----------------------------------------------------------------------------------------


def _labs_home() -> Path:
    """The folder of the labs: a checkout's own (an editable install has one too), else the packaged ones."""
    package = Path(__file__).parent
    if (package.parent / "pyproject.toml").is_file() and (package.parent / "notebooks").is_dir():
        return package.parent / "notebooks"
    return package / "notebooks"


def copy_labs(home: Path, folder: Path) -> list[str]:
    """Copy the labs to a folder of the user's, never over the user's edits.

    A manifest in the folder remembers what was copied last. A file that is still as it was copied is
    renewed; one that was changed is kept, and a new version is written beside it as ``NAME.new.ipynb``.

    Returns
    -------
    list of str
        What there is to tell, a line for each file that was written.
    """
    from sepviz import files

    folder.mkdir(parents=True, exist_ok=True)
    manifest = folder / MANIFEST
    try:
        delivered = json.loads(manifest.read_text()) if manifest.is_file() else {}
    except (ValueError, OSError):
        delivered = {}  # then every file that differs counts as the user's
    delivered = delivered if isinstance(delivered, dict) else {}
    told = []
    for source in sorted([*home.glob("*.ipynb"), *home.glob("*.py")]):
        if source.name == "__init__.py":
            continue
        data = source.read_bytes()
        ours = hashlib.sha256(data).hexdigest()
        target = folder / source.name
        theirs = hashlib.sha256(target.read_bytes()).hexdigest() if target.is_file() else None
        if theirs is None or (theirs != ours and theirs == delivered.get(source.name)):
            files.write(target, lambda file, data=data: file.write(data), overwrite=True)  # type: ignore[misc]
            told.append(f"{target.name}: {'copied' if theirs is None else 'renewed'}")
        elif theirs != ours and delivered.get(source.name) != ours:
            beside = _new_name(target, data)
            if beside is not None:
                files.write(beside, lambda file, data=data: file.write(data))  # type: ignore[misc]
                told.append(f"{target.name}: yours is kept, the new version is {beside.name}")
        delivered[source.name] = ours
    text = json.dumps(delivered, indent=1)
    files.write(manifest, lambda file: file.write(text.encode()), overwrite=True)
    return told


def _new_name(target: Path, data: bytes) -> Path | None:
    """The first free ``NAME.new.ipynb``, ``NAME.new2.ipynb``, ...; None if one of them holds this version already."""
    for number in range(1, 1000):
        beside = target.with_name(f"{target.stem}.new{number if number > 1 else ''}{target.suffix}")
        if not beside.exists():
            return beside
        if beside.read_bytes() == data:
            return None
    return None


def _lab(arguments: argparse.Namespace) -> int:
    from sepviz.core import SepvizError
    from sepviz.suggest import choose

    passed_on: list[str] = arguments.passed_on

    home = _labs_home()
    names = sorted(path.stem for path in home.glob("*.ipynb"))
    if not names:
        raise SepvizError(f"no labs at {home}: install sepviz again")
    if arguments.name is not None:
        choose("lab", arguments.name.removesuffix(".ipynb"), names)
    lab = (arguments.name or "start_here").removesuffix(".ipynb") + ".ipynb"
    on_a_hub = "JUPYTERHUB_SERVICE_PREFIX" in os.environ and not arguments.no_open
    page = _page_of_the_hub(arguments.folder / lab) if on_a_hub else None
    opens = not arguments.no_open and page is None
    if passed_on and not opens:
        raise SepvizError(f"-- {shlex.join(passed_on)}: no JupyterLab is started here, leave it out")
    if opens and getattr(os, "geteuid", int)() == 0 and "--allow-root" not in passed_on and os.name == "posix":
        again = shlex.join(["sepviz", "lab", *([arguments.name] if arguments.name else []), "--",
                            "--allow-root", *passed_on])
        raise SepvizError(f"JupyterLab does not start as root, the user of many containers: {again} allows it")
    for line in copy_labs(home, arguments.folder):
        print(line)
    print(f"labs in {arguments.folder}: {', '.join(names)}")
    if page is not None:
        print(f"JupyterLab is running: open {arguments.folder / lab} in it, or in the browser this page of the hub: {page}")
        return 0
    if arguments.no_open:
        return 0
    command = [sys.executable, "-m", "jupyterlab", *([] if arguments.name is None else [lab]), *passed_on]
    process = subprocess.Popen(command, cwd=arguments.folder)
    while True:
        try:
            return process.wait()
        except signals.Ended as stop:  # was sent to this process alone: JupyterLab must hear of it
            process.send_signal(stop.number)
        except KeyboardInterrupt:  # JupyterLab has it too, asks, and ends by itself
            continue


def _exercises(arguments: argparse.Namespace) -> int:
    from sepviz import exercises
    from sepviz.core import SepvizError
    from sepviz.suggest import choose

    home = _labs_home()
    known = sorted(path.stem for path in home.glob("*.py") if path.name != "__init__.py")
    if not known:
        raise SepvizError(f"no labs at {home}: install sepviz again")
    wanted = [choose("lab", name.removesuffix(".ipynb"), known) for name in arguments.names] or known
    if arguments.out.is_dir() and arguments.out.samefile(home):
        raise SepvizError(f"--out {arguments.out}: the labs themselves lie there, "
                          "give another folder")
    for path in exercises.write(home, list(dict.fromkeys(wanted)), arguments.out, arguments.force):
        print(path)
    return 0


def _page_of_the_hub(path: Path) -> str:
    """Where the running server of a JupyterHub shows a lab: a second server would be out of the browser's reach."""
    from sepviz.core import SepvizError

    root = Path(os.environ.get("JUPYTER_SERVER_ROOT") or Path.home()).resolve()
    place = path.resolve()
    if not place.is_relative_to(root):
        raise SepvizError(f"--folder {path.parent}: the JupyterLab of this JupyterHub shows {root} alone, give a folder in there")
    return os.environ["JUPYTERHUB_SERVICE_PREFIX"].rstrip("/") + "/lab/tree/" + quote(place.relative_to(root).as_posix())


# --- demo ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def _fresh_folder(wanted: Path) -> Iterator[Path]:
    """``wanted``, or ``wanted-2``, ``wanted-3``, ... if it is there; gone again after an error."""
    number, folder = 1, wanted
    while folder.exists():
        number += 1
        folder = wanted.with_name(f"{wanted.name}-{number}")
    folder.mkdir(parents=True)
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _demo(arguments: argparse.Namespace) -> int:
    with _fresh_folder(arguments.out) as folder:
        return _demonstrate(arguments, folder)


def _demonstrate(arguments: argparse.Namespace, folder: Path) -> int:
    import sepviz
    from sepviz import figures, metrics, tasks
    from sepviz.core import Truth
    from sepviz.separators import Average, Basis, SplitGibbs

    device = _device(arguments.device)
    problem, truth = tasks.separate(arguments.dataset, count=arguments.count, seed=arguments.seed, device=device)
    prior = sepviz.load_prior(arguments.prior or f"score-{arguments.dataset}", device)
    basis = Basis(prior, **Basis.presets["program"])
    methods: dict[str, Separator] = {"average": Average(), "basis": basis, "split-gibbs": SplitGibbs(prior)}
    traces: dict[str, Trace] = {}
    for name, separator in methods.items():
        traces[name] = trace = sepviz.record(separator, problem, seed=arguments.seed, progress=sys.stderr.isatty())
        if trace.interrupted:
            raise KeyboardInterrupt("nothing was written; the same command starts again")
    # after all the bars, which would stand between its rows
    print(f"{arguments.count} mixtures of two images of {arguments.dataset}, seed {arguments.seed}, on {device.type}; PSNR per_source\n")
    print(f"{'method':<12} {'PSNR dB':>8} {'SSIM':>6} {'evaluations':>12} {'seconds':>8}")
    for name, trace in traces.items():
        found = metrics.summarize(trace.sources, truth.sources, order=trace.order,
                                  weights=problem.mixing.weights)
        evaluations = trace.final.info.get("evaluations", 0)
        print(f"{name:<12} {found.mean:8.1f} {found.ssim:6.3f} {evaluations:12.0f} {trace.seconds:8.1f}", flush=True)
    picture = figures.compare(problem, traces, truth, count=6, title=f"Mixtures of {arguments.dataset}")
    figures.save(picture, folder / "methods.png")
    traces["split-gibbs"].to_html(folder / "player.html", Truth(truth.sources.cpu()))
    print(f"\nA picture and a player for the browser: {folder / 'methods.png'}, {folder / 'player.html'}")
    return 0


# --- mix ----------------------------------------------------------------------------------------


def _mix(arguments: argparse.Namespace) -> int:
    from sepviz import files, tasks
    from sepviz.core import SepvizError
    from sepviz.suggest import choose

    files.check_target(arguments.out, arguments.force)
    if arguments.out.suffix != ".npz":
        raise SepvizError(f"--out {arguments.out}: a problem file's name ends in .npz")
    task = tasks.TASKS[choose("task", arguments.task, tasks.TASKS)]
    options: dict[str, Any] = {"count": arguments.count, "seed": arguments.seed, "split": arguments.split}
    separates, filters = "separate" in arguments.task, "deconvolve" in arguments.task
    if separates:
        choose("protocol", arguments.protocol or "agnostic", tasks.PROTOCOLS)
        weights = _weights(arguments.weights)
        options |= {"sources": arguments.sources or (len(weights) if isinstance(weights, list) else 2),
                    "protocol": arguments.protocol or "agnostic", "weights": "sum" if weights is None else weights}
    elif arguments.protocol or arguments.weights or (arguments.sources or 1) > 1:
        raise SepvizError(f"task {arguments.task} is of one image each: leave --sources, --protocol and --weights out")
    if filters:
        options["kernels"] = arguments.kernels or "paper"
    elif arguments.kernels:
        raise SepvizError(f"--kernels {arguments.kernels}: task {arguments.task} filters nothing, leave it out")
    problem, truth = task(arguments.dataset, **options)
    meta = {"command": arguments.command_line, "task": arguments.task, "dataset": arguments.dataset, "split": arguments.split,
            "protocol": arguments.protocol or "agnostic", "seed": arguments.seed}
    files.save_problem(arguments.out, problem, truth, meta, overwrite=arguments.force)
    said = f"{problem.mixing.count} images" if separates else "one image"
    print(f"{arguments.out}: {arguments.count} mixtures of {said} of {arguments.dataset} ({arguments.task}), "
          f"weights {problem.mixing.weights}")
    return 0


# --- separate -----------------------------------------------------------------------------------


def _same_run(path: Path, then: dict[str, Any], now: dict[str, Any]) -> None:
    """Refuse to go on from the partial result of another run."""
    from sepviz.core import SepvizError

    for name in now:
        if then.get(name) != now[name]:
            raise SepvizError(f"{path} is of a run with {name} {then.get(name)}, this one has {now[name]}: "
                              "give that command again, move the file away, or choose another --out")


def _check_fits_in(path: Path, partial: Any, problem: Problem, chunk: int) -> None:
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


def _restore(arguments: argparse.Namespace) -> tuple[Problem, Truth]:
    """What ``--state`` says: its mixtures are given back, the rest is put where the options of the command line are."""
    from sepviz.core import SepvizError
    from sepviz.state import restore

    others = ("input", "method", "seed", "preset", "prior", "set", "starts", "weights", "sources", "filter_size", "visible")
    beside = [name for name in others if getattr(arguments, name)]
    if beside:
        raise SepvizError(f"--state says which mixtures and which method: leave {' and '.join(beside)} out")
    state = restore(arguments.state)
    if not state.method:
        raise SepvizError(f"--state {state}: names no method; add ,method=split-gibbs,prior=score-strokes for example")
    arguments.method, arguments.prior, arguments.seed = state.method, state.prior, state.run
    arguments.set = [f"{name}={text}" for name, text in state.parameters.items()]
    return state.problem()


def _read_by(arguments: argparse.Namespace) -> list[Path]:
    """The files that `separate` reads: inputs, weights with their card, a mask."""
    from sepviz import zoo

    read = [*arguments.input, *([] if arguments.visible is None else [Path(arguments.visible)])]
    if arguments.prior is not None:
        weights = zoo.path_of(arguments.prior)
        read += [weights, weights.with_suffix(".json")]
    return read


def _hint_at_the_mean(path: Path, problem: Problem) -> None:
    """Say it where the sources seem to be averaged, and nobody stated it but the caller."""
    from sepviz import files

    count = problem.mixing.count
    summed = count > 1 and problem.mixing.weights == (1.0,) * count and path.suffix.lower() != ".png"
    if summed and float(problem.mixtures.max()) <= 1 and not files.holds(path, "weights"):
        print("sepviz: note: no pixel exceeds 1: if this is the mean of the sources, "
              "say --weights mean", file=sys.stderr)


def _separate(arguments: argparse.Namespace) -> int:
    from sepviz import files
    from sepviz.core import SepvizError

    targets = [path for path in (arguments.out, arguments.trace, arguments.html) if path is not None]
    partial_path = arguments.out.with_suffix(".partial.npz")
    if arguments.out.suffix != ".npz":
        raise SepvizError(f"--out {arguments.out}: a result's name ends in .npz")
    files.check_apart([*targets, partial_path], _read_by(arguments))
    files.check_target(arguments.out, arguments.force)
    arguments.unwritten = []  # side files, and why not
    with files.lock(arguments.out):
        return _separate_to(arguments, targets, partial_path)


def _separate_to(arguments: argparse.Namespace, targets: list[Path], partial_path: Path) -> int:
    from sepviz import files, tasks, zoo
    from sepviz.core import SepvizError, parameters_of, prior_of
    from sepviz.state import separator_of

    partial = files.load_partial(partial_path) if partial_path.exists() else None
    side_files = [str(path.resolve()) for path in (arguments.trace, arguments.html) if path is not None]
    then = {} if partial is None else files.field(partial_path, partial.meta, "run", dict)
    side_files_then: list[str] = []
    if partial is not None:
        side_files_then = files.names(partial_path, partial.meta, "side_files")
    begun_here = partial is not None and len(partial.done) > 0 and side_files_then == side_files
    if not begun_here:  # else this run has written them, after its first chunk
        for path in targets[1:]:
            files.check_target(path, arguments.force)
    device = _device(arguments.device)
    if not arguments.input and arguments.state is None:
        raise SepvizError("INPUT: give a problem file, images, or --state with the line of text that a lab shows")
    problem: Problem
    truth: Truth | None
    if arguments.state is not None:
        problem, truth = _restore(arguments)
        files.check_apart(targets, _read_by(arguments))
    else:
        arguments.method = arguments.method or "split-gibbs"
        arguments.seed = 0 if arguments.seed is None else arguments.seed
        problem, truth = files.load_problem(arguments.input, weights=_weights(arguments.weights), count=arguments.sources,
                                            filter_size=arguments.filter_size)
    if arguments.visible is not None:
        problem = tasks.hide(problem, files.read_mask(arguments.visible, *problem.mixtures.shape[-2:]))
    if arguments.html is not None:  # an error after the run would come too late
        from sepviz.export import LARGEST
        from sepviz.widgets.packing import check_page

        check_page(problem, LARGEST)
    settings = [*arguments.set, *([] if arguments.starts is None else [f"starts={arguments.starts}"])]
    separator = separator_of(arguments.method, arguments.preset, settings, arguments.prior, device)
    prior = prior_of(separator)
    if separator.sees is not None:  # one training, for all mixtures
        arguments.chunk = max(arguments.chunk, len(problem.mixtures))
    separator.check(problem.to(device))
    if arguments.state is None:
        _hint_at_the_mean(arguments.input[0], problem)
    run = {"method": arguments.method, "prior": None if prior is None else arguments.prior, "prior_digest": zoo.digest(prior),
           "parameters": parameters_of(separator), "seed": arguments.seed, "chunk": arguments.chunk, "device": device.type,
           "weights": list(problem.mixing.weights), "filter_size": problem.mixing.filter_size,
           "visible_digest": None if problem.mixing.visible is None else files.digest(problem.mixing.visible),
           "mixtures": len(problem.mixtures), "mixtures_digest": files.digest(problem.mixtures)}
    if partial is not None:
        _same_run(partial_path, then, run)
        _check_fits_in(partial_path, partial, problem, arguments.chunk)
        if side_files_then != side_files and len(partial.done) > 0 and side_files:
            raise SepvizError(f"{partial_path} has its first {len(partial.done)} mixtures done without these --trace and --html: "
                              "leave them out, or move the file away")
        print(f"{partial_path}: going on after {len(partial.done)} of {len(problem.mixtures)} mixtures"
              + (f" and step {partial.step.index} of the next" if partial.step else ""))

    def write(results: dict[str, Tensor], evaluations: float, seconds: float) -> str:
        sources = results.pop("sources")
        meta = {**run, "preset": arguments.preset, "evaluations": evaluations,
                "seconds": round(seconds, 3), "versions": files.versions(),
                "command": arguments.command_line}
        out = arguments.out if arguments.force else _still_free(arguments.out)
        files.save_separation(out, sources, meta, results, overwrite=arguments.force)
        return (f"{out}: {len(sources)} mixtures of {problem.mixing.count} sources "
                f"by {arguments.method}, {seconds:.1f} s")

    print(_run_chunks(separator, problem, truth, run, partial, partial_path, side_files, arguments,
                      device, write))
    if side_files and not arguments.unwritten:
        names = " and ".join(map(str, targets[1:]))
        first = min(arguments.chunk, len(problem.mixtures))
        print(f"{names}: the steps of the first {first} mixtures")
    if arguments.unwritten:
        raise SepvizError(f"{arguments.out} is written, but not its steps: "
                          f"{'; '.join(arguments.unwritten)}")
    return 0


def _still_free(path: Path, *beside: str) -> Path:
    """The name of a result, or one like it where another program took that name during the run."""
    from sepviz import files

    free = files.free_name(path, *beside)
    if free != path:
        print(f"sepviz: note: {path} was made by another program meanwhile: the result is {free}",
              file=sys.stderr)
    return free


def _run_chunks(separator: Separator, problem: Problem, truth: Truth | None, run: dict[str, Any], partial: Any, partial_path: Path,
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
                rng = torch.Generator(device).manual_seed(arguments.seed + index * SEED_STRIDE)
                done, step, rng_state = state
                stream = separator.steps(part, rng, None if step is None else step.mapped(lambda one: one.to(device)))
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
    from sepviz.trace import MAX_FRAMES, Recorder, Trace, timed

    steps = separator.total_steps(problem)
    recorder = Recorder(max(1, -(-steps // MAX_FRAMES)), max_frames=MAX_FRAMES + 1)
    begun = time.perf_counter()
    for step in stream:
        recorder.add(timed(step, time.perf_counter() - begun))
        yield step
    trace = Trace(problem, recorder.steps(), type(separator).__name__, parameters_of(separator), arguments.seed,
                  time.perf_counter() - begun)
    shown = None if truth is None else Truth(truth.sources[:len(problem.mixtures)])
    to_html = functools.partial(trace.to_html, truth=shown)
    for path, save in ((arguments.trace, trace.save), (arguments.html, to_html)):
        try:
            if path is not None:
                save(path if arguments.force else _still_free(path), overwrite=arguments.force)
        except SepvizError as error:  # said at the end: the result must not be lost with it
            arguments.unwritten.append(str(error))


# --- score --------------------------------------------------------------------------------------


DISTURBED = ("denoise", "inpaint")  # tasks that add to the mixture what is no source


def _check_truth(path: Path, problem: Problem, truth: Truth, task: Any) -> None:
    """Refuse true sources that are none: of another scale, or of other mixtures."""
    from sepviz.core import SepvizError

    least, most = float(truth.sources.min()), float(truth.sources.max())
    if least < -0.1 or most > 1.1:
        mend = "divide them by 255" if most > 16 else "if they are of -1 to 1, take (x + 1) / 2"
        raise SepvizError(f"{path}: true sources from {least:.4g} to {most:.4g}, "
                          f"want [0, 1]: {mend}")
    if problem.mixing.filter_size is not None and truth.filters is None:
        return  # nobody can say what they add up to
    if task in DISTURBED:
        missed = float(problem.left_over(truth.sources, truth.filters).abs().max())
        if missed > 1.01:
            raise SepvizError(f"{path}: the true sources miss their mixtures by up to {missed:.3g}, "
                              f"more than {task} adds: give the file as sepviz mix wrote it")
        return
    rest = problem.residuals(truth.sources, truth.filters) / math.sqrt(problem.mixing.energy)
    worst = int(rest.argmax())
    said = (f"{path}: the true sources of mixture {worst} with weights {problem.mixing.weights} "
            f"miss it by RMS {float(rest[worst]):.3f}")
    if rest[worst] > 0.1:
        raise SepvizError(f"{said}: put them in the mixture's order and scale, or, where noise was "
                          "added on purpose, save the problem with meta={'task': 'denoise'}")
    if rest[worst] > 0.01:
        print(f"sepviz: note: {said}: right only if noise was added", file=sys.stderr)


def _check_result(path: Path, sources: Tensor, filters: Tensor | None, problem: Problem) -> None:
    """Refuse a result of another scale than [0, 1]: clamped to it, it would be scored in silence.

    A method may overshoot, even far (`nmf` where nothing is seen), but what it gives then fits the
    mixture.
    """
    from sepviz.core import SepvizError

    least, most = float(sources.min()), float(sources.max())
    if least >= -0.1 and most <= 1.1:
        return
    missed, nothing = (problem.residual(images, filters) for images in (sources, 0 * sources))
    fits = {"divide them by 255": problem.residual(sources / 255, filters),
            "take (x + 1) / 2": problem.residual((sources + 1) / 2, filters)}
    mend = min(fits, key=lambda name: fits[name])
    if fits[mend] >= min(missed / 2, 0.9 * nothing):
        if missed <= 0.9 * nothing:
            return
        mend = "bring them to [0, 1]"
    raise SepvizError(f"{path}: estimates from {least:.4g} to {most:.4g}, which do not add up to the "
                      f"mixtures: {mend}")


def _score(arguments: argparse.Namespace) -> int:
    from sepviz import files, metrics
    from sepviz.core import ORDERS, Separator, SepvizError
    from sepviz.separators import METHODS
    from sepviz.suggest import choose

    choose("convention", arguments.convention, ("per_source", "summed_mse"))
    separation = files.load_separation(arguments.result)
    problem, truth = files.load_problem(arguments.problem)
    if truth is None:
        raise SepvizError(f"{arguments.problem} holds no true sources: without them there is nothing to score against")
    sources = separation.sources
    if sources.shape != truth.sources.shape:
        raise SepvizError(f"{arguments.result} holds sources of shape {tuple(sources.shape)}, {arguments.problem} of shape "
                          f"{tuple(truth.sources.shape)}: they are not of the same mixtures")
    if separation.meta.get("mixtures_digest", files.digest(problem.mixtures)) != files.digest(problem.mixtures):
        print(f"sepviz: note: {arguments.result} was separated from other mixtures than those of {arguments.problem}", file=sys.stderr)
    _check_truth(arguments.problem, problem, truth, files.load_meta(arguments.problem).get("task"))
    filters = separation.results.get("filters")
    _check_result(arguments.result, sources, filters, problem)
    rules: dict[str, Any] = {"weights": problem.mixing.weights,
                             "order": METHODS.get(str(separation.meta.get("method")), Separator).order}
    found = metrics.summarize(sources, truth.sources, arguments.convention, **rules)
    left_over = problem.residual(sources, filters)
    if arguments.json:
        rows = {**found._asdict(), "residual_rms": left_over, "method": separation.meta.get("method"),
                "evaluations": separation.meta.get("evaluations"), "seconds": separation.meta.get("seconds")}
        print(json.dumps({name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in rows.items()}))
        return 0
    interval = "" if math.isnan(found.interval) else f" +- {found.interval:.2f} (95%)"
    print(f"n             {found.n} mixtures of {sources.shape[1]} sources")
    print(f"order         {ORDERS[found.order]}; only sources of equal weight change places")
    print(f"PSNR mean     {found.mean:.2f}{interval} dB, {found.convention}")
    print(f"PSNR median   {found.median:.2f} dB, {found.convention}")
    print(f"PSNR pooled   {found.pooled:.2f} dB, one MSE over all")
    print(f"SSIM          {found.ssim:.4f}")
    print(f"residual RMS  {left_over:.4f}")
    if filters is not None and truth.filters is not None:
        aligned, same = metrics.aligned_figures(sources, truth.sources, filters, truth.filters,
                                                arguments.convention, **rules)
        print(f"PSNR aligned  {aligned:.2f} dB, after the best of 25 shifts and a gain, which no blind method can know")
        if same is not None:
            print(f"filters       correlation with the true ones {same:.3f} (median, aligned)")
    return 0


# --- train --------------------------------------------------------------------------------------


def _train(arguments: argparse.Namespace) -> int:
    from sepviz import files
    from sepviz.core import SepvizError
    from sepviz.suggest import choose

    choose("model", arguments.model, (*TRAINERS, *MASKS))
    for option, models in (("minutes", ("score",)), ("compile", ("score",)), ("start", ("score",)), ("preset", ("gan", *MASKS)),
                           ("iterations", TRAINERS), ("dataset", TRAINERS), ("unseen", MASKS), ("observed", MASKS), ("training", MASKS),
                           ("set", MASKS), ("trace", MASKS), ("size", MASKS), ("invert", MASKS)):
        if getattr(arguments, option) and arguments.model not in models:
            instead = {"minutes": ", and give --iterations", "dataset": ", and give --unseen and --observed",
                       "iterations": ", and give --set"}.get(option, "")
            instead = instead if arguments.model in MASKS or option == "minutes" else ""
            raise SepvizError(f"--{option} is not for {arguments.model}: leave it out{instead}")
    if arguments.minutes and arguments.iterations:
        raise SepvizError(f"--minutes {arguments.minutes:g} and --iterations "
                          f"{arguments.iterations}: give one of them")
    name = f"{arguments.model}-{Path(arguments.dataset or 'strokes').name}" if arguments.model in TRAINERS else arguments.model
    out: Path = arguments.out or Path(f"{name}.safetensors")
    out = out.with_name(out.name + ".safetensors") if not out.suffix else out
    if out.suffix != ".safetensors":
        raise SepvizError(f"--out {out}: the name of weights ends in .safetensors")
    checkpoint = out.with_suffix(".ckpt")
    side_files = [arguments.trace, _problem_beside(arguments.trace)] if arguments.trace else []
    files.check_apart([out, out.with_suffix(".json"), checkpoint, *side_files])
    for target in (out, out.with_suffix(".json"), *side_files):
        files.check_target(target)
    with files.lock(out):
        return _train_to(arguments, out, checkpoint)


def _problem_beside(trace: Path) -> Path:
    return trace.with_name(trace.name.removesuffix(".npz") + ".problem.npz")


def _train_to(arguments: argparse.Namespace, out: Path, checkpoint: Path) -> int:
    from sepviz import files, zoo
    from sepviz.core import SepvizError
    from sepviz.priors.checkpoint import kept, read

    if checkpoint.exists():
        read(checkpoint)  # now, not after the images are drawn
    try:
        learn = _learn_mask if arguments.model in MASKS else _learn_prior
        prior, card, figures, *beside = learn(arguments, out.stem, checkpoint)
        with files.together() as made:
            for path, save in beside:
                made.append(save(_still_free(path)))
            out = _still_free(out, ".json")
            try:
                zoo.save(prior, out, {"command": arguments.command_line, **card,
                                      "versions": files.versions()})
            except SepvizError as error:
                raise SepvizError(f"{error}; {kept(checkpoint)}") from None
    except KeyboardInterrupt:
        raise KeyboardInterrupt(kept(checkpoint)) from None
    checkpoint.unlink(missing_ok=True)
    print(f"{out}: {card['iterations']} iterations in {card['minutes']} minutes on {card['device']}\n")
    for line in figures:
        print(line)
    return 0


def _learn_prior(arguments: argparse.Namespace, name: str, checkpoint: Path) -> tuple[Any, dict, list[str]]:
    """What learns from clean images of one set: the prior, its card, what to tell of it."""
    from sepviz import data

    dataset = "strokes" if arguments.dataset is None else arguments.dataset
    whole = data.load(dataset, "train")
    device, count = _device(arguments.device), len(whole.images)
    learned, held_out = data.hold_out(whole, 2000 if count >= 20_000 else max(1, count // 10))
    learned = data.Dataset(learned.name, learned.images.to(device), learned.labels.to(device))
    held = held_out.images.to(device)
    prior, card, figures = TRAINERS[arguments.model](learned, held, checkpoint, name, arguments)
    rule = f"{len(held)} images of the train split, drawn at random, the same share of every class"
    if arguments.start:
        rule += "; what --start learned from may be among them"
    return prior, {"dataset": dataset, "held_out": rule, **card}, figures


def _learn_mask(arguments: argparse.Namespace, name: str, checkpoint: Path) -> tuple[Any, ...]:
    """What learns from mixtures: a mask network, by a method's steps; how to write these, if asked."""
    from sepviz import files, learning, metrics, tasks
    from sepviz.core import Problem, Truth, parameters_of
    from sepviz.state import separator_of
    from sepviz.trace import Trace

    separator: Any = separator_of(arguments.model, arguments.preset, arguments.set, None, _device(arguments.device))
    unseen = "strokes:0-4" if arguments.unseen is None else arguments.unseen
    observed = "strokes:5-9" if arguments.observed is None else arguments.observed
    sees = separator.sees
    problem, truth = tasks.unmix(unseen, observed, count=1000, seed=arguments.seed, sees=sees, split="held-out",
                                 training=arguments.training or (25_000 if sees == "mixtures" else 12_000),
                                 size=arguments.size, invert=arguments.invert,
                                 device=_device(arguments.device))
    done = learning.train(separator, problem, checkpoint, arguments.seed, (unseen, observed), progress=sys.stderr.isatty())
    step = done.step
    beside: list[tuple[Path, Callable[[Path], Path]]] = []
    if arguments.trace:
        few = Problem(problem.mixtures[:learning.SHOWN].cpu(), problem.mixing)
        true = Truth(truth.sources[:learning.SHOWN].cpu())
        trace = Trace(few, done.shown, type(separator).__name__, parameters_of(separator),
                      arguments.seed, 60 * done.minutes)
        beside = [(arguments.trace, trace.save), (_problem_beside(arguments.trace),
                                                  lambda path: files.save_problem(path, few, true))]
    found = separator.trained(step, tuple(problem.mixtures.shape[1:]), name)
    blind = separator.order == "set"  # then which is which cannot be known
    scored = (metrics.summarize(step.sources, truth.sources, order="set") if blind
              else metrics.summarize(step.sources[:, :1], truth.sources[:, :1]))
    what = f"both sources out of mixtures of {unseen} and {observed}" if blind else f"{unseen} out of mixtures with {observed}"
    figure = {"what": f"PSNR in dB and SSIM, {what}, held-out images", "n": scored.n, "mean": round(scored.mean, 2),
              "interval": round(scored.interval, 2), "median": round(scored.median, 2), "ssim": round(scored.ssim, 4)}
    card = {"unseen": unseen, "observed": observed, "sees": tasks.SEES[sees], "examples": len(problem.examples.mixtures),  # type: ignore[union-attr]
            "seed": arguments.seed, "minutes": round(done.minutes, 1), "iterations": step.index,
            "parameters": sum(weight.numel() for weight in found.parameters()), "device": problem.mixtures.device.type,
            "held_out": tasks.HELD_OUT_IS, "unseen_psnr": figure}
    said = f"{what}, {scored.n} held-out mixtures: {scored.mean:.1f} dB, SSIM {scored.ssim:.3f}"
    return found, card, [said], *beside


def _train_score(learned: Dataset, held_out: Tensor, checkpoint: Path, name: str,
                 arguments: argparse.Namespace) -> tuple[Any, dict, list[str]]:
    from sepviz import zoo
    from sepviz.core import SepvizError
    from sepviz.priors.score import train_score

    start = zoo.load(arguments.start) if arguments.start else None
    if start is not None and zoo.kind_of(start) != "score":
        raise SepvizError(f"--start {arguments.start} is of kind {zoo.kind_of(start)}: give weights of a score prior")
    prior, card = train_score(learned.images, held_out, checkpoint, minutes=60.0 if arguments.minutes is None else arguments.minutes,
                              iterations=arguments.iterations, seed=arguments.seed, name=name, progress=sys.stderr.isatty(),
                              compile_network=arguments.compile, start=start)
    figures = [f"mse / sigma^2 on {len(held_out)} held-out images of the train split "
               "(1: no denoising, 0: perfect)"]
    figures += [f"  sigma {float(sigma):<5g} {loss:.4f}" for sigma, loss in card["held_out_loss_per_sigma"].items()]
    return prior, card, figures


def _held_out(figure: dict[str, Any], what: str) -> str:
    return f"{what.format(n=figure['n'])}: {figure['mean']:.1f} dB, a tenth of them below {figure['tenth_percentile']:.1f} dB"


def _train_gan(learned: Dataset, held_out: Tensor, checkpoint: Path, name: str,
               arguments: argparse.Namespace) -> tuple[Any, dict, list[str]]:
    from sepviz.priors.gan import PRESETS, train_gan
    from sepviz.suggest import choose

    widths = PRESETS[choose("preset of gan", arguments.preset or "paper", PRESETS)]
    prior, card = train_gan(learned.images, held_out, checkpoint, iterations=arguments.iterations or 10_000, seed=arguments.seed, name=name,
                            widths=widths, progress=sys.stderr.isatty())
    return prior, card, [_held_out(card["oracle_psnr"], "the best image found for {n} held-out ones")]


def _train_nmf(learned: Dataset, held_out: Tensor, checkpoint: Path, name: str,
               arguments: argparse.Namespace) -> tuple[Any, dict, list[str]]:
    from sepviz.priors.dictionary import train_dictionary

    prior, card = train_dictionary(learned.images, learned.labels, held_out, reach=2 if arguments.model == "conv-nmf" else 0,
                                   iterations=arguments.iterations, seed=arguments.seed, name=name,
                                   progress=sys.stderr.isatty())
    return prior, card, [_held_out(card["rebuilt_psnr"], "{n} held-out images rebuilt from the bases")]


def _train_cnn(learned: Dataset, held_out: Tensor, checkpoint: Path, name: str,
               arguments: argparse.Namespace) -> tuple[Any, dict, list[str]]:
    from sepviz.priors.cnn import train_cnn

    prior, card = train_cnn(learned.images, held_out, checkpoint, iterations=arguments.iterations or 3000, seed=arguments.seed, name=name,
                            progress=sys.stderr.isatty())
    return prior, card, [_held_out(card["denoised_psnr"], "{n} held-out images, noise taken off")]


TRAINERS: dict[str, Callable[..., tuple[Any, dict, list[str]]]] = {
    "score": _train_score, "gan": _train_gan, "nmf": _train_nmf, "conv-nmf": _train_nmf, "cnn": _train_cnn}
MASKS = ("egg", "supervised", "adversarial-mask", "remix")  # methods whose training leaves a mask network


# --- export, bench, data ------------------------------------------------------------------------


def _export(arguments: argparse.Namespace) -> int:
    from sepviz import zoo
    from sepviz.export import gallery
    from sepviz.suggest import choose

    shipped = {path.stem: path for path in sorted(_labs_home().glob("*.ipynb"), key=lambda path: (path.stem != "start_here", path.stem))}
    shipped |= {path.name.removesuffix(".trace.npz"): path for path in sorted(zoo.FOLDER.glob("*.trace.npz"))}
    sources = [Path(name) if name.endswith((".ipynb", ".npz")) else shipped[choose("lab or recorded run", name, shipped)]
               for name in arguments.sources]
    for page in gallery(sources or list(shipped.values()), arguments.out, run=arguments.run_first,
                        trust=arguments.trust):
        print(f"{page}: {page.stat().st_size / 1e6:.2f} MB")
    print(f"open {arguments.out / 'index.html'} in a browser, or put the folder on a course page")
    return 0


def _bench(words: list[str]) -> int:
    from sepviz import bench

    return bench.main(words) or 0  # type: ignore[func-returns-value]


def _data(arguments: argparse.Namespace) -> int:
    from sepviz import data

    print(f"{'name':<15} {'split':<6} {'images':>7}  where")
    for row in data.summary():
        print(f"{row.name:<15} {row.split:<6} {'-' if row.items is None else row.items:>7}  {row.where}")
    return 0


# --- the parser ---------------------------------------------------------------------------------


def parser() -> tuple[Parser, dict[str, Parser]]:
    """The whole command line, and the parser of each command."""
    top = Parser(prog="sepviz", description="Watch a mixture come apart: single-channel source separation with deep generative priors.")
    top.add_argument("--version", action="store_true", help="print the version and stop")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    every: dict[str, Parser] = {}

    def command(name: str, function: Any, help: str, description: str = "") -> Parser:
        every[name] = commands.add_parser(name, help=help, description=f"{help[0].upper()}{help[1:]}. {description}")
        every[name].set_defaults(run=function)
        return every[name]

    def common(one: Parser, *, device: bool = True) -> None:
        one.add_argument("--seed", type=_seed, default=0, help="of all randomness (default: 0)")
        if device:
            one.add_argument("--device", metavar="auto|cpu|cuda", help="default: what SEPVIZ_DEVICE says, else cpu")

    lab = command("lab", _lab, "open the labs in JupyterLab", """
        They are copied to a folder of yours. What you changed there is kept; a new version is written beside it as
        NAME.new.ipynb. On a JupyterHub, where JupyterLab is running already, it says which page to open. Words
        after -- go to JupyterLab, for example: sepviz lab langevin -- --no-browser --port 9000""")
    lab.add_argument("name", metavar="NAME", nargs="?", help="the lab to open: start_here, score_prior, langevin, ...")
    lab.add_argument("--folder", type=Path, default=Path("sepviz-labs"), help="default: ./sepviz-labs")
    lab.add_argument("--no-open", action="store_true", help="only copy them and say where they are")

    made = command("exercises", _exercises, "write the labs for a class: without the solutions, and complete", """
        For each lab NAME.ipynb, whose solutions are left to the student, and NAME.solution.ipynb.""")
    made.add_argument("names", metavar="LAB", nargs="*", help="start_here, score_prior, langevin, ... (default: all)")
    made.add_argument("--out", type=Path, default=Path("sepviz-exercises"), metavar="FOLDER", help="default: ./sepviz-exercises")
    made.add_argument("--force", action="store_true", help="write over existing files")

    demo = command("demo", _demo, "separate a few mixtures with three methods", "Prints a table, writes a picture and a player.")
    demo.add_argument("--out", type=Path, default=Path("sepviz-demo"), metavar="FOLDER",
                      help="default: sepviz-demo; a new name if it is there")
    demo.add_argument("--count", type=_whole, default=4, help="mixtures (default: 4)")
    demo.add_argument("--dataset", default="strokes", help="default: strokes, which needs no download")
    demo.add_argument("--prior", help="default: score-DATASET")
    common(demo)

    mix = command("mix", _mix, "make a problem file: mixtures of images, with the truth in it")
    mix.add_argument("--dataset", default="strokes", help="see sepviz data (default: strokes)")
    mix.add_argument("--split", default="test", help="train or test (default: test)")
    mix.add_argument("--task", default="separate",
                     help="separate, separate-deconvolve, deconvolve, denoise, inpaint or complete (default: separate)")
    mix.add_argument("--kernels", help="of the tasks that deconvolve: paper (its nine 5x5) or smooth (default: paper)")
    mix.add_argument("--count", type=_whole, default=8, help="mixtures (default: 8)")
    mix.add_argument("--sources", type=_whole, metavar="K", help="sources of each mixture (default: 2)")
    mix.add_argument("--protocol", help="agnostic: any class (default); split: source k from the k-th group of classes")
    mix.add_argument("--weights", nargs="+", metavar="A", help="sum, mean or K numbers (default: sum)")
    mix.add_argument("--out", type=Path, default=Path("problem.npz"), help="default: problem.npz")
    mix.add_argument("--force", action="store_true", help="write over an existing file")
    common(mix, device=False)

    separate = command("separate", _separate, "take mixtures apart", f"""
        The mixtures are taken {CHUNK} at a time, each such chunk from a seed of its own, so the result depends on
        --seed, --chunk and the order of the mixtures; a method that learns is trained once and
        takes all. Ctrl-C keeps what is done in OUT.partial.npz; the same command goes on from there
        and ends at the same result.""")
    separate.add_argument("input", metavar="INPUT", nargs="*", type=Path, help="""
        problem.npz; a .npz with an array mixtures (B, H, W) or (B, C, H, W); a .npy that is this array; or PNG files,
        gray or RGB, one mixture each: a PNG's values v in [0, 1] are taken for the mean picture of the sources, the
        mixture is v times the sum of the weights""")
    separate.add_argument("--method",
                          help="""average, basis, cnn, constant, conv-nmf, mask, nmf, rpca, split-gibbs or synthesis (default: split-gibbs);
                          adversarial-mask, egg, remix and supervised learn a mask by sepviz train, and with glo, glo-masking, remix-tree
                          and ss-nmf need examples that a file does not hold: see sepviz.tasks.unmix""")
    separate.add_argument("--state", metavar="TEXT", help="""a run in one line, as the labs show it: task=...,method=...,run=...;
                          in place of INPUT and of all that says how to separate; the
                          same run up to --chunk mixtures""")
    separate.add_argument("--preset", help="named parameters of the method: paper, program, ...")
    separate.add_argument("--prior", help="a shipped prior (score-strokes, ...) or the path of a .safetensors file")
    separate.add_argument("--sources", type=_whole, metavar="K", help="for a file that does not say it; else it must agree")
    separate.add_argument("--weights", nargs="+", metavar="A", help="sum, mean or K numbers, likewise (default: sum)")
    separate.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="a parameter of the method; may be repeated")
    separate.add_argument("--starts", type=_whole, metavar="L", help="synthesis: latents tried for each mixture, as --set starts=L")
    separate.add_argument("--filter-size", type=_whole, metavar="N", help="the sources went through unknown filters of N by N, N odd")
    separate.add_argument("--visible", metavar="MASK", help="top-half, or a .png: only its bright pixels of the mixtures are looked at")
    separate.add_argument("--chunk", type=_whole, default=CHUNK, metavar="N", help=f"mixtures at a time (default: {CHUNK})")
    separate.add_argument("--out", type=Path, default=Path("out.npz"), help="default: out.npz")
    separate.add_argument("--trace", type=Path, metavar="TRACE.npz", help="also write the steps of the first chunk")
    separate.add_argument("--html", type=Path, metavar="PLAYER.html", help="also write a page that plays them")
    separate.add_argument("--force", action="store_true", help="write over existing files")
    common(separate)
    separate.set_defaults(seed=None)  # so that one beside --state is seen

    score = command("score", _score, "compare a result with the truth")
    score.add_argument("result", metavar="OUT.npz", type=Path, help="what sepviz separate wrote")
    score.add_argument("problem", metavar="PROBLEM.npz", type=Path, help="what it was separated from, with the truth in it")
    score.add_argument("--convention", default="per_source", help="of PSNR: per_source (BASIS) or summed_mse (S-D)")
    score.add_argument("--json", action="store_true", help="print one JSON object")

    train = command("train", _train, "train a prior", """
        Held-out figures are of 2,000 images of the train split (a tenth of a set below 20,000),
        drawn at random, the same share of every class; the test split is never touched. Ctrl-C
        keeps NAME.ckpt beside --out; the same command goes on from there.""")
    train.add_argument("model", metavar="MODEL", help="""score, gan, nmf, conv-nmf or cnn, of clean images; or a mask for mixtures of two
        sources, by the method egg, adversarial-mask, remix or supervised""")
    train.add_argument("--dataset", help="see sepviz data (default: strokes)")
    train.add_argument("--unseen", metavar="SET", help="""masks: the source that is never seen clean, as strokes:0-4 (the default),
        fashion-mnist:5,7,9 or a folder""")
    train.add_argument("--observed", metavar="SET", help="masks: the other source (default: strokes:5-9)")
    train.add_argument("--size", type=_whole, metavar="N", help="masks of folders: resize and crop the images to N by N, N divisible by 8")
    train.add_argument("--invert", action="store_true", help="masks: take 1 - image, for pictures of dark things on white")
    train.add_argument("--training", type=_whole, metavar="N",
                       help="masks: images of the observed source, and mixtures (default: 12000; remix: 25000)")
    train.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="masks: a parameter of the method")
    train.add_argument("--trace", type=Path, metavar="TRACE.npz",
                       help="""masks: also write what every step made of 6 held-out mixtures, and these, with their truth, as
                       TRACE.problem.npz""")
    train.add_argument("--minutes", type=_duration, help="score: default 60")
    train.add_argument("--iterations", type=_whole, metavar="N",
                       help="""score: in place of --minutes; the others: default 10000 (gan),
                       3000 (cnn), at most 400 (nmf) or 300 (conv-nmf) of each class""")
    train.add_argument("--preset", help="gan: paper (512, 256 and 128 features) or narrow (half of them); masks: paper or program")
    train.add_argument("--compile", action="store_true",
                       help="compile the network first: a minute, then faster; needs a C++ compiler")
    train.add_argument("--start", metavar="WEIGHTS", help="score: go on from these, a name of the zoo or a file, in place of random ones")
    train.add_argument("--out", type=Path, metavar="NAME.safetensors", help="default: MODEL-DATASET.safetensors; its card is NAME.json")
    common(train)

    export = command("export", _export, "turn labs and recorded runs into web pages", """
        Each page is one HTML file below 5 MB that needs no Python and no network, and its players play and scrub.
        index.html leads to all of them.""")
    export.add_argument("sources", metavar="LAB", nargs="*", help="""a lab (start_here, ...), a recorded run (egg-strokes-high, ...), or
        your own notebook.ipynb or trace.npz; with trace.problem.npz beside it, the truth is shown (default: all labs and runs)""")
    export.add_argument("--out", type=Path, default=Path("sepviz-gallery"), metavar="FOLDER", help="made fresh (default: sepviz-gallery)")
    export.add_argument("--run", action="store_true", dest="run_first",
                        help="run the notebooks first; they stay as they are (labs without pictures are run in any case)")
    export.add_argument("--trust", action="store_true",
                        help="run the code that widgets of other packages saved in the notebooks")

    bench = command("bench", None, "compute a published table", "See sepviz bench --help.")
    bench.add_argument("words", nargs=argparse.REMAINDER)
    command("data", _data, "say which sets of images there are, and where")
    return top, every


def _parse(words: list[str]) -> argparse.Namespace:
    from sepviz.suggest import unknown

    top, every = parser()
    passed_on: list[str] = []
    if words[:1] == ["lab"] and "--" in words:
        words, passed_on = words[:words.index("--")], words[words.index("--") + 1:]
    arguments, extra = top.parse_known_args(words)
    arguments.passed_on = passed_on
    if extra:
        one: Parser = every.get(arguments.command, top)
        wrong = extra[0].partition("=")[0]
        if not wrong.startswith("-"):
            raise UsageError(f"argument {wrong!r} is one too many (see {one.prog} --help)")
        known = [option for option in one._option_string_actions if option.startswith("--")]
        raise UsageError(unknown("option", wrong, known))
    arguments.command_line = "sepviz " + shlex.join(words)
    return arguments


def _tell(line: str) -> None:
    """Say a line on stderr, if anybody still listens: a terminal that was closed takes no words."""
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr, flush=True)


def _fail(message: object) -> int:
    _tell(f"sepviz: {' '.join(str(message).split())}")
    return 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; returns its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    signals.open_closed_streams()
    try:
        with signals.ending_interrupts():
            return _command(words)
    except KeyboardInterrupt as stop:  # between two of the lines above
        return _stopped(stop)


def _command(words: list[str]) -> int:
    try:
        if words[:1] == ["bench"]:  # has a parser of its own
            return _guarded(lambda: _bench(words[1:]))
        arguments = _parse(words)
        if arguments.version:
            import sepviz

            print(f"sepviz {sepviz.__version__}")
            return 0
        if arguments.command is None:
            parser()[0].print_help()
            return 0
        return _guarded(lambda: arguments.run(arguments))
    except UsageError as error:
        return _fail(error)
    except KeyboardInterrupt as stop:
        return _stopped(stop)
    except SystemExit as leave:  # argparse's, after --help
        return leave.code if isinstance(leave.code, int) else 0 if leave.code is None else _fail(leave.code)


def _stopped(stop: KeyboardInterrupt) -> int:
    _tell(f"sepviz: stopped; {stop.args[0] if stop.args else 'nothing was kept'}")
    return 128 + (signals.received() or signal.SIGINT)


def _guarded(command: Callable[[], int]) -> int:
    """Run a command; the user's errors and the machine's limits are one line each."""
    from sepviz.core import SepvizError

    try:
        code = command()
        sys.stdout.flush()  # what cannot be written is said here, not at the interpreter's end
        return 128 + number if code == 0 and (number := signals.received()) else code
    except SepvizError as error:
        return _fail(error)
    except BrokenPipeError:  # the reader of our output went away, as in `sepviz data | head -1`
        signals.drop(sys.stdout)
        return 1
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EIO) and not error.filename:
            signals.drop(sys.stdout)  # what is left in its buffer would fail once more
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else error.strerror or error)
    except (MemoryError, RuntimeError) as error:
        if type(error) is RuntimeError and "memory" not in str(error):
            raise
        return _fail("out of memory: take fewer mixtures at a time (--chunk, --count)")


