"""Drawn digits, and which images a model learns from."""


import numpy as np
import pytest
import torch
from npz import one_line

from sepviz.core import SepvizError
from sepviz.data import floats, load, strokes
from sepviz.data.base import Dataset
from sepviz.data.split import hold_out, some
from sepviz.data.strokes import CHUNK, GLYPHS, _glyphs


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


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
        assert torch.equal(less.images, digits.images[:count])
        assert torch.equal(less.labels, digits.labels[:count])
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
    assert floats(images).dtype == torch.float32
    assert floats(images).tolist() == pytest.approx([0, 0.2, 1])
    with pytest.raises(SepvizError, match=r"float32"):
        floats(torch.rand(2))


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
