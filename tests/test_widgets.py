"""The widgets without a browser: traits and methods."""

import base64
import json
import threading
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from ipywidgets.embed import embed_data
from test_trace import Toy, stream, task  # noqa: F401 (task is a fixture)

from sepviz import metrics
from sepviz.core import Mixing, Problem, SepvizError, Truth, parameter
from sepviz.runs.trace import record
from sepviz.views import figures
from sepviz.views.packing import make_view, pack_frames, thin
from sepviz.widgets import Explore, KernelPad, LiveRun, Player


@pytest.fixture
def live(task):  # noqa: F811
    made = LiveRun(Toy(), *task)
    yield made
    made.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "sepviz Toy"]


def layers_of(static: dict, pack: dict) -> dict[str, np.ndarray]:
    """The layers of a pack as (frames, items, panels, C, H, W) float16."""
    shape = (len(static["items"]), -1, static["channels"], static["height"], static["width"])
    parts = [len(static["items"]) * layer["panels"] for layer in pack["layers"]]
    data = np.frombuffer(pack["bytes"], np.float16)
    data = data.reshape(len(pack["records"]), sum(parts), *shape[2:])
    split = np.split(data, np.cumsum(parts)[:-1], axis=1)
    return {layer["name"]: part.reshape(len(data), *shape)
            for layer, part in zip(pack["layers"], split, strict=True)}


# --- the player ---


def test_player_sends_what_was_recorded(task):  # noqa: F811
    problem, truth = task
    trace = record(Toy(), problem, every=10, progress=False)
    player = Player(trace, truth)
    records, layers = player.frames["records"], layers_of(player.static, player.frames)
    assert [frame["index"] for frame in records] == list(trace.indices)
    permutation = metrics.match(trace.sources, truth.sources)
    for i, step in enumerate(trace):
        sources = metrics.reorder(step.sources, permutation)
        assert np.array_equal(layers["estimate"][i], sources.half().numpy())
        residual = problem.mixtures - problem.mixing.apply(step.sources)
        assert np.array_equal(layers["residual"][i][:, 0], residual.half().numpy())
        scales = residual.abs().amax(dim=(1, 2, 3)).tolist()
        assert records[i]["scales"]["residual"] == pytest.approx(scales, rel=1e-3)
        psnr = metrics.psnr(step.sources, truth.sources).tolist()
        assert records[i]["values"]["psnr"] == pytest.approx(psnr, abs=0.01)
    assert not layers["noise"][0].any()  # step 0 has none


def test_player_state_is_plain_json_but_for_its_bytes(task):  # noqa: F811
    trace = record(Toy(), task[0], every=10, progress=False)
    nothing = torch.full_like(trace[2].sources, torch.nan)
    trace.steps.insert(3, trace[2]._replace(sources=nothing, info={"sigma": float("inf")}))
    player = Player(trace, task[1])
    for state in (player.static, player.frames):
        json.dumps(state, allow_nan=False, default=len)


def test_player_is_whole_in_a_saved_notebook(task):  # noqa: F811
    player = Player(record(Toy(), task[0], every=10, progress=False), task[1])
    states = embed_data([player], drop_defaults=False)["manager_state"]["state"]
    state = json.loads(json.dumps(states[player.model_id]))
    saved = {tuple(part["path"]): base64.b64decode(part["data"]) for part in state["buffers"]}
    assert saved[("frames", "bytes")] == player.frames["bytes"]
    assert saved[("static", "mixtures")] == player.static["mixtures"]
    assert "function render" in state["state"]["_esm"]


def test_cursor_gives_the_step_to_go_on_from(task):  # noqa: F811
    trace = record(Toy(), task[0], every=10, progress=False)
    player = Player(trace)
    player.set_state({"cursor": 3})  # as the browser does when it comes to rest
    assert player.step.index == 30
    assert torch.equal(player.step.sources, trace[3].sources)
    assert record(Toy(), task[0], start=player.step, every=1, progress=False).indices[0] == 31
    with pytest.raises(SepvizError, match="frames 0 to 5"):
        player.cursor = 6
    with pytest.raises(SepvizError, match="mixtures 0 to 2"):
        player.item = 3


def test_player_of_many_mixtures_holds_eight():
    mixing = Mixing.mean(3)
    sources = torch.rand(21, 3, 3, 4, 4)
    problem = Problem(mixing.apply(sources), mixing)
    trace = record(Toy(count=3), problem, progress=False)
    player = Player(trace, Truth(sources), item=18)
    assert (player.item, player.static["batch"]) == (18, 21)
    assert player.static["items"] == [16, 17, 18, 19, 20]
    assert layers_of(player.static, player.frames)["estimate"][3].shape == (5, 3, 3, 4, 4)
    with pytest.raises(SepvizError, match="item=21"):
        Player(trace, item=21)


def test_wrong_truth_and_wrong_channels(task):  # noqa: F811
    trace = record(Toy(count=3), task[0], progress=False)
    with pytest.raises(SepvizError, match="truth of shape"):
        Player(trace, Truth(torch.zeros(3, 5, 1, 6, 5)))
    mixing = Mixing.sum(2)
    with pytest.raises(SepvizError, match="2 channels"):
        make_view(Problem(torch.zeros(1, 2, 4, 4), mixing), None)


def test_thin_fits_the_budget_and_keeps_the_ends(task):  # noqa: F811
    trace = record(Toy(count=100), task[0], every=1, progress=False)
    view = make_view(task[0], None)
    budget = 20 * len(pack_frames(view, [trace[50]])["bytes"])
    positions = thin(trace.steps, view, budget)
    assert (positions[0], positions[-1], len(positions)) == (0, 100, 20)
    assert len(pack_frames(view, [trace[i] for i in positions])["bytes"]) <= budget


# --- the live run ---


def press(live, **message):
    live._handle_custom_msg(message, [])


def test_a_live_run_shows_its_session(live, task):  # noqa: F811
    for index in range(3):
        live.one_step()
        assert live.wait(60)
        assert live.frame["records"][0]["index"] == live.trace.final.index == index
    live.start()
    assert live.wait(60)
    assert live.status["state"] == "finished" and live.history["branch"] == live.frame["branch"]
    assert [frame["index"] for frame in live.history["records"]] == list(range(51))
    sources = live.trace.sources
    assert torch.equal(sources, stream(Toy(), task[0])[-1].sources)
    estimates = layers_of(live.static, live.history)["estimate"]
    assert np.array_equal(estimates[-1], sources.half().numpy())
    order = metrics.match(sources, task[1].sources).argsort(dim=1).tolist()
    assert live.history["records"][0]["order"] == order


def test_buttons_and_sliders(live):
    names = [control["name"] for control in live.controls]
    assert names == ["count", "rate"]  # interrupt_at says nothing of itself
    press(live, do="one_step")
    assert live.wait(60)
    press(live, do="set", name="rate", value=0.05)
    assert live.separator.rate == 0.05
    press(live, do="start")
    assert live.wait(60)
    press(live, do="fork", index=20)
    assert live.wait(60)
    assert live.status["branches"][1].endswith("at step 20") and len(live.branches) == 2
    assert live.history["records"][-1]["index"] == 50 and live.status["changed"]
    press(live, do="select", branch=0)
    assert live.status["branch"] == 0
    press(live, do="reset")
    assert live.status["state"] == "ready" and live.branches == []
    assert live.history["records"] == []
    press(live, do="fork", index=20)
    assert "nothing is recorded" in live.status["error"]


def test_invalid_value_keeps_the_old_run(live):
    live.one_step()
    assert live.wait(60)
    for _ in range(2):  # told twice: its knob is set back twice
        says = live.status["says"]
        press(live, do="set", name="rate", value=-1.0)
        assert "positive" in live.status["error"] and live.status["says"] > says
    assert live.separator.rate == 0.1
    live.start()
    assert live.wait(60)
    assert (live.status["state"], live.status["error"]) == ("finished", "")


@pytest.mark.parametrize("wrong", [{"results": {"filters": torch.zeros(1)}},
                                   {"info": {"seconds": "long", "sigma": "s"}}])
def test_what_cannot_be_sent_ends_the_run(task, wrong):  # noqa: F811
    @dataclass(frozen=True)
    class Spoilt(Toy):
        spoilt: bool = parameter(True, "Whether step 3 is spoilt.")

        def steps(self, problem, rng, start=None):
            for step in super().steps(problem, rng, start):
                yield step._replace(**wrong) if self.spoilt and step.index == 3 else step

    live = LiveRun(Spoilt(), *task)
    for _ in range(4):
        live.one_step()
        assert live.wait(60)
    assert live.status["state"] == "failed" and live.status["error"]
    live.reset()
    live.set(spoilt=False)
    live.start()
    assert live.wait(60) and live.status["state"] == "finished"
    live.close()


def test_sliders_set_a_picture():
    """It is there before anything is moved, and another one after, whatever thread that is on."""
    drawn = []

    def draw(a, b):
        drawn.append((a, b))
        if a > 4:
            raise SepvizError("too far")
        return figures.images({"x": torch.full((1, 1, 4, 4), b / 4)})

    view = Explore(draw, a=(0, 8, 0.5), b=(0, 4, 1))
    first = bytes(view.picture.value)
    assert first.startswith(b"\x89PNG") and drawn == [(4, 2)]
    moved = {"value": 3.0}
    worker = threading.Thread(target=lambda: view.sliders["b"].set_state(moved))  # by the browser
    worker.start()
    worker.join()
    second = bytes(view.picture.value)
    assert drawn[-1] == (4, 3) and second != first
    assert second == figures.png_bytes(figures.images({"x": torch.full((1, 1, 4, 4), 0.75)}))
    view.sliders["a"].value = 5
    assert "too far" in view._says.value and bytes(view.picture.value) == second
    view.sliders["a"].value = 3
    assert view._says.value == ""


def test_what_is_painted_is_the_filter():
    pad = KernelPad(3, torch.tensor([[0.0, 0, 0], [0, 1, 1], [0, 0, 0]]))
    assert torch.equal(pad.kernel, torch.tensor([[0, 0, 0], [0, 0.5, 0.5], [0, 0, 0]]))
    pad.children[2].children[0].value = True  # a click on the lower left cell
    assert float(pad.kernel[2, 0]) == pytest.approx(1 / 3)
    assert float(pad.kernel.sum()) == pytest.approx(1)
    styles = [[cell.button_style for cell in row.children] for row in pad.children[:3]]
    assert styles == [["", "", ""], ["", "primary", "primary"], ["primary", "", ""]]
    assert torch.equal(KernelPad().kernel, torch.eye(5) / 5), "it starts with something"


@pytest.mark.parametrize(("arguments", "words"), [
    ((4,), "filter size 4"), ((5, torch.ones(3, 3)), r"\(3, 3\)"),
    ((3, torch.zeros(3, 3)), "empty")])
def test_a_wrong_filter_is_refused(arguments, words):
    with pytest.raises(SepvizError, match=words):
        _ = KernelPad(*arguments).kernel


def test_weights_go_with_the_estimates():
    """Sources of unequal weights keep their places, and the sum shown for a pixel holds."""
    mixing = Mixing((0.5, 2.0))
    sources = torch.rand(3, 2, 1, 6, 5)
    problem = Problem(mixing.apply(sources), mixing)
    trace = record(Toy(), problem, every=25, progress=False)
    player = Player(trace, Truth(trace.sources.flip(1)))  # a truth in the other order
    assert player.frames["weights"] == [[0.5, 2.0]] * 3
    layers = layers_of(player.static, player.frames)
    weights = np.array([0.5, 2.0])[None, :, None, None, None]
    remix = (layers["estimate"][2].astype(np.float32) * weights).sum(axis=1)
    left = remix + layers["residual"][2][:, 0] - problem.mixtures.numpy()
    assert np.abs(left).max() < 0.01
