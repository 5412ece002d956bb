"""``sepviz data``: which sets of images there are."""

from __future__ import annotations

import argparse

from sepviz.cli.common import Commands


def add(commands: Commands) -> None:
    """It has no arguments."""
    commands.add("data", run, "say which sets of images there are, and where")


def run(arguments: argparse.Namespace) -> int:
    """The command."""
    from sepviz import data

    print(f"{'name':<15} {'split':<6} {'images':>7}  where")
    for row in data.summary():
        items = "-" if row.items is None else row.items
        print(f"{row.name:<15} {row.split:<6} {items:>7}  {row.where}")
    return 0
