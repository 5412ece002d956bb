"""Code and styles of the views in a browser: of the widgets and of the pages.

The code lies in ES modules, one subject each. A widget's code is one text, and a page's policy
names each script by its digest, so `bundle` joins a module and what it imports.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path

FOLDER = Path(__file__).parent
IMPORT = re.compile(r'^import \{[^}]*\} from "\./([\w.]+)";\n', re.MULTILINE)
EXPORT = re.compile(r"^export (?=const|let|function|class)", re.MULTILINE)


@functools.cache
def read(name: str) -> str:
    """The text of one of the files beside this one."""
    return (FOLDER / name).read_text(encoding="utf-8")


@functools.cache
def bundle(name: str) -> str:
    """One of the modules with all that it imports, as a script that imports nothing.

    Imported modules come first, each once, their names in one scope: no two may be the same. Of
    the exports only the default one stays.
    """
    texts: dict[str, str] = {}

    def add(module: str) -> None:
        for imported in IMPORT.findall(read(module)):
            if imported not in texts:
                add(imported)
        texts[module] = EXPORT.sub("", IMPORT.sub("", read(module)))

    add(name)
    return "\n".join(texts.values())


# Beside its living widget a still is not needed.
STILL_CSS = (".jp-OutputArea-child:has(.sepviz, .sepviz-shielded) + "
             ".jp-OutputArea-child:has(.sepviz-still) { display: none; }\n")
SHIELD_JS = bundle("keys.js")  # with `shield`
# Each widget's module and styles, by the name under which a notebook saves the widget.
VIEW = ("base", "panel", "view")
OWN = {f"sepviz.widgets.{widget}": parts for widget, parts in {
    "player.Player": ("player", VIEW),
    "live.LiveRun": ("live", (*VIEW, "knobs", "live")),
    "compare.Compare": ("compare", (*VIEW, "compare")),
    "posterior.Posterior": ("posterior", (*VIEW, "posterior")),
    "leaderboard.Leaderboard": ("leaderboard", (*VIEW, "leaderboard")),
    "sketch_pad.SketchPad": ("sketch_pad", ("base", "panel", "knobs", "sketch_pad")),
    "guess.Guess": ("guess", ("base", "guess")),
    "guess.Reveal": ("guess", ("base", "guess")),
}.items()}


def code_of(widget: str) -> tuple[str, str]:
    """Code and style of a widget of `OWN`."""
    module, styles = OWN[widget]
    return bundle(f"{module}.js"), "".join(read(f"{style}.css") for style in styles) + STILL_CSS
