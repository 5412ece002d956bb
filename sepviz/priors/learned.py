"""What priors with learned weights share."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sepviz.core import SepvizError
from sepviz.priors.checks import shape_of_images


class LearnedPrior(nn.Module):
    """A prior over images of one shape, which can be built again from its `settings`."""

    def __init__(self, image_shape: Sequence[int], name: str, divisor: int = 1, why: str = ""):
        super().__init__()
        self.image_shape, self.name = shape_of_images(image_shape, divisor, why), name

    def settings(self) -> dict[str, Any]:
        """The arguments of the constructor that build a prior for these weights."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def check_shape(self, images: Tensor) -> None:
        """Refuse images (..., C, H, W) of another shape than the prior's."""
        if tuple(images.shape[-3:]) != self.image_shape:
            raise SepvizError(f"images of shape {tuple(images.shape[-3:])}: the prior {self.name} "
                              f"knows (C, H, W) = {self.image_shape}")


def bfloat16_is_fast(device: torch.device) -> bool:
    """Whether bf16 autocast pays on this device: 2x on CPUs with avx512_bf16, slower on others."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return bool(torch.cpu.get_capabilities().get("avx512_bf16", False))


def run_fast(network: nn.Module, *values: Tensor) -> Tensor:
    """``network(*values)`` in float32, computed in bfloat16 where that is fast.

    The values may be of any floating type: they are converted to the type of the weights.
    """
    own, device = next(network.parameters()).dtype, values[0].device
    with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16_is_fast(device)):
        return network(*(value.to(own) for value in values)).float()


def normed(convolution: nn.Conv2d | nn.ConvTranspose2d, activation: nn.Module) -> list[nn.Module]:
    """A convolution, batch norm and an activation."""
    return [convolution, nn.BatchNorm2d(convolution.out_channels), activation]
