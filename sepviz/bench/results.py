"""Stored results: one JSON object a row, one file a table, beside the papers' figures.

A row says what was run (recipe, chunk, seed), what came out, and where: versions, commit, machine,
date and command. Rows with ``carried`` were taken over from the text of version 0.1.
"""

from __future__ import annotations

import datetime
import json
import math
import platform
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

import sepviz
from sepviz import files
from sepviz.core import SepvizError

FOLDER = Path(__file__).parent / "results"
ROOT = FOLDER.parents[2]
DIGITS = 5  # significant, of stored numbers


def load(table: str) -> list[dict[str, Any]]:
    """The stored rows of a table; none if it was never stored."""
    path = FOLDER / f"{table}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []


def papers(table: str, setting: str) -> dict[str, dict[str, Any]]:
    """The paper's figures of a table: label -> ``mean`` in dB and, if published, ``ssim``."""
    rows = json.loads((FOLDER / "papers.json").read_text(encoding="utf-8"))
    return {row["label"]: row for row in rows
            if (row["table"], row["setting"]) == (table, setting)}


def store(table: str, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Add rows to a table's file; a row of the same label and recipe is replaced."""
    def key(row: Mapping[str, Any]) -> tuple:
        return row["setting"], row["label"], row["recipe"]

    check_folder()
    kept = {key(row): row for row in load(table)} | {key(row): row for row in rows}
    data = ("[\n" + ",\n".join(map(files.to_json, kept.values())) + "\n]\n").encode()
    return files.write(FOLDER / f"{table}.json", lambda file: file.write(data), overwrite=True)


def check_folder() -> None:
    """Refuse to store where no folder of results is, before hours of work."""
    if not FOLDER.is_dir():
        raise SepvizError(f"there is no folder {FOLDER}: results are stored in a checkout only")


def facts() -> dict[str, Any]:
    """Where and when: versions, commit, machine and date."""
    return {"sepviz": sepviz.__version__, "torch": torch.__version__, "commit": commit(),
            "machine": machine(), "date": datetime.date.today().isoformat()}


def machine() -> str:
    """The processor, the GPU if there is one, and the number of threads."""
    name = platform.machine()
    told = Path("/proc/cpuinfo")
    if told.is_file():
        lines = (line.partition(":") for line in told.read_text().splitlines())
        name = next((text.strip() for key, _, text in lines if key.strip() == "model name"), name)
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    threads = torch.get_num_threads()
    return f"{name}{gpu}, {threads} thread{'s' * (threads > 1)}"


def commit() -> str | None:
    """The checkout's commit, ``+`` if a Python file differs from it; None without a checkout."""
    if not (ROOT / ".git").exists():
        return None
    try:
        head = subprocess.run(["git", "rev-parse", "--short=10", "HEAD"], cwd=ROOT, check=True,
                              capture_output=True, text=True).stdout.strip()
        changed = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", "*.py"], cwd=ROOT)
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + "+" * bool(changed.returncode)


def rounded(value: Any) -> Any:
    """Numbers to `DIGITS` significant digits, for files that people read."""
    if not isinstance(value, float) or not math.isfinite(value):
        return value
    return float(f"{value:.{DIGITS}g}")
