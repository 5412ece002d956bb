import numpy as np
import pytest
import torch
from test_contract import SEPARATORS, gaussian_prior, make_problem, mask_network, score_prior

from sepviz import tasks
from sepviz.core import Mixing, SepvizError
from sepviz.separators import Mask, SplitGibbs

WEIGHTS = [(1.0,), (1.0, 1.0), (0.5, 0.5), (0.3, -1.2, 2.0)]


def draw(shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_adjoint_is_the_transpose(weights):
    mixing = Mixing(weights)
    sources, images = draw((2, len(weights), 1, 4, 5)), draw((2, 1, 4, 5), 1)
    forth, back = mixing.apply(sources) * images, sources * mixing.adjoint(images)
    assert torch.allclose(forth.sum(), back.sum(), rtol=1e-12)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("noise_variance", [0.0, 0.37])
def test_condition_is_the_dense_gaussian_conditional(weights, noise_variance):
    """Against the textbook's mu + V A' (A V A' + g^2 I)^-1 (m - A mu), pixel by pixel, in numpy."""
    mixing, count = Mixing(weights), len(weights)
    mean, mixture = draw((1, count, 1, 2, 3)), draw((1, 1, 2, 3), 1)
    variance = draw((1, count, 1, 2, 3), 2).square() + 0.1
    result = mixing.condition(mean, mixture, variance, noise_variance)
    a = np.array(weights)[None]
    for row in range(2):
        for column in range(3):
            v = np.diag(variance[0, :, 0, row, column].numpy())
            mu = mean[0, :, 0, row, column].numpy()
            gain = v @ a.T @ np.linalg.inv(a @ v @ a.T + noise_variance * np.eye(1))
            want = mu + gain @ (mixture[0, 0, row, column].numpy()[None] - a @ mu)
            np.testing.assert_allclose(result[0, :, 0, row, column].numpy(), want, rtol=1e-10)


def test_condition_draws_from_the_posterior():
    """Draws of the prior, conditioned with fresh noise, are draws of the posterior."""
    mixing, rng = Mixing((1.0, 2.0)), torch.Generator().manual_seed(0)
    n, mean, variance, noise_variance = 400_000, np.array([0.1, -0.4]), [0.5, 0.2], 0.3
    deviations = torch.tensor(variance, dtype=torch.float64).sqrt()
    noise = torch.randn((n, 2), generator=rng, dtype=torch.float64) * deviations
    draws = (torch.from_numpy(mean) + noise)[:, :, None, None, None]
    mixture = torch.full((n, 1, 1, 1), 0.7, dtype=torch.float64)
    out = mixing.condition(draws, mixture, variance, noise_variance, rng)[:, :, 0, 0, 0].numpy()
    a, v = np.array([[1.0, 2.0]]), np.diag(variance)
    gain = v @ a.T / (a @ v @ a.T + noise_variance)
    np.testing.assert_allclose(out.mean(0), mean + (gain * (0.7 - a @ mean))[:, 0], atol=4e-3)
    np.testing.assert_allclose(np.cov(out.T), v - gain @ a @ v, atol=4e-3)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_condition_without_noise_meets_the_mixture(weights):
    mixing = Mixing(weights)
    mixture = draw((3, 2, 4, 4), 1)
    found = mixing.condition(draw((3, len(weights), 2, 4, 4)), mixture)
    assert torch.allclose(mixing.apply(found), mixture, atol=1e-12)


@pytest.mark.parametrize("weights", [(), (1.0, 0.0), (float("nan"),), (1.0, float("inf"))])
def test_bad_weights_are_refused(weights):
    with pytest.raises(SepvizError, match="weights"):
        Mixing(weights)


@pytest.mark.parametrize(("mixtures", "message"), [
    (torch.full((1, 1, 2, 3), float("nan")), "nan"),
    (torch.full((1, 1, 2, 3), float("inf")), "inf"),
    (torch.zeros(1, 2, 3), "(1, 2, 3)"),
    (torch.zeros(0, 1, 2, 3), "(0, 1, 2, 3)"),
    (torch.zeros(1, 1, 2, 3, dtype=torch.uint8), "uint8"),
    (torch.zeros(1, 3, 2, 3), "(3, 2, 3)"),
    (torch.full((1, 1, 2, 3), 255.0), "255"),
    (torch.full((1, 1, 2, 3), -2.5), "-2.5"),
])
def test_bad_mixtures_are_refused_by_name(mixtures, message):
    with pytest.raises(SepvizError) as error:
        Mixing.sum(2).check(mixtures, (1, 2, 3))
    assert message in str(error.value) and "\n" not in str(error.value)


def test_the_overshoot_of_noise_passes():
    Mixing.mean(2).check(torch.tensor([-0.9, 1.9]).reshape(1, 1, 1, 2), (1, 1, 2))


def test_noise_is_uniform_about_zero():
    problem, truth = tasks.denoise("strokes", count=20, amplitude=0.31)
    noise = problem.mixtures - truth.sources[:, 0]
    assert 0.309 < float(noise.max()) <= 0.3101 and -0.3101 <= float(noise.min()) < -0.309
    assert float(noise.mean()) == pytest.approx(0, abs=0.006)
    assert float(noise.std()) == pytest.approx(0.31 / 3**0.5, rel=0.01)


@pytest.mark.parametrize(("words", "message"), [
    ({"weights": 1.0}, "weights 1.0: want a number for each source, (1.0,) for one"),
    ({"weights": "11"}, "weights '11'"),
    ({"weights": None}, "weights None"),
    ({"weights": ("1", "1")}, "weights ('1', '1')"),
    ({"weights": (True, 1)}, "weights (True, 1)"),
    ({"weights": (1j, 1)}, "weights (1j, 1)"),
    ({"weights": {1.0: 2.0}}, "weights {1.0: 2.0}"),
    ({"weights": np.ones((1, 2))}, "weights ([1.0, 1.0],)"),
    ({"weights": np.array(1.0)}, "weights array(1.)"),
    ({"weights": (10**400, 1)}, "each must be a finite number"),
    ({"filter_size": [5, 5]}, "filter size [5, 5]"),
    ({"filter_size": 5.7}, "filter size 5.7"),
    ({"filter_size": 5.0}, "filter size 5.0"),
    ({"filter_size": "5"}, "filter size '5'"),
    ({"filter_size": True}, "filter size True"),
    ({"filter_size": -5}, "filter size -5"),
    ({"visible": np.ones((2, 3), bool)}, "torch tensor"),
    ({"visible": [[True]]}, "visible [[True]]"),
    ({"visible": torch.full((2, 3), 0.01)}, "float32"),
    ({"visible": torch.ones(6).bool()}, "(6,)"),
])
def test_words_of_another_type_are_refused(words, message):
    with pytest.raises(SepvizError) as error:
        Mixing(**{"weights": (1.0, 1.0)} | words)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_numbers_of_numpy_and_torch_are_weights():
    for weights in ([1, 0.5], np.array([1, 0.5]), torch.tensor([1, 0.5]),
                    (np.float32(1), torch.tensor(0.5))):
        found = Mixing(weights, filter_size=np.int64(5))
        assert found == Mixing((1.0, 0.5), 5)
        assert type(found.filter_size) is int and type(found.weights[0]) is float


@pytest.mark.parametrize("count", [0, -1, 2.0, "2", None, True, 10**9])
def test_bad_numbers_of_sources_are_refused(count):
    for make in (Mixing.sum, Mixing.mean):
        with pytest.raises(SepvizError, match="K"):
            make(count)


def test_shapes_that_cannot_be_mixed_or_filtered_are_refused():
    mixing, images = Mixing.sum(2), torch.rand(3, 2, 1, 8, 8)
    with pytest.raises(SepvizError, match=r"\(3, 1, 1, 8, 8\): want \(B, 2, C, H, W\)"):
        mixing.apply(images[:, :1])
    for filters in (torch.rand(3, 2, 4, 5), torch.rand(3, 1, 5, 5), torch.rand(3, 2, 5)):
        with pytest.raises(SepvizError, match=r"want \(3, 2, h, w\) with h and w odd"):
            mixing.apply(images, filters)
    with pytest.raises(SepvizError, match="only pictures"):
        mixing.apply(images[:, :, 0], torch.rand(3, 2, 5, 5))


# --- the gate of all methods ---

GOOD = torch.rand((2, 1, 32, 32), generator=torch.Generator().manual_seed(0))


def made(name):
    """A small method of this name and a problem that it takes."""
    weights = (1.0,) if name == "cnn" else (1.0, 1.0)
    separator = SEPARATORS[name](gaussian_prior(torch.device("cpu")))
    return separator, make_problem(weights, "cpu", name=name)


@pytest.mark.parametrize(("mixtures", "mend"), [
    (GOOD.double(), "float64: methods compute in float32, take mixtures.float()"),
    (GOOD.half(), "take mixtures.float()"),
    (GOOD.numpy(), "torch.as_tensor(mixtures).float()"),
    (GOOD.tolist(), "list"),
    (GOOD.clone().requires_grad_(), "take mixtures.detach()"),
    (GOOD.to(torch.complex64), "want floats"),
    (GOOD.to_sparse(), "to_dense()"),
    (GOOD.to("meta"), "meta"),
    (GOOD.expand(2, 3, 32, 32).movedim(1, 3), "channels last"),
    (2 * GOOD.round() - 1.6, "[-1, 1]"),
])
def test_every_method_has_the_same_gate(mixtures, mend):
    """All methods refuse what no method can take, and name the same mend."""
    for name in ("average", "constant", "rpca", "mask", "ss-nmf", "remix", "remix-tree",
                 "split-gibbs", "basis", "synthesis", "nmf"):
        separator, problem = made(name)
        if "[-1, 1]" in mend and tuple(problem.mixtures.shape[1:]) != (1, 32, 32):
            continue
        with pytest.raises(SepvizError) as error:
            next(iter(separator.steps(problem._replace(mixtures=mixtures), torch.Generator())))
        assert mend in str(error.value), name


@pytest.mark.parametrize(("separator", "shape"), [
    (lambda: Mask(mask_network("meta")), (1, 32, 32)),
    (lambda: SplitGibbs(score_prior("meta")), (1, 4, 8)),
])
def test_a_prior_on_another_device_is_named(separator, shape):
    problem, _ = tasks.mix(torch.rand(1, 2, *shape))
    words = r"mixtures on cpu, the prior is on meta: take problem.to\('meta'\)"
    with pytest.raises(SepvizError, match=words):
        next(iter(separator().steps(problem, torch.Generator())))


@pytest.mark.parametrize("name", ["average", "basis", "split-gibbs", "synthesis", "nmf", "conv-nmf",
                                  "cnn", "constant", "mask", "rpca"])
def test_mixtures_in_any_memory_order_are_taken(name):
    """Not contiguous: the result is that of a plain copy."""
    separator, problem = made(name)
    odd = problem.mixtures.transpose(2, 3).contiguous().transpose(2, 3)
    assert not odd.is_contiguous()
    first, second = ([*separator.steps(problem._replace(mixtures=given),
                                       torch.Generator().manual_seed(0))][-1].sources
                     for given in (problem.mixtures, odd))
    torch.testing.assert_close(first, second, rtol=1e-3, atol=1e-3)
