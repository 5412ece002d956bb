"""Weights are saved with a card and come back; the shipped ones are what their cards say."""

import errno
import json
import math
import os

import pytest
import torch
from safetensors.torch import save_file

from sepviz import zoo
from sepviz.core import SepvizError
from sepviz.data import floats, load
from sepviz.priors import ScorePrior
from sepviz.training import score
from sepviz.training.gan import oracle


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    prior = ScorePrior((1, 8, 8), 0.1, 0.3, widths=(8, 8, 8), name="tiny").eval()
    torch.nn.init.normal_(prior.network.head.weight, std=0.1)
    return prior, zoo.save(prior, tmp_path / "tiny.safetensors", {"seed": 0})


def test_weights_come_back(saved):
    prior, path = saved
    again = zoo.load(str(path))
    assert again.settings() == {**prior.settings()}
    x = torch.rand(2, 1, 8, 8)
    found, stored_in_float16 = again.denoise(x, 0.3), 0.01
    torch.testing.assert_close(found, prior.denoise(x, 0.3), rtol=0, atol=stored_in_float16)


def test_weights_with_a_wrong_hash_are_refused(saved):
    _, path = saved
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(SepvizError, match="sha256"):
        zoo.load(str(path))


@pytest.mark.parametrize("card", ["{", "[]", "{}"])
def test_a_damaged_card_is_refused(saved, card):
    _, path = saved
    path.with_suffix(".json").write_text(card)
    with pytest.raises(SepvizError, match="card") as error:
        zoo.load(str(path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_weights_that_are_not_finite_are_neither_written_nor_read(saved, bad, tmp_path):
    prior, _ = saved
    weights = {key: value.half().clone() for key, value in prior.state_dict().items()}
    weights["network.head.bias"].fill_(bad)
    path = tmp_path / "bad.safetensors"
    save_file(weights, path, {"kind": "score", "settings": json.dumps(prior.settings())})
    with pytest.raises(SepvizError, match=rf"bad\.safetensors: .* network.head.bias hold {bad}"):
        zoo.load(str(path))
    prior.network.head.bias.data.fill_(bad)
    with pytest.raises(SepvizError, match=r"network\.head\.bias"):
        zoo.save(prior, tmp_path / "new.safetensors", {})
    assert not list(tmp_path.glob("new*")) and not list(tmp_path.glob(".*"))


def test_weights_too_large_for_float16_are_kept(saved, tmp_path):
    prior, _ = saved
    prior.network.head.bias.data.fill_(1e6)
    again = zoo.load(str(zoo.save(prior, tmp_path / "large.safetensors", {})))
    assert float(again.network.head.bias[0]) == 1e6


@pytest.mark.parametrize("change", [
    {"mean": math.nan}, {"deviation": math.inf}, {"image_shape": [1, 10**9, 10**9]},
    {"image_shape": [1, 30, 30]}, {"widths": [8, 8, 8 * 10**6]}])
def test_weights_with_impossible_settings_are_refused(saved, change, tmp_path):
    prior, _ = saved
    save_file(prior.state_dict(), tmp_path / "bad.safetensors",
              {"kind": "score", "settings": json.dumps({**prior.settings(), **change})})
    with pytest.raises(SepvizError, match=r"bad\.safetensors holds no weights of a prior"):
        zoo.load(str(tmp_path / "bad.safetensors"))


def test_a_card_is_valid_json(saved, tmp_path):
    prior, _ = saved
    facts = {"loss": math.nan, "psnr": [math.inf, 1.5], "deep": {"least": -math.inf}}
    zoo.save(prior, tmp_path / "odd.safetensors", facts)
    text = (tmp_path / "odd.json").read_text()
    card = json.loads(text, parse_constant=lambda word: pytest.fail(word))
    assert (card["loss"], card["psnr"], card["deep"]) == (None, [None, 1.5], {"least": None})
    zoo.load(str(tmp_path / "odd.safetensors"))
    (tmp_path / "odd.json").write_text(text.replace("null", "NaN"))
    with pytest.raises(SepvizError, match=r"odd\.json is damaged or no card"):
        zoo.load(str(tmp_path / "odd.safetensors"))


@pytest.mark.parametrize("calls_that_work", [0, 1])
def test_weights_and_card_are_both_there_or_neither(saved, tmp_path, monkeypatch, calls_that_work):
    replace, calls = os.replace, []

    def full(*paths):
        calls.append(1)
        if len(calls) > calls_that_work:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(*paths)

    before = sorted(tmp_path.iterdir())
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(SepvizError, match=r"cannot write .*new"):
        zoo.save(saved[0], tmp_path / "new.safetensors", {})
    assert sorted(tmp_path.iterdir()) == before
    monkeypatch.undo()
    zoo.save(saved[0], tmp_path / "new.safetensors", {})  # nothing is in the way


def test_weights_are_not_written_over(saved):
    prior, path = saved
    with pytest.raises(SepvizError, match="there already"):
        zoo.save(prior, path, {})


@pytest.mark.parametrize("content", [
    b"", b"not weights at all", (10**9).to_bytes(8, "little") + b"{}"])
def test_a_file_that_holds_no_weights_is_refused(tmp_path, content):
    (tmp_path / "other.safetensors").write_bytes(content)
    with pytest.raises(SepvizError, match=r"other\.safetensors") as error:
        zoo.load(str(tmp_path / "other.safetensors"))
    assert "\n" not in str(error.value)


def test_an_unknown_prior_suggests_the_nearest():
    with pytest.raises(SepvizError, match="did you mean score-mnist"):
        zoo.load("score-mnits")


def test_the_zoo_is_small_and_every_prior_has_its_card():
    assert {"score-mnist", "score-strokes"} <= set(zoo.names())
    assert sum(file.stat().st_size for file in zoo.FOLDER.iterdir()) < 25e6
    for name in zoo.names():
        assert (zoo.FOLDER / f"{name}.safetensors").stat().st_size <= 3e6
        card = zoo.card(name)
        assert card["command"].startswith("sepviz train") and card["minutes"] > 0 and "seed" in card
        kind = zoo.kind_of(zoo.load(name))
        if kind == "score":
            assert len(card["held_out_loss_per_sigma"]) >= 5
        else:
            figure = {"gan": "oracle_psnr", "dictionary": "rebuilt_psnr",
                      "cnn": "denoised_psnr", "mask": "unseen_psnr"}[kind]
            assert card[figure]["n"] >= 500 and card[figure]["mean"] > 15


def test_the_strokes_oracle_is_what_its_card_says(device):
    """Other images and a quarter of the starts: the card's figure within three standard errors."""
    images = floats(load("strokes", "test", count=8).images).to(device)
    prior = zoo.load("gan-strokes", device).to(memory_format=torch.channels_last)  # faster
    found = oracle(prior, images, starts=2, progress=False)
    deviation = 1.8  # dB, of an image's PSNR
    assert zoo.card("gan-strokes")["oracle_psnr"]["mean"] == pytest.approx(
        float(found.mean()), abs=3 * deviation / len(images)**0.5)


def test_the_strokes_card_tells_the_truth(device, monkeypatch):
    """The shipped weights, on images drawn here and now, lose what their card says."""
    deviations = {0.1: 0.24, 0.35: 0.29, 1.0: 0.37}  # of an image's loss, as a share of the mean
    monkeypatch.setattr(score, "VALIDATION_SIGMAS", tuple(deviations))
    held_out = floats(load("strokes", "test", count=60).images).to(device)
    losses = score.validate(zoo.load("score-strokes", device), held_out)
    said = zoo.card("score-strokes")["held_out_loss_per_sigma"]
    for sigma, deviation in deviations.items():  # three standard errors: 9 to 14%
        assert losses[sigma] == pytest.approx(said[str(sigma)], rel=3 * deviation / 60**0.5)
