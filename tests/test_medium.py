"""The package knows from the medium what a picture is; a made-up medium goes the same way."""

import dataclasses
import json
import math
import re

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

import sepviz
from sepviz import figures, files, metrics, runs, tasks
from sepviz.core import MEDIA, PICTURE, Medium, Problem, SepvizError, axes_from, spread
from sepviz.separators import Average, Constant

LOUDNESS = Medium("loudness", "magnitude", ("frequency", "time"), 0.0, math.inf, peak=4.0,
                  unit="magnitudes", drawn="spectrogram", heard="waveform")
STEREO = dataclasses.replace(LOUDNESS, name="stereo", axes=("channels", "frequency", "time"))


def loud(*shape, seed=0):
    return 7 * torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def mean_psnr(true, estimates):
    """By scikit-image, over the first axis."""
    return np.mean([peak_signal_noise_ratio(one.numpy(), other.numpy(), data_range=4)
                    for one, other in zip(true, estimates, strict=True)])


@pytest.fixture(params=[LOUDNESS, STEREO], ids=lambda medium: medium.name)
def made_up(request, monkeypatch):
    """A medium, and a problem of it with its truth."""
    medium = request.param
    monkeypatch.setitem(MEDIA, medium.name, medium)
    return medium, *tasks.mix(loud(3, 2, *(2, 12, 16)[-len(medium.axes):]), medium=medium)


@pytest.mark.parametrize(("separator", "share"), [(Average(), 0.5), (Constant(0.3), 0.3)])
def test_a_method_that_only_needs_arithmetic_takes_any_medium(made_up, separator, share):
    medium, problem, truth = made_up
    problem = problem.to("cpu")
    assert problem.medium is medium
    trace = sepviz.record(separator, problem, progress=False)
    torch.testing.assert_close(trace.sources[:, 0], share * problem.mixtures)
    assert trace.problem.medium is medium and problem.residual(trace.sources) < 1e-6
    rms = problem.residuals(torch.zeros_like(truth.sources))
    torch.testing.assert_close(rms, problem.mixtures.flatten(1).square().mean(dim=1).sqrt())
    orders = [[0, 1], [1, 0]] if trace.order == "each" else [[0, 1]]
    best = max(mean_psnr(truth.sources[0], trace.sources[0, order]) for order in orders)
    assert float(trace.metric(truth)[0, 0]) == pytest.approx(best, abs=1e-4)


def test_figures_use_the_peak_and_the_range(made_up):
    medium, _, truth = made_up
    worse = truth.sources + loud(*truth.sources.shape, seed=1) - 3.5
    summary = metrics.summarize(worse, truth.sources, order="fixed", medium=medium)
    true, clipped = (some.flatten(0, 1).double() for some in (truth.sources, worse.clamp(0)))
    assert summary.mean == pytest.approx(mean_psnr(true, clipped), abs=1e-4)
    axis = {"channel_axis": 0} if "channels" in medium.axes else {}
    similar = [structural_similarity(a.numpy(), b.numpy(), gaussian_weights=True, sigma=1.5,
                                     use_sample_covariance=False, data_range=4, **axis)
               for a, b in zip(true, clipped, strict=True)]
    assert summary.ssim == pytest.approx(np.mean(similar), abs=1e-6)
    order = metrics.match(worse.flip(1), truth.sources, medium=medium)
    assert order.tolist() == [[1, 0]] * 3
    assert torch.equal(metrics.reorder(worse.flip(1), order), worse)
    assert metrics.modes(worse, medium=medium)[0].shape == (3, 2)


def test_what_is_not_of_the_medium_is_refused_in_its_words(made_up):
    medium, problem, truth = made_up
    for wrong, words in ((-2 * problem.mixtures, "sources in [0, inf) with weights (1.0, 1.0)"),
                         (problem.mixtures / 0, "inf: every magnitude must be a finite number"),
                         (problem.mixtures[:, 0], f"want floats {medium.form('B')}")):
        with pytest.raises(SepvizError, match=re.escape(words)):
            Average().check(problem._replace(mixtures=wrong))
    seen = torch.ones(12, 16, dtype=torch.bool)
    hidden = tasks.hide(problem, seen)
    assert hidden.medium is medium
    with pytest.raises(SepvizError, match="seen in part: this method needs every magnitude"):
        Average().check(hidden)
    with pytest.raises(SepvizError, match=r"visible of shape .*: the mixtures are 12x16"):
        tasks.hide(problem, seen[1:])
    with pytest.raises(SepvizError, match=r"floats \(B, C, H, W\)|in \[0, 1\] with"):
        Average().check(problem._replace(medium=PICTURE))
    with pytest.raises(SepvizError, match="want the same"):
        metrics.psnr(truth.sources[..., None], truth.sources[..., None], medium=medium)


def test_views_of_pictures_refuse_it(made_up, tmp_path):
    medium, problem, truth = made_up
    trace = sepviz.record(Average(), problem, progress=False)
    for show in (lambda: figures.separation(problem, trace, truth),
                 lambda: figures.compare(problem, {"average": trace}),
                 lambda: sepviz.Player(trace, truth),
                 lambda: sepviz.save_page(trace, tmp_path / "page.html", truth),
                 lambda: sepviz.save_gif(trace, tmp_path / "run.gif")):
        with pytest.raises(SepvizError, match=f"medium {medium.name} .*drawn as a picture"):
            show()
    assert not list(tmp_path.iterdir())


def test_files_say_the_medium(monkeypatch, tmp_path):
    monkeypatch.setitem(MEDIA, STEREO.name, STEREO)
    problem, truth = tasks.mix(loud(3, 2, 1, 12, 16), medium=STEREO)
    trace = sepviz.record(Average(), problem, progress=False)
    saved = files.save_problem(tmp_path / "p.npz", problem, truth), trace.save(tmp_path / "t.npz")
    loaded, again = files.load_problem(saved[0])[0], runs.Trace.load(saved[1])
    assert loaded.medium == again.problem.medium == STEREO
    assert torch.equal(loaded.mixtures, problem.mixtures)
    monkeypatch.delitem(MEDIA, STEREO.name)
    for path, read in zip(saved, (files.load_problem, runs.Trace.load), strict=True):
        with pytest.raises(SepvizError, match=f"{path.name} holds .*'stereo': .* knows picture"):
            read(path)
        with np.load(path) as held:
            arrays = dict(held)
        meta = json.loads(str(arrays["meta"]))
        del meta["medium"]  # as version 0.1 wrote
        np.savez(path, **arrays | {"meta": json.dumps(meta)})
    assert runs.Trace.load(saved[1]).problem.medium is PICTURE


def test_a_problem_is_of_pictures_unless_said():
    problem, _ = tasks.mix(torch.rand(2, 2, 3, 8, 8))
    assert Problem(problem.mixtures, problem.mixing).medium is PICTURE
    assert PICTURE.form("B", "K") == "(B, K, C, H, W)" and PICTURE.range == "[0, 1]"
    assert PICTURE.extent((2, 3, 8, 9)) == (8, 9) and LOUDNESS.extent((5, 8, 9)) == (8, 9)
    assert PICTURE.reach((0.5, -2)) == (-2, 0.5) and LOUDNESS.reach((1, 1)) == (0, math.inf)


def test_axes_are_named_in_one_place():
    images = torch.rand(2, 3, 4, 5)
    assert torch.equal(images.mean(dim=axes_from(images, 2)), images.mean(dim=(2, 3)))
    by_item, by_source = torch.rand(2), torch.rand(2, 3)
    assert torch.equal(spread(by_item, images) * images, by_item[:, None, None, None] * images)
    assert torch.equal(spread(by_source, images) * images, by_source[:, :, None, None] * images)
