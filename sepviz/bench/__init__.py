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
    parser.add_argument("--dataset", default="mnist", help="""see sepviz data; nes-table1,
        remix-table1 and egg-race: mnist, strokes or fashion-mnist (default: mnist)""")
    parser.add_argument("--prior", help="""tables with a prior: a shipped one or a .safetensors file
        (default: score-DATASET; S-D's tables: gan-DATASET)""")
    parser.add_argument("--count", type=int, default=100,
                        help="mixtures; the papers have 5,000 to 10,000 (default: 100)")
    parser.add_argument("--chunk", type=int, default=50,
                        help="""mixtures run at once; not nes-table1, remix-table1 and egg-race
                        (default: 50)""")
    parser.add_argument("--seed", type=int, default=1000,
                        help="of mixtures and methods (default: 1000)")
    parser.add_argument("--protocol", action="append",
                        help="basis: split or agnostic; may be repeated (default: both)")
    parser.add_argument("--sources", type=int, action="append", metavar="K",
                        help="sources: how many; may be repeated (default: 3, 4 and 10)")
    parser.add_argument("--task", action="append", help="""sd-table2: denoise, inpaint, complete;
        sd-table3: deconvolve, separate, separate-deconvolve; sd-race: any of them; may be repeated
        (default: all of the table; sd-race: separate)""")
    parser.add_argument("--starts", type=int, action="append", metavar="L",
                        help="""sd-table2, sd-table3, sd-race: starts of synthesis; may be
                        repeated (default: 1, 8 and 32; sd-race: 8 and 32)""")
    parser.add_argument("--methods", nargs="+", metavar="WORD",
                        help="""only the rows whose label is or holds one of these words (default: all
                        rows)""")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="""all but the races: where
        finished chunks and trainings are kept, so that an interrupted table goes on (default: nothing is kept)""")
    parser.add_argument("--out", metavar="FILE", help="""append the rows to this JSON-lines file
        (default: they are only printed)""")
    parser.add_argument("--device", metavar="auto|cpu|cuda",
                        help="default: what SEPVIZ_DEVICE says, else cpu")
    parser.add_argument("--compile", action="store_true", help="""tables with a prior: compile the
        network, a minute, then faster; needs a C++ compiler (default: not compiled)""")
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
