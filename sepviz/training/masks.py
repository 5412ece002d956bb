"""Train a method that learns from mixtures to its last step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sepviz.core import Problem, Separator, Step, Truth, parameters_of
from sepviz.data.split import check_varied
from sepviz.training.common import described
from sepviz.training.followed import Followed, Watch


class Trained(NamedTuple):
    """What `train` leaves."""

    step: Step  # the last
    shown: list[Step]  # what the steps made of the first mixtures, to play
    minutes: float  # of all calls together


def train(separator: Separator, problem: Problem, checkpoint: Path, seed: int, data: Sequence[str],
          progress: bool = True, *, truth: Truth | None = None,
          watch: Watch | None = None) -> Trained:
    """Train a method that learns to the end, and go on from its checkpoint, see `Followed`.

    Parameters
    ----------
    data : sequence of str
        Names of what is learned from; a checkpoint of other data, method, parameters or seed is
        refused.
    truth : Truth, optional
        For ``watch``.

    Raises
    ------
    SepvizError
        If a step holds numbers that are not finite; the checkpoint stays at the step before.
    """
    assert problem.examples is not None
    sets = {"mixtures": problem.mixtures}
    sets |= {f"examples: {name}": images for name, images in problem.examples._asdict().items()
             if images is not None}
    for name, images in sets.items():
        check_varied(name, images, alike=False)
    settings = {"method": type(separator).__name__, "sets": " and ".join(data),
                **{name: described(images) for name, images in sets.items()},
                **parameters_of(separator)}
    run = Followed(separator, problem, checkpoint, seed, settings, progress=progress, truth=truth,
                   watch=watch)
    step = run.last()
    return Trained(step, run.frames, run.minutes)
