"""Runs and chains side by side, and how all views order the sources, without a browser."""

import json
import re
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from test_trace import Toy, task  # noqa: F401 (task is a fixture)
from test_widgets import layers_of

from sepviz import metrics, tasks
from sepviz.core import Problem, Separator, SepvizError, Step, Truth
from sepviz.runs.trace import Trace, record
from sepviz.views import figures
from sepviz.widgets import Compare, Leaderboard, LiveRun, Player, Posterior
from sepviz.widgets.compare import names_of


def estimates_of(static, pack):
    return layers_of(static, pack)["estimate"]


# --- compare ---


def test_compare_shows_every_run_in_one_order(task):  # noqa: F811
    problem, truth = task
    runs = [record(Toy(rate=rate), problem, seed=seed, every=5, progress=False)
            for rate, seed in ((0.1, 0), (0.3, 0), (0.1, 1))]
    view, without = Compare(runs, truth), Compare(runs)
    assert [run["label"] for run in view.runs] == list(view.traces) == [
        "Toy, rate 0.1, seed 0", "Toy, rate 0.3, seed 0", "Toy, rate 0.1, seed 1"]
    for shown, target in ((view, truth.sources), (without, runs[0].sources)):
        for run, pack in zip(runs, shown.runs, strict=True):
            ordered = metrics.reorder(run.sources, metrics.match(run.sources, target))
            assert np.array_equal(estimates_of(shown.static, pack)[-1], ordered.half().numpy())
            seconds = [frame["seconds"] for frame in pack["records"]]
            assert seconds == [step.info["seconds"] for step in run]
            assert pack["records"][-1]["evaluations"] == 50
    json.dumps(view.runs, allow_nan=False, default=len)


def test_compare_takes_a_run_and_its_fork(task):  # noqa: F811
    live = LiveRun(Toy(), *task)
    live.start()
    assert live.wait(60)
    live.fork(20)
    live.set(rate=0.3)
    live.start()
    assert live.wait(60)
    view = Compare(live.branches, task[1])
    assert len(view.runs) == 2 and any("rate from step 21 0.3" in name for name in view.traces)
    live.close()


def test_compare_refuses(task):  # noqa: F811
    problem, truth = task
    run = record(Toy(), problem, progress=False)
    other = record(Toy(), Problem(problem.mixtures + 0.1, problem.mixing), progress=False)
    with pytest.raises(SepvizError, match="1 runs: Compare shows 2 to 8"):
        Compare([run])
    with pytest.raises(SepvizError, match="'b' is of other mixtures than 'a'"):
        Compare({"a": run, "b": other})
    with pytest.raises(SepvizError, match="mixtures 0 to 2"):
        Compare([run, run], truth).item = 5
    assert names_of([run, run]) == ["Toy (1)", "Toy (2)"]


# --- posterior ---


def test_modes_are_found_and_put_in_one_order():
    rng = torch.Generator().manual_seed(0)
    stories = torch.rand((2, 2, 1, 6, 6), generator=rng)
    samples = stories[[0, 1, 0, 0, 1, 0]] + 0.01 * torch.randn((6, 2, 1, 6, 6), generator=rng)
    for swapped in (2, 4):  # nothing says which source is called 1
        samples[swapped] = samples[swapped].flip(0)
    permutation, mode = metrics.modes(samples)
    assert mode.tolist() == [0, 1, 0, 0, 1, 0]
    ordered = metrics.reorder(samples, permutation)
    for m in (0, 1):
        assert float(ordered[mode == m].std(dim=0).max()) < 0.05
    assert metrics.modes(samples, apart=10.0)[1].tolist() == [0] * 6
    permutation, mode = metrics.modes(samples, weights=[1.0, 0.5])  # a swap is another answer
    assert permutation.tolist() == [[0, 1]] * 6 and mode[[0, 3, 5]].tolist() == [0] * 3
    assert sorted(mode.tolist()) == [0, 0, 0, 1, 2, 3]


def test_posterior_is_of_one_mixture(task):  # noqa: F811
    problem, truth = task
    chains = tasks.repeat(problem, item=1, chains=4)
    assert torch.equal(chains.mixtures, problem.mixtures[1:2].expand(4, -1, -1, -1))
    trace = record(Toy(), chains, every=10, progress=False)
    view = Posterior(trace, Truth(truth.sources[1:2]))
    assert len(view.mode) == view.static["batch"] == 4
    assert len(view.frames["records"]) == len(trace)
    mean = estimates_of(view.static, view.frames)[-1].astype(np.float32).mean(axis=0)
    other = metrics.match(torch.from_numpy(mean)[None], truth.sources[1:2])
    assert other.tolist() == [[0, 1]], "the chains are in the truth's order"
    for wrong, words in ((problem, "chains of one mixture"),
                         (tasks.repeat(problem, 0, 9), "9 mixtures")):
        with pytest.raises(SepvizError, match=words):
            Posterior(record(Toy(), wrong, progress=False))
    with pytest.raises(SepvizError, match="apart=0"):
        Posterior(trace, apart=0)
    with pytest.raises(SepvizError, match="item=7"):
        tasks.repeat(problem, 7)
    with pytest.raises(SepvizError, match="chains=1"):
        tasks.repeat(problem, 0, 1)


def test_posterior_leaves_sources_of_other_weights_in_their_places():
    pair = torch.rand((1, 2, 1, 6, 6), generator=torch.Generator().manual_seed(0))
    for weights, modes in (((1.0, 1.0), [0, 0]), ((1.0, 0.5), [0, 1])):
        problem, _ = tasks.mix(pair, weights)
        step = Step(0, "known", torch.cat([pair, pair.flip(1)]))
        twice = problem._replace(mixtures=problem.mixtures.repeat(2, 1, 1, 1))
        view = Posterior(Trace(twice, [step], "Known"), Truth(pair))
        assert sorted(view.mode) == modes


def test_a_leaderboard_of_one_mixture_and_of_filters():
    problem, truth = tasks.separate("strokes", count=1, kernels="paper", seed=3)
    filters = truth.filters
    step = Step(0, "known", truth.sources, results={"filters": filters})
    trace = Trace(problem, [step], "Known")
    board = Leaderboard({"known": trace}, truth, shown=1)
    json.dumps([board.rows, board.runs], allow_nan=False, default=len)
    assert board.rows[0]["interval"] is None and board.rows[0]["psnr"] > 60
    residual = board.runs[0]["records"][0]["scales"]["residual"][0]
    assert residual < 1e-3, "the remix goes through the filters"
    twice = step.mapped(lambda one: one.repeat(2, *[1] * (one.ndim - 1)))
    chains = Trace(tasks.repeat(problem, 0, 2), [twice], "Known")
    assert Posterior(chains).frames["records"][0]["scales"]["residual"] == [residual] * 2
    other = Trace(problem._replace(mixtures=problem.mixtures + 1), [step], "Known")
    with pytest.raises(SepvizError, match="'b' is of other mixtures"):
        Leaderboard({"a": trace, "b": other}, truth, shown=1)


def test_modes_of_one_and_of_a_chain_that_diverged():
    samples = torch.rand(3, 2, 1, 4, 4)
    assert metrics.modes(samples[:1])[1].tolist() == [0]
    samples[1] = torch.inf
    assert metrics.modes(samples)[1][1] not in metrics.modes(samples)[1][[0, 2]]


def test_orange_adds_and_rounding_is_white_in_figures_too():
    """One sign convention in figures and widgets; nothing is scaled finer than 0.01."""
    def shown(value):
        sheet = figures.images({"x": torch.full((1, 1, 4, 4), value)}, signed=True)
        drawn = sheet.axes[0].images[0]
        return [round(float(part), 2) for part in drawn.cmap(drawn.norm(value))[:3]]

    red, _, blue = shown(0.3)
    assert red > blue + 0.3, "orange above 0"
    red, _, blue = shown(-0.3)
    assert blue > red + 0.1, "purple below 0"
    assert min(shown(4e-4)) > 0.9 and min(shown(-1e-7)) > 0.9
    problem, truth = tasks.mix(torch.rand(1, 2, 1, 6, 6) / 2)
    sheet = figures.separation(problem, truth.sources - 0.1)
    pictures = [axes.images[0] for axes in sheet.axes if axes.images]
    drawn = next(picture for picture in pictures if picture.get_cmap().name != "gray")
    red, _, blue = drawn.cmap(drawn.norm(0.2))[:3]
    assert red > blue + 0.3, "what the estimates lack is orange"


# --- who may change places ---


@dataclass(frozen=True)
class Given(Separator):
    """Gives the sources that it was made with."""

    sources: torch.Tensor
    order: str = "each"

    def total_steps(self, problem):
        return 0

    def steps(self, problem, rng, start=None):
        yield Step(0, "given", self.sources.clone(), info={"evaluations": 1})


def figures_of(trace, truth):
    """The PSNR of a trace's last step, mixture by mixture, wherever one is shown."""
    live = LiveRun(Given(trace.sources, trace.order), trace.problem, truth)
    live.start()
    assert live.wait(60)
    packs = {"player": Player(trace, truth).frames, "live": live.history,
             "compare": Compare([trace, trace], truth).runs[0]}
    live.close()
    found = {name: pack["records"][-1]["values"]["psnr"] for name, pack in packs.items()}
    found["metric"] = trace.metric(truth)[-1].tolist()
    count = len(trace.sources)
    board = Leaderboard({"given": trace}, truth, shown=min(4, count))
    assert board.rows[0]["psnr"] == pytest.approx(np.mean(found["metric"]), abs=0.01)
    for sheet in (figures.separation(trace.problem, trace, truth, count=count),
                  figures.compare(trace.problem, {"given": trace}, truth, count=count)):
        texts = [text.get_text() for text in sheet.texts]
        found[f"figure {len(found)}"] = [float(text.removesuffix(" dB")) for text in texts
                                         if re.fullmatch(r"[\d.]+ dB", text)]
    return found


def test_views_keep_sources_of_unequal_weights_in_their_places():
    rng = torch.Generator().manual_seed(0)
    sources = 0.3 + 0.4 * torch.rand((3, 2, 1, 12, 12), generator=rng)
    estimates = sources.flip(1) + 0.01
    for weights, swaps in (((0.7, 0.3), False), ((0.5, 0.5), True)):
        problem, truth = tasks.mix(sources, weights)
        trace = record(Given(estimates), problem, progress=False)
        error = (estimates.flip(1) if swaps else estimates) - sources
        want = (-10 * torch.log10(error.square().mean(dim=(2, 3, 4)))).mean(dim=1).tolist()
        for name, values in figures_of(trace, truth).items():
            assert values == pytest.approx(want, abs=0.06), (weights, name)
        without = Compare([record(Given(sources), problem, progress=False), trace])
        first, second = (estimates_of(without.static, pack)[-1] for pack in without.runs)
        assert bool(np.abs(first - second).max() < 0.02) is swaps


@pytest.mark.parametrize(("order", "right"), [("each", 3), ("set", 2), ("fixed", 1)])
def test_views_order_as_the_method_does(order, right, tmp_path):
    sources = torch.rand((3, 2, 1, 12, 12), generator=torch.Generator().manual_seed(1))
    estimates = torch.cat([sources[:2].flip(1), sources[2:]])
    problem, truth = tasks.mix(sources, (1.0, 1.0))
    trace = record(Given(estimates, order), problem, progress=False)
    trace = Trace.load(trace.save(tmp_path / "run.npz"))
    assert trace.order == order
    for name, values in figures_of(trace, truth).items():
        assert len(values) == 3 and sum(value > 60 for value in values) == right, name


def test_a_trace_knows_its_methods_order():
    problem, truth = tasks.mix(torch.rand(2, 2, 1, 12, 12), (1.0, 1.0))
    step = Step(0, "", truth.sources)
    methods = {"SplitGibbs": "each", "Mask": "set", "Egg": "fixed", "Mine": "each"}
    assert {name: Trace(problem, [step], name).order for name in methods} == methods
