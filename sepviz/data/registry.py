"""The sets with a home on the net: where their files may lie, how they are checked, where they come from."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from sepviz.core import SepvizError
from sepviz.data.base import Dataset, expanded
from sepviz.data.idx import content, parse_idx

FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


@dataclass(frozen=True)
class Home:
    """Where a set comes from, and how its files are told from others."""

    mirrors: tuple[str, ...]
    sha256: Mapping[str, str] = field(default_factory=dict)  # of the uncompressed files: mirrors gzip differently
    md5: Mapping[str, str] = field(default_factory=dict)  # of the gzipped files, as their makers publish it


HOMES = {
    "mnist": Home(
        mirrors=("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
        sha256={
            "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        },
    ),
    "fashion-mnist": Home(
        mirrors=("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
        md5={
            "train-images-idx3-ubyte": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train-labels-idx1-ubyte": "25c81989df183df01b3e8a0aad5dffbe",
            "t10k-images-idx3-ubyte": "bef4ecab320f06d8554ea6380940ec79",
            "t10k-labels-idx1-ubyte": "bb300cfdad3c16e7a12a480ee83cd310",
        },
    ),
}


def load_idx(name: str, split: str) -> Dataset:
    """Load a set of `HOMES` from $SEPVIZ_DATA, the user's cache or the net, in this order.

    Returns
    -------
    Dataset
        Images (N, 1, H, W) uint8 and labels (N,) int64.
    """
    folder = find(name, split)
    ours = folder is not None and folder != cache_folder(name)  # the user's own files may be a variant
    if folder is None:
        folder = cache_folder(name)
        download(name, [file for file in FILES[split] if locate(folder, file) is None])
    paths = [located(folder, file) for file in FILES[split]]
    data = [content(path) for path in paths]
    if not ours:
        for path, file, data_of_file in zip(paths, FILES[split], data, strict=True):
            check_sha256(name, file, data_of_file, str(path))
    images = parse_idx(data[0], str(paths[0]), dims=3)
    labels = parse_idx(data[1], str(paths[1]), dims=1).to(torch.int64)
    if len(images) != len(labels):
        raise SepvizError(f"{paths[0]}: {len(images)} images but {len(labels)} labels in {paths[1].name}; fetch both again")
    if labels.max() > 9:
        raise SepvizError(f"{paths[1]}: label {int(labels.max())}, {name} has 0 to 9; fetch it again")
    return Dataset(name, images[:, None], labels)


def find(name: str, split: str) -> Path | None:
    """The folder that holds the files of a split; None if they are to be downloaded."""
    root = os.environ.get("SEPVIZ_DATA")
    if root:
        if not os.path.isdir(os.path.expanduser(root)):
            raise SepvizError(f"SEPVIZ_DATA={root}: no such folder; correct it or unset it")
        folder = expanded(root) / name
        missing = [file for file in FILES[split] if locate(folder, file) is None]
        if not missing:
            return folder
        if len(missing) < len(FILES[split]):  # images from here with labels from elsewhere might not belong together
            raise SepvizError(f"{folder}: {missing[0]}[.gz] is missing beside its other half; put it there")
    folder = cache_folder(name)
    return folder if all(locate(folder, file) for file in FILES[split]) else None


def locate(folder: Path, file: str) -> Path | None:
    """``file`` or ``file.gz`` in ``folder``."""
    places = (folder / file, folder / f"{file}.gz")
    return next((path for path in places if os.path.isfile(path)), None)


def located(folder: Path, file: str) -> Path:
    path = locate(folder, file)
    if path is None:
        raise SepvizError(f"{folder / file}.gz: vanished while it was read; try again")
    return path


def cache_folder(name: str) -> Path:
    """The user's cache of a set."""
    import pooch

    return Path(pooch.os_cache("sepviz")) / name


def check_sha256(name: str, file: str, data: bytes, where: str) -> None:
    """Compare uncompressed bytes with the pinned sum, where there is one."""
    want = HOMES[name].sha256.get(file)
    got = hashlib.sha256(data).hexdigest()
    if want is not None and got != want:
        raise SepvizError(f"{where}: sha256 {got[:12]}... is not {name}'s {want[:12]}...; delete it to download it again")


def download(name: str, files: list[str]) -> None:
    """Fetch files into the user's cache; each appears there whole and checked, or not at all."""
    import pooch
    import requests

    folder = cache_folder(name)
    home = HOMES[name]
    for number, file in enumerate(files):
        problems: list[Exception] = []
        for mirror in home.mirrors:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryDirectory(dir=folder) as beside:  # same disk: the move is atomic
                    known = f"md5:{home.md5[file]}" if file in home.md5 else None
                    pooch.get_logger().setLevel("WARNING")  # it would log sums that we check ourselves
                    got = pooch.retrieve(f"{mirror}{file}.gz", known_hash=known, fname=f"{file}.gz", path=beside, progressbar=True)
                    check_sha256(name, file, content(got), f"{mirror}{file}.gz")
                    os.replace(got, folder / f"{file}.gz")
                break
            except (OSError, ValueError) as problem:  # requests' errors are OSErrors, pooch's and ours ValueErrors
                problems.append(problem)
        else:
            offline = all(isinstance(problem, requests.ConnectionError | requests.Timeout) for problem in problems)
            why = "no network" if offline else f"the download failed ({_line(problems[-1])})"
            names = ", ".join(f"{missing}.gz" for missing in files[number:])
            places = f"$SEPVIZ_DATA/{name}/ or {_short(folder)}/"
            raise SepvizError(f"{name}: {why} and {names} not found; put {'it' if number == len(files) - 1 else 'them'} in {places}")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__


def _short(path: Path) -> str:
    home = os.path.expanduser("~")  # Path.home() raises where there is none
    return f"~/{path.relative_to(home).as_posix()}" if path.is_relative_to(home) else str(path)
