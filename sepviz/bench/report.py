"""Measure the rows of a table, print them beside the paper's figures, and store them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from sepviz import files
from sepviz.bench import LEARNED, RACES, learn, results, run, tables
from sepviz.core import Problem, Separator, SepvizError

Kind = TypeVar("Kind")


def main(options: Any, prior: Any = None) -> None:
    """Measure, print and store one table in each of its settings.

    Parameters
    ----------
    options : argparse.Namespace
        Of ``sepviz bench``.
    prior : optional
        The loaded ``options.prior``, which the rows share.
    """
    for table in tables.of(options):
        chosen = select(table.rows, options.methods)
        rows = ([learn.row(label, recipe, options) for label, recipe in chosen.items()]
                if options.table in LEARNED else separated(chosen, table, options, prior))
        if not rows:  # all were refused, and that was said
            continue
        published = {label: row["mean"] for label, row
                     in results.papers(options.table, table.setting).items()}
        facts = results.facts()
        title = (f"{table.what}, {table.convention} PSNR in dB (sepviz {facts['sepviz']}, "
                 f"torch {facts['torch']}, {facts['machine']})")
        print(text(rows, title, published), flush=True)
        for line in comparisons(rows) if options.table in RACES else ():
            print(line, flush=True)
        write(options, [described(row, table, options, facts) for row in rows])
        if rows[0].n < options.count:
            raise KeyboardInterrupt(f"the table is of the first {rows[0].n} mixtures")


def separated(chosen: Mapping[str, Any], table: tables.Table, options: Any,
              prior: Any) -> list[run.Row]:
    """The rows of methods that need no training; those that refuse many sources are left out."""
    problem, truth = next(iter(chosen.values())).problem(options.device)
    methods = {}
    for label, recipe in chosen.items():
        methods[label] = _sharing(recipe.separator(options.device), recipe, options, prior)
        if refusal := _refusal(methods[label], problem) if options.table == "sources" else None:
            print(f"{table.setting}, {label}: refused, {refusal}")
            del methods[label]
    if not methods:
        return []
    return run.evaluate(methods, problem, truth, seed=options.seed, chunk=options.chunk,
                        keep=options.keep, convention=table.convention)


def _sharing(separator: Any, recipe: Any, options: Any, prior: Any) -> Separator:
    if prior is None or recipe.prior != options.prior:
        return separator
    return dataclasses.replace(separator, prior=prior)


def _refusal(separator: Separator, problem: Problem) -> SepvizError | None:
    try:
        separator.check(problem)
    except SepvizError as refusal:
        return refusal
    return None


def text(rows: list[run.Row], title: str, published: Mapping[str, float]) -> str:
    """Rows as text, the paper's figures beside ours by label."""
    filtered = any(row.aligned is not None for row in rows)
    head = (f"{'':34} {'paper':>6} {'n':>5} {'mean':>6} {'+-95%':>6} {'median':>7} {'pooled':>7} "
            f"{'SSIM':>6} {'residual':>9} {'evals':>6} {'s/mixture':>10}"
            + f" {'aligned':>8} {'filters':>8}" * filtered)
    lines = [title, head, "-" * len(head)]
    for row in rows:
        more = [row.aligned, row.filters] if filtered else []
        lines.append(f"{row.label:34} {published.get(row.label, ''):>6} {row.n:5d} {row.mean:6.2f} "
                     f"{row.interval:6.2f} {row.median:7.2f} {row.pooled:7.2f} {row.ssim:6.3f} "
                     f"{row.residual:9.5f} {row.evaluations:6.0f} {row.seconds:10.3f}"
                     + "".join(f" {'-' if one is None else f'{one:.2f}':>8}" for one in more))
    return "\n".join(lines)


def comparisons(rows: list[run.Row]) -> Iterator[str]:
    """A line for each two rows of a race: how many times as fast, and how much better."""
    for pair in itertools.combinations(rows, 2):
        fast, slow = sorted(pair, key=lambda row: row.seconds)
        by_evaluations = (f" ({slow.evaluations / fast.evaluations:.1f} by evaluations)"
                          if fast.evaluations and slow.evaluations else "")
        yield (f"{fast.label}: {slow.seconds / fast.seconds:.1f} times as fast as {slow.label}"
               f"{by_evaluations}, {fast.mean - slow.mean:+.2f} dB")


def described(row: run.Row, table: tables.Table, options: Any,
              facts: Mapping[str, Any]) -> dict[str, Any]:
    """A row as it is stored."""
    figures = {name: results.rounded(value) for name, value in row._asdict().items()}
    return {"table": options.table, "setting": table.setting, "label": figures.pop("label"),
            "recipe": str(table.rows[row.label]),
            "chunk": None if options.table in LEARNED else options.chunk,
            "convention": table.convention, **figures, **facts, "command": options.command_line}


def write(options: Any, rows: list[dict[str, Any]]) -> None:
    """Append the rows to the JSON-lines file, and store those of a whole table, where asked."""
    if options.out:
        with open(options.out, "a", encoding="utf-8") as file:
            file.writelines(files.to_json(row) + "\n" for row in rows)
    if options.store and rows[0]["n"] == options.count:
        print(results.store(options.table, rows))


def select(rows: Mapping[str, Kind], words: list[str] | None) -> dict[str, Kind]:
    """The rows whose label is one of the words or, for a word that is no label, holds it."""
    def wanted(label: str) -> bool:
        return not words or any(word == label or (word not in rows and word in label)
                                for word in words)

    chosen = {label: row for label, row in rows.items() if wanted(label)}
    if not chosen:
        raise SepvizError(f"methods {words}: none of the rows ({', '.join(rows)}) "
                          "holds one of these words")
    return chosen
