"""Train a score prior: undo Gaussian noise of every size."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from sepviz.core import SepvizError
from sepviz.data.split import some
from sepviz.priors.checks import shape_of_images
from sepviz.priors.score import ScorePrior
from sepviz.training.checkpoint import Run, check_images, described, digest

VALIDATION_SIGMAS = (0.02, 0.05, 0.1, 0.2, 0.35, 0.7, 1.0, 2.0)


def denoising_loss(prior: ScorePrior, clean: Tensor, sigma: Tensor, noise: Tensor) -> Tensor:
    """``|D(x + sigma n, sigma) - x|^2`` in units of the error that a trained network leaves, mean over all.

    On digits that error grows about as ``sigma^1.4``. With EDM's weight the noisiest levels, where nothing
    more can be learned, are six times as loud as those around 0.3 (Karras et al. 2024 level them as well).
    """
    error = prior(clean + sigma.view(-1, 1, 1, 1) * noise, sigma) - clean
    return (4 * sigma.pow(-1.4) * error.square().mean(dim=(1, 2, 3))).mean()


@torch.no_grad()
def validate(prior: ScorePrior, clean: Tensor, seed: int = 0, batch: int = 250,
             progress: bool = False) -> dict[float, float]:
    """Held-out ``mse / sigma^2`` at each noise level: 1 is no denoising at all, 0 is perfect."""
    from tqdm.auto import tqdm

    rng = torch.Generator(clean.device).manual_seed(seed)
    losses = {}
    for sigma in tqdm(VALIDATION_SIGMAS, desc="held-out loss", unit="noise level", leave=False, disable=not progress):
        total = 0.0
        for chunk in clean.split(batch):
            noise = torch.randn(chunk.shape, generator=rng, device=clean.device)
            total += float((prior.denoise(chunk + sigma * noise, sigma) - chunk).square().mean(dim=(1, 2, 3)).sum())
        losses[sigma] = total / len(clean) / sigma**2
    return losses


def training_sigmas(count: int, sigma_max: float, rng: torch.Generator) -> Tensor:
    """Half log-uniform over all levels, half around 0.3, where separation decides which stroke is whose.

    Evenly spaced within each half, from one draw, so that no batch has many noisy images and another few.
    """
    low, high = math.log(0.008), math.log(sigma_max)
    place = (torch.arange(count, device=rng.device) // 2 + torch.rand(count, generator=rng, device=rng.device)) / ((count + 1) // 2)
    everywhere = low + (high - low) * place[::2]
    middle = math.log(0.3) + 0.8 * torch.special.ndtri(place[1::2].clamp(1e-6, 1 - 1e-6))
    return torch.cat([everywhere, middle.clamp(low, high)]).exp()


def compile_checked(prior: ScorePrior, images: Tensor) -> bool:
    """Compile the network, and take it back where its gradients come out wrong.

    They can: torch 2.13's CPU compiler gives none at all through a bf16 nearest-neighbour upsampling,
    and such a network trains, only badly.
    """
    state = {name: value.clone() for name, value in prior.state_dict().items()}

    def gradients() -> list[Tensor]:
        sigma = torch.full((len(images),), 0.3, device=images.device)
        denoising_loss(prior, images, sigma, torch.full_like(images, 0.5)).backward()
        grown = [torch.zeros_like(weight) if weight.grad is None else weight.grad.clone() for weight in prior.parameters()]
        prior.zero_grad(set_to_none=True)
        return grown

    with torch.no_grad():
        for weight in prior.parameters():  # some start at zero, and stop the gradients of others
            weight.add_(0.05 * torch.ones_like(weight).cumsum(-1).sin())
    exact = gradients()
    prior.network.compile()
    close = all(float((one - other).norm()) <= 0.1 * float(one.norm()) + 1e-6 for one, other in zip(exact, gradients(), strict=True))
    prior.load_state_dict(state)
    if not close:
        prior.network._compiled_call_impl = None
    return close


def train_score(images: Tensor, held_out: Tensor, checkpoint: str | Path, *, minutes: float = 60.0, iterations: int | None = None,
                seed: int = 0, name: str = "score", widths: Sequence[int] = (32, 64, 128), batch: int = 128,
                learning_rate: float = 2e-3, progress: bool = True, compile_network: bool = False,
                start: ScorePrior | None = None) -> tuple[ScorePrior, dict]:
    """Train a `ScorePrior`; Ctrl-C or a crash loses at most a minute, calling again goes on.

    AdamW, a short warm-up, cosine decay to the end of the time, exponential average of the weights.

    Parameters
    ----------
    images, held_out : Tensor (N, C, H, W) uint8
    checkpoint : path
        Where the run keeps itself; taken up if it is there.
    minutes : float
        Time to train, that of earlier, interrupted calls included.
    iterations : int, optional
        A number of iterations in place of ``minutes``.
    start : ScorePrior, optional
        Weights to go on from, in place of random ones, with the mean and deviation of the pixels that they were trained on.

    Returns
    -------
    prior : ScorePrior
        With the averaged weights, in eval mode.
    card : dict
        Seed, minutes, iterations, images seen, what it started from, held-out loss per noise level.
    """
    from tqdm.auto import tqdm

    if images.ndim == 4:  # a size that no image of this set can have is said first
        shape_of_images(images.shape[1:], 4, "the network halves them twice")
    check_images(images, batch, held_out)
    device = images.device
    torch.manual_seed(seed)
    rng = torch.Generator(device).manual_seed(seed)
    sample = some(images, 10_000).float() / 255
    if float(sample.std()) < 1e-3:
        raise SepvizError("training images are nearly all of one value, "
                          f"{float(sample.mean()):.3g}: there is nothing to learn; take another set")
    if start is None:
        prior = ScorePrior(images.shape[1:], float(sample.mean()), float(sample.std()), widths=widths, name=name).to(device)
    elif start.image_shape != tuple(images.shape[1:]):
        raise SepvizError(f"training images of shape {tuple(images.shape[1:])}: the weights to start from, {start.name}, "
                          f"know (C, H, W) = {start.image_shape}")
    else:
        prior = ScorePrior(**{**start.settings(), "name": name}).to(device)
        prior.load_state_dict(start.state_dict())
    average = ScorePrior(**prior.settings()).to(device).eval().requires_grad_(False)
    average.load_state_dict(prior.state_dict())
    optimizer = torch.optim.AdamW(prior.parameters(), lr=learning_rate, betas=(0.9, 0.99), weight_decay=1e-2, fused=True)
    begun_from = "random weights"
    if start is not None:
        begun_from = f"{start.name}, digest {digest(*start.state_dict().values())}"
    # the learning rate falls over all of the run: a longer one is another from its first iteration
    settings = {"model": "score", "images": described(images), "start": begun_from, "seed": seed,
                "iterations": iterations, "minutes": None if iterations else minutes,
                "widths": prior.widths, "batch": batch, "learning rate": learning_rate}
    run = Run(checkpoint, settings, rng, prior=prior, average=average, optimizer=optimizer)
    compiled = compile_network and compile_checked(prior, sample[:batch])
    if compile_network and not compiled:
        tqdm.write("the compiled network has other gradients than the network itself: going on without compiling", file=sys.stderr)
    bar = tqdm(total=iterations or round(60 * minutes), unit="it" if iterations else "s", desc=f"train {name}",
               initial=run.iteration if iterations else round(run.elapsed), disable=not progress)
    running = math.nan
    with bar, run:
        while (done := run.iteration / iterations if iterations else run.elapsed / (60 * minutes)) < 1:
            run.begin()
            rate = learning_rate * min(1.0, (run.iteration + 1) / 200)
            rate *= 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done))
            for group in optimizer.param_groups:
                group["lr"] = rate
            index = torch.randint(len(images), (batch,), generator=rng, device=device)
            clean = images[index].float() / 255
            noise = torch.randn(clean.shape, generator=rng, device=device)
            loss = denoising_loss(prior, clean, training_sigmas(batch, prior.sigma_max, rng), noise)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(prior.parameters(), 1.0)
            optimizer.step()
            decay = min(0.999, (1 + run.iteration) / (10 + run.iteration))
            with torch.no_grad():
                for slow, fast in zip(average.parameters(), prior.parameters(), strict=True):
                    slow.lerp_(fast, 1 - decay)
            run.end(loss)
            if run.iteration % 20 == 0:
                running = loss.item() if math.isnan(running) else 0.95 * running + 0.05 * loss.item()
                bar.set_postfix(iteration=run.iteration, loss=f"{running:.4f}", refresh=False)
            bar.update((run.iteration if iterations else round(run.elapsed)) - bar.n)
    losses = validate(average, held_out.to(device).float() / 255, progress=progress)
    card = {"seed": seed, "minutes": round(run.elapsed / 60, 1), "iterations": run.iteration,
            "images_seen": run.iteration * batch, "start": begun_from, "compiled": compiled,
            "parameters": sum(weight.numel() for weight in average.parameters()), "threads": torch.get_num_threads(),
            "device": device.type, "held_out_images": len(held_out),
            "held_out_loss_per_sigma": {str(sigma): round(loss, 5) for sigma, loss in losses.items()}}
    return average, card
