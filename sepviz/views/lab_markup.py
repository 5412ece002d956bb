"""A notebook's cells as HTML, with formulas that browsers draw by themselves."""

from __future__ import annotations

import base64
import html
import logging
import mimetypes
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from sepviz.core import SepvizError
from sepviz.views.cleaning import clean
from sepviz.views.saved import first_line

if TYPE_CHECKING:
    from nbformat import NotebookNode

STANDS_FOR = {ord("<"): "\ue000", ord(">"): "\ue001"}  # within the words of a formula


def converted(notebook: NotebookNode, path: Path, missing: list[str]) -> str:
    """The cells by nbconvert, markdown cleaned cell by cell, the rest not yet.

    Parameters
    ----------
    missing : list of str
        Gets the addresses of pictures that the notebook does not hold.
    """
    from nbconvert import HTMLExporter
    from traitlets.config import Config

    quiet = logging.Logger("nbconvert", logging.CRITICAL + 1)  # it tells of pictures without alt
    exporter = HTMLExporter(template_name="basic", config=Config(), log=quiet,
                            exclude_input_prompt=True, exclude_output_prompt=True)
    exporter.register_filter("markdown2html", _markdown(path.parent.resolve(), missing))
    language = notebook.metadata.get("language_info", {})
    names = {key: language[key] for key in ("name", "pygments_lexer")
             if isinstance(language.get(key), str)}
    notebook.metadata = {"language_info": {"name": "python", **names}}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of formats that are not shown
            return exporter.from_notebook_node(notebook)[0]
    except Exception as error:  # of many libraries, over text that anybody wrote
        raise SepvizError(f"{path} cannot be made a page of ({first_line(error, 120)}): "
                          "does JupyterLab show it?") from None


def _markdown(folder: Path, missing: list[str]) -> Callable[..., str]:
    """A filter for nbconvert that turns a cell's markdown into clean HTML.

    Each cell is cleaned by itself: a tag left open must not swallow what follows.
    """
    from jinja2 import pass_context
    from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

    class Renderer(IPythonRenderer):
        def block_math(self, body: str) -> str:
            return mathml(body, "block")

        def inline_math(self, body: str) -> str:
            return mathml(body, "inline")

        def latex_environment(self, name: str, body: str) -> str:
            return mathml(f"\\begin{{{name}}}{body}\\end{{{name}}}", "block")

        def _embed_image_or_attachment(self, src: str) -> str:
            if not src.startswith("attachment:"):
                return _file_as_data(folder, src) or src
            found = self.attachments.get(unquote(src.removeprefix("attachment:")), {})
            addresses = (f"data:{kind};base64,{''.join(data)}" for kind, data in found.items())
            return next(addresses, src)

    @pass_context
    def markdown(context: Any, source: str) -> str:
        attachments = context.get("cell", {}).get("attachments", {})
        renderer = Renderer(escape=False, embed_images=True, attachments=attachments,
                            exclude_anchor_links=True)
        return clean(MarkdownWithMath(renderer=renderer).render(source), missing)

    return markdown


def _file_as_data(folder: Path, src: str) -> str | None:
    """A file of the notebook's folder as an address that holds it."""
    try:
        file = (folder / unquote(src)).resolve()
        if not file.is_relative_to(folder) or not file.is_file():
            return None
        kind = mimetypes.guess_type(file.name)[0]
        return f"data:{kind};base64,{base64.b64encode(file.read_bytes()).decode()}"
    except (OSError, ValueError):  # no name of a file at all
        return None


def mathml(tex: str, display: str) -> str:
    """A formula as browsers draw it; one that cannot be read is shown as it was written."""
    from latex2mathml.converter import convert

    # Words in a formula are copied as they are: "<" there would begin a tag.
    words = re.sub(r"\\(?:text\w*|mbox)\s*\{[^{}]*\}",
                   lambda found: found[0].translate(STANDS_FOR), tex)
    try:
        found = convert(words.replace(r"\arg", r"\operatorname{arg}"), display=display)
    except Exception:  # it has many kinds of its own
        found = "\\unknown"
    found = found.replace(r">\|<", ">\u2016<")
    found = re.sub("(<mi>(?:log|exp|sin|cos)</mi>)", r'\1<mspace width="0.167em" />', found)
    for code, letter in STANDS_FOR.items():
        found = found.replace(letter, html.escape(chr(code)))
    return f"<code>{html.escape(tex)}</code>" if re.search(r"\\[a-zA-Z]", found) else found
