"""A prior that knows no shapes: every pixel comes from the same normal distribution."""

import torch
from torch import Tensor, nn


class FlatPrior(nn.Module):
    """``x ~ N(mean, deviation^2)``."""

    def __init__(self, image_shape: tuple[int, int, int] = (1, 28, 28), name: str = "flat"):
        super().__init__()
        self.image_shape, self.name = tuple(image_shape), name
        self.mean = nn.Parameter(torch.tensor(0.2))
        self.deviation = nn.Parameter(torch.tensor(0.3))

    def settings(self) -> dict:
        """The arguments that make it again, before its weights are loaded."""
        return {"image_shape": self.image_shape}

    def denoise(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """E[clean | x]."""
        noise = torch.as_tensor(sigma, device=x.device)[..., None, None, None].square()
        mine = self.deviation.square()
        return (mine * x + noise * self.mean) / (mine + noise)

    def variance(self, clean: Tensor, sigma: float) -> Tensor:
        """Var[clean | x] of each pixel."""
        mine = self.deviation.square()
        return (mine * sigma**2 / (mine + sigma**2)).expand_as(clean)

    def score(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """The gradient of log p_sigma."""
        noise = torch.as_tensor(sigma, device=x.device)[..., None, None, None].square()
        return (self.denoise(x, sigma) - x) / noise
