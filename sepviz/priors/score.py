"""A score prior: one small noise-conditional U-Net that denoises at every noise level.

The network is trained to undo Gaussian noise of any standard deviation ``sigma``; by Tweedie's
formula its denoised image is the score of the noisy prior,

    grad log p_sigma(x) = (D(x, sigma) - x) / sigma^2.

Preconditioning and names follow Karras et al. 2022 (EDM, Table 1), with the mean of the data taken
off first; the loss is levelled over the noise as in Karras et al. 2024 (EDM2), by a fixed weight.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from sepviz.core import SepvizError
from sepviz.data.split import some
from sepviz.priors.checkpoint import Run, check_images, described, digest
from sepviz.priors.checks import finite_number, in_its_type, shape_of_images, whole_numbers

CPU_BATCH = 128  # images denoised at once; of 256, the features outgrow the processor's cache: a fifth slower
VALIDATION_SIGMAS = (0.02, 0.05, 0.1, 0.2, 0.35, 0.7, 1.0, 2.0)


def start_at_zero(layer: nn.Conv2d) -> None:
    """Let a layer add nothing at first, so that a deep network starts as a shallow one."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions; the noise level scales and shifts what lies between them."""

    def __init__(self, width_in: int, width_out: int, embedding_width: int):
        super().__init__()
        self.norm = nn.GroupNorm(8, width_in)
        self.conv_in = nn.Conv2d(width_in, width_out, 3, padding=1)
        self.modulation = nn.Linear(embedding_width, 2 * width_out)
        self.conv_out = nn.Conv2d(width_out, width_out, 3, padding=1)
        self.skip = nn.Identity() if width_in == width_out else nn.Conv2d(width_in, width_out, 1)
        start_at_zero(self.conv_out)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        hidden = self.conv_in(functional.silu(self.norm(x)))
        scale, shift = self.modulation(embedding)[:, :, None, None].chunk(2, dim=1)
        hidden = self.conv_out(functional.silu(torch.addcmul(shift, hidden, 1 + scale)))
        return self.skip(x) + hidden


class Attention(nn.Module):
    """Self-attention over all positions: what lets two far ends of one stroke agree."""

    def __init__(self, width: int, heads: int = 4):
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(8, width)
        self.query_key_value = nn.Conv2d(width, 3 * width, 1)
        self.out = nn.Conv2d(width, width, 1)
        start_at_zero(self.out)

    def forward(self, x: Tensor) -> Tensor:
        batch, width, height, breadth = x.shape
        shape = (batch, 3, self.heads, width // self.heads, height * breadth)
        query, key, value = self.query_key_value(self.norm(x)).reshape(shape).transpose(-1, -2).unbind(1)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return x + self.out(mixed.transpose(-1, -2).reshape(x.shape))


class UNet(nn.Module):
    """Noise-conditional U-Net: images in, images out, three resolutions.

    Parameters
    ----------
    channels : int
        Image channels C.
    widths : sequence of int
        Feature channels at full, half and quarter resolution.
    """

    frequencies: Tensor

    def __init__(self, channels: int = 1, widths: Sequence[int] = (32, 64, 128)):
        super().__init__()
        embedding_width = 2 * widths[-1]
        self.register_buffer("frequencies", torch.linspace(0, 3.5, 16).exp(), persistent=False)
        self.embed = nn.Sequential(nn.Linear(32, embedding_width), nn.SiLU(),
                                   nn.Linear(embedding_width, embedding_width), nn.SiLU())
        self.stem = nn.Conv2d(channels, widths[0], 3, padding=1)
        self.down = nn.ModuleList()
        self.shrink = nn.ModuleList()
        for width, wider in zip(widths, [*widths[1:], None], strict=True):
            self.down.append(ResidualBlock(width, width, embedding_width))
            if wider is not None:
                self.shrink.append(nn.Conv2d(width, wider, 2, stride=2))
        self.attention = Attention(widths[-1])
        self.middle = ResidualBlock(widths[-1], widths[-1], embedding_width)
        self.up = nn.ModuleList()
        self.grow = nn.ModuleList()
        for width, wider in zip(reversed(widths[:-1]), reversed(widths[1:]), strict=True):
            self.grow.append(nn.ConvTranspose2d(wider, width, 2, stride=2))
            self.up.append(ResidualBlock(width, width, embedding_width))
        self.head = nn.Conv2d(widths[0], channels, 3, padding=1)
        start_at_zero(self.head)

    def forward(self, x: Tensor, log_sigma: Tensor) -> Tensor:
        """x (N, C, H, W) with H and W divisible by 4, log_sigma (N,) -> (N, C, H, W)."""
        angle = log_sigma[:, None] * self.frequencies / 4
        embedding = self.embed(torch.cat([angle.sin(), angle.cos()], dim=1))
        x = self.stem(x)
        skips = []
        for level, block in enumerate(self.down):
            x = block(x, embedding)
            if level < len(self.shrink):
                skips.append(x)
                x = self.shrink[level](x)
        x = self.middle(self.attention(x), embedding)
        for grow, block in zip(self.grow, self.up, strict=True):
            x = block(grow(x) + skips.pop(), embedding)
        return self.head(functional.silu(x))


def bfloat16_is_fast(device: torch.device) -> bool:
    """Whether bf16 autocast pays on this device (it is 2x on CPUs with avx512_bf16, slower on others)."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return bool(torch.cpu.get_capabilities().get("avx512_bf16", False))


class ScorePrior(nn.Module):
    """A learned prior over images and all its noisy versions.

    Parameters
    ----------
    image_shape : (C, H, W)
        H and W divisible by 4: the network halves them twice.
    mean, deviation : float
        Of the training pixels; the network sees images with the mean taken off and unit variance.
    sigma_max : float
        The largest noise standard deviation it is trained on, in pixel units.
    widths : sequence of int
        Feature channels of the `UNet` at full, half and quarter resolution; divisible by 8.
    name : str
        For tables and messages.
    """

    def __init__(self, image_shape: Sequence[int] = (1, 28, 28), mean: float = 0.0, deviation: float = 1.0,
                 sigma_max: float = 2.5, widths: Sequence[int] = (32, 64, 128), name: str = "score"):
        super().__init__()
        self.image_shape = shape_of_images(image_shape, 4, "the network halves them twice")
        self.mean, self.name = finite_number("mean", mean), name
        self.deviation = finite_number("deviation", deviation, 0)
        self.sigma_max = finite_number("sigma_max", sigma_max, 0)
        self.widths = whole_numbers("widths", widths, 3, multiple_of=8)
        self.network = UNet(self.image_shape[0], self.widths)

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """`denoise` for x (N, C, H, W), sigma (N,); with gradients, for training.

        EDM preconditioning: ``D(x) = mu + c_skip (x - mu) + c_out F(c_in (x - mu), ln sigma)``. State
        and skip path stay in float32 (bf16 near 1 rounds by 0.004); only the network runs in bf16.
        """
        total = sigma.square() + self.deviation**2
        column = (-1, 1, 1, 1)
        centred = x - self.mean
        with torch.autocast(x.device.type, torch.bfloat16, enabled=bfloat16_is_fast(x.device)):
            out = self.network(centred * total.rsqrt().view(column), sigma.log())
        c_skip = (self.deviation**2 / total).view(column)
        c_out = (sigma * self.deviation * total.rsqrt()).view(column)
        return self.mean + c_skip * centred + c_out * out.float()

    @torch.no_grad()
    def denoise(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """The posterior mean of the clean image, ``E[x_0 | x_0 + sigma n = x]``.

        Parameters
        ----------
        x : Tensor (..., C, H, W)
            Any leading axes, any floating type; the answer is of the same.
        sigma : float or Tensor that broadcasts to the leading axes
            Noise standard deviation, in pixel units, at most ``sigma_max``.
        """
        if tuple(x.shape[-3:]) != self.image_shape:
            raise SepvizError(f"images of shape {tuple(x.shape[-3:])}: the prior {self.name} knows (C, H, W) = {self.image_shape}")
        sigma = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).expand(x.shape[:-3])
        if not bool((sigma > 0).all()) or float(sigma.max()) > 1.001 * self.sigma_max:
            raise SepvizError(f"sigma {float(sigma.max()):g}: the prior {self.name} knows noise above 0 and up to {self.sigma_max:g}")
        images, sigmas = x.reshape(-1, *self.image_shape), sigma.reshape(-1)
        together = CPU_BATCH if x.device.type == "cpu" else max(1, len(images))
        parts = zip(images.split(together), sigmas.split(together), strict=True)
        clean = [in_its_type(self, self.forward, *part) for part in parts]
        return torch.cat(clean).reshape(x.shape)

    def variance(self, clean: Tensor, sigma: float) -> Tensor:
        """How unsure the denoised image is, pixel by pixel, of the shape of ``clean``.

        A pixel in [0, 1] with posterior mean d has a variance of at most ``d (1 - d)`` (Bhatia & Davis 2000),
        and nearly that where digits are all but black and white: certain at 0 and 1, unsure between. A floor
        of ``0.02 sigma`` lets no pixel be certain. Only ratios between sources count in `Mixing.condition`.
        """
        bounded = clean.clamp(0, 1)
        return bounded * (1 - bounded) + 0.02 * sigma

    def score(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """``grad log p_sigma(x) = (D(x, sigma) - x) / sigma^2`` (Tweedie), of the shape of ``x``."""
        sigma = torch.as_tensor(sigma, dtype=x.dtype, device=x.device)
        return (self.denoise(x, sigma) - x) / sigma[..., None, None, None].square()

    def settings(self) -> dict:
        """What `ScorePrior` must be called with to take these weights back."""
        return {"image_shape": self.image_shape, "mean": self.mean, "deviation": self.deviation,
                "sigma_max": self.sigma_max, "widths": self.widths, "name": self.name}


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
