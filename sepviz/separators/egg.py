"""Neural Egg Separation: learn to separate from mixtures made of one's own last estimates (Halperin et al. 2019)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Generator

from sepviz.core import Problem, Separator, SepvizError, Step, name_of, parameter, shown
from sepviz.priors.mask import NETWORKS, MaskNetwork
from sepviz.separators import learning
from sepviz.separators.constant import shared_out

FIRST = ("constant", "adversarial-mask", "glo-masking", "ss-nmf")


@dataclass(frozen=True)
class Egg(learning.Learner):
    """A network that estimates the unseen source, and learns from its own earlier estimates (Algorithm 1).

    Given mixtures y = x + b and other images b of the observed source, never an x:

        x <- share * y, or the estimate of another method
        repeat: T <- argmin |T(b + x) - b|_1 over pairs of an observed b and any x;  x <- y - T(y)

    with ``T(y) = y m(y)`` and the mask m of a `MaskNetwork`. One step is one such iteration. The network
    and its optimiser continue from iteration to iteration, and the learning rate falls over the whole
    run: many short iterations in place of the paper's ten long ones, since a network that is trained to
    the end on poor estimates learns their faults.

    ``first`` is a method that learns from the same examples, ``Egg(first=GloMasking())``; None takes
    the constant share.
    """

    iterations: int = parameter(45, "times that the estimates are renewed", low=1, high=100)
    epochs: int = parameter(1, "passes over the observed images before each renewal", low=1, high=50)
    first: Separator | None = parameter(  # noqa: RUF009
        None, "where the first estimates come from", methods=FIRST)
    share: float = parameter(0.5, "share of the mixture that the first estimate is, for constant", low=0.01, high=1.0)
    batch: int = parameter(64, "images a training step", low=2, high=512)
    learning_rate: float = parameter(3e-3, "Adam's step", low=1e-5, high=0.1, log=True)
    last_rate: float = parameter(0.01, "the last step as a share of the first", low=0.001, high=1.0, log=True)
    warm: bool = parameter(True, "Adam continues from iteration to iteration; if not, it starts anew")
    tolerance: float = parameter(0.0, "end once the mean change of the estimates is below this; 0: never",
                                 low=0.0, high=0.1, unit="pixel values")
    network: str = parameter("light", "mask network", choices=NETWORKS)

    assumes = "mixtures and clean images of one source, independent of the other"
    order = "fixed"
    sees = "observed"
    leaves = True
    presets: ClassVar = {
        "program": {"iterations": 10, "epochs": 25, "batch": 32, "learning_rate": 1e-3, "last_rate": 1.0,
                    "warm": False, "network": "paper"},
        "paper": {"iterations": 10, "epochs": 25, "batch": 32, "learning_rate": 1e-2, "last_rate": 1.0,
                  "warm": False, "network": "paper"},
        "fast": {},
    }

    def __post_init__(self) -> None:
        learns = isinstance(self.first, Separator) and (self.first.order, self.first.sees) == ("fixed", "observed")
        if self.first is not None and not learns:
            raise SepvizError(f"first {shown(self.first)}: want None or a method that learns the unseen source "
                              "from the same examples, such as AdversarialMask(), GloMasking() or SsNmf()")

    def check(self, problem: Problem) -> None:
        """Refuse also what the first method refuses."""
        super().check(problem)
        if self.first is not None:
            self.first.check(problem)

    def total_steps(self, problem: Problem) -> int:
        return self._before(problem) + self.iterations

    def trained(self, step: Step, image_shape: Sequence[int], name: str = "egg") -> MaskNetwork:
        return learning.trained(step, partial(MaskNetwork, image_shape, self.network, name))[0]

    def steps(self, problem: Problem, rng: Generator, start: Step | None = None) -> Iterator[Step]:
        """Yield the steps to the first estimate, then every iteration.

        ``info["change"]`` is the mean absolute change of the estimates.
        """
        self.check(problem)
        mixtures, weight, before = problem.mixtures, problem.mixing.weights[0], self._before(problem)
        examples = learning.examples_of(problem, self.sees)
        observed, mixed = examples.observed, examples.mixtures / weight
        assert observed is not None
        make = partial(MaskNetwork, mixtures.shape[1:], self.network, "egg")
        if start is None or start.index < before:
            for step in self._first_steps(problem, rng, start):
                state = dict(step.state)
                if step.index == before:
                    state["weights"] = learning.pack(learning.new(make, rng))
                start = step._replace(state=state)
                yield learning.copy_of(start)
        assert start is not None
        if start.index > before and start.info.get("change", 1.0) < self.tolerance:
            return
        network = learning.new(make).to(mixtures.device)
        learning.unpack(learning.held(start, "weights"), network)
        optimizer, per_epoch = learning.adam(network), learning.batches_in(len(observed), self.batch)
        if start.index > before:
            estimates = network.take_apart(mixed)[:, 0]
        else:
            estimates = self.share * mixed if self.first is None else learning.held(start, "estimates").float()
        if start.index > before and self.warm:
            taken = (start.index - before) * self.epochs * per_epoch
            learning.unpack_moments(learning.held(start, "moments"), [taken], optimizer)
        for iteration in range(start.index - before + 1, self.iterations + 1):
            if not self.warm:
                optimizer = learning.adam(network)
            network.train()
            losses = []
            for epoch in range(self.epochs):
                def rate(share: float, done: float = iteration - 1 + epoch / self.epochs) -> float:
                    progress = (done + share / self.epochs) / self.iterations
                    return learning.falling(self.learning_rate, self.last_rate, progress)

                losses += learning.pass_over_pairs(network, optimizer, observed, estimates, self.batch, rng, rate)
            renewed = network.take_apart(mixed)[:, 0]
            change, estimates = float((renewed - estimates).abs().mean()), renewed
            sources = network.take_apart(mixtures, weight)
            state = {"weights": learning.pack(network)}
            state |= {"moments": learning.pack_moments(optimizer)} if self.warm else {}
            info = {"evaluations": iteration * self.epochs * len(observed), "loss": float(torch.stack(losses).mean()),
                    "change": change, "residual": problem.residual(sources)}
            yield Step(before + iteration, f"egg iteration {iteration}", sources, state=state, info=info)
            if change < self.tolerance:
                return

    def _before(self, problem: Problem) -> int:
        """The steps after step 0 that the first method takes."""
        return 0 if self.first is None else self.first.total_steps(problem)

    def _first_steps(self, problem: Problem, rng: Generator, start: Step | None) -> Iterator[Step]:
        """The steps of the first method on the problem's and the examples' mixtures together.

        The last one holds the estimates for the examples.
        """
        mixtures, weight, count = problem.mixtures, problem.mixing.weights[0], len(problem.mixtures)
        if self.first is None:
            sources = shared_out(mixtures / weight, self.share)
            info = {"evaluations": 0, "residual": problem.residual(sources)}
            yield Step(0, "constant share", sources, info=info)
            return
        assert problem.examples is not None
        both = problem._replace(mixtures=torch.cat([mixtures, problem.examples.mixtures]))
        for step in self.first.steps(both, rng, start):
            last = step.index == self._before(problem)
            sources, state = step.sources[:count], {"estimates": step.sources[count:, 0].half()}
            info = {**step.info, "evaluations": 0, "residual": problem.residual(sources)}
            yield Step(step.index, f"{name_of(self.first)}: {step.stage}", sources,
                       state=state if last else step.state, info=info)
