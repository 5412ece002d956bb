"""Mixtures of a wrong scale, runs from their text, and runs that go on from a file."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from npz import OLD, changed, fails, setting

from sepviz import cli, files, tasks
from sepviz.core import Mixing, Problem
from sepviz.runs.recipe import restore
from sepviz.runs.trace import Trace, record
from sepviz.separators import SsNmf
from sepviz.tasks import drawn as sketch

# The run of version 0.1 that stopped.partial.npz is of.
STOPPED = ["separate", str(OLD / "problem.npz"), "--method", "rpca", "--set", "iterations=4",
           "--chunk", "2", "--out", "stopped.npz"]

# --- scale --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weights", "mend"),
    [
        ((1.0, 1.0), "(mixtures + 2) / 2"),
        ((0.5, 0.5), "(mixtures + 1) / 2"),
        ((1.0,), "(mixtures + 1) / 2"),
    ],
)
def test_images_of_minus_one_to_one_are_refused_and_the_mend_mends(tmp_path, weights, mend):
    problem, _ = tasks.separate("strokes", count=4, sources=len(weights), weights=list(weights))
    wrong = sum(weights) * -1 + 2 * problem.mixtures  # the same images in [-1, 1], mixed
    np.save(tmp_path / "m.npy", wrong)
    fails(["[-1, 1]", mend], files.load_problem, tmp_path / "m.npy", weights=weights)
    np.save(tmp_path / "m.npy", eval(mend, {"mixtures": wrong}))
    torch.testing.assert_close(
        files.load_problem(tmp_path / "m.npy", weights=weights)[0].mixtures, problem.mixtures
    )


def test_noise_is_no_other_scale():
    """The most noise that a task adds passes; a photo-like image in [-1, 1] does not."""
    for problem, _ in (
        tasks.denoise("strokes", count=200, amplitude=1.0),
        tasks.inpaint("strokes", count=50),
        sketch.drawn("strokes:1+strokes:2", noise=1.0),
    ):
        problem.mixing.check(problem.mixtures)
    rng = torch.Generator().manual_seed(0)
    grey = torch.nn.functional.interpolate(
        torch.randn((8, 3, 4, 4), generator=rng), size=32, mode="bilinear"
    )
    photos = (0.5 + 0.25 * grey).clamp(0, 1)
    Mixing.sum(2).check(photos[:4] + photos[4:])
    fails(["[-1, 1]"], Mixing.sum(2).check, 2 * (photos[:4] + photos[4:]) - 2)


@pytest.mark.parametrize(
    ("scale", "options", "hinted"),
    [
        (0.5, ["--sources", "2"], True),
        (0.5, ["--weights", "sum", "--sources", "2"], True),
        (1.0, ["--sources", "2"], False),
        (0.5, ["--weights", "mean", "--sources", "2"], False),
    ],
)
def test_a_mean_declared_as_a_sum_is_said(tmp_path, monkeypatch, capsys, scale, options, hinted):
    monkeypatch.chdir(tmp_path)
    np.save("m.npy", scale * tasks.separate("strokes", count=4)[0].mixtures.numpy())
    assert cli.main(["separate", "m.npy", "--method", "average", *options]) == 0
    assert ("say --weights mean" in capsys.readouterr().err) == hinted
    files.save_problem("p.npz", tasks.mix(torch.full((2, 2, 1, 8, 8), 0.2))[0])
    assert cli.main(["separate", "p.npz", "--method", "average", "--out", "p_out.npz"]) == 0
    assert "--weights mean" not in capsys.readouterr().err, (
        "a file that states its weights knows them"
    )


# --- a run from its text, and a stopped run -----------------------------------------------------


def test_a_method_that_learns_is_trained_once_for_all_mixtures(tmp_path, monkeypatch):
    """Seventy mixtures are more than a chunk: one training, and every mixture by the same mask."""
    monkeypatch.chdir(tmp_path)
    runs, steps = [], SsNmf.steps

    def counted(self, problem, *rest):
        runs.append((len(problem.mixtures), problem.examples))
        return steps(self, problem, *rest)

    monkeypatch.setattr(SsNmf, "steps", counted)
    text = "task=unmix,count=70,training=8,method=ss-nmf,rank=2,observed_iterations=1,iterations=1"
    assert cli.main(["separate", "--state", text, "--trace", "t.npz"]) == 0
    assert [count for count, _ in runs] == [70] and runs[0][1] is not None
    state = restore(text)
    trace = record(state.separator(), state.problem()[0], progress=False)
    assert torch.equal(files.load_separation("out.npz").sources, trace.sources)
    assert Trace.load("t.npz").sources.shape[0] == 70


def test_a_problem_moves_as_a_whole(monkeypatch):
    problem = tasks.unmix(count=2, training=4, sees="all")[0]
    problem = problem._replace(mixing=tasks.hide(problem, tasks.top_half(32, 32)).mixing)
    moved, to = [], torch.Tensor.to
    monkeypatch.setattr(
        torch.Tensor, "to", lambda self, *rest: moved.append(id(self)) or to(self, *rest)
    )
    assert torch.equal(problem.to("cpu").examples.mixtures, problem.examples.mixtures)
    assert set(moved) == {
        id(tensor) for tensor in (problem.mixtures, problem.mixing.visible, *problem.examples)
    }
    plain = problem._replace(mixing=Mixing.sum(2)).to("meta")
    assert [tensor.device.type for tensor in (plain.mixtures, *plain.examples)] == ["meta"] * 4


def test_separate_takes_the_examples_to_the_device(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    moved = []
    monkeypatch.setattr(
        Problem, "to", lambda self, where: moved.append((self.examples, where)) or self
    )
    text = "task=unmix,count=2,training=8,method=ss-nmf,rank=2,observed_iterations=1,iterations=1"
    assert cli.main(["separate", "--state", text, "--device", "cpu"]) == 0
    assert moved[0][0] is not None and moved[0][1] == torch.device("cpu")


@pytest.mark.parametrize(
    ("meta", "arrays", "words"),
    [
        ((), {"done": np.zeros((2, 2, 1, 5, 6), np.float32)}, ["not of these 3 mixtures"]),
        ((), {"done": np.zeros((4, 2, 1, 6, 5), np.float32)}, ["not of these 3 mixtures"]),
        ((), {"done": np.zeros((1, 2, 1, 6, 5), np.float32)}, ["not of these 3 mixtures"]),
        ((), {"step__sources": np.zeros((2, 2, 1, 6, 5), np.float32)}, ["not of these 3 mixtures"]),
        ((), {"step__extras__multiplier": np.zeros((2, 3), np.float32)}, ["cannot go on from"]),
        ((), {"step__rng": np.zeros(16, np.uint8)}, ["cannot go on from"]),
        ((), {"step__rng": np.zeros(5056, np.uint8)}, ["cannot go on from"]),
        (setting("run", to={}), {}, ["run None"]),
        (setting("run", "run", to=[]), {}, ["run []"]),
        (setting("run", "seconds", to="x"), {}, ["seconds 'x'"]),
        (setting("run", "evaluations", to=float("nan")), {}, ["evaluations nan"]),
    ],
)
def test_a_partial_result_that_does_not_fit_is_refused_and_kept(
    tmp_path, monkeypatch, capsys, meta, arrays, words
):
    monkeypatch.chdir(tmp_path)
    changed(OLD / "stopped.partial.npz", "stopped.partial.npz", meta, **arrays)
    before = Path("stopped.partial.npz").read_bytes()
    assert cli.main(STOPPED) == 2
    err = capsys.readouterr().err.strip().splitlines()[-1]
    assert err.startswith("sepviz: stopped.partial.npz") and all(word in err for word in words), err
    assert Path("stopped.partial.npz").read_bytes() == before and os.listdir() == [
        "stopped.partial.npz"
    ]


def test_a_run_that_version_0_1_stopped_goes_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(OLD / "stopped.partial.npz", "stopped.partial.npz")
    assert cli.main(STOPPED) == 0
    want = files.load_separation(OLD / "out.npz").sources
    assert torch.equal(files.load_separation("stopped.npz").sources, want)
