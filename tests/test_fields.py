"""Every field of a file is checked before it is used; files of version 0.1 are read."""

import io
import tracemalloc
import warnings
import zipfile

import numpy as np
import pytest
import torch
from npz import OLD, changed, fails, setting

from sepviz import files, runs, tasks, zoo
from sepviz.runs.recipe import restore
from sepviz.runs.trace import Trace


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
        ({"weights": [1.0, 1e9]}, ["p.npz: weights", "1000000000.0"]),
        ({"filter_size": 5.7}, ["filter size 5.7", "odd whole number"]),
        ({"filter_size": [5, 5]}, ["filter_size of shape (2,)"]),
        ({"filter_size": "5"}, ["filter_size of type <U1"]),
        ({"filter_size": True}, ["filter_size of type bool"]),
        ({"filter_size": 4}, ["p.npz: filter size 4"]),
        ({"filter_size": 2**60 + 1}, ["larger than the images"]),
        ({"visible": np.full((6, 5), 0.01)}, ["visible hold 0.01 at (0, 0)", "1 (true) or 0"]),
        ({"visible": np.full((6, 5), 2)}, ["visible hold 2 at (0, 0)", "1 (true) or 0"]),
        ({"visible": np.full((6, 5), np.nan)}, ["visible hold nan"]),
        ({"visible": np.ones((5, 6), bool)}, ["visible of shape (5, 6)", "want (6, 5)"]),
        ({"visible": np.ones(30, bool)}, ["visible of shape (30,)", "want (6, 5)"]),
        ({"filters": np.zeros((2, 2, 4, 3))}, ["filters of shape (2, 2, 4, 3)", "h, w)", "odd"]),
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
