"""Neural Egg Separation: learn to separate from mixtures made of one's own last estimates (Halperin et al. 2019, Algorithm 1)."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Generator

from sepviz.core import Problem, Step, parameter
from sepviz.priors.mask import NETWORKS, MaskNetwork
from sepviz.separators import learning
from sepviz.separators.constant import shared_out

FIRST = ("constant", "adversarial-mask", "glo-masking", "ss-nmf")


@dataclass(frozen=True)
class Egg(learning.Learner):
    """The unseen source, estimated by a network that learns from its own earlier estimates.

    Given mixtures y = x + b and other images b of the observed source, never an x:

        x <- share * y, or another method's estimate
        repeat: T <- argmin |T(b + x) - b|_1 over pairs of an observed b and any x;  x <- y - T(y)

    with ``T(y) = y m(y)`` and the mask m of a `MaskNetwork`. One step is one such iteration. The network and its optimiser go
    on from iteration to iteration and the learning rate falls over the whole run: many short iterations in place of the paper's
    ten long ones, since a network that is trained to the end on poor estimates only learns their faults.
    """

    iterations: int = parameter(45, "times that the estimates are renewed", low=1, high=100)
    epochs: int = parameter(1, "passes over the observed images before each renewal", low=1, high=50)
    first: str = parameter("constant", "where the estimates come from before the first iteration", choices=FIRST)
    share: float = parameter(0.5, "share of the mixture that the first estimate is, for constant", low=0.01, high=1.0)
    batch: int = parameter(64, "images a training step", low=2, high=512)
    learning_rate: float = parameter(3e-3, "Adam's step", low=1e-5, high=0.1, log=True)
    last_rate: float = parameter(0.01, "the step at the end, as a share of that at the start", low=0.001, high=1.0, log=True)
    warm: bool = parameter(True, "Adam goes on from iteration to iteration; if not, it starts anew")
    tolerance: float = parameter(0.0, "end once the estimates move by less than this on average; 0: never", low=0.0, high=0.1,
                                 unit="pixel values")
    network: str = parameter("light", "mask network", choices=NETWORKS)

    assumes: ClassVar[str] = "mixtures and clean images of one source, independent of the other"
    order: ClassVar[str] = "fixed"
    sees: ClassVar[str] = "observed"
    leaves: ClassVar[bool] = True
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "program": {"iterations": 10, "epochs": 25, "batch": 32, "learning_rate": 1e-3, "last_rate": 1.0, "warm": False,
                    "network": "paper"},
        "paper": {"iterations": 10, "epochs": 25, "batch": 32, "learning_rate": 1e-2, "last_rate": 1.0, "warm": False,
                  "network": "paper"},
        "fast": {},
    }

    def total_steps(self, problem: Problem) -> int:
        """The number of steps after step 0."""
        return self._before(problem) + self.iterations

    def trained(self, step: Step, image_shape: Sequence[int], name: str = "egg") -> MaskNetwork:
        """The network of a step, to separate other mixtures with (see `Mask`)."""
        return learning.mask_network(step, image_shape, self.network, name)

    def steps(self, problem: Problem, rng: Generator, start: Step | None = None) -> Iterator[Step]:
        """Yield the steps to the first estimate, then every iteration; ``info["change"]`` is how far the estimates moved on average."""
        self.check(problem)
        mixtures, weight = problem.mixtures, problem.mixing.weights[0]
        examples, before = learning.examples_of(problem, self.sees), self._before(problem)
        observed, mixed = examples.observed, examples.mixtures / weight
        assert observed is not None
        make = functools.partial(MaskNetwork, tuple(mixtures.shape[1:]), self.network, "egg")
        if start is None or start.index < before:
            for step in self._first_estimate(problem, rng, start):
                if step.index == before:
                    weights = learning.pack(learning.new(make, rng))
                    step = step._replace(state={**step.state, "weights": weights})
                start = step
                yield learning.copy_of(step)
        assert start is not None
        if start.index > before and start.info.get("change", 1.0) < self.tolerance:
            return
        network, per_epoch = learning.new(make).to(mixtures.device), learning.batches_in(len(observed), self.batch)
        learning.unpack(learning.held(start, "weights"), network)
        optimizer = torch.optim.Adam(network.parameters(), betas=(0.5, 0.999))
        if start.index > before:
            estimates = network.take_apart(mixed)[:, 0]
            if self.warm:
                learning.unpack_moments(learning.held(start, "moments"), [(start.index - before) * self.epochs * per_epoch], optimizer)
        else:
            estimates = learning.held(start, "estimates").float() if before else self.share * mixed

        def rate(begun: float, share: float) -> float:
            return learning.falling(self.learning_rate, self.last_rate, (begun + share / self.epochs) / self.iterations)

        for index in range(start.index + 1, before + self.iterations + 1):
            if not self.warm:
                optimizer = torch.optim.Adam(network.parameters(), betas=(0.5, 0.999))
            network.train()
            losses = []
            for epoch in range(self.epochs):
                begun = index - before - 1 + epoch / self.epochs
                losses += learning.pass_over_pairs(network, optimizer, observed, estimates, self.batch, rng, functools.partial(rate, begun))
            renewed = network.take_apart(mixed)[:, 0]
            change, estimates = float((renewed - estimates).abs().mean()), renewed
            sources = network.take_apart(mixtures, weight)
            state = {"weights": learning.pack(network)} | ({"moments": learning.pack_moments(optimizer)} if self.warm else {})
            info = {"evaluations": (index - before) * self.epochs * len(observed), "loss": float(torch.stack(losses).mean()),
                    "change": change, "residual": problem.residual(sources)}
            yield Step(index, f"egg iteration {index - before}", sources, state=state, info=info)
            if change < self.tolerance:
                return

    def _before(self, problem: Problem) -> int:
        """The steps after step 0 that the method of the first estimate takes."""
        return 0 if self.first == "constant" else self._first_method().total_steps(problem)

    def _first_method(self) -> Any:
        from sepviz.separators import METHODS

        return METHODS[self.first]()

    def _first_estimate(self, problem: Problem, rng: Generator, start: Step | None) -> Iterator[Step]:
        """Steps of another method on the problem's mixtures and the examples' together; the last holds estimates for the latter."""
        mixtures, weight = problem.mixtures, problem.mixing.weights[0]
        if self.first == "constant":
            sources = shared_out(mixtures / weight, self.share)
            yield Step(0, "constant share", sources, info={"evaluations": 0, "residual": problem.residual(sources)})
            return
        assert problem.examples is not None
        both = problem._replace(mixtures=torch.cat([mixtures, problem.examples.mixtures]))
        for step in self._first_method().steps(both, rng, start):
            sources = step.sources[:len(mixtures)]
            state = {"estimates": step.sources[len(mixtures):, 0].half()} if step.index == self._before(problem) else step.state
            yield Step(step.index, f"{self.first}: {step.stage}", sources, state=state,
                       info={**step.info, "evaluations": 0, "residual": problem.residual(sources)})
