"""The fast synthesis against the authors' program: same generator, same mixtures, one process, in turn."""

from __future__ import annotations

from typing import Any

from sepviz import tasks
from sepviz.bench import run
from sepviz.core import Separator
from sepviz.separators import Synthesis


def main(options: Any, prior: Any) -> None:
    """Print a table for each task and number of starts, and how many times as fast."""
    for task in options.task or ["separate"]:
        problem, truth = tasks.TASKS[task](options.dataset, count=options.count, seed=options.seed, device=options.device)
        for starts in options.starts or (8, 32):
            methods: dict[str, Separator] = {
                "synthesis": Synthesis(prior, starts=starts),
                "synthesis, program preset": Synthesis(prior, **{**Synthesis.presets["program"], "starts": starts}),
            }
            rows = run.evaluate(run.select(methods, options.methods), problem, truth, seed=options.seed, chunk=options.chunk,
                                convention="summed_mse")
            title = f"{task}, {options.dataset}, L = {starts}, summed_mse PSNR in dB ({run.machine()})"
            print(run.table(rows, title))
            if len(rows) == 2:
                fast, literal = rows
                print(f"{literal.seconds / fast.seconds:.1f} times as fast, {fast.mean - literal.mean:+.2f} dB", flush=True)
            run.write(options, title, rows)
