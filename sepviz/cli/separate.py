"""``sepviz separate``: take mixtures apart."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sepviz.cli import common
from sepviz.cli.chunks import CHUNK, check_fits_in, run_chunks, same_run, still_free
from sepviz.cli.common import Commands

if TYPE_CHECKING:
    from torch import Tensor

    from sepviz.core import Problem, Truth


def add(commands: Commands) -> None:
    """Its arguments."""
    separate = commands.add("separate", run, "take mixtures apart", f"""
        The mixtures are taken {CHUNK} at a time, each such chunk from a seed of its own, so the result depends on
        --seed, --chunk and the order of the mixtures; a method that learns is trained once and
        takes all. Ctrl-C keeps what is done in OUT.partial.npz; the same command goes on from there
        and ends at the same result.""")
    separate.add_argument("input", metavar="INPUT", nargs="*", type=Path, help="""
        problem.npz; a .npz with an array mixtures (B, H, W) or (B, C, H, W); a .npy that is this array; or PNG files,
        gray or RGB, one mixture each: a PNG's values v in [0, 1] are taken for the mean picture of the sources, the
        mixture is v times the sum of the weights""")
    separate.add_argument("--method",
                          help="""average, basis, cnn, constant, conv-nmf, mask, nmf, rpca, split-gibbs or synthesis (default: split-gibbs);
                          adversarial-mask, egg, remix and supervised learn a mask by sepviz train, and with glo, glo-masking, remix-tree
                          and ss-nmf need examples that a file does not hold: see sepviz.tasks.unmix""")
    separate.add_argument("--state", metavar="TEXT", help="""a run in one line, as the labs show it: task=...,method=...,run=...;
                          in place of INPUT and of all that says how to separate; the
                          same run up to --chunk mixtures""")
    separate.add_argument("--preset", help="named parameters of the method: paper, program, ...")
    separate.add_argument("--prior", help="a shipped prior (score-strokes, ...) or the path of a .safetensors file")
    separate.add_argument("--sources", type=common.whole, metavar="K", help="for a file that does not say it; else it must agree")
    separate.add_argument("--weights", nargs="+", metavar="A", help="sum, mean or K numbers, likewise (default: sum)")
    separate.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="a parameter of the method; may be repeated")
    separate.add_argument("--starts", type=common.whole, metavar="L", help="synthesis: latents tried for each mixture, as --set starts=L")
    separate.add_argument("--filter-size", type=common.whole, metavar="N", help="the sources went through unknown filters of N by N, N odd")
    separate.add_argument("--visible", metavar="MASK", help="top-half, or a .png: only its bright pixels of the mixtures are looked at")
    separate.add_argument("--chunk", type=common.whole, default=CHUNK, metavar="N", help=f"mixtures at a time (default: {CHUNK})")
    separate.add_argument("--out", type=Path, default=Path("out.npz"), help="default: out.npz")
    separate.add_argument("--trace", type=Path, metavar="TRACE.npz", help="also write the steps of the first chunk")
    separate.add_argument("--html", type=Path, metavar="PLAYER.html", help="also write a page that plays them")
    separate.add_argument("--force", action="store_true", help="write over existing files")
    common.shared(separate)
    separate.set_defaults(seed=None)  # so that one beside --state is seen


def run(arguments: argparse.Namespace) -> int:
    """The command."""
    from sepviz import files
    from sepviz.core import SepvizError

    targets = [path for path in (arguments.out, arguments.trace, arguments.html) if path is not None]
    partial_path = arguments.out.with_suffix(".partial.npz")
    if arguments.out.suffix != ".npz":
        raise SepvizError(f"--out {arguments.out}: a result's name ends in .npz")
    files.check_apart([*targets, partial_path], _read_by(arguments))
    files.check_target(arguments.out, arguments.force)
    arguments.unwritten = []  # side files, and why not
    with files.lock(arguments.out):
        return _separate_to(arguments, targets, partial_path)


def _restore(arguments: argparse.Namespace) -> tuple[Problem, Truth]:
    """What ``--state`` says: its mixtures are given back, the rest is put where the options of the command line are."""
    from sepviz.core import SepvizError
    from sepviz.runs.recipe import restore

    others = ("input", "method", "seed", "preset", "prior", "set", "starts", "weights", "sources", "filter_size", "visible")
    beside = [name for name in others if getattr(arguments, name)]
    if beside:
        raise SepvizError(f"--state says which mixtures and which method: leave {' and '.join(beside)} out")
    state = restore(arguments.state)
    if not state.method:
        raise SepvizError(f"--state {state}: names no method; add ,method=split-gibbs,prior=score-strokes for example")
    arguments.method, arguments.prior, arguments.seed = state.method, state.prior, state.run
    arguments.set = [f"{name}={text}" for name, text in state.parameters.items()]
    return state.problem()


def _read_by(arguments: argparse.Namespace) -> list[Path]:
    """The files that `separate` reads: inputs, weights with their card, a mask."""
    from sepviz import zoo

    read = [*arguments.input, *([] if arguments.visible is None else [Path(arguments.visible)])]
    if arguments.prior is not None:
        weights = zoo.path_of(arguments.prior)
        read += [weights, weights.with_suffix(".json")]
    return read


def _hint_at_the_mean(path: Path, problem: Problem) -> None:
    """Say it where the sources seem to be averaged, and nobody stated it but the caller."""
    from sepviz import files

    count = problem.mixing.count
    summed = count > 1 and problem.mixing.weights == (1.0,) * count and path.suffix.lower() != ".png"
    if summed and float(problem.mixtures.max()) <= 1 and not files.holds(path, "weights"):
        print("sepviz: note: no pixel exceeds 1: if this is the mean of the sources, "
              "say --weights mean", file=sys.stderr)


def _separate_to(arguments: argparse.Namespace, targets: list[Path], partial_path: Path) -> int:
    from sepviz import files, tasks, zoo
    from sepviz.core import SepvizError, parameters_of, prior_of
    from sepviz.runs.recipe import separator_of

    partial = files.load_partial(partial_path) if partial_path.exists() else None
    side_files = [str(path.resolve()) for path in (arguments.trace, arguments.html) if path is not None]
    then = {} if partial is None else files.field(partial_path, partial.meta, "run", dict)
    side_files_then: list[str] = []
    if partial is not None:
        side_files_then = files.names(partial_path, partial.meta, "side_files")
    begun_here = partial is not None and len(partial.done) > 0 and side_files_then == side_files
    if not begun_here:  # else this run has written them, after its first chunk
        for path in targets[1:]:
            files.check_target(path, arguments.force)
    device = common.device_of(arguments.device)
    if not arguments.input and arguments.state is None:
        raise SepvizError("INPUT: give a problem file, images, or --state with the line of text that a lab shows")
    problem: Problem
    truth: Truth | None
    if arguments.state is not None:
        problem, truth = _restore(arguments)
        files.check_apart(targets, _read_by(arguments))
    else:
        arguments.method = arguments.method or "split-gibbs"
        arguments.seed = 0 if arguments.seed is None else arguments.seed
        problem, truth = files.load_problem(arguments.input, weights=common.weights(arguments.weights), count=arguments.sources,
                                            filter_size=arguments.filter_size)
    if arguments.visible is not None:
        problem = tasks.hide(problem, files.read_mask(arguments.visible, *problem.mixtures.shape[-2:]))
    if arguments.html is not None:  # an error after the run would come too late
        from sepviz.views.packing import check_page
        from sepviz.views.page import LARGEST

        check_page(problem, LARGEST)
    settings = [*arguments.set, *([] if arguments.starts is None else [f"starts={arguments.starts}"])]
    separator = separator_of(arguments.method, arguments.preset, settings, arguments.prior, device)
    prior = prior_of(separator)
    if separator.sees is not None:  # one training, for all mixtures
        arguments.chunk = max(arguments.chunk, len(problem.mixtures))
    separator.check(problem.to(device))
    if arguments.state is None:
        _hint_at_the_mean(arguments.input[0], problem)
    run = {"method": arguments.method, "prior": None if prior is None else arguments.prior, "prior_digest": zoo.digest(prior),
           "parameters": parameters_of(separator), "seed": arguments.seed, "chunk": arguments.chunk, "device": device.type,
           "weights": list(problem.mixing.weights), "filter_size": problem.mixing.filter_size,
           "visible_digest": None if problem.mixing.visible is None else files.digest(problem.mixing.visible),
           "mixtures": len(problem.mixtures), "mixtures_digest": files.digest(problem.mixtures)}
    if partial is not None:
        same_run(partial_path, then, run)
        check_fits_in(partial_path, partial, problem, arguments.chunk)
        if side_files_then != side_files and len(partial.done) > 0 and side_files:
            raise SepvizError(f"{partial_path} has its first {len(partial.done)} mixtures done without these --trace and --html: "
                              "leave them out, or move the file away")
        print(f"{partial_path}: going on after {len(partial.done)} of {len(problem.mixtures)} mixtures"
              + (f" and step {partial.step.index} of the next" if partial.step else ""))

    def write(results: dict[str, Tensor], evaluations: float, seconds: float) -> str:
        sources = results.pop("sources")
        meta = {**run, "preset": arguments.preset, "evaluations": evaluations,
                "seconds": round(seconds, 3), "versions": files.versions(),
                "command": arguments.command_line}
        out = arguments.out if arguments.force else still_free(arguments.out)
        files.save_separation(out, sources, meta, results, overwrite=arguments.force)
        return (f"{out}: {len(sources)} mixtures of {problem.mixing.count} sources "
                f"by {arguments.method}, {seconds:.1f} s")

    print(run_chunks(separator, problem, truth, run, partial, partial_path, side_files, arguments,
                      device, write))
    if side_files and not arguments.unwritten:
        names = " and ".join(map(str, targets[1:]))
        first = min(arguments.chunk, len(problem.mixtures))
        print(f"{names}: the steps of the first {first} mixtures")
    if arguments.unwritten:
        raise SepvizError(f"{arguments.out} is written, but not its steps: "
                          f"{'; '.join(arguments.unwritten)}")
    return 0
