"""A mask network trained on clean images of both sources: an upper bound for other masks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Generator

from sepviz.core import Problem, Step, parameter
from sepviz.priors.mask import NETWORKS, MaskNetwork
from sepviz.separators import learning


@dataclass(frozen=True)
class Supervised(learning.Learner):
    """``T <- argmin |T(b + x) - b|_1`` over clean pairs (Halperin et al. 2019, equation 1).

    One step is one epoch.
    """

    epochs: int = parameter(50, "passes over the observed images", low=1, high=500)
    batch: int = parameter(64, "images a training step", low=2, high=512)
    learning_rate: float = parameter(3e-3, "Adam's step", low=1e-5, high=0.1, log=True)
    last_rate: float = parameter(0.01, "the last step as a share of the first", low=0.001, high=1,
                                 log=True)
    network: str = parameter("light", "mask network", choices=NETWORKS)

    assumes = "clean images of both sources: an upper bound"
    order = "fixed"
    sees = "all"
    leaves = True
    presets: ClassVar = {"program": {"epochs": 250, "batch": 32, "learning_rate": 1e-3,
                                     "last_rate": 1.0, "network": "paper"}}

    def total_steps(self, problem: Problem) -> int:
        return self.epochs

    def trained(self, step: Step, image_shape: Sequence[int], name: str = "") -> MaskNetwork:
        return learning.trained(step, self._network(image_shape, name))[0]

    def _network(self, shape: Sequence[int], name: str = "") -> learning.Make:
        return partial(MaskNetwork, shape, self.network, name or "supervised")

    def steps(self, problem: Problem, rng: Generator, start: Step | None = None) -> Iterator[Step]:
        """Yield step 0 (the untrained network), then every epoch."""
        self.check(problem)
        _, observed, unobserved = learning.examples_of(problem, self.sees)
        assert observed is not None and unobserved is not None
        per_epoch = learning.batches_in(len(observed), self.batch)
        networks, optimizers = learning.begun([self._network(problem.mixtures.shape[1:])], rng,
                                              start, lambda index: [index * per_epoch])

        def epoch(index: int) -> dict[str, float]:
            def rate(share: float) -> float:
                progress = (index - 1 + share) / self.epochs
                return learning.falling(self.learning_rate, self.last_rate, progress)

            losses = learning.pass_over_pairs(networks[0], optimizers[0], observed, unobserved,
                                              self.batch, rng, rate)
            return {"loss": float(torch.stack(losses).mean())}

        yield from learning.epochs(problem, networks, optimizers, start, self.epochs,
                                   len(observed), epoch)
