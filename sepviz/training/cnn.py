"""Train a network that regresses the image from the disturbed image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Generator, Tensor

from sepviz.core import Mixing, Problem, Truth
from sepviz.data.split import SEED, some
from sepviz.metrics import decibels
from sepviz.priors.cnn import CnnRegressor
from sepviz.separators.learning import descend
from sepviz.training.common import card, figure
from sepviz.training.followed import Watch, completed
from sepviz.training.loop import Now, Training
from sepviz.training.parts import Parts


@dataclass(frozen=True, eq=False, kw_only=True)
class CnnTraining(Training):
    """Mean squared error of images under noise Uniform(-amplitude, amplitude).

    By Adam, whose step falls to 0.
    """

    batch: int = 64
    amplitude: float = 0.31
    width: int = 48
    name: str = "cnn"

    def begin(self, rng: Generator) -> Parts:
        prior = CnnRegressor(self.images.shape[1:], self.width, self.name).to(rng.device)
        optimizer = torch.optim.Adam(prior.parameters(), lr=self.learning_rate, fused=True)
        return {"prior": prior, "optimizer": optimizer}

    def disturbed(self, images: Tensor, rng: Generator) -> Tensor:
        """Images with noise."""
        noise = 2 * torch.rand(images.shape, generator=rng, device=images.device) - 1
        return images + self.amplitude * noise

    def iterate(self, parts: Parts, now: Now, rng: Generator) -> dict[str, Tensor]:
        clean = self.draw(rng)
        loss = (parts["prior"].train().regress(self.disturbed(clean, rng)) - clean).square().mean()
        descend(parts["optimizer"], loss, self.learning_rate * (1 - now.share))
        return {"loss": loss}

    @torch.no_grad()
    def look(self, parts: Parts, problem: Problem) -> Tensor:
        return parts["prior"].eval().regress(problem.mixtures)[:, None]

    def view(self, held_out: Tensor | None = None) -> tuple[Problem, Truth | None]:
        """Held-out images with the noise, and without."""
        clean = self.few(held_out)
        noisy = self.disturbed(clean, Generator(clean.device).manual_seed(SEED))
        return Problem(noisy, Mixing.sum(1)), Truth(clean[:, None])


def train_cnn(images: Tensor, held_out: Tensor, checkpoint: str | Path, *, iterations: int = 3000,
              amplitude: float = 0.31, seed: int = 0, width: int = 48, batch: int = 64,
              learning_rate: float = 2e-3, name: str = "cnn", progress: bool = True,
              watch: Watch | None = None) -> tuple[CnnRegressor, dict]:
    """Train a `CnnRegressor` with `CnnTraining`.

    Parameters
    ----------
    images, held_out : Tensor (N, C, H, W) uint8
    checkpoint : path
        Where the run keeps itself; the same call goes on from there (see `Followed`).

    Returns
    -------
    regressor : CnnRegressor
        In eval mode.
    card : dict
        Seed, minutes and the PSNR on held-out images under the same noise.
    """
    training = CnnTraining(images=images, iterations=iterations, amplitude=amplitude, width=width,
                           batch=batch, learning_rate=learning_rate, name=name)
    step, run = completed(training, held_out, checkpoint, seed, progress, watch)
    regressor = training.trained(step)
    clean = some(held_out, 500).to(images.device).float() / 255
    error = regressor.regress(training.disturbed(clean, run.rng)) - clean
    psnr = decibels(error.square().mean(dim=(1, 2, 3)))
    what = f"PSNR in dB of held-out images under noise Uniform(+-{amplitude})"
    return regressor, card(regressor, seed, run.minutes, step.index, images.device, batch=batch,
                           denoised_psnr=figure(what, psnr))
