"""``sepviz mix``: a problem file with the truth in it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sepviz.cli import common
from sepviz.cli.common import Commands


def add(commands: Commands) -> None:
    """Its arguments."""
    mix = commands.add("mix", run, "make a problem file: mixtures of images, with the truth in it")
    mix.add_argument("--dataset", default="strokes", help="see sepviz data (default: strokes)")
    mix.add_argument("--split", default="test", help="train or test (default: test)")
    mix.add_argument("--task", default="separate",
                     help="separate, separate-deconvolve, deconvolve, denoise, inpaint or complete (default: separate)")
    mix.add_argument("--kernels", help="of the tasks that deconvolve: paper (its nine 5x5) or smooth (default: paper)")
    mix.add_argument("--count", type=common.whole, default=8, help="mixtures (default: 8)")
    mix.add_argument("--sources", type=common.whole, metavar="K", help="sources of each mixture (default: 2)")
    mix.add_argument("--protocol", help="agnostic: any class (default); split: source k from the k-th group of classes")
    mix.add_argument("--weights", nargs="+", metavar="A", help="sum, mean or K numbers (default: sum)")
    mix.add_argument("--out", type=Path, default=Path("problem.npz"), help="default: problem.npz")
    mix.add_argument("--force", action="store_true", help="write over an existing file")
    common.shared(mix, device=False)


def run(arguments: argparse.Namespace) -> int:
    """The command."""
    from sepviz import files, tasks
    from sepviz.core import SepvizError
    from sepviz.suggest import choose

    files.check_target(arguments.out, arguments.force)
    if arguments.out.suffix != ".npz":
        raise SepvizError(f"--out {arguments.out}: a problem file's name ends in .npz")
    task = tasks.TASKS[choose("task", arguments.task, tasks.TASKS)]
    options: dict[str, Any] = {"count": arguments.count, "seed": arguments.seed, "split": arguments.split}
    separates, filters = "separate" in arguments.task, "deconvolve" in arguments.task
    if separates:
        choose("protocol", arguments.protocol or "agnostic", tasks.PROTOCOLS)
        weights = common.weights(arguments.weights)
        options |= {"sources": arguments.sources or (len(weights) if isinstance(weights, list) else 2),
                    "protocol": arguments.protocol or "agnostic", "weights": "sum" if weights is None else weights}
    elif arguments.protocol or arguments.weights or (arguments.sources or 1) > 1:
        raise SepvizError(f"task {arguments.task} is of one image each: leave --sources, --protocol and --weights out")
    if filters:
        options["kernels"] = arguments.kernels or "paper"
    elif arguments.kernels:
        raise SepvizError(f"--kernels {arguments.kernels}: task {arguments.task} filters nothing, leave it out")
    problem, truth = task(arguments.dataset, **options)
    meta = {"command": arguments.command_line, "task": arguments.task, "dataset": arguments.dataset, "split": arguments.split,
            "protocol": arguments.protocol or "agnostic", "seed": arguments.seed}
    files.save_problem(arguments.out, problem, truth, meta, overwrite=arguments.force)
    said = f"{problem.mixing.count} images" if separates else "one image"
    print(f"{arguments.out}: {arguments.count} mixtures of {said} of {arguments.dataset} ({arguments.task}), "
          f"weights {problem.mixing.weights}")
    return 0
