"""The race: BASIS against split-Gibbs, same network, same mixtures, chunk by chunk in one process."""

from __future__ import annotations

from typing import Any

from sepviz import tasks
from sepviz.bench import run
from sepviz.core import Separator
from sepviz.separators import Basis, SplitGibbs


def main(options: Any, prior: Any) -> None:
    """Print quality and wall time, and the ratios: of the time and, for it can hit a slow spell, of the evaluations."""
    problem, truth = tasks.separate(options.dataset, count=options.count, sources=2, seed=options.seed, device=options.device)
    runners: dict[str, Separator] = {
        "basis, paper preset": Basis(prior, **Basis.presets["paper"]),
        "basis, program preset": Basis(prior, **Basis.presets["program"]),
        "split-gibbs": SplitGibbs(prior),
        "split-gibbs, 4 chains": SplitGibbs(prior, **SplitGibbs.presets["consensus"]),
    }
    # Times must be of this process, so nothing is taken from an earlier one.
    rows = run.evaluate(run.select(runners, options.methods), problem, truth, seed=options.seed, chunk=options.chunk)
    title = f"The race on {options.dataset}, class agnostic, per_source PSNR in dB ({run.machine()})"
    print(run.table(rows, title))
    for row in rows:
        against = "; ".join(f"{other.seconds / row.seconds:.1f}x {other.label} ({other.evaluations / row.evaluations:.1f}x by evaluations)"
                            for other in rows if other is not row)
        print(f"{row.label}: {against}")
    run.write(options, title, rows)
