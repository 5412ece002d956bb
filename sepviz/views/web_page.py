"""A page of text and widgets as one file of HTML: what may run in it, and how large it is."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from sepviz.core import SepvizError
from sepviz.views import assets
from sepviz.views.packing import evenly
from sepviz.views.page import filled, state_text

EXPORT = re.compile(r"^export default\s+", re.MULTILINE)  # a widget's module has one
FETCHES = re.compile(r"^\s*import\s*[\w{*\"']|\bimport\(|^export (?!default)", re.MULTILINE)
OF_JUPYTER = ("layout", "tabbable", "tooltip")  # in a widget's state, and of no use in a page


class Page(NamedTuple):
    """One page, before it is written."""

    name: str  # of its file, without .html
    title: str
    sentence: str
    kind: str  # the heading above it in the gallery
    picture: bytes  # JPEG, or nothing
    body: str
    widgets: dict[str, dict[str, Any]]  # by id: the saved state, with _esm and _css


def name_of(path: Path) -> str:
    """The name of a page, after its source."""
    return path.name.removesuffix(path.suffix).removesuffix(".trace")


def place_of(widget: str) -> str:
    """Where in a body a widget is shown."""
    return (f'<div class="export-widget" data-model="{widget}">'
            "<noscript>The player needs JavaScript.</noscript></div>")


def note(text: str) -> str:
    """A word about the page, in a body."""
    return f'<p class="export-note">{text}</p>'


def thumbnail(picture: Image.Image, width: int = 640) -> bytes:
    """A picture for the gallery, as a JPEG file's bytes."""
    picture = picture.convert("RGB")
    picture.thumbnail((width, width))
    file = io.BytesIO()
    picture.save(file, format="JPEG", quality=80, optimize=True)
    return file.getvalue()


def html_of(title: str, body: str, widgets: dict[str, dict[str, Any]], navigation: str) -> str:
    """The whole page; code and styles that several widgets share are in it once.

    No other script than these runs in it, whatever is in the body: its policy names their digests.
    """
    modules = list(dict.fromkeys(state["_esm"] for state in widgets.values()))
    shared = dict.fromkeys(state.get("_css", "") for state in widgets.values())
    styles = [assets.read("gallery.css"), *shared, *(_highlights() if "highlight" in body else ())]
    codes = []
    if widgets:
        codes = ["globalThis.sepvizModules = [];",
                 *(EXPORT.sub(f"globalThis.sepvizModules[{i}] = ", code)
                   for i, code in enumerate(modules)), assets.bundle("gallery.js")]
    codes = [f"\n{_inside('script', code)}\n" for code in codes]
    scripts = [f'<script type="module">{code}</script>' for code in codes]
    for name, state in widgets.items():
        kept = {key: value for key, value in state.items()
                if not key.startswith("_") and key not in OF_JUPYTER}
        place = f'data-state="{name}" data-module="{modules.index(state["_esm"])}"'
        scripts.append(f'<script type="application/json" {place}>{state_text(kept)}</script>')
    parts = {"TITLE": html.escape(title), "STYLE": _inside("style", "\n".join(styles)),
             "NAVIGATION": navigation, "BODY": body, "SCRIPTS": "\n".join(scripts),
             "RUNS": " ".join(map(_digest, codes)) or "'none'"}
    return filled("gallery.html", parts)


def _inside(tag: str, code: str) -> str:
    """Code for an element of the page: as a browser reads it, and no end of the element in it."""
    code = code.replace("\r\n", "\n").replace("\r", "\n")
    return re.sub(f"</(?={tag})", r"<\\/", code, flags=re.IGNORECASE)


def _digest(code: str) -> str:
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def _highlights() -> tuple[str, str, str]:
    """The colours of code, in the light and in the dark."""
    from pygments.formatters import HtmlFormatter

    light, dark = (HtmlFormatter(style=style).get_style_defs(".highlight")
                   for style in ("vs", "github-dark"))
    return (light, f"@media screen and (prefers-color-scheme: dark) {{\n{dark}\n}}",
            ".input_area .highlight { background: var(--fill); }")


def runs_in_a_page(code: str) -> bool:
    """Whether a widget's code is whole: one default export and nothing to fetch."""
    return len(EXPORT.findall(code)) == 1 and not FETCHES.search(code)


def fitted(page: Page, largest: int) -> str:
    """The page's HTML in less than so many bytes, if need be with fewer frames in its players.

    Raises
    ------
    SepvizError
        If what is no frame is too large.
    """
    navigation = '<nav><a href="index.html">All labs and recorded runs</a></nav>'
    text = html_of(page.title, page.body, page.widgets, navigation)
    packs = list(_packs(list(page.widgets.values())))
    total = sum(len(pack["bytes"]) for pack in packs) * 4 // 3  # in the page, as base64
    rest = len(text.encode()) - total
    if rest < largest <= rest + total:
        counts = [len(pack["records"]) for pack in packs]
        for pack in packs:
            thin_pack(pack, 0.97 * (largest - rest) / total)
        kept = ", ".join(f"{len(pack['records'])} of {count}"
                         for pack, count in zip(packs, counts, strict=True))
        says = note(f"To keep this page small, the players show {kept} recorded steps.")
        text = html_of(page.title, f"{says}\n{page.body}", page.widgets, navigation)
    size = len(text.encode())
    if size >= largest:
        raise SepvizError(f"the page of {page.name} would have {size / 1e6:.1f} MB, at most "
                          f"{largest / 1e6:.0f} MB are allowed: show fewer or smaller figures")
    return text


def _packs(value: Any) -> Iterator[dict[str, Any]]:
    """What `sepviz.views.packing.pack_frames` made, wherever it is in a widget's state."""
    if (isinstance(value, dict) and isinstance(value.get("records"), list)
            and isinstance(value.get("bytes"), bytes)):
        if value["records"]:
            yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _packs(part)


def thin_pack(pack: dict[str, Any], part: float) -> None:
    """Keep this part of the frames, evenly spread, first and last among them."""
    count = len(pack["records"])
    size = len(pack["bytes"]) // count
    kept = evenly(count, max(2, int(count * part)))
    pack["bytes"] = b"".join(pack["bytes"][i * size : (i + 1) * size] for i in kept)
    pack["records"] = [pack["records"][i] for i in kept]
