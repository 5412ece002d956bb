"""Problem files: mixtures, what is known of them and, beside them, the truth."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sepviz.core import PICTURE, Mixing, Problem, SepvizError, Truth, shown
from sepviz.core.mixing import top_half
from sepviz.files.arrays import floats, medium_of, read, read_meta, save_arrays, tensor, to_numpy, versions


def save_problem(path: str | Path, problem: Problem, truth: Truth | None = None, meta: Mapping[str, Any] | None = None, *,
                 labels: Tensor | None = None, overwrite: bool = False) -> Path:
    """Write mixtures and weights and, in the same file, what was mixed.

    Parameters
    ----------
    path : path
        ``problem.npz``: arrays ``mixtures`` (B, C, H, W) float32, ``weights`` (K,), ``sources``
        (B, K, C, H, W) float32 and ``labels`` (B, K) where they are known, and ``meta``, a JSON string;
        ``filter_size``, ``visible`` (H, W) and the true ``filters`` (B, K, h, w) where the problem has them.
    meta : dict, optional
        How the problem was made: data set, seed, protocol, ...
    """
    problem.mixing.check_form(problem.mixtures, problem.medium)
    arrays = {"mixtures": to_numpy(problem.mixtures), "weights": np.array(problem.mixing.weights)}
    if problem.mixing.filter_size is not None:
        arrays["filter_size"] = np.array(problem.mixing.filter_size)
    if problem.mixing.visible is not None:
        arrays["visible"] = problem.mixing.visible.cpu().numpy()
    if truth is not None:
        arrays["sources"] = to_numpy(truth.sources)
        if truth.filters is not None:
            arrays["filters"] = to_numpy(truth.filters)
    if labels is not None:
        arrays["labels"] = labels.cpu().numpy()
    return save_arrays(path, arrays, {"kind": "problem", "medium": problem.medium.name, "versions": versions(), **(meta or {})},
                       overwrite)


def _png(path: Path) -> Tensor:
    """A PNG as (C, H, W) in [0, 1]."""
    from sepviz.data.picture import DEEP, read_picture

    picture, more = read_picture(path, ("PNG",))
    if more:
        raise SepvizError(f"{path} has {more + 1} frames: save the one that is meant by itself")
    most = 65535 if picture.mode.startswith(DEEP) else 255
    pixels = torch.from_numpy(np.asarray(picture).astype(np.float32)) / most
    return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)


def resolve_weights(weights: Sequence[float] | str | None, count: int | None) -> Mixing | None:
    """The `Mixing` that the caller states; None where neither weights nor K are.

    Parameters
    ----------
    weights : "sum", "mean", K floats or None
    count : int or None
        The number K of sources.
    """
    if isinstance(weights, str) and weights not in ("sum", "mean"):
        raise SepvizError(f"weights {weights!r}: want sum, mean or K numbers")
    if weights is None or isinstance(weights, str):
        if count is None:
            return None
        return Mixing.mean(count) if weights == "mean" else Mixing.sum(count)
    mixing = Mixing(weights)  # type: ignore[arg-type]
    if count is not None and count != mixing.count:
        raise SepvizError(f"{mixing.count} weights {mixing.weights} for K = {count} sources: give {count} weights, or sum or mean")
    return mixing


def _agree(path: Path, mixing: Mixing, weights: Sequence[float] | str | None, count: int | None) -> None:
    """Refuse weights or a K that are not those of the file."""
    if count is not None and count != mixing.count:
        raise SepvizError(f"{path} holds mixtures of K = {mixing.count} sources, {count} were asked for: leave K out or say {mixing.count}")
    stated = resolve_weights(weights, mixing.count) if weights is not None else None
    if stated is not None and not np.allclose(stated.weights, mixing.weights, rtol=1e-6, atol=0):
        raise SepvizError(f"{path} says weights {mixing.weights}, {stated.weights} were given: leave the weights out, or mend the file")


def _conditions(path: Path, arrays: Mapping[str, np.ndarray], filter_size: int | None, visible: Tensor | None) -> dict[str, Any]:
    """What the file and the caller say of filters and of what is seen; they must not disagree."""
    if "filter_size" in arrays:
        held = tensor(path, arrays, "filter_size", (), kinds="iuf").item()
        if filter_size is not None and filter_size != held:
            raise SepvizError(f"{path} says filter size {held}, {shown(filter_size)} was given: "
                              "leave it out")
        filter_size = held  # type: ignore[assignment]  # 5.7 is for `Mixing` to refuse
    if "visible" in arrays:
        values = tensor(path, arrays, "visible", ("H", "W"))
        mask = values == 1
        if not bool((mask | (values == 0)).all()):
            odd = float(values[~mask & (values != 0)][0])
            raise SepvizError(f"{path}: visible holds {odd:g}: want true or 1 where the mixtures "
                              "are seen, else false or 0")
        if visible is not None and not (
                isinstance(visible, Tensor) and torch.equal(mask, visible.cpu())):
            raise SepvizError(f"{path} says what is visible, and something else was given: leave it out")
        visible = mask
    return {"filter_size": filter_size, "visible": visible}


def read_mask(words: str, height: int, width: int) -> Tensor:
    """``top-half``, or a PNG whose bright pixels (0.5 and more) are seen -> bool (height, width)."""

    if words == "top-half":
        return top_half(height, width)
    if not words.lower().endswith(".png"):
        raise SepvizError(f"visible {words}: want top-half or a .png whose bright pixels are seen")
    mask = _png(Path(words)).mean(dim=0) >= 0.5
    if tuple(mask.shape) != (height, width):
        raise SepvizError(f"{words} is {mask.shape[0]}x{mask.shape[1]}: the mixtures are {height}x{width}")
    return mask


def load_problem(path: str | Path | Sequence[str | Path], *, weights: Sequence[float] | str | None = None,
                 count: int | None = None, filter_size: int | None = None,
                 visible: Tensor | None = None) -> tuple[Problem, Truth | None]:
    """Mixtures from a file, checked.

    Parameters
    ----------
    path : path or several
        A problem.npz as `save_problem` writes it; a bare .npz with an array ``mixtures`` of shape
        (B, H, W) or (B, C, H, W), or a .npy that is this array; or one or several PNGs of one size, gray
        or RGB, 8 or 16 bit (16 bit RGB is read with 8 bits), one mixture each. A PNG holds values
        v in [0, 1] only, so it is taken for the mean picture of the sources: the mixture is ``v * sum(weights)``.
    weights : "sum", "mean" or K floats, optional
        Of a file that does not say them ("sum" where left out); if it does, they must agree.
    count : int, optional
        The number K of sources; likewise.
    filter_size, visible : optional
        Of a file that does not say them, see `Mixing`; one that does must agree.

    Returns
    -------
    Problem, Truth or None
        On the CPU, float32.

    Raises
    ------
    SepvizError
        If the file is missing, damaged or foreign, holds anything but finite numbers in the range
        that the weights allow (0 to 255 is refused), or disagrees with ``weights`` or ``count``.
    """
    paths = [Path(item) for item in ([path] if isinstance(path, str | Path) else path)]
    if not paths:
        raise SepvizError("no input file: give a problem.npz, a .npy or PNG files")
    pictures = [item.suffix.lower() == ".png" for item in paths]
    if len(paths) > 1 and not all(pictures):
        raise SepvizError(f"{paths[pictures.index(False)]} among {len(paths)} files: several files must all be PNG; "
                          "give one .npz or .npy at a time")
    first, truth, medium = paths[0], None, PICTURE
    if all(pictures):
        images = [_png(item) for item in paths]
        for item, image in zip(paths, images, strict=True):
            if image.shape != images[0].shape:
                raise SepvizError(f"{item} has (C, H, W) = {tuple(image.shape)}, {first} has {tuple(images[0].shape)}: "
                                  "mixtures must be of one size")
        arrays: dict[str, np.ndarray] = {}
        mixtures = torch.stack(images)
    else:
        if first.suffix.lower() not in (".npz", ".npy") and not first.is_dir():
            raise SepvizError(f"cannot read {first}: want a .npz, .npy or .png file")
        arrays = read(first)
        if "mixtures" not in arrays:
            held = ", ".join(arrays) or "nothing"
            raise SepvizError(f"{first} holds no array mixtures (it holds {held}): give a problem, as sepviz mix writes it")
        medium = medium_of(first, read_meta(first, arrays))
        mixtures = _mixtures(first, arrays)
    if "weights" in arrays:
        held_weights = tensor(first, arrays, "weights", ("K",), kinds="fiu").tolist()
        mixing = Mixing(held_weights)  # type: ignore[arg-type]
        _agree(first, mixing, weights, count)
    else:
        stated = resolve_weights(weights, count)
        if stated is None:
            raise SepvizError(f"{first} does not say of how many sources it is mixed: give K (--sources) or the weights (--weights)")
        mixing = stated
    mixing = dataclasses.replace(mixing, **_conditions(first, arrays, filter_size, visible))
    if all(pictures):
        if abs(sum(mixing.weights)) < 1e-6:
            raise SepvizError(f"weights {mixing.weights} sum to 0, and a PNG can only hold the mean picture of the sources: give a .npy")
        mixtures = mixtures * sum(mixing.weights)
    most = float(mixtures.nan_to_num(0, 0, 0).amax())
    high = medium.reach(mixing.weights)[1]
    if most > high + medium.peak * max(1.0, sum(map(abs, mixing.weights))):
        raise SepvizError(f"{first}: mixtures reach {most:g}, sources in {medium.range} with weights {mixing.weights} reach {high:g}: "
                          "if these are images of 0 to 255, divide them by 255")
    mixing.check(mixtures, solves_filters=True, fills_in=True, medium=medium)
    if mixing.visible is not None:
        mixtures = mixtures * mixing.visible
    if "sources" in arrays:
        truth = _truth(first, arrays, mixing, mixtures)
    return Problem(mixtures, mixing, medium=medium), truth


def _mixtures(path: Path, arrays: Mapping[str, np.ndarray]) -> Tensor:
    """The array mixtures, (B, H, W) or (B, C, H, W), as (B, C, H, W)."""
    mixtures = floats(path, arrays, "mixtures")
    shape = tuple(mixtures.shape)
    if mixtures.ndim not in (3, 4):
        raise SepvizError(f"{path}: mixtures of shape {shape}: want (B, H, W) or (B, C, H, W)")
    if mixtures.ndim == 3 and shape[2] <= 4 < min(shape[:2]):
        raise SepvizError(f"{path}: mixtures of shape {shape} look like one image with its "
                          "channels last: "
                          "give (1, C, H, W), array.transpose(2, 0, 1)[None]")
    if mixtures.ndim == 4 and shape[1] > 4 >= shape[3]:
        raise SepvizError(f"{path}: mixtures of shape {shape} have their channels last: "
                          "give (B, C, H, W), array.transpose(0, 3, 1, 2)")
    return mixtures[:, None] if mixtures.ndim == 3 else mixtures


def _truth(path: Path, arrays: Mapping[str, np.ndarray], mixing: Mixing, mixtures: Tensor) -> Truth:
    """The sources of a problem's mixtures, and their filters if there are any."""
    batch, count, filters = len(mixtures), mixing.count, None
    sources = floats(path, arrays, "sources", (batch, count, *mixtures.shape[1:]))
    if "filters" in arrays:
        filters = floats(path, arrays, "filters", (batch, count, "h", "w"))
        sides = filters.shape[2:]
        if not (sides[0] % 2 and sides[1] % 2) or max(sides) > (mixing.filter_size or 0):
            raise SepvizError(f"{path}: filters of {sides[0]}x{sides[1]} beside filter size "
                              f"{mixing.filter_size}: "
                              "want odd sides of at most that size")
    if "labels" in arrays:
        tensor(path, arrays, "labels", (batch, count), kinds="iu")
    return Truth(sources, filters)


def load_meta(path: str | Path) -> dict[str, Any]:
    """What a problem's or a result's file says of itself."""
    return read_meta(Path(path), read(Path(path)))
