"""Priors: the Gaussian against calculus and Monte Carlo, the learned one trained, stopped, resumed, saved."""

import math

import pytest
import torch

from sepviz import zoo
from sepviz.core import SepvizError
from sepviz.priors import ScorePrior, score
from sepviz.priors.score import compile_checked, train_score, validate


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
    train(images, tmp_path / "bars.ckpt", 2)
    with pytest.raises(SepvizError, match="seed"):
        train(images, tmp_path / "bars.ckpt", 2, seed=1)


@pytest.mark.parametrize("bad", [torch.zeros(10, 1, 8, 8, dtype=torch.uint8), torch.zeros(300, 1, 8, 8),
                                 torch.zeros(300, 8, 8, dtype=torch.uint8)])
def test_bad_training_images_are_refused(bad, tmp_path):
    with pytest.raises(SepvizError, match="training images"):
        train_score(bad, bad, tmp_path / "bad.ckpt", iterations=1, batch=32, progress=False)


@pytest.mark.parametrize("sigma", [0.0, -0.1, 3.0, float("nan")])
def test_noise_that_was_not_trained_on_is_refused(sigma):
    with pytest.raises(SepvizError, match="sigma"):
        ScorePrior((1, 8, 8), widths=(8, 8, 8)).denoise(torch.zeros(1, 1, 8, 8), sigma)


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


def test_images_of_one_value_teach_nothing(tmp_path):
    with pytest.raises(SepvizError, match="one value"):
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
    from sepviz.priors.gan import oracle

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
