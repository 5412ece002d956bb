"""What a training run starts from, and its state on disk: taken up by the same run alone, replaced whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sepviz.core import SepvizError


def check_images(images: Tensor, batch: int) -> None:
    """Refuse what is not at least a batch of uint8 images (N, C, H, W)."""
    if images.ndim != 4 or images.dtype != torch.uint8 or len(images) < batch:
        raise SepvizError(f"training images {tuple(images.shape)} {images.dtype}: want at least {batch} uint8 images (N, C, H, W)")


def take_up(path: Path, settings: dict, seed: int, device: torch.device) -> dict[str, Any] | None:
    """The state that `keep` wrote, None where there is none.

    Raises
    ------
    SepvizError
        If it is of a network with other settings, or of another seed.
    """
    if not path.exists():
        return None
    state = torch.load(path, weights_only=True, map_location=device)
    if state["settings"] != json.dumps(settings) or state["seed"] != seed:
        raise SepvizError(f"{path} is of another data set, network or seed ({state['seed']}): remove it, or choose another place")
    return state


def keep(path: Path, settings: dict, seed: int, state: dict[str, Any]) -> None:
    """Write a run's state over its earlier one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    torch.save({"settings": json.dumps(settings), "seed": seed, **state}, partial)
    os.replace(partial, path)
