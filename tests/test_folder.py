"""Folders of images, and what a picture must be."""

import struct
import zlib

import numpy as np
import pytest
import torch
from npz import one_line
from PIL import Image

from sepviz import files
from sepviz.core import SepvizError
from sepviz.data import load, load_folder


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array, np.uint8)).save(path)


def test_folder_gray_split_and_order(tmp_path):
    for i in reversed(range(20)):
        save(tmp_path / f"{i:02}.png", np.full((5, 6), i))
    (tmp_path / "notes.txt").write_text("no image")
    train, test = load(str(tmp_path)), load(str(tmp_path), "test")
    assert train.name == tmp_path.name and train.images.shape == (18, 1, 5, 6)
    assert train.images.dtype == torch.uint8
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
    assert train.images[0, :, 0, 0].tolist() == [9, 9, 9]
    assert train.images[1, :, 0, 0].tolist() == [200, 0, 0]
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
