"""Neural Egg Separation: learn from mixtures of one's own last estimates (Halperin et al. 2019)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Generator, Tensor

from sepviz.core import Problem, Separator, SepvizError, Step, name_of, parameter, shown
from sepviz.priors.mask import NETWORKS, MaskNetwork
from sepviz.separators import learning
from sepviz.separators.constant import shared_out

FIRST = ("constant", "adversarial-mask", "glo-masking", "ss-nmf")
AS_PUBLISHED = {"iterations": 10, "epochs": 25, "batch": 32, "last_rate": 1.0, "warm": False,
                "network": "paper"}


@dataclass(frozen=True)
class Egg(learning.Learner):
    """A network that learns the unseen source from its own earlier estimates (Algorithm 1).

    Given mixtures y = x + b and other images b of the observed source, never an x:

        x <- share * y, or the estimate of another method
        repeat: T <- argmin |T(b + x) - b|_1 over pairs of an observed b and any x;  x <- y - T(y)

    with ``T(y) = y m(y)`` and the mask m of a `MaskNetwork`. One step is one such iteration. The
    network and its optimiser continue from iteration to iteration, and the learning rate falls over
    the whole run: many short iterations in place of the paper's ten long ones, since a network that
    is trained to the end on poor estimates learns their faults.

    ``first`` is a method that learns from the same examples, ``Egg(first=GloMasking())`` for
    instance; None takes the constant share.
    """

    iterations: int = parameter(45, "times that the estimates are renewed", low=1, high=100)
    epochs: int = parameter(1, "passes over the observed images before each renewal",
                            low=1, high=50)
    first: Separator | None = parameter(  # noqa: RUF009
        None, "where the first estimates come from", methods=FIRST)
    share: float = parameter(0.5, "first estimate as a share of the mixture, for constant",
                             low=0.01, high=1)
    batch: int = parameter(64, "images a training step", low=2, high=512)
    learning_rate: float = parameter(3e-3, "Adam's step", low=1e-5, high=0.1, log=True)
    last_rate: float = parameter(0.01, "the last step as a share of the first", low=0.001, high=1,
                                 log=True)
    warm: bool = parameter(True, "Adam continues from iteration to iteration; if not, it restarts")
    tolerance: float = parameter(0.0, "end once the mean change of the estimates is below this; "
                                 "0: never", low=0, high=0.1, unit="pixel values")
    network: str = parameter("light", "mask network", choices=NETWORKS)

    assumes = "mixtures and clean images of one source, independent of the other"
    order = "fixed"
    sees = "observed"
    leaves = True
    presets: ClassVar = {"program": {**AS_PUBLISHED, "learning_rate": 1e-3},
                         "paper": {**AS_PUBLISHED, "learning_rate": 1e-2}, "fast": {}}

    def __post_init__(self) -> None:
        one = self.first
        learns = isinstance(one, Separator) and (one.order, one.sees) == ("fixed", "observed")
        if one is not None and not learns:
            raise SepvizError(f"first {shown(one)}: want None or a method that learns the unseen "
                              "source from the same examples, such as GloMasking()")

    def check(self, problem: Problem) -> None:
        """Refuse also what the first method refuses."""
        super().check(problem)
        if self.first is not None:
            self.first.check(problem)

    def total_steps(self, problem: Problem) -> int:
        return self._before(problem) + self.iterations

    def _before(self, problem: Problem) -> int:
        """The steps after step 0 that the first method takes."""
        return 0 if self.first is None else self.first.total_steps(problem)

    def trained(self, step: Step, image_shape: Sequence[int], name: str = "") -> MaskNetwork:
        return learning.trained(step, self._network(image_shape, name))[0]

    def _network(self, shape: Sequence[int], name: str = "") -> learning.Make:
        return partial(MaskNetwork, shape, self.network, name or "egg")

    def steps(self, problem: Problem, rng: Generator, start: Step | None = None) -> Iterator[Step]:
        """Yield the steps to the first estimate, then every iteration.

        ``info["change"]`` is the mean absolute change of the estimates.
        """
        self.check(problem)
        mixtures, weight = problem.mixtures, problem.mixing.weights[0]
        examples, before = learning.examples_of(problem, self.sees), self._before(problem)
        observed, mixed = examples.observed, examples.mixtures / weight
        assert observed is not None
        if start is None or start.index < before:
            for step in self._first_steps(problem, rng, start):
                start = step
                yield learning.copy_of(step)
        assert start is not None
        done, per_pass = start.index - before, learning.batches_in(len(observed), self.batch)
        if done and start.info.get("change", 1.0) < self.tolerance:
            return
        network = learning.new(self._network(mixtures.shape[1:])).to(mixtures.device)
        learning.unpack(learning.held(start, "weights"), network)
        optimizer = learning.adam(network)
        if done and self.warm:
            taken = done * self.epochs * per_pass
            learning.unpack_moments(learning.held(start, "moments"), [taken], optimizer)
        estimates = network.take_apart(mixed)[:, 0] if done else self._first_estimates(start, mixed)
        for iteration in range(done + 1, self.iterations + 1):
            optimizer = optimizer if self.warm else learning.adam(network)
            network.train()
            losses = []
            for epoch in range(self.epochs):
                def rate(share: float, begun: float = iteration - 1 + epoch / self.epochs) -> float:
                    progress = (begun + share / self.epochs) / self.iterations
                    return learning.falling(self.learning_rate, self.last_rate, progress)

                losses += learning.pass_over_pairs(network, optimizer, observed, estimates,
                                                   self.batch, rng, rate)
            renewed = network.take_apart(mixed)[:, 0]
            change, estimates = float((renewed - estimates).abs().mean()), renewed
            sources = network.take_apart(mixtures, weight)
            state = {"weights": learning.pack(network)}
            if self.warm:
                state["moments"] = learning.pack_moments(optimizer)
            info = {"evaluations": iteration * self.epochs * len(observed),
                    "loss": float(torch.stack(losses).mean()), "change": change,
                    "residual": problem.residual(sources)}
            index, stage = before + iteration, f"egg iteration {iteration}"
            yield Step(index, stage, sources, state=state, info=info)
            if change < self.tolerance:
                return

    def _first_estimates(self, start: Step, mixed: Tensor) -> Tensor:
        if self.first is None:
            return self.share * mixed
        return learning.held(start, "estimates").float()

    def _first_steps(self, problem: Problem, rng: Generator, start: Step | None) -> Iterator[Step]:
        """The first method's steps, on the problem's and the examples' mixtures together.

        The last one holds the estimates for the examples, and first weights.
        """
        mixtures, count = problem.mixtures, len(problem.mixtures)
        make = self._network(mixtures.shape[1:])
        if self.first is None:
            sources = shared_out(mixtures / problem.mixing.weights[0], self.share)
            info = {"evaluations": 0, "residual": problem.residual(sources)}
            state = {"weights": learning.pack(learning.new(make, rng))}
            yield Step(0, "constant share", sources, state=state, info=info)
            return
        assert problem.examples is not None
        both = problem._replace(mixtures=torch.cat([mixtures, problem.examples.mixtures]))
        for step in self.first.steps(both, rng, start):
            sources, state = step.sources[:count], dict(step.state)
            if step.index == self._before(problem):
                state = {"estimates": step.sources[count:, 0].half(),
                         "weights": learning.pack(learning.new(make, rng))}
            info = {**step.info, "evaluations": 0, "residual": problem.residual(sources)}
            stage = f"{name_of(self.first)}: {step.stage}"
            yield Step(step.index, stage, sources, state=state, info=info)
