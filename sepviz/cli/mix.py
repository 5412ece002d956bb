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
    option = mix.add_argument
    option("--dataset", default="strokes", help="see sepviz data (default: strokes)")
    option("--split", default="test", help="train or test (default: test)")
    option("--task", default="separate", help="""separate, separate-deconvolve, deconvolve, denoise,
        inpaint or complete (default: separate)""")
    option("--kernels",
           help="of the tasks that deconvolve: paper (its nine 5x5) or smooth (default: paper)")
    option("--count", type=common.whole, default=8, help="mixtures (default: 8)")
    option("--sources", type=common.whole, metavar="K",
           help="sources of each mixture (default: 2)")
    option("--protocol", help="""agnostic: any class (default); split: source k from the k-th group
        of classes""")
    option("--weights", nargs="+", metavar="A", help="sum, mean or K numbers (default: sum)")
    option("--out", type=Path, default=Path("problem.npz"), help="default: problem.npz")
    option("--force", action="store_true", help="write over an existing file")
    common.shared(mix, device=False)


def run(arguments: argparse.Namespace) -> int:
    """The command."""
    from sepviz import files, tasks
    from sepviz.suggest import choose

    out, name, dataset = arguments.out, arguments.task, arguments.dataset
    files.check_target(out, arguments.force)
    common.check_npz(out, "a problem file")
    task = tasks.TASKS[choose("task", name, tasks.TASKS)]
    said = {"split": arguments.split, "seed": arguments.seed}
    problem, truth = task(dataset, count=arguments.count, **said, **_options(arguments))
    meta = {"command": arguments.command_line, "task": name, "dataset": dataset, **said,
            "protocol": arguments.protocol or "agnostic"}
    files.save_problem(out, problem, truth, meta, overwrite=arguments.force)
    images = f"{problem.mixing.count} images" if "separate" in name else "one image"
    print(f"{out}: {arguments.count} mixtures of {images} of {dataset} ({name}), "
          f"weights {problem.mixing.weights}")
    return 0


def _options(arguments: argparse.Namespace) -> dict[str, Any]:
    """The arguments that some tasks have, refused for the others."""
    from sepviz import tasks
    from sepviz.core import SepvizError
    from sepviz.suggest import choose

    name, options = arguments.task, {}
    if "separate" in name:
        protocol = choose("protocol", arguments.protocol or "agnostic", tasks.PROTOCOLS)
        weights = common.weights(arguments.weights) or "sum"
        count = len(weights) if isinstance(weights, list) else 2
        options = {"sources": arguments.sources or count, "protocol": protocol, "weights": weights}
    elif arguments.protocol or arguments.weights or (arguments.sources or 1) > 1:
        raise SepvizError(f"task {name} is of one image each: leave --sources, --protocol and "
                          "--weights out")
    if "deconvolve" in name:
        options["kernels"] = arguments.kernels or "paper"
    elif arguments.kernels:
        raise SepvizError(f"--kernels {arguments.kernels}: task {name} filters nothing, leave it "
                          "out")
    return options
