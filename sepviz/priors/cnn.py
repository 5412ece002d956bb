"""A network that regresses the image from the disturbed image: the CNN of Kong et al. 2019, section 4.1."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sepviz.core import SepvizError
from sepviz.priors.checks import in_its_type, shape_of_images, whole_numbers
from sepviz.priors.score import bfloat16_is_fast


class CnnRegressor(nn.Module):
    """``s = f(s + n)``: four layers of 5x5 convolution, batch norm and ReLU between them, sigmoid at the end.

    Parameters
    ----------
    image_shape : (C, H, W)
    width : int
        Feature channels.
    name : str
        For tables and messages.
    """

    def __init__(self, image_shape: Sequence[int] = (1, 28, 28), width: int = 48, name: str = "cnn"):
        super().__init__()
        self.image_shape, self.name = shape_of_images(image_shape), name
        (self.width,), channels = whole_numbers("width", (width,), 1), self.image_shape[0]
        layers: list[nn.Module] = []
        for inward in (channels, width, width):
            layers += [nn.Conv2d(inward, width, 5, padding=2, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        self.network = nn.Sequential(*layers, nn.Conv2d(width, channels, 5, padding=2))

    def regress(self, images: Tensor) -> Tensor:
        """The clean images that these (N, C, H, W) are taken for, in [0, 1] and of their type."""
        if tuple(images.shape[-3:]) != self.image_shape:
            raise SepvizError(f"images of shape {tuple(images.shape[-3:])}: the prior {self.name} "
                              f"knows (C, H, W) = {self.image_shape}")
        with torch.autocast(images.device.type, torch.bfloat16, enabled=bfloat16_is_fast(images.device)):
            logits = in_its_type(self, self.network, images.float())
        return logits.float().sigmoid().to(images.dtype)

    def settings(self) -> dict:
        """What `CnnRegressor` must be called with to take these weights back."""
        return {"image_shape": self.image_shape, "width": self.width, "name": self.name}
