"""Sets with a home on the net: their files are found on this machine, or fetched and checked."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sepviz.core import SepvizError
from sepviz.data.base import expanded
from sepviz.data.idx import content


@dataclass(frozen=True)
class Home:
    """Where the files of a set come from, and how they are checked."""

    name: str
    mirrors: tuple[str, ...]
    # Of each file, without .gz: "sha256:..." of its bytes uncompressed, as mirrors compress them
    # differently, or "md5:..." of FILE.gz, where its makers publish only that.
    sums: Mapping[str, str]

    @property
    def cache(self) -> Path:
        """The user's cache of the set."""
        import pooch

        return Path(pooch.os_cache("sepviz")) / self.name

    def contents(self, files: Sequence[str]) -> dict[Path, bytes]:
        """The bytes of files from $SEPVIZ_DATA, the user's cache or the net, in this order."""
        folder = self.find(files)
        ours = folder is not None and folder != self.cache  # the user's own may be a variant
        if folder is None:
            folder = self.cache
            self.download([file for file in files if locate(folder, file) is None])
        found = {located(folder, file): file for file in files}
        data = {path: content(path) for path in found}
        if not ours:
            for path, file in found.items():
                self.check(file, data[path], str(path))
        return data

    def find(self, files: Sequence[str]) -> Path | None:
        """The folder that holds all these files; None if they are to be downloaded."""
        root = os.environ.get("SEPVIZ_DATA")
        if root:
            if not os.path.isdir(os.path.expanduser(root)):
                raise SepvizError(f"SEPVIZ_DATA={root}: no such folder; correct it or unset it")
            folder = expanded(root) / self.name
            missing = [file for file in files if locate(folder, file) is None]
            if not missing:
                return folder
            if len(missing) < len(files):  # files from elsewhere might not belong to them
                raise SepvizError(f"{folder}: {missing[0]}[.gz] is missing beside its other half; "
                                  "put it there")
        return self.cache if all(locate(self.cache, file) for file in files) else None

    def check(self, file: str, data: bytes, where: str) -> None:
        """Compare uncompressed bytes with the known sum, where it is of these."""
        kind, _, want = self.sums.get(file, "").partition(":")
        got = hashlib.sha256(data).hexdigest()
        if kind == "sha256" and got != want:
            raise SepvizError(f"{where}: sha256 {got[:12]}... is not {self.name}'s {want[:12]}...; "
                              "delete it to download it again")

    def download(self, files: Sequence[str]) -> None:
        """Fetch files into the user's cache; each appears there whole and checked, or not."""
        import requests

        for number, file in enumerate(files):
            problems: list[Exception] = []
            for mirror in self.mirrors:
                try:
                    self._fetch(mirror, file)
                    break
                except (OSError, ValueError) as problem:  # of requests, and of pooch and ours
                    problems.append(problem)
            else:
                offline = all(isinstance(problem, requests.ConnectionError | requests.Timeout)
                              for problem in problems)
                line = " ".join(str(problems[-1]).split())[:160] or type(problems[-1]).__name__
                why = "no network" if offline else f"the download failed ({line})"
                missing = [f"{name}.gz" for name in files[number:]]
                raise SepvizError(
                    f"{self.name}: {why} and {', '.join(missing)} not found; put "
                    f"{'it' if len(missing) == 1 else 'them'} in $SEPVIZ_DATA/{self.name}/ or "
                    f"{_short(self.cache)}/")

    def _fetch(self, mirror: str, file: str) -> None:
        import pooch

        self.cache.mkdir(parents=True, exist_ok=True)
        pooch.get_logger().setLevel("WARNING")  # it would log sums that we check ourselves
        known = self.sums.get(file, "")
        with tempfile.TemporaryDirectory(dir=self.cache) as beside:  # same disk: the move is atomic
            got = pooch.retrieve(f"{mirror}{file}.gz", fname=f"{file}.gz", path=beside,
                                 known_hash=known if known.startswith("md5:") else None,
                                 progressbar=True)
            self.check(file, content(got), f"{mirror}{file}.gz")
            os.replace(got, self.cache / f"{file}.gz")


def locate(folder: Path, file: str) -> Path | None:
    """``file`` or ``file.gz`` in ``folder``."""
    places = (folder / file, folder / f"{file}.gz")
    return next((path for path in places if os.path.isfile(path)), None)


def located(folder: Path, file: str) -> Path:
    """The same, refused where there is none."""
    path = locate(folder, file)
    if path is None:
        raise SepvizError(f"{folder / file}.gz: vanished while it was read; try again")
    return path


def _short(path: Path) -> str:
    home = os.path.expanduser("~")  # Path.home() raises where there is none
    return f"~/{path.relative_to(home).as_posix()}" if path.is_relative_to(home) else str(path)
