"""A network that looks at a mixture and says which share of every pixel belongs to which source."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from sepviz.core import SepvizError
from sepviz.priors.checks import in_its_type, shape_of_images
from sepviz.priors.score import bfloat16_is_fast

NETWORKS = ("light", "paper")


def _down(inward: int, outward: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inward, outward, 4, stride=2, padding=1, bias=False), nn.BatchNorm2d(outward), nn.LeakyReLU(0.2))


def _up(inward: int, outward: int) -> nn.Sequential:
    return nn.Sequential(nn.ConvTranspose2d(inward, outward, 4, stride=2, padding=1, bias=False), nn.BatchNorm2d(outward), nn.ReLU())


def _flat(inward: int, outward: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inward, outward, 3, padding=1, bias=False), nn.BatchNorm2d(outward), nn.ReLU())


class SkipNetwork(nn.Module):
    """Halved three times and doubled three times, each scale joined to its like (Ronneberger et al. 2015); logits of a mask."""

    def __init__(self, channels: int, widths: Sequence[int]):
        super().__init__()
        first, second, third, fourth = widths
        self.enter = _flat(channels, first)
        self.down = nn.ModuleList([_down(first, second), _down(second, third), _down(third, fourth)])
        self.up = nn.ModuleList([_up(fourth, third), _up(2 * third, second), _up(2 * second, first)])
        self.leave = nn.Sequential(_flat(2 * first, first), nn.Conv2d(first, channels, 3, padding=1))

    def forward(self, images: Tensor) -> Tensor:
        scales = [self.enter(images)]
        for layer in self.down:
            scales.append(layer(scales[-1]))
        features = scales.pop()
        for layer in self.up:
            features = torch.cat([layer(features), scales.pop()], dim=1)
        return self.leave(features)


def discogan_network(channels: int, width: int) -> nn.Sequential:
    """DiscoGAN's autoencoder (Kim et al. 2017) with two layers fewer each way, for 32x32; logits of a mask."""
    return nn.Sequential(
        nn.Conv2d(channels, width, 4, stride=2, padding=1, bias=False), nn.LeakyReLU(0.2),
        _down(width, 2 * width), _down(2 * width, 4 * width), _up(4 * width, 2 * width), _up(2 * width, width),
        nn.ConvTranspose2d(width, channels, 4, stride=2, padding=1, bias=False))


class MaskNetwork(nn.Module):
    """``b = y m(y)`` and ``x = y (1 - m(y))``: masks in [0, 1] for mixtures y of two sources.

    Parameters
    ----------
    image_shape : (C, H, W)
        H and W divisible by 8. Smaller mixtures are padded evenly, and their masks cropped.
    network : {"light", "paper"}
        ``paper`` is DiscoGAN's autoencoder with 64 features at the top (Halperin et al. 2019, appendix A.1); ``light`` has a
        third of its weights, and joins scales, so that a mask's edges need not pass through a bottleneck of 4x4 pixels.
    name : str
        For tables and messages.
    """

    def __init__(self, image_shape: Sequence[int] = (1, 32, 32), network: str = "light", name: str = "mask"):
        super().__init__()
        self.image_shape = shape_of_images(image_shape, 8, "the mask network halves them three times")
        channels, self.preset, self.name = self.image_shape[0], network, name
        if network not in NETWORKS:
            raise SepvizError(f"network {network!r}: choose {' or '.join(NETWORKS)}")
        layers = SkipNetwork(channels, (16, 32, 64, 128)) if network == "light" else discogan_network(channels, 64)
        self.network = layers.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # faster

    def check(self, mixtures: Tensor) -> tuple[int, int]:
        """Refuse mixtures of another size than the network can pad; else what it adds to their height and width."""
        channels, height, width = self.image_shape
        down, right = height - mixtures.shape[-2], width - mixtures.shape[-1]
        if mixtures.shape[1] != channels or min(down, right) < 0 or max(down, right) > 6 or down % 2 or right % 2:
            raise SepvizError(f"mixtures of (C, H, W) = {tuple(mixtures.shape[1:])}: the mask network {self.name} knows "
                              f"{self.image_shape}, or at most 3 pixels less on each side; resize them, or train another")
        return down, right

    def mask(self, mixtures: Tensor) -> Tensor:
        """The last source's share of every pixel of mixtures (N, C, h, w), in [0, 1], with gradients."""
        _, height, width = self.image_shape
        down, right = self.check(mixtures)
        inward = functional.pad(mixtures, (right // 2, right // 2, down // 2, down // 2))
        with torch.autocast(mixtures.device.type, torch.bfloat16, enabled=bfloat16_is_fast(mixtures.device)):
            inward = inward.float().contiguous(memory_format=torch.channels_last)
            logits = in_its_type(self, self.network, inward)
        shares = logits.float().sigmoid().contiguous().to(mixtures.dtype)
        return shares[..., down // 2:height - down // 2, right // 2:width - right // 2]

    @torch.no_grad()
    def take_apart(self, mixtures: Tensor, weight: float = 1.0, batch: int = 256) -> Tensor:
        """Both sources of mixtures ``weight (x + b)``: (N, C, H, W) -> (N, 2, C, H, W), x first; in eval mode.

        Where a mixture is brighter than 1, neither source can have more than 1 of it, nor less than what the other cannot hold.
        """
        training = self.training
        self.eval()
        shares = torch.cat([self.mask(part / weight) for part in mixtures.split(batch)])
        self.train(training)
        sums = mixtures / weight
        observed = (sums * shares).clamp_max(1).maximum(sums - 1)
        return torch.stack([sums - observed, observed], dim=1)

    def settings(self) -> dict:
        """What `MaskNetwork` must be called with to take these weights back."""
        return {"image_shape": self.image_shape, "network": self.preset, "name": self.name}
