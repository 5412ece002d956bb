"""``sepviz score``: a result against the truth."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sepviz.cli.common import Commands

if TYPE_CHECKING:
    from torch import Tensor

    from sepviz.core import Problem, Truth
    from sepviz.files import Separation
    from sepviz.metrics import Summary

DISTURBED = ("denoise", "inpaint")  # tasks that add to the mixture what is no source


def add(commands: Commands) -> None:
    """Its arguments."""
    score = commands.add("score", run, "compare a result with the truth")
    option = score.add_argument
    option("result", metavar="OUT.npz", type=Path, help="what sepviz separate wrote")
    option("problem", metavar="PROBLEM.npz", type=Path,
           help="what it was separated from, with the truth in it")
    option("--convention", default="per_source",
           help="of PSNR: per_source (BASIS) or summed_mse (S-D)")
    option("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """The command."""
    from sepviz import files, metrics
    from sepviz.core import Separator
    from sepviz.separators import METHODS
    from sepviz.suggest import choose

    convention = choose("convention", arguments.convention, ("per_source", "summed_mse"))
    separation, problem, truth = _read(arguments.result, arguments.problem)
    sources, meta = separation.sources, separation.meta
    told = files.facts(arguments.result, {"recipe": "", **meta}, {"recipe": str})
    recipe = told["recipe"] or None
    filters = separation.results.get("filters")
    rules: dict[str, Any] = {"weights": problem.mixing.weights,
                             "order": METHODS.get(str(meta.get("method")), Separator).order}
    found = metrics.summarize(sources, truth.sources, convention, medium=problem.medium,
                              **rules)
    left_over = problem.residual(sources, filters)
    if arguments.json:
        told = {name: meta.get(name) for name in ("method", "evaluations", "seconds")}
        print(files.to_json({**found._asdict(), "residual_rms": left_over, **told,
                             "recipe": recipe}))
        return 0
    _print(found, left_over, sources.shape[1])
    if filters is not None and truth.filters is not None:
        aligned, same = metrics.aligned_figures(sources, truth.sources, filters, truth.filters,
                                                convention, **rules)
        print(f"PSNR aligned  {aligned:.2f} dB, after the best of 25 shifts and a gain, which no "
              "blind method can know")
        if same is not None:
            print(f"filters       correlation with the true ones {same:.3f} (median, aligned)")
    if recipe is not None:
        print(f"recipe        {recipe}")
    return 0


def _print(found: Summary, left_over: float, count: int) -> None:
    from sepviz.core import ORDERS

    interval = "" if math.isnan(found.interval) else f" +- {found.interval:.2f} (95%)"
    print(f"n             {found.n} mixtures of {count} sources")
    print(f"order         {ORDERS[found.order]}; only sources of equal weight change places")
    print(f"PSNR mean     {found.mean:.2f}{interval} dB, {found.convention}")
    print(f"PSNR median   {found.median:.2f} dB, {found.convention}")
    print(f"PSNR pooled   {found.pooled:.2f} dB, one MSE over all")
    print(f"SSIM          {found.ssim:.4f}")
    print(f"residual RMS  {left_over:.4f}")


def _read(result: Path, given: Path) -> tuple[Separation, Problem, Truth]:
    """Both files, checked to be of the same mixtures and scale."""
    from sepviz import files
    from sepviz.core import SepvizError

    separation = files.load_separation(result)
    problem, truth = files.load_problem(given)
    if truth is None:
        raise SepvizError(f"{given} holds no true sources: without them there is nothing to score "
                          "against")
    if separation.sources.shape != truth.sources.shape:
        raise SepvizError(f"{result} holds sources of shape {tuple(separation.sources.shape)}, "
                          f"{given} of shape {tuple(truth.sources.shape)}: they are not of the "
                          "same mixtures")
    digest = files.digest(problem.mixtures)
    if separation.meta.get("mixtures_digest", digest) != digest:
        print(f"sepviz: note: {result} was separated from other mixtures than those of {given}",
              file=sys.stderr)
    _check_truth(given, problem, truth, files.load_meta(given).get("task"))
    _check_result(result, separation.sources, separation.results.get("filters"), problem)
    return separation, problem, truth


def _check_truth(path: Path, problem: Problem, truth: Truth, task: Any) -> None:
    """Refuse true sources that are none: of another scale, or of other mixtures."""
    from sepviz.core import SepvizError

    least, most = float(truth.sources.min()), float(truth.sources.max())
    if least < -0.1 or most > 1.1:
        mend = "divide them by 255" if most > 16 else "if they are of -1 to 1, take (x + 1) / 2"
        raise SepvizError(f"{path}: true sources from {least:.4g} to {most:.4g}, "
                          f"want [0, 1]: {mend}")
    if problem.mixing.filter_size is not None and truth.filters is None:
        return  # nobody can say what they add up to
    if task in DISTURBED:
        missed = float(problem.left_over(truth.sources, truth.filters).abs().max())
        if missed > 1.01:
            raise SepvizError(f"{path}: the true sources miss their mixtures by up to "
                              f"{missed:.3g}, more than {task} adds: give the file as sepviz mix "
                              "wrote it")
        return
    rest = problem.residuals(truth.sources, truth.filters) / math.sqrt(problem.mixing.energy)
    worst = int(rest.argmax())
    said = (f"{path}: the true sources of mixture {worst} with weights {problem.mixing.weights} "
            f"miss it by RMS {float(rest[worst]):.3f}")
    if rest[worst] > 0.1:
        raise SepvizError(f"{said}: put them in the mixture's order and scale, or, where noise was "
                          "added on purpose, save the problem with meta={'task': 'denoise'}")
    if rest[worst] > 0.01:
        print(f"sepviz: note: {said}: right only if noise was added", file=sys.stderr)


def _check_result(path: Path, sources: Tensor, filters: Tensor | None, problem: Problem) -> None:
    """Refuse a result of another scale than [0, 1]: clamped to it, it would be scored in silence.

    A method may overshoot, even far (`nmf` where nothing is seen), but what it gives then fits the
    mixture.
    """
    from sepviz.core import SepvizError

    least, most = float(sources.min()), float(sources.max())
    if least >= -0.1 and most <= 1.1:
        return
    missed = problem.residual(sources, filters)
    nothing = problem.residual(0 * sources, filters)
    fits = {"divide them by 255": problem.residual(sources / 255, filters),
            "take (x + 1) / 2": problem.residual((sources + 1) / 2, filters)}
    mend = min(fits, key=lambda name: fits[name])
    if fits[mend] >= min(missed / 2, 0.9 * nothing):
        if missed <= 0.9 * nothing:
            return
        mend = "bring them to [0, 1]"
    raise SepvizError(f"{path}: estimates from {least:.4g} to {most:.4g}, which do not add up to "
                      f"the mixtures: {mend}")
