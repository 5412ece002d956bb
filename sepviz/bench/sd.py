"""Tables 2 and 3 of Kong et al. 2019: the tasks of Synthesising-Decomposition, its starts and its baselines."""

from __future__ import annotations

from typing import Any

from sepviz import load_prior, tasks, zoo
from sepviz.bench import run
from sepviz.core import Separator, SepvizError
from sepviz.separators import Cnn, ConvNmf, Nmf, Synthesis
from sepviz.suggest import nearest

TASKS = {"sd-table2": ("denoise", "inpaint", "complete"), "sd-table3": ("deconvolve", "separate", "separate-deconvolve")}
# mean PSNR in dB over 10,000 items; of two sources -10 log10 of the summed MSEs
PUBLISHED = {
    "denoise": {"cnn": "26.0", "nmf": "17.4", "conv-nmf": "18.3", "synthesis, 1": "23.1", "synthesis, 8": "25.1", "synthesis, 32": "25.1"},
    "inpaint": {"cnn": "15.3", "nmf": "13.4", "conv-nmf": "13.4", "synthesis, 1": "15.2", "synthesis, 8": "18.2", "synthesis, 32": "18.9"},
    "complete": {"cnn": "12.2", "nmf": "12.9", "conv-nmf": "13.0", "synthesis, 1": "13.6", "synthesis, 8": "15.4", "synthesis, 32": "15.4"},
    "deconvolve": {"nmf": "15.3", "conv-nmf": "18.3", "synthesis, 1": "17.3", "synthesis, 8": "21.9", "synthesis, 32": "23.2"},
    "separate": {"nmf": "9.4", "conv-nmf": "14.2", "synthesis, 1": "13.7", "synthesis, 8": "16.8", "synthesis, 32": "18.5"},
    "separate-deconvolve": {"nmf": "8.7", "conv-nmf": "10.1", "synthesis, 1": "9.3", "synthesis, 8": "11.5", "synthesis, 32": "13.2"},
}


def methods(task: str, prior: Any, options: Any) -> dict[str, Separator]:
    """The rows: the baselines whose weights are there, and every number of starts."""
    rows: dict[str, Separator] = {}
    for name, method in (("cnn", Cnn), ("nmf", Nmf), ("conv-nmf", ConvNmf)):
        if f"{name}-{options.dataset}" in zoo.names() and not (name == "cnn" and task.startswith("separate")):
            rows[name] = method(load_prior(f"{name}-{options.dataset}", options.device))
    for starts in options.starts or (1, 8, 32):
        rows[f"synthesis, {starts}"] = Synthesis(prior, starts=starts)
    return rows


def main(options: Any, prior: Any) -> None:
    """Print a table for each task."""
    known = TASKS[options.table]
    for task in options.task or known:
        if task not in known:
            raise SepvizError(f"no task {task!r} in {options.table}: {nearest(task, known)}")
        problem, truth = tasks.TASKS[task](options.dataset, count=options.count, seed=options.seed, device=options.device)
        chosen = run.select(methods(task, prior, options), options.methods)
        rows = run.evaluate(chosen, problem, truth, seed=options.seed, chunk=options.chunk, keep=options.keep, convention="summed_mse")
        title = f"{task}, {options.dataset}, summed_mse PSNR in dB, raw (S-D, {options.table[3:]}; {run.machine()})"
        print(run.table(rows, title, PUBLISHED[task] if options.dataset == "mnist" else None), flush=True)
        run.write(options, title, rows)
