"""One page with a player in it: it needs no kernel and no network."""

from __future__ import annotations

import base64
import html
import json
import re
from pathlib import Path
from typing import Any

from sepviz import files
from sepviz.core import Truth
from sepviz.runs.trace import Trace
from sepviz.views import assets
from sepviz.views.packing import pack_for_page

LARGEST = 5_000_000  # bytes of a page


def save_page(trace: Trace, path: str | Path, truth: Truth | None = None, *,
              title: str | None = None, overwrite: bool = False) -> Path:
    """Write one self-contained page that plays and scrubs the run, with no kernel and no network.

    It is below 5 MB: of a long run it holds fewer steps, or fewer mixtures, and says so.

    Raises
    ------
    SepvizError
        If the images are too large for that, or the file is there and ``overwrite`` is not set.
    """
    _, static, frames, left_out = pack_for_page(trace, truth, LARGEST)
    state = {"static": static, "frames": frames, "cursor": 0, "item": 0}
    script, style = assets.code_of("sepviz.widgets.player.Player")
    page = page_of(script, state, title or f"{trace.method}, step by step", left_out, style)
    return files.write(path, lambda file: file.write(page.encode()), overwrite)


def page_of(script: str, state: dict[str, Any], title: str, note: str = "", style: str = "") -> str:
    """A page of one widget: its code and style over a model with this state, without a kernel."""
    parts = {"TITLE": html.escape(title), "NOTE": html.escape(note), "STYLE": style,
             "STATE": state_text(state), "SCRIPT": script,
             "MODEL": assets.bundle("saved_model.js")}
    return filled("page.html", parts)


def state_text(state: dict[str, Any]) -> str:
    """A widget's state as JSON that can stand in a page; bytes as base64."""
    def encode(value: bytes) -> dict[str, str]:
        return {"base64": base64.b64encode(value).decode("ascii")}

    return json.dumps(state, default=encode).replace("<", "\\u003c")


def filled(template: str, parts: dict[str, str]) -> str:
    """One of the page templates with its parts in place."""
    return re.sub("%%([A-Z]+)%%", lambda found: parts[found[1]], assets.read(template))
