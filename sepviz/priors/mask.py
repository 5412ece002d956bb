"""A network that says which share of every pixel of a mixture belongs to which source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sepviz.core import SepvizError
from sepviz.priors.learned import LearnedPrior, normed, run_fast

NETWORKS = ("light", "paper")


def _down(inward: int, outward: int) -> nn.Sequential:
    halved = nn.Conv2d(inward, outward, 4, stride=2, padding=1, bias=False)
    return nn.Sequential(*normed(halved, nn.LeakyReLU(0.2)))


def _up(inward: int, outward: int) -> nn.Sequential:
    doubled = nn.ConvTranspose2d(inward, outward, 4, stride=2, padding=1, bias=False)
    return nn.Sequential(*normed(doubled, nn.ReLU()))


def _flat(inward: int, outward: int) -> nn.Sequential:
    same = nn.Conv2d(inward, outward, 3, padding=1, bias=False)
    return nn.Sequential(*normed(same, nn.ReLU()))


class SkipNetwork(nn.Module):
    """A U-Net (Ronneberger et al. 2015) of four scales: images -> logits of a mask."""

    def __init__(self, channels: int, widths: Sequence[int]):
        super().__init__()
        first, second, third, fourth = widths
        self.enter = _flat(channels, first)
        self.down = nn.ModuleList([_down(first, second), _down(second, third),
                                   _down(third, fourth)])
        self.up = nn.ModuleList([_up(fourth, third), _up(2 * third, second),
                                 _up(2 * second, first)])
        self.leave = nn.Sequential(_flat(2 * first, first),
                                   nn.Conv2d(first, channels, 3, padding=1))

    def forward(self, images: Tensor) -> Tensor:
        scales = [self.enter(images)]
        for layer in self.down:
            scales.append(layer(scales[-1]))
        features = scales.pop()
        for layer in self.up:
            features = torch.cat([layer(features), scales.pop()], dim=1)
        return self.leave(features)


def discogan_network(channels: int, width: int) -> nn.Sequential:
    """DiscoGAN's autoencoder (Kim et al. 2017) for 32x32, two layers fewer each way: logits."""
    return nn.Sequential(
        nn.Conv2d(channels, width, 4, stride=2, padding=1, bias=False), nn.LeakyReLU(0.2),
        _down(width, 2 * width), _down(2 * width, 4 * width),
        _up(4 * width, 2 * width), _up(2 * width, width),
        nn.ConvTranspose2d(width, channels, 4, stride=2, padding=1, bias=False))


class MaskNetwork(LearnedPrior):
    """``b = y m(y)`` and ``x = y (1 - m(y))``: masks in [0, 1] for mixtures y of two sources.

    Parameters
    ----------
    image_shape : (C, H, W)
        H and W divisible by 8. Smaller mixtures are padded evenly, and their masks cropped.
    network : {"light", "paper"}
        ``paper`` is DiscoGAN's autoencoder with 64 features at the top (Halperin et al. 2019,
        appendix A.1); ``light`` is a `SkipNetwork` with a third of its weights, whose masks have
        sharper edges because they need not pass through a bottleneck of 4x4 pixels.
    name : str
        For tables and messages.
    """

    def __init__(self, image_shape: Sequence[int] = (1, 32, 32), network: str = "light",
                 name: str = "mask"):
        super().__init__(image_shape, name, 8, "the mask network halves them three times")
        channels, self.preset = self.image_shape[0], network
        if network not in NETWORKS:
            raise SepvizError(f"network {network!r}: choose {' or '.join(NETWORKS)}")
        layers = (SkipNetwork(channels, (16, 32, 64, 128)) if network == "light"
                  else discogan_network(channels, 64))
        faster: Any = {"memory_format": torch.channels_last}
        self.network = layers.to(**faster)

    def check(self, mixtures: Tensor) -> tuple[int, int]:
        """Refuse mixtures that cannot be padded; return how many rows and columns they lack."""
        channels, height, width = self.image_shape
        lacking = height - mixtures.shape[-2], width - mixtures.shape[-1]
        if mixtures.shape[1] != channels or not {*lacking} <= {0, 2, 4, 6}:
            raise SepvizError(f"mixtures of (C, H, W) = {tuple(mixtures.shape[1:])}: the mask "
                              f"network {self.name} knows {self.image_shape}, or at most 3 pixels "
                              "less on each side; resize them, or train another")
        return lacking

    def mask(self, mixtures: Tensor) -> Tensor:
        """The last source's share of every pixel of mixtures (N, C, h, w), with gradients."""
        down, right = (size // 2 for size in self.check(mixtures))
        padded = functional.pad(mixtures, (right, right, down, down))
        padded = padded.contiguous(memory_format=torch.channels_last)
        shares = run_fast(self.network, padded).sigmoid().contiguous().to(mixtures.dtype)
        _, height, width = self.image_shape
        return shares[..., down:height - down, right:width - right]

    @torch.no_grad()
    def take_apart(self, mixtures: Tensor, weight: float = 1.0, batch: int = 256) -> Tensor:
        """Both sources of mixtures ``weight (x + b)``: (N, C, H, W) -> (N, 2, C, H, W), x first.

        Where a mixture is brighter than 1, neither source can be more than 1, nor less than the
        mixture minus 1. The network runs in eval mode.
        """
        training = self.training
        self.eval()
        shares = torch.cat([self.mask(part / weight) for part in mixtures.split(batch)])
        self.train(training)
        sums = mixtures / weight
        observed = (sums * shares).clamp_max(1).maximum(sums - 1)
        return torch.stack([sums - observed, observed], dim=1)

    def settings(self) -> dict:
        """The arguments of the constructor that build a prior for these weights."""
        return super().settings() | {"network": self.preset}
