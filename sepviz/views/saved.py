"""Saved notebooks of other people: read, checked, and cleaned for a page.

A notebook may hold anything. Here, and only here, its fields are checked before they are used, and
its markup is reduced to what an allow-list names: no script, no style sheet, nothing to fetch.
"""

from __future__ import annotations

import base64
import functools
import html
import io
import json
import math
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sepviz.core import SepvizError

if TYPE_CHECKING:
    from nbformat import NotebookNode

STATE = "application/vnd.jupyter.widget-state+json"
SHOWN = "application/vnd.jupyter.widget-view+json"

# --- the file -----------------------------------------------------------------------------------


def read(path: Path) -> NotebookNode:
    """A notebook of any format version as one of version 4 that keeps its schema.

    Raises
    ------
    SepvizError
        If the file cannot be read or is no notebook.
    """
    import nbformat
    from nbformat.validator import normalize

    try:
        text = path.read_bytes().decode("utf-8-sig")
        # NaN and infinity are no JSON for a browser, and half a surrogate pair is no text.
        data = json.loads(text, parse_constant=lambda _: None, parse_float=_finite)
        text = json.dumps(data, ensure_ascii=False).encode("utf-8", "replace").decode()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about ids that older notebooks do not have
            notebook = nbformat.convert(nbformat.reader.reads(text), 4)
            notebook = normalize(notebook)[1]
            nbformat.validate(notebook)
    except OSError as error:
        raise SepvizError(f"cannot read {path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise SepvizError(f"{path} is damaged or no notebook (byte {error.start} is not UTF-8): "
                          "save it again with Jupyter") from None
    except Exception as error:  # nbformat's own, json's, AttributeError, RecursionError, ...
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:120]
        raise SepvizError(f"{path} is damaged or no notebook ({reason}): "
                          "save it again with Jupyter") from None
    return notebook


def _finite(word: str) -> float | None:
    number = float(word)
    return number if math.isfinite(number) else None


# --- widgets ------------------------------------------------------------------------------------


def models(notebook: NotebookNode) -> dict[str, Any]:
    """The widgets whose state was saved, by id, and take them out of the notebook."""
    found: Any = notebook.metadata.pop("widgets", None)
    for key in (STATE, "state"):
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def widget(found: dict[str, Any], name: str, path: Path) -> tuple[str, dict[str, Any]]:
    """The kind and the state of one widget, its bytes in place.

    Raises
    ------
    SepvizError
        If it was not saved whole.
    """
    try:
        kind, state = found[name]["model_name"], json.loads(json.dumps(found[name]["state"]))
        if not isinstance(kind, str) or not isinstance(state, dict):
            raise TypeError("no model_name and state")
        for buffer in found[name].get("buffers") or []:
            data = (base64.b64decode(buffer["data"], validate=True)
                    if buffer["encoding"] == "base64" else bytes.fromhex(buffer["data"]))
            *way, last = buffer["path"]
            place = state
            for key in way:
                place = place[key]
            place[last] = data
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RecursionError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0][:80]
        raise SepvizError(f"{path}: the saved state of widget {name!r:.60} is damaged ({reason}): "
                          "give --run to make it again") from None
    return kind, state


@functools.cache
# --- pictures -----------------------------------------------------------------------------------


def picture(data: str | bytes) -> Any:
    """The image that bytes, or their base64 text, hold; None if they hold none."""
    from PIL import Image

    try:
        data = base64.b64decode(data) if isinstance(data, str) else data
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            found = Image.open(io.BytesIO(data))
            found.load()
        return found
    except Exception:  # Pillow has a kind of its own for every file format
        return None


DATA = re.compile(r"data:image/([a-z+]+);base64,(.*)", re.DOTALL)


def _shows(source: str) -> bool:
    """Whether an image's address holds a picture that every browser draws."""
    found = DATA.fullmatch(source.strip())
    if not found:
        return False
    if found[1] == "svg+xml":  # drawn as an image: it runs nothing and fetches nothing
        return _is_svg(found[2])
    return found[1] in ("png", "jpeg", "gif", "webp") and picture(found[2]) is not None


def _is_svg(data: str) -> bool:
    from xml.etree import ElementTree

    try:
        root = ElementTree.fromstring(base64.b64decode(data + "=="))
        return root.tag == "{http://www.w3.org/2000/svg}svg"
    except (ElementTree.ParseError, ValueError, LookupError):  # nor base64, nor known letters
        return False


# --- markup -------------------------------------------------------------------------------------

MATH_TAGS = {"math", "menclose", "mfrac", "mi", "mmultiscripts", "mn", "mo", "mover", "mpadded",
             "mphantom", "mprescripts", "mroot", "mrow", "mspace", "msqrt", "mstyle", "msub",
             "msubsup", "msup", "mtable", "mtd", "mtext", "mtr", "munder", "munderover"}
MATH_ATTRIBUTES = {"accent", "accentunder", "columnalign", "columnlines", "columnspacing", "depth",
                   "display", "displaystyle", "fence", "form", "frame", "height", "largeop",
                   "linebreak", "linethickness", "lspace", "mathbackground", "mathcolor",
                   "mathsize", "mathvariant", "maxsize", "minsize", "movablelimits", "notation",
                   "rowlines", "rowspacing", "rspace", "scriptlevel", "separator", "stretchy",
                   "symmetric", "voffset", "width"}
STYLES = {"background-color", "border", "border-collapse", "color", "font-family", "font-size",
          "font-style", "font-weight", "text-align", "text-decoration", "vertical-align"}
DROPPED = {"iframe", "noscript", "object", "script", "style", "svg", "template", "title"}
IMAGE = re.compile(r'<img((?:[^>"]|"[^"]*")*)>')
ODD = re.compile("[\x00-\x20]")  # browsers skip these in the scheme of an address
SVG = re.compile(r"<(/?)svg\b[^>]*?(/?)>", re.IGNORECASE)


def clean(markup: str, missing: list[str]) -> str:
    """Markup without anything that runs, fetches or covers the page.

    Pictures that are not in it, or are none, become a word about them; their addresses are added
    to ``missing``.
    """
    import nh3

    def checked(tag: str, attribute: str, value: str) -> str | None:
        if (tag, attribute) == ("img", "src"):
            if _shows(value):
                return value
            missing.append(value[:80])
            return None
        return None if attribute == "href" and ODD.sub("", value)[:5].lower() == "data:" else value

    attributes = {tag: set(names) for tag, names in nh3.ALLOWED_ATTRIBUTES.items()}
    attributes |= {tag: MATH_ATTRIBUTES for tag in MATH_TAGS}
    attributes["*"] = {"aria-hidden", "aria-label", "class", "dir", "id", "lang", "role", "style",
                       "title"}
    attributes["details"] = {"open"}
    markup = _drawings_as_images(markup)
    markup = nh3.clean(markup, tags=nh3.ALLOWED_TAGS | MATH_TAGS, clean_content_tags=DROPPED,
                       attributes=attributes, attribute_filter=checked,
                       filter_style_properties=STYLES,
                       url_schemes={"data", "http", "https", "mailto"})
    return IMAGE.sub(_image, markup)


def _drawings_as_images(markup: str) -> str:
    """Every drawing, with the drawings in it, as one image."""
    parts, done, begun, depth = [], 0, 0, 0
    for tag in SVG.finditer(markup):
        if tag[1] and not depth:
            continue
        if not depth:
            begun = tag.start()
        if not tag[2]:  # <svg/> opens nothing
            depth += -1 if tag[1] else 1
        if not depth:
            parts += [markup[done:begun], _svg_as_image(markup[begun:tag.end()])]
            done = tag.end()
    return "".join(parts) + markup[done:]


def _svg_as_image(text: str) -> str:
    if "http://www.w3.org/2000/svg" not in text:
        text = re.sub("^<svg", '<svg xmlns="http://www.w3.org/2000/svg"', text, flags=re.IGNORECASE)
    data = base64.b64encode(text.encode()).decode()
    return f'<img alt="A drawing" src="data:image/svg+xml;base64,{data}">'


def _image(found: re.Match[str]) -> str:
    alt = re.search(' alt="([^"]*)"', found[1])
    if ' src="' not in re.sub(' (?!src=)[a-z-]+="[^"]*"', "", found[1]):
        about = f": {html.escape(html.unescape(alt[1]))}" if alt and alt[1] else ""
        return f'<span class="export-note">A picture that is not in the notebook{about}</span>'
    return found[0] if alt else f'<img alt=""{found[1]}>'


def says_nothing(markup: str) -> bool:
    """Whether cleaned markup shows neither text nor a picture."""
    text = re.sub(r"<(?!img|math|hr)[^>]*>", "", markup)
    return not html.unescape(text).strip()
