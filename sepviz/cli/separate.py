"""``sepviz separate``: take mixtures apart."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sepviz.cli import common
from sepviz.cli.common import Commands

if TYPE_CHECKING:
    from sepviz.core import Problem
    from sepviz.runs import Chunks, Recipe, Trace

# what a recipe says already
IN_A_RECIPE = ("input", "method", "seed", "preset", "prior", "set", "starts", "weights", "sources",
               "filter_size", "visible")


def add(commands: Commands) -> None:
    """Its arguments."""
    separate = commands.add("separate", run, "take mixtures apart", """
        Mixtures are processed in chunks of 32, each with its own seed, so the result depends on
        --seed, --chunk and the order of the mixtures; a method that learns is trained once, on all
        of them. Ctrl-C keeps what is done in OUT.partial.npz; the same command continues from there
        and ends at the same result. The result stores its recipe, and sepviz score prints it.""")
    option = separate.add_argument
    option("input", metavar="INPUT", nargs="*", type=Path, help="""
        problem.npz; a .npz with an array mixtures (B, H, W) or (B, C, H, W); a .npy that is this
        array; or PNG files, gray or RGB, one mixture each: a PNG is read as the weighted mean
        of the sources, in [0, 1], and multiplied by the sum of the weights""")
    option("--method", help="""
        average, basis, cnn, constant, conv-nmf, mask, nmf, rpca, split-gibbs or synthesis (default:
        split-gibbs); adversarial-mask, egg, remix and supervised learn a mask by sepviz train, and
        with glo, glo-masking, remix-tree and ss-nmf need examples that a file does not hold: see
        sepviz.tasks.unmix""")
    option("--recipe", "--state", metavar="TEXT", help="""
        a run in one line, as the labs and sepviz score show it:
        task=...,method=...,run=SEED or problem=FILE,method=...,run=SEED;
        it replaces INPUT and all options of the method""")
    option("--preset", help="named parameters of the method: paper, program, ...")
    option("--prior", help="a shipped prior (score-strokes, ...) or a .safetensors file")
    option("--sources", type=common.whole, metavar="K",
           help="number of sources, if the file does not store it; else the two must match")
    option("--weights", nargs="+", metavar="A",
           help="sum, mean or K numbers, likewise (default: sum)")
    option("--set", action="append", default=[], metavar="FIELD=VALUE",
           help="a parameter of the method; may be repeated")
    option("--starts", type=common.whole, metavar="L",
           help="synthesis: latents tried for each mixture, as --set starts=L")
    option("--filter-size", type=common.whole, metavar="N",
           help="the sources went through unknown filters of N by N, N odd")
    option("--visible", metavar="MASK",
           help="top-half, or a .png: only its bright pixels of the mixtures are looked at")
    option("--chunk", type=common.whole, metavar="N", help="mixtures at a time (default: 32)")
    option("--out", type=Path, default=Path("out.npz"), help="default: out.npz")
    option("--trace", type=Path, metavar="TRACE.npz",
           help="also write the steps of the first chunk")
    option("--html", type=Path, metavar="PLAYER.html", help="also write a page that plays them")
    option("--force", action="store_true", help="write over existing files")
    common.shared(separate)
    separate.set_defaults(seed=None)  # so that one beside --recipe is seen


def run(arguments: argparse.Namespace) -> int:
    """The command."""
    from sepviz import files

    out: Path = arguments.out
    common.check_npz(out, "a result")
    recipe = _recipe(arguments)
    side_files = [path for path in (arguments.trace, arguments.html) if path is not None]
    partial = out.with_suffix(".partial.npz")
    files.check_apart([out, *side_files, partial], recipe.reads())
    files.check_target(out, arguments.force)
    with files.lock(out):
        from sepviz.runs import Chunks

        chunks = Chunks(recipe, common.device_of(arguments.device), partial,
                        [str(path.resolve()) for path in side_files])
        if not chunks.done:  # else this run has written them, after its first chunk
            for path in side_files:
                files.check_target(path, arguments.force)
        return _separate(chunks, arguments, side_files)


def _recipe(arguments: argparse.Namespace) -> Recipe:
    """The command line as a recipe."""
    from sepviz.core import SepvizError, word
    from sepviz.runs.recipe import CHUNK, Recipe, restore

    if arguments.recipe is not None:
        beside = [name for name in IN_A_RECIPE if getattr(arguments, name)]
        if beside:
            raise SepvizError("--recipe says which mixtures and which method: leave "
                              f"{' and '.join(beside)} out")
        recipe = restore(arguments.recipe)
        if not recipe.method:
            raise SepvizError(f"--recipe {recipe}: names no method; add "
                              ",method=split-gibbs,prior=score-strokes for example")
        return dataclasses.replace(recipe, chunk=arguments.chunk or recipe.chunk)
    if not arguments.input:
        raise SepvizError("INPUT: give a problem file, images, or --recipe with the line of text "
                          "that a lab shows")
    weights = common.weights(arguments.weights)
    if isinstance(weights, list):
        weights = "+".join(map(word, weights))
    said = {"sources": arguments.sources, "weights": weights,
            "filter_size": arguments.filter_size, "visible": arguments.visible}
    parameters = common.settings(arguments.set)
    if arguments.starts is not None:
        parameters["starts"] = str(arguments.starts)
    return Recipe.from_files(
        arguments.input, {name: str(value) for name, value in said.items() if value is not None},
        method=arguments.method or "split-gibbs", prior=arguments.prior, preset=arguments.preset,
        parameters=parameters, run=arguments.seed or 0, chunk=arguments.chunk or CHUNK)


def _separate(chunks: Chunks, arguments: argparse.Namespace, side_files: list[Path]) -> int:
    from sepviz import files
    from sepviz.core import SepvizError

    recipe, force, unwritten = chunks.recipe, arguments.force, []
    if arguments.html is not None:  # an error after the run would come too late
        from sepviz.views.packing import check_page
        from sepviz.views.page import LARGEST

        check_page(chunks.problem, LARGEST)
    if recipe.paths:
        _hint_at_the_mean(recipe.paths[0], chunks.problem)
    if chunks.goes_on:
        print(chunks.goes_on)

    def write_steps(trace: Trace) -> None:
        for path in side_files:
            try:
                _write_steps(trace, chunks, path, force, page=path is arguments.html)
            except SepvizError as error:  # said at the end: the result must not be lost with it
                unwritten.append(str(error))

    with chunks:
        found = chunks.run(write_steps if side_files else None)
        out = arguments.out if force else common.still_free(arguments.out)
        meta = {**chunks.meta(found), "command": arguments.command_line}
        files.save_separation(out, found.sources, meta, found.results, overwrite=force)
    many, count = found.sources.shape[:2]
    print(f"{out}: {many} mixture{'s' * (many > 1)} of {count} sources by {recipe.method}, "
          f"{found.seconds:.1f} s")
    if unwritten:
        raise SepvizError(f"{arguments.out} is written, but not its steps: {'; '.join(unwritten)}")
    if side_files:
        print(f"{' and '.join(map(str, side_files))}: the steps of the first "
              f"{min(chunks.size, many)} mixtures")
    return 0


def _write_steps(trace: Trace, chunks: Chunks, path: Path, force: bool, page: bool) -> None:
    """Write the first chunk's steps to a trace or a page."""
    from sepviz.core import Truth
    from sepviz.views.page import save_page

    path, truth = path if force else common.still_free(path), chunks.truth
    if not page:
        trace.save(path, overwrite=force)
        return
    if truth is not None:
        truth = Truth(truth.sources[:len(trace.problem.mixtures)])
    save_page(trace, path, truth, overwrite=force)


def _hint_at_the_mean(path: Path, problem: Problem) -> None:
    """Say it where the sources seem to be averaged, and nobody stated it but the caller."""
    from sepviz import files

    count = problem.mixing.count
    summed = count > 1 and problem.mixing.weights == (1.0,) * count
    stated = path.suffix.lower() == ".png" or "weights" in files.read(path)
    if summed and not stated and float(problem.mixtures.max()) <= 1:
        print(f"sepviz: note: no {problem.medium.value} exceeds 1: if this is the mean of the "
              "sources, say --weights mean", file=sys.stderr)
