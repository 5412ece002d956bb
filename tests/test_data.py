import functools
import gzip
import hashlib
import http.server
import os
import struct
import threading
from pathlib import Path

import numpy as np
import pooch
import pytest
import torch
from PIL import Image

from sepviz.core import SepvizError
from sepviz.data import NAMES, floats, load, load_folder, read_idx, registry, strokes, summary
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
    for file, array in zip(registry.FILES[split], (images, labels), strict=True):
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
    for file in registry.FILES["test"]:
        data = (tmp_path / "www" / "good" / f"{file}.gz").read_bytes()
        sums["md5"][file] = hashlib.md5(data).hexdigest()
        sums["sha256"][file] = hashlib.sha256(gzip.decompress(data)).hexdigest()

    def use(kind, *mirrors):
        home = registry.Home(tuple(f"{root}/{each}/" for each in mirrors), **{kind: sums[kind]})
        monkeypatch.setitem(registry.HOMES, "mnist", home)

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
        for file in registry.FILES[split]:
            path = registry.located(Path(REAL) / "mnist", file)
            registry.check_sha256("mnist", file, registry.content(path), str(path))
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
