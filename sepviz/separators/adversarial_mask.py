"""Adversarial Masking: mask the mixtures until a discriminator takes them for the observed source (Halperin et al. 2019, equation 11)."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator

from sepviz.core import Problem, Step, parameter
from sepviz.priors.mask import NETWORKS, MaskNetwork
from sepviz.separators import learning


@dataclass(frozen=True)
class AdversarialMask(learning.Learner):
    """A mask m and a discriminator D in turn, with least squares (Mao et al. 2017):

        D: minimise  mean D(y m(y))^2 + mean (D(b) - 1)^2
        m: minimise  mean (D(y m(y)) - 1)^2 + magnitude mean |m(y) - 1|

    D's layers have spectral norm 1 (Miyato et al. 2018), and the last term, a preference for masks that keep what they can,
    holds the mask back from throwing half of an image away. One step is one epoch.
    """

    epochs: int = parameter(15, "passes over the mixtures", low=1, high=500)
    batch: int = parameter(64, "images a training step", low=2, high=512)
    learning_rate: float = parameter(1e-3, "Adam's step, of both networks", low=1e-5, high=0.1, log=True)
    last_rate: float = parameter(0.05, "the step at the end, as a share of that at the start", low=0.001, high=1.0, log=True)
    magnitude: float = parameter(1.0, "weight of the preference for masks of 1", low=0.0, high=10.0)
    network: str = parameter("light", "mask network", choices=NETWORKS)

    assumes: ClassVar[str] = "mixtures and clean images of one source; what is left of a mixture looks like that source"
    order: ClassVar[str] = "fixed"
    sees: ClassVar[str] = "observed"
    leaves: ClassVar[bool] = True

    def total_steps(self, problem: Problem) -> int:
        """The number of steps after step 0."""
        return self.epochs

    def trained(self, step: Step, image_shape: Sequence[int], name: str = "adversarial-mask") -> MaskNetwork:
        """The network of a step, to separate other mixtures with (see `Mask`)."""
        critic = learning.new(functools.partial(learning.Discriminator, image_shape, spectral=True))
        return learning.mask_network(step, image_shape, self.network, name, critic)

    def steps(self, problem: Problem, rng: Generator, start: Step | None = None) -> Iterator[Step]:
        """Yield step 0 (the untrained network), then every epoch; ``info`` holds the losses of both networks."""
        self.check(problem)
        mixtures, weight = problem.mixtures, problem.mixing.weights[0]
        examples = learning.examples_of(problem, self.sees)
        observed, mixed = examples.observed, examples.mixtures / weight
        assert observed is not None
        draw, shape = rng if start is None else None, tuple(mixtures.shape[1:])
        network = learning.new(functools.partial(MaskNetwork, shape, self.network, "adversarial-mask"), draw).to(mixtures.device)
        critic = learning.new(functools.partial(learning.Discriminator, shape, spectral=True), draw).to(mixtures.device)
        optimizers = [torch.optim.Adam(module.parameters(), betas=(0.5, 0.999)) for module in (network, critic)]
        per_epoch, first = learning.batches_in(len(mixed), self.batch), 0
        if start is not None:
            learning.unpack(learning.held(start, "weights"), network, critic)
            learning.unpack_moments(learning.held(start, "moments"), [start.index * per_epoch] * 2, *optimizers)
            first = start.index + 1
        losses: list[torch.Tensor] = []
        for index in range(first, self.epochs + 1):
            if index:
                network.train()
                losses = []
                for number, chosen in enumerate(learning.batches(len(mixed), self.batch, rng)):
                    rate = learning.falling(self.learning_rate, self.last_rate, (index - 1 + number / per_epoch) / self.epochs)
                    y, b = mixed[chosen], observed[torch.randint(len(observed), chosen.shape, generator=rng, device=rng.device)]
                    mask = network.mask(y)
                    critic.requires_grad_(True)
                    critic_loss = critic(y * mask.detach()).square().mean() + (critic(b) - 1).square().mean()
                    learning.descend(optimizers[1], critic_loss, rate)
                    critic.requires_grad_(False)  # only looked through
                    mask_loss = (critic(y * mask) - 1).square().mean() + self.magnitude * (mask - 1).abs().mean()
                    learning.descend(optimizers[0], mask_loss, rate)
                    losses.append(torch.stack([mask_loss.detach(), critic_loss.detach()]))
            sources = network.take_apart(mixtures, weight)
            info: dict[str, float] = {"evaluations": index * len(mixed), "residual": problem.residual(sources)}
            if losses:
                info["mask_loss"], info["discriminator_loss"] = torch.stack(losses).mean(dim=0).tolist()
            state = {"weights": learning.pack(network, critic), "moments": learning.pack_moments(*optimizers)}
            yield Step(index, f"epoch {index}", sources, state=state, info=info)
