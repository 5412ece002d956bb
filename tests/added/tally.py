"""``sepviz tally``: count the mixtures of a problem file."""

import argparse

from sepviz.cli.common import Commands


def add(commands: Commands) -> None:
    """Its arguments."""
    tally = commands.add("tally", run, "count the mixtures of a problem file")
    tally.add_argument("problem", metavar="PROBLEM.npz")


def run(arguments: argparse.Namespace) -> int:
    """The command."""
    from sepviz import files

    print(f"{len(files.load_problem(arguments.problem)[0].mixtures)} mixtures")
    return 0
