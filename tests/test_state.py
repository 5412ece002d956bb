"""A run in one line of text, and mixtures that were drawn."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import sepviz
from sepviz import files, metrics
from sepviz.core import Problem, SepvizError
from sepviz.data import load
from sepviz.runs.recipe import Recipe, State, restore, tasks
from sepviz.separators import Average, Basis, SplitGibbs
from sepviz.tasks import drawn as sketch

DRAWINGS = json.loads((Path(__file__).parent / "drawings.json").read_text())
TEXT = ("task=separate,dataset=strokes,count=2,seed=4,method=split-gibbs,prior=score-strokes,"
        "levels=3,sweeps=1,run=7")


# --- the text ---


def test_a_text_makes_the_run_again():
    state = restore(TEXT)
    assert str(state) == TEXT and state.run == 7
    problem, truth = state.problem()
    same, _ = sepviz.tasks.separate("strokes", count=2, seed=4)
    assert torch.equal(problem.mixtures, same.mixtures)
    separator = state.separator()
    assert isinstance(separator, SplitGibbs) and (separator.levels, separator.sweeps) == (3, 1)
    again = restore(str(state.of(separator)))
    first, second = (sepviz.record(again.separator(), problem, seed=7, progress=False)
                     for _ in range(2))
    assert torch.equal(first.sources, second.sources)
    assert float(metrics.psnr(first.sources, truth.sources).mean()) > 5


def test_only_what_differs_is_written():
    state = State("separate", {"dataset": "strokes", "seed": "1"})
    prior = sepviz.load_prior("score-strokes")
    assert str(state.of(Average())) == "task=separate,dataset=strokes,seed=1,method=average,run=0"
    words = str(state.of(Basis(prior, delta=3e-5, noise=False), 3))
    assert words.endswith("method=basis,prior=score-strokes,delta=3e-05,noise=false,run=3")
    again = restore(words).separator()
    assert (again.delta, again.noise) == (3e-5, False)


def test_the_prior_that_is_used_is_the_one_that_is_written():
    state = restore(TEXT)
    assert "prior=score-mnist" in str(state.of(SplitGibbs(sepviz.load_prior("score-mnist"))))
    own = sepviz.load_prior("score-strokes")
    assert state.of(SplitGibbs(own)).prior == "score-strokes"
    for name in ("mine", "score-strokes"):
        path = f"a/{name}.safetensors"
        own.name = name  # what training calls it: as its file
        assert dataclasses.replace(state, prior=path).of(SplitGibbs(own)).prior == path
    own.name = "mine"
    assert state.of(SplitGibbs(own)).prior == "mine"  # not that which the line named

    class Own(Average):
        pass

    with pytest.raises(SepvizError, match="Own is a method of your own"):
        state.of(Own())


def test_words_with_commas_and_blanks_come_back(tmp_path):
    state = State("unmix", {"unseen": "a folder,with=signs", "observed": "strokes:0-4"}, "egg",
                  parameters={"first": "constant"}, run=2)
    assert restore(str(state)) == state
    assert restore(f"  {state}\n") == state


@pytest.mark.parametrize(("text", "words"), [
    ("", "want task="), ("hello", "hello"), ("dataset=strokes", "want task="),
    ("task=separate,count=3,count=4", "count is there twice"),
    ("task=separate,count=,seed=3", "count="), ("task=separate,method=average,run=x", "run=x"),
    ("task=separate,method=average,run=99999999999999999999", "whole number below"),
    ("task=separate,method=average,run=\u00b2", "whole number below"),
    ("task=separate,method=average,run=" + "9" * 5000, "whole number below"),
    ("task=separate,method=average,run=\u0663", "whole number below"),
    ("task=separate,method=average,run=-1", "whole number below"),
    ("task=separate,dataset=%00", "cannot be seen"),
    ("task=separate,dataset=a%0Ab", "cannot be seen"),
    ("task=a%1Bb", "cannot be seen"),
    ("task=separate,dataset=\ud800", "cannot be seen"),
    (None, "want task="),
    (b"task=separate", "want task="),
    ("x" * 9999, "want task="),
])
def test_what_is_no_state(text, words):
    with pytest.raises(SepvizError, match=words):
        restore(text)


@pytest.mark.parametrize(("text", "words"), [
    ("task=seperate", "did you mean separate"),
    ("task=separate,cuont=3", "did you mean count"),
    ("task=separate,count=three", "count=three"),
    ("task=separate,dataset=stroke", "strokes"),
    ("task=separate,seed=99999999999999999999", "number below"),
    ("task=drawn,sources=strokes:\u00b2", "want ink"),
    ("task=separate,count=1,method=basi", "did you mean basis"),
    ("task=separate,count=1", "no method"),
    ("task=separate,count=1,method=average,levels=3", "levels=3"),
    ("task=separate,count=1,method=basis", "needs a prior"),
    ("task=drawn", "no sources"),
    ("task=drawn,sources=strokes:0,taps=111", "taps"),
    ("task=drawn,sources=strokes:0,noise=2", "noise 2"),
    ("task=drawn,sources=ink:A", "no drawing"),
    ("task=drawn,sources=ink:", "empty"),
    ("task=drawn,sources=strokes:99999999", "test images 0 to"),
    ("task=drawn,sources=photo:1", "photo:1"),
    ("task=drawn,sources=strokes:1,pen=9", "pen 9"),
    ("task=drawn,sources=strokes:1,visible=left", "left"),
    ("task=drawn,sources=strokes:1+strokes:2,weights=1", "one for each of 2"),
    ("task=separate,seed=" + "9" * 5000, "seed=9"), ("task=separate,count=\u0663", "count=\u0663"),
    ("task=separate,count=200000", "below 100000"),
    ("task=separate,count=50000,sources=100", "5000000 images to mix"),
    ("task=unmix,training=2000000000", "below 100000"),
    ("task=drawn,sources=strokes:" + "9" * 5000, "test images 0 to"),
    ("task=drawn,sources=" + "+".join(["strokes:1"] * 101), "101 sources"),
    ("task=drawn,sources=ink:" + "x" * 5000, "no drawing|pixels of ink"),
    ("task=separate,weights=nan+1", "weights"), ("task=denoise,amplitude=nan", "amplitude=nan"),
    ("task=separate,dataset=/" + "x" * 5000, "."),
    ("task=separate,count=1,method=basis,prior=" + "x/" * 5000 + "a.safetensors", "."),
    ("task=separate,count=1,method=split-gibbs,prior=score-strokes,levels=" + "9" * 5000, "levels"),
])
def test_what_a_state_cannot_make(text, words):
    state = restore(text)
    with pytest.raises(SepvizError, match=words):
        state.problem()
        state.separator()


def test_a_device_that_is_not_there_is_one_line():
    for make in (restore(TEXT).problem, restore(TEXT).separator):
        with pytest.raises(SepvizError, match="recipe") as error:
            make("nowhere")
        assert "\n" not in str(error.value)


def test_a_state_made_by_hand_is_checked():
    for words in ({"task": 3}, {"mixture": {"count": 3}}, {"mixture": {"dataset": "\0"}},
                  {"run": 0.5}, {"run": -1}):
        with pytest.raises(SepvizError, match="recipe"):
            State(**{"task": "separate", "mixture": {}} | words)


# --- mixtures from files ---


def test_a_recipe_names_files(tmp_path):
    """What a file does not say, the recipe does; what they both say must agree."""
    path = tmp_path / "m, a+b.npy"
    np.save(path, sepviz.tasks.separate("strokes", count=2, seed=4)[0].mixtures.numpy())
    said = {"weights": "1+1", "filter_size": "3", "visible": "top-half"}
    recipe = Recipe.from_files([path], said, method="average", chunk=5)
    assert restore(str(recipe)) == recipe and recipe.reads() == [path, Path("top-half")]
    assert str(recipe).endswith(",weights=1+1,filter_size=3,visible=top-half,"
                                "method=average,run=0,chunk=5")
    problem, truth = recipe.problem()
    assert problem.mixing.weights == (1, 1) and problem.mixing.filter_size == 3 and truth is None
    assert not problem.mixtures[:, :, 14:].any()
    given = files.save_problem(tmp_path / "p.npz", *sepviz.tasks.separate("strokes", count=2))
    assert Recipe.from_files([given]).problem()[1].sources.shape == (2, 2, 1, 28, 28)
    for wrong, words in (({"sources": "3"}, "K = 2"), ({"weights": "a+1"}, "weights a 1"),
                         ({"wieghts": "1"}, "did you mean weights"),
                         ({"sources": "x"}, "sources=x"),
                         ({"visible": "left"}, "visible left")):
        with pytest.raises(SepvizError, match=words):
            Recipe.from_files([given], wrong).problem()
    for text, words in (("problem=gone.npz", "gone.npz"), ("problem=+", "no input file"),
                        ("problem=a.npz,problem=b.npz", "problem is there twice"),
                        ("task=separate,problem=a.npz", "problem")):
        with pytest.raises(SepvizError, match=words):
            restore(text).problem()


def test_presets_and_chunks_come_back():
    recipe = restore("task=separate,method=basis,prior=score-strokes,preset=program,levels=2,"
                     "run=1,chunk=7")
    separator = recipe.separator()
    assert separator == dataclasses.replace(separator, **Basis.presets["program"], levels=2)
    assert recipe.of(separator) == recipe and recipe.chunk == 7
    other = recipe.of(dataclasses.replace(separator, delta=1e-5))
    assert other.parameters == {"delta": "1e-05", "levels": "2"} and other.preset == "program"
    assert recipe.of(Average()).preset is None
    for text, words in (("preset=progam", "did you mean program"), ("chunk=0", "chunk=0"),
                        ("chunk=2.5", "chunk=2.5")):
        with pytest.raises(SepvizError, match=words):
            restore(f"task=separate,method=basis,prior=score-strokes,{text}").separator()


def test_every_task_has_a_name():
    assert set(sepviz.tasks.TASKS) < set(tasks())


# --- drawings ---


def test_ink_comes_back():
    strokes = [[[5.0, 5.5], [10.125, 8.0]], [[3.0, 27.875]]]
    assert sketch.decode(sketch.encode(strokes)) == strokes
    line = [[0.1 * i, 1.0] for i in range(400)]
    assert len(sketch.decode(sketch.encode([line]))[0]) == sketch.MOST_POINTS


@pytest.mark.parametrize(("strokes", "word"), [
    ([[[1, 2, 3]]], "points (x, y)"),
    ([["ab"]], "points (x, y)"),
    (3, "points (x, y)"),
    ([[[None, 1]]], "points (x, y)"),
    ([[[float("nan"), 1]]], "finite"), ([[[1e9, 1]]], "1e+09"), ([], "empty"), ([[]], "empty"),
    ([[[0, 0], [900, 900]] * 20], "pixels of ink"),
])
def test_what_is_no_drawing(strokes, word):
    with pytest.raises(SepvizError, match=re.escape(word)):
        sketch.draw(strokes)
    if word not in ("empty", "pixels of ink"):
        with pytest.raises(SepvizError, match=re.escape(word)):
            sketch.encode(strokes)


def test_a_drawing_looks_like_the_data():
    """Size, centre and weight of ink are those of the digits that the priors learned."""
    drawn = torch.stack([sketch.image_of(source) for drawing in DRAWINGS
                         for source in drawing["sources"]])
    digits = sepviz.data.floats(load("strokes", "test", count=500).images)
    axis = torch.arange(28) - 14.0
    for images in (drawn, digits):
        mass = images.sum(dim=(1, 2, 3))
        for sums in (images.sum(dim=2), images.sum(dim=3)):
            assert ((sums[:, 0] @ axis) / mass).abs().max() < 0.6
    inked = (drawn > 0.5).float().mean(dim=(1, 2, 3))
    usual = (digits > 0.5).float().mean(dim=(1, 2, 3))
    assert usual.quantile(0.005) < inked.min() and inked.max() < usual.quantile(0.995)
    small = sketch.draw([[(3, 3), (4, 6), (5, 3)]])
    far = sketch.draw([[(20, 20), (21, 23), (22, 20)]])
    assert torch.allclose(small, far, atol=1e-5), "where on the pad it was drawn does not matter"
    assert float(sketch.draw([[(14, 14)]]).sum()) > 2, "a dot is a dot"


def test_a_drawn_mixture_is_a_problem_like_any_other():
    problem, truth = sketch.drawn(["strokes:3", "strokes:4"], weights=[0.5, 2.0], noise=0.1,
                                  taps="0000001110011100111000000",
                                  visible="top-half")
    assert problem.mixtures.shape == (1, 1, 28, 28) and truth.sources.shape == (1, 2, 1, 28, 28)
    assert problem.mixing.weights == (0.5, 2.0) and problem.mixing.filter_size == 5
    assert float(truth.filters.sum()) == pytest.approx(2)
    assert not problem.mixtures[..., 14:, :].any()
    clean = problem.mixing.apply(truth.sources, truth.filters)
    assert float((problem.mixtures - clean)[..., :14, :].abs().max()) <= 0.1 + 1e-6
    plain, known = sketch.drawn("strokes:3+strokes:4")
    assert torch.equal(plain.mixtures, known.sources.sum(dim=1))


@pytest.mark.parametrize("prior", ["score-strokes", "score-mnist"])
def test_ten_drawings_come_apart(prior, capsys):
    """Twenty digits, drawn by hand: the figure is reported, and far above that of the average."""
    made = [sketch.drawn(drawing["sources"]) for drawing in DRAWINGS]
    problem = Problem(torch.cat([one.mixtures for one, _ in made]), made[0][0].mixing)
    sources = torch.cat([truth.sources for _, truth in made])
    methods = {"average": Average(), "split-gibbs": SplitGibbs(sepviz.load_prior(prior))}
    means = {}
    for name, method in methods.items():
        found = sepviz.record(method, problem, progress=False, every=1000).sources
        means[name] = float(metrics.psnr(found, sources).mean())
    with capsys.disabled():
        told = ", ".join(f"{name} {mean:.1f} dB" for name, mean in means.items())
        print(f"\n{prior}: {told}, n = {len(DRAWINGS)}")
    assert len(DRAWINGS) == 10 and means["split-gibbs"] > means["average"] + 4
