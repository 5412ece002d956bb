"""Train a method that learns from mixtures to its last step."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from sepviz import files
from sepviz.core import Problem, Separator, SepvizError, Step, parameters_of
from sepviz.runs import Run, generator
from sepviz.training.checkpoint import Diverged, described, is_finite, keep, kept, take_up

SHOWN = 6  # mixtures whose way through a training is kept to be looked at


def plain(step: Step) -> tuple:
    """A step as torch writes it, of tuples and dictionaries alone."""
    return tuple(dict(part) if isinstance(part, Mapping) else part for part in step)


class Trained(NamedTuple):
    """What `train` leaves."""

    step: Step  # the last
    shown: list[Step]  # every step's sources of the first `SHOWN` mixtures, to play
    minutes: float  # of all runs together


def train(separator: Separator, problem: Problem, checkpoint: Path, seed: int, data: Sequence[str], progress: bool = True) -> Trained:
    """Run a method that learns to its last step, kept in a file after each, and taken up from there.

    Parameters
    ----------
    checkpoint : path
        Where the newest step is kept; a run that was killed in the middle of a step makes that step again.
    data : sequence of str
        Names of what is learned from; a checkpoint of other data, method, parameters or seed is
        refused.

    Raises
    ------
    SepvizError
        If a step holds numbers that are not finite; the checkpoint stays at the step before.
    """
    from tqdm.auto import tqdm

    device = problem.mixtures.device
    assert problem.examples is not None
    sets = {"mixtures": problem.mixtures}
    sets |= {f"examples: {name}": images for name, images in problem.examples._asdict().items()}
    for name, images in sets.items():
        if images is not None and bool((images == images.flatten()[0]).all()):
            value = float(images.flatten()[0])
            raise SepvizError(f"{name}: {len(images)} images all of one value, {value:g}: "
                              "there is nothing to learn; take other sets")
    settings = {"method": type(separator).__name__, "sets": " and ".join(data),
                **{name: described(images) for name, images in sets.items() if images is not None},
                "seed": seed, "device": device.type, **parameters_of(separator)}
    state, step, elapsed, rng = take_up(checkpoint, settings, device), None, 0.0, generator(problem, seed)
    shown: list[Step] = []
    told: list[str] = []
    if state is not None:
        try:
            elapsed, parts = state["elapsed"], state["parts"]
            shown = [one._replace(sources=one.sources.cpu())
                     for one in map(Step._make, parts["shown"])]
            step = Step._make(parts["step"])
            rng = generator(problem, seed, state["rng"])
        except (RuntimeError, KeyError, TypeError, AttributeError):
            raise SepvizError(f"{checkpoint} is damaged: remove it, "
                              "or choose another --out") from None
    total = separator.total_steps(problem)
    with tqdm(total=total, initial=step.index if step else 0, unit="step", desc=type(separator).__name__, disable=not progress) as bar:
        tick = time.monotonic()
        for newest in Run(separator, problem, rng, step):
            if not (is_finite(newest) and all(map(math.isfinite, newest.info.values()))):
                raise Diverged(f"step {newest.index} ({newest.stage}) holds numbers that are not "
                               f"finite: the training diverged; {kept(checkpoint).partition(';')[0]}; "
                               "take a smaller learning_rate (--set), or another --seed and --out")
            step = newest
            elapsed, tick = elapsed + time.monotonic() - tick, time.monotonic()
            shown.append(step._replace(sources=step.sources[:SHOWN].cpu().half(), shown={}, results={}, state={}))
            parts = {"step": plain(step), "shown": [plain(one) for one in shown]}
            state = {"parts": parts, "rng": rng.get_state(), "iteration": step.index,
                     "elapsed": elapsed}
            files.patiently(functools.partial(keep, checkpoint, settings, state), told)
            bar.set_postfix_str(step.stage, refresh=False)
            bar.update(step.index - bar.n)
    assert step is not None
    return Trained(step, shown, elapsed / 60)
