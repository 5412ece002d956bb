"""``sepviz train``: learn a prior or a mask."""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sepviz.cli import common
from sepviz.cli.common import Commands
from sepviz.cli.watched import Watched, problem_beside

if TYPE_CHECKING:
    from torch import Tensor

    from sepviz.data import Dataset

MASKS = ("egg", "supervised", "adversarial-mask", "remix")  # whose training leaves a mask network
Learned = tuple[Any, dict, list[str]]  # a prior, its card, and lines to print about it


def add(commands: Commands) -> None:
    """Its arguments."""
    train = commands.add("train", run, "train a prior", """
        Held-out figures are of 2,000 images of the train split (a tenth of a set below 20,000),
        drawn at random, the same share of every class; the test split is never touched. Ctrl-C
        keeps NAME.ckpt beside --out; the same command goes on from there.""")
    train.add_argument("model", metavar="MODEL", help="""
        score, gan, nmf, conv-nmf or cnn, from clean images; or a mask for mixtures of two sources,
        by the method egg, adversarial-mask, remix or supervised""")
    train.add_argument("--dataset", help="see sepviz data (default: strokes)")
    train.add_argument("--unseen", metavar="SET", help="""
        masks: the source that is never seen clean, as strokes:0-4 (the default),
        fashion-mnist:5,7,9 or a folder""")
    train.add_argument("--observed", metavar="SET",
                       help="masks: the other source (default: strokes:5-9)")
    train.add_argument("--size", type=common.whole, metavar="N",
                       help="masks of folders: crop the images to N by N, N divisible by 8")
    train.add_argument("--invert", action="store_true",
                       help="masks: take 1 - image, for pictures of dark things on white")
    train.add_argument("--training", type=common.whole, metavar="N", help="""
        masks: images of the observed source, and mixtures (default: 12000; remix: 25000)""")
    train.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE",
                       help="masks: a parameter of the method")
    train.add_argument("--watch", metavar="PAGE.html", type=Path, help="""
        all but nmf and conv-nmf: write a page that plays the training so far, on 6 held-out images
        or mixtures, with its losses; it is renewed once a minute and at the end""")
    train.add_argument("--trace", type=Path, metavar="TRACE.npz", help="""
        all but nmf and conv-nmf: also write these steps, and the images or mixtures with their
        truth, as TRACE.problem.npz""")
    train.add_argument("--minutes", type=common.duration, help="score: default 60")
    train.add_argument("--iterations", type=common.whole, metavar="N", help="""
        score: in place of --minutes; the others: default 10000 (gan), 3000 (cnn), at most
        400 (nmf) or 300 (conv-nmf) of each class""")
    train.add_argument("--preset", help="""
        gan: paper (512, 256 and 128 features) or narrow (half of them); masks: paper or program""")
    train.add_argument("--compile", action="store_true", help="""
        score: compile the network first: a minute, then faster; needs a C++ compiler""")
    train.add_argument("--start", metavar="WEIGHTS", help="""
        score: go on from these, a name of the zoo or a file, in place of random ones""")
    train.add_argument("--out", type=Path, metavar="NAME.safetensors",
                       help="default: MODEL-DATASET.safetensors; its card is NAME.json")
    common.shared(train)


def run(arguments: argparse.Namespace) -> int:
    """The command."""
    from sepviz import files
    from sepviz.core import SepvizError

    _check_options(arguments)
    name = arguments.model
    if name in TRAINERS:
        name += f"-{Path(arguments.dataset or 'strokes').name}"
    out: Path = arguments.out or Path(f"{name}.safetensors")
    out = out.with_name(out.name + ".safetensors") if not out.suffix else out
    if out.suffix != ".safetensors":
        raise SepvizError(f"--out {out}: the name of weights ends in .safetensors")
    checkpoint, card = out.with_suffix(".ckpt"), out.with_suffix(".json")
    traced = [arguments.trace, problem_beside(arguments.trace)] if arguments.trace else []
    page = [arguments.watch] if arguments.watch else []
    files.check_apart([out, card, checkpoint, *traced, *page])
    for target in (out, card, *traced):
        files.check_target(target)
    for target in page:  # a run that goes on renews the page that it has begun
        files.check_target(target, overwrite=checkpoint.exists())
    with files.lock(out):
        return _train_to(arguments, out, checkpoint)


def _check_options(arguments: argparse.Namespace) -> None:
    """Refuse a model that there is not, and options that are not for this one."""
    from sepviz.core import SepvizError
    from sepviz.suggest import choose

    model, clean, looped = arguments.model, tuple(TRAINERS), ("score", "gan", "cnn", *MASKS)
    choose("model", model, (*clean, *MASKS))
    instead = {"minutes": "--iterations"}
    if model in MASKS:
        instead |= {"dataset": "--unseen and --observed", "iterations": "--set"}
    for models, options in ((("score",), "minutes compile start"), (("gan", *MASKS), "preset"),
                            (clean, "iterations dataset"), (looped, "watch trace"),
                            (MASKS, "unseen observed training set size invert")):
        for option in options.split():
            if getattr(arguments, option) and model not in models:
                more = f", and give {instead[option]}" if option in instead else ""
                raise SepvizError(f"--{option} is not for {model}: leave it out{more}")
    if arguments.minutes and arguments.iterations:
        raise SepvizError(f"--minutes {arguments.minutes:g} and --iterations "
                          f"{arguments.iterations}: give one of them")


def _train_to(arguments: argparse.Namespace, out: Path, checkpoint: Path) -> int:
    from sepviz import files, zoo
    from sepviz.core import SepvizError
    from sepviz.training.checkpoint import CheckpointError, kept, read
    from sepviz.training.loop import Diverged, NothingLearned

    def held() -> str:
        return kept(checkpoint) + ("; the same command goes on from there"
                                   if checkpoint.exists() else "")

    watched = Watched(arguments.watch, arguments.model)
    try:
        if checkpoint.exists():
            read(checkpoint)  # now, not after the images are drawn
        learn = _learn_mask if arguments.model in MASKS else learn_prior
        prior, card, lines = learn(arguments, out.stem, checkpoint, watched)
        with files.together() as made:
            for path, save in watched.saves(arguments.trace) if arguments.trace else []:
                made.append(save(common.still_free(path)))
            out = common.still_free(out, ".json")
            try:
                zoo.save(prior, out,
                         {"command": arguments.command_line, **card, "versions": files.versions()})
            except SepvizError as error:
                raise SepvizError(f"{error}; {held()}") from None
    except CheckpointError as error:
        raise SepvizError(f"{error} (--out)") from None
    except (Diverged, NothingLearned) as error:
        more = ", --set" if arguments.model in MASKS else ""
        raise SepvizError(f"{error} (--seed{more}, with another --out)") from None
    except KeyboardInterrupt:
        raise KeyboardInterrupt(held()) from None
    checkpoint.unlink(missing_ok=True)
    print(f"{out}: {card['iterations']} iterations in {card['minutes']} minutes "
          f"on {card['device']}\n")
    for line in lines:
        print(line)
    return 0


def learn_prior(arguments: argparse.Namespace, name: str, checkpoint: Path,
                watched: Watched | None = None) -> Learned:
    """Train what learns from clean images of one set."""
    from sepviz import data

    dataset = "strokes" if arguments.dataset is None else arguments.dataset
    whole = data.load(dataset, "train")
    device, count = common.device_of(arguments.device), len(whole.images)
    learned, held_out = data.hold_out(whole, 2000 if count >= 20_000 else max(1, count // 10))
    learned = data.Dataset(learned.name, learned.images.to(device), learned.labels.to(device))
    held = held_out.images.to(device)
    trainer = TRAINERS[arguments.model]
    prior, card, lines = trainer(learned, held, checkpoint, name, arguments, watched)
    rule = f"{len(held)} images of the train split, drawn at random, the same share of every class"
    if arguments.start:
        rule += "; what --start learned from may be among them"
    return prior, {"dataset": dataset, "held_out": rule, **card}, lines


def _learn_mask(arguments: argparse.Namespace, name: str, checkpoint: Path,
                watched: Watched) -> Learned:
    """Train what learns from mixtures: a mask network, by a method's steps."""
    from sepviz import metrics, tasks
    from sepviz.runs.recipe import separator_of
    from sepviz.training import masks
    from sepviz.training.common import card as every_card

    device = common.device_of(arguments.device)
    separator: Any = separator_of(arguments.model, arguments.preset,
                                  common.settings(arguments.set), None, device)
    unseen = "strokes:0-4" if arguments.unseen is None else arguments.unseen
    observed = "strokes:5-9" if arguments.observed is None else arguments.observed
    sees = separator.sees
    training = arguments.training or (25_000 if sees == "mixtures" else 12_000)
    problem, truth = tasks.unmix(unseen, observed, count=1000, seed=arguments.seed, sees=sees,
                                 split="held-out", training=training, size=arguments.size,
                                 invert=arguments.invert, device=device)
    done = masks.train(separator, problem, checkpoint, arguments.seed, (unseen, observed),
                       progress=sys.stderr.isatty(), truth=truth, watch=watched)
    step, examples = done.step, problem.examples
    assert examples is not None
    found = separator.trained(step, tuple(problem.mixtures.shape[1:]), name)
    what, scored = f"{unseen} out of mixtures with {observed}", slice(1)
    if separator.order == "set":  # then which is which cannot be known
        what, scored = f"both sources out of mixtures of {unseen} and {observed}", slice(None)
    order = "set" if separator.order == "set" else "each"
    result = metrics.summarize(step.sources[:, scored], truth.sources[:, scored], order=order)
    figure = {"what": f"PSNR in dB and SSIM, {what}, held-out images", "n": result.n,
              "mean": round(result.mean, 2), "interval": round(result.interval, 2),
              "median": round(result.median, 2), "ssim": round(result.ssim, 4)}
    card = every_card(found, arguments.seed, done.minutes, step.index, problem.mixtures.device,
                      unseen=unseen, observed=observed, sees=tasks.SEES[sees],
                      examples=len(examples.mixtures), held_out=tasks.HELD_OUT_IS,
                      unseen_psnr=figure)
    return found, card, [f"{what}, {result.n} held-out mixtures: {result.mean:.1f} dB, "
                         f"SSIM {result.ssim:.3f}"]


def _train_score(learned: Dataset, held_out: Tensor, checkpoint: Path, name: str,
                 arguments: argparse.Namespace, watched: Watched | None) -> Learned:
    from sepviz import zoo
    from sepviz.core import SepvizError
    from sepviz.training.score import train_score

    start = zoo.load(arguments.start) if arguments.start else None
    if start is not None and zoo.kind_of(start) != "score":
        raise SepvizError(f"--start {arguments.start} is of kind {zoo.kind_of(start)}: "
                          "give weights of a score prior")
    minutes = 60.0 if arguments.minutes is None else arguments.minutes
    prior, card = train_score(learned.images, held_out, checkpoint, minutes=minutes,
                              iterations=arguments.iterations, seed=arguments.seed, name=name,
                              progress=sys.stderr.isatty(), compile_network=arguments.compile,
                              start=start, watch=watched)
    lines = [f"mse / sigma^2 on {len(held_out)} held-out images of the train split "
             "(1: no denoising, 0: perfect)"]
    lines += [f"  sigma {float(sigma):<5g} {loss:.4f}"
              for sigma, loss in card["held_out_loss_per_sigma"].items()]
    return prior, card, lines


def _held_out(figure: dict[str, Any], what: str) -> str:
    return (f"{what.format(n=figure['n'])}: {figure['mean']:.1f} dB, "
            f"a tenth of them below {figure['tenth_percentile']:.1f} dB")


def _train_gan(learned: Dataset, held_out: Tensor, checkpoint: Path, name: str,
               arguments: argparse.Namespace, watched: Watched | None) -> Learned:
    from sepviz.priors.gan import PRESETS
    from sepviz.suggest import choose
    from sepviz.training.gan import train_gan

    widths = PRESETS[choose("preset of gan", arguments.preset or "paper", PRESETS)]
    prior, card = train_gan(learned.images, held_out, checkpoint,
                            iterations=arguments.iterations or 10_000,
                            seed=arguments.seed, name=name, widths=widths,
                            progress=sys.stderr.isatty(), watch=watched)
    return prior, card, [_held_out(card["oracle_psnr"],
                                   "the best image found for {n} held-out ones")]


def _train_nmf(learned: Dataset, held_out: Tensor, checkpoint: Path, name: str,
               arguments: argparse.Namespace, watched: Watched | None, reach: int = 0) -> Learned:
    from sepviz.training.dictionary import train_dictionary

    prior, card = train_dictionary(learned.images, learned.labels, held_out, reach=reach,
                                   iterations=arguments.iterations, seed=arguments.seed, name=name,
                                   progress=sys.stderr.isatty())
    return prior, card, [_held_out(card["rebuilt_psnr"],
                                   "{n} held-out images rebuilt from the bases")]


def _train_cnn(learned: Dataset, held_out: Tensor, checkpoint: Path, name: str,
               arguments: argparse.Namespace, watched: Watched | None) -> Learned:
    from sepviz.training.cnn import train_cnn

    prior, card = train_cnn(learned.images, held_out, checkpoint,
                            iterations=arguments.iterations or 3000,
                            seed=arguments.seed, name=name, progress=sys.stderr.isatty(),
                            watch=watched)
    return prior, card, [_held_out(card["denoised_psnr"], "{n} held-out images, noise taken off")]


TRAINERS: dict[str, Callable[..., Learned]] = {
    "score": _train_score, "gan": _train_gan, "nmf": _train_nmf,
    "conv-nmf": functools.partial(_train_nmf, reach=2), "cnn": _train_cnn}
