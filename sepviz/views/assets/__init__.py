"""Code and style of the views in a browser: the widgets' and the pages' alike."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent


def read(name: str) -> str:
    """The text of one of the files beside this one."""
    return (FOLDER / name).read_text(encoding="utf-8")


# Beside its living widget a still is not needed.
STILL_CSS = (".jp-OutputArea-child:has(.sepviz, .sepviz-shielded) + "
             ".jp-OutputArea-child:has(.sepviz-still) { display: none; }\n")
SHIELD_JS = read("shield.js")
SAVED_MODEL_JS = read("saved_model.js")  # a model for a page without a kernel
COMMON_JS = SHIELD_JS + read("view.js")
COMMON_CSS = read("view.css") + STILL_CSS
# Each widget's own files, by the name under which a notebook saves it.
OWN = {f"sepviz.widgets.{widget}": files for widget, files in {
    "compare.Compare": ("compare.js",), "guess.Guess": ("guess.js", "guess.css"), "guess.Reveal": ("guess.js", "guess.css"),
    "leaderboard.Leaderboard": ("leaderboard.js",), "live.LiveRun": ("live.js",), "player.Player": ("player.js",),
    "posterior.Posterior": ("posterior.js",), "sketch_pad.SketchPad": ("sketch_pad.js",)}.items()}


def code_of(widget: str) -> tuple[str, str]:
    """Code and style of a widget of `OWN`."""
    script, *style = OWN[widget]
    return COMMON_JS + read(script), COMMON_CSS + "".join(map(read, style))
