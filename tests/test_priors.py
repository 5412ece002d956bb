"""Priors: the Gaussian against calculus and Monte Carlo; what the learned ones take and refuse."""

import math

import pytest
import torch

from sepviz.core import SepvizError
from sepviz.priors import CnnRegressor, DictionaryPrior, GanPrior, MaskNetwork, ScorePrior


def test_gaussian_score_is_the_gradient_of_its_log_prob(gaussian, device):
    rng = torch.Generator(device).manual_seed(0)
    x = torch.rand((4, *gaussian.image_shape), generator=rng, device=device, requires_grad=True)
    (gradient,) = torch.autograd.grad(gaussian.log_prob(x, 0.3).sum(), x)
    torch.testing.assert_close(gaussian.score(x.detach(), 0.3), gradient)


def test_gaussian_denoises_to_the_mean_with_the_variance_it_says(gaussian, device):
    """The error of `denoise`: no mean, the stated variance, no correlation with its input."""
    rng, sigma = torch.Generator(device).manual_seed(0), 0.2
    clean = gaussian.sample(200_000, rng)
    noisy = clean + sigma * torch.randn(clean.shape, generator=rng, device=device)
    denoised = gaussian.denoise(noisy, sigma)
    left = clean - denoised
    deviation = left.std(dim=0)
    assert float((left.mean(dim=0) / deviation).abs().max()) < 5 / 200_000**0.5
    variance = gaussian.variance(denoised, sigma)[0]
    torch.testing.assert_close(left.var(dim=0), variance, rtol=0.03, atol=0)
    correlation = (left * (noisy - noisy.mean(dim=0))).mean(dim=0) / deviation / noisy.std(dim=0)
    assert float(correlation.abs().max()) < 5 / 200_000**0.5


@pytest.mark.parametrize("sigma", [0.0, -0.1, 3.0, float("nan")])
def test_noise_that_was_not_trained_on_is_refused(sigma):
    with pytest.raises(SepvizError, match="sigma"):
        ScorePrior((1, 8, 8), widths=(8, 8, 8)).denoise(torch.zeros(1, 1, 8, 8), sigma)


@pytest.mark.parametrize("kind", [CnnRegressor, DictionaryPrior, GanPrior, MaskNetwork, ScorePrior])
@pytest.mark.parametrize("shape", [
    (28, 28), (1, 28, 28, 1), (0, 32, 32), (1, -32, 32), (1, 32.0, 32), (1, True, 32), 32, "abc",
    None, (1, 32, 10**30)])
def test_a_prior_of_no_image_shape_is_refused(kind, shape):
    with pytest.raises(SepvizError) as caught, torch.device("meta"):
        kind(shape)
    told = str(caught.value)
    assert "\n" not in told and ("want" in told or "images of" in told)


@pytest.mark.parametrize("make", [
    lambda: ScorePrior((1, 30, 30)), lambda: ScorePrior((1, 28, 30)),
    lambda: ScorePrior(widths=(8, 8)), lambda: ScorePrior(widths=(8, 8, 4)),
    lambda: ScorePrior(mean=math.nan), lambda: ScorePrior(deviation=0.0),
    lambda: ScorePrior(sigma_max=math.inf), lambda: ScorePrior(deviation="1"),
    lambda: GanPrior(latent_size=0), lambda: GanPrior(widths=(8, 8)),
    lambda: CnnRegressor(width=0), lambda: DictionaryPrior(classes=0),
    lambda: DictionaryPrior(per_class=-1), lambda: DictionaryPrior(reach=0.5),
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
    cnn, mask = CnnRegressor((1, 32, 32), 4).eval(), MaskNetwork().eval()
    gan = GanPrior((1, 32, 32), 5, (8, 8, 8)).eval()
    atol = 1e-6 if dtype == torch.float64 else 0.1
    for ask, given in ((lambda x: denoiser.denoise(x, 0.3), x),
                       (lambda x: denoiser.score(x, 0.3), x),
                       (cnn.regress, x), (gan.decode, z), (mask.mask, x), (mask.take_apart, x)):
        with torch.no_grad():
            found, wanted = ask(given.to(dtype)), ask(given)
        assert found.dtype == dtype
        torch.testing.assert_close(found.float(), wanted, rtol=0.05, atol=atol)


def test_images_of_another_size_are_refused():
    with pytest.raises(SepvizError, match=r"\(1, 8, 12\)"):
        ScorePrior((1, 8, 8), widths=(8, 8, 8)).denoise(torch.zeros(1, 1, 8, 12), 0.1)


def test_many_images_are_denoised_in_parts_with_their_own_noise(device):
    """More than a part holds: each image with its own sigma, as one by one."""
    prior = ScorePrior((1, 8, 8), 0.1, 0.3, widths=(8, 8, 8)).eval().to(device)
    first, second = (torch.Generator(device).manual_seed(seed) for seed in (0, 1))
    torch.nn.init.normal_(prior.network.head.weight, generator=second)
    noisy = torch.rand((130, 1, 8, 8), generator=first, device=device)
    sigmas = torch.linspace(0.05, 2.0, 130, device=device)
    found = prior.denoise(noisy, sigmas)
    for item in (0, 1, 127, 128, 129):
        alone = prior.denoise(noisy[item], sigmas[item])
        torch.testing.assert_close(found[item], alone, rtol=0.05, atol=0.02)
    other = prior.denoise(noisy, sigmas.flip(0))
    assert float((found - other).abs().max()) > 0.1, "another sigma gives another image"
