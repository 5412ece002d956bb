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


def save_page(trace: Trace, path: str | Path, truth: Truth | None = None, *, title: str | None = None,
              overwrite: bool = False) -> Path:
    """Write one self-contained page that plays and scrubs the run, with no kernel and no network.

    It is below 5 MB: of a long run it holds fewer steps, or fewer mixtures, and says so.

    Raises
    ------
    SepvizError
        If the images are too large for that, or the file is there and ``overwrite`` is not set.
    """
    _, static, frames, left_out = pack_for_page(trace, truth, LARGEST)
    state = {"static": static, "frames": frames, "cursor": 0, "item": 0}
    page = page_of(assets.code_of("sepviz.widgets.player.Player")[0], state, title or f"{trace.method}, step by step", left_out)
    return files.write(path, lambda file: file.write(page.encode()), overwrite)


def page_of(script: str, state: dict[str, Any], title: str, note: str = "") -> str:
    """A widget's page: its module, over a model with this state and no kernel."""
    def encode(value: bytes) -> dict[str, str]:
        return {"base64": base64.b64encode(value).decode("ascii")}

    text = json.dumps(state, default=encode).replace("<", "\\u003c")
    parts = {"TITLE": html.escape(title), "NOTE": html.escape(note), "STYLE": assets.COMMON_CSS, "STATE": text,
             "SCRIPT": script, "MODEL": assets.SAVED_MODEL_JS}
    return re.sub("%%([A-Z]+)%%", lambda found: parts[found[1]], assets.read("page.html"))
