"""The page of a notebook: what its cells show, and the widgets that run in it."""

from __future__ import annotations

import base64
import hashlib
import html
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm

from sepviz.core import SepvizError
from sepviz.views import assets, saved
from sepviz.views.cleaning import clean, picture, says_nothing
from sepviz.views.lab_markup import converted
from sepviz.views.saved import SHOWN, NotRun
from sepviz.views.web_page import Page, name_of, note, place_of, runs_in_a_page, thumbnail

if TYPE_CHECKING:
    from nbformat import NotebookNode

CELL_LIMIT = 600  # seconds of a cell that is run
STILL = "sepviz-still"  # in an output's metadata: the picture of the widget before it
HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)
KINDS = {"image/svg+xml", "image/png", "image/jpeg", "text/html", "text/markdown", "text/plain",
         "text/latex"}  # of outputs that are shown
SILENT = re.compile("Progress|HTML|Label|Layout|Style|Output")  # widgets that say nothing new
SHIELD = "sepviz.widgets.shield.Shield"  # it guards keys in Jupyter, and shows nothing


def lab_page(path: Path, run: bool, trust: bool) -> Page:
    """The page of a notebook, see `sepviz.views.export.gallery`."""
    notebook = saved.read(path)
    if run or (saved.is_shipped(path) and not saved.was_run(notebook)):
        _execute(notebook, path)
    title, sentence = _opening(notebook, name_of(path))
    first = _first_picture(notebook)
    lab = _Lab(notebook, path, trust)
    return Page(name_of(path), title, sentence, "Labs", first, lab.body(), lab.widgets)


def _execute(notebook: NotebookNode, path: Path) -> None:
    """Run a notebook in its folder, in memory."""
    from nbclient import NotebookClient
    from nbclient.exceptions import CellControlSignal, CellExecutionError

    with tqdm(total=len(notebook.cells), desc=path.stem, unit="cell", leave=False) as bar:
        client = NotebookClient(
            notebook, timeout=CELL_LIMIT, resources={"metadata": {"path": str(path.parent)}},
            on_cell_complete=lambda cell, cell_index: bar.update(cell_index + 1 - bar.n))
        try:
            client.execute()
        except CellExecutionError as error:
            raise SepvizError(f"{path}: a cell failed, {error.ename}: {error.evalue}") from None
        except (CellControlSignal, TimeoutError):
            raise SepvizError(f"{path}: a cell ran for more than {CELL_LIMIT} seconds, "
                              "or its kernel died") from None


def _opening(notebook: NotebookNode, name: str) -> tuple[str, str]:
    """The first heading, and the first sentence after it, without markup."""
    text = "\n\n".join(cell.source for cell in notebook.cells[:5] if cell.cell_type == "markdown")
    heading = HEADING.search(text)
    title = _plain(heading[1]) if heading else name
    for paragraph in re.split(r"\n\s*\n", text[heading.end() if heading else 0 :]):
        words = _plain(paragraph)
        if words and not re.match(r"[#$|<!-]|\d+\.", paragraph.strip()):
            return title, re.split(r"(?<=[.?!]) ", words)[0]
    return title, ""


def _plain(markdown: str) -> str:
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", " ".join(markdown.split()))
    return re.sub(r"[*`$]|\\[a-zA-Z]+", "", text).strip()


def _first_picture(notebook: NotebookNode) -> bytes:
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            found = picture(output.get("data", {}).get("image/png", ""))
            if found is not None:
                return thumbnail(found)
    return b""


class _Lab:
    """A notebook on its way to a page."""

    def __init__(self, notebook: NotebookNode, path: Path, trust: bool):
        self.notebook, self.path, self.trust = notebook, path, trust
        self.widgets: dict[str, dict[str, Any]] = {}  # by their number in the page
        self.missing: list[str] = []  # pictures that the notebook does not hold
        self._numbers: dict[str, str] = {}  # of the widgets, by the notebook's id
        # What stands for a widget until the markup is clean; no notebook holds its own digest.
        self._mark = hashlib.sha256(repr(notebook).encode("utf-8", "replace")).hexdigest()
        name = path.name.encode("utf-8", "replace").decode()
        opens = f"jupyter lab {shlex.quote(name)}"
        opens = f"sepviz lab {path.stem}" if saved.is_shipped(path) else opens
        self._opens = f"<code>{html.escape(opens)}</code>"
        self._models = saved.models(notebook)

    def body(self) -> str:
        """The cells as clean HTML; a word about pictures that are missing is printed."""
        if not saved.was_run(self.notebook):
            raise NotRun(f"{self.path} was never run: run it first")
        heading = self.notebook.cells[0].source.split("\n")[0] if self.notebook.cells else ""
        for cell in self.notebook.cells:
            if cell.cell_type == "markdown":
                heading = (HEADING.findall(cell.source) or [heading])[-1]
            elif cell.cell_type == "code":
                cell.outputs = list(self._outputs(cell.outputs, _plain(heading)))
            cell.metadata = {key: value for key, value in cell.metadata.items() if key == "tags"}
        body = clean(converted(self.notebook, self.path, self.missing), self.missing)
        for number in self.widgets:
            body = body.replace(f"{self._mark}-{number}.", place_of(number))
        if self.missing:
            tqdm.write(f"{self.path}: pictures that are not in the notebook are left out: "
                       f"{', '.join(dict.fromkeys(self.missing))}", file=sys.stderr)
        # So that what is wider than the screen can be scrolled by keyboard.
        return body.replace("<pre>", '<pre tabindex="0">')

    # --- outputs ---

    def _outputs(self, outputs: Sequence[NotebookNode], heading: str) -> Iterator[NotebookNode]:
        """The outputs of a cell as a page shows them."""
        stills = [bool(output.get("metadata", {}).get(STILL)) for output in outputs]
        replaced = False  # the widget before is in the page: then its still is not needed
        for output, still, follows in zip(outputs, stills, [*stills, False][1:], strict=True):
            if still and replaced:
                continue
            replaced = False
            if SHOWN in output.get("data", {}):
                texts = list(dict.fromkeys(self._widget(output.data[SHOWN], follows)))
                replaced = any(self._mark in text for text in texts)
                yield from map(_html_output, texts)
            else:
                yield self._shown(output, heading) if "data" in output else output

    def _shown(self, output: NotebookNode, heading: str) -> NotebookNode:
        """An output of what a page can show, or a word about it."""
        data, about = output.data, output.get("metadata", {})
        output.metadata = {}
        output.data = {kind: value for kind, value in data.items() if kind in KINDS}
        if "text/html" in data:  # by itself: a tag left open must not swallow what follows
            output.data["text/html"] = clean(data["text/html"], self.missing)
        for kind in ("image/png", "image/jpeg"):
            if kind in output.data:  # it says at least to which section it belongs
                said = about.get(kind) if isinstance(about.get(kind), dict) else {}
                sizes = {key: said[key] for key in ("width", "height")
                         if type(said.get(key)) in (int, float)}
                alt = str(said.get("alt", f"Figure of the section: {heading}"))
                output.metadata[kind] = {"alt": alt, **sizes}
        if data and (not output.data or _is_lost(output.data)):
            return _html_output(note("An output that needs a script or a program: "
                                     f"{self._opens} has it."))
        return output

    def _widget(self, shown: Any, has_still: bool) -> Iterator[str]:
        """What is shown for a widget that a cell displays."""
        model = shown.get("model_id") if isinstance(shown, dict) else None
        if not isinstance(model, str):
            raise NotRun(f"{self.path}: a widget's output has no model_id: run the notebook again")
        if model in self._models:
            yield from self._in_place_of(model, set())
        elif has_still:
            yield note(f"As it was when the notebook was saved; {self._opens} runs it.")
        elif model:  # it is empty for a widget that was closed
            raise NotRun(f"{self.path} shows widgets whose state was not saved: run it again")

    def _in_place_of(self, model: str, seen: set[str]) -> Iterator[str]:
        """What is shown for a widget: itself, what it contains, or a word on where it works."""
        if model in seen:
            return
        seen.add(model)
        kind, state = saved.widget(self._models, model, self.path)
        if state.get("_anywidget_id") == SHIELD:
            return
        if kind == "AnyModel":
            yield from self._own_widget(model, state)
        elif isinstance(state.get("children"), list):
            for child in state["children"]:
                yield from self._in_place_of(str(child).removeprefix("IPY_MODEL_"), seen)
        elif kind == "ImageModel":
            found = picture(state.get("value") or b"")
            if found is not None:
                data = base64.b64encode(state["value"]).decode()
                yield (f'<img alt="Picture of a control that works in the lab" '
                       f'src="data:image/{str(found.format).lower()};base64,{data}">')
        elif not SILENT.search(kind):
            yield note(f"Controls that need Python: {self._opens} has them.")

    def _own_widget(self, model: str, state: dict[str, Any]) -> Iterator[str]:
        """A widget with code of its own: this package's runs, another's only if it is trusted."""
        name = str(state.get("_anywidget_id"))
        known = name in assets.OWN
        if known:  # its code as it is now, whatever code the notebook holds
            state["_esm"], state["_css"] = assets.code_of(name)
        elif not self.trust or not runs_in_a_page(str(state.get("_esm"))):
            why = "runs in Jupyter only" if self.trust else "is not run here: it is not trusted"
            yield note(f"A widget with code of its own, which {why}; {self._opens} has it.")
            return
        history = state.get("history") if known else None
        if isinstance(history, dict) and not history.get("records"):  # nobody has started it
            static = state["static"] if isinstance(state.get("static"), dict) else {}
            method = html.escape(str(static.get("method", "a method")))
            yield note(f"A live run of {method}, to start, stop and change: {self._opens} has it.")
            return
        number = self._numbers.setdefault(model, str(len(self._numbers)))
        self.widgets[number] = state
        yield f"{self._mark}-{number}."
        if isinstance(history, dict):
            yield note(f"The recorded steps of a live run; to run it, {self._opens}.")


def _is_lost(data: dict[str, str]) -> bool:
    """Whether all there is to show is HTML that works by script alone."""
    text = data.get("text/html", "")
    pictures = set(data) & {"image/png", "image/svg+xml"}
    return bool(text.strip()) and not pictures and says_nothing(text)


def _html_output(text: str) -> NotebookNode:
    import nbformat

    return nbformat.v4.new_output("display_data", {"text/html": text})
