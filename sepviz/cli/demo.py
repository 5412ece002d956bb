"""``sepviz demo``: three methods on a few mixtures."""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sepviz.cli import common
from sepviz.cli.common import Commands

if TYPE_CHECKING:
    from sepviz.core import Problem, Truth
    from sepviz.runs import Trace


def add(commands: Commands) -> None:
    """Its arguments."""
    demo = commands.add("demo", run, "separate a few mixtures with three methods",
                        "Prints a table, writes a picture and a player.")
    option = demo.add_argument
    option("--out", type=Path, default=Path("sepviz-demo"), metavar="FOLDER",
           help="default: sepviz-demo; if it exists, sepviz-demo-2, and so on")
    option("--count", type=common.whole, default=4, help="mixtures (default: 4)")
    option("--dataset", default="strokes", help="default: strokes, which needs no download")
    option("--prior", help="default: score-DATASET")
    common.shared(demo)


def run(arguments: argparse.Namespace) -> int:
    """The command."""
    import sepviz
    from sepviz import tasks
    from sepviz.separators import Average, Basis, SplitGibbs
    from sepviz.views import figures
    from sepviz.views.page import save_page

    count, dataset, seed = arguments.count, arguments.dataset, arguments.seed
    device = common.device_of(arguments.device)
    with reserved_folder(arguments.out) as folder:
        problem, truth = tasks.separate(dataset, count=count, seed=seed, device=device)
        prior = sepviz.load_prior(arguments.prior or f"score-{dataset}", device)
        methods = {"average": Average(), "basis": Basis(prior, **Basis.presets["program"]),
                   "split-gibbs": SplitGibbs(prior)}
        traces: dict[str, Trace] = {}
        for name, separator in methods.items():
            traces[name] = sepviz.record(separator, problem, seed=seed,
                                         progress=sys.stderr.isatty())
            if traces[name].interrupted:
                raise KeyboardInterrupt("nothing was written; the same command starts again")
        print(f"{count} mixtures of two images of {dataset}, seed {seed}, on {device.type}; "
              "PSNR per_source\n")
        _print_table(traces, problem, truth)
        picture, player = folder / "methods.png", folder / "player.html"
        figures.save(figures.compare(problem, traces, truth, count=6,
                                     title=f"Mixtures of {dataset}"), picture)
        save_page(traces["split-gibbs"], player, truth.to("cpu"))
    print(f"\nA picture and a player for the browser: {picture}, {player}")
    return 0


@contextlib.contextmanager
def reserved_folder(wanted: Path) -> Iterator[Path]:
    """``wanted``, or ``wanted-2``, ``wanted-3``, ... if it is there; gone again after an error."""
    from sepviz.files import free_name

    folder = free_name(wanted)
    folder.mkdir(parents=True)
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _print_table(traces: dict[str, Trace], problem: Problem, truth: Truth) -> None:
    from sepviz import metrics

    print(f"{'method':<12} {'PSNR dB':>8} {'SSIM':>6} {'evaluations':>12} {'seconds':>8}")
    for name, trace in traces.items():
        found = metrics.summarize(trace.sources, truth.sources, order=trace.order,
                                  weights=problem.mixing.weights, medium=problem.medium)
        print(f"{name:<12} {found.mean:8.1f} {found.ssim:6.3f} "
              f"{trace.final.info.get('evaluations', 0):12.0f} {trace.seconds:8.1f}", flush=True)
