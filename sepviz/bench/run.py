"""Run methods over many mixtures, in chunks that survive an interruption, and measure them."""

from __future__ import annotations

import collections
import functools
import hashlib
import itertools
import json
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
    """One method's figures over n mixtures: PSNR in dB, with a 95% interval of the mean."""

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
    """Run to the last step, timed."""
    began = time.perf_counter()
    last = last_step(separator, problem, seed)
    sources, filters = last.sources.cpu(), last.results.get("filters")  # waits for a GPU
    return Found(sources, None if filters is None else filters.cpu(), last.info["evaluations"],
                 time.perf_counter() - began)


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


def _keep(file: Path, found: Found, told: list[str]) -> None:
    """Save a finished chunk; ``told`` holds the failures that were reported already."""
    file.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {name: np.asarray(value) for name, value
                              in found._asdict().items() if value is not None}
    save = functools.partial(np.savez_compressed, **arrays)
    files.patiently(functools.partial(files.write, file, save, overwrite=True), told)


def evaluate(methods: dict[str, Separator], problem: Problem, truth: Truth, *, seed: int = 0,
             chunk: int = 50, keep: Path | None = None, convention: str = "per_source",
             progress: bool = True) -> list[Row]:
    """Every method on the same mixtures.

    Methods take turns chunk by chunk, so that a slow spell of the machine slows all of them.

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
    found: dict[str, list[Found]] = {label: [] for label in methods}
    digest = hashlib.sha256(problem.mixtures.cpu().numpy().tobytes()).hexdigest()
    mixing = (problem.mixing.weights, problem.mixing.filter_size, problem.mixing.visible is None)
    weights = {label: zoo.digest(prior_of(separator)) for label, separator in methods.items()}
    warm: set[str] = set()  # methods whose slower first steps were run once untimed
    told: list[str] = []
    with (tqdm(total=len(starts) * len(methods), unit="chunk", disable=not progress) as bar,
          suppress(KeyboardInterrupt)):
        for number, begin in enumerate(starts):
            part = Problem(problem.mixtures[begin:begin + chunk], problem.mixing)
            for label, separator in methods.items():
                bar.set_description(label)
                setting = [sepviz.__version__, type(separator).__name__, parameters_of(separator),
                           weights[label], digest, *mixing, seed, begin, chunk,
                           part.mixtures.device.type]
                name = hashlib.sha256(json.dumps(setting).encode()).hexdigest()[:16]
                file = keep / f"{name}.npz" if keep else None
                if file is not None and file.exists():
                    found[label].append(_kept(file, part))
                else:
                    if label not in warm:
                        steps = Run(separator, part, generator(part, 0))
                        collections.deque(itertools.islice(steps, 3), maxlen=0)
                        warm.add(label)
                    one = separate_chunk(separator, part, chunk_seed(seed, number))
                    if file is not None:
                        _keep(file, one, told)
                    found[label].append(one)
                bar.update()
    chunks = min(map(len, found.values()))  # that every method has done
    if not chunks:
        stays = f"; those of {keep} stay" if keep else ""
        raise KeyboardInterrupt(f"no chunk was finished{stays}")
    return [_row(label, found[label][:chunks], problem, truth, methods[label].order, convention)
            for label in methods]


def _row(label: str, found: list[Found], problem: Problem, truth: Truth, order: str,
         convention: str) -> Row:
    """The figures of the first mixtures from what was found of them."""
    estimates = torch.cat([one.sources for one in found])
    done = len(estimates)
    filters = [one.filters for one in found if one.filters is not None]
    recovered = torch.cat(filters) if filters else None
    sources = truth.sources[:done].cpu()
    rules: dict[str, Any] = {"weights": problem.mixing.weights, "order": order}
    aligned = similarity = None
    if truth.filters is not None:
        aligned, similarity = metrics.aligned_figures(
            estimates, sources, recovered, truth.filters[:done].cpu(), convention, **rules)
    summary = metrics.summarize(estimates, sources, convention, **rules)
    part = Problem(problem.mixtures[:done].cpu(), problem.mixing)
    residual = float(part.residuals(estimates, recovered).square().mean().sqrt())
    return Row(label, done, summary.mean, summary.interval, summary.median, summary.pooled,
               summary.ssim, residual,
               evaluations=float(np.mean([one.evaluations for one in found])),
               seconds=sum(one.seconds for one in found) / done,
               aligned=aligned, filters=similarity)
