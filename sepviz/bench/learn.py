"""Rows of methods that learn from mixtures: train, separate other mixtures, score one source."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from sepviz import files, metrics
from sepviz.bench import run
from sepviz.core import Problem, Step
from sepviz.runs import Recipe, Run, generator
from sepviz.separators import Mask
from sepviz.training import masks


def row(label: str, recipe: Recipe, options: Any) -> run.Row:
    """Train the method on its examples, separate test mixtures, score the unseen source.

    Both sources are scored in the blind table. A mask is put in order as `Mask.order` says.
    Seconds are those of separating; those of learning are in them where a method learns and
    separates in one, and in a race, where no checkpoint is written.
    """
    race = options.table == "egg-race"
    problem, truth = recipe.problem(options.device)
    assert truth is not None  # a task makes it
    separator, evaluations = recipe.separator(options.device), None
    name = f"{options.table}-{options.dataset}-{label}-{recipe.mixture['unseen']}"
    if recipe.method == "mask":
        print(f"{label}: the shipped {recipe.prior}", flush=True)
    elif separator.leaves and not race:
        few = problem._replace(mixtures=problem.mixtures[:8])
        step = last_step(separator, few, name, options)
        evaluations = step.info["evaluations"]
        separator = Mask(separator.trained(step, tuple(problem.mixtures.shape[1:])))
    began = time.perf_counter()
    last = (_last(separator, problem, options.seed) if race
            else last_step(separator, problem, name, options))
    seconds = (time.perf_counter() - began) / options.count
    matched = metrics.match(last.sources, truth.sources, order=separator.order)
    scored = slice(None if options.table == "remix-table1" else 1)
    found = metrics.summarize(metrics.reorder(last.sources, matched)[:, scored],
                              truth.sources[:, scored], order="fixed")
    return run.Row(label, found.n, found.mean, found.interval, found.median, found.pooled,
                   found.ssim, problem.residual(last.sources),
                   last.info["evaluations"] if evaluations is None else evaluations, seconds)


def _last(separator: Any, problem: Problem, seed: int) -> Step:
    return Run(separator, problem, generator(problem, seed)).last()


def last_step(separator: Any, problem: Problem, name: str, options: Any) -> Step:
    """The last step of a run; one that learns is kept in a folder, and goes on from there."""
    if separator.sees is None:
        return _last(separator, problem, options.seed)
    with tempfile.TemporaryDirectory() as folder:
        place = name.replace(" ", "-").replace(":", "-")
        checkpoint = (options.keep or Path(folder)) / f"{place}-{len(problem.mixtures)}.ckpt"
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        with files.lock(checkpoint):
            return masks.train(separator, problem, checkpoint, options.seed, (name,)).step
