"""``sepviz bench``: compute a published table."""

from __future__ import annotations

import argparse
from pathlib import Path

from sepviz.bench import PAIRS, RACES, TABLES, TASKS
from sepviz.cli import common
from sepviz.cli.common import Commands

WITH_PRIOR = tuple(name for name, (kind, _) in TABLES.items() if kind)
WITH_STARTS = (*TASKS, "sd-race")
# options that only some tables have
ONLY = {"prior": WITH_PRIOR, "compile": WITH_PRIOR, "protocol": ("basis",), "sources": ("sources",),
        "keep": tuple(set(TABLES) - set(RACES)), "task": WITH_STARTS, "starts": WITH_STARTS}


def add(commands: Commands) -> None:
    """Its arguments."""
    tables = "; ".join(f"{name}: {text}" for name, (_, text) in TABLES.items())
    bench = commands.add("bench", run, "compute a published table", f"Tables: {tables}.")
    bench.add_argument("table", metavar="TABLE", help=", ".join(TABLES))
    bench.add_argument("--dataset", default="mnist", help="""see sepviz data; nes-table1,
        remix-table1 and egg-race: mnist, strokes or fashion-mnist (default: mnist)""")
    bench.add_argument("--prior", help="""tables with a prior: a shipped one or a .safetensors file
        (default: score-DATASET; S-D's tables: gan-DATASET)""")
    bench.add_argument("--count", type=common.whole, default=100,
                       help="mixtures; the papers have 5,000 to 10,000 (default: 100)")
    bench.add_argument("--chunk", type=common.whole, default=50, help="""mixtures run at once; not
        nes-table1, remix-table1 and egg-race (default: 50)""")
    bench.add_argument("--seed", type=common.whole, default=1000,
                       help="of mixtures and methods (default: 1000)")
    bench.add_argument("--protocol", action="append",
                       help="basis: split or agnostic; may be repeated (default: both)")
    bench.add_argument("--sources", type=int, action="append", metavar="K",
                       help="sources: how many; may be repeated (default: 3, 4 and 10)")
    bench.add_argument("--task", action="append", help="""sd-table2: denoise, inpaint, complete;
        sd-table3: deconvolve, separate, separate-deconvolve; sd-race: any of them; may be repeated
        (default: all of the table; sd-race: separate)""")
    bench.add_argument("--starts", type=int, action="append", metavar="L",
                       help="""sd-table2, sd-table3, sd-race: starts of synthesis; may be
                       repeated (default: 1, 8 and 32; sd-race: 8 and 32)""")
    bench.add_argument("--methods", nargs="+", metavar="WORD", help="""only the rows whose label is
        or holds one of these words (default: all rows)""")
    bench.add_argument("--keep", type=Path, metavar="FOLDER", help="""save finished parts in
        this folder, so that an interrupted table can continue; not for races
        (default: nothing is kept)""")
    bench.add_argument("--out", metavar="FILE", help="""append the rows to this JSON-lines file
        (default: they are only printed)""")
    bench.add_argument("--store", action="store_true", help="""store the rows in
        sepviz/bench/results, from which .ci/figures makes FIGURES.md; the same row stored before
        is replaced (default: not stored)""")
    bench.add_argument("--device", metavar="auto|cpu|cuda",
                       help="default: what SEPVIZ_DEVICE says, else cpu")
    bench.add_argument("--compile", action="store_true", help="""tables with a prior: compile the
        network, a minute, then faster; needs a C++ compiler (default: not compiled)""")


def run(options: argparse.Namespace) -> int:
    """The command."""
    import os

    from sepviz import files, load_prior, zoo
    from sepviz.bench import LEARNED, report, results
    from sepviz.core import SepvizError
    from sepviz.suggest import nearest

    table = options.table
    if table not in TABLES:
        raise SepvizError(f"no table {table!r}: {nearest(table, TABLES)}")
    for option, tables in ONLY.items():
        if getattr(options, option) and table not in tables:
            raise SepvizError(f"--{option} is not for table {table}: leave it out")
    if table in LEARNED and options.dataset not in PAIRS:
        raise SepvizError(f"--dataset {options.dataset}: {table} is of {', '.join(PAIRS)}")
    if options.out:
        files.check_target(options.out, overwrite=True)
    if options.keep and not options.keep.is_dir() and os.path.lexists(options.keep):
        raise SepvizError(f"--keep {options.keep}: is no folder, give the name of one")
    if options.store:
        results.check_folder()
    options.device = common.device_of(options.device)
    kind, prior = TABLES[table][0], None
    if kind:
        options.prior = options.prior or f"{kind}-{options.dataset}"
        prior = load_prior(options.prior, options.device)
        if zoo.kind_of(prior) != kind:
            raise SepvizError(f"--prior {options.prior}: table {table} needs one of the kind "
                              f"{kind}-...")
        if options.compile:
            prior.network.compile()
    report.main(options, prior)
    return 0
