"""A GAN prior: a generator that decodes a latent to an image, trained against a discriminator.

DCGAN's networks (Radford et al. 2016) in the sizes of Kong et al. 2019, section 4.1.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sepviz.core import SepvizError
from sepviz.priors.checks import whole_numbers
from sepviz.priors.learned import LearnedPrior, normed, run_fast

PRESETS = {"paper": (512, 256, 128), "narrow": (256, 128, 64)}


def _last_padding(image_shape: Sequence[int]) -> int:
    """The padding between 16x16 features and images of this shape, for a 4x4 filter of stride 2."""
    _, height, width = image_shape
    if height != width or height % 2 or not 26 <= height <= 34:
        raise SepvizError(f"images of {height}x{width}: a DCGAN of this depth makes square ones "
                          "of 26, 28, 30, 32 or 34 pixels")
    return (34 - height) // 2


def generator_network(image_shape: Sequence[int], latent_size: int,
                      widths: Sequence[int]) -> nn.Sequential:
    """Latents (N, latent_size, 1, 1) -> 4x4, 8x8, 16x16 features -> logits (N, C, H, W)."""
    first, second, third = widths

    def doubled(inward: int, outward: int) -> nn.ConvTranspose2d:
        return nn.ConvTranspose2d(inward, outward, 4, stride=2, padding=1, bias=False)

    return nn.Sequential(
        *normed(nn.ConvTranspose2d(latent_size, first, 4, bias=False), nn.ReLU()),
        *normed(doubled(first, second), nn.ReLU()),
        *normed(doubled(second, third), nn.ReLU()),
        nn.ConvTranspose2d(third, image_shape[0], 4, stride=2, padding=_last_padding(image_shape)))


def discriminator_network(image_shape: Sequence[int], widths: Sequence[int]) -> nn.Sequential:
    """The generator's mirror: images -> logits (N, 1, 1, 1) of being real."""
    first, second, third = reversed(widths)

    def halved(inward: int, outward: int) -> nn.Conv2d:
        return nn.Conv2d(inward, outward, 4, stride=2, padding=1, bias=False)

    return nn.Sequential(
        nn.Conv2d(image_shape[0], first, 4, stride=2, padding=_last_padding(image_shape)),
        nn.LeakyReLU(0.2),
        *normed(halved(first, second), nn.LeakyReLU(0.2)),
        *normed(halved(second, third), nn.LeakyReLU(0.2)),
        nn.Conv2d(third, 1, 4))


def start_as_dcgan(module: nn.Module) -> None:
    """Draw the weights from N(0, 0.02) and the scales of batch norm from N(1, 0.02)."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, 0.0, 0.02)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0, 0.02)


class GanPrior(LearnedPrior):
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

    def __init__(self, image_shape: Sequence[int] = (1, 28, 28), latent_size: int = 100,
                 widths: Sequence[int] = PRESETS["paper"], name: str = "gan"):
        super().__init__(image_shape, name)
        (self.latent_size,) = whole_numbers("latent_size", (latent_size,), 1)
        self.widths = whole_numbers("widths", widths, 3)
        self.network = generator_network(self.image_shape, self.latent_size, self.widths)

    def decode(self, z: Tensor) -> Tensor:
        """``G(z)``: latents (..., latent_size) -> images (..., C, H, W), with gradients."""
        if z.shape[-1] != self.latent_size:
            raise SepvizError(f"latents of size {z.shape[-1]}: the prior {self.name} decodes "
                              f"{self.latent_size}")
        logits = run_fast(self.network, z.reshape(-1, self.latent_size, 1, 1))
        return logits.sigmoid().to(z.dtype).reshape(*z.shape[:-1], *self.image_shape)

    @torch.no_grad()
    def sample(self, count: int, rng: torch.Generator) -> Tensor:
        """``count`` images, (count, C, H, W)."""
        return self.decode(torch.randn((count, self.latent_size), generator=rng, device=rng.device))

    def folded(self) -> GanPrior:
        """A faster copy, for eval mode: each batch norm is folded into the convolution before it.

        In eval mode batch norm is ``y = (x - mean) s + b`` with fixed numbers.
        """
        other = copy.deepcopy(self).eval().requires_grad_(False)
        layers: list[nn.Module] = []
        for layer in other.network:
            if not isinstance(layer, nn.BatchNorm2d):
                layers.append(layer)
                continue
            before = layers[-1]
            assert isinstance(before, nn.ConvTranspose2d)
            assert layer.running_mean is not None and layer.running_var is not None
            scale = layer.weight * (layer.running_var + layer.eps).rsqrt()
            bias = layer.bias - layer.running_mean * scale
            before.bias = nn.Parameter(bias, requires_grad=False)
            weight = before.weight * scale[:, None, None]
            before.weight = nn.Parameter(weight, requires_grad=False)
        other.network = nn.Sequential(*layers)
        return other
