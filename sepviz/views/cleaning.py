"""Markup that anybody wrote, reduced to what an allow-list names.

No script, no style sheet, nothing to fetch: what is left runs nothing.
"""

from __future__ import annotations

import base64
import functools
import html
import io
import re
import warnings
from typing import Any

MATH_TAGS = {
    "math", "menclose", "mfrac", "mi", "mmultiscripts", "mn", "mo", "mover", "mpadded",
    "mphantom", "mprescripts", "mroot", "mrow", "mspace", "msqrt", "mstyle", "msub", "msubsup",
    "msup", "mtable", "mtd", "mtext", "mtr", "munder", "munderover",
}
MATH_ATTRIBUTES = {
    "accent", "accentunder", "columnalign", "columnlines", "columnspacing", "depth", "display",
    "displaystyle", "fence", "form", "frame", "height", "largeop", "linebreak", "linethickness",
    "lspace", "mathbackground", "mathcolor", "mathsize", "mathvariant", "maxsize", "minsize",
    "movablelimits", "notation", "rowlines", "rowspacing", "rspace", "scriptlevel", "separator",
    "stretchy", "symmetric", "voffset", "width",
}
# of any tag
ATTRIBUTES = {"aria-hidden", "aria-label", "class", "dir", "id", "lang", "role", "style", "title"}
STYLES = {
    "background-color", "border", "border-collapse", "color", "font-family", "font-size",
    "font-style", "font-weight", "text-align", "text-decoration", "vertical-align",
}
# with what is in them
DROPPED = {"iframe", "noscript", "object", "script", "style", "svg", "template", "title"}
PICTURES = ("png", "jpeg", "gif", "webp")  # that every browser draws

DATA = re.compile(r"data:image/([a-z+]+);base64,(.*)", re.DOTALL)
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
        is_data = attribute == "href" and ODD.sub("", value)[:5].lower() == "data:"
        return None if is_data else value

    attributes = {tag: set(names) for tag, names in nh3.ALLOWED_ATTRIBUTES.items()}
    attributes |= dict.fromkeys(MATH_TAGS, MATH_ATTRIBUTES)
    attributes |= {"*": ATTRIBUTES, "details": {"open"}}
    markup = nh3.clean(_drawings_as_images(markup), tags=nh3.ALLOWED_TAGS | MATH_TAGS,
                       clean_content_tags=DROPPED, attributes=attributes, attribute_filter=checked,
                       filter_style_properties=STYLES,
                       url_schemes={"data", "http", "https", "mailto"})
    return IMAGE.sub(_image, markup)


def says_nothing(markup: str) -> bool:
    """Whether cleaned markup shows neither text nor a picture."""
    text = re.sub(r"<(?!img|math|hr)[^>]*>", "", markup)
    return not html.unescape(text).strip()


# --- pictures ---


@functools.lru_cache(maxsize=64)
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


def _shows(source: str) -> bool:
    """Whether an image's address holds a picture that every browser draws."""
    found = DATA.fullmatch(source.strip())
    if not found:
        return False
    if found[1] == "svg+xml":  # drawn as an image: it runs nothing and fetches nothing
        return _is_svg(found[2])
    return found[1] in PICTURES and picture(found[2]) is not None


def _is_svg(data: str) -> bool:
    from xml.etree import ElementTree

    try:
        root = ElementTree.fromstring(base64.b64decode(data + "=="))
        return root.tag == "{http://www.w3.org/2000/svg}svg"
    except (ElementTree.ParseError, ValueError, LookupError):  # nor base64, nor known letters
        return False


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
            parts += [markup[done:begun], _svg_as_image(markup[begun : tag.end()])]
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
