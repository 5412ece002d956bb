"""Digits drawn by a simulated pen: a set that needs no network and never ends.

Each digit has a few glyphs, given as control points. An item picks one, shakes its points, bends,
slants and turns it, scales it to a box of 20 x 20, and draws it with a soft pen, centred by mass in
28 x 28 like MNIST.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sepviz.core import SepvizError
from sepviz.data.base import Dataset, check_classes, check_count

Array = NDArray[Any]

SIZE = 28
BOX = 20.0  # the ink's longer side, as in MNIST
CHUNK = 128  # items are drawn in whole chunks, so that item i is the same whatever the count
SAMPLES = 96  # points along the pen's path: at most 0.8 pixels apart, which a pen of radius 1 hides

# Points "x y" on a grid of 100 x 100, y down; "/" lifts the pen; the same point twice is a corner.
GLYPHS: dict[int, tuple[str, ...]] = {
    0: (
        "52 2, 28 14, 18 48, 28 84, 50 98, 72 86, 82 50, 72 14, 50 3",
        "66 10, 40 4, 20 30, 20 70, 42 97, 72 82, 80 46, 68 14, 44 8",
        "48 5, 18 25, 6 55, 22 90, 55 97, 88 80, 96 45, 78 12, 46 8",
        "58 4, 32 14, 20 50, 30 88, 54 96, 76 76, 78 40, 66 12, 44 12",
        "52 2, 20 30, 14 70, 40 98, 78 82, 90 44, 74 10, 44 4",
    ),
    1: (
        "52 0, 51 33, 49 66, 48 100",
        "55 0, 50 34, 49 67, 50 100",
        "32 22, 54 0, 54 0, 52 50, 50 100",
        "40 13, 54 0, 54 0, 52 50, 51 100 / 30 100, 51 100, 74 99",
    ),
    2: (
        "20 24, 36 4, 62 4, 76 24, 62 52, 40 74, 18 98, 18 98, 50 95, 84 97",
        "22 20, 42 3, 68 8, 74 32, 56 62, 32 88, 16 92, 16 78, 34 76, 56 92, 86 92",
        "22 14, 48 2, 74 14, 72 38, 46 66, 16 94, 16 94, 44 88, 84 98",
        "30 30, 22 14, 46 2, 72 16, 70 42, 46 72, 22 96, 40 88, 62 96, 86 88",
        "16 24, 40 6, 62 16, 52 48, 22 80, 8 92, 16 98, 42 90, 66 92, 98 84",
    ),
    3: (
        "22 14, 46 2, 70 14, 66 36, 42 48, 42 48, 70 56, 78 78, 56 97, 20 90",
        "20 12, 48 2, 72 18, 60 40, 40 50, 44 44, 62 50, 78 72, 58 96, 18 88",
        "22 4, 48 5, 72 4, 72 4, 44 40, 44 40, 70 50, 78 74, 54 97, 20 90",
        "18 20, 40 2, 68 12, 64 38, 40 47, 66 54, 76 78, 48 98, 14 84",
        "16 10, 44 2, 74 10, 60 34, 40 46, 54 43, 78 58, 76 82, 46 98, 12 92",
    ),
    4: (
        "26 2, 20 32, 22 52, 22 52, 50 54, 78 48 / 74 6, 70 50, 66 100",
        "24 6, 18 36, 34 54, 62 46, 76 4, 76 4, 72 50, 66 100",
        "66 2, 40 30, 14 62, 14 62, 50 64, 88 60 / 66 2, 64 50, 62 100",
        "70 100, 68 50, 70 2, 70 2, 44 28, 14 60, 14 60, 50 62, 90 58",
        "34 0, 25 30, 16 56, 16 56, 50 56, 84 54 / 66 28, 62 64, 60 100",
        "20 6, 10 40, 14 50, 56 49, 94 40 / 74 16, 66 56, 52 100",
    ),
    5: (
        "78 4, 56 4, 34 6, 34 6, 28 44, 28 44, 54 38, 76 58, 70 86, 42 98, 18 88",
        "32 6, 28 44, 28 44, 56 40, 76 62, 66 90, 40 98, 16 90 / 32 6, 56 8, 82 3",
        "76 4, 46 6, 30 24, 38 44, 64 54, 72 78, 50 97, 20 90",
        "86 2, 64 4, 44 8, 44 8, 30 46, 30 46, 58 44, 70 66, 54 90, 12 98",
        "98 0, 70 6, 40 12, 40 12, 28 44, 28 44, 50 44, 64 64, 50 88, 24 98, 4 88",
    ),
    6: (
        "66 2, 40 22, 22 56, 28 88, 52 98, 74 82, 70 60, 48 54, 28 68",
        "58 0, 36 40, 24 74, 40 98, 66 92, 72 68, 54 56, 30 70",
        "74 10, 58 2, 34 24, 22 60, 34 94, 60 96, 72 74, 56 56, 34 66, 26 80",
        "50 0, 30 36, 22 76, 40 99, 62 86, 58 66, 40 66, 26 82",
        "70 0, 36 30, 14 66, 24 94, 60 98, 86 80, 78 62, 48 64, 26 84",
    ),
    7: (
        "16 8, 48 6, 82 4, 82 4, 62 44, 46 100",
        "16 8, 48 6, 82 4, 82 4, 62 44, 46 100 / 36 52, 58 50, 84 48",
        "18 22, 20 6, 20 6, 50 8, 82 4, 82 4, 60 50, 50 100",
        "18 10, 50 4, 76 10, 72 36, 58 66, 50 100",
        "6 12, 40 10, 80 4, 80 4, 50 46, 30 98",
    ),
    8: (
        "72 14, 48 2, 26 18, 36 40, 62 56, 74 78, 52 98, 26 82, 36 58, 62 40, 74 18",
        "50 48, 28 30, 34 6, 60 3, 72 22, 50 48, 26 70, 32 96, 62 97, 74 74, 50 48",
        "70 8, 44 4, 32 22, 50 46, 66 74, 50 98, 32 80, 46 54, 66 30, 74 6",
        "52 2, 30 14, 34 40, 54 46, 72 30, 66 8, 50 3 / "
        "52 46, 26 62, 28 92, 54 98, 76 82, 72 56, 50 47",
        "78 16, 54 0, 30 16, 44 40, 60 60, 56 88, 30 98, 16 78, 40 54, 66 36, 82 12",
    ),
    9: (
        "70 18, 50 2, 26 14, 24 38, 46 48, 68 32, 72 12, 72 12, 70 52, 62 100",
        "72 22, 52 3, 28 16, 24 40, 46 50, 68 34, 74 14, 76 50, 64 86, 34 98",
        "68 10, 44 6, 28 26, 38 46, 60 36, 72 6, 66 50, 54 100",
        "66 26, 50 4, 28 20, 34 44, 56 42, 70 16, 70 16, 64 60, 58 100",
        "60 6, 30 10, 16 34, 40 46, 68 28, 76 8, 70 40, 60 70, 54 100",
    ),
}
GLYPH_COUNTS = np.array([len(GLYPHS[digit]) for digit in range(10)])


def strokes(count: int, seed: int = 0, classes: Sequence[int] | None = None) -> Dataset:
    """The first ``count`` items of an endless, seeded stream of drawn digits.

    Parameters
    ----------
    count : int
        A lower count gives a prefix of a higher one.
    seed : int
        Names the stream, 0 or more.
    classes : sequence of int, optional
        Skip the stream's other digits.

    Returns
    -------
    Dataset
        Images (count, 1, 28, 28) uint8 and labels (count,) int64.
    """
    from tqdm.auto import tqdm

    check_count(count)
    if seed < 0:
        raise SepvizError(f"seed {seed}: must be 0 or more")
    known = range(10)
    wanted = np.array(known if classes is None else check_classes(classes, known, "strokes"))
    images: list[Tensor] = []
    labels: list[Tensor] = []
    with tqdm(total=count, desc="drawing strokes", unit="image", leave=False, disable=None) as bar:
        while sum(map(len, labels)) < count:  # the bar counts only where it is shown
            drawn, label = _chunk(seed, len(images), wanted)
            images.append(drawn)
            labels.append(label)
            bar.update(len(label))
    drawn, label = torch.cat(images)[:count, None].clone(), torch.cat(labels)[:count].clone()
    return Dataset("strokes", drawn, label)


def _chunk(seed: int, chunk: int, wanted: Array) -> tuple[Tensor, Tensor]:
    """The items of one chunk whose digit is wanted: images (n, 28, 28) uint8, labels (n,)."""
    rng = np.random.default_rng([seed, chunk])
    labels = rng.integers(0, 10, CHUNK)
    # everything is drawn before the choice of classes, so that an item does not depend on it
    path, radius = _path(rng, labels)
    softness = rng.uniform(0.4, 0.75, (CHUNK, 1, 1))
    rough = rng.normal(0, 0.13, (CHUNK, SIZE, SIZE))
    keep = np.isin(labels, wanted)
    images = _draw(path[keep], radius[keep], softness[keep], rough[keep])
    return torch.from_numpy(images), torch.from_numpy(labels[keep])


def _path(rng: np.random.Generator, labels: Array) -> tuple[Array, Array]:
    """The pen's way: points (n, SAMPLES, 2) in pixels around (0, 0), radii (n, SAMPLES)."""
    count = len(labels)
    basis, controls, starts = _glyphs()
    glyph = starts[labels] + rng.integers(0, 1 << 30, count) % GLYPH_COUNTS[labels]
    points = controls[glyph] + rng.normal(0, 0.034, (count, controls.shape[1], 2))
    path = basis[glyph] @ points

    # long waves bend the whole digit: they move neighbours together, shaking moves them apart
    for _ in range(3):
        wave = rng.normal(0, 2.5, (count, 2, 1))
        phase = rng.uniform(0, 2 * np.pi, (count, 1, 1))
        path = path + np.sin(path @ wave + phase) * rng.normal(0, 0.043, (count, 1, 2))

    path = path - path.mean(axis=1, keepdims=True)
    pen = np.exp(rng.normal(np.log(1.25), 0.22, (count, 1))).clip(0.8, 1.9)
    # a thick pen in a narrow digit would fill its loops
    aspect = np.exp((rng.normal(0.1, 0.2, count) + 0.3 * np.log(pen[:, 0] / 1.25)).clip(-0.25, 0.4))
    slant = rng.normal(0.12, 0.2, count)
    angle = rng.normal(0, 0.1, count)
    cos, sin, one, zero = np.cos(angle), np.sin(angle), np.ones(count), np.zeros(count)
    # of row vectors: (x, y) @ matrix
    shear = np.stack([aspect, zero, -slant, one], 1).reshape(count, 2, 2)
    turn = np.stack([cos, sin, -sin, cos], 1).reshape(count, 2, 2)
    path = path @ (shear @ turn)

    # the pen presses more here, less there
    along = np.linspace(0, 1, SAMPLES)
    pressure = np.zeros((count, SAMPLES))
    for turns in (0.5, 1, 2.5, 5):
        phase = rng.uniform(0, 1, (count, 1))
        pressure += np.sin(2 * np.pi * (turns * along + phase)) * rng.normal(0, 0.09, (count, 1))
    radius = pen * np.exp(pressure)

    extent = (path.max(axis=1) - path.min(axis=1)).max(axis=1)
    path = path * ((BOX - 0.7 - 2 * pen[:, 0]) / extent)[:, None, None]
    return path - (path.max(axis=1, keepdims=True) + path.min(axis=1, keepdims=True)) / 2, radius


def _draw(path: Array, radius: Array, softness: Array, rough: Array) -> Array:
    """Paths (n, SAMPLES, 2) of radii (n, SAMPLES), centred by mass -> images (n, 28, 28) uint8."""
    coarse = np.arange(0, SIZE, 2) - SIZE / 2  # enough to find the centre, with a soft pen
    ink = ink_of(path, radius, softness + 1, coarse)
    centre = np.stack([ink.sum(axis=1) @ coarse, ink.sum(axis=2) @ coarse], axis=1)
    centre = centre / ink.sum(axis=(1, 2))[:, None]
    ink = ink_of(path - centre[:, None], radius, softness, np.arange(SIZE) - SIZE / 2, rough)
    return np.rint(ink * 255).astype(np.uint8)


def ink_of(path: Array, radius: Array, softness: Array, axis: Array,
           rough: Array | float = 0.0) -> Array:
    """Ink (n, m, m) in [0, 1] at the pixels ``axis`` x ``axis``.

    It is 1 on the pen's path and falls to 0 across its soft edge. The pixel (0, 0) is [14, 14],
    where MNIST has its centre of mass.
    """
    # The power distance (x - qx)^2 + (y - qy)^2 - r^2, least over the path's points q. The items
    # come last, as numpy is fast along long last axes; on arrays of this size, torch's threads cost
    # more than they bring.
    x, y = (axis - path[:, :, :1]) ** 2 - radius[:, :, None] ** 2, (axis - path[:, :, 1:]) ** 2
    x, y = (part.transpose(1, 2, 0).astype(np.float32, order="C") for part in (x, y))
    least = np.full((len(axis), len(axis), len(path)), np.inf, np.float32)
    here = np.empty_like(least)
    for of_x, of_y in zip(x, y, strict=True):
        np.minimum(least, np.add(of_y[:, None], of_x[None], out=here), out=least)
    pen = radius.mean(axis=1)
    edge = np.sqrt(np.maximum(least + pen**2, 0)) - pen  # distance to the edge of the ink
    return np.clip(0.5 - (edge.transpose(2, 0, 1) + rough) / (2 * softness), 0, 1)


@cache
def _glyphs() -> tuple[Array, Array, Array]:
    """Basis (G, SAMPLES, M), control points (G, M, 2), number of each digit's first glyph (10,)."""
    parsed = [[_parse(text) for text in GLYPHS[digit]] for digit in range(10)]
    flat = [glyph for digit in parsed for glyph in digit]
    most = max(len(points) for points, _ in flat)
    basis = np.zeros((len(flat), SAMPLES, most))
    controls = np.zeros((len(flat), most, 2))
    for g, (points, parts) in enumerate(flat):
        controls[g, : len(points)] = points
        basis[g, :, : len(points)] = _basis(points, parts)
    starts = np.cumsum(GLYPH_COUNTS) - GLYPH_COUNTS
    return basis, controls, starts


def _parse(text: str) -> tuple[Array, list[list[int]]]:
    """A glyph's distinct points (m, 2) and its strokes as indices: shaken once if named twice."""
    index: dict[str, int] = {}
    parts = [[index.setdefault(point.strip(), len(index)) for point in part.split(",")]
             for part in text.split("/")]
    return np.array([[float(number) / 100 for number in point.split()] for point in index]), parts


def _basis(points: Array, parts: list[list[int]]) -> Array:
    """Weights (SAMPLES, m) of control points in a Catmull-Rom curve, sampled evenly by length."""
    segments = [(part[max(i - 1, 0)], part[i], part[i + 1], part[min(i + 2, len(part) - 1)])
                for part in parts for i in range(len(part) - 1) if part[i] != part[i + 1]]
    lengths = np.array([np.linalg.norm(points[c] - points[b]) for _, b, c, _ in segments])
    ends = np.cumsum(lengths)
    at = np.linspace(0, ends[-1] * (1 - 1e-9), SAMPLES)
    number = np.searchsorted(ends, at, side="right")
    weights = np.zeros((SAMPLES, len(points)))
    for row, (n, position) in enumerate(zip(number, at, strict=True)):
        t = 1 - (ends[n] - position) / lengths[n]
        cubic = np.array([-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3,
                          t + 4 * t**2 - 3 * t**3, t**3 - t**2])
        np.add.at(weights[row], list(segments[n]), 0.5 * cubic)
    return weights
