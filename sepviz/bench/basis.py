"""Table 2 of Jayaram & Thickstun 2020: separating pairs of MNIST digits."""

from __future__ import annotations

from typing import Any

from sepviz import tasks
from sepviz.bench import run
from sepviz.core import Separator
from sepviz.separators import Average, Basis, SplitGibbs

# per_source PSNR in dB, mean over 6,000 pairs
PUBLISHED = {
    "split": {"average": "14.8", "basis, paper preset": "29.5", "basis, program preset": "29.5"},
    "agnostic": {"average": "14.9", "basis, paper preset": "29.3", "basis, program preset": "29.3"},
}


def methods(prior: Any) -> dict[str, Separator]:
    """The rows of the table."""
    return {
        "average": Average(),
        "basis, paper preset": Basis(prior, **Basis.presets["paper"]),
        "basis, program preset": Basis(prior, **Basis.presets["program"]),
        "basis, with a last denoise": Basis(prior, **Basis.presets["program"], denoise_last=True),
        "split-gibbs": SplitGibbs(prior),
        "split-gibbs, 4 chains": SplitGibbs(prior, **SplitGibbs.presets["consensus"]),
    }


def main(options: Any, prior: Any) -> None:
    """Print the table for each protocol."""
    for protocol in options.protocol or ["split", "agnostic"]:
        problem, truth = tasks.separate(options.dataset, count=options.count, seed=options.seed, protocol=protocol, device=options.device)
        chosen = run.select(methods(prior), options.methods)
        rows = run.evaluate(chosen, problem, truth, seed=options.seed, chunk=options.chunk, keep=options.keep)
        title = f"Two digits of {options.dataset}, {protocol}, per_source PSNR in dB (BASIS, Table 2; {run.machine()})"
        print(run.table(rows, title, PUBLISHED.get(protocol) if options.dataset == "mnist" else None), flush=True)
        run.write(options, title, rows)
