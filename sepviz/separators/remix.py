"""Adversarial Unmix-and-Remix: swapping sources must give mixtures again (Hoshen 2019)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Generator, Tensor

from sepviz.core import Problem, Step, parameter
from sepviz.priors.mask import NETWORKS, MaskNetwork
from sepviz.separators import learning

ENERGIES = ("batch", "image", "pixel")
LOSSES = ("cycle_loss", "adversarial_loss", "energy_loss")


@dataclass(frozen=True)
class Remix(learning.Learner):
    """A mask m, learned from mixtures alone, and a discriminator D (equations 1 to 10).

    Two mixtures, with ``b_i = y_i m(y_i)`` and ``x_i = y_i - b_i``, have the remixes
    ``z_1 = x_1 + b_2`` and ``z_2 = x_2 + b_1``. In turn,

        D: minimise  mean (D(y) - 1)^2 + mean D(z)^2
        m: minimise  cycle mean |y' - y| + adversarial mean (D(z) - 1)^2 + energy L_E

    where y' is the remix of the remixes: y, if each z is separated into its own parts. Without L_E,
    ``m = 0`` is a solution: x is all of y, and nothing is swapped. The paper leaves open whether
    the squares in L_E are of pixels (least for m = 1/2 everywhere), of an image's sum or of the
    batch's, see ``energy_of``. The discriminator must learn faster than the mask: with the paper's
    four mask steps to one of its own it never tells a remix from a mixture. The order of the
    sources is arbitrary, but the same for all mixtures. One step is one epoch.
    """

    epochs: int = parameter(24, "passes over the mixtures", low=1, high=500)
    batch: int = parameter(64, "mixtures a training step", low=4, high=512)
    learning_rate: float = parameter(5e-4, "Adam's step for the mask", low=1e-5, high=0.1, log=True)
    critic_rate: float = parameter(2e-3, "Adam's step for the discriminator", low=1e-5, high=0.1,
                                   log=True)
    last_rate: float = parameter(0.05, "both last steps as a share of the first", low=0.001, high=1,
                                 log=True)
    mask_steps: int = parameter(1, "mask steps for each of the discriminator", low=1, high=20)
    adversarial: float = parameter(5.0, "weight of fooling the discriminator", low=0, high=100)
    energy: float = parameter(5.0, "weight of giving both sources the same energy", low=0, high=100)
    energy_of: str = parameter("image", "what must be shared evenly: the sum of a batch, of each "
                               "image, each pixel", choices=ENERGIES)
    cycle: float = parameter(0.0, "weight of remixing the remixes to the mixtures; 0 saves a third "
                             "of the time", low=0, high=100)
    spectral: bool = parameter(True, "a discriminator of spectral norm 1; if not, with batch norm")
    network: str = parameter("light", "mask network", choices=NETWORKS)

    assumes = "mixtures alone, of two independent sources: remixes pass for mixtures"
    order = "set"
    sees = "mixtures"
    leaves = True
    presets: ClassVar = {"paper": {
        "batch": 32, "learning_rate": 1e-4, "critic_rate": 1e-4, "last_rate": 1.0, "mask_steps": 4,
        "network": "paper", "energy_of": "pixel", "cycle": 1.0, "spectral": False}}

    def total_steps(self, problem: Problem) -> int:
        return self.epochs

    def trained(self, step: Step, image_shape: Sequence[int], name: str = "") -> MaskNetwork:
        return learning.trained(step, *self._networks(image_shape, name))[0]

    def critic(self, step: Step, image_shape: Sequence[int]) -> learning.Discriminator:
        """The discriminator of a step: mixtures (N, C, H, W) -> 1 for real ones, 0 for remixes."""
        return learning.trained(step, *self._networks(image_shape))[1]

    def _networks(self, shape: Sequence[int], name: str = "") -> list[learning.Make]:
        return [partial(MaskNetwork, shape, self.network, name or "remix"),
                partial(learning.Discriminator, shape, self.spectral)]

    def steps(self, problem: Problem, rng: Generator, start: Step | None = None) -> Iterator[Step]:
        """Yield step 0 (the untrained network), then every epoch with its mean losses."""
        self.check(problem)
        y_all = learning.examples_of(problem, self.sees).mixtures / problem.mixing.weights[0]
        per_epoch = learning.batches_in(len(y_all), self.batch)

        def taken(index: int) -> list[int]:
            return [index * per_epoch, -(-index * per_epoch // self.mask_steps)]

        makers = self._networks(problem.mixtures.shape[1:])
        networks, optimizers = learning.begun(makers, rng, start, taken)
        network, discriminator = networks
        weights = y_all.new_tensor([self.cycle, self.adversarial, self.energy])

        def epoch(index: int) -> dict[str, float]:
            told, losses, number = [], [], (index - 1) * per_epoch
            for chosen in learning.batches(len(y_all), self.batch, rng):
                fall = learning.falling(1.0, self.last_rate, number / (per_epoch * self.epochs))
                y = y_all[chosen]
                x, b = unmix(network, y)
                z = x + swapped(b)
                if number % self.mask_steps == 0:
                    discriminator.requires_grad_(True)
                    true, false = discriminator(y), discriminator(z.detach())
                    loss = (true - 1).square().mean() + false.square().mean()
                    learning.descend(optimizers[1], loss, self.critic_rate * fall)
                    told.append(loss.detach())
                    discriminator.requires_grad_(False)  # fixed while the mask learns
                again_x, again_b = unmix(network, z) if self.cycle else (x, swapped(b))
                parts = torch.stack([(again_x + swapped(again_b, -1) - y).abs().mean(),
                                     (discriminator(z) - 1).square().mean(),
                                     unevenness(x, b, self.energy_of)])
                learning.descend(optimizers[0], (parts * weights).sum(), self.learning_rate * fall)
                losses.append(parts.detach())
                number += 1
            found = dict(zip(LOSSES, torch.stack(losses).mean(dim=0).tolist(), strict=True))
            return found | ({"discriminator_loss": float(torch.stack(told).mean())} if told else {})

        yield from learning.epochs(problem, networks, optimizers, start, self.epochs, len(y_all),
                                   epoch)


def unmix(network: MaskNetwork, mixtures: Tensor) -> tuple[Tensor, Tensor]:
    """What the mask leaves and what it takes: x = y (1 - m(y)) and b = y m(y)."""
    b = mixtures * network.mask(mixtures)
    return mixtures - b, b


def swapped(images: Tensor, by: int = 1) -> Tensor:
    """Each image's neighbour in the batch; -1 swaps back."""
    return images.roll(by, dims=0)


def unevenness(x: Tensor, b: Tensor, of: str) -> Tensor:
    """``(|x|^2 + |b|^2) / |x + b|^2`` of pixels or sums: 1/2 if x equals b, 1 if one is 0."""
    if of == "image":
        x, b = x.flatten(1).sum(dim=1), b.flatten(1).sum(dim=1)
    elif of == "batch":
        x, b = x.sum(), b.sum()
    return (x.square().mean() + b.square().mean()) / (x + b).square().mean().clamp_min(1e-9)
