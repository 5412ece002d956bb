"""A folder of images as a set; its subfolders are its classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from sepviz.core import SepvizError
from sepviz.data.base import Dataset

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
GRAY = {"1", "L", "LA"}
DEEP = ("I", "F")  # 16 bits and more: PIL would clip them to 8 in silence


def load_folder(path: str | Path, split: str = "train", *, size: int | None = None) -> Dataset:
    """Load a folder of images, sorted by name.

    Parameters
    ----------
    path : str or Path
        If it has ``train/`` and ``test/``, these are the splits; otherwise every tenth image is a test image.
        Subfolders are classes, numbered in the order of their names; without them all labels are 0.
    split : str
        "train" or "test".
    size : int, optional
        Resize each image's shorter side to this and crop the centre square. By default all must be of one size.

    Returns
    -------
    Dataset
        Images (N, C, H, W) uint8, C = 1 if all are gray, else 3, and labels (N,) int64.
    """
    root = Path(path)
    if not root.is_dir():
        raise SepvizError(f"{path}: no such folder; check the path")
    if size is not None and size < 1:
        raise SepvizError(f"size {size}: must be at least 1")
    halves = [name for name in ("train", "test") if (root / name).is_dir()]
    if len(halves) == 1:
        raise SepvizError(f"{path}: has {halves[0]}/ only; add the other of train/ and test/, or rename it")
    if halves:
        classes = sorted({folder.name for half in halves for folder in _subfolders(root / half)})
        files = _files(root / split, classes)
    else:
        every = _files(root, [folder.name for folder in _subfolders(root)])
        files = [item for i, item in enumerate(every) if (i % 10 == 0) == (split == "test")]
    if not files:
        raise SepvizError(f"{path}: no {split} images ({' '.join(sorted(SUFFIXES))}); add some, or check the path")
    pictures = [_open(file, size) for file, _ in files]
    first = pictures[0]
    for (file, _), picture in zip(files, pictures, strict=True):
        if picture.shape[:2] != first.shape[:2]:
            raise SepvizError(f"{file}: {_shape(picture)} where {files[0][0].name} is {_shape(first)}; give size= to resize all")
    if any(picture.ndim == 3 for picture in pictures):
        pictures = [picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=2) for picture in pictures]
    images = torch.from_numpy(np.stack(pictures))
    images = images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2).contiguous()
    return Dataset(root.resolve().name, images, torch.tensor([label for _, label in files]))


def _subfolders(root: Path) -> list[Path]:
    return sorted(folder for folder in root.iterdir() if folder.is_dir() and not folder.name.startswith("."))


def _images(root: Path) -> list[Path]:
    return sorted(file for file in root.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file() and not file.name.startswith("."))


def _files(root: Path, classes: list[str]) -> list[tuple[Path, int]]:
    """The images of a folder with their labels."""
    loose = [(file, 0) for file in _images(root)]
    sorted_in = [(file, classes.index(folder.name)) for folder in _subfolders(root) for file in _images(folder)]
    if loose and sorted_in:
        raise SepvizError(f"{root}: {loose[0][0].name} lies beside class folders; move it into one")
    return loose or sorted_in


def _open(file: Path, size: int | None) -> np.ndarray:
    """One image, (H, W) if gray, else (H, W, 3)."""
    from PIL import Image, ImageOps

    try:
        with Image.open(file) as picture:
            mode = picture.mode
            if mode.startswith(DEEP):
                raise SepvizError(f"{file}: more than 8 bits a channel (mode {mode}); save it with 8")
            upright = ImageOps.exif_transpose(picture).convert("L" if mode in GRAY else "RGB")
    except SepvizError:
        raise
    except Exception as error:  # PIL's decoders raise nearly anything on a broken file
        why = " ".join(str(error).replace(str(file), file.name).split())
        raise SepvizError(f"{file}: not a readable image ({why}); replace or remove it") from None
    if size is not None:
        upright = ImageOps.fit(upright, (size, size), Image.Resampling.LANCZOS)
    return np.array(upright)


def _shape(picture: np.ndarray) -> str:
    return f"{picture.shape[1]} x {picture.shape[0]}"
