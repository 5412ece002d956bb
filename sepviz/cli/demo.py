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
    from sepviz.core import Separator
    from sepviz.runs.trace import Trace


def add(commands: Commands) -> None:
    """Its arguments."""
    demo = commands.add("demo", run, "separate a few mixtures with three methods", "Prints a table, writes a picture and a player.")
    demo.add_argument("--out", type=Path, default=Path("sepviz-demo"), metavar="FOLDER",
                      help="default: sepviz-demo; a new name if it is there")
    demo.add_argument("--count", type=common.whole, default=4, help="mixtures (default: 4)")
    demo.add_argument("--dataset", default="strokes", help="default: strokes, which needs no download")
    demo.add_argument("--prior", help="default: score-DATASET")
    common.shared(demo)


def run(arguments: argparse.Namespace) -> int:
    """The command."""
    with fresh_folder(arguments.out) as folder:
        return _demonstrate(arguments, folder)


@contextlib.contextmanager
def fresh_folder(wanted: Path) -> Iterator[Path]:
    """``wanted``, or ``wanted-2``, ``wanted-3``, ... if it is there; gone again after an error."""
    number, folder = 1, wanted
    while folder.exists():
        number += 1
        folder = wanted.with_name(f"{wanted.name}-{number}")
    folder.mkdir(parents=True)
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _demonstrate(arguments: argparse.Namespace, folder: Path) -> int:
    import sepviz
    from sepviz import metrics, tasks
    from sepviz.core import Truth
    from sepviz.separators import Average, Basis, SplitGibbs
    from sepviz.views import figures
    from sepviz.views.page import save_page

    device = common.device_of(arguments.device)
    problem, truth = tasks.separate(arguments.dataset, count=arguments.count, seed=arguments.seed, device=device)
    prior = sepviz.load_prior(arguments.prior or f"score-{arguments.dataset}", device)
    basis = Basis(prior, **Basis.presets["program"])
    methods: dict[str, Separator] = {"average": Average(), "basis": basis, "split-gibbs": SplitGibbs(prior)}
    traces: dict[str, Trace] = {}
    for name, separator in methods.items():
        traces[name] = trace = sepviz.record(separator, problem, seed=arguments.seed, progress=sys.stderr.isatty())
        if trace.interrupted:
            raise KeyboardInterrupt("nothing was written; the same command starts again")
    # after all the bars, which would stand between its rows
    print(f"{arguments.count} mixtures of two images of {arguments.dataset}, seed {arguments.seed}, on {device.type}; PSNR per_source\n")
    print(f"{'method':<12} {'PSNR dB':>8} {'SSIM':>6} {'evaluations':>12} {'seconds':>8}")
    for name, trace in traces.items():
        found = metrics.summarize(trace.sources, truth.sources, order=trace.order,
                                  weights=problem.mixing.weights)
        evaluations = trace.final.info.get("evaluations", 0)
        print(f"{name:<12} {found.mean:8.1f} {found.ssim:6.3f} {evaluations:12.0f} {trace.seconds:8.1f}", flush=True)
    picture = figures.compare(problem, traces, truth, count=6, title=f"Mixtures of {arguments.dataset}")
    figures.save(picture, folder / "methods.png")
    save_page(traces["split-gibbs"], folder / "player.html", Truth(truth.sources.cpu()))
    print(f"\nA picture and a player for the browser: {folder / 'methods.png'}, {folder / 'player.html'}")
    return 0
