"""The fast egg against the authors' schedule: same examples, same held mixtures, one process."""

from __future__ import annotations

from typing import Any

from sepviz import metrics, tasks
from sepviz.bench import run
from sepviz.bench.nes import SETTINGS
from sepviz.core import Separator, SepvizError
from sepviz.separators import Egg

METHODS: dict[str, Separator] = {"egg, fast": Egg(), "egg, program": Egg(**Egg.presets["program"])}


def main(options: Any, prior: Any = None) -> None:
    """Train both from the same examples and score the unseen source; seconds are of the training, for each test mixture."""
    if options.dataset not in SETTINGS:
        raise SepvizError(f"--dataset {options.dataset}: {options.table} is of {', '.join(SETTINGS)}")
    unseen, observed = next(iter(SETTINGS[options.dataset].values()))
    problem, truth = tasks.unmix(unseen, observed, count=options.count, seed=options.seed, device=options.device)
    rows = []
    for label, separator in run.select(METHODS, options.methods).items():
        done = run.separate_chunk(separator, problem, options.seed)
        found = metrics.summarize(done.sources[:, :1], truth.sources[:, :1].cpu())
        rows.append(run.Row(label, found.n, found.mean, found.interval, found.median, found.pooled, found.ssim,
                            problem.residual(done.sources.to(options.device)), done.evaluations, done.seconds / options.count))
    title = f"{unseen} out of sums with {observed}, PSNR in dB over 32x32 pixels ({run.machine()})"
    print(run.table(rows, title))
    if len(rows) > 1:
        fast, literal = rows
        print(f"\nthe fast one: {literal.seconds / fast.seconds:.1f} times less wall time, {fast.mean - literal.mean:+.2f} dB")
    run.write(options, title, rows)
