"""``sepviz train``: learn a prior or a mask."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sepviz.cli import common
from sepviz.cli.common import Commands, still_free

if TYPE_CHECKING:
    from torch import Tensor

    from sepviz.data import Dataset


def add(commands: Commands) -> None:
    """Its arguments."""
    train = commands.add("train", run, "train a prior", """
        Held-out figures are of 2,000 images of the train split (a tenth of a set below 20,000),
        drawn at random, the same share of every class; the test split is never touched. Ctrl-C
        keeps NAME.ckpt beside --out; the same command goes on from there.""")
    train.add_argument("model", metavar="MODEL", help="""score, gan, nmf, conv-nmf or cnn, of clean images; or a mask for mixtures of two
        sources, by the method egg, adversarial-mask, remix or supervised""")
    train.add_argument("--dataset", help="see sepviz data (default: strokes)")
    train.add_argument("--unseen", metavar="SET", help="""masks: the source that is never seen clean, as strokes:0-4 (the default),
        fashion-mnist:5,7,9 or a folder""")
    train.add_argument("--observed", metavar="SET", help="masks: the other source (default: strokes:5-9)")
    train.add_argument("--size", type=common.whole, metavar="N",
                       help="masks of folders: resize and crop the images to N by N, N divisible by 8")
    train.add_argument("--invert", action="store_true", help="masks: take 1 - image, for pictures of dark things on white")
    train.add_argument("--training", type=common.whole, metavar="N",
                       help="masks: images of the observed source, and mixtures (default: 12000; remix: 25000)")
    train.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="masks: a parameter of the method")
    train.add_argument("--trace", type=Path, metavar="TRACE.npz",
                       help="""masks: also write what every step made of 6 held-out mixtures, and these, with their truth, as
                       TRACE.problem.npz""")
    train.add_argument("--minutes", type=common.duration, help="score: default 60")
    train.add_argument("--iterations", type=common.whole, metavar="N",
                       help="""score: in place of --minutes; the others: default 10000 (gan),
                       3000 (cnn), at most 400 (nmf) or 300 (conv-nmf) of each class""")
    train.add_argument("--preset", help="gan: paper (512, 256 and 128 features) or narrow (half of them); masks: paper or program")
    train.add_argument("--compile", action="store_true",
                       help="compile the network first: a minute, then faster; needs a C++ compiler")
    train.add_argument("--start", metavar="WEIGHTS", help="score: go on from these, a name of the zoo or a file, in place of random ones")
    train.add_argument("--out", type=Path, metavar="NAME.safetensors", help="default: MODEL-DATASET.safetensors; its card is NAME.json")
    common.shared(train)


def run(arguments: argparse.Namespace) -> int:
    """The command."""
    from sepviz import files
    from sepviz.core import SepvizError
    from sepviz.suggest import choose

    choose("model", arguments.model, (*TRAINERS, *MASKS))
    for option, models in (("minutes", ("score",)), ("compile", ("score",)), ("start", ("score",)), ("preset", ("gan", *MASKS)),
                           ("iterations", TRAINERS), ("dataset", TRAINERS), ("unseen", MASKS), ("observed", MASKS), ("training", MASKS),
                           ("set", MASKS), ("trace", MASKS), ("size", MASKS), ("invert", MASKS)):
        if getattr(arguments, option) and arguments.model not in models:
            instead = {"minutes": ", and give --iterations", "dataset": ", and give --unseen and --observed",
                       "iterations": ", and give --set"}.get(option, "")
            instead = instead if arguments.model in MASKS or option == "minutes" else ""
            raise SepvizError(f"--{option} is not for {arguments.model}: leave it out{instead}")
    if arguments.minutes and arguments.iterations:
        raise SepvizError(f"--minutes {arguments.minutes:g} and --iterations "
                          f"{arguments.iterations}: give one of them")
    name = f"{arguments.model}-{Path(arguments.dataset or 'strokes').name}" if arguments.model in TRAINERS else arguments.model
    out: Path = arguments.out or Path(f"{name}.safetensors")
    out = out.with_name(out.name + ".safetensors") if not out.suffix else out
    if out.suffix != ".safetensors":
        raise SepvizError(f"--out {out}: the name of weights ends in .safetensors")
    checkpoint = out.with_suffix(".ckpt")
    side_files = [arguments.trace, _problem_beside(arguments.trace)] if arguments.trace else []
    files.check_apart([out, out.with_suffix(".json"), checkpoint, *side_files])
    for target in (out, out.with_suffix(".json"), *side_files):
        files.check_target(target)
    with files.lock(out):
        return _train_to(arguments, out, checkpoint)


def _problem_beside(trace: Path) -> Path:
    return trace.with_name(trace.name.removesuffix(".npz") + ".problem.npz")


def _train_to(arguments: argparse.Namespace, out: Path, checkpoint: Path) -> int:
    from sepviz import files, zoo
    from sepviz.core import SepvizError
    from sepviz.training.checkpoint import kept, read

    if checkpoint.exists():
        read(checkpoint)  # now, not after the images are drawn
    try:
        learn = _learn_mask if arguments.model in MASKS else learn_prior
        prior, card, figures, *beside = learn(arguments, out.stem, checkpoint)
        with files.together() as made:
            for path, save in beside:
                made.append(save(still_free(path)))
            out = still_free(out, ".json")
            try:
                zoo.save(prior, out, {"command": arguments.command_line, **card,
                                      "versions": files.versions()})
            except SepvizError as error:
                raise SepvizError(f"{error}; {kept(checkpoint)}") from None
    except KeyboardInterrupt:
        raise KeyboardInterrupt(kept(checkpoint)) from None
    checkpoint.unlink(missing_ok=True)
    print(f"{out}: {card['iterations']} iterations in {card['minutes']} minutes on {card['device']}\n")
    for line in figures:
        print(line)
    return 0


def learn_prior(arguments: argparse.Namespace, name: str, checkpoint: Path) -> tuple[Any, dict, list[str]]:
    """What learns from clean images of one set: the prior, its card, what to tell of it."""
    from sepviz import data

    dataset = "strokes" if arguments.dataset is None else arguments.dataset
    whole = data.load(dataset, "train")
    device, count = common.device_of(arguments.device), len(whole.images)
    learned, held_out = data.hold_out(whole, 2000 if count >= 20_000 else max(1, count // 10))
    learned = data.Dataset(learned.name, learned.images.to(device), learned.labels.to(device))
    held = held_out.images.to(device)
    prior, card, figures = TRAINERS[arguments.model](learned, held, checkpoint, name, arguments)
    rule = f"{len(held)} images of the train split, drawn at random, the same share of every class"
    if arguments.start:
        rule += "; what --start learned from may be among them"
    return prior, {"dataset": dataset, "held_out": rule, **card}, figures


def _learn_mask(arguments: argparse.Namespace, name: str, checkpoint: Path) -> tuple[Any, ...]:
    """What learns from mixtures: a mask network, by a method's steps; how to write these, if asked."""
    from sepviz import files, metrics, tasks
    from sepviz.core import Problem, Truth, parameters_of
    from sepviz.runs.recipe import separator_of
    from sepviz.runs.trace import Trace
    from sepviz.training import masks

    separator: Any = separator_of(arguments.model, arguments.preset, common.settings(arguments.set), None,
                                  common.device_of(arguments.device))
    unseen = "strokes:0-4" if arguments.unseen is None else arguments.unseen
    observed = "strokes:5-9" if arguments.observed is None else arguments.observed
    sees = separator.sees
    problem, truth = tasks.unmix(unseen, observed, count=1000, seed=arguments.seed, sees=sees, split="held-out",
                                 training=arguments.training or (25_000 if sees == "mixtures" else 12_000),
                                 size=arguments.size, invert=arguments.invert,
                                 device=common.device_of(arguments.device))
    done = masks.train(separator, problem, checkpoint, arguments.seed, (unseen, observed), progress=sys.stderr.isatty())
    step = done.step
    beside: list[tuple[Path, Callable[[Path], Path]]] = []
    if arguments.trace:
        few = Problem(problem.mixtures[:masks.SHOWN].cpu(), problem.mixing)
        true = Truth(truth.sources[:masks.SHOWN].cpu())
        trace = Trace(few, done.shown, type(separator).__name__, parameters_of(separator),
                      arguments.seed, 60 * done.minutes)
        beside = [(arguments.trace, trace.save), (_problem_beside(arguments.trace),
                                                  lambda path: files.save_problem(path, few, true))]
    found = separator.trained(step, tuple(problem.mixtures.shape[1:]), name)
    blind = separator.order == "set"  # then which is which cannot be known
    scored = (metrics.summarize(step.sources, truth.sources, order="set") if blind
              else metrics.summarize(step.sources[:, :1], truth.sources[:, :1]))
    what = f"both sources out of mixtures of {unseen} and {observed}" if blind else f"{unseen} out of mixtures with {observed}"
    figure = {"what": f"PSNR in dB and SSIM, {what}, held-out images", "n": scored.n, "mean": round(scored.mean, 2),
              "interval": round(scored.interval, 2), "median": round(scored.median, 2), "ssim": round(scored.ssim, 4)}
    card = {"unseen": unseen, "observed": observed, "sees": tasks.SEES[sees], "examples": len(problem.examples.mixtures),  # type: ignore[union-attr]
            "seed": arguments.seed, "minutes": round(done.minutes, 1), "iterations": step.index,
            "parameters": sum(weight.numel() for weight in found.parameters()), "device": problem.mixtures.device.type,
            "held_out": tasks.HELD_OUT_IS, "unseen_psnr": figure}
    said = f"{what}, {scored.n} held-out mixtures: {scored.mean:.1f} dB, SSIM {scored.ssim:.3f}"
    return found, card, [said], *beside


def _train_score(learned: Dataset, held_out: Tensor, checkpoint: Path, name: str,
                 arguments: argparse.Namespace) -> tuple[Any, dict, list[str]]:
    from sepviz import zoo
    from sepviz.core import SepvizError
    from sepviz.training.score import train_score

    start = zoo.load(arguments.start) if arguments.start else None
    if start is not None and zoo.kind_of(start) != "score":
        raise SepvizError(f"--start {arguments.start} is of kind {zoo.kind_of(start)}: give weights of a score prior")
    prior, card = train_score(learned.images, held_out, checkpoint, minutes=60.0 if arguments.minutes is None else arguments.minutes,
                              iterations=arguments.iterations, seed=arguments.seed, name=name, progress=sys.stderr.isatty(),
                              compile_network=arguments.compile, start=start)
    figures = [f"mse / sigma^2 on {len(held_out)} held-out images of the train split "
               "(1: no denoising, 0: perfect)"]
    figures += [f"  sigma {float(sigma):<5g} {loss:.4f}" for sigma, loss in card["held_out_loss_per_sigma"].items()]
    return prior, card, figures


def _held_out(figure: dict[str, Any], what: str) -> str:
    return f"{what.format(n=figure['n'])}: {figure['mean']:.1f} dB, a tenth of them below {figure['tenth_percentile']:.1f} dB"


def _train_gan(learned: Dataset, held_out: Tensor, checkpoint: Path, name: str,
               arguments: argparse.Namespace) -> tuple[Any, dict, list[str]]:
    from sepviz.priors.gan import PRESETS
    from sepviz.suggest import choose
    from sepviz.training.gan import train_gan

    widths = PRESETS[choose("preset of gan", arguments.preset or "paper", PRESETS)]
    prior, card = train_gan(learned.images, held_out, checkpoint, iterations=arguments.iterations or 10_000, seed=arguments.seed, name=name,
                            widths=widths, progress=sys.stderr.isatty())
    return prior, card, [_held_out(card["oracle_psnr"], "the best image found for {n} held-out ones")]


def _train_nmf(learned: Dataset, held_out: Tensor, checkpoint: Path, name: str,
               arguments: argparse.Namespace) -> tuple[Any, dict, list[str]]:
    from sepviz.training.dictionary import train_dictionary

    prior, card = train_dictionary(learned.images, learned.labels, held_out, reach=2 if arguments.model == "conv-nmf" else 0,
                                   iterations=arguments.iterations, seed=arguments.seed, name=name,
                                   progress=sys.stderr.isatty())
    return prior, card, [_held_out(card["rebuilt_psnr"], "{n} held-out images rebuilt from the bases")]


def _train_cnn(learned: Dataset, held_out: Tensor, checkpoint: Path, name: str,
               arguments: argparse.Namespace) -> tuple[Any, dict, list[str]]:
    from sepviz.training.cnn import train_cnn

    prior, card = train_cnn(learned.images, held_out, checkpoint, iterations=arguments.iterations or 3000, seed=arguments.seed, name=name,
                            progress=sys.stderr.isatty())
    return prior, card, [_held_out(card["denoised_psnr"], "{n} held-out images, noise taken off")]


TRAINERS: dict[str, Callable[..., tuple[Any, dict, list[str]]]] = {
    "score": _train_score, "gan": _train_gan, "nmf": _train_nmf, "conv-nmf": _train_nmf, "cnn": _train_cnn}
MASKS = ("egg", "supervised", "adversarial-mask", "remix")  # methods whose training leaves a mask network
