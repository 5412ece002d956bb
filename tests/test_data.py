import functools
import gzip
import hashlib
import http.server
import os
import struct
import threading
import zlib
from pathlib import Path

import numpy as np
import pooch
import pytest
import torch
from PIL import Image

from sepviz import files
from sepviz.core import SepvizError
from sepviz.data import NAMES, floats, home, load, load_folder, read_idx, registry, strokes, summary
from sepviz.data.base import Dataset
from sepviz.data.split import hold_out, some
from sepviz.data.strokes import CHUNK, GLYPHS, _glyphs

REAL = os.environ.get("SEPVIZ_DATA", "")


def real(name):
    there = REAL and (Path(REAL) / name).is_dir()
    return pytest.mark.skipif(not there, reason=f"$SEPVIZ_DATA/{name} is not here")


def idx(array, kind=8):
    array = np.asarray(array, np.uint8)
    return struct.pack(f">HBB{array.ndim}I", 0, kind, array.ndim, *array.shape) + array.tobytes()


def one_line(caught, *words):
    text = str(caught.value)
    assert "\n" not in text
    for word in words:
        assert str(word) in text, text


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """No data folder, an empty cache, no network."""
    import requests

    def refuse(*_, **__):
        raise requests.ConnectionError("refused")

    monkeypatch.delenv("SEPVIZ_DATA", raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache" / name)
    monkeypatch.setattr(pooch, "retrieve", refuse)
    return tmp_path


def write_set(folder, split="test", count=7, wrap=gzip.compress, labels=None):
    images = np.random.default_rng(0).integers(0, 256, (count, 28, 28))
    labels = np.arange(count) % 10 if labels is None else labels
    folder.mkdir(parents=True, exist_ok=True)
    end = "" if wrap is bytes else ".gz"
    for file, array in zip(registry.IDX_FILES[split], (images, labels), strict=True):
        (folder / f"{file}{end}").write_bytes(wrap(idx(array)))
    return torch.from_numpy(images.astype(np.uint8))


# strokes


@pytest.fixture(scope="module")
def digits():
    return strokes(3000, seed=5)


def test_strokes_shape_and_range(digits):
    assert digits.images.shape == (3000, 1, 28, 28) and digits.images.dtype == torch.uint8
    assert digits.labels.shape == (3000,) and digits.labels.dtype == torch.int64
    assert digits.images.amin(dim=(1, 2, 3)).max() == 0
    assert digits.images.amax(dim=(1, 2, 3)).min() > 200
    assert torch.bincount(digits.labels, minlength=10).min() > 200
    gray = (digits.images > 0) & (digits.images < 255)
    assert 0.05 < gray.float().mean() < 0.2  # soft edges, but not a blur
    assert 0.10 < floats(digits.images).mean() < 0.16  # MNIST: 0.131


def test_strokes_deterministic_and_prefix(digits):
    for count in (1, CHUNK, CHUNK + 1, 600):
        less = strokes(count, seed=5)
        assert torch.equal(less.images, digits.images[:count]) and torch.equal(less.labels, digits.labels[:count])
    assert not torch.equal(strokes(300, seed=6).images, digits.images[:300])


def test_strokes_leave_the_global_random_state_alone():
    torch.manual_seed(0)
    np.random.seed(0)
    want = torch.rand(3), np.random.rand(3)
    torch.manual_seed(0)
    np.random.seed(0)
    strokes(10)
    assert torch.equal(torch.rand(3), want[0]) and np.array_equal(np.random.rand(3), want[1])


def test_strokes_classes_are_a_part_of_the_stream(digits):
    low = strokes(500, seed=5, classes=range(5))
    keep = digits.labels < 5
    assert torch.equal(low.labels, digits.labels[keep][:500])
    assert torch.equal(low.images, digits.images[keep][:500])


def test_strokes_are_centred_by_mass_and_of_mnist_size(digits):
    mass = floats(digits.images[:, 0])
    axis = torch.arange(28.0)
    total = mass.sum(dim=(1, 2))
    y, x = (mass.sum(dim=2) @ axis) / total, (mass.sum(dim=1) @ axis) / total
    assert (y - 14).abs().max() < 1 and (x - 14).abs().max() < 1
    assert abs(y.mean() - 14) < 0.1 and abs(x.mean() - 14) < 0.1
    ink = digits.images[:, 0] > 60
    height, width = ink.any(dim=2).sum(dim=1), ink.any(dim=1).sum(dim=1)
    longer = torch.maximum(height, width).float()
    assert 19 < longer.mean() < 21 and longer.max() <= 25
    border = torch.cat([ink[:, 0], ink[:, -1], ink[:, :, 0], ink[:, :, -1]], dim=1)
    assert border.any(dim=1).float().mean() < 0.05  # MNIST: 0.014 of any ink


def test_strokes_are_varied(digits):
    flat = floats(digits.images[:1000]).flatten(1)
    distance = torch.cdist(flat, flat) + 99 * torch.eye(1000)
    assert distance.min() > 0.5  # no two alike
    assert distance.min(dim=1).values.mean() > 3.5
    for digit in range(10):
        assert len(GLYPHS[digit]) >= 4


def test_strokes_are_legible():
    train, test = load("strokes", count=4000), load("strokes", "test", count=600)
    distance = torch.cdist(floats(test.images).flatten(1), floats(train.images).flatten(1))
    nearest = train.labels[distance.argmin(dim=1)]
    assert (nearest == test.labels).float().mean() > 0.93
    assert distance.min() > 0.5  # the splits do not share an image


def test_glyph_basis_interpolates():
    basis, controls, _ = _glyphs()
    assert np.allclose(basis.sum(axis=2), 1)  # so that shifting the points shifts the curve
    path = basis @ controls
    assert path.min() > -0.1 and path.max() < 1.1
    assert np.allclose(path[:, 0], controls[:, 0])  # the curve starts at the first point


@pytest.mark.parametrize(("call", "words"), [
    (lambda: strokes(0), ["count 0"]),
    (lambda: strokes(5, seed=-1), ["seed -1"]),
    (lambda: strokes(5, classes=[3, 12]), ["12", "strokes"]),
    (lambda: strokes(5, classes=[]), ["classes []"]),
])
def test_strokes_errors(call, words):
    with pytest.raises(SepvizError) as caught:
        call()
    one_line(caught, *words)


def test_floats():
    images = torch.tensor([0, 51, 255], dtype=torch.uint8)
    assert floats(images).dtype == torch.float32 and floats(images).tolist() == pytest.approx([0, 0.2, 1])
    with pytest.raises(SepvizError, match=r"float32"):
        floats(torch.rand(2))


# load


def test_load_strokes():
    few = load("strokes", count=40)
    assert torch.equal(load("strokes", count=90).images[:40], few.images)
    assert not torch.equal(load("strokes", "test", count=40).images, few.images)
    high = load("strokes", "test", classes=range(5, 10))  # of 5,000
    assert 2300 < len(high.labels) < 2700 and high.labels.min() == 5
    assert torch.equal(load("strokes", "test", classes=range(5, 10), count=50).images, high.images[:50])


@pytest.mark.parametrize(("arguments", "words"), [
    ({"name": "stroke"}, ["'stroke'", "did you mean strokes?", *NAMES]),
    ({"name": "MNST"}, ["'MNST'", "did you mean mnist?"]),
    ({"name": "xyzzy"}, ["'xyzzy'", *NAMES]),
    ({"name": "./no/such"}, ["no/such", "no such folder"]),
    ({"name": "strokes", "split": "valid"}, ["'valid'", "train", "test"]),
    ({"name": "mnist", "classes": [10]}, ["10", "mnist"]),
    ({"name": "strokes", "size": 32}, ["size 32"]),
])
def test_load_errors(arguments, words, nowhere):
    with pytest.raises(SepvizError) as caught:
        load(**arguments)
    one_line(caught, *words)


# IDX


@pytest.mark.parametrize("wrap", [bytes, gzip.compress])
def test_idx_round_trip(tmp_path, wrap):
    array = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    (tmp_path / "x").write_bytes(wrap(idx(array)))
    assert np.array_equal(read_idx(tmp_path / "x").numpy(), array)


GOOD = idx(np.arange(24).reshape(2, 3, 4))


@pytest.mark.parametrize(("data", "words"), [
    (b"", ["empty"]),
    (b"\0\0", ["2 bytes"]),
    (b"\x89PNG" + GOOD[4:], ["89504e47", "magic"]),
    (idx([1, 2], kind=0x0D), ["0x0d"]),
    (GOOD[:-1], ["truncated", "23 bytes", "want 24"]),
    (GOOD[:9], ["truncated", "header"]),
    (GOOD + b"\0", ["trailing", "25 bytes", "want 24"]),
    (idx(np.zeros((0, 3, 4))), ["(0, 3, 4)"]),
    (idx([1, 2]), ["1 dimensions", "want 3"]),
    (gzip.compress(GOOD)[:-10], ["corrupt gzip"]),
    (gzip.compress(GOOD)[:12] + b"\xff\xff\xff\xff" + gzip.compress(GOOD)[16:], ["corrupt gzip"]),
])
def test_idx_errors(tmp_path, data, words):
    path = tmp_path / "some-file"
    path.write_bytes(data)
    with pytest.raises(SepvizError) as caught:
        read_idx(path, dims=3)
    one_line(caught, path, *words)


def test_idx_missing(tmp_path):
    with pytest.raises(SepvizError) as caught:
        read_idx(tmp_path / "none")
    one_line(caught, tmp_path / "none", "no such file")


# registry


def test_no_network_says_what_to_put_where(nowhere):
    with pytest.raises(SepvizError) as caught:
        load("mnist", "test")
    one_line(caught, "mnist: no network", "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz", "$SEPVIZ_DATA/mnist/", "cache")
    assert [(row.name, row.items) for row in summary()][2:] == [(name, None) for name in NAMES[1:] for _ in range(2)]
    assert all("would download" in row.where for row in summary()[2:])


@pytest.mark.parametrize("wrap", [bytes, gzip.compress])
def test_own_files_are_used(nowhere, monkeypatch, wrap):
    images = write_set(nowhere / "own" / "mnist", wrap=wrap)
    monkeypatch.setenv("SEPVIZ_DATA", str(nowhere / "own"))
    data = load("mnist", "test")
    assert data.name == "mnist" and torch.equal(data.images[:, 0], images) and data.labels.tolist() == list(range(7))
    some = load("mnist", "test", classes=[5, 3], count=2)
    assert some.labels.tolist() == [3, 5] and torch.equal(some.images[:, 0], images[[3, 5]])
    with pytest.raises(SepvizError, match="count 3: mnist has only 2"):
        load("mnist", "test", classes=[5, 3], count=3)
    row = next(row for row in summary() if row[:2] == ("mnist", "test"))
    assert row.items == 7 and row.where == str(nowhere / "own" / "mnist")


def test_own_files_are_checked(nowhere, monkeypatch):
    monkeypatch.setenv("SEPVIZ_DATA", str(nowhere / "own"))
    with pytest.raises(SepvizError, match=r"SEPVIZ_DATA=.*no such folder"):
        load("mnist", "test")
    folder = nowhere / "own" / "mnist"
    write_set(folder, labels=np.zeros(6))
    with pytest.raises(SepvizError, match="7 images but 6 labels"):
        load("mnist", "test")
    write_set(folder, labels=np.full(7, 11))
    with pytest.raises(SepvizError, match="label 11"):
        load("mnist", "test")
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(SepvizError, match=r"t10k-labels.*missing"):
        load("mnist", "test")


def test_cached_files_are_checked_by_hash(nowhere):
    write_set(nowhere / "cache" / "sepviz" / "mnist")
    with pytest.raises(SepvizError) as caught:
        load("mnist", "test")
    one_line(caught, "t10k-images-idx3-ubyte.gz", "0fa7898d5092", "delete it")


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A server with a good and a bad mirror; gives the images that the good one has."""
    images = write_set(tmp_path / "www" / "good")
    write_set(tmp_path / "www" / "bad", count=3)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path / "www")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    root = f"http://127.0.0.1:{server.server_port}"
    sums = {"sha256": {}, "md5": {}}
    for file in registry.IDX_FILES["test"]:
        data = (tmp_path / "www" / "good" / f"{file}.gz").read_bytes()
        sums["md5"][file] = f"md5:{hashlib.md5(data).hexdigest()}"
        sums["sha256"][file] = f"sha256:{hashlib.sha256(gzip.decompress(data)).hexdigest()}"

    def use(kind, *mirrors):
        places = tuple(f"{root}/{each}/" for each in mirrors)
        monkeypatch.setitem(registry.SETS, "mnist", registry.IdxSet("mnist", places, sums[kind]))

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("SEPVIZ_DATA", raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache" / name)
    yield use, images
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("kind", ["sha256", "md5"])
def test_download_tries_each_mirror(mirror, kind, tmp_path, monkeypatch):
    use, images = mirror
    use(kind, "none", "bad", "good")
    assert torch.equal(load("mnist", "test").images[:, 0], images)
    cache = tmp_path / "cache" / "sepviz" / "mnist"
    assert sorted(path.name for path in cache.iterdir()) == ["t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"]
    monkeypatch.setattr(pooch, "retrieve", None)  # now it comes from the cache
    assert torch.equal(load("mnist", "test").images[:, 0], images)


@pytest.mark.parametrize("kind", ["sha256", "md5"])
def test_bad_download_leaves_nothing(mirror, kind, tmp_path):
    use, _ = mirror
    use(kind, "none", "bad")
    with pytest.raises(SepvizError) as caught:
        load("mnist", "test")
    one_line(caught, "download failed", "t10k-images-idx3-ubyte.gz", "$SEPVIZ_DATA/mnist/")
    assert not list((tmp_path / "cache" / "sepviz" / "mnist").iterdir())


@real("mnist")
def test_real_mnist():
    for split, items in (("train", 60_000), ("test", 10_000)):
        data = load("mnist", split)
        assert data.images.shape == (items, 1, 28, 28)
        for file in registry.IDX_FILES[split]:
            path = home.located(Path(REAL) / "mnist", file)
            registry.SETS["mnist"].check(file, home.content(path), str(path))
    assert data.labels[:5].tolist() == [7, 2, 1, 0, 4]


@real("fashion-mnist")
def test_real_fashion_mnist():
    data = load("fashion-mnist", "test", classes=[5, 7, 9])
    assert data.images.shape == (3000, 1, 28, 28) and set(data.labels.tolist()) == {5, 7, 9}


# folders


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array, np.uint8)).save(path)


def test_folder_gray_split_and_order(tmp_path):
    for i in reversed(range(20)):
        save(tmp_path / f"{i:02}.png", np.full((5, 6), i))
    (tmp_path / "notes.txt").write_text("no image")
    train, test = load(str(tmp_path)), load(str(tmp_path), "test")
    assert train.name == tmp_path.name and train.images.shape == (18, 1, 5, 6) and train.images.dtype == torch.uint8
    assert test.images[:, 0, 0, 0].tolist() == [0, 10]
    assert sorted(torch.cat([train.images, test.images])[:, 0, 0, 0].tolist()) == list(range(20))
    assert train.labels.unique().tolist() == [0] and train.labels.dtype == torch.int64


def test_folder_classes_and_colour(tmp_path):
    rgb = np.zeros((4, 4, 3))
    rgb[..., 0] = 200
    for split, names in (("train", "ab"), ("test", "b")):
        for name in names:
            save(tmp_path / split / name / "x.png", rgb if name == "b" else np.full((4, 4), 9))
    train, test = load_folder(tmp_path), load_folder(tmp_path, "test")
    assert train.images.shape == (2, 3, 4, 4) and train.labels.tolist() == [0, 1]
    assert train.images[0, :, 0, 0].tolist() == [9, 9, 9] and train.images[1, :, 0, 0].tolist() == [200, 0, 0]
    assert test.labels.tolist() == [1]  # numbered as in train
    assert load(str(tmp_path), classes=[1]).labels.tolist() == [1]


def test_folder_size(tmp_path):
    wide = np.zeros((10, 30))
    wide[:, 10:20] = 255
    save(tmp_path / "a.png", np.zeros((10, 10)))
    save(tmp_path / "b.png", wide)
    with pytest.raises(SepvizError) as caught:
        load_folder(_flat(tmp_path))
    one_line(caught, "b.png", "30 x 10", "10 x 10", "size=")
    both = load_folder(_flat(tmp_path), size=8)
    assert both.images.shape == (2, 1, 8, 8) and both.images[1, 0, 4, 4] == 255


def _flat(folder):
    """As a train half, so that no image goes to the other split."""
    half = folder / "set" / "train"
    half.mkdir(parents=True, exist_ok=True)
    (folder / "set" / "test").mkdir(exist_ok=True)
    for file in folder.glob("*.png"):
        file.rename(half / file.name)
    return folder / "set"


def test_folder_errors(tmp_path):
    with pytest.raises(SepvizError) as caught:
        load(str(tmp_path))
    one_line(caught, tmp_path, "no train images")
    save(tmp_path / "one" / "a.png", np.zeros((4, 4)))
    (tmp_path / "one" / "b.png").write_bytes((tmp_path / "one" / "a.png").read_bytes()[:40])
    with pytest.raises(SepvizError) as caught:
        load_folder(tmp_path / "one")
    one_line(caught, "b.png", "not a readable image")
    Image.fromarray(np.full((4, 4), 40_000, np.uint16)).save(tmp_path / "one" / "b.png")
    with pytest.raises(SepvizError) as caught:
        load_folder(tmp_path / "one")
    one_line(caught, "b.png", "8 bits")
    save(tmp_path / "loose.png", np.zeros((4, 4)))
    with pytest.raises(SepvizError) as caught:
        load_folder(tmp_path)
    one_line(caught, "loose.png", "class folders")
    save(tmp_path / "half" / "train" / "a.png", np.zeros((4, 4)))
    with pytest.raises(SepvizError) as caught:
        load_folder(tmp_path / "half")
    one_line(caught, "train/ only")


@pytest.mark.parametrize(
    ("counts", "train", "test"),
    [([3] * 10, [2] * 10, [1] * 10), ([20, 11, 2, 1], [18, 9, 1, 1], [2, 2, 1, 0])],
)
def test_every_class_of_a_folder_is_in_both_splits(tmp_path, counts, train, test):
    for label, count in enumerate(counts):
        for number in range(count):
            save(
                tmp_path / f"class {label}" / f"{number:02}.png",
                np.full((4, 4), 25 * label + number),
            )
    for split, wanted in (("train", train), ("test", test)):
        data = load_folder(tmp_path, split)
        assert torch.bincount(data.labels, minlength=len(counts)).tolist() == wanted
        assert (data.images[:, 0, 0, 0] // 25).tolist() == data.labels.tolist()


@pytest.mark.parametrize("names", [("Train", "TEST"), ("training", "Testing")])
def test_splits_in_any_spelling_are_no_classes(tmp_path, names, capsys):
    for value, name in enumerate((*names, "val")):
        save(tmp_path / name / "a" / "x.png", np.full((4, 4), value))
    train, test = load_folder(tmp_path), load_folder(tmp_path, "test")
    assert (
        train.images[:, 0, 0, 0].tolist() == [0]
        and test.images[:, 0, 0, 0].tolist() == [1]
        and test.labels.tolist() == [0]
    )
    assert (
        capsys.readouterr().err
        == f"sepviz: {tmp_path}: left out 1 file (val/a/x.png) beside train/ and test/\n"
    )


def test_what_systems_leave_behind_is_ignored_and_the_rest_is_counted(tmp_path, capsys):
    for name in ("@eaDir", "__MACOSX", ".thumbs", "cat", "dog"):
        for number in range(4):
            save(tmp_path / name / f"{number}.png", np.full((4, 4), number))
    save(tmp_path / "cat" / "@eaDir" / "0.png", np.zeros((4, 4)))
    for name in (".DS_Store", "cat/Thumbs.db"):
        (tmp_path / name).write_text("")
    (tmp_path / "empty").mkdir()
    assert load_folder(tmp_path).labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert capsys.readouterr().err == ""
    (tmp_path / "labels.csv").write_text("")
    (tmp_path / "cat" / "4.heic").write_text("")
    load_folder(tmp_path)
    load_folder(tmp_path, "test")  # told once
    assert (
        capsys.readouterr().err
        == f"sepviz: {tmp_path}: left out 2 files (labels.csv, ...) of no image format\n"
    )


def test_folders_and_links_that_hide_images(tmp_path):
    for name in (
        "deep/a/0.png",
        "deep/b/c/0.png",
        "loose/train/0.png",
        "loose/test/0.png",
        "loose/0.png",
        "two/train/0.png",
        "two/Train/0.png",
        "two/test/0.png",
        "half/train/0.png",
        "half/test/a/0.png",
        "link/0.png",
    ):
        save(tmp_path / name, np.zeros((4, 4)))
    (tmp_path / "link" / "1.png").symlink_to(tmp_path / "gone.png")
    for name, words in (
        ("deep", ["b/c/0.png", "deeper"]),
        ("loose", ["0.png", "beside train/"]),
        ("two", ["Train/ and train/"]),
        ("half", ["class folders"]),
        ("link", ["1.png", "link that leads nowhere"]),
    ):
        with pytest.raises(SepvizError) as caught:
            load_folder(tmp_path / name)
        one_line(caught, *words)
    save(tmp_path / "elsewhere" / "0.png", np.full((4, 4), 7))
    save(tmp_path / "whole" / "0" / "0.png", np.zeros((4, 4)))
    (tmp_path / "whole" / "1").symlink_to(tmp_path / "elsewhere")
    assert load_folder(tmp_path / "whole").images[:, 0, 0, 0].tolist() == [0, 7]


RAMP = np.arange(0, 256, 16, dtype=np.uint8).reshape(4, 4)


def picture(kind):
    """A 4 x 4 ramp in the form named; ``clear`` where a pixel of it is transparent."""
    gray, alpha = (
        Image.fromarray(RAMP),
        Image.fromarray(np.where(RAMP == 16, 0, 255).astype(np.uint8)),
    )
    palette = Image.new("P", (4, 4))
    palette.putdata(list(range(16)))
    palette.putpalette([value for value in RAMP.flatten().tolist() for _ in range(3)])
    return {
        "gray": gray,
        "palette": palette,
        "LA": gray.convert("LA"),
        "RGBA": gray.convert("RGBA"),
        "RGB": gray.convert("RGB"),
        "clear LA": Image.merge("LA", (gray, alpha)),
        "clear RGBA": Image.merge("RGBA", (gray, gray, gray, alpha)),
        "CMYK": gray.convert("CMYK"),
        "16 bit": Image.fromarray(RAMP.astype(np.uint16) * 257),
    }[kind]


@pytest.mark.parametrize(
    ("kind", "suffix", "channels"),
    [
        ("gray", "png", 1),
        ("palette", "png", 1),
        ("palette", "gif", 1),
        ("palette", "bmp", 1),
        ("LA", "png", 1),
        ("RGBA", "png", 3),
        ("RGBA", "tif", 3),
        ("RGB", "webp", 1),
    ],
)
def test_an_opaque_picture_keeps_its_values_and_its_channels(tmp_path, kind, suffix, channels):
    for number in range(2):
        picture(kind).save(
            tmp_path / f"{number}.{suffix}", **({"lossless": True} if suffix == "webp" else {})
        )
    images = load_folder(tmp_path).images
    assert images.shape == (1, channels, 4, 4) and torch.equal(
        images[0, -1], torch.from_numpy(RAMP)
    )
    if suffix == "png":
        mixtures = files.load_problem(tmp_path / "0.png", weights="mean", count=2)[0].mixtures
        assert mixtures.shape == (1, channels, 4, 4) and torch.equal(
            mixtures[0, -1], torch.from_numpy(RAMP) / 255
        )


@pytest.mark.parametrize(
    ("kind", "suffix", "options"),
    [
        ("clear LA", "png", {}),
        ("clear RGBA", "png", {}),
        ("clear RGBA", "webp", {}),
        ("clear RGBA", "tif", {}),
        ("gray", "png", {"transparency": 32}),
        ("RGB", "png", {"transparency": (32, 32, 32)}),
        ("palette", "png", {"transparency": 2}),
        ("palette", "gif", {"transparency": 2}),
        ("16 bit", "png", {"transparency": 32 * 257}),
    ],
)
def test_transparent_pixels_have_no_value(tmp_path, kind, suffix, options):
    for number in range(2):
        picture(kind).save(tmp_path / f"{number}.{suffix}", **options)
    with pytest.raises(SepvizError) as caught:
        load_folder(tmp_path)
    one_line(caught, f"1.{suffix}", "transparent", "save it")
    if suffix == "png":
        with pytest.raises(SepvizError) as caught:
            files.load_problem(tmp_path / "0.png", count=2)
        one_line(caught, "0.png", "transparent")


def raw_png(depth, colour, row, key):
    """A PNG of two pixels and a value that is transparent, in bits that PIL does not write."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, depth, colour, 0, 0, 0))
        + chunk(b"tRNS", key)
        + chunk(b"IDAT", zlib.compress(b"\0" + row))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("depth", "colour", "row", "there", "not_there"),
    [
        (1, 0, b"\xc0", ">1H 1", ">1H 0"),
        (2, 0, b"\x90", ">1H 1", ">1H 3"),
        (4, 0, b"\x5a", ">1H 10", ">1H 11"),
        (
            16,
            2,
            struct.pack(">6H", 4660, 22136, 39612, 1, 2, 3),
            ">3H 4660 22136 39612",
            ">3H 4660 22136 1",
        ),
    ],
)
def test_a_transparent_value_is_read_in_the_files_bits(
    tmp_path, depth, colour, row, there, not_there
):
    for name, text in (("clear", there), ("whole", not_there)):
        form, *numbers = text.split()
        (tmp_path / f"{name}.png").write_bytes(
            raw_png(depth, colour, row, struct.pack(form, *map(int, numbers)))
        )
    assert files.load_problem(tmp_path / "whole.png", count=2)[0].mixtures.shape[-1] == 2
    with pytest.raises(SepvizError, match="transparent"):
        files.load_problem(tmp_path / "clear.png", count=2)


def test_a_gray_palette_does_not_turn_a_set_to_colour(tmp_path):
    for number, kind in enumerate(("gray", "gray", "palette")):
        picture(kind).save(tmp_path / f"{number}.png")
    assert load_folder(tmp_path).images.shape == (2, 1, 4, 4)


def test_pages_after_the_first_are_told(tmp_path, capsys):
    pages = [picture("gray"), picture("gray").rotate(90), picture("gray").rotate(180)]
    pages[0].save(tmp_path / "0.tif", save_all=True, append_images=pages[1:])
    pages[0].save(tmp_path / "1.gif", save_all=True, append_images=pages[1:])
    pages[0].save(tmp_path / "2.tif", save_all=True, append_images=pages[1:2])
    assert torch.equal(load_folder(tmp_path).images[1, 0], torch.from_numpy(RAMP))
    assert (
        capsys.readouterr().err
        == f"sepviz: {tmp_path}: left out 3 later pages or frames of 2 files (1.gif, ...)\n"
    )
    pages[0].save(tmp_path / "moving.png", save_all=True, append_images=pages[1:])
    with pytest.raises(SepvizError, match="3 frames"):
        files.load_problem(tmp_path / "moving.png", count=2)


def test_colours_without_certain_values_are_refused(tmp_path):
    for number in range(2):
        picture("CMYK").save(tmp_path / f"{number}.jpg")
    with pytest.raises(SepvizError, match=r"1\.jpg has colours of mode CMYK"):
        load_folder(tmp_path)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", ["''", "blank"]),
        ("  ", ["blank"]),
        ("~nouser/x", ["~nouser/x", "home folder"]),
        ("a" * 5000, ["unknown"]),
        ("/" + "a" * 5000, ["no such folder"]),
    ],
)
def test_names_that_are_no_folder(name, words, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "x.png", RAMP)
    with pytest.raises(SepvizError) as caught:
        load(name)
    one_line(caught, *words)


def test_a_data_folder_of_nobody(monkeypatch):
    monkeypatch.setenv("SEPVIZ_DATA", "~nouser")
    with pytest.raises(SepvizError, match=r"SEPVIZ_DATA=~nouser: no such folder"):
        load("mnist")


@pytest.mark.parametrize(
    "arguments",
    [
        {"classes": range(10**15)},
        {"classes": [1.5]},
        {"classes": "5-9"},
        {"count": 10**12},
        {"count": 2.5},
    ],
)
def test_classes_and_counts_are_checked_before_they_are_built(arguments):
    with pytest.raises(SepvizError, match=r"class 10:|class 1\.5:|class '5':|count"):
        load("strokes", **arguments)


# what is learned from, and what is held out


def dataset(counts, shape=(1, 2, 2)):
    """A set sorted by class; an image's pixels are its number."""
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    images = torch.zeros((len(labels), *shape), dtype=torch.uint8)
    numbers = torch.arange(len(labels))
    images[:, 0, 0, 0], images[:, 0, 0, 1] = (
        (numbers % 256).to(torch.uint8),
        (numbers // 256).to(torch.uint8),
    )
    return Dataset("sorted", images, labels)


def number_of(images):
    return images[:, 0, 0, 0].int() + 256 * images[:, 0, 0, 1].int()


@pytest.mark.parametrize(
    ("counts", "count", "wanted"),
    [
        ([200] * 10, 200, [20] * 10),
        ([3] * 10, 10, [1] * 10),
        ([100, 300, 600], 100, [10, 30, 60]),
        ([40, 1], 4, [4, 0]),
    ],
)
def test_of_every_class_the_same_share_is_held_out(counts, count, wanted):
    whole = dataset(counts)
    learned, held_out = hold_out(whole, count)
    assert torch.bincount(held_out.labels, minlength=len(counts)).tolist() == wanted
    both = torch.cat([number_of(learned.images), number_of(held_out.images)])
    assert sorted(both.tolist()) == list(range(sum(counts)))  # each image once
    for part in (learned, held_out):
        assert torch.equal(whole.labels[number_of(part.images).long()], part.labels)
    assert torch.equal(hold_out(whole, count)[1].images, held_out.images)  # the same at every call


def test_every_stretch_of_what_is_learned_holds_all_classes():
    learned, _ = hold_out(dataset([100, 200, 700]), 100)
    for first in (0, 300, 800):
        here = torch.bincount(learned.labels[first : first + 100], minlength=3)
        assert (here - torch.tensor([10, 20, 70])).abs().max() <= 1
    of_class = number_of(learned.images[learned.labels == 2])
    assert (
        of_class.diff() < 0
    ).float().mean() > 0.3  # not in the order of the files, which may be sorted too


def test_some_of_a_sorted_set_are_of_all_of_it():
    whole = dataset([2000] * 10)
    few = some(whole.images, 5000)
    assert len(few) == 5000 and len(number_of(few).unique()) == 5000
    assert (
        torch.bincount(whole.labels[number_of(few).long()]) - 500
    ).abs().max() < 80  # 4 standard deviations
    assert some(whole.images, 20_000) is whole.images


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (torch.zeros(1, 1, 4, 4), "1 image to learn from"),
        (torch.zeros(50, 1, 4, 4), "every pixel of its 50 images is 0"),
        (torch.full((50, 3, 4, 4), 9), "is 9"),
        (torch.arange(16).reshape(1, 1, 4, 4).expand(50, 1, 4, 4), "all the same one"),
    ],
)
def test_a_set_of_which_nothing_can_be_learned(images, words):
    with pytest.raises(SepvizError) as caught:
        hold_out(
            Dataset("mine", images.to(torch.uint8), torch.zeros(len(images), dtype=torch.int64)), 1
        )
    one_line(caught, "mine", words)
