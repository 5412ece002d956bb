"""Problem and result files: what goes in comes out, and what is wrong is refused in one line."""

import json
import os

import numpy as np
import pytest
import torch
from npz import fails
from PIL import Image

from sepviz import files, tasks
from sepviz.core import Mixing, Problem, Step, Truth


@pytest.fixture
def mixed():
    sources = torch.rand(3, 2, 1, 12, 16, generator=torch.Generator().manual_seed(0))
    return tasks.mix(sources, (1.0, 0.5))


def test_problem_round_trip(tmp_path, mixed):
    problem, truth = mixed
    path = files.save_problem(tmp_path / "p.npz", problem, truth, {"dataset": "random"},
                              labels=torch.tensor([[1, 2]] * 3))
    again, truth_again = files.load_problem(path)
    assert torch.equal(again.mixtures, problem.mixtures)
    assert again.mixing == problem.mixing
    assert torch.equal(truth_again.sources, truth.sources)
    with np.load(path, allow_pickle=False) as archive:
        assert set(archive.files) == {"mixtures", "weights", "sources", "labels", "meta"}
        assert archive["mixtures"].dtype == np.float32
        assert json.loads(str(archive["meta"]))["dataset"] == "random"
    assert os.listdir(tmp_path) == ["p.npz"]  # no temporary file stays behind


def test_problem_without_truth(tmp_path, mixed):
    path = files.save_problem(tmp_path / "p.npz", mixed[0])
    assert files.load_problem(path)[1] is None
    assert files.load_problem(path, weights=(1, 0.5), count=2)[0].mixing.weights == (1, 0.5)


def test_separation_round_trip(tmp_path, mixed):
    path = files.save_separation(tmp_path / "o.npz", mixed[1].sources,
                                 {"method": "average", "seed": 3})
    sources, meta, _ = files.load_separation(path)
    assert torch.equal(sources, mixed[1].sources)
    assert (meta["method"], meta["seed"]) == ("average", 3)


def test_partial_round_trip(tmp_path):
    rng = torch.Generator().manual_seed(5)
    step = Step(7, "sigma 0.1", torch.rand(2, 2, 1, 3, 3), {"noise": torch.rand(2, 2, 1, 3, 3)},
                state={"count": torch.tensor([4])}, info={"sigma": 0.1})
    partial = files.Partial(torch.zeros(0, 2, 1, 3, 3), step, rng.get_state(), {"seed": 5})
    files.save_partial(tmp_path / "p.npz", partial)
    again = files.load_partial(tmp_path / "p.npz")
    assert again.meta == {"seed": 5} and len(again.done) == 0
    assert again.step[:2] == step[:2] and again.step.info == step.info
    assert torch.equal(again.step.sources, step.sources)
    assert torch.equal(again.step.state["count"], step.state["count"])
    assert torch.equal(again.rng_state, rng.get_state())
    fails(["stopped"], files.load_separation, tmp_path / "p.npz")


@pytest.mark.parametrize("shape", [(3, 12, 16), (3, 1, 12, 16)])
def test_bare_arrays(tmp_path, mixed, shape):
    values = mixed[0].mixtures.numpy().reshape(shape)
    np.save(tmp_path / "m.npy", values.astype(np.float64))
    np.savez(tmp_path / "m.npz", mixtures=values)
    for name in ("m.npy", "m.npz"):
        problem, truth = files.load_problem(tmp_path / name, count=2)
        assert truth is None and problem.mixing == Mixing.sum(2)
        assert torch.equal(problem.mixtures, mixed[0].mixtures)
        fails([name, "number K", "weights"], files.load_problem, tmp_path / name)


def test_integers_in_range_are_converted(tmp_path):
    np.save(tmp_path / "m.npy", np.array([[[0, 1], [2, 1]]], dtype=np.uint8))
    mixtures = files.load_problem(tmp_path / "m.npy", count=2)[0].mixtures
    assert mixtures.dtype == torch.float32 and mixtures.flatten().tolist() == [0, 1, 2, 1]


@pytest.mark.parametrize("values, mode, channels, exact", [
    (np.arange(0, 240, 20, dtype=np.uint8).reshape(3, 4), None, 1, 255),
    (np.arange(0, 60000, 5000, dtype=np.uint16).reshape(3, 4), None, 1, 65535),
    (np.arange(0, 180, 5, dtype=np.uint8).reshape(3, 4, 3), "RGB", 3, 255),
])
def test_pictures(tmp_path, values, mode, channels, exact):
    """A PNG's value v is the mixture v * sum(weights)."""
    for name in "ab":
        Image.fromarray(values, mode).save(tmp_path / f"{name}.png")
    problem, _ = files.load_problem([tmp_path / "a.png", tmp_path / "b.png"], weights=(1.0, 0.5))
    assert problem.mixtures.shape == (2, channels, 3, 4)
    want = torch.from_numpy(values.astype(np.float32)).reshape(3, 4, channels)
    want = want.permute(2, 0, 1) / exact * 1.5
    torch.testing.assert_close(problem.mixtures[1], want)


def test_bad_pictures(tmp_path):
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    Image.new("L", (4, 5)).save(tmp_path / "b.png")
    Image.new("RGBA", (4, 4), (0, 0, 0, 9)).save(tmp_path / "clear.png")
    (tmp_path / "no.png").write_text("no picture")
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[:45])
    np.save(tmp_path / "m.npy", np.zeros((1, 4, 4)))
    fails(["b.png", "(1, 5, 4)", "(1, 4, 4)"], files.load_problem,
          [tmp_path / "a.png", tmp_path / "b.png"], count=2)
    fails(["clear.png", "transparent"], files.load_problem, tmp_path / "clear.png", count=2)
    fails(["no.png", "no PNG"], files.load_problem, tmp_path / "no.png", count=2)
    fails(["cut.png", "no PNG"], files.load_problem, tmp_path / "cut.png", count=2)
    fails(["gone.png", "No such file"], files.load_problem, tmp_path / "gone.png", count=2)
    fails(["m.npy", "PNG"], files.load_problem, [tmp_path / "a.png", tmp_path / "m.npy"], count=2)


@pytest.mark.parametrize("values, words", [
    (np.full((1, 4, 4), np.nan, np.float32), ["nan", "finite"]),
    (np.full((1, 4, 4), -np.inf, np.float32), ["-inf", "finite"]),
    (np.full((1, 4, 4), 1e300), ["1e+300", "finite in float32"]),
    (np.full((1, 4, 4), 255, np.uint8), ["255", "divide them by 255"]),
    (np.full((1, 4, 4), 255.0), ["255", "divide them by 255"]),
    (np.full((1, 4, 4), -30.0), ["-30", "rescale"]),
    (np.zeros((4, 4), np.float32), ["(4, 4)", "(B, H, W)"]),
    (np.zeros((1, 1, 1, 4, 4), np.float32), ["(1, 1, 1, 4, 4)", "(B, H, W)"]),
    (np.zeros((2, 8, 8, 3), np.float32), ["(2, 8, 8, 3)", "channels last"]),
    (np.zeros((0, 4, 4), np.float32), ["(0, 4, 4)", "empty"]),
    (np.zeros((1, 4, 4), np.complex64), ["complex64", "numbers"]),
    (np.full((1, 4, 4), "a"), ["<U1", "numbers"]),
    (np.full((1, 4, 4), None), ["Python objects"]),
])
def test_bad_mixtures(tmp_path, values, words):
    np.save(tmp_path / "m.npy", values, allow_pickle=True)
    np.savez(tmp_path / "m.npz", mixtures=values)
    for name in ("m.npy", "m.npz"):
        named = [] if "rescale" in words else [name]
        fails([*words, *named], files.load_problem, tmp_path / name, count=2)


def test_bad_files(tmp_path, mixed):
    problem, truth = mixed
    path = files.save_problem(tmp_path / "p.npz", problem, truth)
    whole = path.read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 30):
        (tmp_path / "cut.npz").write_bytes(whole[:size])
        fails(["cut.npz", "damaged"], files.load_problem, tmp_path / "cut.npz")
        fails(["cut.npz", "damaged"], files.load_separation, tmp_path / "cut.npz")
    flipped = bytearray(whole)
    flipped[200] ^= 255
    (tmp_path / "flip.npz").write_bytes(flipped)
    fails(["flip.npz", "damaged"], files.load_problem, tmp_path / "flip.npz")
    (tmp_path / "text.npz").write_text("some text")
    fails(["text.npz", "damaged"], files.load_problem, tmp_path / "text.npz")
    fails(["gone.npz", "No such file"], files.load_problem, tmp_path / "gone.npz")
    fails(["photo.jpg", ".npz"], files.load_problem, tmp_path / "photo.jpg")
    fails(["folder"], files.load_problem, tmp_path)
    np.savez(tmp_path / "other.npz", pictures=np.zeros(3))
    fails(["other.npz", "mixtures", "pictures"], files.load_problem, tmp_path / "other.npz")
    fails(["other.npz", "sources", "pictures"], files.load_separation, tmp_path / "other.npz")
    np.savez(tmp_path / "meta.npz", mixtures=problem.mixtures, weights=[1, 1], meta=np.array("{"))
    fails(["meta.npz", "JSON"], files.load_problem, tmp_path / "meta.npz")
    np.savez(tmp_path / "late.npz", mixtures=problem.mixtures, weights=[1, 1],
             meta=np.array('{"format": 99}'))
    fails(["late.npz", "99"], files.load_problem, tmp_path / "late.npz")
    np.savez(tmp_path / "truth.npz", mixtures=problem.mixtures, weights=[1, 1, 1],
             sources=truth.sources)
    fails(["truth.npz", "(3, 2, 1, 12, 16)", "(3, 3, 1, 12, 16)"], files.load_problem,
          tmp_path / "truth.npz")
    np.savez(tmp_path / "weights.npz", mixtures=problem.mixtures, weights=[[1, 1]])
    fails(["weights.npz", "(1, 2)", "(K,)"], files.load_problem, tmp_path / "weights.npz")
    np.savez(tmp_path / "nan.npz", sources=np.full((1, 2, 1, 4, 4), np.nan))
    fails(["nan.npz", "nan"], files.load_separation, tmp_path / "nan.npz")


def test_weights_that_disagree(tmp_path, mixed):
    path = files.save_problem(tmp_path / "p.npz", *mixed)
    fails(["K = 2", "3"], files.load_problem, path, count=3)
    fails(["(1.0, 0.5)", "(1.0, 1.0)"], files.load_problem, path, weights=(1, 1))
    fails(["(1.0, 0.5)", "(0.5, 0.5)"], files.load_problem, path, weights="mean")
    fails(["3 weights", "K = 2"], files.load_problem, path, weights=(1, 1, 1))
    fails(["median"], files.load_problem, path, weights="median")
    np.save(tmp_path / "m.npy", mixed[0].mixtures)
    fails(["3 weights", "K = 2"], files.load_problem, tmp_path / "m.npy", weights=(1, 1, 1),
          count=2)
    fails(["(1, nan)", "finite"], files.load_problem, tmp_path / "m.npy", weights=(1, float("nan")))


def test_nothing_written_over(tmp_path, mixed):
    path = tmp_path / "p.npz"
    path.write_text("mine")
    fails(["p.npz", "there already"], files.save_problem, path, *mixed)
    assert path.read_text() == "mine"
    files.save_problem(path, *mixed, overwrite=True)
    assert files.load_problem(path)[1] is not None


def test_unwritable_places(tmp_path, mixed):
    (tmp_path / "file").write_text("mine")
    fails(["p.npz", "no folder"], files.save_problem, tmp_path / "file" / "p.npz", *mixed)
    fails(["p.npz", "no folder"], files.save_problem, tmp_path / "gone" / "p.npz", *mixed)
    (tmp_path / "d.npz").mkdir()
    fails(["d.npz", "folder"], files.save_problem, tmp_path / "d.npz", *mixed)
    assert (tmp_path / "file").read_text() == "mine" and not list((tmp_path / "d.npz").iterdir())


def test_a_full_disk_leaves_the_old_file(tmp_path):
    path = tmp_path / "p.npz"
    path.write_text("old")

    def full(file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    fails(["p.npz", "No space left"], files.write, path, full, overwrite=True)
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["p.npz"]


def test_truth_stays_out_of_the_problem(tmp_path, mixed):
    problem, truth = files.load_problem(files.save_problem(tmp_path / "p.npz", *mixed))
    assert isinstance(problem, Problem) and problem._fields == (
        "mixtures", "mixing", "examples", "medium")
    assert isinstance(truth, Truth)


def test_a_png_cannot_hold_a_mixture_whose_weights_sum_to_nothing(tmp_path):
    Image.new("L", (28, 28), 100).save(tmp_path / "gray.png")
    fails(["(1.0, -1.0)", ".npy"], files.load_problem, tmp_path / "gray.png", weights=(1, -1),
          count=2)
