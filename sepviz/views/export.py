"""A static gallery: labs and recorded runs as plain HTML pages, without a kernel and without a network.

A lab's page holds what its notebook saved: text, code, figures, and for every widget its state and its code, which
the page runs over a stand-in for Jupyter's model. Formulas become MathML, which browsers draw by themselves.
Notebooks may be anybody's: `sepviz.views.saved` reads and cleans them, and a page's policy lets no script
run but its own.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import logging
import mimetypes
import os
import re
import shlex
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, unquote

import numpy as np
from tqdm.auto import tqdm

from sepviz import files
from sepviz.core import SepvizError
from sepviz.views import assets, saved
from sepviz.views.page import LARGEST
from sepviz.views.saved import SHOWN

if TYPE_CHECKING:
    from nbformat import NotebookNode

    from sepviz.runs.trace import Trace
    from sepviz.views.packing import View

CELL_LIMIT = 600  # seconds of a cell that is run
STILL = "sepviz-still"  # in an output's metadata: the picture of the widget before it
KINDS = {"image/svg+xml", "image/png", "image/jpeg",
         "text/html", "text/markdown", "text/plain", "text/latex"}  # of outputs that are shown
SILENT = re.compile("Progress|HTML|Label|Layout|Style|Output")  # widgets that say nothing, or nothing new, without a kernel


class Page(NamedTuple):
    """One page of the gallery, before it is written."""

    name: str  # of its file, without .html
    title: str
    sentence: str
    kind: str  # "Labs" or "Recorded runs"
    picture: bytes  # JPEG, or nothing
    body: str
    widgets: dict[str, dict[str, Any]]  # by id: the saved state, with _esm and _css


# --- the gallery --------------------------------------------------------------------------------


def gallery(sources: Sequence[str | Path], folder: str | Path, *, run: bool = False,
            trust: bool = False) -> list[Path]:
    """Write a page for each lab and each recorded run, and ``index.html``, which leads to them.

    Parameters
    ----------
    sources : sequence of str or Path
        Notebooks that were run (``.ipynb``), recorded runs (``.npz``, as `Trace.save` writes them; a problem beside it,
        ``NAME.problem.npz``, is the truth that is shown), in the order of the gallery.
    folder : path
        Made; must not be there. It is there with every page or not at all.
    run : bool
        Run the notebooks first, as labs are in any case that hold no pictures. The notebooks
        themselves stay as they are.
    trust : bool
        Let widgets of other packages run the code that a notebook saved. Without it only this
        package's own code runs.

    Returns
    -------
    list of Path
        The pages, the index first. Each is a file of its own below 5 MB: frames of long runs are left out, evenly.

    Raises
    ------
    SepvizError
        If there is nothing to export, a source is missing or damaged, a notebook was never run, or a page cannot be made small enough.
    """
    folder, paths = Path(folder), [Path(source) for source in sources]
    if folder.exists():
        raise SepvizError(f"{folder} is there already: choose another folder with --out")
    if not paths:
        raise SepvizError("nothing to export: give notebooks (.ipynb) or recorded runs (.npz)")
    names = ["index", *map(_name, paths)]
    lower = [name.casefold() for name in names]  # some file systems take "Index" for "index"
    for name in names:
        if lower.count(name.casefold()) > 1:
            raise SepvizError(f"two pages would be called {name}.html: rename one of the files")
    for path in paths:
        if path.suffix not in (".ipynb", ".npz"):
            raise SepvizError(f"{path}: want a notebook (.ipynb) or a recorded run (.npz)")
        if not path.is_file():
            raise SepvizError(f"cannot read {path}: No such file or directory")
    made, texts = [], {}
    for path in tqdm(paths, desc="exporting", unit="page", delay=1, leave=False):
        made.append(_lab_page(path, run, trust) if path.suffix == ".ipynb" else _run_page(path))
        texts[made[-1].name] = _fitted(made[-1])
    texts = {"index": _index(made, {name: len(text.encode()) for name, text in texts.items()}), **texts}
    with files.fresh_folder(folder) as made_in:
        for name, text in texts.items():
            (made_in / f"{name}.html").write_bytes(text.encode("utf-8", "replace"))
    return [folder / f"{name}.html" for name in texts]


def _name(path: Path) -> str:
    return path.name.removesuffix(path.suffix).removesuffix(".trace")


def _link(name: str) -> str:
    """The address of a page beside this one."""
    return f"{quote(os.fsencode(name))}.html"


def _index(pages: Sequence[Page], sizes: dict[str, int]) -> str:
    parts = ["<h1>Source separation, step by step</h1>",
             "<p>Every player here plays and scrubs in the browser: no installation, no network. "
             "The labs as notebooks, to change and to run, come with <code>sepviz lab</code>.</p>"]
    for kind in dict.fromkeys(page.kind for page in pages):
        parts.append(f'<h2>{kind}</h2>\n<ul class="gallery">')
        for page in pages:
            if page.kind == kind:
                data = base64.b64encode(page.picture).decode()
                dark = "" if kind == "Labs" else ' class="dark"'
                picture = f'<img{dark} alt="" src="data:image/jpeg;base64,{data}">' if data else '<div class="blank"></div>'
                link = f'<a href="{_link(page.name)}">{html.escape(page.title)}</a>'
                parts.append(f"<li>{picture}<h3>{link}</h3>"
                             f"<p>{html.escape(page.sentence)}</p><p>{sizes[page.name] / 1e6:.1f} MB</p></li>")
        parts.append("</ul>")
    return _html("Source separation, step by step", "\n".join(parts), {}, index=True)


# --- one page -----------------------------------------------------------------------------------


def _html(title: str, body: str, widgets: dict[str, dict[str, Any]], index: bool = False) -> str:
    """A whole page; code and styles that several widgets share are in it once."""
    from pygments.formatters import HtmlFormatter

    codes = list(dict.fromkeys(state["_esm"] for state in widgets.values()))
    styles = [assets.read("gallery.css"), *dict.fromkeys(state.get("_css", "") for state in widgets.values())]
    if "highlight" in body:
        dark = HtmlFormatter(style="github-dark").get_style_defs(".highlight")
        styles += [HtmlFormatter(style="vs").get_style_defs(".highlight"),
                   f"@media screen and (prefers-color-scheme: dark) {{\n{dark}\n}}", ".input_area .highlight { background: var(--fill); }"]
    scripts = ["<script>globalThis.sepvizModules = [];</script>"]
    for i, code in enumerate(codes):
        scripts.append(f'<script type="module">\n{EXPORT.sub(f"globalThis.sepvizModules[{i}] = ", _in_script(code))}\n</script>')
    for name, state in widgets.items():
        kept = {key: value for key, value in state.items() if not key.startswith("_") and key not in ("layout", "tabbable", "tooltip")}
        text = json.dumps(kept, default=lambda data: {"base64": base64.b64encode(data).decode("ascii")}).replace("<", "\\u003c")
        place = f'data-state="{name}" data-module="{codes.index(state["_esm"])}"'
        scripts.append(f'<script type="application/json" {place}>{text}</script>')
    gallery = assets.bundle("gallery.js")
    scripts.append(f'<script type="module">\n{gallery}</script>')
    code = "\n".join(scripts) if widgets else ""
    parts = {"TITLE": html.escape(title), "STYLE": _in_style("\n".join(styles)), "BODY": body,
             "SCRIPTS": code, "RUNS": _sources(code),
             "NAVIGATION": "" if index else '<nav><a href="index.html">All labs and recorded runs</a></nav>'}
    return re.sub("%%([A-Z]+)%%", lambda found: parts[found[1]], assets.read("gallery.html"))


EXPORT = re.compile(r"^export default\s+", re.MULTILINE)


def _in_script(code: str) -> str:
    code = code.replace("\r\n", "\n").replace("\r", "\n")  # as a browser reads it, for its digest
    return re.sub("</(?=script)", r"<\\/", code, flags=re.IGNORECASE)


def _in_style(code: str) -> str:
    return re.sub("</(?=style)", r"<\\/", code, flags=re.IGNORECASE)


def _sources(scripts: str) -> str:
    """The scripts that may run, for the page's policy: these, and no other that came into it."""
    codes = re.findall(r'<script(?: type="module")?>(.*?)</script>', scripts, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(code.encode()).digest()).decode() for code in codes]
    return " ".join(f"'sha256-{digest}'" for digest in digests) or "'none'"


def _runs_in_a_page(code: str) -> bool:
    """Whether a widget's code is whole: one default export and nothing to fetch."""
    return len(EXPORT.findall(code)) == 1 and not re.search(r"^\s*import\s*[\w{*\"']|\bimport\(|^export (?!default)", code, re.MULTILINE)


def _fitted(page: Page) -> str:
    """The page below `LARGEST`, if need be with fewer frames."""
    text = _html(page.title, page.body, page.widgets)
    packs = list(_packs(list(page.widgets.values())))
    total = sum(len(pack["bytes"]) for pack in packs)
    rest = len(text.encode()) - total * 4 // 3
    if rest + total * 4 // 3 >= LARGEST and rest < LARGEST:
        part = (LARGEST - rest) * 0.97 * 3 / 4 / total
        counts = [len(pack["records"]) for pack in packs]
        for pack in packs:
            _thin_pack(pack, part)
        kept = [f"{len(pack['records'])} of {count}" for pack, count in zip(packs, counts, strict=True)]
        note = f'<p class="export-note">To keep this page small, the players show {", ".join(kept)} recorded steps.</p>\n'
        text = _html(page.title, note + page.body, page.widgets)
    if len(text.encode()) >= LARGEST:
        raise SepvizError(f"the page of {page.name} would have {len(text.encode()) / 1e6:.1f} MB, {LARGEST / 1e6:.0f} MB is the most: "
                          "show fewer or smaller figures in it")
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


def _thin_pack(pack: dict[str, Any], part: float) -> None:
    """Keep this part of the frames, evenly spread, first and last among them."""
    count = len(pack["records"])
    size = len(pack["bytes"]) // count
    kept = np.unique(np.linspace(0, count - 1, min(count, max(2, int(count * part)))).round().astype(int)).tolist()
    pack["bytes"] = b"".join(pack["bytes"][i * size : (i + 1) * size] for i in kept)
    pack["records"] = [pack["records"][i] for i in kept]


def _thumbnail(picture: Any, width: int = 640) -> bytes:
    picture = picture.convert("RGB")
    picture.thumbnail((width, width))
    file = io.BytesIO()
    picture.save(file, format="JPEG", quality=80, optimize=True)
    return file.getvalue()


# --- a recorded run -----------------------------------------------------------------------------


def _run_page(path: Path) -> Page:
    from sepviz import metrics
    from sepviz.runs.trace import Trace
    from sepviz.views.packing import pack_for_page

    trace = Trace.load(path)
    beside = path.with_suffix(".problem.npz")
    truth = files.load_problem([beside])[1] if beside.is_file() else None
    view, static, frames, left_out = pack_for_page(trace, truth, LARGEST)
    batch, count = trace.sources.shape[:2]
    script, style = assets.code_of("sepviz.widgets.player.Player")
    state = {"static": static, "frames": frames, "cursor": 0, "item": 0, "_esm": script, "_css": style}
    said = f"{trace.method}, {trace.final.index} steps: {batch} mixtures of {count} sources"
    if truth is not None:
        weights = trace.problem.mixing.weights
        begun, ended = (float(metrics.psnr(trace[i].sources, truth.sources, weights=weights,
                                           order=trace.order).mean()) for i in (0, -1))
        said += f", PSNR {begun:.1f} dB at the first recorded step and {ended:.1f} dB at the last"
    note = f'<p class="export-note">{html.escape(left_out)}</p>' if left_out else ""
    rows = {**trace.parameters, "seed": trace.seed, "seconds": round(trace.seconds, 1)}
    table = "".join(f'<tr><th scope="row">{html.escape(str(key))}</th><td>{html.escape(str(value))}</td></tr>'
                    for key, value in rows.items())
    title = _name(path) if _name(path).startswith(trace.method.lower()) else f"{trace.method}: {_name(path)}"
    body = (f"<h1>{html.escape(title)}</h1>\n<p>{html.escape(said)}. Drag the slider, or use the arrow keys.</p>\n"
            f"{note}\n{_place('run')}\n<details><summary>Parameters of the run</summary><table>{table}</table></details>")
    return Page(_name(path), title, f"{said}.", "Recorded runs", _thumbnail(_last_frame(trace, view)), body, {"run": state})


def _last_frame(trace: Trace, view: View) -> Any:
    """A picture of mixtures over their estimates."""
    from PIL import Image

    from sepviz.views.gif import enlarged

    shown = min(4, len(view.items))
    mixtures = (view.problem.mixtures[:shown] - view.low) / (view.high - view.low)
    rows = [mixtures, *trace.sources[view.items[:shown]].float().cpu().unbind(dim=1)]
    height, width = mixtures.shape[-2:]
    zoom = max(1, 96 // height)
    sheet = Image.new("RGB", (shown * (width * zoom + 6) + 6, len(rows) * (height * zoom + 6) + 6), (60, 66, 76))
    for i, row in enumerate(rows):
        for j, image in enumerate(row):
            sheet.paste(enlarged(image, zoom), (6 + j * (width * zoom + 6), 6 + i * (height * zoom + 6)))
    return sheet


# --- a lab --------------------------------------------------------------------------------------


def _lab_page(path: Path, run: bool, trust: bool) -> Page:
    notebook = saved.read(path)
    if run or (_is_shipped(path) and not _was_run(notebook)):
        _execute(notebook, path)
    title, sentence = _opening(notebook, _name(path))
    picture = _first_picture(notebook)
    lab = _Lab(notebook, path, trust)
    return Page(_name(path), title, sentence, "Labs", picture, lab.body(), lab.widgets)


def _is_shipped(path: Path) -> bool:
    return (path.parent / "start_here.ipynb").is_file()


def _was_run(notebook: NotebookNode) -> bool:
    """Whether more was run than the cells whose text the tests compare, which is all that is shipped."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    free = [cell for cell in code if not cell.source.startswith("# NBVAL_CHECK_OUTPUT")]
    return not code or any(cell.execution_count or cell.outputs for cell in free or code)


def _execute(notebook: NotebookNode, path: Path) -> None:
    """Run a notebook in its folder, in memory."""
    from nbclient import NotebookClient
    from nbclient.exceptions import CellControlSignal, CellExecutionError

    with tqdm(total=len(notebook.cells), desc=path.stem, unit="cell", leave=False) as bar:
        client = NotebookClient(notebook, timeout=CELL_LIMIT, resources={"metadata": {"path": str(path.parent)}},
                                on_cell_complete=lambda cell, cell_index: bar.update(cell_index + 1 - bar.n))
        try:
            client.execute()
        except CellExecutionError as error:
            raise SepvizError(f"{path}: a cell failed, {error.ename}: {error.evalue}") from None
        except (CellControlSignal, TimeoutError):
            raise SepvizError(f"{path}: a cell ran for more than {CELL_LIMIT} seconds, or its kernel died") from None


def _opening(notebook: NotebookNode, name: str) -> tuple[str, str]:
    """The first heading, and the first sentence after it, without markup."""
    text = "\n\n".join(cell.source for cell in notebook.cells[:5] if cell.cell_type == "markdown")
    heading = re.search(r"^#+ +(.+)$", text, re.MULTILINE)
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
            picture = saved.picture(output.get("data", {}).get("image/png", ""))
            if picture is not None:
                return _thumbnail(picture)
    return b""


class _Lab:
    """The page of one notebook: what its cells show, and the widgets that run in it."""

    def __init__(self, notebook: NotebookNode, path: Path, trust: bool):
        self.notebook, self.path, self.trust = notebook, path, trust
        self.widgets: dict[str, dict[str, Any]] = {}  # by their number in the page
        self.missing: list[str] = []  # pictures that the notebook does not hold
        self._numbers: dict[str, str] = {}  # of the widgets, by the notebook's id
        # What stands for a widget until the markup is clean; no notebook can hold its own digest.
        self._mark = hashlib.sha256(repr(notebook).encode("utf-8", "replace")).hexdigest()
        name = path.name.encode("utf-8", "replace").decode()
        opens = f"sepviz lab {path.stem}" if _is_shipped(path) else f"jupyter lab {shlex.quote(name)}"
        self._opens = f"<code>{html.escape(opens)}</code>"
        self._models = saved.models(notebook)

    def body(self) -> str:
        """The cells as HTML, by nbconvert, cleaned; a word about what is missing is printed."""
        if not _was_run(self.notebook):
            raise SepvizError(f"{self.path} was never run: give --run to run it first")
        heading = self.notebook.cells[0].source.split("\n")[0] if self.notebook.cells else ""
        for cell in self.notebook.cells:
            if cell.cell_type == "markdown":
                heading = (re.findall(r"^#+ +(.+)$", cell.source, re.MULTILINE) or [heading])[-1]
            elif cell.cell_type == "code":
                cell.outputs = list(self._outputs(cell.outputs, _plain(heading)))
            cell.metadata = _only(cell.metadata, "tags")
        body = saved.clean(self._converted(), self.missing)
        for number in self.widgets:
            body = body.replace(f"{self._mark}-{number}.", _place(number))
        if self.missing:
            tqdm.write(f"{self.path}: pictures that are not in the notebook are left out: "
                       f"{', '.join(dict.fromkeys(self.missing))}", file=sys.stderr)
        # So that what is wider than the screen can be scrolled by keyboard.
        return body.replace("<pre>", '<pre tabindex="0">')

    # --- outputs ---

    def _outputs(self, outputs: Sequence[NotebookNode], heading: str) -> Iterator[NotebookNode]:
        """The outputs of a cell as a page shows them."""
        replaced = False  # the widget before: then its still is not needed
        for i, output in enumerate(outputs):
            data = output.get("data", {})
            about = output.get("metadata", {})
            if about.get(STILL) and replaced:
                continue
            replaced = False
            if SHOWN in data:
                still = i + 1 < len(outputs) and outputs[i + 1].get("metadata", {}).get(STILL)
                texts = list(dict.fromkeys(self._widget(data[SHOWN], bool(still))))
                replaced = any(self._mark in text for text in texts)
                yield from map(_html_output, texts)
                continue
            if "data" in output:
                output.metadata = {}
                output.data = {kind: value for kind, value in data.items() if kind in KINDS}
                if "text/html" in data:  # by itself: a tag left open must not swallow what follows
                    output.data["text/html"] = saved.clean(data["text/html"], self.missing)
                for kind in ("image/png", "image/jpeg"):
                    if kind in output.data:  # it says at least to which section it belongs
                        said = about.get(kind) if isinstance(about.get(kind), dict) else {}
                        alt = str(said.get("alt", f"Figure of the section: {heading}"))
                        sizes = {key: said[key] for key in ("width", "height")
                                 if type(said.get(key)) in (int, float)}
                        output.metadata[kind] = {"alt": alt, **sizes}
                if data and (not output.data or self._is_lost(output.data)):
                    output = _html_output(_note("An output that needs a script or a program: "
                                                f"{self._opens} has it."))
            yield output

    def _is_lost(self, data: dict[str, str]) -> bool:
        """Whether all there is to show is HTML that works by script alone."""
        text = data.get("text/html", "")
        pictures = set(data) & {"image/png", "image/svg+xml"}
        return bool(text.strip()) and not pictures and saved.says_nothing(text)

    def _widget(self, shown: Any, has_still: bool) -> Iterator[str]:
        """What is shown for a widget that a cell displays."""
        model = shown.get("model_id") if isinstance(shown, dict) else None
        if not isinstance(model, str):
            raise SepvizError(f"{self.path}: a widget's output has no model_id: "
                              "give --run to run it again")
        if model in self._models:
            yield from self._in_place_of(model, set())
        elif has_still:
            yield _note(f"As it was when the notebook was saved; {self._opens} runs it.")
        elif model:  # it is empty for a widget that was closed
            raise SepvizError(f"{self.path} shows widgets whose state was not saved: "
                              "give --run to run it first")

    def _in_place_of(self, model: str, seen: set[str]) -> Iterator[str]:
        """What is shown for a widget: itself, what it contains, or a word on where it works."""
        if model in seen:
            return
        seen.add(model)
        kind, state = saved.widget(self._models, model, self.path)
        children = state.get("children")
        if state.get("_anywidget_id") == "sepviz.widgets.shield.Shield":
            return  # it guards keys in Jupyter, and shows nothing
        if kind == "AnyModel":
            yield from self._own_widget(model, state)
        elif isinstance(children, list):
            for child in children:
                yield from self._in_place_of(str(child).removeprefix("IPY_MODEL_"), seen)
        elif kind == "ImageModel":
            picture = saved.picture(state.get("value") or b"")
            if picture is not None:
                data = base64.b64encode(state["value"]).decode()
                yield (f'<img alt="Picture of a control that works in the lab" '
                       f'src="data:image/{str(picture.format).lower()};base64,{data}">')
        elif not SILENT.search(kind):
            yield _note(f"Controls that need Python: {self._opens} has them.")

    def _own_widget(self, model: str, state: dict[str, Any]) -> Iterator[str]:
        """A widget with code of its own: this package's runs, another's only if it is trusted."""
        known = str(state.get("_anywidget_id")) in assets.OWN
        if known:  # its code as it is now, whatever code the notebook holds
            state["_esm"], state["_css"] = assets.code_of(str(state["_anywidget_id"]))
        elif not self.trust or not _runs_in_a_page(str(state.get("_esm"))):
            why = ("runs in Jupyter only" if self.trust
                   else "is not run here: export with --trust if you trust it")
            yield _note(f"A widget with code of its own, which {why}; {self._opens} has it.")
            return
        history = state.get("history") if known else None
        if isinstance(history, dict) and not history.get("records"):  # nobody has started it
            static = state["static"] if isinstance(state.get("static"), dict) else {}
            method = html.escape(str(static.get("method", "a method")))
            yield _note(f"A live run of {method}, to start, stop and change: {self._opens} has it.")
            return
        number = self._numbers.setdefault(model, str(len(self._numbers)))
        self.widgets[number] = state
        yield f"{self._mark}-{number}."
        if isinstance(history, dict):
            yield _note(f"The recorded steps of a live run; to run it, {self._opens}.")

    # --- markup ---

    def _converted(self) -> str:
        """The notebook by nbconvert, with formulas as MathML; not yet clean."""
        from jinja2 import pass_context
        from nbconvert import HTMLExporter
        from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
        from traitlets.config import Config

        folder = self.path.parent.resolve()

        class Renderer(IPythonRenderer):
            def block_math(self, body: str) -> str:
                return _mathml(body, "block")

            def inline_math(self, body: str) -> str:
                return _mathml(body, "inline")

            def latex_environment(self, name: str, body: str) -> str:
                return _mathml(f"\\begin{{{name}}}{body}\\end{{{name}}}", "block")

            def _embed_image_or_attachment(self, src: str) -> str:
                name = unquote(src.removeprefix("attachment:"))
                if not src.startswith("attachment:"):
                    return self._src_to_base64(src) or src
                for kind, data in self.attachments.get(name, {}).items():
                    return f"data:{kind};base64,{''.join(data)}"
                return src

            def _src_to_base64(self, src: str) -> str | None:
                try:
                    file = (folder / unquote(src)).resolve()
                    if not file.is_relative_to(folder) or not file.is_file():
                        return None
                    kind = mimetypes.guess_type(file.name)[0]
                    return f"data:{kind};base64,{base64.b64encode(file.read_bytes()).decode()}"
                except (OSError, ValueError):  # no name of a file at all
                    return None

        @pass_context
        def markdown(context: Any, source: str) -> str:
            attachments = context.get("cell", {}).get("attachments", {})
            renderer = Renderer(escape=False, embed_images=True, attachments=attachments,
                                exclude_anchor_links=True)
            made = MarkdownWithMath(renderer=renderer).render(source)
            return saved.clean(made, self.missing)  # by itself, as the outputs are

        quiet = logging.Logger("nbconvert", logging.CRITICAL + 1)  # it tells of pictures without alt
        exporter = HTMLExporter(template_name="basic", config=Config(), log=quiet,
                                exclude_input_prompt=True, exclude_output_prompt=True)
        exporter.register_filter("markdown2html", markdown)
        language = self.notebook.metadata.get("language_info", {})
        names = {key: language[key] for key in ("name", "pygments_lexer")
                 if isinstance(language.get(key), str)}
        self.notebook.metadata = {"language_info": {"name": "python", **names}}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of formats that are not shown
                return exporter.from_notebook_node(self.notebook)[0]
        except Exception as error:  # of many libraries, over text that anybody wrote
            reason = (str(error) or type(error).__name__).splitlines()[0][:120]
            raise SepvizError(f"{self.path} cannot be made a page of ({reason}): "
                              "does JupyterLab show it?") from None


def _only(metadata: NotebookNode, *keys: str) -> dict[str, Any]:
    return {key: metadata[key] for key in keys if key in metadata}


def _note(text: str) -> str:
    return f'<p class="export-note">{text}</p>'


def _html_output(text: str) -> NotebookNode:
    import nbformat

    return nbformat.v4.new_output("display_data", {"text/html": text})


def _place(name: str) -> str:
    return f'<div class="export-widget" data-model="{name}"><noscript>The player needs JavaScript.</noscript></div>'


def _mathml(tex: str, display: str) -> str:
    """A formula as browsers draw it; one that cannot be read is shown as it was written."""
    from latex2mathml.converter import convert

    # Words in a formula are copied as they are: "<" there would begin a tag.
    words = re.sub(r"\\(?:text\w*|mbox)\s*\{[^{}]*\}",
                   lambda found: found[0].translate({60: 0xE000, 62: 0xE001}), tex)
    try:
        found = convert(words.replace(r"\arg", r"\operatorname{arg}"), display=display)
        found = found.replace(r">\|<", ">\u2016<")
    except Exception:  # it has many kinds of its own
        found = "\\unknown"
    found = re.sub("(<mi>(?:log|exp|sin|cos)</mi>)", r'\1<mspace width="0.167em" />', found)
    found = found.replace("\ue000", "&lt;").replace("\ue001", "&gt;")
    return f"<code>{html.escape(tex)}</code>" if re.search(r"\\[a-zA-Z]", found) else found
