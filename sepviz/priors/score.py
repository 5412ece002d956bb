"""A score prior: one small noise-conditional U-Net that denoises at every noise level.

The network is trained to undo Gaussian noise of any standard deviation ``sigma``; by Tweedie's
formula its denoised image is the score of the noisy prior,

    grad log p_sigma(x) = (D(x, sigma) - x) / sigma^2.

Preconditioning and names follow Karras et al. 2022 (EDM, Table 1), with the mean of the data taken
off first; the loss is levelled over the noise as in Karras et al. 2024 (EDM2), by a fixed weight.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from sepviz.core import SepvizError
from sepviz.priors.checks import finite_number, whole_numbers
from sepviz.priors.learned import LearnedPrior, run_fast

CPU_BATCH = 128  # images denoised at once: more outgrow the processor's cache and are slower


def start_at_zero(layer: nn.Conv2d) -> None:
    """Let a layer add nothing at first: a deep network starts as a shallow one."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions; the noise level scales and shifts the features between them."""

    def __init__(self, width: int, embedding_width: int):
        super().__init__()
        self.norm = nn.GroupNorm(8, width)
        self.conv_in = nn.Conv2d(width, width, 3, padding=1)
        self.modulation = nn.Linear(embedding_width, 2 * width)
        self.conv_out = nn.Conv2d(width, width, 3, padding=1)
        start_at_zero(self.conv_out)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        hidden = self.conv_in(functional.silu(self.norm(x)))
        scale, shift = self.modulation(embedding)[:, :, None, None].chunk(2, dim=1)
        hidden = self.conv_out(functional.silu(torch.addcmul(shift, hidden, 1 + scale)))
        return x + hidden


class Attention(nn.Module):
    """Self-attention over all positions, so that the two ends of a long stroke agree."""

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
        features = self.query_key_value(self.norm(x)).reshape(shape)
        query, key, value = features.transpose(-1, -2).unbind(1)
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
            self.down.append(ResidualBlock(width, embedding_width))
            if wider is not None:
                self.shrink.append(nn.Conv2d(width, wider, 2, stride=2))
        self.attention = Attention(widths[-1])
        self.middle = ResidualBlock(widths[-1], embedding_width)
        self.up = nn.ModuleList()
        self.grow = nn.ModuleList()
        for width, wider in zip(reversed(widths[:-1]), reversed(widths[1:]), strict=True):
            self.grow.append(nn.ConvTranspose2d(wider, width, 2, stride=2))
            self.up.append(ResidualBlock(width, embedding_width))
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


class ScorePrior(LearnedPrior):
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

    def __init__(self, image_shape: Sequence[int] = (1, 28, 28), mean: float = 0.0,
                 deviation: float = 1.0, sigma_max: float = 2.5,
                 widths: Sequence[int] = (32, 64, 128), name: str = "score"):
        super().__init__(image_shape, name, 4, "the network halves them twice")
        self.mean = finite_number("mean", mean)
        self.deviation = finite_number("deviation", deviation, 0)
        self.sigma_max = finite_number("sigma_max", sigma_max, 0)
        self.widths = whole_numbers("widths", widths, 3, multiple_of=8)
        self.network = UNet(self.image_shape[0], self.widths)

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """`denoise` for x (N, C, H, W), sigma (N,); with gradients, for training.

        EDM preconditioning: ``D(x) = mu + c_skip (x - mu) + c_out F(c_in (x - mu), ln sigma)``.
        Only the network F may run in bf16: near 1 that rounds by 0.004.
        """
        total = sigma.square() + self.deviation**2
        column = (-1, 1, 1, 1)
        centred = x - self.mean
        out = run_fast(self.network, centred * total.rsqrt().view(column), sigma.log())
        c_skip = (self.deviation**2 / total).view(column)
        c_out = (sigma * self.deviation * total.rsqrt()).view(column)
        return self.mean + c_skip * centred + c_out * out

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
        self.check_shape(x)
        sigma = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).expand(x.shape[:-3])
        if not bool((sigma > 0).all()) or float(sigma.max()) > 1.001 * self.sigma_max:
            raise SepvizError(f"sigma {float(sigma.max()):g}: the prior {self.name} knows noise "
                              f"above 0 and up to {self.sigma_max:g}")
        own = next(self.parameters()).dtype
        images, sigmas = x.reshape(-1, *self.image_shape).to(own), sigma.reshape(-1).to(own)
        together = CPU_BATCH if x.device.type == "cpu" else max(1, len(images))
        parts = zip(images.split(together), sigmas.split(together), strict=True)
        return torch.cat([self(*part) for part in parts]).reshape(x.shape).to(x.dtype)

    def variance(self, clean: Tensor, sigma: float) -> Tensor:
        """How uncertain each pixel of the denoised image is, of the shape of ``clean``.

        A pixel in [0, 1] with posterior mean d has a variance of at most ``d (1 - d)`` (Bhatia &
        Davis 2000), and nearly that where images are almost black and white. A floor of
        ``0.02 sigma`` lets no pixel be certain. Only ratios between sources count in
        `Mixing.condition`.
        """
        bounded = clean.clamp(0, 1)
        return bounded * (1 - bounded) + 0.02 * sigma

    def score(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """``grad log p_sigma(x) = (D(x, sigma) - x) / sigma^2`` (Tweedie's formula)."""
        sigma = torch.as_tensor(sigma, dtype=x.dtype, device=x.device)
        return (self.denoise(x, sigma) - x) / sigma[..., None, None, None].square()
