"""Adversarial Unmix-and-Remix: take two mixtures apart, swap a source, and let nobody tell the remixes from mixtures (Hoshen 2019)."""

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

ENERGIES = ("batch", "image", "pixel")


@dataclass(frozen=True)
class Remix(learning.Learner):
    """A mask m, learned from mixtures alone, and a discriminator D (equations 1 to 10 of Hoshen 2019).

    Of two mixtures, ``b_i = y_i m(y_i)``, ``x_i = y_i - b_i``; the remixes are ``z_1 = x_1 + b_2``, ``z_2 = x_2 + b_1``. In turn,

        D: minimise  mean (D(y) - 1)^2 + mean D(z)^2
        m: minimise  cycle mean |y' - y| + adversarial mean (D(z) - 1)^2 + energy L_E

    where y' is the remix of the remixes, which is y if z was taken apart into what it was made of. Without L_E, ``m = 0`` would do: x is
    all of y and nothing is swapped. The paper leaves open what L_E's squares are of: single pixels (least for m = 1/2 everywhere), an
    image's sum, or the batch's sum, see ``energy_of``. The discriminator must be the quicker of the two: with the paper's four mask
    steps to one of its own it never told a remix from a mixture. Which source is which nobody can know: they come in one order for
    all mixtures. One step is one epoch.
    """

    epochs: int = parameter(24, "passes over the mixtures", low=1, high=500)
    batch: int = parameter(64, "mixtures a training step", low=4, high=512)
    learning_rate: float = parameter(5e-4, "Adam's step for the mask", low=1e-5, high=0.1, log=True)
    critic_rate: float = parameter(2e-3, "Adam's step for the discriminator", low=1e-5, high=0.1, log=True)
    last_rate: float = parameter(0.05, "both steps at the end, as a share of those at the start", low=0.001, high=1.0, log=True)
    mask_steps: int = parameter(1, "steps of the mask for each of the discriminator", low=1, high=20)
    adversarial: float = parameter(5.0, "weight of fooling the discriminator", low=0.0, high=100.0)
    energy: float = parameter(5.0, "weight of giving both sources as much", low=0.0, high=100.0)
    energy_of: str = parameter("image", "what must be shared out evenly: a batch's sum, each image's, each pixel", choices=ENERGIES)
    cycle: float = parameter(0.0, "weight of remixing the remixes to the mixtures; 0 saves a third of the time", low=0.0, high=100.0)
    spectral: bool = parameter(True, "a discriminator of spectral norm 1; if not, with batch norm")
    network: str = parameter("light", "mask network", choices=NETWORKS)

    assumes: ClassVar[str] = "mixtures alone, of two independent sources: remixes pass for mixtures"
    order: ClassVar[str] = "set"
    sees: ClassVar[str] = "mixtures"
    leaves: ClassVar[bool] = True
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {"batch": 32, "learning_rate": 1e-4, "critic_rate": 1e-4, "last_rate": 1.0, "mask_steps": 4, "network": "paper",
                  "energy_of": "pixel", "cycle": 1.0, "spectral": False},
    }

    def total_steps(self, problem: Problem) -> int:
        """The number of steps after step 0."""
        return self.epochs

    def trained(self, step: Step, image_shape: Sequence[int], name: str = "remix") -> MaskNetwork:
        """The network of a step, to separate other mixtures with (see `Mask`)."""
        critic = learning.new(functools.partial(learning.Discriminator, image_shape, self.spectral))
        return learning.mask_network(step, image_shape, self.network, name, critic)

    def critic(self, step: Step, image_shape: Sequence[int]) -> learning.Discriminator:
        """The discriminator of a step: mixtures (N, C, H, W) -> how real it takes each for, 1 for a mixture and 0 for a remix."""
        critic = learning.new(functools.partial(learning.Discriminator, image_shape, self.spectral))
        learning.mask_network(step, image_shape, self.network, "remix", critic)
        return critic

    def steps(self, problem: Problem, rng: Generator, start: Step | None = None) -> Iterator[Step]:
        """Yield step 0 (the untrained network), then every epoch; ``info`` holds the mean of every loss."""
        self.check(problem)
        mixtures, weight = problem.mixtures, problem.mixing.weights[0]
        mixed = learning.examples_of(problem, self.sees).mixtures / weight
        draw, shape = rng if start is None else None, tuple(mixtures.shape[1:])
        network = learning.new(functools.partial(MaskNetwork, shape, self.network, "remix"), draw).to(mixtures.device)
        critic = learning.new(functools.partial(learning.Discriminator, shape, self.spectral), draw).to(mixtures.device)
        optimizers = [torch.optim.Adam(module.parameters(), betas=(0.5, 0.999)) for module in (network, critic)]
        per_epoch, first = learning.batches_in(len(mixed), self.batch), 0
        if start is not None:
            learning.unpack(learning.held(start, "weights"), network, critic)
            taken = start.index * per_epoch
            learning.unpack_moments(learning.held(start, "moments"), [taken, -(-taken // self.mask_steps)], *optimizers)
            first = start.index + 1
        losses: list[Tensor] = []
        critic_losses: list[Tensor] = []
        for index in range(first, self.epochs + 1):
            if index:
                network.train()
                losses, critic_losses = [], []
                for number, chosen in enumerate(learning.batches(len(mixed), self.batch, rng), (index - 1) * per_epoch):
                    fall = learning.falling(1.0, self.last_rate, number / (per_epoch * self.epochs))
                    y = mixed[chosen]
                    x, b = unmix(network, y)
                    z = x + b.roll(1, dims=0)  # each with its neighbour's
                    if number % self.mask_steps == 0:
                        critic.requires_grad_(True)
                        critic_loss = (critic(y) - 1).square().mean() + critic(z.detach()).square().mean()
                        learning.descend(optimizers[1], critic_loss, self.critic_rate * fall)
                        critic_losses.append(critic_loss.detach())
                        critic.requires_grad_(False)  # only looked through
                    again_x, again_b = unmix(network, z) if self.cycle else (x, b.roll(1, dims=0))
                    parts = torch.stack([(again_x + again_b.roll(-1, dims=0) - y).abs().mean(), (critic(z) - 1).square().mean(),
                                         unevenness(x, b, self.energy_of)])
                    loss = (parts * parts.new_tensor([self.cycle, self.adversarial, self.energy])).sum()
                    learning.descend(optimizers[0], loss, self.learning_rate * fall)
                    losses.append(parts.detach())
            sources = network.take_apart(mixtures, weight)
            info: dict[str, float] = {"evaluations": index * len(mixed), "residual": problem.residual(sources)}
            if losses:
                names = ("cycle_loss", "adversarial_loss", "energy_loss")
                info |= dict(zip(names, torch.stack(losses).mean(dim=0).tolist(), strict=True))
            if critic_losses:
                info["discriminator_loss"] = float(torch.stack(critic_losses).mean())
            state = {"weights": learning.pack(network, critic), "moments": learning.pack_moments(*optimizers)}
            yield Step(index, f"epoch {index}", sources, state=state, info=info)


def unmix(network: MaskNetwork, mixtures: Tensor) -> tuple[Tensor, Tensor]:
    """What the mask leaves and what it takes: x = y (1 - m(y)) and b = y m(y)."""
    b = mixtures * network.mask(mixtures)
    return mixtures - b, b


def unevenness(x: Tensor, b: Tensor, of: str) -> Tensor:
    """``(|x|^2 + |b|^2) / |x + b|^2`` of pixels, or of the sums over images or over the batch: 1/2 if even, 1 if one has all."""
    if of == "image":
        x, b = x.sum(dim=(1, 2, 3)), b.sum(dim=(1, 2, 3))
    elif of == "batch":
        x, b = x.sum(), b.sum()
    return (x.square().mean() + b.square().mean()) / (x + b).square().mean().clamp_min(1e-9)
