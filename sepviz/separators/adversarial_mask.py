"""Adversarial Masking: mask mixtures until they look observed (Halperin et al. 2019)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Generator

from sepviz.core import Problem, Step, parameter
from sepviz.priors.mask import NETWORKS, MaskNetwork
from sepviz.separators import learning


@dataclass(frozen=True)
class AdversarialMask(learning.Learner):
    """A mask m and a discriminator D in turn, with least squares (equation 11; Mao et al. 2017):

        D: minimise  mean D(y m(y))^2 + mean (D(b) - 1)^2
        m: minimise  mean (D(y m(y)) - 1)^2 + magnitude mean |m(y) - 1|

    D's layers have spectral norm 1 (Miyato et al. 2018). The last term favours masks of 1: without
    it a mask may remove half of an image. One step is one epoch.
    """

    epochs: int = parameter(15, "passes over the mixtures", low=1, high=500)
    batch: int = parameter(64, "images a training step", low=2, high=512)
    learning_rate: float = parameter(1e-3, "Adam's step, of both networks", low=1e-5, high=0.1,
                                     log=True)
    last_rate: float = parameter(0.05, "the last step as a share of the first", low=0.001, high=1,
                                 log=True)
    magnitude: float = parameter(1.0, "weight of the preference for masks of 1", low=0, high=10)
    network: str = parameter("light", "mask network", choices=NETWORKS)

    assumes = ("mixtures and clean images of one source; "
               "what is left of a mixture looks like that source")
    order = "fixed"
    sees = "observed"
    leaves = True

    def total_steps(self, problem: Problem) -> int:
        return self.epochs

    def trained(self, step: Step, image_shape: Sequence[int], name: str = "") -> MaskNetwork:
        return learning.trained(step, *self._networks(image_shape, name))[0]

    def _networks(self, shape: Sequence[int], name: str = "") -> list[learning.Make]:
        return [partial(MaskNetwork, shape, self.network, name or "adversarial-mask"),
                partial(learning.Discriminator, shape, spectral=True)]

    def steps(self, problem: Problem, rng: Generator, start: Step | None = None) -> Iterator[Step]:
        """Yield step 0 (the untrained network), then every epoch; ``info`` holds both losses."""
        self.check(problem)
        examples = learning.examples_of(problem, self.sees)
        b_all, y_all = examples.observed, examples.mixtures / problem.mixing.weights[0]
        assert b_all is not None
        per_epoch = learning.batches_in(len(y_all), self.batch)
        networks, optimizers = learning.begun(self._networks(problem.mixtures.shape[1:]), rng,
                                              start, lambda index: [index * per_epoch] * 2)
        network, discriminator = networks

        def epoch(index: int) -> dict[str, float]:
            losses = []
            for number, chosen in enumerate(learning.batches(len(y_all), self.batch, rng)):
                progress = (index - 1 + number / per_epoch) / self.epochs
                rate = learning.falling(self.learning_rate, self.last_rate, progress)
                pairs = torch.randint(len(b_all), chosen.shape, generator=rng, device=rng.device)
                y, b = y_all[chosen], b_all[pairs]
                mask = network.mask(y)
                discriminator.requires_grad_(True)
                false, true = discriminator(y * mask.detach()), discriminator(b)
                told = false.square().mean() + (true - 1).square().mean()
                learning.descend(optimizers[1], told, rate)
                discriminator.requires_grad_(False)  # fixed while the mask learns
                fooled = (discriminator(y * mask) - 1).square().mean()
                loss = fooled + self.magnitude * (mask - 1).abs().mean()
                learning.descend(optimizers[0], loss, rate)
                losses.append(torch.stack([loss.detach(), told.detach()]))
            means = torch.stack(losses).mean(dim=0).tolist()
            return dict(zip(("mask_loss", "discriminator_loss"), means, strict=True))

        yield from learning.epochs(problem, networks, optimizers, start, self.epochs, len(y_all),
                                   epoch)
