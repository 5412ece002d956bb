"""The pad and the workbench, without a browser."""

import threading

import pytest
import torch

from sepviz.core import Mixing, Problem, SepvizError
from sepviz.runs.recipe import separator_of
from sepviz.separators import Basis, SplitGibbs
from sepviz.widgets import Compare, SketchPad, Workbench
from sepviz.widgets.workbench import choices

SEVEN = [[[8.0, 4.0], [18.0, 4.0], [12.0, 24.0]]]

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
    assert pad.shown["mixture"] == pad.problem.mixtures.half().numpy().tobytes()
    assert torch.allclose(pad.problem.mixtures, pad.truth.sources.sum(dim=1))
    changed = {"weights": [0.5, 1.5], "noise": 0.2, "taps": "1" * 25, "visible": "top-half"}
    pad.set_state({"options": {**pad.options, **changed}})
    mixing = pad.problem.mixing
    assert (mixing.weights, mixing.filter_size) == ((0.5, 1.5), 5) and mixing.visible is not None
    other = SketchPad(state=str(pad.state))
    assert (other.sources, other.options) == (pad.sources, pad.options)
    assert torch.equal(other.problem.mixtures, pad.problem.mixtures)
    assert other.strokes[0] == SEVEN and other.strokes[1] == []
    pad.set_state({"strokes": [[], []]})
    assert pad.sources[0] == "" and pad.sources[1].startswith("strokes:"), "the other stays"


def test_clearing_one_pad_leaves_the_other():
    pad = SketchPad()
    pad.pick(0)
    # drawn over the picture; the browser may not know the new source yet
    pad.set_state({"strokes": [SEVEN, []]})
    pad._handle_custom_msg({"do": "clear", "pad": 1}, [])
    assert pad.sources[0].startswith("ink:") and pad.sources[1] == ""
    text = "task=drawn,sources=strokes:1+strokes:2,weights=0.3333333+1,noise=0.1234567"
    assert str(SketchPad(state=text).state) == text


def test_the_pad_says_what_is_wrong():
    pad = SketchPad()
    pad._handle_custom_msg({"do": "pick", "pad": 0, "set": "stroke"}, [])
    assert "stroke" in pad.shown["error"]
    pad.set_state({"options": {**pad.options, "taps": "101"}})
    pad.ink(0, SEVEN)
    pad.ink(1, SEVEN)
    assert "taps '101'" in pad.shown["error"] and not pad.shown["mixture"]
    for wrong, words in (("task=separate,count=1", "task separate"),
                         ("task=drawn,sources=strokes:1", "1 sources")):
        with pytest.raises(SepvizError, match=words):
            pad.restore(wrong)
    with pytest.raises(SepvizError, match="1 to 4"):
        SketchPad(5)
    with pytest.raises(SepvizError, match="pads 0 to 1"):
        pad.ink(2, SEVEN)


# --- the workbench ---


def test_every_method_without_examples_can_be_chosen():
    labels = choices()
    assert {"average", "split-gibbs, score-strokes", "synthesis, gan-mnist", "nmf, nmf-strokes",
            "mask, egg-mnist-low"} <= set(labels)
    assert not [label for label in labels if label.startswith(("egg", "remix,", "supervised"))]


@pytest.mark.parametrize(("method", "able", "unable"), [
    ("split-gibbs", "score-mnist", "gan-mnist"), ("synthesis", "gan-strokes", "score-mnist"),
    ("nmf", "nmf-mnist", "egg-mnist-low"), ("conv-nmf", "conv-nmf-mnist", " nmf-mnist"),
    ("mask", "egg-mnist-low", "score-mnist"), ("cnn", "cnn-mnist", "score-mnist")])
@pytest.mark.parametrize("prior", [None, "nothing-like-it", "of another kind",
                                   "no/such.safetensors"])
def test_only_priors_that_a_method_can_use_are_suggested(method, able, unable, prior):
    if prior == "of another kind":
        prior = "gan-mnist" if method != "synthesis" else "score-mnist"
    with pytest.raises(SepvizError) as caught:
        separator_of(method, None, [], prior, torch.device("cpu"))
    said = str(caught.value).replace(str(prior), "", 1)
    assert able in said and unable not in said


def test_a_misspelt_prior_is_taken_for_one_that_fits():
    with pytest.raises(SepvizError, match="did you mean gan-mnist"):
        separator_of("synthesis", None, [], "score-gan-mnist", torch.device("cpu"))


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
    made, before = (one.live.trace.problem.mixtures for one in (other, bench))
    assert torch.equal(made, before) and other._method_widget.value == "average"
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


def test_another_method_does_not_take_over_the_preset():
    bench = Workbench("task=separate,dataset=strokes,count=2,method=basis,prior=score-strokes,"
                      "preset=program,run=0")
    assert bench.live.separator == Basis(bench.live.separator.prior, **Basis.presets["program"])
    bench._method_widget.value = "split-gibbs, score-strokes"
    sent = bench.send()
    assert sent.separator == SplitGibbs(sent.separator.prior)
    bench.close()
