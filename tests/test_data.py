"""Sets by their names: loaded, found, downloaded, checked."""

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
from npz import one_line

from sepviz.core import SepvizError
from sepviz.data import NAMES, home, load, read_idx, registry, summary

REAL = os.environ.get("SEPVIZ_DATA", "")


def real(name):
    there = REAL and (Path(REAL) / name).is_dir()
    return pytest.mark.skipif(not there, reason=f"$SEPVIZ_DATA/{name} is not here")


def idx(array, kind=8):
    array = np.asarray(array, np.uint8)
    return struct.pack(f">HBB{array.ndim}I", 0, kind, array.ndim, *array.shape) + array.tobytes()


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


# load


def test_load_strokes():
    few = load("strokes", count=40)
    assert torch.equal(load("strokes", count=90).images[:40], few.images)
    assert not torch.equal(load("strokes", "test", count=40).images, few.images)
    high = load("strokes", "test", classes=range(5, 10))  # of 5,000
    assert 2300 < len(high.labels) < 2700 and high.labels.min() == 5
    few = load("strokes", "test", classes=range(5, 10), count=50)
    assert torch.equal(few.images, high.images[:50])


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
    one_line(caught, "mnist: no network", "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz",
             "$SEPVIZ_DATA/mnist/", "cache")
    wanted = [(name, None) for name in NAMES[1:] for _ in range(2)]
    assert [(row.name, row.items) for row in summary()][2:] == wanted
    assert all("would download" in row.where for row in summary()[2:])


@pytest.mark.parametrize("wrap", [bytes, gzip.compress])
def test_own_files_are_used(nowhere, monkeypatch, wrap):
    images = write_set(nowhere / "own" / "mnist", wrap=wrap)
    monkeypatch.setenv("SEPVIZ_DATA", str(nowhere / "own"))
    data = load("mnist", "test")
    assert data.name == "mnist" and torch.equal(data.images[:, 0], images)
    assert data.labels.tolist() == list(range(7))
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
    handler = functools.partial(Quiet, directory=str(tmp_path / "www"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
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
    wanted = ["t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"]
    assert sorted(path.name for path in cache.iterdir()) == wanted
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
