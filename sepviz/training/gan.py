"""Train a GAN prior: a generator against a discriminator."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import softplus
from tqdm.auto import tqdm

from sepviz.core import Mixing, Problem, Step, Truth
from sepviz.data.split import some
from sepviz.metrics import decibels
from sepviz.priors.gan import PRESETS, GanPrior, discriminator_network, start_as_dcgan
from sepviz.priors.learned import run_fast
from sepviz.runs import Trace
from sepviz.separators.learning import descend
from sepviz.training.common import card, figure
from sepviz.training.followed import Followed, Watch, completed
from sepviz.training.loop import Now, Training
from sepviz.training.parts import Parts

SAMPLES = 8  # on a page


@dataclass(frozen=True, eq=False, kw_only=True)
class GanTraining(Training):
    """Adam with beta1 = 0.5, one generator step for each of the discriminator.

    The loss is ``-log D(G(z))``, the non-saturating one of Goodfellow et al. 2014, section 3. Shown
    are samples of the same latents all along, as the sources of one "mixture": the mean of the
    training images. What the mean of the samples leaves of it is the residual.
    """

    learning_rate: float = 2e-4
    widths: Sequence[int] = PRESETS["paper"]
    latent_size: int = 100
    shown: int = 16
    name: str = "gan"

    def begin(self, rng: Generator) -> Parts:
        prior = GanPrior(self.images.shape[1:], self.latent_size, self.widths,
                         self.name).to(rng.device)
        discriminator = discriminator_network(prior.image_shape, self.widths).to(rng.device)
        start_as_dcgan(prior)
        start_as_dcgan(discriminator)
        parts: Parts = {"prior": prior, "discriminator": discriminator}
        for name, module in list(parts.items()):
            parts[f"{name}_optimizer"] = torch.optim.Adam(
                module.parameters(), lr=self.learning_rate, betas=(0.5, 0.999), fused=True)
        latents = torch.randn((self.shown, self.latent_size), generator=rng, device=rng.device)
        return {**parts, "latents": latents}

    def iterate(self, parts: Parts, now: Now, rng: Generator) -> dict[str, Tensor]:
        prior, discriminator = parts["prior"].train(), parts["discriminator"]
        real = self.draw(rng)
        fake = prior.decode(torch.randn((self.batch, self.latent_size), generator=rng,
                                        device=rng.device))
        discriminator_loss = (softplus(-_realness(discriminator, real))
                              + softplus(_realness(discriminator, fake.detach()))).mean()
        descend(parts["discriminator_optimizer"], discriminator_loss, self.learning_rate)
        discriminator.requires_grad_(False)  # only looked through
        generator_loss = softplus(-_realness(discriminator, fake)).mean()
        descend(parts["prior_optimizer"], generator_loss, self.learning_rate)
        discriminator.requires_grad_(True)
        return {"discriminator_loss": discriminator_loss, "generator_loss": generator_loss}

    @torch.no_grad()
    def look(self, parts: Parts, problem: Problem) -> Tensor:
        return parts["prior"].eval().decode(parts["latents"])[None]

    def view(self, held_out: Tensor | None = None) -> tuple[Problem, Truth | None]:
        """The mean of the training images, in equal parts of as many samples as are shown."""
        mean = (some(self.images, 10_000).float() / 255).mean(dim=0, keepdim=True)
        return Problem(mean, Mixing.mean(self.shown)), None


def _realness(discriminator: nn.Module, images: Tensor) -> Tensor:
    return run_fast(discriminator, images).flatten()


def gan_steps(images: Tensor, checkpoint: str | Path, *, seed: int = 0, every: int = 100,
              progress: bool = False, iterations: int = 10_000,
              **options: Any) -> Iterator[tuple[Step, GanPrior]]:
    """Train a `GanPrior` and yield, every so many iterations, what it makes of the same latents.

    Parameters
    ----------
    images : Tensor (N, C, H, W) uint8
    checkpoint : path
        Where the run keeps itself; the same call goes on from there (see `Followed`).
    options
        Fields of `GanTraining`.

    Yields
    ------
    step : Step
        ``sources`` (1, shown, C, H, W): samples; ``info``: both losses, mean since the step before.
    prior : GanPrior
        The generator of this step, in eval mode.
    """
    training = GanTraining(images=images, iterations=iterations, every=every, **options)
    run = Followed(training, training.view()[0], checkpoint, seed, training.settings(),
                   progress=progress)
    following: Any = iter(run)
    with closing(following) as steps:
        for step in steps:
            if step.index % every == 0 or step.index == iterations:
                yield step, training.trained(step)


def train_gan(images: Tensor, held_out: Tensor, checkpoint: str | Path, *, iterations: int = 10_000,
              seed: int = 0, progress: bool = True, watch: Watch | None = None,
              **options: Any) -> tuple[GanPrior, dict]:
    """Train a `GanPrior` with `GanTraining`, whose fields are the options.

    Returns
    -------
    prior : GanPrior
        In eval mode.
    card : dict
        Seed, minutes, iterations, and the `oracle` on 500 of the held-out images.
    """
    training = GanTraining(images=images, iterations=iterations, **options)
    step, run = completed(training, held_out, checkpoint, seed, progress,
                          None if watch is None else functools.partial(_shown, watch))
    prior = training.trained(step)
    psnr = oracle(prior, some(held_out, 500).to(images.device).float() / 255, progress=progress)
    what = "PSNR in dB of the best G(z) found for clean held-out images, 8 starts of 300 Adam steps"
    return prior, card(prior, seed, run.minutes, step.index, images.device, batch=training.batch,
                       oracle_psnr=figure(what, psnr, median=True))


def _shown(watch: Watch, trace: Trace, truth: Truth | None) -> None:
    """Watch the samples that stand in one row of a page."""
    count = min(SAMPLES, trace.problem.mixing.count)
    steps = [step._replace(sources=step.sources[:, :count]) for step in trace.steps]
    problem = trace.problem._replace(mixing=Mixing.mean(count))
    watch(replace(trace, problem=problem, steps=steps), truth)


@torch.enable_grad()
def oracle(prior: GanPrior, images: Tensor, *, starts: int = 8, iterations: int = 300,
           seed: int = 0, learning_rate: float = 0.1, progress: bool = True) -> Tensor:
    """PSNR in dB of the best ``G(z)`` found for clean images: what mode collapse leaves.

    Parameters
    ----------
    images : Tensor (N, C, H, W) in [0, 1]
    starts : int
        Latents tried for each; Adam on all of them, the best counts.

    Returns
    -------
    Tensor (N,)
    """
    frozen = prior.folded()
    rng = Generator(images.device).manual_seed(seed)
    z = torch.randn((starts, len(images), prior.latent_size), generator=rng,
                    device=images.device).requires_grad_(True)
    optimizer = torch.optim.Adam([z])
    best = torch.full((len(images),), float("inf"), device=images.device)
    for iteration in tqdm(range(iterations), desc="oracle", unit="it", disable=not progress):
        mse = (frozen.decode(z) - images).square().mean(dim=(2, 3, 4))
        best = torch.minimum(best, mse.detach().amin(dim=0))
        descend(optimizer, mse.sum(), learning_rate * (1 - 0.9 * iteration / iterations))
    return decibels(best)
