"""Mixtures of pen strokes, drawn to look like the data that the priors know."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sepviz.core import Mixing, Problem, SepvizError, Truth, shown
from sepviz.core.mixing import top_half
from sepviz.data import NAMES, floats, load
from sepviz.data.strokes import BOX, SIZE, ink_of
from sepviz.tasks.images import MOST_SOURCES
from sepviz.tasks.mixed import hide, with_noise

Stroke = Sequence[Sequence[float]]  # [[x, y], ...] in pixels from the image's upper left corner
GRID = 8  # steps of a pixel that a point is rounded to
PEN = 1.25  # radius of the pen in pixels, the middle one of `sepviz.data.strokes`
SOFTNESS = 0.55  # width of the ink's edge, likewise
LARGEST = 3.0  # a small drawing is enlarged so many times at most: a dot stays a dot
MOST_POINTS = 250  # of one stroke; the pad leaves points out where they are dense
FARTHEST = 1000.0  # pixels from the corner: what is farther away is no drawing
FINE = 4  # points along a stroke to a pixel
LONGEST = 5000  # pixels, of all strokes together


def draw(strokes: Sequence[Stroke], pen: float = PEN) -> Tensor:
    """Pen strokes as an image like MNIST's: the longer side 20 pixels, the centre of mass central.

    Parameters
    ----------
    strokes : sequence of sequences of (x, y)
        In pixels of a 28x28 image; one stroke for every time the pen is put down.
    pen : float
        Radius of the pen in pixels, 0.5 to 3.

    Returns
    -------
    Tensor (1, 28, 28)
        In [0, 1].
    """
    _check_pen(pen)
    parts = [_densely(np.array(stroke, dtype=float)) for stroke in _checked(strokes)]
    if not parts:
        raise SepvizError("the drawing is empty: draw something, or pick an image of a data set")
    path = np.concatenate(parts)
    if len(path) > FINE * LONGEST:
        raise SepvizError(f"a drawing of {len(path) // FINE} pixels of ink: want at most {LONGEST}")
    extent = (path.max(axis=0) - path.min(axis=0)).max()
    path = path * min(LARGEST, (BOX - 0.7 - 2 * pen) / max(extent, 1e-6))
    path = path - (path.max(axis=0) + path.min(axis=0)) / 2
    radius, softness = np.full((1, len(path)), pen), np.full((1, 1, 1), SOFTNESS)
    axis = np.arange(SIZE) - SIZE / 2
    ink = ink_of(path[None], radius, softness, axis)[0]
    centre = np.array([ink.sum(axis=0) @ axis, ink.sum(axis=1) @ axis]) / ink.sum()
    return torch.from_numpy(ink_of((path - centre)[None], radius, softness, axis)).float()


def _checked(strokes: Sequence[Stroke]) -> list[list[tuple[float, float]]]:
    """The strokes that have points, each a list of (x, y)."""
    try:
        found = [[(float(x), float(y)) for x, y in stroke] for stroke in strokes]
    except (TypeError, ValueError, OverflowError):
        raise SepvizError(f"drawing {shown(strokes)}: want strokes, each a list of points "
                          "(x, y)") from None
    for place in (place for stroke in found for point in stroke for place in point):
        if not math.isfinite(place):
            raise SepvizError("a point of the drawing is not a finite number")
        if abs(place) > FARTHEST:
            raise SepvizError(f"a point of the drawing at {place:g}: want pixels, 0 to {SIZE}")
    return [stroke for stroke in found if stroke]


def _check_pen(pen: float) -> None:
    if not 0.5 <= pen <= 3:
        raise SepvizError(f"pen {pen}: want a radius of 0.5 to 3 pixels")


def _densely(points: np.ndarray) -> np.ndarray:
    """Points along the stroke, `FINE` to a pixel."""
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    at = np.linspace(0, along[-1], int(np.ceil(along[-1] * FINE)) + 1)
    return np.stack([np.interp(at, along, points[:, axis]) for axis in (0, 1)], axis=1)


def encode(strokes: Sequence[Stroke]) -> str:
    """Strokes as a short text, points rounded to an eighth of a pixel: "ink:..."."""
    text = bytearray()
    for stroke in _checked(strokes):
        places = np.array(stroke[:MOST_POINTS]).flatten()
        text.append(len(places) // 2)
        text += (places * GRID).round().clip(0, 255).astype(np.uint8).tobytes()
    return "ink:" + base64.urlsafe_b64encode(text).decode().rstrip("=")


def decode(text: str) -> list[list[list[float]]]:
    """The strokes that `encode` wrote."""
    letters, strokes = text.removeprefix("ink:"), []
    try:
        padded = letters + "=" * (-len(letters) % 4)
        rest = list(base64.b64decode(padded, altchars=b"-_", validate=True))
        while rest:
            count, *rest = rest
            if len(rest) < 2 * count:
                raise ValueError("cut short")
            strokes.append([[rest[2 * i] / GRID, rest[2 * i + 1] / GRID] for i in range(count)])
            rest = rest[2 * count:]
    except (binascii.Error, ValueError) as error:
        raise SepvizError(f"ink {letters[:20]}...: no drawing ({error}); "
                          "copy the whole text of the state") from None
    return strokes


def image_of(source: str, pen: float = PEN) -> Tensor:
    """The image (1, 28, 28) of "ink:...", or of "SET:NUMBER", an image of a test split."""
    kind, _, number = source.partition(":")
    if kind == "ink":
        return draw(decode(source), pen)
    if kind not in NAMES or not (number.isdecimal() and number.isascii()):
        raise SepvizError(f"source {shown(source)}: want ink:..., or an image of a test split "
                          f"such as {NAMES[0]}:17")
    images = load(kind, "test").images
    if len(number) > 9 or int(number) >= len(images):
        raise SepvizError(f"source {shown(source)}: {kind} has test images 0 to {len(images) - 1}")
    return floats(images[int(number)])


def drawn(sources: str | Sequence[str] = "", *, weights: str | Sequence[float] = "sum",
          pen: float = PEN, taps: str = "", noise: float = 0.0, visible: str = "all", seed: int = 0,
          device: str | torch.device = "cpu") -> tuple[Problem, Truth]:
    """One mixture of sources that were drawn or picked.

    Parameters
    ----------
    sources : sequence of str
        Each "ink:..." (see `encode`) or an image of a data set's test split, "mnist:17"; as one
        string, joined by ``+``.
    weights : "sum", "mean" or floats
    pen : float
        Radius in pixels that ink is drawn with.
    taps : str
        A filter of 5x5 that every source goes through, which no method is told: 25 letters 0 or 1,
        row by row. It has sum 1.
    noise : float
        Amplitude of noise from Uniform(-noise, noise) on the mixture, in pixel values.
    visible : {"all", "top-half"}
        What of the mixture is visible.
    seed : int
        Of the noise.

    Returns
    -------
    Problem, Truth
        Of one mixture, (1, 1, 28, 28).
    """
    names = list(filter(None, sources.split("+"))) if isinstance(sources, str) else list(sources)
    if not names:
        raise SepvizError("no sources: give ink:... or an image of a data set, joined by +")
    if len(names) > MOST_SOURCES:
        raise SepvizError(f"{len(names)} sources: want at most {MOST_SOURCES}")
    _check_pen(pen)
    if not 0 <= noise <= 1:
        raise SepvizError(f"noise {noise}: want 0 to 1 in pixel values")
    if visible not in ("all", "top-half"):
        raise SepvizError(f"visible {shown(visible)}: choose all or top-half")
    truth = torch.stack([image_of(name, pen) for name in names])[None].to(device)
    mixing, filters = Mixing.of(weights, len(names)), None
    if taps:
        filters = kernel_of(taps).expand(1, len(names), -1, -1).to(device)
        mixing = Mixing(mixing.weights, filter_size=filters.shape[-1])
    mixtures = mixing.apply(truth, filters)
    if noise:
        mixtures = with_noise(mixtures, noise, torch.Generator().manual_seed(seed))
    problem = Problem(mixtures, mixing)
    if visible == "top-half":
        problem = hide(problem, top_half(SIZE, SIZE))
    return problem, Truth(truth, filters)


def kernel_of(taps: str) -> Tensor:
    """The filter (5, 5) of sum 1 that 25 letters 0 or 1 give, row by row."""
    if len(taps) != 25 or set(taps) - {"0", "1"} or "1" not in taps:
        raise SepvizError(f"taps {shown(taps)}: want 25 letters 0 or 1, row by row, and at least "
                          "one 1")
    kernel = torch.tensor([float(letter) for letter in taps]).reshape(5, 5)
    return kernel / kernel.sum()
