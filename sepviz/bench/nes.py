"""Table 1 of Halperin et al. 2019, and of Hoshen 2019: one source seen clean, or none."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from sepviz import files, load_prior, metrics, tasks, zoo
from sepviz.bench import run
from sepviz.core import Problem, SepvizError, Step
from sepviz.separators import AdversarialMask, Constant, Egg, Glo, GloMasking, Mask, Remix, Rpca, SsNmf, Supervised
from sepviz.training import masks

# data set -> direction -> the unseen source and the observed one
SETTINGS = {
    "mnist": {"low": ("mnist:0-4", "mnist:5-9"), "high": ("mnist:5-9", "mnist:0-4")},
    "strokes": {"low": ("strokes:0-4", "strokes:5-9"), "high": ("strokes:5-9", "strokes:0-4")},
    "fashion-mnist": {"bags": ("fashion-mnist:8", "fashion-mnist:5,7,9"), "shoes": ("fashion-mnist:5,7,9", "fashion-mnist:8")},
}
LEARNERS: dict[str, dict[str, Any]] = {
    "nes-table1": {"constant": Constant(1.0), "ss-nmf, mask": SsNmf(),
                   "ss-nmf, reconstruction": SsNmf(answer="reconstruction"),  # as in the paper
                   "adversarial-mask": AdversarialMask(), "glo-masking": GloMasking(),
                   "egg": Egg(), "egg from glo-masking": Egg(first=GloMasking()), "supervised": Supervised()},
    "remix-table1": {"rpca": Rpca(), "glo": Glo(), "remix": Remix(), "supervised": Supervised()},
}
# PSNR in dB of the unseen source, 5,000 test mixtures of 32x32; of remix-table1 of both sources
PUBLISHED = {
    ("nes-table1", "mnist", "low"): {"constant": "10.6", "ss-nmf, reconstruction": "16.5",
                                     "adversarial-mask": "17.8", "glo-masking": "15.1",
                                     "egg": "23.4", "egg from glo-masking": "23.9", "supervised": "24.1"},
    ("nes-table1", "mnist", "high"): {"constant": "10.8", "ss-nmf, reconstruction": "15.5",
                                      "adversarial-mask": "18.2", "glo-masking": "15.3",
                                      "egg": "23.4", "egg from glo-masking": "23.8", "supervised": "24.4"},
    ("remix-table1", "mnist", "low"): {"rpca": "11.5", "glo": "13.0", "remix": "20.4", "supervised": "24.4"},
}


def main(options: Any, prior: Any = None) -> None:
    """Print a table for each direction; weights of the zoo are taken where there are any, and the rest is trained here."""
    if options.dataset not in SETTINGS:
        raise SepvizError(f"--dataset {options.dataset}: {options.table} is of {', '.join(SETTINGS)}")
    directions = SETTINGS[options.dataset]
    for direction in list(directions) if options.table == "nes-table1" else list(directions)[:1]:
        unseen, observed = directions[direction]
        rows = [evaluate(label, separator, unseen, observed, f"{options.dataset}-{direction}", options)
                for label, separator in run.select(LEARNERS[options.table], options.methods).items()]
        what = f"{unseen} out of sums with {observed}" if options.table == "nes-table1" else f"{unseen} and {observed}, blind"
        title = f"{what}, PSNR in dB over 32x32 pixels ({options.table}; {run.machine()})"
        print(run.table(rows, title, PUBLISHED.get((options.table, options.dataset, direction))), flush=True)
        run.write(options, title, rows)


def evaluate(label: str, separator: Any, unseen: str, observed: str, setting: str, options: Any) -> run.Row:
    """Train the method on its examples, separate test mixtures, score the unseen source (blind: both).

    The answers are put in order as their method's ``order`` says: one for all mixtures, or fixed.
    Seconds are those of separating; for `ss-nmf` and GLO, which learn and separate in one, of both.
    """
    blind = options.table == "remix-table1"
    shipped, evaluations = f"{label}-{setting if label == 'egg' else options.dataset}", None
    training = 2 if shipped in zoo.names() else 25_000 if blind else 12_000
    problem, truth = tasks.unmix(unseen, observed, count=options.count, seed=options.seed, sees=separator.sees or "mixtures",
                                 device=options.device, training=training)
    name = f"{options.table}-{setting}-{label}".replace(" ", "-")
    if shipped in zoo.names():
        separator = Mask(load_prior(shipped, options.device))
        print(f"{label}: the shipped {shipped}", flush=True)
    elif separator.leaves:
        step = last_step(separator, problem._replace(mixtures=problem.mixtures[:8]), name, options)
        evaluations = step.info["evaluations"]
        separator = Mask(separator.trained(step, tuple(problem.mixtures.shape[1:])))
    began = time.perf_counter()
    last = last_step(separator, problem, name, options)
    seconds = (time.perf_counter() - began) / options.count
    sources, true = last.sources, truth.sources
    sources = metrics.reorder(sources, metrics.match(sources, true, order=separator.order))
    scored = slice(None) if blind else slice(1)
    found = metrics.summarize(sources[:, scored], true[:, scored], order="fixed")
    return run.Row(label, found.n, found.mean, found.interval, found.median, found.pooled, found.ssim, problem.residual(last.sources),
                   last.info["evaluations"] if evaluations is None else evaluations, seconds)


def last_step(separator: Any, problem: Problem, name: str, options: Any) -> Step:
    """The last step of a run; one that learns is kept in the folder ``--keep``, and goes on from there."""
    if separator.sees is None:
        return run.last_step(separator, problem, options.seed)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = (options.keep or Path(folder)) / f"{name}-{len(problem.mixtures)}.ckpt"
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        with files.lock(checkpoint):
            return masks.train(separator, problem, checkpoint, options.seed, (name,)).step
