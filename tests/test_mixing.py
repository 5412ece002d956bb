import numpy as np
import pytest
import torch

from sepviz import tasks
from sepviz.core import Mixing, SepvizError

WEIGHTS = [(1.0,), (1.0, 1.0), (0.5, 0.5), (0.3, -1.2, 2.0)]


def draw(shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_adjoint_is_the_transpose(weights):
    mixing = Mixing(weights)
    sources, images = draw((2, len(weights), 1, 4, 5)), draw((2, 1, 4, 5), 1)
    assert torch.allclose((mixing.apply(sources) * images).sum(), (sources * mixing.adjoint(images)).sum(), rtol=1e-12)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("noise_variance", [0.0, 0.37])
def test_condition_is_the_dense_gaussian_conditional(weights, noise_variance):
    """Against the textbook formula mu + V A' (A V A' + g^2 I)^-1 (m - A mu), pixel by pixel, with numpy."""
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
    """A prior draw taken through `condition` with fresh noise has the posterior's mean and covariance."""
    mixing, rng = Mixing((1.0, 2.0)), torch.Generator().manual_seed(0)
    n, variance, noise_variance = 400_000, [0.5, 0.2], 0.3
    mean = torch.tensor([0.1, -0.4], dtype=torch.float64)
    draws = mean + torch.randn((n, 2), generator=rng, dtype=torch.float64) * torch.tensor(variance, dtype=torch.float64).sqrt()
    mixture = torch.full((n, 1, 1, 1), 0.7, dtype=torch.float64)
    out = mixing.condition(draws[:, :, None, None, None], mixture, variance, noise_variance, rng)[:, :, 0, 0, 0].numpy()
    a, v = np.array([[1.0, 2.0]]), np.diag(variance)
    gain = v @ a.T / (a @ v @ a.T + noise_variance)
    np.testing.assert_allclose(out.mean(0), mean.numpy() + (gain * (0.7 - a @ mean.numpy()))[:, 0], atol=4e-3)
    np.testing.assert_allclose(np.cov(out.T), v - gain @ a @ v, atol=4e-3)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_condition_without_noise_meets_the_mixture(weights):
    mixing = Mixing(weights)
    mixture = draw((3, 2, 4, 4), 1)
    assert torch.allclose(mixing.apply(mixing.condition(draw((3, len(weights), 2, 4, 4)), mixture)), mixture, atol=1e-12)


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
    assert float(noise.mean()) == pytest.approx(0, abs=0.006) and float(noise.std()) == pytest.approx(0.31 / 3**0.5, rel=0.01)


@pytest.mark.parametrize(
    ("words", "message"),
    [
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
    ],
)
def test_words_of_another_type_are_refused(words, message):
    with pytest.raises(SepvizError) as error:
        Mixing(**{"weights": (1.0, 1.0)} | words)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_numbers_of_numpy_and_torch_are_weights():
    for weights in (
        [1, 0.5],
        np.array([1, 0.5]),
        torch.tensor([1, 0.5]),
        (np.float32(1), torch.tensor(0.5)),
    ):
        found = Mixing(weights, filter_size=np.int64(5))
        assert (
            found == Mixing((1.0, 0.5), 5)
            and type(found.filter_size) is int
            and type(found.weights[0]) is float
        )


@pytest.mark.parametrize("count", [0, -1, 2.0, "2", None, True, 10**9])
def test_bad_numbers_of_sources_are_refused(count):
    for make in (Mixing.sum, Mixing.mean):
        with pytest.raises(SepvizError, match="K"):
            make(count)


GOOD = torch.rand((2, 1, 32, 32), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("mixtures", "mend"),
    [
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
    ],
)
def test_every_method_has_the_same_gate(mixtures, mend):
    """What no method can take is refused with the same mend by all."""
    from test_contract import SEPARATORS, gaussian_prior, make_problem

    for name in (
        "average",
        "constant",
        "rpca",
        "mask",
        "ss-nmf",
        "remix",
        "remix-tree",
        "split-gibbs",
        "basis",
        "synthesis",
        "nmf",
    ):
        separator, problem = (
            SEPARATORS[name](gaussian_prior(torch.device("cpu"))),
            make_problem((1.0, 1.0), "cpu", name=name),
        )
        if "[-1, 1]" in mend and tuple(problem.mixtures.shape[1:]) != (1, 32, 32):
            continue
        with pytest.raises(SepvizError) as error:
            next(iter(separator.steps(problem._replace(mixtures=mixtures), torch.Generator())))
        assert mend in str(error.value), name


def test_a_prior_elsewhere_is_said():
    from test_contract import mask_network, score_prior

    from sepviz.separators import Mask, SplitGibbs

    with pytest.raises(
        SepvizError, match=r"mixtures on cpu, the prior is on meta: take problem.to\('meta'\)"
    ):
        next(
            iter(
                Mask(mask_network("meta")).steps(
                    tasks.mix(GOOD[None].float())[0], torch.Generator()
                )
            )
        )
    with pytest.raises(SepvizError, match="the prior is on meta"):
        next(
            iter(
                SplitGibbs(score_prior("meta")).steps(
                    tasks.mix(torch.rand(1, 2, 1, 4, 8))[0], torch.Generator()
                )
            )
        )


def test_mixtures_in_any_memory_order_are_taken():
    """Not contiguous, or one mixture expanded: the result is that of a plain copy."""
    from test_contract import SEPARATORS, gaussian_prior, make_problem

    for name in (
        "average",
        "basis",
        "split-gibbs",
        "synthesis",
        "nmf",
        "conv-nmf",
        "cnn",
        "constant",
        "mask",
        "rpca",
    ):
        separator, problem = (
            SEPARATORS[name](gaussian_prior(torch.device("cpu"))),
            make_problem((1.0, 1.0), "cpu", name=name),
        )
        if name == "cnn":
            problem = make_problem((1.0,), "cpu", name=name)
        odd = problem.mixtures.transpose(2, 3).contiguous().transpose(2, 3)
        assert not odd.is_contiguous()
        last = [
            list(
                separator.steps(problem._replace(mixtures=given), torch.Generator().manual_seed(0))
            )[-1].sources
            for given in (problem.mixtures, odd)
        ]
        torch.testing.assert_close(last[0], last[1], rtol=1e-3, atol=1e-3, msg=name)
