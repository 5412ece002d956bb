"""A folder of images as a set; its subfolders are its classes."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from sepviz.core import SepvizError
from sepviz.data.base import Dataset, expanded
from sepviz.data.picture import DEEP, read_picture

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
HALVES = {"train": "train", "training": "train", "test": "test", "testing": "test"}
JUNK = {
    "__macosx",
    "@eadir",
    "thumbs.db",
    "desktop.ini",
}  # what systems leave behind, beside hidden files


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
        Resize each image's shorter side to this and crop the centre square. By default all must be of one size.

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
    files, left_out = _sorted_out(root, split)
    if left_out:
        kinds = {
            "beside train/ and test/": [file for file in left_out if _is_image(file)],
            "of no image format": [file for file in left_out if not _is_image(file)],
        }
        _tell(
            f"{root}: left out "
            + " and ".join(f"{_named(root, those)} {why}" for why, those in kinds.items() if those)
        )
    if not files:
        raise SepvizError(
            f"{path}: no {split} images ({' '.join(sorted(SUFFIXES))}); add some, or check the path"
        )
    pictures, paged, pages = [], [], 0
    for file, _ in files:
        picture, more = _open(file, size)
        pictures.append(picture)
        paged += [file] if more else []
        pages += more
    if paged:
        _tell(f"{root}: left out {pages} later pages or frames of {_named(root, paged)}")
    first = pictures[0]
    for (file, _), picture in zip(files, pictures, strict=True):
        if picture.shape[:2] != first.shape[:2]:
            raise SepvizError(
                f"{file}: {_shape(picture)} where {files[0][0].name} is {_shape(first)}; "
                "give size= to resize all"
            )
    if any(picture.ndim == 3 for picture in pictures):
        pictures = [
            picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=2)
            for picture in pictures
        ]
    images = torch.from_numpy(np.stack(pictures))
    images = images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2).contiguous()
    return Dataset(root.resolve().name, images, torch.tensor([label for _, label in files]))


def _sorted_out(root: Path, split: str) -> tuple[list[tuple[Path, int]], list[Path]]:
    """The images of a split with their labels, and the files that belong nowhere."""
    folders, images, others = _entries(root)
    left_out: list[Path] = []
    halves: dict[str, Path] = {}
    for folder in folders:
        half = HALVES.get(folder.name.lower())
        if half and half in halves:
            raise SepvizError(
                f"{root}: {halves[half].name}/ and {folder.name}/ are both its {half} split; "
                "join them"
            )
        if half:
            halves[half] = folder
    if not halves:
        classes = _classes(root, left_out)
        chosen = [
            (file, label)
            for label, name in enumerate(sorted(classes))
            for i, file in enumerate(classes[name])
            if (i % 10 == 0 and len(classes[name]) > 1) == (split == "test")
        ]
        return chosen, left_out
    if len(halves) == 1:
        raise SepvizError(
            f"{root}: has {next(iter(halves.values())).name}/ only; "
            "add the other of train/ and test/, or rename it"
        )
    if images:
        raise SepvizError(f"{images[0]}: lies beside train/ and test/; move it into one of them")
    left_out += others + [
        file for folder in folders if folder not in halves.values() for file in _below(folder)
    ]
    found = {half: _classes(folder, left_out) for half, folder in halves.items()}
    names = sorted(set(found["train"]) | set(found["test"]))
    if names[:1] == [""] and len(names) > 1:
        raise SepvizError(
            f"{root}: one of its train/ and test/ has class folders, the other has none; "
            "give both the same"
        )
    return [
        (file, names.index(name)) for name in sorted(found[split]) for file in found[split][name]
    ], left_out


def _classes(root: Path, left_out: list[Path]) -> dict[str, list[Path]]:
    """The images of each class folder, or all under the name "" where there is none.

    Adds to the files that are left out.
    """
    folders, loose, others = _entries(root)
    left_out += others
    classes: dict[str, list[Path]] = {}
    for folder in folders:
        deeper, images, others = _entries(folder)
        left_out += others
        for file in (file for below in deeper for file in _below(below)):
            if _is_image(file):
                raise SepvizError(
                    f"{file}: lies deeper than a class folder; move it into {folder}, "
                    f"or give {file.parent.parent} as the set"
                )
            left_out.append(file)
        if images:
            classes[folder.name] = images
    if loose and classes:
        raise SepvizError(f"{root}: {loose[0].name} lies beside class folders; move it into one")
    return {"": loose} if loose else classes


def _entries(root: Path) -> tuple[list[Path], list[Path], list[Path]]:
    """The folders, the images and the other files in a folder, by name."""
    try:
        every = sorted(path for path in root.iterdir() if not _is_junk(path.name))
    except OSError as error:
        raise SepvizError(
            f"{root}: cannot be read ({error.strerror}); check the path and its permissions"
        ) from None
    for path in every:
        if not os.path.exists(path):
            raise SepvizError(f"{path}: a link that leads nowhere; mend or remove it")
    files = [path for path in every if not path.is_dir()]
    return (
        [path for path in every if path.is_dir()],
        [path for path in files if _is_image(path)],
        [path for path in files if not _is_image(path)],
    )


def _below(folder: Path) -> list[Path]:
    """All files in a folder and in those below it."""
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not _is_junk(name))
        found += [Path(place) / name for name in sorted(files) if not _is_junk(name)]
    return found


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and path.is_file()


def _is_junk(name: str) -> bool:
    return name.startswith(".") or name.lower() in JUNK


@functools.cache  # the train and the test split of a set are told of once
def _tell(line: str) -> None:
    print(f"sepviz: {line}", file=sys.stderr)


def _named(root: Path, files: Sequence[Path]) -> str:
    more = "s" if len(files) > 1 else ""
    return f"{len(files)} file{more} ({files[0].relative_to(root)}{', ...' if more else ''})"


def _open(file: Path, size: int | None) -> tuple[np.ndarray, int]:
    """One image, (H, W) if gray, else (H, W, 3), and how many pages or frames follow it."""
    from PIL import Image, ImageOps

    picture, more = read_picture(file)
    if picture.mode.startswith(DEEP):
        raise SepvizError(
            f"{file}: more than 8 bits a channel (mode {picture.mode}); save it with 8"
        )
    return np.array(
        picture if size is None else ImageOps.fit(picture, (size, size), Image.Resampling.LANCZOS)
    ), more


def _shape(picture: np.ndarray) -> str:
    return f"{picture.shape[1]} x {picture.shape[0]}"
