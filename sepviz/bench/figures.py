"""Make the tables of FIGURES.md from the stored results: ``.ci/figures``."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sepviz import zoo
from sepviz.bench import PAIRS, RACES, TASKS, results, tables
from sepviz.runs import restore

FILE = Path(__file__).parent / "FIGURES.md"
MADE = re.compile(r"<!-- made: ([\w-]+) -->\n.*?<!-- end -->", re.DOTALL)
Stored = Mapping[str, Any]


def made(text: str) -> str:
    """The text with what stands between its marks made anew."""
    def anew(mark: re.Match) -> str:
        return f"<!-- made: {mark[1]} -->\n{MAKERS[mark[1]]()}\n<!-- end -->"

    return MADE.sub(anew, text)


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rows))


def _origin(*names: str) -> str:
    """Where the rows of stored tables were measured, and the commands that measured them."""
    stored = [row for name in names for row in results.load(name)]
    return "\n".join(["", "", *dict.fromkeys(map(_where, stored)), "", "```bash",
                      *dict.fromkeys(row["command"] for row in stored), "```"])


def _where(row: Stored) -> str:
    if "carried" in row:
        return f"- sepviz {row['sepviz']}: {row['carried']}."
    return (f"- {row['label']}, {row['setting']}: sepviz {row['sepviz']}, commit {row['commit']}, "
            f"torch {row['torch']}, {row['machine']}, {row['date']}.")


def _best(table: str, setting: str, label: str) -> Stored | None:
    """The stored row of most mixtures; of two the newer one."""
    rows = [row for row in results.load(table)
            if (row["setting"], row["label"]) == (setting, label)]
    return max(rows, key=lambda row: (row["n"], row["date"] or ""), default=None)


def _number(row: Stored | None, name: str, form: str = "", empty: str = "") -> str:
    value = (row or {}).get(name)
    return empty if value is None else format(value, form)


def _psnr(row: Stored | None) -> str:
    interval = _number(row, "interval", ".1f")
    return _number(row, "mean", ".1f", "-") + (f" ± {interval}" if interval else "")


# --- the tables ---------------------------------------------------------------------------------


def pairs() -> str:
    """All stored rows of pairs of digits."""
    def cells(row: Stored) -> Iterator[str]:
        seed = restore(row["recipe"]).mixture["seed"]
        yield row["label"]
        yield row["setting"] + (f", seed {seed}" if seed != "1000" else "")
        yield _number(results.papers("basis", row["setting"]).get(row["label"]), "mean", ".1f")
        yield _psnr(row)
        yield from (_number(row, name, form) for name, form
                    in (("median", ".1f"), ("ssim", ".3f"), ("evaluations", ",.0f"), ("n", ",")))

    head = ["method", "pairs of", "paper", "ours", "median", "SSIM", "evaluations", "n"]
    return _markdown(head, map(list, map(cells, results.load("basis")))) + _origin("basis")


def grid(columns: Mapping[str, tuple[str, str]], labels: Iterable[str]) -> str:
    """The paper's figure / ours, a row for each method and a column for each setting of a table."""
    sources = list(dict.fromkeys(table for table, _ in columns.values()))
    most = max(row["n"] for table in sources for row in results.load(table))

    def cell(table: str, setting: str, label: str) -> str:
        paper, ours = results.papers(table, setting).get(label), _best(table, setting, label)
        if not paper and not ours:
            return "-"
        ssims = [f" ({text})" if (text := _number(row, "ssim", form).lstrip("0")) else ""
                 for row, form in ((paper, ".2f"), (ours, ".3g"))]
        n = f", n = {ours['n']:,}" if ours and ours["n"] != most else ""
        return f"{_psnr(paper)}{ssims[0]} / {_psnr(ours)}{ssims[1]}{n}"

    rows = [[label, *(cell(*place, label) for place in columns.values())] for label in labels]
    return _markdown([f"n = {most:,}", *columns], rows) + _origin(*sources)


def sd() -> str:
    """Every task of S-D."""
    columns = {task: (table, f"mnist, {task}") for table, tasks in TASKS.items() for task in tasks}
    return grid(columns, ["cnn", "nmf", "conv-nmf", *(f"synthesis, {n}" for n in (1, 8, 32))])


def filters() -> str:
    """How near the recovered filters of S-D come to the true ones."""
    rows = [[row["setting"], row["label"], f"{row['filters']:.2f}", f"{row['n']:,}"]
            for row in results.load("sd-table3") if row.get("filters") is not None]
    return _markdown(["task", "method", "median correlation", "n"], rows)


def learned() -> str:
    """What learns with one source seen clean."""
    columns = {f"{low} unseen": ("nes-table1", f"mnist, {name}")
               for name, (low, _) in PAIRS["mnist"].items()}
    return grid(columns, tables.LEARNERS["nes-table1"])


def blind() -> str:
    """What learns from mixtures alone."""
    return grid({"both sources": ("remix-table1", "mnist, low")}, tables.LEARNERS["remix-table1"])


def races() -> str:
    """Two methods on the same mixtures in one process."""
    def line(row: Stored, other: str, times: float, gain: float) -> list[str]:
        return [row["setting"], row["label"], other, f"{times:.1f}", f"{gain:+.3g}",
                f"{row['n']:,}"]

    def lines(table: str) -> Iterator[list[str]]:
        stored = results.load(table)
        for row in stored:  # carried over: the ratios alone are known
            for other, times in row.get("faster", {}).items():
                yield line(row, other, times, row["gain"][other])
        together = [row for row in stored if "carried" not in row]
        for fast, slow in itertools.permutations(together, 2):
            same = all(fast[name] == slow[name] for name in ("command", "setting", "date"))
            if same and fast["seconds"] < slow["seconds"]:
                yield line(fast, slow["label"], slow["seconds"] / fast["seconds"],
                           fast["mean"] - slow["mean"])

    head = ["mixtures", "method", "against", "times as fast", "dB", "n"]
    return _markdown(head, itertools.chain(*map(lines, RACES))) + _origin(*RACES)


def cards() -> str:
    """The shipped priors: how long they were trained and what they reach on held-out images."""
    def held_out(card: Mapping[str, Any]) -> str:
        figures = next((part for part in card.values()
                        if isinstance(part, dict) and {"what", "mean", "n"} <= set(part)), None)
        if figures:
            return f"{figures['mean']:.1f}: {figures['what']}, n = {figures['n']:,}"
        loss = card["held_out_loss_per_sigma"]
        return f"{loss['0.35']:.4f}: MSE / sigma² at sigma 0.35, n = {card['held_out_images']:,}"

    every = {name: zoo.card(name) for name in zoo.names()}
    rows = [[name, f"{card['minutes']:.0f}", held_out(card)] for name, card in every.items()]
    remarks = [f"- {name}: {card['remarks']}." for name, card in every.items() if "remarks" in card]
    commands = [card["command"] for card in every.values()]
    return "\n".join([_markdown(["prior", "minutes", "held-out images"], rows), "", *remarks, "",
                      "```bash", *commands, "```"])


MAKERS = {maker.__name__: maker for maker in (pairs, races, sd, filters, learned, blind, cards)}


def main() -> None:
    """Write FIGURES.md anew."""
    FILE.write_text(made(FILE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
