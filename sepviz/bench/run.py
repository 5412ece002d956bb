"""Run methods over many mixtures, in chunks that survive an interruption, and measure them."""

from __future__ import annotations

import collections
import functools
import hashlib
import itertools
import json
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

import sepviz
from sepviz import files, metrics, zoo
from sepviz.core import Problem, Separator, SepvizError, Truth, parameters_of, prior_of
from sepviz.files import Field
from sepviz.runs import Found, Run, chunk_seed, generator, separated


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


# What a file of a finished chunk holds.
CHUNK = {"sources": Field("B K C H W", dtype=np.float32),
         "filters": Field("B K h w", dtype=np.float32, optional=True),
         "evaluations": Field(""), "seconds": Field("")}


def _kept(file: Path, problem: Problem) -> Found:
    """A finished chunk, checked."""
    batch, *image = problem.mixtures.shape
    sizes = dict(zip("BKCHW", (batch, problem.mixing.count, *image), strict=True))
    try:
        held = files.tensors(file, files.read(file), CHUNK, sizes)
    except SepvizError as error:
        raise SepvizError(f"{file} is damaged: remove it, and its mixtures are run again "
                          f"({error})") from None
    evaluations, seconds = (float(held.pop(name)) for name in ("evaluations", "seconds"))
    return Found(held.pop("sources"), held, evaluations, seconds)


def _keep(file: Path, found: Found, told: list[str]) -> None:
    """Save a finished chunk; ``told`` holds the failures that were reported already."""
    file.parent.mkdir(parents=True, exist_ok=True)
    arrays = {**found._asdict(), "filters": found.results.get("filters")}
    del arrays["results"]
    save: Any = functools.partial(np.savez_compressed, **{  # type: ignore[arg-type]
        name: np.asarray(value) for name, value in arrays.items() if value is not None})
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
            part = problem._replace(mixtures=problem.mixtures[begin:begin + chunk],
                                    examples=None)
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
                    one = separated(separator, part, chunk_seed(seed, number))
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
    filters = [one.results["filters"] for one in found if "filters" in one.results]
    recovered = torch.cat(filters) if filters else None
    sources = truth.sources[:done].cpu()
    rules: dict[str, Any] = {"weights": problem.mixing.weights, "order": order}
    aligned = similarity = None
    if truth.filters is not None:
        aligned, similarity = metrics.aligned_figures(
            estimates, sources, recovered, truth.filters[:done].cpu(), convention, **rules)
    summary = metrics.summarize(estimates, sources, convention, medium=problem.medium, **rules)
    part = problem._replace(mixtures=problem.mixtures[:done].cpu(), examples=None)
    residual = float(part.residuals(estimates, recovered).square().mean().sqrt())
    return Row(label, done, summary.mean, summary.interval, summary.median, summary.pooled,
               summary.ssim, residual,
               evaluations=float(np.mean([one.evaluations for one in found])),
               seconds=sum(one.seconds for one in found) / done,
               aligned=aligned, filters=similarity)
