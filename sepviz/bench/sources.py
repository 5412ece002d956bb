"""More than two sources: who holds the mixture, who diverges, and how far identifiability goes."""

from __future__ import annotations

from typing import Any

from sepviz import tasks
from sepviz.bench import run
from sepviz.core import Separator, SepvizError
from sepviz.separators import Average, Basis, SplitGibbs


def main(options: Any, prior: Any) -> None:
    """Print a table for each number of sources."""
    for sources in options.sources or [3, 4, 10]:
        problem, truth = tasks.separate(options.dataset, count=options.count, sources=sources, seed=options.seed, device=options.device)
        candidates: dict[str, Separator] = {
            "average": Average(),
            "basis, paper preset": Basis(prior, **Basis.presets["paper"]),
            "basis, program preset": Basis(prior, **Basis.presets["program"]),
            "basis, paper, delta 1e-5": Basis(prior, delta=1e-5),
            "split-gibbs": SplitGibbs(prior),
        }
        for label, separator in list(candidates.items()):
            if isinstance(separator, Basis):
                try:
                    separator.check(problem)
                except SepvizError as refusal:
                    print(f"K = {sources}, {label}: refused, {refusal}")
                    del candidates[label]
        chosen = run.select(candidates, options.methods)
        rows = run.evaluate(chosen, problem, truth, seed=options.seed, chunk=options.chunk, keep=options.keep)
        title = f"K = {sources} digits of {options.dataset}, class agnostic, per_source PSNR in dB ({run.machine()})"
        print(run.table(rows, title), flush=True)
        run.write(options, title, rows)
