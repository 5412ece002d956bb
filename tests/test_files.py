"""Problem and result files: what goes in comes out, and what is wrong is refused in one line."""

import io
import json
import os
import shutil
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sepviz import cli, files, runs, tasks, zoo
from sepviz.core import Mixing, Problem, SepvizError, Step, Truth
from sepviz.runs.recipe import restore
from sepviz.runs.trace import Trace, record
from sepviz.separators import SsNmf
from sepviz.tasks import drawn as sketch


@pytest.fixture
def mixed():
    sources = torch.rand(3, 2, 1, 12, 16, generator=torch.Generator().manual_seed(0))
    return tasks.mix(sources, (1.0, 0.5))


def fails(words, call, *args, **kwargs):
    """The call raises one line that holds all these words."""
    with pytest.raises(SepvizError) as caught:
        call(*args, **kwargs)
    line = str(caught.value)
    assert "\n" not in line
    for word in words:
        assert word in line, line


def test_problem_round_trip(tmp_path, mixed):
    problem, truth = mixed
    path = files.save_problem(tmp_path / "p.npz", problem, truth, {"dataset": "random"}, labels=torch.tensor([[1, 2]] * 3))
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
    path = files.save_separation(tmp_path / "o.npz", mixed[1].sources, {"method": "average", "seed": 3})
    sources, meta, _ = files.load_separation(path)
    assert torch.equal(sources, mixed[1].sources)
    assert (meta["method"], meta["seed"]) == ("average", 3)


def test_partial_round_trip(tmp_path):
    rng = torch.Generator().manual_seed(5)
    step = Step(7, "sigma 0.1", torch.rand(2, 2, 1, 3, 3), {"noise": torch.rand(2, 2, 1, 3, 3)},
                state={"count": torch.tensor([4])}, info={"sigma": 0.1})
    files.save_partial(tmp_path / "p.npz", files.Partial(torch.zeros(0, 2, 1, 3, 3), step, rng.get_state(), {"seed": 5}))
    again = files.load_partial(tmp_path / "p.npz")
    assert again.meta == {"seed": 5} and len(again.done) == 0
    assert again.step[:2] == step[:2] and again.step.info == step.info
    assert torch.equal(again.step.sources, step.sources) and torch.equal(again.step.state["count"], step.state["count"])
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
    want = torch.from_numpy(values.astype(np.float32)).reshape(3, 4, channels).permute(2, 0, 1) / exact * 1.5
    torch.testing.assert_close(problem.mixtures[1], want)


def test_bad_pictures(tmp_path):
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    Image.new("L", (4, 5)).save(tmp_path / "b.png")
    Image.new("RGBA", (4, 4), (0, 0, 0, 9)).save(tmp_path / "clear.png")
    (tmp_path / "no.png").write_text("no picture")
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[:45])
    np.save(tmp_path / "m.npy", np.zeros((1, 4, 4)))
    fails(["b.png", "(1, 5, 4)", "(1, 4, 4)"], files.load_problem, [tmp_path / "a.png", tmp_path / "b.png"], count=2)
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
        fails([*words, *([] if "rescale" in words else [name])], files.load_problem, tmp_path / name, count=2)


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
    np.savez(tmp_path / "late.npz", mixtures=problem.mixtures, weights=[1, 1], meta=np.array('{"format": 99}'))
    fails(["late.npz", "99"], files.load_problem, tmp_path / "late.npz")
    np.savez(tmp_path / "truth.npz", mixtures=problem.mixtures, weights=[1, 1, 1], sources=truth.sources)
    fails(["truth.npz", "(3, 2, 1, 12, 16)", "(3, 3, 1, 12, 16)"], files.load_problem, tmp_path / "truth.npz")
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
    fails(["3 weights", "K = 2"], files.load_problem, tmp_path / "m.npy", weights=(1, 1, 1), count=2)
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
    assert isinstance(problem, Problem) and problem._fields == ("mixtures", "mixing", "examples")
    assert isinstance(truth, Truth)


def test_a_png_cannot_hold_a_mixture_whose_weights_sum_to_nothing(tmp_path):
    from PIL import Image

    Image.new("L", (28, 28), 100).save(tmp_path / "gray.png")
    fails(["(1.0, -1.0)", ".npy"], files.load_problem, tmp_path / "gray.png", weights=(1, -1), count=2)


# --- every field of a file is checked before it is used -----------------------------------------

OLD = Path(__file__).parent / "data_v01"


def changed(path, to, edit=(), **arrays):
    """A copy of a .npz with other arrays (None: without) and another meta, its checksums right."""
    with np.load(path) as archive:
        held = dict(archive)
    if edit != ():
        held["meta"] = np.array(edit(json.loads(str(held["meta"]))))
    held |= {name.replace("__", "/"): array for name, array in arrays.items()}
    np.savez(to, **{name: array for name, array in held.items() if array is not None})
    return to


def setting(*path, to):
    """A change of meta: the field at this path is set."""

    def change(meta):
        at = meta
        for name in path[:-1]:
            at = at[name]
        at[path[-1]] = to
        return json.dumps(meta)

    return change


def test_files_of_version_0_1_are_read():
    problem, truth = files.load_problem(OLD / "problem.npz")
    assert torch.equal(problem.mixtures, truth.sources.sum(dim=1))
    assert (
        files.digest(problem.mixtures)
        == files.load_separation(OLD / "out.npz").meta["mixtures_digest"]
    )
    blind, known = files.load_problem(OLD / "blind.npz")
    assert blind.mixing.filter_size == 3 and blind.mixing.weights == (1.0, 0.5)
    assert torch.equal(blind.mixing.visible, tasks.top_half(6, 5))
    assert blind.residual(known.sources, known.filters) < 1e-6
    out = files.load_separation(OLD / "out.npz")
    assert out.sources.shape == (3, 2, 1, 6, 5) and out.meta["method"] == "rpca"
    stopped = files.load_partial(OLD / "stopped.partial.npz")
    assert torch.equal(stopped.done, out.sources[:2]) and stopped.step.index == 2
    assert (
        stopped.step.state["multiplier"].shape == (1, 1, 6, 5) and len(stopped.rng_state) == 5056
    )
    assert stopped.meta["run"] == {name: out.meta[name] for name in stopped.meta["run"]}
    trace = Trace.load(OLD / "trace.npz")
    assert torch.equal(trace.sources, out.sources[:2]) and list(trace.indices) == [0, 1, 2, 3, 4]
    assert trace.method == "Rpca" and trace.parameters["iterations"] == 4
    for line in (OLD / "states.txt").read_text().splitlines():
        assert str(restore(line)) == line


@pytest.mark.parametrize(
    "name", [path.name.removesuffix(".trace.npz") for path in zoo.FOLDER.glob("*.trace.npz")]
)
def test_recorded_trainings_are_read(name):
    trace, truth = runs.recorded(name)
    assert trace.sources.shape == truth.sources.shape and bool(torch.isfinite(trace.sources).all())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("(3,", "(((((("),
        ("(3,", "(1000000000000,"),
        ("(3,", "(-3,"),
        ("(3,", "(True,"),
        ("(3,", "3, ("),
        ("{", "\u00e9"),
        ("{", "{" * 40),
        ("'shape'", "'shade'"),
        ("'shape'", "'sha\x00e'"),
        ("<f4", "|O"),
        ("<f4", "<f8"),
        ("<f4", "zz"),
        ("False", "[0]"),
    ],
)
@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_bitten_headers_are_refused(tmp_path, old, new, suffix):
    """Whatever Python's parser makes of a header; nothing is allocated for what it claims."""
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((3, 1, 6, 5), np.float32))
    data, end = buffer.getvalue(), buffer.getvalue().index(b"\n")
    head = data[10:end].decode().rstrip().replace(old, new, 1).encode("latin-1")
    data = data[:10] + head[: end - 10].ljust(end - 10) + data[end:]
    path = tmp_path / f"m.{suffix}"
    if suffix == "npy":
        path.write_bytes(data)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("mixtures.npy", data)
    words = ["m.npy"] if suffix == "npy" else ["m.npz"]
    fails(
        [*words, "Python objects" if new == "|O" else "damaged"], files.load_problem, path, count=2
    )
    fails(words, Trace.load, path)


def test_a_small_file_may_not_claim_much_memory(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mixtures.npy", bytes(64 * 2**20))
    monkeypatch.setattr(files.arrays, "LARGEST", 2**20)
    tracemalloc.start()
    fails(["bomb.npz", "0.0625 GiB"], files.load_problem, tmp_path / "bomb.npz", count=2)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_a_name_that_is_there_twice_is_refused(tmp_path):
    with (
        zipfile.ZipFile(OLD / "problem.npz") as archive,
        zipfile.ZipFile(tmp_path / "p.npz", "w") as twice,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        for name in [*archive.namelist(), "mixtures.npy"]:
            twice.writestr(name, archive.read(name))
    fails(["p.npz", "damaged"], files.load_problem, tmp_path / "p.npz")


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"weights": 1.0}, ["weights of shape ()", "(K,)"]),
        ({"weights": [True, True]}, ["weights of type bool"]),
        ({"weights": ["1", "1"]}, ["weights of type <U1"]),
        ({"weights": [1j, 1]}, ["weights of type complex128"]),
        ({"weights": [1, np.nan]}, ["weights hold nan"]),
        ({"weights": [1.0, 1e9]}, ["1000000000.0"]),
        ({"filter_size": 5.7}, ["filter size 5.7", "odd whole number"]),
        ({"filter_size": [5, 5]}, ["filter_size of shape (2,)"]),
        ({"filter_size": "5"}, ["filter_size of type <U1"]),
        ({"filter_size": True}, ["filter_size of type bool"]),
        ({"filter_size": 4}, ["filter size 4"]),
        ({"filter_size": 2**60 + 1}, ["larger than the images"]),
        ({"visible": np.full((6, 5), 0.01)}, ["visible hold 0.01 at (0, 0)", "1 (true) or 0"]),
        ({"visible": np.full((6, 5), 2)}, ["visible hold 2 at (0, 0)", "1 (true) or 0"]),
        ({"visible": np.full((6, 5), np.nan)}, ["visible hold nan"]),
        ({"visible": np.ones((5, 6), bool)}, ["visible of shape (5, 6)", "want (6, 5)"]),
        ({"visible": np.ones(30, bool)}, ["visible of shape (30,)", "want (6, 5)"]),
        ({"filters": np.zeros((2, 2, 4, 3))}, ["filters of shape (2, 2, 4, 3)", "(2, 2, h, w)", "odd"]),
        ({"filters": np.zeros((2, 2, 5, 5))}, ["filters of 5x5", "filter size 3"]),
        ({"filters": np.zeros((3, 3))}, ["filters of shape (3, 3)", "(2, 2, h, w)"]),
        ({"filters": np.full((2, 2, 3, 3), np.inf)}, ["filters hold inf"]),
        ({"filter_size": None}, ["filters of 3x3", "None"]),
        ({"labels": np.zeros((2, 2))}, ["labels of type float64"]),
        ({"labels": np.zeros((2, 3), int)}, ["labels of shape (2, 3)", "(2, 2)"]),
        ({"sources": np.zeros((2, 2, 1, 6, 4))}, ["sources of shape", "(2, 2, 1, 6, 5)"]),
        ({"meta": b"{"}, ["meta"]),
        ({"meta": [1]}, ["meta"]),
        ({"meta": "[" * 99_999}, ["meta"]),
        ({"meta": '{"a": ' + "1" * 5000 + "}"}, ["meta"]),
        ({"meta": '{"format": [1]}'}, ["format [1]"]),
    ],
)
def test_fields_of_a_problem(tmp_path, arrays, words):
    arrays = {name: None if value is None else np.array(value) for name, value in arrays.items()}
    fails(words, files.load_problem, changed(OLD / "blind.npz", tmp_path / "p.npz", **arrays))


def test_numbers_of_every_kind_are_read(tmp_path):
    with np.load(OLD / "problem.npz") as archive:
        want = archive["mixtures"]
    for kind in ("f2", "f8", ">f4", ">f8", "g"):
        path = changed(
            OLD / "problem.npz", tmp_path / "p.npz", mixtures=np.asfortranarray(want.astype(kind))
        )
        mixtures = files.load_problem(path)[0].mixtures
        assert mixtures.dtype == torch.float32 and mixtures.is_contiguous()
        np.testing.assert_allclose(mixtures, want, atol=1e-3 if kind == "f2" else 1e-7)
    visible = changed(
        OLD / "blind.npz", tmp_path / "p.npz", visible=tasks.top_half(6, 5).numpy().astype(float)
    )
    assert torch.equal(files.load_problem(visible)[0].mixing.visible, tasks.top_half(6, 5))
    for odd in (
        want.astype(complex),
        want.astype("M8[s]"),
        np.zeros((3, 1, 6, 5), [("a", "f4"), ("b", "f4")]),
    ):
        fails(
            ["p.npz"],
            files.load_problem,
            changed(OLD / "problem.npz", tmp_path / "p.npz", mixtures=odd),
        )


@pytest.mark.parametrize(
    ("shape", "word"),
    [
        ((28, 28, 3), "transpose(2, 0, 1)[None]"),
        ((28, 28, 4), "transpose(2, 0, 1)[None]"),
        ((8, 9, 1), "transpose(2, 0, 1)[None]"),
        ((2, 28, 28, 3), "transpose(0, 3, 1, 2)"),
        ((1, 28, 28, 4), "transpose(0, 3, 1, 2)"),
    ],
)
def test_channels_last_are_refused_with_the_mend(tmp_path, shape, word):
    """One RGB image is not 28 mixtures; what the error says makes it one."""
    array = np.random.default_rng(0).random(shape).astype(np.float32)
    np.save(tmp_path / "m.npy", array)
    fails([str(shape), "channels last", word], files.load_problem, tmp_path / "m.npy", count=2)
    mended = eval(f"array.{word}")
    np.save(tmp_path / "m.npy", mended)
    assert files.load_problem(tmp_path / "m.npy", count=2)[0].mixtures.shape == mended.shape


@pytest.mark.parametrize(
    ("meta", "arrays", "words"),
    [
        (setting("extras", to="sources"), {}, ["extras 'sources'"]),
        (setting("extras", to=["sources", "sources"]), {}, ["extras"]),
        (setting("extras", to=["gone"]), {}, ["no array gone"]),
        (
            setting("extras", to=["filters"]),
            {"filters": np.zeros((3, 2, 4, 4))},
            ["filters of shape (3, 2, 4, 4)"],
        ),
        (
            setting("extras", to=["filters"]),
            {"filters": np.full((3, 2, 3, 3), np.nan)},
            ["filters hold nan"],
        ),
        (
            (),
            {"sources": np.full((3, 2, 1, 6, 5), np.inf)},
            ["sources hold inf at (0, 0, 0, 0, 0)"],
        ),
        (
            (),
            {"sources": np.zeros((3, 1, 6, 5))},
            ["sources of shape (3, 1, 6, 5)", "(B, K, C, H, W)"],
        ),
    ],
)
def test_fields_of_a_separation(tmp_path, meta, arrays, words):
    fails(
        ["o.npz", *words],
        files.load_separation,
        changed(OLD / "out.npz", tmp_path / "o.npz", meta, **arrays),
    )


@pytest.mark.parametrize(
    ("meta", "arrays", "words"),
    [
        (setting("step", to=[1]), {}, ["step [1]"]),
        (setting("step", to={}), {}, ["shown None"]),
        (setting("step", "index", to=-1), {}, ["index -1"]),
        (setting("step", "index", to="2"), {}, ["index '2'"]),
        (setting("step", "index", to=True), {}, ["index True"]),
        (setting("step", "stage", to="a\nb"), {}, ["stage"]),
        (setting("step", "info", to=[]), {}, ["info []"]),
        (setting("step", "info", to={"residual": "x"}), {}, ["residual 'x'"]),
        (setting("run", to="x"), {}, ["run 'x'"]),
        (setting("kind", to="separation"), {}, ["not the partial result"]),
        ((), {"done": np.full((2, 2, 1, 6, 5), np.nan, np.float32)}, ["done hold nan"]),
        ((), {"done": np.zeros((2, 2), np.float32)}, ["done of shape (2, 2)"]),
        ((), {"done": None}, ["no array done"]),
        (
            (),
            {"step__sources": np.full((1, 2, 1, 6, 5), np.inf, np.float32)},
            ["step/sources hold inf"],
        ),
        ((), {"step__extras__multiplier": None}, ["no array step/extras/multiplier"]),
        ((), {"step__rng": np.zeros(3)}, ["step/rng of type float64"]),
    ],
)
def test_fields_of_a_partial_result(tmp_path, meta, arrays, words):
    fails(
        ["o.partial.npz", *words],
        files.load_partial,
        changed(OLD / "stopped.partial.npz", tmp_path / "o.partial.npz", meta, **arrays),
    )


@pytest.mark.parametrize(
    ("meta", "arrays", "words"),
    [
        (lambda meta: "{}", {}, ["not a sepviz trace"]),
        (setting("sepviz trace", to=2), {}, ["format 2"]),
        (setting("mixing", to=[1, 1]), {}, ["mixing [1, 1]"]),
        (setting("mixing", "weights", to=1.0), {}, ["weights 1.0"]),
        (setting("mixing", "weights", to=["1", 1]), {}, ["weights ('1', 1)"]),
        (setting("mixing", "weights", to=[1]), {}, ["(2, 1, 1, 6, 5)"]),
        (setting("mixing", "filter_size", to=5.7), {}, ["filter size 5.7"]),
        (setting("method", to=3), {}, ["method 3"]),
        (setting("parameters", to=[]), {}, ["parameters []"]),
        (setting("seed", to=0.5), {}, ["seed 0.5"]),
        (setting("seconds", to=float("nan")), {}, ["seconds nan"]),
        (setting("interrupted", to=0), {}, ["interrupted 0"]),
        (setting("versions", to="1"), {}, ["versions '1'"]),
        (setting("changes", to=[1]), {}, ["changes [1]"]),
        (setting("changes", to=[{"before_step": "x"}]), {}, ["before_step 'x'"]),
        (setting("steps", to={}), {}, ["steps {}"]),
        (setting("steps", to=[]), {}, ["no steps"]),
        (setting("steps", 1, to=None), {}, ["step None"]),
        (setting("steps", 1, "index", to=0), {}, ["step 0 comes after step 0"]),
        (setting("steps", 1, "extras", to="x"), {}, ["extras 'x'"]),
        (
            setting("steps", 0, "extras", to=["noise"]),
            {"0__extras__noise": np.zeros((2, 2))},
            ["noise of shape (2, 2)"],
        ),
        (
            (),
            {"1__sources": np.zeros((2, 2, 1, 5, 6), np.float32)},
            ["step 1", "(2, 2, 1, 5, 6)", "(2, 2, 1, 6, 5)"],
        ),
        ((), {"1__sources": np.zeros((1, 2, 1, 6, 5), np.float16)}, ["(1, 2, 1, 6, 5)"]),
        ((), {"1__sources": np.full((2, 2, 1, 6, 5), np.nan, np.float16)}, ["1/sources hold nan"]),
        ((), {"2__sources": None}, ["no array 2/sources"]),
        ((), {"mixtures": np.zeros((2, 6, 5), np.float32)}, ["mixtures of shape"]),
        ((), {"mixtures": np.full((2, 1, 6, 5), np.inf, np.float32)}, ["mixtures hold inf"]),
        ((), {"visible": np.ones((5, 6), bool)}, ["visible of shape (5, 6)"]),
        ((), {"visible": np.full((6, 5), 0.01)}, ["visible of type float64"]),
    ],
)
def test_fields_of_a_trace(tmp_path, meta, arrays, words):
    path = changed(OLD / "trace.npz", tmp_path / "t.npz", meta, **arrays)
    fails(words, Trace.load, path)


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
    command = [
        "separate",
        str(OLD / "problem.npz"),
        "--method",
        "rpca",
        "--set",
        "iterations=4",
        "--chunk",
        "2",
        "--out",
        "stopped.npz",
    ]
    assert cli.main(command) == 2
    err = capsys.readouterr().err.strip().splitlines()[-1]
    assert err.startswith("sepviz: stopped.partial.npz") and all(word in err for word in words), err
    assert Path("stopped.partial.npz").read_bytes() == before and os.listdir() == [
        "stopped.partial.npz"
    ]


def test_a_run_that_version_0_1_stopped_goes_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(OLD / "stopped.partial.npz", "stopped.partial.npz")
    command = [
        "separate",
        str(OLD / "problem.npz"),
        "--method",
        "rpca",
        "--set",
        "iterations=4",
        "--chunk",
        "2",
        "--out",
        "stopped.npz",
    ]
    assert cli.main(command) == 0
    want = files.load_separation(OLD / "out.npz").sources
    assert torch.equal(files.load_separation("stopped.npz").sources, want)
