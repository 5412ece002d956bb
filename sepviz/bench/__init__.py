"""The tables: one file per published table, ours beside the paper's."""

from __future__ import annotations

from pathlib import Path

# name -> module, kind of prior if one for all rows, what it is
TABLES: dict[str, tuple[str, str | None, str]] = {
    "basis": ("basis", "score", "BASIS, Table 2: pairs of digits, class split and class agnostic"),
    "race": ("race", "score", "basis against split-gibbs, same network, same mixtures, one process"),
    "sources": ("sources", "score", "three, four and ten sources"),
    "sd-table2": ("sd", "gan", "S-D, Table 2: denoise, inpaint, complete"),
    "sd-table3": ("sd", "gan", "S-D, Table 3: deconvolve, separate, both"),
    "sd-race": ("sd_race", "gan", "the fast synthesis against the authors' program, same generator, same mixtures, one process"),
    "nes-table1": ("nes", None, "Neural Egg Separation, Table 1: one source seen clean, the other never"),
    "remix-table1": ("nes", None, "Unmix-and-Remix, Table 1: no source seen clean"),
    "egg-race": ("egg_race", None, "the fast egg against the authors' schedule, same examples, one process"),
}


def main(arguments: list[str] | None = None) -> None:
    """``sepviz bench TABLE [options]``."""
    import importlib

    from sepviz import load_prior, zoo
    from sepviz.cli import Parser, _device
    from sepviz.core import SepvizError
    from sepviz.suggest import nearest

    parser = Parser(prog="sepviz bench", description="Tables: " + "; ".join(f"{name}: {text}" for name, (*_, text) in TABLES.items()))
    parser.add_argument("table", metavar="TABLE", help=", ".join(TABLES))
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--prior", help="default: score-DATASET or, for S-D's tables, gan-DATASET")
    parser.add_argument("--count", type=int, default=100, help="mixtures (the published table has 6,000)")
    parser.add_argument("--chunk", type=int, default=50, help="mixtures run at once")
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--protocol", action="append", help="split or agnostic; both where left out")
    parser.add_argument("--sources", type=int, action="append", help="table sources: K; 3, 4 and 10 where left out")
    parser.add_argument("--task", action="append", help="tables of S-D: denoise, inpaint, ...; all of the table where left out")
    parser.add_argument("--starts", type=int, action="append", help="tables of S-D: L; 1, 8 and 32 where left out")
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
    sd = [name for name, (module, *_) in TABLES.items() if module == "sd"]
    nes = [name for name, (module, *_) in TABLES.items() if module == "nes"]
    with_prior = [name for name, (_, kind, _) in TABLES.items() if kind]
    for option, tables in (("prior", with_prior), ("compile", with_prior), ("protocol", ("basis",)),
                           ("keep", ("basis", "sources", *sd, *nes)), ("sources", ("sources",)),
                           ("task", (*sd, "sd-race")), ("starts", (*sd, "sd-race"))):
        if getattr(options, option) and options.table not in tables:
            raise SepvizError(f"--{option} is not for table {options.table}: leave it out")
    if options.out and not Path(options.out).resolve().parent.is_dir():
        raise SepvizError(f"--out {options.out}: there is no such folder, make it first")
    options.device = _device(options.device)
    module, kind, _ = TABLES[options.table]
    prior = load_prior(options.prior or f"{kind}-{options.dataset}", options.device) if kind else None
    if kind and zoo.kind_of(prior) != kind:
        raise SepvizError(f"--prior {options.prior}: table {options.table} needs one of the kind {kind}-...")
    if options.compile and prior is not None:
        prior.network.compile()
    importlib.import_module(f"sepviz.bench.{module}").main(options, prior)
