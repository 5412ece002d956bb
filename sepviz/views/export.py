"""A static gallery: labs and recorded runs as plain HTML pages, without a kernel or a network.

A lab's page holds what its notebook saved: text, code, figures, and every widget's state and code,
which runs in the page over a stand-in for Jupyter's model. Notebooks may be anybody's:
`sepviz.views.saved` checks them, `sepviz.views.cleaning` cleans them, and a page's policy lets no
script run but its own.
"""

from __future__ import annotations

import base64
import html
import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from tqdm.auto import tqdm

from sepviz import files
from sepviz.core import SepvizError
from sepviz.views.lab_page import lab_page
from sepviz.views.page import LARGEST
from sepviz.views.run_page import run_page
from sepviz.views.web_page import Page, fitted, html_of, name_of

TITLE = "Source separation, step by step"
WELCOME = ("Every player here plays and scrubs in the browser: no installation, no network. The "
           "labs as notebooks, to change and to run, come with <code>sepviz lab</code>.")


def gallery(sources: Sequence[str | Path], folder: str | Path, *, run: bool = False,
            trust: bool = False) -> list[Path]:
    """Write a page for each lab and each recorded run, and ``index.html``, which leads to them.

    Parameters
    ----------
    sources : sequence of str or Path
        Notebooks that were run (``.ipynb``), recorded runs (``.npz``, as `Trace.save` writes them;
        a problem beside one, ``NAME.problem.npz``, is the truth that is shown), in the order of
        the gallery.
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
        The pages, the index first. Each is a file of its own below 5 MB: frames of long runs are
        left out, evenly.

    Raises
    ------
    SepvizError
        If there is nothing to export, a source is missing or damaged, or a page is too large.
    sepviz.views.saved.NotRun
        If a notebook holds no outputs, or not the state of its widgets.
    """
    folder, paths = Path(folder), [Path(source) for source in sources]
    if folder.exists():
        raise SepvizError(f"{folder} is there already: choose another folder")
    _check_sources(paths)
    pages, texts = [], {}
    for path in tqdm(paths, desc="exporting", unit="page", delay=1, leave=False):
        lab = path.suffix == ".ipynb"
        pages.append(lab_page(path, run, trust) if lab else run_page(path, LARGEST))
        texts[pages[-1].name] = fitted(pages[-1], LARGEST)
    texts = {"index": _index(pages, texts), **texts}
    with files.fresh_folder(folder) as made_in:
        for name, text in texts.items():
            (made_in / f"{name}.html").write_bytes(text.encode("utf-8", "replace"))
    return [folder / f"{name}.html" for name in texts]


def _check_sources(paths: Sequence[Path]) -> None:
    if not paths:
        raise SepvizError("nothing to export: give notebooks (.ipynb) or recorded runs (.npz)")
    names = ["index", *map(name_of, paths)]
    lower = [name.casefold() for name in names]  # some file systems take "Index" for "index"
    for name in names:
        if lower.count(name.casefold()) > 1:
            raise SepvizError(f"two pages would be called {name}.html: rename one of the files")
    for path in paths:
        if path.suffix not in (".ipynb", ".npz"):
            raise SepvizError(f"{path}: want a notebook (.ipynb) or a recorded run (.npz)")
        if not path.is_file():
            raise SepvizError(f"cannot read {path}: No such file or directory")


def _index(pages: Sequence[Page], texts: dict[str, str]) -> str:
    parts = [f"<h1>{TITLE}</h1>", f"<p>{WELCOME}</p>"]
    for kind in dict.fromkeys(page.kind for page in pages):
        cards = [_card(page, len(texts[page.name].encode())) for page in pages if page.kind == kind]
        parts += [f"<h2>{kind}</h2>", '<ul class="gallery">', *cards, "</ul>"]
    return html_of(TITLE, "\n".join(parts), {}, navigation="")


def _card(page: Page, size: int) -> str:
    """A page in the index: its picture, its title and what it is about."""
    picture = '<div class="blank"></div>'
    if page.picture:
        dark = "" if page.kind == "Labs" else ' class="dark"'
        data = base64.b64encode(page.picture).decode()
        picture = f'<img{dark} alt="" src="data:image/jpeg;base64,{data}">'
    address = f"{quote(os.fsencode(page.name))}.html"
    return (f'<li>{picture}<h3><a href="{address}">{html.escape(page.title)}</a></h3>'
            f"<p>{html.escape(page.sentence)}</p><p>{size / 1e6:.1f} MB</p></li>")
