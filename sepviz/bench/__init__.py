"""The tables: one file per published table, ours beside the paper's."""

from __future__ import annotations

from pathlib import Path

TABLES = {
    "basis": "BASIS, Table 2: pairs of digits, class split and class agnostic",
    "race": "basis against split-gibbs, same network, same mixtures, one process",
    "sources": "three, four and ten sources",
}


def main(arguments: list[str] | None = None) -> None:
    """``sepviz bench TABLE [options]``."""
    import importlib

    from sepviz import load_prior
    from sepviz.cli import Parser, _device
    from sepviz.core import SepvizError
    from sepviz.suggest import nearest

    parser = Parser(prog="sepviz bench", description="Tables: " + "; ".join(f"{name}: {text}" for name, text in TABLES.items()))
    parser.add_argument("table", metavar="TABLE", help=", ".join(TABLES))
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--prior", help="default: score-DATASET")
    parser.add_argument("--count", type=int, default=100, help="mixtures (the published table has 6,000)")
    parser.add_argument("--chunk", type=int, default=50, help="mixtures run at once")
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--protocol", action="append", help="split or agnostic; both where left out")
    parser.add_argument("--sources", type=int, action="append", help="table sources: K; 3, 4 and 10 where left out")
    parser.add_argument("--methods", nargs="+", help="only the rows whose label holds one of these words")
    parser.add_argument("--keep", type=Path, help="a folder for finished chunks, so that an interrupted run goes on")
    parser.add_argument("--out", help="append the rows to this JSON-lines file")
    parser.add_argument("--device", default=None, help="cpu, cuda; default: SEPVIZ_DEVICE, else cpu")
    parser.add_argument("--compile", action="store_true", help="compile the network: a minute, then faster; needs a C++ compiler")
    options = parser.parse_args(arguments)
    if options.table not in TABLES:
        raise SepvizError(f"no table {options.table!r}: {nearest(options.table, TABLES)}")
    if options.count < 1 or options.chunk < 1:
        raise SepvizError(f"count {options.count}, chunk {options.chunk}: both must be at least 1")
    for option, tables in (("protocol", ("basis",)), ("keep", ("basis", "sources")), ("sources", ("sources",))):
        if getattr(options, option) and options.table not in tables:
            raise SepvizError(f"--{option} is not for table {options.table}: leave it out")
    if options.out and not Path(options.out).resolve().parent.is_dir():
        raise SepvizError(f"--out {options.out}: there is no such folder, make it first")
    options.device = _device(options.device)
    prior = load_prior(options.prior or f"score-{options.dataset}", options.device)
    if options.compile:
        prior.network.compile()
    importlib.import_module(f"sepviz.bench.{options.table}").main(options, prior)
