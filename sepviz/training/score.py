"""Train a score prior: undo Gaussian noise of every size."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor, nn
from tqdm.auto import tqdm

from sepviz import zoo
from sepviz.core import Mixing, Problem, SepvizError, Truth
from sepviz.data.split import SEED, some
from sepviz.priors.checks import shape_of_images
from sepviz.priors.score import ScorePrior
from sepviz.training.common import card
from sepviz.training.followed import Watch, completed
from sepviz.training.loop import Now, Training
from sepviz.training.parts import Parts

VIEW_SIGMA = 0.5  # of the noise on the images that a training is shown on
VALIDATION_SIGMAS = (0.02, 0.05, 0.1, 0.2, 0.35, 0.7, 1.0, 2.0)


def denoising_loss(prior: ScorePrior, clean: Tensor, sigma: Tensor, noise: Tensor) -> Tensor:
    """``|D(x + sigma n, sigma) - x|^2``, mean over all, weighted by a trained network's error.

    On digits that error grows about as ``sigma^1.4``. With EDM's weight the highest noise levels,
    where nothing more can be learned, would count six times as much as those around 0.3 (Karras et
    al. 2024 level them as well).
    """
    error = prior(clean + sigma.view(-1, 1, 1, 1) * noise, sigma) - clean
    return (4 * sigma.pow(-1.4) * error.square().mean(dim=(1, 2, 3))).mean()


@torch.no_grad()
def validate(prior: ScorePrior, clean: Tensor, seed: int = 0, batch: int = 250,
             progress: bool = False) -> dict[float, float]:
    """Held-out ``mse / sigma^2`` at each noise level: 1 is no denoising at all, 0 is perfect."""
    rng = Generator(clean.device).manual_seed(seed)
    losses = {}
    for sigma in tqdm(VALIDATION_SIGMAS, desc="held-out loss", unit="noise level", leave=False,
                      disable=not progress):
        total = 0.0
        for chunk in clean.split(batch):
            noise = torch.randn(chunk.shape, generator=rng, device=clean.device)
            error = prior.denoise(chunk + sigma * noise, sigma) - chunk
            total += float(error.square().mean(dim=(1, 2, 3)).sum())
        losses[sigma] = total / len(clean) / sigma**2
    return losses


def training_sigmas(count: int, sigma_max: float, rng: Generator) -> Tensor:
    """Noise levels of a batch: half log-uniform, half around 0.3, where strokes are assigned.

    Each half is evenly spaced from one random offset, so that all batches are equally noisy.
    """
    low, high = math.log(0.008), math.log(sigma_max)
    jitter = torch.rand(count, generator=rng, device=rng.device)
    place = (torch.arange(count, device=rng.device) // 2 + jitter) / ((count + 1) // 2)
    everywhere = low + (high - low) * place[::2]
    middle = math.log(0.3) + 0.8 * torch.special.ndtri(place[1::2].clamp(1e-6, 1 - 1e-6))
    return torch.cat([everywhere, middle.clamp(low, high)]).exp()


def compile_checked(prior: ScorePrior, images: Tensor) -> bool:
    """Compile the network; undo it and return False if its gradients come out wrong.

    They can: torch 2.13's CPU compiler gives none at all through a bf16 nearest-neighbour
    upsampling, and such a network still trains, only badly.
    """
    state = {name: value.clone() for name, value in prior.state_dict().items()}

    def gradients() -> list[Tensor]:
        sigma = torch.full((len(images),), 0.3, device=images.device)
        denoising_loss(prior, images, sigma, torch.full_like(images, 0.5)).backward()
        found = [torch.zeros_like(weight) if weight.grad is None else weight.grad.clone()
                 for weight in prior.parameters()]
        prior.zero_grad(set_to_none=True)
        return found

    with torch.no_grad():
        for weight in prior.parameters():  # those that start at zero stop the gradients of others
            weight.add_(0.05 * torch.ones_like(weight).cumsum(-1).sin())
    exact = gradients()
    prior.network.compile()
    close = all(float((one - other).norm()) <= 0.1 * float(one.norm()) + 1e-6
                for one, other in zip(exact, gradients(), strict=True))
    prior.load_state_dict(state)
    if not close:
        prior.network._compiled_call_impl = None
    return close


@dataclass(frozen=True, eq=False, kw_only=True)
class ScoreTraining(Training):
    """AdamW with a short warm-up and cosine decay.

    The prior is an exponential average of the weights. Shown is how held-out images under noise of
    `VIEW_SIGMA` are denoised.

    Parameters
    ----------
    widths : sequence of int
        Feature channels, see `ScorePrior`.
    start : ScorePrior, optional
        Weights to go on from, in place of random ones, with the mean and deviation of the pixels
        that they were trained on.
    compile_network : bool
        Compile it first; ``state["compiled"]`` says whether that worked.
    """

    widths: Sequence[int] = (32, 64, 128)
    start: ScorePrior | None = None
    compile_network: bool = False
    name: str = "score"

    answer: ClassVar[str] = "average"
    free: ClassVar[tuple[str, ...]] = (*Training.free, "compile_network")

    def check_sets(self, held_out: Tensor | None = None) -> None:
        """Refuse sizes that the network cannot take, also those of the weights to start from."""
        if self.images.ndim == 4:  # a size that no image of this set can have is said first
            shape_of_images(self.images.shape[1:], 4, "the network halves them twice")
        super().check_sets(held_out)
        sample = self._sample()
        if float(sample.std()) < 1e-3:
            raise SepvizError("training images are nearly all of one value, "
                              f"{float(sample.mean()):.3g}: there is nothing to learn; "
                              "take another set")
        if self.start is not None and self.start.image_shape != tuple(self.images.shape[1:]):
            raise SepvizError(f"training images of shape {tuple(self.images.shape[1:])}: "
                              f"the weights to start from, {self.start.name}, know "
                              f"(C, H, W) = {self.start.image_shape}")

    def _sample(self) -> Tensor:
        return some(self.images, 10_000).float() / 255

    def begin(self, rng: Generator) -> Parts:
        if self.start is None:
            sample = self._sample()
            prior = ScorePrior(self.images.shape[1:], float(sample.mean()), float(sample.std()),
                               widths=self.widths, name=self.name).to(rng.device)
        else:
            prior = ScorePrior(**{**self.start.settings(), "name": self.name}).to(rng.device)
            prior.load_state_dict(self.start.state_dict())
        average = ScorePrior(**prior.settings()).to(rng.device).eval().requires_grad_(False)
        average.load_state_dict(prior.state_dict())
        optimizer = torch.optim.AdamW(prior.parameters(), lr=self.learning_rate, betas=(0.9, 0.99),
                                      weight_decay=1e-2, fused=True)
        return {"prior": prior, "average": average, "optimizer": optimizer}

    def ready(self, parts: Parts) -> None:
        compiled = self.compile_network and compile_checked(parts["prior"],
                                                            self._sample()[:self.batch])
        if self.compile_network and not compiled:
            tqdm.write("the compiled network has other gradients than the network itself: "
                       "going on without compiling", file=sys.stderr)
        parts["compiled"] = torch.tensor(compiled)

    def iterate(self, parts: Parts, now: Now, rng: Generator) -> dict[str, Tensor]:
        prior, average, optimizer = parts["prior"], parts["average"], parts["optimizer"]
        rate = self.learning_rate * min(1.0, (now.iteration + 1) / 200)
        fall = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * now.share))
        optimizer.param_groups[0]["lr"] = rate * fall
        clean = self.draw(rng)
        noise = torch.randn(clean.shape, generator=rng, device=clean.device)
        loss = denoising_loss(prior, clean, training_sigmas(self.batch, prior.sigma_max, rng),
                              noise)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(prior.parameters(), 1.0)
        optimizer.step()
        decay = min(0.999, (1 + now.iteration) / (10 + now.iteration))
        with torch.no_grad():
            for slow, fast in zip(average.parameters(), prior.parameters(), strict=True):
                slow.lerp_(fast, 1 - decay)
        return {"loss": loss}

    def look(self, parts: Parts, problem: Problem) -> Tensor:
        return parts["average"].denoise(problem.mixtures, VIEW_SIGMA)[:, None]

    def view(self, held_out: Tensor | None = None) -> tuple[Problem, Truth | None]:
        """Held-out images with the noise, and without."""
        clean = self.few(held_out)
        rng = Generator(clean.device).manual_seed(SEED)
        noise = torch.randn(clean.shape, generator=rng, device=clean.device)
        return Problem(clean + VIEW_SIGMA * noise, Mixing.sum(1)), Truth(clean[:, None])

    def begun_from(self) -> str:
        """The first weights, in words."""
        if self.start is None:
            return "random weights"
        return f"{self.start.name}, digest {zoo.digest(self.start)}"

    def settings(self) -> dict[str, Any]:
        """All that decides the weights; those to start from by their digest."""
        return {**super().settings(), "start": self.begun_from()}


def train_score(images: Tensor, held_out: Tensor, checkpoint: str | Path, *, minutes: float = 60.0,
                iterations: int | None = None, seed: int = 0, progress: bool = True,
                watch: Watch | None = None,
                **options: Any) -> tuple[ScorePrior, dict]:
    """Train a `ScorePrior` with `ScoreTraining`, whose fields are the options.

    Parameters
    ----------
    images, held_out : Tensor (N, C, H, W) uint8
    checkpoint : path
        Where the run keeps itself; the same call goes on from there (see `Followed`).
    minutes : float
        Time to train, that of earlier, interrupted calls included.
    iterations : int, optional
        A number of iterations in place of ``minutes``.

    Returns
    -------
    prior : ScorePrior
        With the averaged weights, in eval mode.
    card : dict
        Seed, minutes, iterations, images seen, what it started from, held-out loss per noise level.
    """
    training = ScoreTraining(images=images, iterations=iterations,
                             minutes=None if iterations else minutes, **options)
    step, run = completed(training, held_out, checkpoint, seed, progress, watch)
    prior = training.trained(step)
    losses = validate(prior, held_out.to(images.device).float() / 255, progress=progress)
    return prior, card(prior, seed, run.minutes, step.index, images.device,
                       images_seen=step.index * training.batch, start=training.begun_from(),
                       compiled=bool(step.state["compiled"]), held_out_images=len(held_out),
                       held_out_loss_per_sigma={str(sigma): round(loss, 5)
                                                for sigma, loss in losses.items()})
