"""Priors are trained: stopped and resumed, refused, diverging, on a full disk."""

import errno
import json
import math
import os

import pytest
import torch

from sepviz import files
from sepviz.core import SepvizError
from sepviz.priors import ScorePrior
from sepviz.training import checkpoint, followed, score
from sepviz.training.cnn import train_cnn
from sepviz.training.dictionary import train_dictionary
from sepviz.training.score import compile_checked, train_score, validate


@pytest.fixture
def images():
    """Vertical bars at random places: something that a tiny network learns in seconds."""
    rng = torch.Generator().manual_seed(0)
    pictures = torch.zeros(300, 1, 8, 8, dtype=torch.uint8)
    pictures[torch.arange(300), 0, :, torch.randint(8, (300,), generator=rng)] = 255
    return pictures


def train(images, checkpoint, iterations, **more):
    return train_score(images[:250], images[250:], checkpoint, iterations=iterations,
                       widths=(8, 8, 8), batch=32, progress=False, **more)


def test_training_learns(images, tmp_path):
    untrained = ScorePrior((1, 8, 8), 0.125, 0.33, widths=(8, 8, 8)).eval()
    before = validate(untrained, images[250:].float() / 255)
    _, card = train(images, tmp_path / "bars.ckpt", 150)
    after = card["held_out_loss_per_sigma"]
    assert after["0.35"] < 0.7 * before[0.35] and after["1.0"] < 0.9 * before[1.0]


def test_a_stopped_training_goes_on_as_if_it_had_not_been(images, tmp_path, monkeypatch):
    whole, _ = train(images, tmp_path / "whole.ckpt", 20)
    calls, loss = [], score.denoising_loss

    def stop_at_twelve(*arguments):
        calls.append(1)
        if len(calls) == 12:
            raise KeyboardInterrupt
        return loss(*arguments)

    monkeypatch.setattr(score, "denoising_loss", stop_at_twelve)
    with pytest.raises(KeyboardInterrupt):
        train(images, tmp_path / "parts.ckpt", 20)
    parts, card = train(images, tmp_path / "parts.ckpt", 20)
    assert card["iterations"] == 20
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_training_goes_on_from_weights(images, tmp_path):
    first, _ = train(images, tmp_path / "first.ckpt", 30)
    again, _ = train(images, tmp_path / "again.ckpt", 2, start=first, seed=1, learning_rate=1e-6)
    for one, other in zip(first.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)
    wide = ScorePrior((1, 8, 12), widths=(8, 8, 8), name="wide")
    with pytest.raises(SepvizError, match=r"wide.*\(1, 8, 12\)"):
        train(images, tmp_path / "other.ckpt", 2, start=wide)


def test_the_loss_is_one_size_where_the_error_grows_as_trained_networks_leave_it():
    clean = torch.rand((3, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    for sigma in torch.tensor([0.02, 0.3, 2.0]):
        left = lambda noisy, sigma: clean + sigma.view(-1, 1, 1, 1) ** 0.7  # noqa: E731
        loss = score.denoising_loss(left, clean, sigma.repeat(3), torch.zeros_like(clean))
        assert float(loss) == pytest.approx(4, rel=1e-4)


@pytest.mark.parametrize("count", [127, 128])
def test_every_batch_has_its_share_of_each_noise(count, device):
    sigmas = score.training_sigmas(count, 2.5, torch.Generator(device).manual_seed(0)).log()
    everywhere, middle = sigmas[:(count + 1) // 2], sigmas[(count + 1) // 2:]
    assert len(sigmas) == count
    assert float(sigmas.min()) >= math.log(0.008) and float(sigmas.max()) <= math.log(2.5) + 1e-6
    steps, spacing = everywhere.diff(), math.log(2.5 / 0.008) / len(everywhere)
    assert float(steps.min()) > 0 and float(steps.max()) < 2 * spacing + 1e-4
    assert float(middle.mean()) == pytest.approx(math.log(0.3), abs=0.1)
    assert float(middle.std()) == pytest.approx(0.8, abs=0.1)


def test_a_checkpoint_of_another_run_is_refused(images, tmp_path):
    """Whatever decides how a training goes is named, with what it was and what it is now."""
    path = tmp_path / "bars.ckpt"
    first, _ = train(images, path, 2)
    other = images.flip(0)
    for changes, words in (
            ({"seed": 1}, "seed 0 (here 1)"), ({"iterations": 3}, "iterations 2 (here 3)"),
            ({"learning_rate": 1e-3}, "learning rate 0.002 (here 0.001)"),
            ({"batch": 16}, "batch 32 (here 16)"),
            ({"widths": (8, 8, 16)}, "widths [8, 8, 8] (here [8, 8, 16])"),
            ({"iterations": None, "minutes": 1.0},
             "iterations 2 (here None), minutes None (here 1.0)"),
            ({"start": first}, "start random weights (here score, digest "),
            ({"images": other[:250]},
             f"(here 250 of 1x8x8, digest {files.digest(other[:250])})")):
        options = {"images": images[:250], "iterations": 2, "widths": (8, 8, 8), "batch": 32,
                   "progress": False, **changes}
        with pytest.raises(SepvizError) as caught:
            train_score(held_out=images[250:], checkpoint=path, **options)
        told = str(caught.value)
        assert words in told and "remove the file" in told and "\n" not in told
    again, card = train(images, path, 2)  # the same one is done
    assert card["iterations"] == 2 and card["start"] == "random weights"
    assert card["compiled"] is False
    assert all(torch.equal(one, two) for one, two
               in zip(first.parameters(), again.parameters(), strict=True))


def test_the_cnn_goes_on_with_its_own_images_alone(images, tmp_path):
    def run(some, iterations=2):
        return train_cnn(some, images[:5], tmp_path / "cnn.ckpt", iterations=iterations, width=4,
                         batch=16, progress=False)

    run(images)
    with pytest.raises(SepvizError, match=r"images 300 of 1x8x8, digest .* \(here 299 of 1x8x8"):
        run(images[1:])
    with pytest.raises(SepvizError, match=r"iterations 2 \(here 9\)"):
        run(images, 9)


def test_a_checkpoint_of_an_older_sepviz_is_refused(images, tmp_path):
    torch.save({"settings": json.dumps({"name": "score"}), "seed": 0, "prior": {},
                "rng": torch.zeros(1), "iteration": 2, "elapsed": 1.0}, tmp_path / "bars.ckpt")
    with pytest.raises(SepvizError, match="format 1, this sepviz goes on from 3"):
        train(images, tmp_path / "bars.ckpt", 2)


def test_a_bitten_checkpoint_is_refused_in_a_line(images, tmp_path):
    path = tmp_path / "bars.ckpt"
    train(images, path, 1)
    whole, rng, refused = path.read_bytes(), torch.Generator().manual_seed(0), 0
    spoilt = [whole[:size] for size in (0, 10, len(whole) // 2, len(whole) - 20)]
    for place in torch.randint(len(whole), (20,), generator=rng).tolist():
        spoilt.append(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1:])
    for data in spoilt:
        path.write_bytes(data)
        try:
            train(images, path, 1)
        except SepvizError as error:
            assert str(path) in str(error) and "\n" not in str(error)
            refused += 1
    assert refused >= 15  # a byte of padding may be bitten, or of a name that nobody reads


@pytest.mark.parametrize("change", [
    {"iteration": -1}, {"elapsed": math.nan}, {"rng": torch.zeros(3)}, {"settings": []},
    {"parts": {}}, {"parts": {"prior": {}, "average": {}, "optimizer": {}}}])
def test_a_checkpoint_of_wrong_fields_is_refused(change, images, tmp_path):
    train(images, tmp_path / "bars.ckpt", 1)
    torch.save({**torch.load(tmp_path / "bars.ckpt"), **change}, tmp_path / "bars.ckpt")
    with pytest.raises(SepvizError, match=r"bars\.ckpt is damaged"):
        train(images, tmp_path / "bars.ckpt", 1)


def losses(monkeypatch, at, value):
    """The loss of iteration ``at`` is this much more; so is every one after it."""
    calls, loss = [], score.denoising_loss

    def other(*arguments):
        calls.append(1)
        return loss(*arguments) + (value if len(calls) >= at else 0)

    monkeypatch.setattr(score, "denoising_loss", other)


def test_a_training_that_diverges_says_where_and_keeps_the_last_good_checkpoint(
        images, tmp_path, monkeypatch):
    monkeypatch.setattr(followed, "SAVE_EVERY", -1)  # at every iteration
    losses(monkeypatch, 4, math.inf)
    with pytest.raises(SepvizError, match=r"loss inf at iteration 4: .*bars\.ckpt keeps the run "
                                          "up to iteration 3; "):
        train(images, tmp_path / "bars.ckpt", 9)
    assert checkpoint.read(tmp_path / "bars.ckpt")["iteration"] == 3


def test_weights_that_diverge_in_the_last_iteration_are_no_success(images, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self: (
        self.param_groups[0]["params"][0].data.fill_(math.nan)))
    with pytest.raises(SepvizError, match=r"weights that are not finite at iteration 1: .*"
                                          "no checkpoint was made"):
        train(images, tmp_path / "bars.ckpt", 1)
    assert not list(tmp_path.iterdir())


def test_a_loss_that_never_moves_is_no_success(images, tmp_path, monkeypatch):
    monkeypatch.setattr(score, "denoising_loss",
                        lambda prior, *_: 0 * next(prior.parameters()).sum() + 2)
    with pytest.raises(SepvizError, match="the loss stayed at 2 for 20 iterations"):
        train(images, tmp_path / "bars.ckpt", 20)


def test_a_full_disk_does_not_end_a_training(images, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(followed, "SAVE_EVERY", -1)
    train(images[1:], tmp_path / "bars.ckpt", 3)
    (tmp_path / "bars.ckpt").rename(tmp_path / "old.ckpt")
    fsync, calls = os.fsync, []

    def full(handle):
        calls.append(1)
        if len(calls) > 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", full)
    _, card = train(images, tmp_path / "bars.ckpt", 5)
    told = capsys.readouterr().err
    assert card["iterations"] == 5
    assert told.count("\n") == told.count("No space left on device") == 1
    assert checkpoint.read(tmp_path / "bars.ckpt")["iteration"] == 2  # the newest that was whole
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bars.ckpt", "old.ckpt"]


@pytest.mark.parametrize("bad", [
    torch.zeros(10, 1, 8, 8, dtype=torch.uint8), torch.zeros(300, 1, 8, 8),
    torch.zeros(300, 8, 8, dtype=torch.uint8), torch.zeros(0, 1, 8, 8, dtype=torch.uint8),
    torch.full((300, 1, 8, 8), 9, dtype=torch.uint8),
    torch.arange(64, dtype=torch.uint8).reshape(1, 1, 8, 8).repeat(300, 1, 1, 1)])
def test_bad_training_images_are_refused(bad, images, tmp_path):
    with pytest.raises(SepvizError, match="training images"):
        train_score(bad, images, tmp_path / "bad.ckpt", iterations=1, batch=32, progress=False)
    with pytest.raises(SepvizError, match="training images"):
        train_cnn(bad, images, tmp_path / "bad.ckpt", iterations=1, batch=32, progress=False)
    with pytest.raises(SepvizError, match="training images"):
        train_dictionary(bad, torch.zeros(len(bad)), images, per_class=15, progress=False)


@pytest.mark.parametrize("shape", [(0, 1, 8, 8), (5, 1, 8, 4), (5, 8, 8)])
def test_bad_held_out_images_are_refused(shape, images, tmp_path):
    bad = torch.ones(shape, dtype=torch.uint8)
    with pytest.raises(SepvizError, match="held-out images"):
        train_score(images, bad, tmp_path / "bad.ckpt", iterations=1, batch=32, progress=False)
    with pytest.raises(SepvizError, match="held-out images"):
        train_dictionary(images, torch.zeros(300), bad, progress=False)


def test_a_dictionary_of_too_few_or_black_images_is_refused(images):
    labels = torch.arange(300) % 2
    with pytest.raises(SepvizError, match="class 1 has 9 images"):
        train_dictionary(images[:19], labels[:19], images[:2], per_class=10, progress=False)
    half = images * (labels == 0).view(-1, 1, 1, 1).to(torch.uint8)
    with pytest.raises(SepvizError, match="class 1 has 150 training images, all of them black"):
        train_dictionary(half, labels, images[:2], per_class=10, progress=False)
    with pytest.raises(SepvizError, match="70 bases for each class: class 0 has "
                                          "150 images of 64 pixels"):
        train_dictionary(images, labels, images[:2], per_class=70, progress=False)


def test_the_card_of_a_dictionary_says_what_was_done(images):
    def card_of(**options):
        return train_dictionary(images[:40], torch.zeros(40), images[:1], per_class=3,
                                progress=False, **options)[1]

    card = card_of(iterations=7)
    assert card["iterations"] == 7 and card["images_per_class"] == 40
    assert card["rebuilt_psnr"]["n"] == 1
    assert 7 < card_of()["iterations"] <= 400
    assert card_of(reach=1, iterations=7)["iterations"] == 7


def test_images_of_one_value_teach_nothing(tmp_path):
    with pytest.raises(SepvizError, match="every pixel of its 250 images is 0"):
        train(torch.zeros(300, 1, 8, 8, dtype=torch.uint8), tmp_path / "black.ckpt", 1)


@pytest.mark.parametrize("right", [True, False])
def test_a_compiler_whose_gradients_are_wrong_is_not_used(right, monkeypatch):
    """A stand-in for the compiler: exact, or without the gradients of all but the last layer."""
    prior = ScorePrior((1, 8, 8), mean=0.1, deviation=0.3, widths=(8, 8, 8))
    network = prior.network
    before = {name: value.clone() for name, value in prior.state_dict().items()}

    def compiled(x, log_sigma):
        if right:
            return network.forward(x, log_sigma)
        with torch.no_grad():
            out = network.forward(x, log_sigma)
        return out + 0 * network.head.weight.sum()

    monkeypatch.setattr(type(network), "compile",
                        lambda self: setattr(self, "_compiled_call_impl", compiled))
    assert compile_checked(prior, torch.rand(4, 1, 8, 8)) == right
    assert (network._compiled_call_impl is compiled) == right
    assert all(torch.equal(value, before[name]) for name, value in prior.state_dict().items())
    assert all(weight.grad is None for weight in prior.parameters())
