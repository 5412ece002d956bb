"""Priors: the Gaussian against calculus and Monte Carlo, the learned one trained, stopped, resumed, saved."""

import errno
import json
import math
import os

import pytest
import torch
from safetensors.torch import save_file

from sepviz import files, zoo
from sepviz.core import SepvizError
from sepviz.priors import CnnRegressor, DictionaryPrior, GanPrior, MaskNetwork, ScorePrior
from sepviz.training import checkpoint, followed, score
from sepviz.training.cnn import train_cnn
from sepviz.training.dictionary import train_dictionary
from sepviz.training.score import compile_checked, train_score, validate


def test_gaussian_score_is_the_gradient_of_its_log_prob(gaussian, device):
    x = torch.rand((4, *gaussian.image_shape), generator=torch.Generator(device).manual_seed(0), device=device, requires_grad=True)
    (gradient,) = torch.autograd.grad(gaussian.log_prob(x, 0.3).sum(), x)
    torch.testing.assert_close(gaussian.score(x.detach(), 0.3), gradient)


def test_gaussian_denoises_to_the_mean_with_the_variance_it_says(gaussian, device):
    """Clean given noisy: the residual of `denoise` has no mean, the stated variance, and nothing left to predict."""
    rng, sigma = torch.Generator(device).manual_seed(0), 0.2
    clean = gaussian.sample(200_000, rng)
    noisy = clean + sigma * torch.randn(clean.shape, generator=rng, device=device)
    denoised = gaussian.denoise(noisy, sigma)
    left = clean - denoised
    deviation = left.std(dim=0)
    assert float((left.mean(dim=0) / deviation).abs().max()) < 5 / 200_000**0.5
    torch.testing.assert_close(left.var(dim=0), gaussian.variance(denoised, sigma)[0], rtol=0.03, atol=0)
    correlation = (left * (noisy - noisy.mean(dim=0))).mean(dim=0) / deviation / noisy.std(dim=0)
    assert float(correlation.abs().max()) < 5 / 200_000**0.5


@pytest.fixture
def images():
    """Vertical bars at random places: something that a tiny network learns in seconds."""
    rng = torch.Generator().manual_seed(0)
    pictures = torch.zeros(300, 1, 8, 8, dtype=torch.uint8)
    pictures[torch.arange(300), 0, :, torch.randint(8, (300,), generator=rng)] = 255
    return pictures


def train(images, checkpoint, iterations, **more):
    return train_score(images[:250], images[250:], checkpoint, iterations=iterations, widths=(8, 8, 8), batch=32, progress=False, **more)


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
    with pytest.raises(SepvizError, match=r"wide.*\(1, 8, 12\)"):
        train(images, tmp_path / "other.ckpt", 2, start=ScorePrior((1, 8, 12), widths=(8, 8, 8), name="wide"))


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
    assert len(sigmas) == count and float(sigmas.min()) >= math.log(0.008) and float(sigmas.max()) <= math.log(2.5) + 1e-6
    spacing = math.log(2.5 / 0.008) / len(everywhere)
    assert float(everywhere.diff().min()) > 0 and float(everywhere.diff().max()) < 2 * spacing + 1e-4
    assert float(middle.mean()) == pytest.approx(math.log(0.3), abs=0.1) and float(middle.std()) == pytest.approx(0.8, abs=0.1)


def test_a_checkpoint_of_another_run_is_refused(images, tmp_path):
    """Whatever decides how a training goes is named, with what it was and what it is now."""
    path = tmp_path / "bars.ckpt"
    first, _ = train(images, path, 2)
    other = images.flip(0)
    for changes, words in (
            ({"seed": 1}, "seed 0 (here 1)"), ({"iterations": 3}, "iterations 2 (here 3)"),
            ({"learning_rate": 1e-3}, "learning rate 0.002 (here 0.001)"), ({"batch": 16}, "batch 32 (here 16)"),
            ({"widths": (8, 8, 16)}, "widths [8, 8, 8] (here [8, 8, 16])"),
            ({"iterations": None, "minutes": 1.0}, "iterations 2 (here None), minutes None (here 1.0)"),
            ({"start": first}, "start random weights (here score, digest "),
            ({"images": other[:250]}, f"(here 250 of 1x8x8, digest {files.digest(other[:250])})")):
        options = {"images": images[:250], "iterations": 2, "widths": (8, 8, 8), "batch": 32, "progress": False, **changes}
        with pytest.raises(SepvizError) as caught:
            train_score(held_out=images[250:], checkpoint=path, **options)
        assert words in str(caught.value) and "remove the file" in str(caught.value) and "\n" not in str(caught.value)
    again, card = train(images, path, 2)  # the same one is done
    assert card["iterations"] == 2 and card["start"] == "random weights" and card["compiled"] is False
    assert all(torch.equal(one, two) for one, two in zip(first.parameters(), again.parameters(), strict=True))


def test_the_cnn_goes_on_with_its_own_images_alone(images, tmp_path):
    def run(some, iterations=2):
        return train_cnn(some, images[:5], tmp_path / "cnn.ckpt", iterations=iterations, width=4, batch=16, progress=False)

    run(images)
    with pytest.raises(SepvizError, match=r"images 300 of 1x8x8, digest .* \(here 299 of 1x8x8"):
        run(images[1:])
    with pytest.raises(SepvizError, match=r"iterations 2 \(here 9\)"):
        run(images, 9)


def test_a_checkpoint_of_an_older_sepviz_is_refused(images, tmp_path):
    torch.save({"settings": json.dumps({"name": "score"}), "seed": 0, "prior": {}, "rng": torch.zeros(1), "iteration": 2, "elapsed": 1.0},
               tmp_path / "bars.ckpt")
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


@pytest.mark.parametrize("change", [{"iteration": -1}, {"elapsed": math.nan}, {"parts": {}}, {"rng": torch.zeros(3)},
                                    {"parts": {"prior": {}, "average": {}, "optimizer": {}}}, {"settings": []}])
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


def test_a_training_that_diverges_says_where_and_keeps_the_last_good_checkpoint(images, tmp_path, monkeypatch):
    monkeypatch.setattr(followed, "SAVE_EVERY", -1)  # at every iteration
    losses(monkeypatch, 4, math.inf)
    with pytest.raises(SepvizError, match=r"loss inf at iteration 4: .*bars\.ckpt keeps the run up to iteration 3; "):
        train(images, tmp_path / "bars.ckpt", 9)
    assert checkpoint.read(tmp_path / "bars.ckpt")["iteration"] == 3


def test_weights_that_diverge_in_the_last_iteration_are_no_success(images, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self: self.param_groups[0]["params"][0].data.fill_(math.nan))
    with pytest.raises(SepvizError, match=r"weights that are not finite at iteration 1: .*no checkpoint was made"):
        train(images, tmp_path / "bars.ckpt", 1)
    assert not list(tmp_path.iterdir())


def test_a_loss_that_never_moves_is_no_success(images, tmp_path, monkeypatch):
    monkeypatch.setattr(score, "denoising_loss", lambda prior, *_: 0 * next(prior.parameters()).sum() + 2)
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
    assert card["iterations"] == 5 and told.count("\n") == told.count("No space left on device") == 1
    assert checkpoint.read(tmp_path / "bars.ckpt")["iteration"] == 2  # the newest that was whole
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bars.ckpt", "old.ckpt"]


@pytest.mark.parametrize("bad", [torch.zeros(10, 1, 8, 8, dtype=torch.uint8), torch.zeros(300, 1, 8, 8),
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
    with pytest.raises(SepvizError, match=r"70 bases for each class: class 0 has 150 images of 64 pixels"):
        train_dictionary(images, labels, images[:2], per_class=70, progress=False)


def test_the_card_of_a_dictionary_says_what_was_done(images):
    _, card = train_dictionary(images[:40], torch.zeros(40), images[:1], per_class=3, iterations=7, progress=False)
    assert card["iterations"] == 7 and card["images_per_class"] == 40 and card["rebuilt_psnr"]["n"] == 1
    _, card = train_dictionary(images[:40], torch.zeros(40), images[:1], per_class=3, progress=False)
    assert 7 < card["iterations"] <= 400
    _, card = train_dictionary(images[:40], torch.zeros(40), images[:1], per_class=3, reach=1, iterations=7, progress=False)
    assert card["iterations"] == 7


@pytest.mark.parametrize("sigma", [0.0, -0.1, 3.0, float("nan")])
def test_noise_that_was_not_trained_on_is_refused(sigma):
    with pytest.raises(SepvizError, match="sigma"):
        ScorePrior((1, 8, 8), widths=(8, 8, 8)).denoise(torch.zeros(1, 1, 8, 8), sigma)


@pytest.mark.parametrize("kind", [CnnRegressor, DictionaryPrior, GanPrior, MaskNetwork, ScorePrior])
@pytest.mark.parametrize("shape", [(28, 28), (1, 28, 28, 1), (0, 32, 32), (1, -32, 32), (1, 32.0, 32), (1, True, 32), 32, "abc", None,
                                   (1, 32, 10**30)])
def test_a_prior_of_no_image_shape_is_refused(kind, shape):
    with pytest.raises(SepvizError) as caught, torch.device("meta"):
        kind(shape)
    assert "\n" not in str(caught.value) and ("want" in str(caught.value) or "images of" in str(caught.value))


@pytest.mark.parametrize("make", [
    lambda: ScorePrior((1, 30, 30)), lambda: ScorePrior((1, 28, 30)), lambda: ScorePrior(widths=(8, 8)),
    lambda: ScorePrior(widths=(8, 8, 4)),
    lambda: ScorePrior(mean=math.nan), lambda: ScorePrior(deviation=0.0), lambda: ScorePrior(sigma_max=math.inf),
    lambda: ScorePrior(deviation="1"), lambda: GanPrior(latent_size=0), lambda: GanPrior(widths=(8, 8)), lambda: CnnRegressor(width=0),
    lambda: DictionaryPrior(classes=0), lambda: DictionaryPrior(per_class=-1), lambda: DictionaryPrior(reach=0.5),
    lambda: MaskNetwork((1, 30, 32))])
def test_a_prior_of_impossible_numbers_is_refused(make):
    with pytest.raises(SepvizError, match=r"want|divisible"):
        make()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_priors_answer_in_the_type_they_are_asked_in(dtype):
    """float64 as float32 does, to float32's accuracy; the shorter types to theirs."""
    torch.manual_seed(0)
    x, z = torch.rand(2, 1, 32, 32), torch.randn(2, 5)
    denoiser = ScorePrior((1, 32, 32), 0.1, 0.3, widths=(8, 8, 8)).eval()
    torch.nn.init.normal_(denoiser.network.head.weight, std=0.1)
    cnn, gan, mask = CnnRegressor((1, 32, 32), 4).eval(), GanPrior((1, 32, 32), 5, (8, 8, 8)).eval(), MaskNetwork().eval()
    for ask, given in ((lambda x: denoiser.denoise(x, 0.3), x), (lambda x: denoiser.score(x, 0.3), x), (cnn.regress, x), (gan.decode, z),
                       (mask.mask, x), (mask.take_apart, x)):
        with torch.no_grad():
            found, wanted = ask(given.to(dtype)), ask(given)
        assert found.dtype == dtype
        torch.testing.assert_close(found.float(), wanted, rtol=0.05, atol=1e-6 if dtype == torch.float64 else 0.1)


def test_images_of_another_size_are_refused():
    with pytest.raises(SepvizError, match=r"\(1, 8, 12\)"):
        ScorePrior((1, 8, 8), widths=(8, 8, 8)).denoise(torch.zeros(1, 1, 8, 12), 0.1)


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
    torch.testing.assert_close(again.denoise(x, 0.3), prior.denoise(x, 0.3), rtol=0, atol=0.01)  # stored in float16


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
    save_file(weights, tmp_path / "bad.safetensors", {"kind": "score", "settings": json.dumps(prior.settings())})
    with pytest.raises(SepvizError, match=rf"bad\.safetensors: weights network.head.bias hold {bad}"):
        zoo.load(str(tmp_path / "bad.safetensors"))
    prior.network.head.bias.data.fill_(bad)
    with pytest.raises(SepvizError, match=r"network\.head\.bias"):
        zoo.save(prior, tmp_path / "new.safetensors", {})
    assert not list(tmp_path.glob("new*")) and not list(tmp_path.glob(".*"))


def test_weights_too_large_for_float16_are_kept(saved, tmp_path):
    prior, _ = saved
    prior.network.head.bias.data.fill_(1e6)
    again = zoo.load(str(zoo.save(prior, tmp_path / "large.safetensors", {})))
    assert float(again.network.head.bias[0]) == 1e6


@pytest.mark.parametrize("change", [{"mean": math.nan}, {"deviation": math.inf}, {"image_shape": [1, 10**9, 10**9]},
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


def test_images_of_one_value_teach_nothing(tmp_path):
    with pytest.raises(SepvizError, match="every pixel of its 250 images is 0"):
        train(torch.zeros(300, 1, 8, 8, dtype=torch.uint8), tmp_path / "black.ckpt", 1)


def test_weights_are_not_written_over(saved):
    prior, path = saved
    with pytest.raises(SepvizError, match="there already"):
        zoo.save(prior, path, {})


@pytest.mark.parametrize("content", [b"", b"not weights at all", (10**9).to_bytes(8, "little") + b"{}"])
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
            figure = {"gan": "oracle_psnr", "dictionary": "rebuilt_psnr", "cnn": "denoised_psnr", "mask": "unseen_psnr"}[kind]
            assert card[figure]["n"] >= 500 and card[figure]["mean"] > 15


def test_the_strokes_oracle_is_what_its_card_says(device):
    """Other images and half of the starts: the card's figure within three standard errors."""
    from sepviz.data import floats, load
    from sepviz.training.gan import oracle

    images = floats(load("strokes", "test", count=12).images).to(device)
    found = float(oracle(zoo.load("gan-strokes", device), images, starts=4, progress=False).mean())
    assert zoo.card("gan-strokes")["oracle_psnr"]["mean"] == pytest.approx(found, abs=1.5)


def test_the_strokes_card_tells_the_truth(device):
    """The shipped weights, on images drawn here and now, lose what their card says."""
    from sepviz.data import floats, load

    held_out = floats(load("strokes", "test", count=300).images).to(device)
    losses = validate(zoo.load("score-strokes", device), held_out)
    said = zoo.card("score-strokes")["held_out_loss_per_sigma"]
    for sigma in (0.1, 0.35, 1.0):
        assert losses[sigma] == pytest.approx(said[str(sigma)], rel=0.15)




@pytest.mark.parametrize("right", [True, False])
def test_a_compiler_whose_gradients_are_wrong_is_not_used(right, monkeypatch):
    """A stand-in for the compiler: exact, or one that drops the gradients of all but the last layer."""
    prior = ScorePrior((1, 8, 8), mean=0.1, deviation=0.3, widths=(8, 8, 8))
    network, before = prior.network, {name: value.clone() for name, value in prior.state_dict().items()}

    def compiled(x, log_sigma):
        if right:
            return network.forward(x, log_sigma)
        with torch.no_grad():
            out = network.forward(x, log_sigma)
        return out + 0 * network.head.weight.sum()

    monkeypatch.setattr(type(network), "compile", lambda self: setattr(self, "_compiled_call_impl", compiled))
    assert compile_checked(prior, torch.rand(4, 1, 8, 8)) == right
    assert (network._compiled_call_impl is compiled) == right
    assert all(torch.equal(value, before[name]) for name, value in prior.state_dict().items())
    assert all(weight.grad is None for weight in prior.parameters())


def test_many_images_are_denoised_in_parts_with_their_own_noise(device):
    """More than a part holds: each image with its own sigma, as one by one."""
    prior = ScorePrior((1, 8, 8), 0.1, 0.3, widths=(8, 8, 8)).eval().to(device)
    torch.nn.init.normal_(prior.network.head.weight, generator=torch.Generator(device).manual_seed(1))
    noisy = torch.rand((130, 1, 8, 8), generator=torch.Generator(device).manual_seed(0), device=device)
    sigmas = torch.linspace(0.05, 2.0, 130, device=device)
    found = prior.denoise(noisy, sigmas)
    for item in (0, 1, 127, 128, 129):
        torch.testing.assert_close(found[item], prior.denoise(noisy[item], sigmas[item]), rtol=0.05, atol=0.02)
    assert float((found - prior.denoise(noisy, sigmas.flip(0))).abs().max()) > 0.1, "another sigma gives another image"
