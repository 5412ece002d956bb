"""A GAN prior: a generator that decodes a latent vector to an image, trained against a discriminator.

The networks and the training are DCGAN's (Radford et al. 2016) in the sizes of Kong et al. 2019, section 4.1.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sepviz.core import SepvizError, Step
from sepviz.data.split import some
from sepviz.metrics import decibels
from sepviz.priors.checkpoint import Run, check_images, described
from sepviz.priors.checks import in_its_type, shape_of_images, whole_numbers
from sepviz.priors.score import bfloat16_is_fast

PRESETS = {"paper": (512, 256, 128), "narrow": (256, 128, 64)}


def _last_padding(image_shape: Sequence[int]) -> int:
    """The padding that makes 16x16 features an image of this size, or back, with kernel 4 and stride 2."""
    _, height, width = image_shape
    if height != width or height % 2 or not 26 <= height <= 34:
        raise SepvizError(f"images of {height}x{width}: a DCGAN of this depth makes square ones of 26, 28, 30, 32 or 34 pixels")
    return (34 - height) // 2


def generator_network(image_shape: Sequence[int], latent_size: int, widths: Sequence[int]) -> nn.Sequential:
    """Latents (N, latent_size, 1, 1) -> logits of pixels; 4x4, 8x8, 16x16, then the image's size."""
    first, second, third = widths
    return nn.Sequential(
        nn.ConvTranspose2d(latent_size, first, 4, bias=False), nn.BatchNorm2d(first), nn.ReLU(),
        nn.ConvTranspose2d(first, second, 4, stride=2, padding=1, bias=False), nn.BatchNorm2d(second), nn.ReLU(),
        nn.ConvTranspose2d(second, third, 4, stride=2, padding=1, bias=False), nn.BatchNorm2d(third), nn.ReLU(),
        nn.ConvTranspose2d(third, image_shape[0], 4, stride=2, padding=_last_padding(image_shape)))


def discriminator_network(image_shape: Sequence[int], widths: Sequence[int]) -> nn.Sequential:
    """The generator's mirror: images -> logits (N, 1, 1, 1) of being real."""
    first, second, third = reversed(widths)
    return nn.Sequential(
        nn.Conv2d(image_shape[0], first, 4, stride=2, padding=_last_padding(image_shape)), nn.LeakyReLU(0.2),
        nn.Conv2d(first, second, 4, stride=2, padding=1, bias=False), nn.BatchNorm2d(second), nn.LeakyReLU(0.2),
        nn.Conv2d(second, third, 4, stride=2, padding=1, bias=False), nn.BatchNorm2d(third), nn.LeakyReLU(0.2),
        nn.Conv2d(third, 1, 4))


def start_as_dcgan(module: nn.Module) -> None:
    """Weights from N(0, 0.02), batch norm scales from N(1, 0.02)."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, 0.0, 0.02)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0, 0.02)


class GanPrior(nn.Module):
    """Images as ``G(z)``, z ~ N(0, 1).

    Parameters
    ----------
    image_shape : (C, H, W)
        Square, 26 to 34 pixels.
    latent_size : int
        Length of z.
    widths : three ints
        Feature channels at 4x4, 8x8 and 16x16.
    name : str
        For tables and messages.
    """

    def __init__(self, image_shape: Sequence[int] = (1, 28, 28), latent_size: int = 100, widths: Sequence[int] = PRESETS["paper"],
                 name: str = "gan"):
        super().__init__()
        self.image_shape = shape_of_images(image_shape)
        (self.latent_size,) = whole_numbers("latent_size", (latent_size,), 1)
        self.widths = whole_numbers("widths", widths, 3)
        self.name = name
        self.network = generator_network(self.image_shape, self.latent_size, self.widths)

    def decode(self, z: Tensor) -> Tensor:
        """``G(z)``: latents (..., latent_size) -> images (..., C, H, W) in [0, 1], with gradients."""
        if z.shape[-1] != self.latent_size:
            raise SepvizError(f"latents of size {z.shape[-1]}: the prior {self.name} decodes {self.latent_size}")
        with torch.autocast(z.device.type, torch.bfloat16, enabled=bfloat16_is_fast(z.device)):
            logits = in_its_type(self, self.network, z.float().reshape(-1, self.latent_size, 1, 1))
        return logits.float().sigmoid().to(z.dtype).reshape(*z.shape[:-1], *self.image_shape)

    @torch.no_grad()
    def sample(self, count: int, rng: torch.Generator) -> Tensor:
        """``count`` images, (count, C, H, W)."""
        return self.decode(torch.randn((count, self.latent_size), generator=rng, device=rng.device))

    def folded(self) -> GanPrior:
        """The same function with each batch norm taken into the convolution before it: fewer passes over the features.

        Of the trained, frozen network only: in eval mode batch norm is ``y = (x - mean) s + b`` with fixed numbers.
        """
        other = copy.deepcopy(self).eval().requires_grad_(False)
        layers: list[nn.Module] = []
        for layer in other.network:
            if isinstance(layer, nn.BatchNorm2d):
                assert layer.running_mean is not None and layer.running_var is not None
                scale = layer.weight * (layer.running_var + layer.eps).rsqrt()
                convolution = layers[-1]
                assert isinstance(convolution, nn.ConvTranspose2d)
                convolution.weight = nn.Parameter(convolution.weight * scale[None, :, None, None], requires_grad=False)
                convolution.bias = nn.Parameter(layer.bias - layer.running_mean * scale, requires_grad=False)
            else:
                layers.append(layer)
        other.network = nn.Sequential(*layers)
        return other

    def settings(self) -> dict:
        """What `GanPrior` must be called with to take these weights back."""
        return {"image_shape": self.image_shape, "latent_size": self.latent_size, "widths": self.widths, "name": self.name}


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
