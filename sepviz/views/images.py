"""How images are shown: their channels, their range, their axes. Every view asks here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sepviz.core import Problem, SepvizError

CHANNELS = {1: "gray", 3: "RGB"}
GAP = 6  # screen pixels between the pictures of a sheet
FRAME = (60, 66, 76)  # the colour between them


def check_channels(channels: int) -> None:
    """Refuse images that are neither gray nor RGB."""
    if channels not in CHANNELS:
        known = " or ".join(f"{count} ({name})" for count, name in CHANNELS.items())
        raise SepvizError(f"images of {channels} channels: {known} can be shown")


def range_of(mixtures: Tensor) -> tuple[float, float]:
    """What is black and what is white in mixtures: 0 and 1, or their own range if that is wider."""
    return min(0.0, float(mixtures.min())), max(1.0, float(mixtures.max()))


def range_allowed(problem: Problem) -> tuple[float, float]:
    """The range that weights and medium allow for mixtures."""
    low, high = problem.medium.reach(problem.mixing.weights)
    return low, max(high, low + 1e-6)


def in_range(images: Tensor, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Images with 0 for ``low`` and 1 for ``high``; what lies outside is cut off, nan is 0."""
    return ((images.nan_to_num(0) - low) / (high - low)).clamp(0, 1)


def as_bytes(images: Tensor) -> Tensor:
    """Images in [0, 1] as whole numbers from 0 to 255, of the same shape."""
    return (in_range(images) * 255).round().to(torch.uint8)


def as_pictures(images: Tensor, low: float = 0.0, high: float = 1.0) -> np.ndarray:
    """Images (..., C, H, W) as pictures of bytes (..., H, W, 3)."""
    pixels = as_bytes(in_range(images, low, high)).movedim(-3, -1).cpu().numpy()
    return np.broadcast_to(pixels, (*pixels.shape[:-1], 3))


def as_drawing(image: Tensor, low: float, high: float, signed: bool = False) -> np.ndarray:
    """An image (C, H, W) as matplotlib draws it: RGB (H, W, 3) in [0, 1], or values (H, W).

    Of signed images of several channels it is their mean.
    """
    if image.shape[0] == 3 and not signed:
        return in_range(image, low, high).permute(1, 2, 0).numpy()
    return image.mean(dim=0).numpy()


def enlarged(image: Tensor, zoom: int) -> Image.Image:
    """An image (C, H, W) in [0, 1] with ``zoom`` by ``zoom`` pixels for each of its own."""
    pixels = as_pictures(image).repeat(zoom, axis=0).repeat(zoom, axis=1)
    return Image.fromarray(np.ascontiguousarray(pixels))


def sheet_of(rows: Sequence[Iterable[Tensor]], side: int) -> Image.Image:
    """Rows of images (C, H, W) in [0, 1], each at most ``side`` pixels high."""
    lines = [list(row) for row in rows]
    height, width = lines[0][0].shape[-2:]
    zoom = max(1, side // height)
    across, down = width * zoom + GAP, height * zoom + GAP
    size = (max(map(len, lines)) * across + GAP, len(lines) * down + GAP)
    sheet = Image.new("RGB", size, FRAME)
    for i, row in enumerate(lines):
        for j, image in enumerate(row):
            sheet.paste(enlarged(image, zoom), (GAP + j * across, GAP + i * down))
    return sheet
