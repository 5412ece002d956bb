"""``sepviz exercises``: the labs for a class."""

from __future__ import annotations

import argparse
from pathlib import Path

from sepviz.cli import common
from sepviz.cli.common import Commands


def add(commands: Commands) -> None:
    """Its arguments."""
    made = commands.add("exercises", run,
                        "write the labs for a class: without the solutions, and complete",
                        "It writes NAME.ipynb, without solutions, and NAME.solution.ipynb.")
    made.add_argument("names", metavar="LAB", nargs="*",
                      help="start_here, score_prior, langevin, ... (default: all)")
    made.add_argument("--out", type=Path, default=Path("sepviz-exercises"), metavar="FOLDER",
                      help="default: ./sepviz-exercises")
    made.add_argument("--force", action="store_true", help="write over existing files")


def run(arguments: argparse.Namespace) -> int:
    """The command."""
    from sepviz import course as exercises
    from sepviz.core import SepvizError
    from sepviz.suggest import choose

    home = common.labs_home()
    known = sorted(path.stem for path in home.glob("*.py") if path.name != "__init__.py")
    if not known:
        raise SepvizError(f"no labs at {home}: install sepviz again")
    chosen = [choose("lab", name.removesuffix(".ipynb"), known) for name in arguments.names]
    if arguments.out.is_dir() and arguments.out.samefile(home):
        raise SepvizError(f"--out {arguments.out}: the labs themselves lie there, "
                          "give another folder")
    names = list(dict.fromkeys(chosen or known))
    for path in exercises.write(home, names, arguments.out, arguments.force):
        print(path)
    return 0
