"""Shared by all trainings: which images can be learned from, and what a card says."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sepviz import files
from sepviz.core import SepvizError
from sepviz.data.split import check_varied


def check_images(images: Tensor, batch: int, held_out: Tensor | None = None) -> None:
    """Refuse what nothing can be learned from: not uint8 (N, C, H, W), too few, or all alike."""
    for what, some, least in (("training", images, max(2, batch)), ("held-out", held_out, 1)):
        if some is not None and (some.ndim != 4 or some.dtype != torch.uint8 or len(some) < least):
            raise SepvizError(f"{what} images {tuple(some.shape)} {some.dtype}: want at least "
                              f"{least} uint8 images (N, C, H, W); take a larger set")
    if held_out is not None and held_out.shape[1:] != images.shape[1:]:
        raise SepvizError(f"held-out images of (C, H, W) = {tuple(held_out.shape[1:])}: "
                          f"the training images are {tuple(images.shape[1:])}")
    check_varied("training images", images)


def described(images: Tensor) -> str:
    """A set of images as the settings of a run name it."""
    size = "x".join(map(str, images.shape[1:]))
    return f"{len(images)} of {size}, digest {files.digest(images)}"


def figure(what: str, psnr: Tensor, *, median: bool = False) -> dict[str, Any]:
    """A card's figure: the PSNR of held-out images (N,), in dB."""
    middle = {"median": round(float(psnr.median()), 2)} if median else {}
    return {"what": what, "n": len(psnr), "mean": round(float(psnr.mean()), 2), **middle,
            "tenth_percentile": round(float(psnr.quantile(0.1)), 2)}


def card(prior: nn.Module, seed: int, minutes: float, iterations: int, device: torch.device,
         **more: Any) -> dict[str, Any]:
    """What every card says, and more."""
    parameters = sum(weight.numel() for weight in prior.parameters())
    return {"seed": seed, "minutes": round(minutes, 1), "iterations": iterations,
            **({"parameters": parameters} if parameters else {}),
            "threads": torch.get_num_threads(), "device": device.type, **more}
