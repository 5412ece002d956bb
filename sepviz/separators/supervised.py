"""A mask network trained on clean images of both sources: what methods that see less are measured against."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor

from sepviz.core import Problem, Step, parameter
from sepviz.priors.mask import NETWORKS, MaskNetwork
from sepviz.separators import learning


@dataclass(frozen=True)
class Supervised(learning.Learner):
    """``T <- argmin |T(b + x) - b|_1`` over pairs of clean images (Halperin et al. 2019, equation 1); one step is one epoch."""

    epochs: int = parameter(50, "passes over the observed images", low=1, high=500)
    batch: int = parameter(64, "images a training step", low=2, high=512)
    learning_rate: float = parameter(3e-3, "Adam's step", low=1e-5, high=0.1, log=True)
    last_rate: float = parameter(0.01, "the step at the end, as a share of that at the start", low=0.001, high=1.0, log=True)
    network: str = parameter("light", "mask network", choices=NETWORKS)

    assumes: ClassVar[str] = "clean images of both sources: an upper bound"
    order: ClassVar[str] = "fixed"
    sees: ClassVar[str] = "all"
    leaves: ClassVar[bool] = True
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "program": {"epochs": 250, "batch": 32, "learning_rate": 1e-3, "last_rate": 1.0, "network": "paper"},
    }

    def total_steps(self, problem: Problem) -> int:
        """The number of steps after step 0."""
        return self.epochs

    def trained(self, step: Step, image_shape: Sequence[int], name: str = "supervised") -> MaskNetwork:
        """The network of a step, to separate other mixtures with (see `Mask`)."""
        return learning.mask_network(step, image_shape, self.network, name)

    def steps(self, problem: Problem, rng: Generator, start: Step | None = None) -> Iterator[Step]:
        """Yield step 0 (the untrained network), then every epoch."""
        self.check(problem)
        mixtures, weight = problem.mixtures, problem.mixing.weights[0]
        examples = learning.examples_of(problem, self.sees)
        observed, unobserved = examples.observed, examples.unobserved
        assert observed is not None and unobserved is not None
        network = learning.new(functools.partial(MaskNetwork, tuple(mixtures.shape[1:]), self.network, "supervised"),
                               rng if start is None else None).to(mixtures.device)
        optimizer = torch.optim.Adam(network.parameters(), betas=(0.5, 0.999))
        per_epoch, first = learning.batches_in(len(observed), self.batch), 0
        losses: list[Tensor] = []
        if start is not None:
            learning.unpack(learning.held(start, "weights"), network)
            learning.unpack_moments(learning.held(start, "moments"), [start.index * per_epoch], optimizer)
            first = start.index + 1

        def rate(begun: int, share: float) -> float:
            return learning.falling(self.learning_rate, self.last_rate, (begun + share) / self.epochs)

        for index in range(first, self.epochs + 1):
            if index:
                network.train()
                losses = learning.pass_over_pairs(network, optimizer, observed, unobserved, self.batch, rng,
                                                  functools.partial(rate, index - 1))
            sources = network.take_apart(mixtures, weight)
            info: dict[str, float] = {"evaluations": index * len(observed), "residual": problem.residual(sources)}
            if losses:
                info["loss"] = float(torch.stack(losses).mean())
            state = {"weights": learning.pack(network), "moments": learning.pack_moments(optimizer)}
            yield Step(index, f"epoch {index}", sources, state=state, info=info)
