"""Problem files: mixtures, what is known of them and, beside them, the truth."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sepviz.core import PICTURE, Medium, Mixing, Problem, SepvizError, Truth, shown
from sepviz.core.mixing import top_half
from sepviz.data.picture import DEEP, read_picture
from sepviz.files.arrays import (
    Field,
    medium_of,
    naming,
    open_file,
    save_arrays,
    tensors,
    to_numpy,
    versions,
)

MIXTURES = {"mixtures": Field(dtype=np.float32)}
KNOWN = {"weights": Field("K", "fiu", optional=True),
         "filter_size": Field("", "fiu", optional=True),
         "visible": Field("H W", dtype=np.bool_, optional=True)}
TRUTH = {"sources": Field("B K C H W", dtype=np.float32),
         "filters": Field("B K h w", dtype=np.float32, optional=True),
         "labels": Field("B K", "iu", optional=True)}


def save_problem(path: str | Path, problem: Problem, truth: Truth | None = None,
                 meta: Mapping[str, Any] | None = None, *, labels: Tensor | None = None,
                 overwrite: bool = False) -> Path:
    """Write mixtures and weights and, in the same file, what was mixed.

    Parameters
    ----------
    path : path
        A .npz with the arrays ``mixtures``, ``weights`` and those of `KNOWN` and `TRUTH` that
        there are, and ``meta``, a JSON string.
    meta : dict, optional
        How the problem was made: data set, seed, protocol, ...
    labels : Tensor (B, K), optional
        The classes of the sources.
    """
    mixing = problem.mixing
    mixing.check_form(problem.mixtures, problem.medium)
    held = {"mixtures": problem.mixtures, "sources": None if truth is None else truth.sources,
            "filters": None if truth is None else truth.filters}
    arrays = {name: to_numpy(value) for name, value in held.items() if value is not None}
    plain = {"weights": mixing.weights, "filter_size": mixing.filter_size, "labels": labels,
             "visible": mixing.visible}
    arrays |= {name: np.asarray(value.cpu() if isinstance(value, Tensor) else value)
               for name, value in plain.items() if value is not None}
    about = {"kind": "problem", "medium": problem.medium.name, "versions": versions()}
    return save_arrays(path, arrays, {**about, **(meta or {})}, overwrite)


def load_problem(path: str | Path | Sequence[str | Path], *,
                 weights: Sequence[float] | str | None = None, count: int | None = None,
                 filter_size: int | None = None,
                 visible: Tensor | None = None) -> tuple[Problem, Truth | None]:
    """Read mixtures from a file, and check them.

    Parameters
    ----------
    path : path or several
        A .npz as `save_problem` writes it; a .npz with an array ``mixtures`` of shape (B, H, W) or
        (B, C, H, W), or a .npy that is this array; or one or several PNGs of one size, gray or RGB,
        8 or 16 bit (16 bit RGB is read with 8 bits), one mixture each. A PNG holds values v in
        [0, 1] only, so it is the mean picture of the sources: the mixture is ``v * sum(weights)``.
    weights : "sum", "mean" or K floats, optional
        Of a file that does not say them (default: "sum"); if it does, they must agree.
    count : int, optional
        The number K of sources; likewise.
    filter_size, visible : optional
        See `Mixing`; likewise.

    Returns
    -------
    Problem, Truth or None
        On the CPU, float32.

    Raises
    ------
    SepvizError
        If the file is missing, damaged or foreign, holds anything but finite numbers in the range
        that the weights allow (0 to 255 is refused), or disagrees with the other arguments.
    """
    paths = [Path(item) for item in ([path] if isinstance(path, str | Path) else path)]
    if not paths:
        raise SepvizError("no input file: give a problem.npz, a .npy or PNG files")
    others = [item for item in paths if item.suffix.lower() != ".png"]
    if len(paths) > 1 and others:
        raise SepvizError(f"{others[0]} among {len(paths)} files: several files must all be PNG; "
                          "give one .npz or .npy at a time")
    first, medium = paths[0], PICTURE
    arrays: dict[str, np.ndarray] = {}
    if others:
        arrays, medium = _arrays(first)
        mixtures = _mixtures(first, arrays)
    else:
        mixtures = _pictures(paths)
    sizes = dict(zip("BCHW", mixtures.shape, strict=True))
    held = tensors(first, arrays, KNOWN, sizes)
    mixing = _mixing(first, held.get("weights"), weights, count)
    size: Any = held["filter_size"].item() if "filter_size" in held else None
    with naming(first):
        mixing = dataclasses.replace(mixing, filter_size=size, visible=held.get("visible"))
    size = _agreed(f"{first} says filter size", size, filter_size)
    visible = _agreed(f"{first} says what is visible,", held.get("visible"), visible)
    mixing = dataclasses.replace(mixing, filter_size=size, visible=visible)
    if not others:
        if abs(sum(mixing.weights)) < 1e-6:
            raise SepvizError(f"weights {mixing.weights} sum to 0, and a PNG can only hold the "
                              "mean picture of the sources: give a .npy")
        mixtures = mixtures * sum(mixing.weights)
    _check_scale(first, mixtures, mixing, medium)
    mixing.check(mixtures, solves_filters=True, fills_in=True, medium=medium)
    if mixing.visible is not None:
        mixtures = mixtures * mixing.visible
    truth = _truth(first, arrays, mixing, sizes) if "sources" in arrays else None
    return Problem(mixtures, mixing, medium=medium), truth


def read_mask(words: str, height: int, width: int) -> Tensor:
    """``top-half``, or a PNG whose pixels of 0.5 and more are seen -> bool (height, width)."""
    if words == "top-half":
        return top_half(height, width)
    if not words.lower().endswith(".png"):
        raise SepvizError(f"visible {words}: "
                          "want top-half or a .png whose bright pixels are seen")
    mask = _png(Path(words)).mean(dim=0) >= 0.5
    if tuple(mask.shape) != (height, width):
        raise SepvizError(f"{words} is {mask.shape[0]}x{mask.shape[1]}: "
                          f"the mixtures are {height}x{width}")
    return mask


def load_meta(path: str | Path) -> dict[str, Any]:
    """The JSON object of a problem's or a result's file."""
    return open_file(path)[1]


def _png(path: Path) -> Tensor:
    """A PNG as (C, H, W) in [0, 1]."""
    picture, more = read_picture(path, ("PNG",))
    if more:
        raise SepvizError(f"{path} has {more + 1} frames: save the one that is meant by itself")
    most = 65535 if picture.mode.startswith(DEEP) else 255
    pixels = torch.from_numpy(np.asarray(picture).astype(np.float32)) / most
    return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)


def _pictures(paths: list[Path]) -> Tensor:
    """PNGs of one size as (B, C, H, W)."""
    images = [_png(path) for path in paths]
    for path, image in zip(paths, images, strict=True):
        if image.shape != images[0].shape:
            raise SepvizError(f"{path} has (C, H, W) = {tuple(image.shape)}, {paths[0]} has "
                              f"{tuple(images[0].shape)}: mixtures must be of one size")
    return torch.stack(images)


def _arrays(path: Path) -> tuple[dict[str, np.ndarray], Medium]:
    """The arrays of a .npz or .npy that holds mixtures, and their medium."""
    if path.suffix.lower() not in (".npz", ".npy") and not path.is_dir():
        raise SepvizError(f"cannot read {path}: want a .npz, .npy or .png file")
    arrays, meta = open_file(path)
    if "mixtures" not in arrays:
        raise SepvizError(f"{path} holds {', '.join(arrays) or 'nothing'} and no array mixtures: "
                          "give a problem, as sepviz mix writes it")
    return arrays, medium_of(path, meta)


def _mixtures(path: Path, arrays: Mapping[str, np.ndarray]) -> Tensor:
    """The array mixtures, (B, H, W) or (B, C, H, W), as (B, C, H, W)."""
    mixtures = tensors(path, arrays, MIXTURES)["mixtures"]
    shape = tuple(mixtures.shape)
    if mixtures.ndim not in (3, 4):
        raise SepvizError(f"{path}: mixtures of shape {shape}: want (B, H, W) or (B, C, H, W)")
    if mixtures.ndim == 3 and shape[2] <= 4 < min(shape[:2]):
        raise SepvizError(f"{path}: mixtures of shape {shape} look like one image with its "
                          "channels last: give (1, C, H, W), array.transpose(2, 0, 1)[None]")
    if mixtures.ndim == 4 and shape[1] > 4 >= shape[3]:
        raise SepvizError(f"{path}: mixtures of shape {shape} have their channels last: "
                          "give (B, C, H, W), array.transpose(0, 3, 1, 2)")
    return mixtures[:, None] if mixtures.ndim == 3 else mixtures


def _mixing(path: Path, held: Tensor | None, weights: Sequence[float] | str | None,
            count: int | None) -> Mixing:
    """The weights of the file or, where it has none, of the caller; they must not disagree."""
    if held is None:
        if count is None and weights in (None, "sum", "mean"):
            raise SepvizError(f"{path} does not say of how many sources it is mixed: "
                              "give their number K, or the weights")
        return Mixing.of("sum" if weights is None else weights, count)
    with naming(path):
        mixing = Mixing(tuple(held.tolist()))
    _agreed(f"{path} says K =", mixing.count, count)
    stated = mixing if weights is None else Mixing.of(weights, mixing.count)
    if not np.allclose(stated.weights, mixing.weights, rtol=1e-6, atol=0):
        _agreed(f"{path} says weights", mixing.weights, stated.weights)
    return mixing


def _agreed(said: str, held: Any, given: Any) -> Any:
    """What the file holds or else the caller gives, refused where they differ."""
    both = held is not None and given is not None
    if both and not (np.array_equal(held, given) if isinstance(held, Tensor) else held == given):
        raise SepvizError(f"{said} {shown(held)}, {shown(given)} was given: leave it out")
    return given if held is None else held


def _check_scale(path: Path, mixtures: Tensor, mixing: Mixing, medium: Medium) -> None:
    """Refuse mixtures of images of 0 to 255."""
    most = float(mixtures.nan_to_num(0, 0, 0).amax())
    high = medium.reach(mixing.weights)[1]
    if most > high + medium.peak * max(1.0, sum(map(abs, mixing.weights))):
        raise SepvizError(f"{path}: mixtures reach {most:g}, sources in {medium.range} with "
                          f"weights {mixing.weights} reach {high:g}: "
                          "if these are images of 0 to 255, divide them by 255")


def _truth(path: Path, arrays: Mapping[str, np.ndarray], mixing: Mixing,
           sizes: dict[str, int]) -> Truth:
    """The sources of a problem's mixtures, and their filters if there are any."""
    found = tensors(path, arrays, TRUTH, sizes)
    filters = found.get("filters")
    if filters is not None and max(filters.shape[2:]) > (mixing.filter_size or 0):
        raise SepvizError(f"{path}: filters of {filters.shape[2]}x{filters.shape[3]} beside "
                          f"filter size {mixing.filter_size}: want no side larger than that")
    return Truth(found["sources"], filters)
