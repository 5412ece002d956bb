"""A static gallery: labs and recorded runs as plain HTML pages, without a kernel and without a network.

A lab's page holds what its notebook saved: text, code, figures, and for every widget its state and its code, which
the page runs over a stand-in for Jupyter's model. Formulas become MathML, which browsers draw by themselves.
"""

from __future__ import annotations

import base64
import html
import io
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from tqdm.auto import tqdm

from sepviz import files
from sepviz.core import Problem, SepvizError, Truth

if TYPE_CHECKING:
    from nbformat import NotebookNode

    from sepviz.trace import Trace
    from sepviz.widgets.packing import View

LARGEST = 5_000_000  # bytes of a page
FRAMES = LARGEST * 5 // 8  # bytes of frames of one run, which base64 makes a third longer
ENOUGH = 40  # frames; a run of large images rather shows fewer mixtures than fewer frames
CELL_LIMIT = 600  # seconds of a cell that is run
STATE, SHOWN = "application/vnd.jupyter.widget-state+json", "application/vnd.jupyter.widget-view+json"
SILENT = re.compile("Progress|HTML|Label|Layout|Style|Output")  # widgets that say nothing, or nothing new, without a kernel
ASSETS = Path(__file__).parent / "widgets"


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


def gallery(sources: Sequence[str | Path], folder: str | Path, *, run: bool = False) -> list[Path]:
    """Write a page for each lab and each recorded run, and ``index.html``, which leads to them.

    Parameters
    ----------
    sources : sequence of str or Path
        Notebooks that were run (``.ipynb``), recorded runs (``.npz``, as `Trace.save` writes them; a problem beside it,
        ``NAME.problem.npz``, is the truth that is shown), in the order of the gallery.
    folder : path
        Made; must not be there. Nothing is written before every page is made.
    run : bool
        Run the notebooks first. The notebooks themselves stay as they are.

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
    for name in names:
        if names.count(name) > 1:
            raise SepvizError(f"two pages would be called {name}.html: rename one of the files")
    for path in paths:
        if path.suffix not in (".ipynb", ".npz"):
            raise SepvizError(f"{path}: want a notebook (.ipynb) or a recorded run (.npz)")
        if not path.is_file():
            raise SepvizError(f"cannot read {path}: No such file or directory")
    made, texts = [], {}
    for path in tqdm(paths, desc="exporting", unit="page", delay=1, leave=False):
        made.append(_lab_page(path, run) if path.suffix == ".ipynb" else _run_page(path))
        texts[made[-1].name] = _fitted(made[-1])
    texts = {"index": _index(made, {name: len(text.encode()) for name, text in texts.items()}), **texts}
    folder.mkdir(parents=True)
    return [files.write(folder / f"{name}.html", lambda file, text=text: file.write(text.encode()))  # type: ignore[misc]
            for name, text in texts.items()]


def _name(path: Path) -> str:
    return path.name.removesuffix(path.suffix).removesuffix(".trace")


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
                parts.append(f'<li>{picture}<h3><a href="{html.escape(page.name)}.html">{html.escape(page.title)}</a></h3>'
                             f"<p>{html.escape(page.sentence)}</p><p>{sizes[page.name] / 1e6:.1f} MB</p></li>")
        parts.append("</ul>")
    return _html("Source separation, step by step", "\n".join(parts), {}, index=True)


# --- one page -----------------------------------------------------------------------------------


def _html(title: str, body: str, widgets: dict[str, dict[str, Any]], index: bool = False) -> str:
    """A whole page; code and styles that several widgets share are in it once."""
    from pygments.formatters import HtmlFormatter

    from sepviz.widgets.player import SAVED_MODEL_JS

    codes = list(dict.fromkeys(state["_esm"] for state in widgets.values()))
    styles = [(ASSETS / "gallery.css").read_text(encoding="utf-8"), *dict.fromkeys(state.get("_css", "") for state in widgets.values())]
    if "highlight" in body:
        dark = HtmlFormatter(style="github-dark").get_style_defs(".highlight")
        styles += [HtmlFormatter(style="vs").get_style_defs(".highlight"),
                   f"@media screen and (prefers-color-scheme: dark) {{\n{dark}\n}}", ".input_area .highlight { background: var(--fill); }"]
    scripts = ["<script>globalThis.sepvizModules = [];</script>"]
    for i, code in enumerate(codes):
        scripts.append(f'<script type="module">\n{EXPORT.sub(f"globalThis.sepvizModules[{i}] = ", _in_script(code))}\n</script>')
    for name, state in widgets.items():
        body = body.replace(f'data-model="{name}"', f'data-model="{name}" data-module="{codes.index(state["_esm"])}"')
        kept = {key: value for key, value in state.items() if not key.startswith("_") and key not in ("layout", "tabbable", "tooltip")}
        text = json.dumps(kept, default=lambda data: {"base64": base64.b64encode(data).decode("ascii")}).replace("<", "\\u003c")
        scripts.append(f'<script type="application/json" id="state-{name}">{text}</script>')
    gallery = SAVED_MODEL_JS + (ASSETS / "gallery.js").read_text(encoding="utf-8")
    scripts.append(f'<script type="module">\n{gallery}</script>')
    parts = {"TITLE": html.escape(title), "STYLE": "\n".join(styles), "BODY": body, "SCRIPTS": "\n".join(scripts) if widgets else "",
             "NAVIGATION": "" if index else '<nav><a href="index.html">All labs and recorded runs</a></nav>'}
    return re.sub("%%([A-Z]+)%%", lambda found: parts[found[1]], (ASSETS / "gallery.html").read_text(encoding="utf-8"))


EXPORT = re.compile(r"^export default\s+", re.MULTILINE)


def _in_script(code: str) -> str:
    return re.sub("</(?=script)", r"<\\/", code, flags=re.IGNORECASE)


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
    """What `sepviz.widgets.packing.pack_frames` made, wherever it is in a widget's state."""
    if isinstance(value, dict) and {"records", "bytes"} <= set(value):
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
    from sepviz.trace import Trace
    from sepviz.widgets.packing import make_view, pack, thin
    from sepviz.widgets.player import PLAYER_JS, VIEW_CSS

    trace = Trace.load(path)
    beside = path.with_suffix(".problem.npz")
    truth = files.load_problem([beside])[1] if beside.is_file() else None
    view = make_view(trace.problem, truth)
    while len(view.items) > 1 and len(thin(trace.steps, view, FRAMES)) < min(ENOUGH, len(trace)):
        view = _first(view, len(view.items) // 2)
    positions, static, frames = pack(trace, view, FRAMES)
    batch, count = trace.sources.shape[:2]
    state = {"static": static, "frames": frames, "cursor": 0, "item": 0, "_esm": PLAYER_JS, "_css": VIEW_CSS}
    said = f"{trace.method}, {trace.final.index} steps: {batch} mixtures of {count} sources"
    if truth is not None:
        first, last = (float(metrics.psnr(trace[i].sources, truth.sources).mean()) for i in (0, -1))
        said += f", PSNR {first:.1f} dB at the first recorded step and {last:.1f} dB at the last"
    left_out = []
    if len(positions) < len(trace):
        left_out.append(f"{len(positions)} of {len(trace)} recorded steps")
    if len(view.items) < batch:
        left_out.append(f"{len(view.items)} of {batch} mixtures")
    note = f'<p class="export-note">To keep this page small, it holds {" and ".join(left_out)}.</p>' if left_out else ""
    rows = {**trace.parameters, "seed": trace.seed, "seconds": round(trace.seconds, 1)}
    table = "".join(f'<tr><th scope="row">{html.escape(str(key))}</th><td>{html.escape(str(value))}</td></tr>'
                    for key, value in rows.items())
    title = _name(path) if _name(path).startswith(trace.method.lower()) else f"{trace.method}: {_name(path)}"
    body = (f"<h1>{html.escape(title)}</h1>\n<p>{html.escape(said)}. Drag the slider, or use the arrow keys.</p>\n"
            f"{note}\n{_place('run')}\n<details><summary>Parameters of the run</summary><table>{table}</table></details>")
    return Page(_name(path), title, f"{said}.", "Recorded runs", _thumbnail(_last_frame(trace, view)), body, {"run": state})


def _first(view: View, count: int) -> View:
    """The view of its first mixtures only."""
    problem = Problem(view.problem.mixtures[:count], view.problem.mixing)
    return view._replace(problem=problem, truth=None if view.truth is None else Truth(view.truth.sources[:count]), items=view.items[:count])


def _last_frame(trace: Trace, view: View) -> Any:
    """A picture of mixtures over their estimates."""
    from PIL import Image

    from sepviz.widgets.gif import enlarged

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


def _lab_page(path: Path, run: bool) -> Page:
    notebook = _read(path)
    if run:
        _execute(notebook, path)
    title, sentence = _opening(notebook, _name(path))
    widgets = _without_kernel(notebook, path)
    picture = _first_picture(notebook)
    return Page(_name(path), title, sentence, "Labs", picture, _lab_body(notebook, path), widgets)


def _read(path: Path) -> NotebookNode:
    import nbformat

    try:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
    except OSError as error:
        raise SepvizError(f"cannot read {path}: {error.strerror or error}") from None
    except Exception as error:  # nbformat's own, json's, AttributeError, ...
        raise SepvizError(f"{path} is damaged or no notebook ({type(error).__name__}): save it again with Jupyter") from None
    return notebook


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


def _without_kernel(notebook: NotebookNode, path: Path) -> dict[str, dict[str, Any]]:
    """Put into the outputs what a page can show in a widget's place; returns the states of those it can run."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    if code and not any(cell.execution_count or cell.outputs for cell in code):
        raise SepvizError(f"{path} was never run: give --run to run it first")
    models = notebook.metadata.pop("widgets", {}).get(STATE, {}).get("state", {})  # taken out: nbconvert would write it once more
    widgets: dict[str, dict[str, Any]] = {}
    opens = f"sepviz lab {path.stem}" if _is_shipped(path) else f"jupyter lab {path.name}"
    heading = notebook.cells[0].source.split("\n")[0] if notebook.cells else ""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            heading = (re.findall(r"^#+ +(.+)$", cell.source, re.MULTILINE) or [heading])[-1]
        outputs = []
        for output in cell.get("outputs", []):
            shown = output.get("data", {}).get(SHOWN)
            if shown is None:
                outputs.append(_named(output, _plain(heading)))
            elif shown["model_id"] in models:
                found = list(dict.fromkeys(_in_place_of(shown["model_id"], models, widgets, opens)))
                outputs += [_html_output(text) for text in found]
            else:
                raise SepvizError(f"{path} shows widgets whose state was not saved: give --run to run it first")
        if cell.cell_type == "code":
            cell.outputs = outputs
    return widgets


def _is_shipped(path: Path) -> bool:
    return (path.parent / "start_here.ipynb").is_file()


def _named(output: NotebookNode, heading: str) -> NotebookNode:
    """An output whose picture says at least to which section it belongs."""
    for kind in ("image/png", "image/jpeg"):
        if kind in output.get("data", {}):
            about = output.metadata.setdefault(kind, {})
            about.setdefault("alt", f"Figure of the section: {heading}")
    return output


def _html_output(text: str) -> NotebookNode:
    import nbformat

    return nbformat.v4.new_output("display_data", {"text/html": text})


def _place(name: str) -> str:
    return f'<div class="export-widget" data-model="{name}"><noscript>The player needs JavaScript.</noscript></div>'


def _in_place_of(model: str, models: dict[str, Any], widgets: dict[str, dict[str, Any]], opens: str) -> Iterator[str]:
    """What is shown for a widget: itself, what it contains, or a word on where it works."""
    name, state = models[model]["model_name"], models[model]["state"]
    if state.get("_anywidget_id") == "sepviz.widgets.shield.Shield":
        return  # it guards keys in Jupyter, and shows nothing
    if name == "AnyModel" and _runs_in_a_page(state.get("_esm", "")):
        history = state.get("history")
        if isinstance(history, dict) and not history.get("records"):  # a live run that nobody has started
            method = html.escape(str(state.get("static", {}).get("method", "a method")))
            yield f'<p class="export-note">A live run of {method}, to start, stop and change: <code>{opens}</code> has it.</p>'
            return
        widgets[model] = _with_buffers(models[model])
        yield _place(model)
        if isinstance(history, dict):
            yield f'<p class="export-note">The recorded steps of a live run; to run it, <code>{opens}</code>.</p>'
    elif "children" in state:
        for child in state["children"]:
            yield from _in_place_of(child.removeprefix("IPY_MODEL_"), models, widgets, opens)
    elif name == "ImageModel":
        data = base64.b64encode(_with_buffers(models[model])["value"]).decode()
        yield f'<img alt="Picture of a control that works in the lab" src="data:image/{state.get("format", "png")};base64,{data}">'
    elif not SILENT.search(name):
        yield f'<p class="export-note">Controls that need Python: <code>{opens}</code> has them.</p>'


def _with_buffers(model: dict[str, Any]) -> dict[str, Any]:
    """A widget's state with its bytes in place."""
    state = json.loads(json.dumps(model["state"]))
    for buffer in model.get("buffers", []):
        *path, last = buffer["path"]
        place = state
        for key in path:
            place = place[key]
        data = buffer["data"]
        value = base64.b64decode(data) if buffer["encoding"] == "base64" else bytes.fromhex(data)
        place[last] = value
    return state


def _first_picture(notebook: NotebookNode) -> bytes:
    from PIL import Image

    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                return _thumbnail(Image.open(io.BytesIO(base64.b64decode(output.data["image/png"]))))
    return b""


def _lab_body(notebook: NotebookNode, path: Path) -> str:
    """The cells as HTML, by nbconvert, with formulas as MathML."""
    from nbconvert import HTMLExporter
    from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
    from traitlets.config import Config

    class Renderer(IPythonRenderer):
        def block_math(self, body: str) -> str:
            return _mathml(body, "block")

        def inline_math(self, body: str) -> str:
            return _mathml(body, "inline")

        def latex_environment(self, name: str, body: str) -> str:
            return _mathml(f"\\begin{{{name}}}{body}\\end{{{name}}}", "block")

    def markdown(source: str) -> str:
        renderer = Renderer(escape=False, embed_images=True, path=str(path.parent), exclude_anchor_links=True)
        return MarkdownWithMath(renderer=renderer).render(source)

    exporter = HTMLExporter(template_name="basic", config=Config(), exclude_input_prompt=True, exclude_output_prompt=True)
    exporter.register_filter("markdown2html", markdown)
    body, _ = exporter.from_notebook_node(notebook)
    fetched = re.search(r"""<(?:img|script|iframe|link|source|video|audio)\b[^>]*\b(?:src|href)=["']?(?!data:)([^"'> ]+)""", body)
    if fetched:
        raise SepvizError(f"{path} shows {fetched[1]}, which a page without a network cannot: put the picture into the notebook")
    return body.replace("<pre>", '<pre tabindex="0">')  # so that what is wider than the screen can be scrolled by keyboard


def _mathml(tex: str, display: str) -> str:
    """A formula as browsers draw it; one that cannot be read is shown as it was written."""
    from latex2mathml.converter import convert

    try:
        found = convert(tex.replace(r"\arg", r"\operatorname{arg}"), display=display).replace(r">\|<", ">\u2016<")
    except Exception:  # it has many kinds of its own
        found = "\\unknown"
    found = re.sub("(<mi>(?:log|exp|sin|cos)</mi>)", r'\1<mspace width="0.167em" />', found)
    return f"<code>{html.escape(tex)}</code>" if re.search(r"\\[a-zA-Z]", found) else found
