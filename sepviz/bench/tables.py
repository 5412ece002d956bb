"""The tables as lists of recipes: a line of text says what each row runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

from sepviz import zoo
from sepviz.bench import PAIRS, TASKS
from sepviz.core import SepvizError
from sepviz.runs import Recipe, restore
from sepviz.runs.recipe import SAFE
from sepviz.separators import METHODS, Basis, Egg, SplitGibbs, Synthesis
from sepviz.suggest import nearest

Words = Mapping[str, Any]
# what each row of the tables of methods that learn trains, and on how many mixtures at most
LEARNERS: dict[str, dict[str, Words]] = {
    "nes-table1": {
        "constant": {"method": "constant", "share": 1.0},
        "ss-nmf, mask": {"method": "ss-nmf"},
        "ss-nmf, reconstruction": {"method": "ss-nmf", "answer": "reconstruction"},
        "adversarial-mask": {"method": "adversarial-mask"},
        "glo-masking": {"method": "glo-masking"},
        "egg": {"method": "egg"},
        "egg from glo-masking": {"method": "egg", "first": "glo-masking"},
        "supervised": {"method": "supervised"},
    },
    "remix-table1": {name: {"method": name} for name in ("rpca", "glo", "remix", "supervised")},
    "egg-race": {"egg, fast": {"method": "egg"},
                 "egg, program": {"method": "egg", **Egg.presets["program"]}},
}
TRAINING = {"nes-table1": 12_000, "remix-table1": 25_000, "egg-race": 12_000}


class Table(NamedTuple):
    """Methods that are compared on the same mixtures."""

    setting: str  # data set and what was done with it
    what: str  # its title
    rows: dict[str, Recipe]
    convention: str = "per_source"  # of PSNR, see `metrics.psnr`


def of(options: Any) -> Iterator[Table]:
    """The tables that go by the name ``options.table``, one for each setting asked for."""
    return MAKERS[options.table](options)


def _table(options: Any, setting: str, what: str, mixture: Words, rows: Mapping[str, Words],
           convention: str = "per_source") -> Table:
    recipes = {}
    for label, row in rows.items():
        words = {**mixture, **row, "run": options.seed}
        recipes[label] = restore(",".join(f"{name}={quote(str(value), safe=SAFE)}"
                                          for name, value in words.items()))
    return Table(f"{options.dataset}, {setting}", what, recipes, convention)


def _mixture(options: Any, task: str = "separate", **more: Any) -> Words:
    return {"task": task, "dataset": options.dataset, "count": options.count,
            "seed": options.seed, **more}


def _score_rows(prior: str) -> dict[str, Words]:
    """Every row of the tables whose methods need a score."""
    basis = {"method": "basis", "prior": prior}
    gibbs = {"method": "split-gibbs", "prior": prior}
    return {
        "average": {"method": "average"},
        "basis, paper preset": {**basis, **Basis.presets["paper"]},
        "basis, program preset": {**basis, **Basis.presets["program"]},
        "basis, with a last denoise": {**basis, **Basis.presets["program"], "denoise_last": True},
        "basis, paper, delta 1e-5": {**basis, "delta": 1e-5},
        "split-gibbs": gibbs,
        "split-gibbs, 4 chains": {**gibbs, **SplitGibbs.presets["consensus"]},
    }


def _without(rows: dict[str, Words], *labels: str) -> dict[str, Words]:
    return {label: row for label, row in rows.items() if label not in labels}


def _basis(options: Any) -> Iterator[Table]:
    for protocol in options.protocol or ["split", "agnostic"]:
        yield _table(options, protocol, f"Two digits of {options.dataset}, {protocol} "
                     "(BASIS, Table 2)", _mixture(options, protocol=protocol),
                     _without(_score_rows(options.prior), "basis, paper, delta 1e-5"))


def _race(options: Any) -> Iterator[Table]:
    rows = _without(_score_rows(options.prior), "average", "basis, with a last denoise",
                    "basis, paper, delta 1e-5")
    yield _table(options, "agnostic", f"The race on {options.dataset}, agnostic",
                 _mixture(options), rows)


def _sources(options: Any) -> Iterator[Table]:
    rows = _without(_score_rows(options.prior), "basis, with a last denoise",
                    "split-gibbs, 4 chains")
    for sources in options.sources or [3, 4, 10]:
        yield _table(options, f"K = {sources}", f"K = {sources} digits of {options.dataset}, "
                     "agnostic", _mixture(options, sources=sources), rows)


def _sd(options: Any) -> Iterator[Table]:
    """The baselines whose weights are shipped, and every number of starts."""
    known = TASKS[options.table]
    for task in options.task or known:
        if task not in known:
            raise SepvizError(f"no task {task!r} in {options.table}: {nearest(task, known)}")
        rows: dict[str, Words] = {}
        for name in ("cnn", "nmf", "conv-nmf"):
            prior = f"{name}-{options.dataset}"
            if prior in zoo.names() and not (name == "cnn" and task.startswith("separate")):
                rows[name] = {"method": name, "prior": prior}
        for starts in options.starts or (1, 8, 32):
            rows[f"synthesis, {starts}"] = {"method": "synthesis", "prior": options.prior,
                                            "starts": starts}
        yield _table(options, task, f"{task}, {options.dataset} (S-D, {options.table[3:]})",
                     _mixture(options, task), rows, "summed_mse")


def _sd_race(options: Any) -> Iterator[Table]:
    method = {"method": "synthesis", "prior": options.prior}
    for task in options.task or ["separate"]:
        for starts in options.starts or (8, 32):
            rows = {"synthesis": {**method, "starts": starts},
                    "synthesis, program preset": {**method, **Synthesis.presets["program"],
                                                  "starts": starts}}
            yield _table(options, f"{task}, L = {starts}", f"{task}, {options.dataset}, "
                         f"L = {starts}", _mixture(options, task), rows, "summed_mse")


def _learned(options: Any) -> Iterator[Table]:
    """Of shipped masks the row applies the mask; of the others it trains first."""
    directions, blind = PAIRS[options.dataset], options.table == "remix-table1"
    chosen = list(directions) if options.table == "nes-table1" else list(directions)[:1]
    for direction in chosen:
        unseen, observed = directions[direction]
        rows: dict[str, Words] = {}
        for label, row in LEARNERS[options.table].items():
            setting = f"{options.dataset}-{direction}" if label == "egg" else options.dataset
            if f"{label}-{setting}" in zoo.names():
                rows[label] = {"training": 2, "method": "mask", "prior": f"{label}-{setting}"}
            else:
                rows[label] = {"training": TRAINING[options.table], **row}
            sees = METHODS[row["method"]].sees or "mixtures"
            rows[label] = {"sees": sees, **rows[label]}
        mixture = {"task": "unmix", "unseen": unseen, "observed": observed,
                   "count": options.count, "seed": options.seed}
        what = f"and {observed}, blind" if blind else f"out of sums with {observed}"
        yield _table(options, direction, f"{unseen} {what}, 32x32 pixels ({options.table})",
                     mixture, rows)


MAKERS = {"basis": _basis, "race": _race, "sources": _sources, "sd-table2": _sd, "sd-table3": _sd,
          "sd-race": _sd_race, **dict.fromkeys(LEARNERS, _learned)}
