"""The tables' engine: same mixtures for all, chunks that survive, figures of what was done."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch

from sepviz import bench, cli, metrics, separators, tasks, zoo
from sepviz.bench import figures, report, results, run, tables
from sepviz.core import SepvizError
from sepviz.priors import GanPrior, GaussianPrior
from sepviz.runs import record, restore, separated
from sepviz.separators import Average, SplitGibbs

SHAPE = (1, 12, 12)


@pytest.fixture
def task():
    sources = torch.rand((10, 2, *SHAPE), generator=torch.Generator().manual_seed(0))
    return tasks.mix(sources, (1.0, 1.0))


@pytest.fixture
def methods():
    prior = GaussianPrior(torch.full(SHAPE, 0.5), torch.full(SHAPE, 0.3))
    return {"average": Average(), "split-gibbs": SplitGibbs(prior, levels=3, sweeps=2, cycles=1)}


SMALL = ["--dataset", "strokes", "--protocol", "split", "--methods", "average"]


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty folder of results."""
    home = tmp_path / "results"
    home.mkdir()
    monkeypatch.setattr(results, "FOLDER", home)
    monkeypatch.setattr(results, "papers", lambda *_: {})
    return home


def tiny(folder):
    """The path of a small untrained generator."""
    torch.manual_seed(0)
    prior = GanPrior((1, 28, 28), 6, (8, 8, 8), "gan-tiny").eval()
    return str(zoo.save(prior, folder / "gan-tiny.safetensors", {}))


def table(words):
    """Run ``sepviz bench``; errors are raised."""
    arguments = cli._parse(["bench", *words])
    arguments.run(arguments)


def evaluate(methods, task, **options):
    return run.evaluate(methods, *task, chunk=4, progress=False, **options)


def test_rows_are_the_metrics_of_the_answers(methods, task):
    average, gibbs = evaluate(methods, task)
    problem, truth = task
    halves = (problem.mixtures / 2)[:, None].expand(-1, 2, *SHAPE)
    assert average.n == gibbs.n == 10 and (average.evaluations, gibbs.evaluations) == (0, 6)
    assert average.mean == pytest.approx(
        float(metrics.psnr(halves, truth.sources).mean()), abs=1e-4
    )
    assert gibbs.residual < 1e-5 and gibbs.seconds > 0


def test_kept_chunks_are_not_run_again(methods, task, tmp_path, monkeypatch):
    first = evaluate(methods, task, keep=tmp_path)
    assert len(list(tmp_path.glob("*.npz"))) == 6 and not list(tmp_path.glob("*.partial"))
    monkeypatch.setattr(run, "separated", lambda *_: pytest.fail("ran again"))
    assert evaluate(methods, task, keep=tmp_path) == first


def test_rows_are_chosen_by_label_or_by_a_part_of_it():
    rows = dict.fromkeys(("split-gibbs", "split-gibbs, 4 chains", "basis, paper preset"))
    assert list(report.select(rows, ["split-gibbs"])) == ["split-gibbs"]
    assert list(report.select(rows, ["split"])) == ["split-gibbs", "split-gibbs, 4 chains"]
    assert list(report.select(rows, ["chains", "paper"])) == [
        "split-gibbs, 4 chains",
        "basis, paper preset",
    ]
    assert len(report.select(rows, None)) == 3


def test_another_setting_does_not_take_what_was_kept(methods, task, tmp_path):
    evaluate(methods, task, keep=tmp_path)
    prior = methods["split-gibbs"].prior
    evaluate({"split-gibbs": SplitGibbs(prior, levels=3, sweeps=3)}, task, keep=tmp_path)
    evaluate({"split-gibbs": methods["split-gibbs"]}, task, seed=1, keep=tmp_path)
    assert len(list(tmp_path.glob("*.npz"))) == 6 + 3 + 3


def test_a_damaged_chunk_is_named(methods, task, tmp_path):
    evaluate(methods, task, keep=tmp_path)
    damaged = sorted(tmp_path.glob("*.npz"))[0]
    damaged.write_bytes(damaged.read_bytes()[:100])
    with pytest.raises(SepvizError, match=f"{damaged.name} is damaged: remove it"):
        evaluate(methods, task, keep=tmp_path)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("sources", lambda sources: sources * np.nan),
        ("sources", lambda sources: sources[:1]),
        ("evaluations", lambda number: np.array([number, number])),
        ("seconds", lambda _: np.array("a")),
    ],
)
def test_a_chunk_of_odd_fields_is_named(methods, task, tmp_path, name, change):
    evaluate(methods, task, keep=tmp_path)
    odd = sorted(tmp_path.glob("*.npz"))[0]
    arrays = dict(np.load(odd))
    np.savez_compressed(odd, **{**arrays, name: change(arrays[name])})
    with pytest.raises(SepvizError, match=f"{odd.name} is damaged: remove it"):
        evaluate(methods, task, keep=tmp_path)


def test_a_chunk_with_bitten_bytes_is_named(methods, task, tmp_path):
    evaluate(methods, task, keep=tmp_path)
    bitten = sorted(tmp_path.glob("*.npz"))[0]
    data = bytearray(bitten.read_bytes())
    data[60 : len(data) // 2 : 37] = b"U" * len(data[60 : len(data) // 2 : 37])
    bitten.write_bytes(data)
    with pytest.raises(SepvizError, match=f"{bitten.name} is damaged: remove it"):
        evaluate(methods, task, keep=tmp_path)


def test_every_method_is_checked_before_the_first_runs(methods, task, monkeypatch):
    monkeypatch.setattr(run, "separated", lambda *_: pytest.fail("ran"))
    prior = methods["split-gibbs"].prior
    with pytest.raises(SepvizError, match="sweeps 0"):
        evaluate({**methods, "bad": SplitGibbs(prior, sweeps=0)}, task)


def test_rows_of_one_mixture_are_valid_json(tmp_path):
    out = tmp_path / "rows.jsonl"
    table(["basis", *SMALL, "--count", "1", "--out", str(out)])
    (row,) = out.read_text().splitlines()
    assert json.loads(row, parse_constant=pytest.fail)["interval"] is None


def test_a_stopped_table_is_of_what_every_method_has_done(methods, task, monkeypatch):
    separate, calls = run.separated, []

    def stopped(*arguments):
        calls.append(arguments)
        if len(calls) == 4:  # the second method in the second chunk
            raise KeyboardInterrupt
        return separate(*arguments)

    problem, truth = task
    first_chunk = (
        problem._replace(mixtures=problem.mixtures[:4]),
        truth._replace(sources=truth.sources[:4]),
    )
    whole = [row.mean for row in evaluate(methods, first_chunk)]
    monkeypatch.setattr(run, "separated", stopped)
    rows = evaluate(methods, task)
    assert [row.n for row in rows] == [4, 4] and [row.mean for row in rows] == pytest.approx(whole)


def test_stopped_before_anything_was_done(methods, task, monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "separated", stopped)
    with pytest.raises(KeyboardInterrupt, match="no chunk was finished"):
        evaluate(methods, task)


def test_a_stopped_table_is_written_but_not_stored(home, tmp_path, monkeypatch):
    separate, calls = run.separated, []

    def stopped(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return separate(*arguments)

    monkeypatch.setattr(run, "separated", stopped)
    out = tmp_path / "rows.jsonl"
    with pytest.raises(KeyboardInterrupt, match="first 4 mixtures"):
        table(["basis", *SMALL, "--count", "5", "--chunk", "2", "--out", str(out), "--store"])
    (row,) = map(json.loads, out.read_text().splitlines())
    assert row["n"] == 4 and not list(home.iterdir())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["baisis"], "no table .baisis.*basis"),
        (["race", "--protocol", "split"], "--protocol is not for table race"),
        (["basis", "--out", "."], "cannot write .: it is a folder"),
        (["basis", "--keep", "/dev/null"], "--keep /dev/null: is no folder"),
        (["race", "--keep", "somewhere"], "--keep is not for table race"),
        (["basis", "--starts", "3"], "--starts is not for table basis"),
        (["sd-table2", "--prior", "score-strokes"], "sd-table2 needs one of the kind gan"),
        (
            ["sd-table2", "--dataset", "strokes", "--task", "separate"],
            "no task 'separate' in sd-table2",
        ),
        (["basis", "--sources", "3"], "--sources is not for table basis"),
        (["basis", "--out", "no/such/folder/rows.jsonl"], "there is no folder no/such/folder"),
        (
            ["basis", "--dataset", "strokes", "--count", "1", "--methods", "nothing"],
            "none of the rows",
        ),
    ],
)
def test_bad_options_are_refused_in_one_line(arguments, words):
    with pytest.raises(SepvizError, match=words) as error:
        table(arguments)
    assert "\n" not in str(error.value)


def test_a_setting_whose_rows_are_all_refused_is_left_out(home, capsys):
    table(["sources", "--dataset", "strokes", "--count", "1", "--sources", "10", "--store",
           "--methods", "basis, paper preset"])
    out = capsys.readouterr().out
    assert "refused, delta 2e-05 diverges for K = 10" in out and out.count("\n") == 1
    assert not list(home.iterdir())


def small(folder):
    """The options of a table of S-D on two mixtures, with a generator of few weights."""
    return ["--dataset", "strokes", "--prior", tiny(folder), "--count", "2", "--starts", "2"]


def test_the_tables_of_sd_run_on_a_small_generator(tmp_path, capsys):
    """Every task and its columns; the figures of so small a network are nobody's."""
    common = [*small(tmp_path), "--methods", "synthesis", "--keep", str(tmp_path / "kept"),
              "--out", str(tmp_path / "rows.jsonl")]
    table(["sd-table2", *common])
    table(["sd-table3", *common])
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert [row["setting"] for row in rows] == [
        f"strokes, {task}" for name in ("sd-table2", "sd-table3") for task in bench.TASKS[name]
    ]
    assert [row["filters"] is not None for row in rows] == [False, False, False, True, False, True]
    assert all(row["n"] == 2 for row in rows)
    assert all(row["aligned"] is None or row["aligned"] >= row["mean"] - 1e-3 for row in rows)
    assert "aligned" in capsys.readouterr().out
    kept = len(list((tmp_path / "kept").glob("*.npz")))
    table(["sd-table3", *common])
    assert len(list((tmp_path / "kept").glob("*.npz"))) == kept == 6
    again = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()][6:]
    assert rows[3:] == again


def test_the_race_of_sd_is_of_two(tmp_path, capsys, monkeypatch):
    presets = separators.Synthesis.presets
    short = {**presets["program"], "start_iterations": 2, "refine_iterations": 2}
    monkeypatch.setitem(presets, "program", short)
    table(["sd-race", *small(tmp_path)])
    assert "times as fast" in capsys.readouterr().out


def learners(monkeypatch, name, rows):
    """Rows in place of a table's, which train on few images."""
    monkeypatch.setitem(tables.LEARNERS, name, rows)
    monkeypatch.setitem(tables.TRAINING, name, 20)


def test_tables_of_what_learns_from_mixtures(monkeypatch, capsys, tmp_path):
    """Shipped masks are looked up; what is not shipped is trained, kept and taken up."""
    learners(
        monkeypatch,
        "nes-table1",
        {
            "constant": {"method": "constant", "share": 1.0},
            "egg": {"method": "egg"},
            "ss-nmf": {"method": "ss-nmf", "rank": 4, "observed_iterations": 2, "iterations": 2},
            "adversarial-mask": {"method": "adversarial-mask", "epochs": 1},
            "supervised": {"method": "supervised"},
        },
    )
    out = tmp_path / "rows.jsonl"
    table(
        [
            "nes-table1",
            "--dataset",
            "strokes",
            "--count",
            "30",
            "--keep",
            str(tmp_path),
            "--out",
            str(out),
        ]
    )
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    mean = {(row["setting"], row["label"]): row["mean"] for row in rows}
    assert len(mean) == 10
    for setting in ("strokes, low", "strokes, high"):
        assert mean[setting, "constant"] < 16
        assert mean[setting, "egg"] > 24 and mean[setting, "supervised"] > 24
    assert "the shipped egg-strokes-high" in capsys.readouterr().out
    assert len(list(tmp_path.glob("*ss-nmf*.ckpt"))) == 2
    assert len(list(tmp_path.glob("*adversarial-mask*-8.ckpt"))) == 2


def test_blind_tables_are_scored_in_one_order(monkeypatch, tmp_path):
    learners(monkeypatch, "remix-table1", {"rpca": {"method": "rpca", "iterations": 3}})
    out = tmp_path / "rows.jsonl"
    table(["remix-table1", "--dataset", "strokes", "--count", "20", "--out", str(out)])
    (row,) = [json.loads(line) for line in out.read_text().splitlines()]
    problem, truth = tasks.unmix(
        "strokes:0-4", "strokes:5-9", count=20, seed=1000, sees="mixtures", training=20
    )
    (*_, step) = separators.Rpca(iterations=3).steps(problem, torch.Generator())
    mean = metrics.summarize(step.sources, truth.sources, order="set").mean
    assert row["mean"] == pytest.approx(mean, abs=1e-3)


def test_tables_that_learn_know_their_options():
    with pytest.raises(SepvizError, match="--prior is not for"):
        table(["nes-table1", "--prior", "score-strokes"])
    with pytest.raises(SepvizError, match="--dataset cifar"):
        table(["remix-table1", "--dataset", "cifar"])


def test_every_option_of_bench_has_its_help_and_default(capsys):
    assert cli.main(["bench", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    options = text.partition("options: ")[2].split(" --")[1:]
    assert len(options) == 16
    for option in options:
        assert option.split()[0] == "help" or "default: " in option, option
    for name in bench.TABLES:
        assert name in text


def test_rows_keep_sources_of_unequal_weights_in_their_places():
    rng = torch.Generator().manual_seed(3)
    sources = (
        torch.rand((4, 2, 1, 12, 12), generator=rng) * torch.tensor([0.2, 1.0])[:, None, None, None]
    )
    problem, truth = tasks.mix(sources, (0.7, 0.3))
    filtered = truth._replace(
        filters=torch.zeros(4, 2, 3, 3).index_fill(3, torch.tensor([1]), 1 / 3)
    )
    (row,) = run.evaluate({"average": Average()}, problem, filtered, chunk=2, progress=False)
    own = problem.mixing.condition(torch.zeros_like(sources), problem.mixtures)
    mse = (own.clamp(0, 1) - sources).square().mean(dim=(2, 3, 4))
    assert row.mean == pytest.approx(float(-10 * mse.log10().mean()), abs=1e-4)
    assert row.mean < float(metrics.psnr(own, sources).mean()) - 0.1, (
        "the example would gain by a swap"
    )
    aligned = metrics.align(own, sources, weights=(0.7, 0.3))
    assert aligned.permutation.tolist() == [[0, 1]] * 4
    assert row.aligned == pytest.approx(
        float(metrics.psnr(aligned.sources, sources, order="fixed").mean()), abs=1e-4
    )


def test_ss_nmf_has_both_answers():
    """The two images of equation 18 need not add up to the mixture, those of the mask do."""
    problem, _ = tasks.unmix("strokes:0-4", "strokes:5-9", count=3, training=20)
    short = {"rank": 4, "observed_iterations": 3, "iterations": 3}
    mask, image = (
        record(separators.SsNmf(**short, answer=answer), problem, progress=False).final
        for answer in ("mask", "reconstruction")
    )
    bases, codes = mask.state["bases"].flatten(2), mask.state["mixtures_activations"]
    b, x = (codes[:, 4 * part : 4 * part + 4] @ bases[part] for part in (0, 1))
    both = torch.stack([x, b], dim=1).unflatten(2, (1, 32, 32)) + 1e-9
    assert torch.allclose(image.sources, both, atol=1e-6) and image.info["residual"] > 0.01
    assert torch.allclose(
        mask.sources, problem.mixtures[:, None] * both / both.sum(dim=1, keepdim=True), atol=1e-6
    )
    assert mask.info["residual"] < 1e-6
    assert separators.SsNmf.presets["paper"]["answer"] == "reconstruction"
    rows = [row for label, row in tables.LEARNERS["nes-table1"].items() if "ss-nmf" in label]
    assert [row.get("answer") for row in rows] == [None, "reconstruction"]
    assert separators.SsNmf().answer == "mask"


@pytest.mark.parametrize(
    ("sources", "bank", "evaluations"), [(1, 40, 40), (2, 40, 20), (2, 0, 0), (2, 3, 4)]
)
def test_evaluations_of_synthesis_do_not_depend_on_the_batch(sources, bank, evaluations):
    torch.manual_seed(0)
    prior = GanPrior((1, 28, 28), 6, (8, 8, 8), "gan-tiny").eval()
    method = separators.Synthesis(
        prior, starts=4, bank=bank, finalists=2, start_iterations=2, refine_iterations=2
    )
    for batch in (1, 5):
        problem, _ = tasks.mix(torch.rand(batch, sources, 1, 28, 28), (1.0,) * sources)
        steps = list(method.steps(problem, torch.Generator().manual_seed(0)))
        assert steps[0].info["evaluations"] == evaluations
        assert steps[-1].info["evaluations"] == evaluations + 4 * 2 + 2 * 2


def test_the_methods_refuse_what_the_readme_says():
    """Any number of sources and any weights, but for those that it names."""
    import test_contract as contract

    def takes(name, weights):
        prior = contract.gaussian_prior("cpu")
        problem = contract.make_problem(weights, "cpu", name=name)
        if problem.examples is not None:  # mixed as the mixtures are
            examples = problem.examples._replace(mixtures=problem.examples.mixtures * weights[0])
            problem = problem._replace(examples=examples)
        try:
            next(
                iter(
                    contract.SEPARATORS[name](prior).steps(
                        problem, torch.Generator().manual_seed(0)
                    )
                )
            )
        except SepvizError:
            return False
        return True

    names = [name for name in separators.METHODS if name in contract.SEPARATORS]
    assert len(names) == len(separators.METHODS)
    pairs = {
        "adversarial-mask",
        "constant",
        "egg",
        "glo",
        "glo-masking",
        "mask",
        "remix",
        "remix-tree",
        "rpca",
        "ss-nmf",
        "supervised",
    }
    positive, stable = {"nmf", "conv-nmf"}, {"basis"}
    free = set(names) - pairs - positive - stable - {"cnn"}
    assert free == {"average", "split-gibbs", "synthesis"}
    every = set(names)
    for weights, takers in (
        ((1.0,), every - pairs),
        ((1.0, 1.0), every - {"cnn"}),
        ((0.2, 0.2), every - {"cnn"}),
        ((-1.0, -1.0), free | stable),
        ((0.7, 0.3), free | stable | positive),
        ((1.0, -1.0), free | stable),
        ((1.0,) * 3, free | stable | positive | {"remix-tree"}),
        ((1.0,) * 5, free | stable | {"remix-tree"}),
        ((3.0, 0.01, 2.0, -1.0), free | stable),
        ((50.0, 50.0), every - stable - {"cnn"}),
    ):
        assert {name for name in names if takes(name, weights)} == takers, weights


# --- stored results -------------------------------------------------------------------------------

STORED = [row for name in bench.TABLES for row in results.load(name)]


def test_a_row_is_stored_with_what_makes_it_again(home):
    words = ["basis", *SMALL, "--count", "3", "--store"]
    table(words)
    table([*words, "--seed", "7"])
    first, other = results.load("basis")
    assert first["recipe"] == (
        "task=separate,dataset=strokes,count=3,seed=1000,protocol=split,method=average,run=1000"
    )
    assert first["command"] == "sepviz bench " + shlex.join(words)
    assert {
        "n",
        "mean",
        "interval",
        "ssim",
        "evaluations",
        "seconds",
        "sepviz",
        "torch",
        "commit",
        "machine",
        "date",
    } <= set(first) and first["n"] == 3
    problem, truth = restore(first["recipe"]).problem()
    step = separated(restore(first["recipe"]).separator(), problem, 1000)
    mean = metrics.summarize(step.sources, truth.sources).mean
    assert first["mean"] == pytest.approx(mean, rel=1e-4)
    table(words)  # replaces its own row, no other
    assert [row["recipe"] for row in results.load("basis")] == [first["recipe"], other["recipe"]]


def test_results_are_stored_in_a_checkout_only(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "FOLDER", tmp_path / "none")
    with pytest.raises(SepvizError, match=r"no folder .*none"):
        table(["basis", *SMALL, "--count", "3", "--store"])


@pytest.mark.parametrize(
    "row", STORED, ids=lambda row: f"{row['setting']} {row['label']} {row['n']}"
)
def test_a_stored_row_can_be_made_again(row):
    """Its command computes this row, and its recipe is what the command runs."""
    options = cli._parse(shlex.split(row["command"])[1:])
    kind = bench.TABLES[options.table][0]
    options.prior = options.prior or (f"{kind}-{options.dataset}" if kind else None)
    rows = {one.setting: one.rows for one in tables.of(options)}[row["setting"]]
    assert str(report.select(rows, options.methods)[row["label"]]) == row["recipe"]
    assert row["table"] == options.table and row["n"] == options.count
    known = {"commit", "machine", "date", "torch", "seconds"} <= set(row) and row["date"]
    assert known or "carried" in row


def test_the_figures_are_those_of_the_results():
    text = figures.FILE.read_text(encoding="utf-8")
    assert figures.made(text) == text, "run .ci/figures"
    assert set(figures.MADE.findall(text)) == set(figures.MAKERS)


def test_no_figure_stands_outside_of_the_tables():
    """What was measured is made from results: text by hand has no dB, no interval, no seconds."""
    root = Path(bench.__file__).parents[2]
    for text in (
        figures.FILE.read_text(encoding="utf-8"),
        (root / "README.md").read_text(encoding="utf-8"),
    ):
        assert not FIGURE.findall(figures.MADE.sub("", text))


FIGURE = re.compile(r"\d (?:dB|s|ms|minutes|GiB|times)\b|\+-|±")


def test_changed_results_change_the_figures(home, monkeypatch):
    monkeypatch.setattr(results, "papers", lambda *_: {"average": {"mean": 14.8}})
    table(["basis", *SMALL, "--count", "3", "--store"])
    (row,) = results.load("basis")
    assert f"| average | strokes, split | 14.8 | {row['mean']:.1f} ± " in figures.pairs()
    assert row["command"] in figures.pairs() and row["machine"] in figures.pairs()


def test_a_race_is_made_into_a_line(home):
    row = {
        "table": "race",
        "setting": "mnist, agnostic",
        "recipe": "a",
        "n": 64,
        "command": "race",
        "date": "2026-11-28",
        "sepviz": "0.1.0",
        "commit": "c",
        "torch": "2",
        "machine": "m",
    }
    results.store(
        "race",
        [
            {**row, "label": "slow", "mean": 29.0, "seconds": 1.2},
            {**row, "label": "fast", "mean": 31.5, "seconds": 0.3},
        ],
    )
    assert "| mnist, agnostic | fast | slow | 4.0 | +2.5 | 64 |" in figures.races()
