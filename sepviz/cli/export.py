"""``sepviz export``: web pages of labs and recorded runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from sepviz.cli import common
from sepviz.cli.common import Commands


def add(commands: Commands) -> None:
    """Its arguments."""
    export = commands.add("export", run, "turn labs and recorded runs into web pages", """
        Each page is one HTML file below 5 MB that needs no Python and no network, and its players
        play and scrub. index.html leads to all of them.""")
    export.add_argument("sources", metavar="LAB", nargs="*", help="""a lab (start_here, ...), a
        recorded run (egg-strokes-high, ...), or your own notebook.ipynb or trace.npz; with
        trace.problem.npz beside it, the truth is shown (default: all labs and runs)""")
    export.add_argument("--out", type=Path, default=Path("sepviz-gallery"), metavar="FOLDER",
                        help="made fresh (default: sepviz-gallery)")
    export.add_argument("--run", action="store_true", dest="run_first", help="""run the notebooks
        first; they stay as they are (labs without pictures are run in any case)""")
    export.add_argument("--trust", action="store_true",
                        help="run the code that widgets of other packages saved in the notebooks")


def run(arguments: argparse.Namespace) -> int:
    """The command."""
    from sepviz.core import SepvizError
    from sepviz.views.export import gallery
    from sepviz.views.saved import NotRun

    if arguments.out.exists():
        raise SepvizError(f"--out {arguments.out}: it is there already, choose another folder")
    try:
        pages = gallery(_sources(arguments.sources), arguments.out, run=arguments.run_first,
                        trust=arguments.trust)
    except NotRun as error:
        raise SepvizError(f"{error} (--run does that)") from None
    for page in pages:
        print(f"{page}: {page.stat().st_size / 1e6:.2f} MB")
    print(f"open {pages[0]} in a browser, or put the folder on a course page")
    return 0


def _sources(names: list[str]) -> list[Path]:
    """The files behind what was named: all labs and recorded runs if nothing was."""
    from sepviz import zoo
    from sepviz.suggest import choose

    labs = sorted(common.labs_home().glob("*.ipynb"),
                  key=lambda path: (path.stem != "start_here", path.stem))
    shipped = {path.stem: path for path in labs}
    shipped |= {path.name.removesuffix(".trace.npz"): path
                for path in sorted(zoo.FOLDER.glob("*.trace.npz"))}
    found = [Path(name) if name.endswith((".ipynb", ".npz"))
             else shipped[choose("lab or recorded run", name, shipped)] for name in names]
    return found or list(shipped.values())
