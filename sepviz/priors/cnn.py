"""A network that regresses the clean image from a disturbed one: Kong et al. 2019, section 4.1."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from sepviz.priors.checks import whole_numbers
from sepviz.priors.learned import LearnedPrior, normed, run_fast


class CnnRegressor(LearnedPrior):
    """``s = f(s + n)``: four 5x5 convolutions, batch norm and ReLU between them, a sigmoid last.

    Parameters
    ----------
    image_shape : (C, H, W)
    width : int
        Feature channels.
    name : str
        For tables and messages.
    """

    def __init__(self, image_shape: Sequence[int] = (1, 28, 28), width: int = 48,
                 name: str = "cnn"):
        super().__init__(image_shape, name)
        (self.width,), channels = whole_numbers("width", (width,), 1), self.image_shape[0]
        layers: list[nn.Module] = []
        for inward in (channels, width, width):
            layers += normed(nn.Conv2d(inward, width, 5, padding=2, bias=False), nn.ReLU())
        self.network = nn.Sequential(*layers, nn.Conv2d(width, channels, 5, padding=2))

    def regress(self, images: Tensor) -> Tensor:
        """Estimate the clean images of disturbed ones (N, C, H, W): in [0, 1], of their type."""
        self.check_shape(images)
        return run_fast(self.network, images).sigmoid().to(images.dtype)
