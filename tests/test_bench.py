"""The tables' engine: same mixtures for all, chunks that survive, figures of what was done."""

import json

import pytest
import torch

from sepviz import bench, metrics, tasks
from sepviz.bench import run
from sepviz.core import SepvizError
from sepviz.priors import GaussianPrior
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


def evaluate(methods, task, **options):
    return run.evaluate(methods, *task, chunk=4, progress=False, **options)


def test_rows_are_the_metrics_of_the_answers(methods, task):
    average, gibbs = evaluate(methods, task)
    problem, truth = task
    halves = (problem.mixtures / 2)[:, None].expand(-1, 2, *SHAPE)
    assert average.n == gibbs.n == 10 and (average.evaluations, gibbs.evaluations) == (0, 6)
    assert average.mean == pytest.approx(float(metrics.psnr(halves, truth.sources).mean()), abs=1e-4)
    assert gibbs.residual < 1e-5 and gibbs.seconds > 0


def test_kept_chunks_are_not_run_again(methods, task, tmp_path, monkeypatch):
    first = evaluate(methods, task, keep=tmp_path)
    assert len(list(tmp_path.glob("*.npz"))) == 6 and not list(tmp_path.glob("*.partial"))
    monkeypatch.setattr(run, "separate_chunk", lambda *_: pytest.fail("ran again"))
    assert evaluate(methods, task, keep=tmp_path) == first


def test_rows_are_chosen_by_label_or_by_a_part_of_it():
    rows = dict.fromkeys(("split-gibbs", "split-gibbs, 4 chains", "basis, paper preset"))
    assert list(run.select(rows, ["split-gibbs"])) == ["split-gibbs"]
    assert list(run.select(rows, ["split"])) == ["split-gibbs", "split-gibbs, 4 chains"]
    assert list(run.select(rows, ["chains", "paper"])) == ["split-gibbs, 4 chains", "basis, paper preset"]
    assert len(run.select(rows, None)) == 3


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


def test_a_stopped_table_is_of_what_every_method_has_done(methods, task, monkeypatch):
    separate, calls = run.separate_chunk, []

    def stopped(*arguments):
        calls.append(arguments)
        if len(calls) == 4:  # the second method in the second chunk
            raise KeyboardInterrupt
        return separate(*arguments)

    problem, truth = task
    first_chunk = problem._replace(mixtures=problem.mixtures[:4]), truth._replace(sources=truth.sources[:4])
    whole = [row.mean for row in evaluate(methods, first_chunk)]
    monkeypatch.setattr(run, "separate_chunk", stopped)
    rows = evaluate(methods, task)
    assert [row.n for row in rows] == [4, 4] and [row.mean for row in rows] == pytest.approx(whole)


def test_stopped_before_anything_was_done(methods, task, monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "separate_chunk", stopped)
    with pytest.raises(KeyboardInterrupt, match="no chunk was finished"):
        evaluate(methods, task)


def test_a_stopped_table_is_written_and_ends_the_command(methods, task, tmp_path):
    class Options:
        out, count = tmp_path / "rows.jsonl", 12

    with pytest.raises(KeyboardInterrupt, match="first 10 mixtures"):
        run.write(Options, "a table", evaluate(methods, task))
    assert [json.loads(line)["n"] for line in Options.out.read_text().splitlines()] == [10, 10]


@pytest.mark.parametrize(("arguments", "words"), [
    (["baisis"], "no table .baisis.*basis"),
    (["basis", "--count", "0"], "count 0"),
    (["race", "--protocol", "split"], "--protocol is not for table race"),
    (["race", "--keep", "somewhere"], "--keep is not for table race"),
    (["basis", "--sources", "3"], "--sources is not for table basis"),
    (["basis", "--out", "no/such/folder/rows.jsonl"], "no such folder"),
    (["basis", "--dataset", "strokes", "--count", "1", "--methods", "nothing"], "none of the rows"),
])
def test_bad_options_are_refused_in_one_line(arguments, words):
    with pytest.raises(SepvizError, match=words) as error:
        bench.main(arguments)
    assert "\n" not in str(error.value)
