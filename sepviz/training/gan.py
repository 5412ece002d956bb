"""Train a GAN prior: a generator against a discriminator."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from sepviz.core import Step
from sepviz.data.split import some
from sepviz.metrics import decibels
from sepviz.priors.gan import PRESETS, GanPrior, discriminator_network, start_as_dcgan
from sepviz.priors.score import bfloat16_is_fast
from sepviz.training.checkpoint import Run, check_images, described


def gan_steps(images: Tensor, checkpoint: str | Path, *, iterations: int = 10_000, seed: int = 0, name: str = "gan",
              widths: Sequence[int] = PRESETS["paper"], latent_size: int = 100, batch: int = 128, learning_rate: float = 2e-4,
              every: int = 100, shown: int = 16) -> Iterator[tuple[Step, GanPrior]]:
    """Train a `GanPrior` and yield, every so many iterations, what it makes of the same ``shown`` latents.

    Adam with beta1 = 0.5, one generator step for each discriminator step, the non-saturating loss
    ``-log D(G(z))`` (Goodfellow et al. 2014, section 3).

    Parameters
    ----------
    images : Tensor (N, C, H, W) uint8
    checkpoint : path
        Where the run keeps itself once a minute and at the end, an interruption included; taken up if it is there.

    Yields
    ------
    step : Step
        ``sources`` (1, shown, C, H, W): samples; ``info``: both losses, mean over the last iterations.
    prior : GanPrior
        The generator itself, in eval mode until the next step is asked for.
    """
    check_images(images, batch)
    device = images.device
    torch.manual_seed(seed)
    rng = torch.Generator(device).manual_seed(seed)
    prior = GanPrior(images.shape[1:], latent_size, widths, name).to(device)
    critic = discriminator_network(prior.image_shape, widths).to(device)
    start_as_dcgan(prior)
    start_as_dcgan(critic)
    optimizers = [torch.optim.Adam(module.parameters(), lr=learning_rate, betas=(0.5, 0.999), fused=True) for module in (prior, critic)]
    latents = torch.randn((shown, latent_size), generator=rng, device=device)
    settings = {"model": "gan", "images": described(images), "seed": seed, "iterations": iterations,
                "widths": prior.widths, "latent size": latent_size, "batch": batch,
                "learning rate": learning_rate, "samples shown": shown}
    run = Run(checkpoint, settings, rng, prior=prior, critic=critic,
              generator_optimizer=optimizers[0], critic_optimizer=optimizers[1])

    def realness(pictures: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16_is_fast(device)):
            return critic(pictures).float().flatten()

    def look() -> tuple[Step, GanPrior]:
        prior.eval()
        with torch.no_grad():
            samples = prior.decode(latents)[None]
        means = losses.mean(dim=0).tolist() if len(losses) else (0.0, 0.0)
        info = {"iteration": run.iteration, "iterations": iterations,
                "discriminator_loss": means[0], "generator_loss": means[1], "seconds": run.elapsed}
        return Step(run.iteration // every, f"iteration {run.iteration}", samples, info=info), prior

    losses = torch.zeros((0, 2))
    yield look()
    pending = []
    with run:
        while run.iteration < iterations:
            prior.train()
            run.begin()
            index = torch.randint(len(images), (batch,), generator=rng, device=device)
            fake = prior.decode(torch.randn((batch, latent_size), generator=rng, device=device))
            optimizers[1].zero_grad(set_to_none=True)
            discriminator_loss = (functional.softplus(-realness(images[index].float() / 255))
                                  + functional.softplus(realness(fake.detach()))).mean()
            discriminator_loss.backward()
            optimizers[1].step()
            optimizers[0].zero_grad(set_to_none=True)
            critic.requires_grad_(False)
            generator_loss = functional.softplus(-realness(fake)).mean()
            generator_loss.backward()
            critic.requires_grad_(True)
            optimizers[0].step()
            run.end(discriminator_loss, generator_loss)
            pending.append(torch.stack([discriminator_loss.detach(), generator_loss.detach()]))
            if run.iteration % every == 0 or run.iteration == iterations:
                losses, pending = torch.stack(pending).cpu(), []
                yield look()


def train_gan(images: Tensor, held_out: Tensor, checkpoint: str | Path, *, iterations: int = 10_000, progress: bool = True,
              **options: Any) -> tuple[GanPrior, dict]:
    """Run `gan_steps` to the end.

    Returns
    -------
    prior : GanPrior
        In eval mode.
    card : dict
        Seed, minutes, iterations, and the `oracle` on 500 of the held-out images.
    """
    from tqdm.auto import tqdm

    check_images(images, options.get("batch", 128), held_out)
    with tqdm(total=iterations, unit="it", desc=f"train {options.get('name', 'gan')}", disable=not progress) as bar:
        for step, trained in gan_steps(images, checkpoint, iterations=iterations, **options):
            prior = trained
            bar.set_postfix({name: f"{step.info[name + '_loss']:.2f}" for name in ("discriminator", "generator")}, refresh=False)
            bar.update(int(step.info["iteration"]) - bar.n)
    psnr = oracle(prior, some(held_out, 500).to(images.device).float() / 255, progress=progress)
    card = {"seed": options.get("seed", 0), "minutes": round(step.info["seconds"] / 60, 1),
            "iterations": int(step.info["iteration"]), "batch": options.get("batch", 128),
            "parameters": sum(weight.numel() for weight in prior.parameters()),
            "threads": torch.get_num_threads(), "device": images.device.type,
            "oracle_psnr": {"what": "PSNR in dB of the best G(z) found for clean held-out images, 8 starts of 300 Adam steps",
                            "n": len(psnr), "mean": round(float(psnr.mean()), 2), "median": round(float(psnr.median()), 2),
                            "tenth_percentile": round(float(psnr.quantile(0.1)), 2)}}
    return prior.requires_grad_(False), card


@torch.enable_grad()
def oracle(prior: GanPrior, images: Tensor, *, starts: int = 8, iterations: int = 300, seed: int = 0, learning_rate: float = 0.1,
           progress: bool = True) -> Tensor:
    """PSNR of the best ``G(z)`` found for clean images: what mode collapse leaves within reach, in dB.

    Parameters
    ----------
    images : Tensor (N, C, H, W) in [0, 1]
    starts : int
        Latents tried for each; Adam on all of them, the best counts.

    Returns
    -------
    Tensor (N,)
    """
    from tqdm.auto import tqdm

    frozen = prior.folded()
    rng = torch.Generator(images.device).manual_seed(seed)
    z = torch.randn((starts, len(images), prior.latent_size), generator=rng, device=images.device).requires_grad_(True)
    optimizer = torch.optim.Adam([z], lr=learning_rate)
    best = torch.full((len(images),), float("inf"), device=images.device)
    for iteration in tqdm(range(iterations), desc="oracle", unit="it", disable=not progress):
        optimizer.param_groups[0]["lr"] = learning_rate * (1 - 0.9 * iteration / iterations)
        optimizer.zero_grad()
        mse = (frozen.decode(z) - images).square().mean(dim=(2, 3, 4))
        best = torch.minimum(best, mse.detach().amin(dim=0))
        mse.sum().backward()
        optimizer.step()
    return decibels(best)
