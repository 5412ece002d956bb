"""Mixtures: the same share of every class, no image twice, nothing held out in the examples."""

import argparse

import pytest
import torch

from sepviz import cli, data, tasks
from sepviz.core import SepvizError
from sepviz.data import Dataset


def numbered(count, shape=(1, 4, 4), first=1):
    """Images that are all different; the first two pixels say which."""
    numbers = torch.arange(first, first + count)
    images = torch.full((count, *shape), 7, dtype=torch.uint8)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = numbers % 256, numbers // 256
    return images


def number_of(images):
    """Which image each (..., C, H, W) in [0, 1] is."""
    whole = (255 * images).round().int()
    return whole[..., 0, 0, 0] + 256 * whole[..., 0, 0, 1]


@pytest.fixture
def sets(monkeypatch):
    """Sets by name, sorted by class: how many images each class has in each split."""
    made = {}

    def load(name, split="train", *, classes=None, **_):
        counts = made[name][split]
        labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
        images = numbered(len(labels), first=1 if split == "train" else 10_001)
        return data.base.select(Dataset(name, images, labels), classes, None)

    monkeypatch.setattr(data, "load", load)
    return made


def options(model, dataset):
    return argparse.Namespace(model=model, dataset=dataset, device=None, start=None)


@pytest.mark.parametrize("model", list(cli.train.TRAINERS))
def test_every_trainer_sees_every_class_of_a_sorted_set(sets, monkeypatch, model):
    sets["sorted"] = {"train": [200] * 10}
    given = {}

    def trainer(learned, held_out, *_):
        given.update(learned=learned, held_out=held_out)
        return None, {}, []

    monkeypatch.setitem(cli.train.TRAINERS, model, trainer)
    _, card, _ = cli.train.learn_prior(options(model, "sorted"), "mine", None)
    assert torch.bincount(given["learned"].labels).tolist() == [180] * 10
    held = number_of(given["held_out"] / 255).long() - 1
    assert torch.bincount(held // 200).tolist() == [20] * 10
    assert not set(held.tolist()) & set((number_of(given["learned"].images / 255) - 1).tolist())
    assert card["held_out"] == ("200 images of the train split, drawn at random, the same share of "
                                "every class")


def test_a_black_set_is_refused_by_every_trainer(monkeypatch):
    black = Dataset("black", torch.zeros((300, 1, 4, 4), dtype=torch.uint8), torch.arange(300) % 10)
    monkeypatch.setattr(data, "load", lambda *_, **__: black)
    for model in cli.train.TRAINERS:
        with pytest.raises(SepvizError, match="every pixel of its 300 images is 0"):
            cli.train.learn_prior(options(model, "black"), "mine", None)
    for make in (tasks.unmix, tasks.blind):
        with pytest.raises(SepvizError, match="every pixel"):
            make("black", "black", count=1, training=10)


def test_examples_are_of_every_class_of_a_sorted_set(sets):
    sets["cifar"] = {"train": [200] * 10, "test": [10] * 10}
    examples = tasks.unmix("cifar:0-4", "cifar:5-9", count=2, training=300, sees="all")[0].examples
    unseen, observed = number_of(examples.unobserved) - 1, number_of(examples.observed) - 1
    mixed = number_of(examples.mixtures - examples.unobserved) - 1
    assert torch.bincount(unseen // 200).tolist() == [60] * 5
    both = torch.cat([observed, mixed])
    assert torch.bincount(both // 200).tolist() == [0] * 5 + [120] * 5
    everything = tasks.unmix("cifar:0-4", "cifar:5-9", count=2)[0].examples
    assert len(everything.observed) == len(everything.mixtures) == 375  # 150 of each of 5, halved
    truth = tasks.unmix("cifar:0-4", "cifar:5-9", count=250, split="held-out")[1]
    held_out = number_of(truth.sources) - 1
    assert torch.bincount(held_out[:, 0] // 200).tolist() == [50] * 5
    assert torch.bincount(held_out[:, 1] // 200)[5:].tolist() == [50] * 5
    assert not set(held_out[:, 0].tolist()) & set(unseen.tolist())


def old_draw(pool, count, sources, seed):
    """The images (count, sources) that were drawn before any were exchanged."""
    rng = torch.Generator().manual_seed(seed)
    rounds = -(-count * sources // pool)
    drawn = torch.cat([torch.randperm(pool, generator=rng) for _ in range(rounds)])
    return drawn[:count * sources].reshape(count, sources)


def new_draw(count, sources, seed):
    truth = tasks.separate("some", count=count, sources=sources, seed=seed)[1]
    return number_of(truth.sources).long() - 10_001


@pytest.mark.parametrize(("pool", "count", "sources"), [(100, 20, 3), (12, 6, 2), (12, 30, 4)])
def test_a_seed_that_gave_valid_mixtures_gives_the_same(sets, pool, count, sources):
    sets["some"] = {"test": [pool]}
    for seed in range(5):
        assert torch.equal(new_draw(count, sources, seed), old_draw(pool, count, sources, seed))


@pytest.mark.parametrize(("pool", "sources"), [(2, 2), (3, 2), (5, 3), (5, 4), (7, 7)])
def test_a_small_pool_mixes_no_image_with_itself(sets, pool, sources):
    sets["some"] = {"test": [pool]}
    for seed in range(20):
        found, before = new_draw(40, sources, seed), old_draw(pool, 40, sources, seed)
        valid = torch.tensor([len(set(row)) == sources for row in before.tolist()])
        assert all(len(set(row)) == sources for row in found.tolist())
        assert torch.equal(found[valid], before[valid])
        used = torch.bincount(found.flatten(), minlength=pool)
        assert used.max() < 1.25 * 40 * sources / pool  # the least used take the places


def test_fewer_images_than_sources(sets):
    sets["few"] = {"test": [2]}
    with pytest.raises(SepvizError,
                       match="few, test split: too few different images for mixtures of 3"):
        tasks.separate("few", count=1, sources=3)
    assert tasks.separate("few", count=4, sources=1)[1].sources.shape[:2] == (4, 1)


def test_copies_of_an_image_are_the_same_image(monkeypatch):
    copies = Dataset("copies", numbered(3)[[0, 0, 0, 1]], torch.zeros(4, dtype=torch.int64))
    monkeypatch.setattr(data, "load", lambda *_, **__: copies)
    found = number_of(tasks.separate("copies", count=30)[1].sources)
    assert (found.sort(dim=1).values == torch.tensor([1, 2])).all()


@pytest.mark.parametrize("sees", list(tasks.SEES))
@pytest.mark.parametrize(("unseen", "observed"), [("one", "one"), ("one:0-1", "one:1-2")])
def test_sets_that_overlap_mix_no_image_with_itself(sets, sees, unseen, observed):
    sets["one"] = {"train": [20] * 3, "test": [4] * 3}
    for seed, split in ((0, "test"), (1, "held-out"), (2, "test"), (3, "held-out")):
        problem, truth = tasks.unmix(unseen, observed, count=20, training=30, sees=sees, seed=seed,
                                     split=split)
        pairs, examples = number_of(truth.sources), problem.examples
        assert (pairs[:, 0] != pairs[:, 1]).all()
        if sees == "all":
            x = number_of(examples.unobserved)
            b = number_of(examples.mixtures - examples.unobserved)
            assert (b != x).all()
            clean, mixed = set(number_of(examples.observed).tolist()), set(x.tolist())
            assert not clean & (mixed | set(b.tolist()))
            assert not (mixed | clean) & set(pairs.flatten().tolist())  # nor held-out ones


def test_blind_sums_of_one_set_hold_no_image_twice(sets):
    sets["one"] = {"train": [12], "test": [5]}
    problem, truth = tasks.blind("one", "one", "one", count=25, training=200)
    assert all(len(set(row)) == 3 for row in number_of(truth.sources).tolist())
    assert problem.examples.mixtures.shape == (200, 1, 4, 4)
    sets["two"] = {"train": [12], "test": [2]}
    with pytest.raises(SepvizError,
                       match="two and two and two: too few different images for mixtures of 3"):
        tasks.blind("two", "two", "two", count=1, training=2)


def test_the_smaller_set_keeps_its_only_image():
    pools = numbers = [torch.arange(2), torch.tensor([0])]
    found = tasks.pools.no_image_twice(torch.tensor([[0, 0]]), pools, numbers, "x")
    assert found.tolist() == [[1, 0]]


@pytest.mark.parametrize(("text", "words"), [
    ("0-99999999999", ["99999999999"]),
    ("9" * 6000, ["99999"]),
    ("5-2", ["5-2", "write 2-5"]),
    ("0-", ["'0-'", "0-4 or 5,7,9"]),
    ("-3", ["'-3'"]),
    ("1,1,1", ["class 1", "twice"]),
    ("0-4,3", ["class 3", "twice"]),
    ("\u0663", ["no class"]),
    ("1_0", ["'1_0'"]),
    ("", ["no class"]),
    ("0-1-2", ["'0-1-2'"]),
    ("1.0", ["'1.0'"]),
    ("0-12", ["class 10", "0 to 9"]),
])
def test_classes_that_cannot_be(text, words):
    with pytest.raises(SepvizError) as caught:
        tasks.unmix(f"strokes:{text}", count=1, training=4)
    line = str(caught.value)
    assert "\n" not in line and len(line) < 300 and all(word in line for word in words), line


@pytest.mark.parametrize(("text", "wanted"), [
    ("0-4", [0, 1, 2, 3, 4]), ("9, 5,7", [5, 7, 9]), ("007", [7]), ("0-2,8-9", [0, 1, 2, 8, 9])])
def test_classes_as_they_are_written(text, wanted):
    assert tasks.unmixing.classes_of(f"strokes:{text}", text) == wanted


@pytest.mark.parametrize("make", [
    lambda: tasks.unmix(count=10**12), lambda: tasks.unmix(training=10**12),
    lambda: tasks.separate(count=10**12),
    lambda: tasks.blind("strokes:0", "strokes:1", training=10**12)])
def test_counts_are_bounded(make):
    with pytest.raises(SepvizError, match="1,000,000"):
        make()
