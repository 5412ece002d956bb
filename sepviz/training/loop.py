"""The one training loop: a training is a method whose steps show how far a network has come."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Generator, Tensor

from sepviz.core import Problem, Separator, SepvizError, Step, Truth, parameters_of
from sepviz.data.split import some
from sepviz.training.checkpoint import is_finite
from sepviz.training.common import check_images, described
from sepviz.training.parts import Parts, held, load

LOOKS = 100  # steps of a training, dense at first: look k comes after (k / LOOKS)^2 of it
STEP_EVERY = 5.0  # seconds after which a step is yielded in any case, or more where steps are dear:
STEP_SHARE = 0.01  # such steps take at most this share of the time
LOOK_EVERY = 20  # iterations between two looks at the losses on a GPU, which has to be waited for
SHOWN = 6  # images, or mixtures, that are shown over a training


class Diverged(SepvizError):
    """A training that came to numbers that are not finite."""


class NothingLearned(SepvizError):
    """A training whose loss never moved."""


class Now(NamedTuple):
    """How far a training is."""

    iteration: int  # iterations done
    share: float  # of the training, from 0 to 1


@dataclass(frozen=True, eq=False, kw_only=True)
class Training(Separator):
    """A training of a prior, one batch of clean images an iteration.

    A kind of prior is a subclass with `begin`, `iterate`, `look` and `view`. The steps come about
    `LOOKS` times in a training and at least every few seconds; ``step.index`` is the number of
    iterations, ``step.state`` holds the parts (weights, moments of the optimisers), and
    ``step.info`` the mean of each loss since the step before. An exception in an iteration first
    yields a step with all iterations before it.

    Parameters
    ----------
    images : Tensor (N, C, H, W) uint8
        What is learned from, on the device to train on.
    iterations : int, optional
    minutes : float, optional
        Time to train, if ``iterations`` is not given; that before a resumed step counts.
    batch : int
        Images an iteration.
    learning_rate : float
        The optimiser's step at the start.
    every : int, optional
        A step every so many iterations, in place of the usual ones.
    name : str
        Of the prior.
    """

    images: Tensor
    iterations: int | None = None
    minutes: float | None = None
    batch: int = 128
    learning_rate: float = 2e-3
    every: int | None = None
    name: str = ""

    order: ClassVar[str] = "fixed"
    leaves: ClassVar[bool] = True
    answer: ClassVar[str] = "prior"  # the part that is wanted
    free: ClassVar[tuple[str, ...]] = ("every", "name")  # fields that change no weight

    # --- what a kind of prior says ---

    def begin(self, rng: Generator) -> Parts:
        """New parts on the device of ``rng``; torch's own generator is seeded for their weights."""
        raise NotImplementedError

    def iterate(self, parts: Parts, now: Now, rng: Generator) -> dict[str, Tensor]:
        """Change the parts by one iteration; its losses, by name."""
        raise NotImplementedError

    def look(self, parts: Parts, problem: Problem) -> Tensor:
        """The sources (B, K, C, H, W) to show, of the problem that `view` gave."""
        raise NotImplementedError

    def view(self, held_out: Tensor | None = None) -> tuple[Problem, Truth | None]:
        """What the training is shown on, from held-out images (N, C, H, W) uint8."""
        raise NotImplementedError

    def ready(self, parts: Parts) -> None:
        """Called once before the first iteration of a run."""

    # --- what all share ---

    def draw(self, rng: Generator) -> Tensor:
        """A batch of training images in [0, 1]."""
        index = torch.randint(len(self.images), (self.batch,), generator=rng, device=rng.device)
        return self.images[index].float() / 255

    def few(self, held_out: Tensor | None) -> Tensor:
        """Some held-out images, or training images where there are none, in [0, 1]."""
        images = some(self.images if held_out is None else held_out, SHOWN)
        return images.to(self.images.device).float() / 255

    def check(self, problem: Problem) -> None:
        """Refuse what `check_sets` refuses."""
        self.check_sets()

    def check_sets(self, held_out: Tensor | None = None) -> None:
        """Refuse images that nothing can be learned from, and a training of no length."""
        check_images(self.images, self.batch, held_out)
        length = self.iterations if self.iterations is not None else self.minutes
        if length is None or not 0 < length < math.inf:
            raise SepvizError(f"iterations {self.iterations}, minutes {self.minutes}: "
                              "want one of them, above 0")

    def settings(self) -> dict[str, Any]:
        """All that decides the weights but the seed, for a checkpoint."""
        found = {name.replace("_", " "): value for name, value in parameters_of(self).items()
                 if name not in self.free}
        return {"model": type(self).__name__, "images": described(self.images), **found}

    def length(self) -> tuple[int, str]:
        """How long it is, and in what unit: iterations (it) or seconds (s)."""
        if self.iterations:
            return self.iterations, "it"
        return round(60 * (self.minutes or 0)), "s"

    def total_steps(self, problem: Problem) -> int:
        """The number of steps after step 0, without those that come because time has passed."""
        total = self.iterations
        if total is None:
            return LOOKS
        if self.every:
            return -(-total // self.every)
        return len({-(-total * k * k // LOOKS**2) for k in range(1, LOOKS + 1)})

    def trained(self, step: Step, image_shape: Sequence[int] = (), name: str = "") -> Any:
        """The prior of a step, in eval mode."""
        parts = self._new(Generator(self.images.device))
        load(parts, step)
        prior = parts[self.answer].eval().requires_grad_(False)
        prior.name = name or prior.name
        return prior

    def steps(self, problem: Problem, rng: Generator, start: Step | None = None) -> Iterator[Step]:
        """Yield step 0 (the untrained prior), then the steps of the training."""
        self.check(problem)
        first = Generator(rng.device).manual_seed(rng.initial_seed())
        parts = self._new(rng if start is None else first)
        iteration, before, share = 0, 0.0, 0.0
        if start is None:
            newest = self._step(0, self.look(parts, problem), parts, {})
            yield newest
        else:
            load(parts, start)
            newest, iteration, before = start, start.index, float(start.info.get("seconds", 0.0))
        self.ready(parts)
        losses, begun = _Losses(iteration), time.monotonic()

        def reached() -> float:
            if self.iterations is not None:
                return iteration / self.iterations
            return (before + time.monotonic() - begun) / (60 * (self.minutes or 0))

        share, told, cost = reached(), time.monotonic(), 0.0
        while share < 1:
            drawn_from, due = rng.get_state(), False
            try:
                losses.add(self.iterate(parts, Now(iteration, share), rng), rng.device)
                iteration, drawn_from = iteration + 1, rng.get_state()
                place, share = self._place(iteration - 1, share), reached()
                waited = time.monotonic() - told > max(STEP_EVERY, cost / STEP_SHARE)
                due = share >= 1 or waited or self._place(iteration, share) > place
                if share >= 1:
                    losses.check_moved()
                if due:
                    looked = time.monotonic()
                    newest = self._step(iteration, self.look(parts, problem), parts, losses.means())
                    cost = time.monotonic() - looked
            except (Diverged, NothingLearned):
                raise
            except BaseException:  # Ctrl-C, for one: nothing but the iteration in work is lost
                rng.set_state(drawn_from)
                if iteration > newest.index:
                    yield self._step(iteration, newest.sources, parts, losses.means())
                raise
            if due:
                before += time.monotonic() - begun
                yield newest
                told = begun = time.monotonic()

    def _new(self, rng: Generator) -> Parts:
        with torch.random.fork_rng(devices=[rng.device] if rng.device.type == "cuda" else []):
            torch.manual_seed(rng.initial_seed())
            return self.begin(rng)

    def _place(self, iteration: int, share: float) -> int:
        """How many steps are due by now."""
        return iteration // self.every if self.every else int(LOOKS * math.sqrt(share) + 1e-9)

    def _step(self, iteration: int, sources: Tensor, parts: Parts, info: dict[str, float]) -> Step:
        state = dict(held(parts))
        if not is_finite(state):
            raise Diverged(f"weights that are not finite at iteration {iteration}")
        return Step(iteration, f"iteration {iteration}", sources, state=state,
                    info={"iteration": iteration, **info})


class _Losses:
    """The losses of the iterations since the last step, and the range of all."""

    def __init__(self, iteration: int):
        self.iteration = iteration
        self.names: list[str] = []
        self._new: list[Tensor] = []  # not yet looked at
        self._seen: list[Tensor] = []  # since the last step
        self._count, self._least, self._most = 0, math.inf, -math.inf

    def add(self, losses: Mapping[str, Tensor], device: torch.device) -> None:
        self.names = list(losses)
        self.iteration += 1
        self._new.append(torch.stack([loss.detach() for loss in losses.values()]))
        if device.type == "cpu" or len(self._new) >= LOOK_EVERY:
            self._look()

    def _look(self) -> None:
        if not self._new:
            return
        losses = torch.stack(self._new).cpu()
        bad = ~torch.isfinite(losses)
        if bool(bad.any()):
            first = int(bad.any(dim=1).nonzero()[0, 0])
            raise Diverged(f"loss {float(losses[first][bad[first]][0]):g} at iteration "
                           f"{self.iteration - len(losses) + 1 + first}")
        self._count += len(losses)
        self._least = min(self._least, float(losses.min()))
        self._most = max(self._most, float(losses.max()))
        self._seen.append(losses)
        self._new = []

    def means(self) -> dict[str, float]:
        """The mean of each loss since it was last asked for."""
        self._look()
        found = torch.cat(self._seen).mean(dim=0).tolist() if self._seen else []
        self._seen = []
        return dict(zip(self.names, found, strict=False))

    def check_moved(self) -> None:
        """Refuse a training in which nothing was learned."""
        self._look()
        if self._count >= LOOK_EVERY and self._least == self._most:
            raise NothingLearned(f"the loss stayed at {self._most:g} for {self._count} "
                                 "iterations: nothing was learned, and no weights are written; "
                                 "look at the images, or give another seed")
