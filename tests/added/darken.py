"""A task: one image at half of its brightness."""

import torch

from sepviz import data
from sepviz.core import Mixing, Problem, Truth


def darken(dataset: str = "strokes", *, count: int = 8, seed: int = 0, split: str = "test",
           device: str | torch.device = "cpu") -> tuple[Problem, Truth]:
    """One image each, with weight 0.5."""
    images = data.load(dataset, split).images
    chosen = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:count]
    sources = data.floats(images[chosen])[:, None].to(device)
    mixing = Mixing((0.5,))
    return Problem(mixing.apply(sources), mixing), Truth(sources)
