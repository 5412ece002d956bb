"""A folder of images as a set; its subfolders are its classes."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from sepviz.core import SepvizError
from sepviz.data.base import Dataset, expanded
from sepviz.data.picture import DEEP, read_picture

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
HALVES = {"train": "train", "training": "train", "test": "test", "testing": "test"}
JUNK = {"__macosx", "@eadir", "thumbs.db", "desktop.ini"}  # of systems, beside hidden files


def load_folder(path: str | Path, split: str = "train", *, size: int | None = None) -> Dataset:
    """Load a folder of images, sorted by name.

    Hidden files and what systems leave behind are ignored. Other files that are no images, and
    pages or frames after a file's first, are counted on stderr.

    Parameters
    ----------
    path : str or Path
        If it has ``train/`` and ``test/``, or ``Training/`` and ``Testing/``, these are the splits;
        otherwise the first image of every ten of a class is a test image. Subfolders with images
        are classes, numbered in the order of their names; without them all labels are 0.
    split : str
        "train" or "test".
    size : int, optional
        Resize each image's shorter side to this and crop the centre square. By default all must
        be of one size.

    Returns
    -------
    Dataset
        Images (N, C, H, W) uint8, C = 1 if all are gray, else 3, and labels (N,) int64.

    Raises
    ------
    SepvizError
        If an image is damaged, transparent in part or deeper than 8 bits, if a link leads nowhere,
        or if the folders say in two ways what is a class or a split.
    """
    root = expanded(path)
    if not os.path.isdir(root):
        raise SepvizError(f"{path}: no such folder; check the path")
    if size is not None and size < 1:
        raise SepvizError(f"size {size}: must be at least 1")
    files, left_out = _split(root, split)
    kinds = {"beside train/ and test/": [file for file in left_out if _is_image(file)],
             "of no image format": [file for file in left_out if not _is_image(file)]}
    parts = [f"{_named(root, those)} {why}" for why, those in kinds.items() if those]
    if parts:
        _tell(f"{root}: left out {' and '.join(parts)}")
    if not files:
        raise SepvizError(f"{path}: no {split} images ({' '.join(sorted(SUFFIXES))}); "
                          "add some, or check the path")
    opened = [_open(file, size) for file, _ in files]
    paged = [file for (file, _), (_, more) in zip(files, opened, strict=True) if more]
    if paged:
        pages = sum(more for _, more in opened)
        _tell(f"{root}: left out {pages} later pages or frames of {_named(root, paged)}")
    pictures = [picture for picture, _ in opened]
    first = pictures[0]
    for (file, _), picture in zip(files, pictures, strict=True):
        if picture.shape[:2] != first.shape[:2]:
            raise SepvizError(f"{file}: {_shape(picture)} where {files[0][0].name} is "
                              f"{_shape(first)}; give size= to resize all")
    channels = max(picture.shape[2] for picture in pictures)
    images = np.stack([np.broadcast_to(picture, (*first.shape[:2], channels))
                       for picture in pictures]).transpose(0, 3, 1, 2)
    return Dataset(root.resolve().name, torch.from_numpy(np.ascontiguousarray(images)),
                   torch.tensor([label for _, label in files]))


def _split(root: Path, split: str) -> tuple[list[tuple[Path, int]], list[Path]]:
    """The images of a split with their labels, and the files that belong nowhere."""
    halves: dict[str, Path] = {}
    for folder in filter(Path.is_dir, _entries(root)):
        half = HALVES.get(folder.name.lower(), "")
        if half in halves:
            raise SepvizError(f"{root}: {halves[half].name}/ and {folder.name}/ are both its "
                              f"{half} split; join them")
        if half:
            halves[half] = folder
    if len(halves) == 1:
        raise SepvizError(f"{root}: has {next(iter(halves.values())).name}/ only; "
                          "add the other of train/ and test/, or rename it")
    found, left_out = _sorted(root, halves)
    names = sorted({name for classes in found.values() for name in classes})
    if "" in names and len(names) > 1:
        raise SepvizError(f"{root}: one of its train/ and test/ has class folders, the other has "
                          "none; give both the same")
    chosen = []
    for label, name in enumerate(names):
        files = found[split if halves else ""].get(name, [])
        if not halves and len(files) > 1:
            files = [file for n, file in enumerate(files) if (n % 10 == 0) == (split == "test")]
        elif not halves and split == "test":
            files = []
        chosen += [(file, label) for file in files]
    return chosen, left_out


def _sorted(root: Path, halves: dict[str, Path]
            ) -> tuple[dict[str, dict[str, list[Path]]], list[Path]]:
    """The images of each class of each half, and the files that are left out.

    The class is "" where there are no class folders, the half is "" where there are no halves.
    """
    found: dict[str, dict[str, list[Path]]] = {half: {} for half in halves or ("",)}
    left_out = []
    for file in _files(root):
        half, folders = "", file.relative_to(root).parts[:-1]
        if halves:
            half, folders = HALVES.get("".join(folders[:1]).lower(), "beside"), folders[1:]
        if half == "beside" and file.parent == root and _is_image(file):
            raise SepvizError(f"{file}: lies beside train/ and test/; move it into one of them")
        if half == "beside" or not _is_image(file):
            left_out.append(file)
        elif len(folders) > 1:
            raise SepvizError(f"{file}: lies deeper than a class folder; move it into "
                              f"{file.parents[len(folders) - 1]}, or give {file.parent.parent} "
                              "as the set")
        else:
            found[half].setdefault("".join(folders), []).append(file)
    for half, classes in found.items():
        if "" in classes and len(classes) > 1:
            raise SepvizError(f"{halves.get(half, root)}: {classes[''][0].name} lies beside class "
                              "folders; move it into one")
    return found, sorted(left_out, key=lambda file: len(file.parts))


def _files(folder: Path, depth: int = 0) -> Iterator[Path]:
    """All files in a folder and in those below it; deep links are not followed."""
    for path in _entries(folder):
        if not path.is_dir():
            yield path
        elif depth < 2 or not path.is_symlink():
            yield from _files(path, depth + 1)


def _entries(folder: Path) -> list[Path]:
    """What is in a folder, by name, without what systems leave behind."""
    try:
        every = sorted(path for path in folder.iterdir()
                       if not path.name.startswith(".") and path.name.lower() not in JUNK)
    except OSError as error:
        raise SepvizError(f"{folder}: cannot be read ({error.strerror}); "
                          "check the path and its permissions") from None
    for path in every:
        if not os.path.exists(path):
            raise SepvizError(f"{path}: a link that leads nowhere; mend or remove it")
    return every


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and path.is_file()


@functools.cache  # the train and the test split of a set say it once
def _tell(line: str) -> None:
    print(f"sepviz: {line}", file=sys.stderr)


def _named(root: Path, files: Sequence[Path]) -> str:
    more = "s" if len(files) > 1 else ""
    return f"{len(files)} file{more} ({files[0].relative_to(root)}{', ...' if more else ''})"


def _open(file: Path, size: int | None) -> tuple[np.ndarray, int]:
    """One image (H, W, 1 or 3), and how many pages or frames follow it."""
    from PIL import Image, ImageOps

    picture, more = read_picture(file)
    if picture.mode.startswith(DEEP):
        raise SepvizError(f"{file}: more than 8 bits a channel (mode {picture.mode}); "
                          "save it with 8")
    if size is not None:
        picture = ImageOps.fit(picture, (size, size), Image.Resampling.LANCZOS)
    return np.atleast_3d(np.array(picture)), more


def _shape(picture: np.ndarray) -> str:
    return f"{picture.shape[1]} x {picture.shape[0]}"
