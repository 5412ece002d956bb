"""Runs and chains side by side, the pad and the workbench, without a browser."""

import json
import re
import threading
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from test_trace import Toy, task  # noqa: F401 (task is a fixture)

from sepviz import metrics, tasks
from sepviz.core import Mixing, Problem, Separator, SepvizError, Step, Truth
from sepviz.runs.recipe import separator_of
from sepviz.runs.trace import Trace, record
from sepviz.views import figures
from sepviz.widgets import Compare, Leaderboard, LiveRun, Player, Posterior, SketchPad, Workbench
from sepviz.widgets.compare import names_of
from sepviz.widgets.workbench import choices

SEVEN = [[[8.0, 4.0], [18.0, 4.0], [12.0, 24.0]]]


def values_of(static, pack, layer=0, items=None):
    """The values of a layer in every frame, (frames, items, panels, C, H, W)."""
    image = (static["channels"], static["height"], static["width"])
    count, data = len(static["items"]), np.frombuffer(pack["bytes"], np.float16)
    sizes = [entry["panels"] * count * int(np.prod(image)) for entry in pack["layers"]]
    at = sum(sizes[:layer])
    frames = data.reshape(len(pack["records"]), sum(sizes))[:, at:at + sizes[layer]]
    return frames.reshape(len(frames), count, pack["layers"][layer]["panels"], *image)


# --- compare ---


def test_compare_shows_every_run_in_one_order(task):  # noqa: F811
    problem, truth = task
    runs = [record(Toy(rate=rate), problem, seed=seed, every=5, progress=False) for rate, seed in ((0.1, 0), (0.3, 0), (0.1, 1))]
    view = Compare(runs, truth)
    assert list(view.traces) == ["Toy, rate 0.1, seed 0", "Toy, rate 0.3, seed 0", "Toy, rate 0.1, seed 1"]
    assert [run["label"] for run in view.runs] == list(view.traces)
    for run, pack in zip(runs, view.runs, strict=True):
        order = metrics.match(run.sources, truth.sources)
        assert np.array_equal(values_of(view.static, pack)[-1], metrics.reorder(run.sources, order).half().numpy())
        assert [frame["seconds"] for frame in pack["records"]] == [step.info["seconds"] for step in run]
        assert pack["records"][-1]["evaluations"] == 50
    json.dumps(view.runs, allow_nan=False, default=len)
    without = Compare(runs)
    target = runs[0].sources
    for run, pack in zip(runs, without.runs, strict=True):
        order = metrics.match(run.sources, target)
        assert np.array_equal(values_of(without.static, pack)[-1], metrics.reorder(run.sources, order).half().numpy())


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
    samples[2], samples[4] = samples[2].flip(0), samples[4].flip(0)  # nothing says which source is called 1
    permutation, mode = metrics.modes(samples)
    assert mode.tolist() == [0, 1, 0, 0, 1, 0]
    ordered = metrics.reorder(samples, permutation)
    for m in (0, 1):
        assert float(ordered[mode == m].std(dim=0).max()) < 0.05
    assert metrics.modes(samples, apart=10.0)[1].tolist() == [0] * 6
    permutation, mode = metrics.modes(samples, weights=[1.0, 0.5])  # but where one is fainter, a swap is another story
    assert permutation.tolist() == [[0, 1]] * 6 and mode[[0, 3, 5]].tolist() == [0] * 3 and sorted(mode.tolist()) == [0, 0, 0, 1, 2, 3]


def test_posterior_is_of_one_mixture(task):  # noqa: F811
    problem, truth = task
    chains = tasks.repeat(problem, item=1, chains=4)
    assert torch.equal(chains.mixtures, problem.mixtures[1:2].expand(4, -1, -1, -1))
    trace = record(Toy(), chains, every=10, progress=False)
    view = Posterior(trace, Truth(truth.sources[1:2]))
    assert len(view.mode) == 4 and len(view.frames["records"]) == len(trace) and view.static["batch"] == 4
    mean = values_of(view.static, view.frames)[-1].astype(np.float32).mean(axis=0)
    other = metrics.match(torch.from_numpy(mean)[None], truth.sources[1:2])
    assert other.tolist() == [[0, 1]], "the chains are in the truth's order"
    for wrong, words in ((problem, "chains of one mixture"), (tasks.repeat(problem, 0, 9), "9 mixtures")):
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
        view = Posterior(Trace(problem._replace(mixtures=problem.mixtures.repeat(2, 1, 1, 1)), [step], "Known"), Truth(pair))
        assert sorted(view.mode) == modes


def test_a_leaderboard_of_one_mixture_and_of_filters():
    problem, truth = tasks.separate("strokes", count=1, kernels="paper", seed=3)
    filters = truth.filters
    step = Step(0, "known", truth.sources, results={"filters": filters})
    trace = Trace(problem, [step], "Known")
    board = Leaderboard({"known": trace}, truth, shown=1)
    json.dumps([board.rows, board.runs], allow_nan=False, default=len)
    assert board.rows[0]["interval"] is None and board.rows[0]["psnr"] > 60
    assert board.runs[0]["records"][0]["scales"]["residual"][0] < 1e-3, "the remix goes through the filters"
    other = Trace(problem._replace(mixtures=problem.mixtures + 1), [step], "Known")
    with pytest.raises(SepvizError, match="'b' is of other mixtures"):
        Leaderboard({"a": trace, "b": other}, truth, shown=1)


def test_modes_of_one_and_of_a_chain_that_diverged():
    samples = torch.rand(3, 2, 1, 4, 4)
    assert metrics.modes(samples[:1])[1].tolist() == [0]
    samples[1] = torch.inf
    assert metrics.modes(samples)[1][1] not in metrics.modes(samples)[1][[0, 2]]


# --- the pad ---


def test_the_pad_mixes_what_the_browser_draws():
    pad = SketchPad()
    with pytest.raises(SepvizError, match=r"^pads 1 and 2 are empty"):
        _ = pad.problem
    pad.set_state({"strokes": [SEVEN, []]})  # as the browser does while the pen moves
    assert pad.sources[0].startswith("ink:") and not pad.sources[1] and not pad.shown["mixture"]
    with pytest.raises(SepvizError, match=r"^pad 2 is empty"):
        _ = pad.problem
    with pytest.raises(SepvizError, match=r"^pads 1, 2 and 3 are empty"):
        _ = SketchPad(3).problem
    pad._handle_custom_msg({"do": "pick", "pad": 1, "set": "strokes"}, [])
    assert pad.sources[1].startswith("strokes:") and pad.shown["error"] == ""
    assert np.array_equal(np.frombuffer(pad.shown["mixture"], np.float16).reshape(1, 1, 28, 28), pad.problem.mixtures.half().numpy())
    assert torch.allclose(pad.problem.mixtures, pad.truth.sources.sum(dim=1))
    pad.set_state({"options": {**pad.options, "weights": [0.5, 1.5], "noise": 0.2, "taps": "1" * 25, "visible": "top-half"}})
    assert pad.problem.mixing.weights == (0.5, 1.5) and pad.problem.mixing.filter_size == 5 and pad.problem.mixing.visible is not None
    other = SketchPad(state=str(pad.state))
    assert (other.sources, other.options) == (pad.sources, pad.options)
    assert torch.equal(other.problem.mixtures, pad.problem.mixtures)
    assert other.strokes[0] == SEVEN and other.strokes[1] == []
    pad.set_state({"strokes": [[], []]})
    assert pad.sources[0] == "" and pad.sources[1].startswith("strokes:"), "the other pad keeps its image"


def test_clearing_one_pad_leaves_the_other():
    pad = SketchPad()
    pad.pick(0)
    pad.set_state({"strokes": [SEVEN, []]})  # drawn over the picture; the browser may not know the new source yet
    pad._handle_custom_msg({"do": "clear", "pad": 1}, [])
    assert pad.sources[0].startswith("ink:") and pad.sources[1] == ""
    other = SketchPad()
    other.restore("task=drawn,sources=strokes:1+strokes:2,weights=0.3333333+1,noise=0.1234567")
    assert str(other.state) == "task=drawn,sources=strokes:1+strokes:2,weights=0.3333333+1,noise=0.1234567"


def test_the_pad_says_what_is_wrong():
    pad = SketchPad()
    pad._handle_custom_msg({"do": "pick", "pad": 0, "set": "stroke"}, [])
    assert "stroke" in pad.shown["error"]
    pad.set_state({"options": {**pad.options, "taps": "101"}})
    pad.ink(0, SEVEN)
    pad.ink(1, SEVEN)
    assert "taps '101'" in pad.shown["error"] and not pad.shown["mixture"]
    for wrong, words in (("task=separate,count=1", "task separate"), ("task=drawn,sources=strokes:1", "1 sources")):
        with pytest.raises(SepvizError, match=words):
            pad.restore(wrong)
    with pytest.raises(SepvizError, match="1 to 4"):
        SketchPad(5)
    with pytest.raises(SepvizError, match="pads 0 to 1"):
        pad.ink(2, SEVEN)


# --- the workbench ---


def test_every_method_without_examples_can_be_chosen():
    labels = choices()
    assert {"average", "split-gibbs, score-strokes", "synthesis, gan-mnist", "nmf, nmf-strokes", "mask, egg-mnist-low"} <= set(labels)
    assert not [label for label in labels if label.startswith(("egg", "remix,", "supervised"))]


@pytest.mark.parametrize(("method", "able", "unable"), [
    ("split-gibbs", "score-mnist", "gan-mnist"), ("synthesis", "gan-strokes", "score-mnist"),
    ("nmf", "nmf-mnist", "egg-mnist-low"), ("conv-nmf", "conv-nmf-mnist", " nmf-mnist"),
    ("mask", "egg-mnist-low", "score-mnist"), ("cnn", "cnn-mnist", "score-mnist")])
@pytest.mark.parametrize("prior", [None, "nothing-like-it", "of another kind", "no/such.safetensors"])
def test_only_priors_that_a_method_can_use_are_suggested(method, able, unable, prior):
    if prior == "of another kind":
        prior = "gan-mnist" if method != "synthesis" else "score-mnist"
    with pytest.raises(SepvizError) as caught:
        separator_of(method, None, [], prior, torch.device("cpu"))
    said = str(caught.value).replace(f"prior {prior}:", "")
    assert able in said and unable not in said


def test_a_misspelt_prior_is_taken_for_one_that_fits():
    with pytest.raises(SepvizError, match="did you mean gan-mnist"):
        separator_of("synthesis", None, [], "score-gan-mnist", torch.device("cpu"))


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


def test_from_the_pad_to_a_run_and_back_from_its_text():
    bench = Workbench()
    bench._send_widget.click()
    assert "pads 1 and 2 are empty" in bench._says.value
    bench.pad.ink(0, SEVEN)
    assert bench._says.value == "", "what was said of the mixture before is gone"
    bench.pad.pick(1)
    bench._method_widget.value = "average"
    bench._send_widget.click()
    assert bench._says.value == "" and bench.live in bench.children
    bench.live.start()
    assert bench.live.wait(60)
    text = bench.live.status["text"]
    assert text == f"{bench.pad.state},method=average,run=0"
    assert bench._compare_widget.disabled
    bench._method_widget.value = "constant"
    bench._send_widget.click()
    bench.live.set(share=0.3)
    assert bench.live.status["text"].endswith("method=constant,share=0.3,run=0")
    bench.live.start()
    assert bench.live.wait(60) and not bench._compare_widget.disabled
    bench._compare_widget.click()
    view = next(child for child in bench.children if isinstance(child, Compare))
    assert set(view.traces) == {"Average", "Constant"}
    other = Workbench(text)
    other.live.start()
    assert other.live.wait(60)
    assert torch.equal(other.live.trace.problem.mixtures, bench.live.trace.problem.mixtures) and other._method_widget.value == "average"
    other._field_widget.value = "task=separate,dataset=strokes,count=2,method=rpca"
    other._restore_widget.click()
    assert len(other.live.static["items"]) == 2 and "restored mixture" in other._says.value
    other._method_widget.value = "average"
    other._send_widget.click()
    assert len(other.live.static["items"]) == 2, "the restored mixture stays, until one draws"
    other.pad.pick(0)
    other._send_widget.click()
    assert len(other.live.static["items"]) == 1
    other._field_widget.value = "nonsense"
    other._restore_widget.click()
    assert "nonsense" in other._says.value
    for made in (bench, other):
        made.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("sepviz ")]


MASKS = {"mask, egg-strokes-high", "mask, remix-mnist", "average", "constant", "rpca"}
GIBBS, CNN = "split-gibbs, score-strokes", "cnn, cnn-mnist"
OPTIONS = {  # name: the pad's options, some methods that take such mixtures, some that do not
    "as it is": ({}, {GIBBS, "synthesis, gan-mnist", "nmf, nmf-strokes", *MASKS}, {CNN}),
    "unequal": ({"weights": [1.0, 0.5]}, {GIBBS, "average"}, {CNN, *MASKS} - {"average"}),
    "filters": ({"taps": "1" * 25}, {"synthesis, gan-mnist", "conv-nmf, conv-nmf-strokes"},
                {GIBBS, *MASKS}),
    "half seen": ({"visible": "top-half"}, {"synthesis, gan-strokes", "nmf, nmf-mnist"},
                  {GIBBS, *MASKS}),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_only_methods_that_take_the_mixture_are_offered(name):
    options, able, unable = OPTIONS[name]
    bench = Workbench()
    bench.pad.set_state({"options": {**bench.pad.options, **options}})
    offered = set(bench._method_widget.options)
    assert able <= offered and not unable & offered and bench._method_widget.value in offered
    plain = {"weights": [1.0, 1.0], "taps": "", "visible": "all"}
    bench.pad.set_state({"options": {**bench.pad.options, **plain}})
    assert set(bench._method_widget.options) == set(Workbench()._method_widget.options)
    bench.close()


@pytest.mark.parametrize(("count", "able", "unable"), [
    (1, {CNN, GIBBS}, MASKS - {"average"}), (3, {GIBBS}, {CNN, *MASKS} - {"average"})])
def test_what_is_offered_goes_by_the_number_of_sources(count, able, unable):
    """And each that is offered runs: nothing that can be chosen is refused at its first step."""
    bench = Workbench(count=count)
    offered = set(bench._method_widget.options)
    assert able <= offered and not unable & offered
    slow = {"synthesis, gan-mnist", "synthesis, gan-strokes"}
    for label in sorted(offered - slow):
        for pad in range(count):
            bench.pad.ink(pad, SEVEN)
        bench._method_widget.value = label
        bench.send().one_step()
        assert bench.live.wait(60) and not bench.live.status["error"], label
        assert bench.live.status["state"] in ("paused", "finished")
    bench.close()


def test_a_mixture_that_no_method_takes_is_told():
    """Colours through filters: average knows no filters, the priors know gray images of 28x28."""
    bench = Workbench()
    bench._offer(Problem(torch.zeros(1, 3, 9, 9), Mixing((1.0, 1.0), filter_size=5)))
    assert bench._method_widget.value is None and not bench._method_widget.options
    for pad in (0, 1):
        bench.pad.sources[pad] = "strokes:1"  # unseen by the widget, which would offer anew
    bench._send_widget.click()
    assert "takes this mixture" in bench._says.value
    bench.pad.pick(0)
    assert bench._method_widget.value == GIBBS


def test_a_method_that_cannot_take_the_mixture_says_so():
    bench = Workbench()
    taps = "0000001110011100111000000"
    bench._field_widget.value = f"task=drawn,sources=strokes:1+strokes:2,taps={taps},method=average"
    bench._restore_widget.click()
    assert "filter" in bench._says.value and bench.live is None
    assert bench._method_widget.value.startswith("conv-nmf")


def test_a_state_of_one_source():
    bench = Workbench("task=denoise,dataset=strokes,count=1,method=average", count=1)
    assert bench.live.static["count"] == 1
    bench.close()


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
        first, second = (values_of(without.static, pack)[-1] for pack in without.runs)
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
    assert [Trace(problem, [step], method).order for method in ("SplitGibbs", "Mask", "Egg", "Mine")] == [
        "each", "set", "fixed", "each"]
