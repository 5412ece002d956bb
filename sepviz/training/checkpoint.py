"""The file that a training keeps itself in, for the same training alone."""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sepviz import files
from sepviz.core import SepvizError

FORMAT = 3  # of checkpoints; another one is refused
PARTS = {"format", "settings", "iteration", "elapsed", "rng", "parts"}


class CheckpointError(SepvizError):
    """A checkpoint that this training cannot go on from."""


def is_finite(state: Any) -> bool:
    """Whether every number of every tensor in it is."""
    if isinstance(state, Tensor):
        return not state.is_floating_point() or bool(torch.isfinite(state).all())
    if isinstance(state, Mapping):
        state = list(state.values())
    return not isinstance(state, list | tuple) or all(map(is_finite, state))


def read(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """A checkpoint, whole.

    Raises
    ------
    CheckpointError
        If it is damaged, no checkpoint, of another format, or holds numbers that are not finite.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # torch does not look at the sums of a zip file
            bitten = archive.testzip()
        state = None if bitten else torch.load(path, weights_only=True, map_location=device)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from None
    except Exception:  # torch raises whatever the damage makes of the file
        state = None
    if isinstance(state, dict) and "settings" in state and state.get("format") != FORMAT:
        raise CheckpointError(f"{path} is a checkpoint of format {state.get('format', 1)}, "
                              f"this sepviz goes on from {FORMAT}: finish it with the sepviz "
                              "that wrote it, or remove it")
    whole = (isinstance(state, dict) and set(state) >= PARTS and isinstance(state["settings"], dict)
             and isinstance(state["parts"], dict) and isinstance(state["rng"], Tensor)
             and isinstance(state["iteration"], int) and isinstance(state["elapsed"], float)
             and state["iteration"] >= 0 and 0 <= state["elapsed"] < math.inf and is_finite(state))
    if state is None or not whole:
        raise damaged(path, "or no checkpoint")
    return state


def damaged(path: Path, more: str = "") -> CheckpointError:
    """The error of a file that holds no state to go on from."""
    return CheckpointError(f"{path} is damaged{' ' + more if more else ''}: remove it, "
                           "or choose another name")


def take_up(path: Path, settings: dict[str, Any], device: torch.device) -> dict[str, Any] | None:
    """The state that `keep` wrote, None where there is none.

    Raises
    ------
    CheckpointError
        If it is of a run with other settings; it says which.
    """
    if not path.exists():
        return None
    state = read(path, device)
    then, now = state["settings"], json.loads(json.dumps(settings))
    unlike = [name for name in now | then if then.get(name) != now.get(name)]
    if unlike:
        changes = ", ".join(f"{name} {then.get(name)} (here {now.get(name)})" for name in unlike)
        raise CheckpointError(f"{path} is of a run with {changes}: make that run again, "
                              "remove the file, or choose another name")
    return state


def keep(path: Path, settings: dict[str, Any], state: dict[str, Any]) -> None:
    """Write a run's state (``PARTS`` but the first two) over its earlier one."""
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, "settings": json.loads(json.dumps(settings)), **state}, buffer)
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write(path, lambda file: file.write(buffer.getbuffer()), overwrite=True)


def kept(path: Path) -> str:
    """What there is to go on from, for messages."""
    if not path.exists():
        return "nothing was kept"
    return f"{path} keeps the run up to iteration {read(path)['iteration']}"
