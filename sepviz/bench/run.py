"""Run methods over many mixtures, in chunks that survive an interruption, and say how well and how fast."""

from __future__ import annotations

import collections
import functools
import hashlib
import itertools
import json
import platform
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

import sepviz
from sepviz import files, metrics, zoo
from sepviz.core import Problem, Separator, SepvizError, Step, Truth, parameters_of, prior_of
from sepviz.files import arrays as arrays_of
from sepviz.files.results import check_results
from sepviz.runs import Run, chunk_seed, generator


class Row(NamedTuple):
    """One method's figures over n mixtures: PSNR in dB, in the table's convention; a 95% interval of the mean."""

    label: str
    n: int
    mean: float
    interval: float
    median: float
    pooled: float
    ssim: float
    residual: float  # RMS over everything, in pixel units
    evaluations: float  # of the prior, per source
    seconds: float  # per mixture, wall time
    aligned: float | None = None  # mean PSNR after `metrics.align`, where sources were filtered
    filters: float | None = None  # median correlation of the aligned filters with the true ones


class Found(NamedTuple):
    """What a method made of a chunk."""

    sources: Tensor
    filters: Tensor | None
    evaluations: float  # per source
    seconds: float


def last_step(separator: Separator, problem: Problem, seed: int) -> Step:
    """Run to the last step, and keep no other."""
    return Run(separator, problem, generator(problem, seed)).last()


def separate_chunk(separator: Separator, problem: Problem, seed: int) -> Found:
    """Run to the last step."""
    began = time.perf_counter()
    last = last_step(separator, problem, seed)
    sources, filters = last.sources.cpu(), last.results.get("filters")  # waits for a GPU to be done
    return Found(sources, None if filters is None else filters.cpu(), last.info["evaluations"], time.perf_counter() - began)


def _kept(file: Path, problem: Problem) -> Found:
    """A finished chunk, checked."""
    try:
        arrays = arrays_of.read(file)
        batch, *image = problem.mixtures.shape
        shape = (batch, problem.mixing.count, *image)
        sources = arrays_of.floats(file, arrays, "sources", shape)
        filters = arrays_of.floats(file, arrays, "filters") if "filters" in arrays else None
        check_results(file, {} if filters is None else {"filters": filters}, sources)
        evaluations, seconds = (float(arrays_of.tensor(file, arrays, name, ()))
                                for name in ("evaluations", "seconds"))
    except SepvizError as error:
        raise SepvizError(f"{file} is damaged: remove it, and its mixtures are run again "
                          f"({error})") from None
    return Found(sources, filters, evaluations, seconds)


def evaluate(methods: dict[str, Separator], problem: Problem, truth: Truth, *, seed: int = 0, chunk: int = 50,
             keep: Path | None = None, convention: str = "per_source", progress: bool = True) -> list[Row]:
    """Every method on the same mixtures, in turn chunk by chunk, so that a slow spell of the machine hits all alike.

    Parameters
    ----------
    seed : int
        Of the first chunk, see `sepviz.runs.chunk_seed`.
    keep : path, optional
        A folder for finished chunks: a run that was interrupted goes on where it was.
    convention : {"per_source", "summed_mse"}
        Of PSNR, see `metrics.psnr`.

    Returns
    -------
    list of Row
        After Ctrl-C those of the mixtures that every method had done.
    """
    from tqdm.auto import tqdm

    count = len(problem.mixtures)
    starts = range(0, count, chunk)
    for separator in methods.values():  # now, not after hours of those before it
        separator.check(problem)
    figures: dict[str, dict[str, list]] = {label: collections.defaultdict(list) for label in methods}
    digest = hashlib.sha256(problem.mixtures.cpu().numpy().tobytes()).hexdigest()
    weights = {label: zoo.digest(prior_of(separator)) for label, separator in methods.items()}
    warm: set[str] = set()  # methods whose first steps, slower than the rest, were run once untimed
    told: list[str] = []  # of savings that failed
    done = 0
    with tqdm(total=len(starts) * len(methods), unit="chunk", disable=not progress) as bar, suppress(KeyboardInterrupt):
        for number, begin in enumerate(starts):
            part = Problem(problem.mixtures[begin:begin + chunk], problem.mixing)
            for label, separator in methods.items():
                bar.set_description(label)
                setting = [sepviz.__version__, type(separator).__name__, parameters_of(separator), weights[label], digest,
                           problem.mixing.weights, problem.mixing.filter_size, problem.mixing.visible is None, seed, begin, chunk,
                           part.mixtures.device.type]
                identity = json.dumps(setting)
                file = keep / f"{hashlib.sha256(identity.encode()).hexdigest()[:16]}.npz" if keep else None
                if file is not None and file.exists():
                    found = _kept(file, part)
                else:
                    if label not in warm:
                        collections.deque(itertools.islice(Run(separator, part, generator(part, 0)), 3), maxlen=0)
                        warm.add(label)
                    found = separate_chunk(separator, part, chunk_seed(seed, number))
                    if file is not None:
                        file.parent.mkdir(parents=True, exist_ok=True)
                        arrays: dict[str, Any] = {name: np.asarray(value) for name, value
                                                  in found._asdict().items() if value is not None}
                        save = functools.partial(np.savez_compressed, **arrays)
                        whole = functools.partial(files.write, file, save, overwrite=True)
                        files.patiently(whole, told)
                store = figures[label]
                store["found"].append(found)
                store["residual"].append(part._replace(mixtures=part.mixtures.cpu()).residuals(found.sources, found.filters))
                bar.update()
            done = min(count, begin + chunk)
    if not done:
        raise KeyboardInterrupt("no chunk was finished" + (f"; those of {keep} stay" if keep else ""))
    rows = []
    true = Truth(truth.sources[:done].cpu(), None if truth.filters is None else truth.filters[:done].cpu())
    for label, store in figures.items():
        chunks = len(range(0, done, chunk))
        found_here: list[Found] = store["found"][:chunks]
        estimates, aligned, similarity = torch.cat([found.sources for found in found_here]), None, None
        filters = [found.filters for found in found_here if found.filters is not None]
        rules: dict[str, Any] = {"weights": problem.mixing.weights,
                                 "order": methods[label].order}
        if true.filters is not None:
            aligned, similarity = metrics.aligned_figures(estimates, true.sources, torch.cat(filters) if filters else None, true.filters,
                                                          convention, **rules)
        summary = metrics.summarize(estimates, true.sources, convention, **rules)
        rows.append(Row(label, done, summary.mean, summary.interval, summary.median, summary.pooled, summary.ssim,
                        residual=float(torch.cat(store["residual"][:chunks]).square().mean().sqrt()),
                        evaluations=float(np.mean([found.evaluations for found in found_here])),
                        seconds=sum(found.seconds for found in found_here) / done, aligned=aligned, filters=similarity))
    return rows


def table(rows: list[Row], title: str, published: dict[str, str] | None = None) -> str:
    """Rows as text, ``published`` figures beside ours by label."""
    filtered = any(row.aligned is not None for row in rows)
    head = (f"{'':34} {'paper':>6} {'n':>5} {'mean':>6} {'+-95%':>6} {'median':>7} {'pooled':>7} {'SSIM':>6} "
            f"{'residual':>9} {'evals':>6} {'s/mixture':>10}" + (f" {'aligned':>8} {'filters':>8}" if filtered else ""))
    lines = [title, head, "-" * len(head)]
    for row in rows:
        lines.append(f"{row.label:34} {(published or {}).get(row.label, ''):>6} {row.n:5d} {row.mean:6.2f} {row.interval:6.2f} "
                     f"{row.median:7.2f} {row.pooled:7.2f} {row.ssim:6.3f} {row.residual:9.5f} {row.evaluations:6.0f} {row.seconds:10.3f}"
                     + "".join(f" {'-' if value is None else f'{value:.2f}':>8}" for value in (row.aligned, row.filters) if filtered))
    return "\n".join(lines)


def machine() -> str:
    """One line that says where the figures come from."""
    return f"sepviz {sepviz.__version__}, torch {torch.__version__}, {torch.get_num_threads()} threads, {platform.machine()}"


def write(options: Any, title: str, rows: list[Row]) -> None:
    """Append the rows to the JSON-lines file, if one is asked for; ends the table here if the run was stopped."""
    if options.out:
        with open(options.out, "a") as file:
            for row in rows:
                facts = {"table": title, "machine": machine(), **row._asdict()}
                file.write(files.to_json(facts) + "\n")
    if rows[0].n < options.count:
        raise KeyboardInterrupt(f"the table is of the first {rows[0].n} mixtures")


def select(methods: dict[str, Separator], words: list[str] | None) -> dict[str, Separator]:
    """The methods whose label is one of the words or, for a word that is no label, holds it; all of them where there are none."""
    chosen = {label: separator for label, separator in methods.items()
              if not words or any(word == label or (word not in methods and word in label) for word in words)}
    if not chosen:
        raise SepvizError(f"methods {words}: none of the rows ({', '.join(methods)}) holds one of these words")
    return chosen
