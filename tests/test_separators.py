"""Basis and split-Gibbs against what is known in closed form for a Gaussian prior."""

import collections
import itertools
import math

import numpy as np
import pytest
import torch

from sepviz.core import Mixing, Problem, SepvizError
from sepviz.separators import Average, Basis, SplitGibbs

MIXTURE = torch.tensor([[[0.9, 0.7, 1.4], [0.2, 1.3, 0.8]]])
RUNS = 8_000


def last(separator, problem, seed=0):
    rng = torch.Generator(problem.mixtures.device).manual_seed(seed)
    return collections.deque(separator.steps(problem, rng), maxlen=1)[0].sources


def repeated(weights, device):
    """The same mixture many times: the runs' spread is the sampler's law."""
    return Problem(MIXTURE.to(device).expand(RUNS, *MIXTURE.shape).contiguous(), Mixing(weights))


def langevin_law(prior, mixing, sigma, gamma2, eta):
    """Mean (K, C, H, W) and covariance (C, H, W, K, K) of unadjusted Langevin steps of size eta.

    x <- x - eta P (x - mean) + sqrt(2 eta) n has covariance (P - eta P^2 / 2)^-1, the posterior's
    as eta -> 0.
    """
    a = torch.tensor(mixing.weights, dtype=torch.float64)
    eye = torch.eye(len(a), dtype=torch.float64)
    variance = prior.deviation.cpu().double().square() + sigma**2
    precision = eye / variance[..., None, None] + torch.outer(a, a) / gamma2
    pull = (prior.mean.cpu().double() / variance)[..., None]
    pull = pull + a * MIXTURE.double()[..., None] / gamma2
    mean = torch.linalg.solve(precision, pull[..., None])[..., 0]
    return mean.movedim(-1, 0), torch.linalg.inv(precision - eta / 2 * precision @ precision)


@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.5, 1.5, 1.0)])
def test_basis_samples_the_law_of_its_own_steps(gaussian, device, weights):
    """Mean and full covariance, step-size inflation included, within Monte Carlo error."""
    problem, sigma, ratio = repeated(weights, device), 0.2, 0.5
    separator = Basis(gaussian, levels=1, steps_per_level=400, sigma_max=sigma, sigma_min=sigma,
                      delta=0.2 * sigma**2, gamma_ratio=ratio)
    x = last(separator, problem).double().cpu()
    mean, covariance = langevin_law(gaussian, problem.mixing, sigma, ratio * sigma**2,
                                    separator.delta)
    deviation = covariance.diagonal(dim1=-2, dim2=-1).movedim(-1, 0).sqrt()
    assert float(((x.mean(0) - mean).abs() / deviation).max()) < 5 / RUNS**0.5
    centred = (x - x.mean(0)).movedim(1, -1)
    measured = torch.einsum("nchwi,nchwj->chwij", centred, centred) / RUNS
    scale = torch.einsum("kchw,lchw->chwkl", deviation, deviation)
    assert float(((measured - covariance) / scale).abs().max()) < 6 / RUNS**0.5


def test_basis_with_small_steps_samples_the_posterior(gaussian, device):
    problem, sigma, ratio = repeated((1.0, 1.0), device), 0.3, 1.0
    separator = Basis(gaussian, levels=1, steps_per_level=800, sigma_max=sigma, sigma_min=sigma,
                      delta=0.04 * sigma**2, gamma_ratio=ratio)
    x = last(separator, problem).double().cpu()
    mean, covariance = langevin_law(gaussian, problem.mixing, sigma, ratio * sigma**2, 0.0)
    variance = covariance.diagonal(dim1=-2, dim2=-1).movedim(-1, 0)
    np.testing.assert_allclose((x.mean(0) - mean) / variance.sqrt(), 0, atol=0.05)
    # step size: 0.06; Monte Carlo: 4 x 0.016
    np.testing.assert_allclose(x.var(0) / variance, 1, atol=0.12)


def test_the_papers_sign_would_not_meet_the_mixture(gaussian, device):
    """The data force points at the mixture: it lowers the residual that it is computed from."""
    problem = Problem(MIXTURE.to(device)[None], Mixing((1.0, 1.0)))
    rng = torch.Generator(device).manual_seed(0)
    steps = list(Basis(gaussian, levels=2, steps_per_level=5).steps(problem, rng))
    for before, step in itertools.pairwise(steps):
        gap = problem.mixtures - problem.mixing.apply(before.sources)
        moved = problem.mixtures - problem.mixing.apply(before.sources + step.shown["data_force"])
        assert float(moved.square().sum()) < float(gap.square().sum())


@pytest.mark.parametrize(("preset", "count", "stable"), [
    ("paper", 2, True), ("paper", 4, True), ("paper", 8, True), ("paper", 10, False),
    ("program", 2, True), ("program", 3, False), ("program", 4, False),
])
def test_an_unstable_step_is_refused(gaussian, device, preset, count, stable):
    problem = Problem(MIXTURE.to(device)[None], Mixing.sum(count))
    separator = Basis(gaussian, steps_per_level=1, **Basis.presets[preset])
    run = separator.steps(problem, torch.Generator(device).manual_seed(0))
    if stable:
        next(run)
    else:
        with pytest.raises(SepvizError, match=r"delta .* diverges .* take delta below"):
            next(run)


def test_the_bound_is_where_it_diverges(gaussian, device):
    """Just below the bound the residual stays small; the same steps past it, unchecked, blow up."""
    class Unchecked(Basis):
        def check(self, problem):
            pass

    gaussian.deviation.fill_(0.01)  # curvature lambda -> 1: a prior as stiff as the bound assumes
    problem = Problem(MIXTURE.to(device)[None], Mixing.sum(3))
    limit = 2 / (1 + 3)
    for factor, stable in ((0.95, True), (1.05, False)):
        separator = Unchecked(gaussian, levels=1, steps_per_level=800, sigma_max=0.1, sigma_min=0.1,
                              delta=factor * limit * 0.01)
        assert (float(last(separator, problem).abs().max()) < 10) is stable


@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.5, 1.5, 1.0), (1.0,) * 10])
def test_split_gibbs_mean_is_the_posterior_mean(gaussian, device, weights):
    problem = repeated(weights, device)
    x = last(SplitGibbs(gaussian, levels=8, sweeps=30, cycles=1, sigma_max=1.0, sigma_min=0.2),
             problem)
    mean, _ = gaussian.posterior(problem.mixtures[:1], problem.mixing)
    error = (x.mean(0) - mean[0]).abs() / gaussian.deviation
    assert float(error.max()) < 5 / RUNS**0.5
    assert float((problem.mixtures - problem.mixing.apply(x)).abs().max()) < 1e-5


@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.5, 1.5, 1.0)])
def test_split_gibbs_with_drawn_prior_steps_samples_the_posterior(gaussian, device, weights):
    """The posterior's variances if the prior's step is a draw, known smaller ones if a mean."""
    problem, sigma = repeated(weights, device), 0.2
    gaussian.deviation.clamp_(max=0.3)
    mean, variance = gaussian.posterior(problem.mixtures[:1], problem.mixing)
    fixed = {"levels": 2, "cycles": 1, "sigma_max": sigma, "sigma_min": sigma, "sigma_average": 0}
    drawn = last(SplitGibbs(gaussian, sweeps=20, draws=150, **fixed), problem)
    ratio = (drawn.var(0) / variance[0]).cpu()  # a draw in n steps loses about 4/n of it
    assert float(ratio.mean()) == pytest.approx(1 - 4 / 150, abs=0.02)
    np.testing.assert_allclose(ratio, 1, atol=0.1)  # one pixel: 4 x 0.016 of Monte Carlo besides
    np.testing.assert_allclose(((drawn.mean(0) - mean[0]) / variance[0].sqrt()).cpu(), 0, atol=0.03)
    meant = last(SplitGibbs(gaussian, sweeps=40, **fixed), problem)
    v = gaussian.deviation.square()
    np.testing.assert_allclose((meant.var(0) / variance[0]).cpu(),
                               (v / (2 * v + sigma**2)).expand_as(variance[0]).cpu(), rtol=0.06)


def test_the_answer_is_the_mean_of_the_last_sweeps(gaussian, device):
    """By hand; nearer to the posterior's mean than one sweep; restarted when the noise rises."""
    problem = repeated((1.0, 0.5), device)
    separator = SplitGibbs(gaussian, levels=6, sweeps=4, cycles=1, sigma_max=1.0, sigma_min=0.1,
                           sigma_average=0.3)
    steps = list(separator.steps(problem, torch.Generator(device).manual_seed(0)))
    *_, before, answer = steps
    low = [step for step in steps if 0 < step.info["sigma"] <= 0.3 and step.index < answer.index]
    assert answer.info["averaged"] == len(low) == 12 and answer.stage == "mean of 12 sweeps"
    torch.testing.assert_close(answer.sources, torch.stack([step.sources for step in low]).mean(0))
    mean, _ = gaussian.posterior(problem.mixtures[:1], problem.mixing)
    errors = [float((step.sources - mean).square().mean()) for step in (answer, before)]
    assert errors[0] < 0.8 * errors[1]
    assert float((problem.mixtures - problem.mixing.apply(answer.sources)).abs().max()) < 1e-5
    hotter = SplitGibbs(gaussian, levels=6, sweeps=4, cycles=1, sigma_max=3.0, sigma_min=0.1,
                        sigma_average=0.12)
    *_, forked = hotter.steps(problem, torch.Generator(device).manual_seed(0), start=steps[18])
    assert steps[18].info["averaged"] == 6 and forked.info["averaged"] == 4


def test_every_cycle_of_every_chain_gives_an_answer(gaussian, device, monkeypatch):
    """By hand: each cycle averages its sweeps at low noise, and the likeliest mode is chosen."""
    problem = Problem(MIXTURE.to(device)[None].expand(3, -1, -1, -1), Mixing.sum(2))
    separator = SplitGibbs(gaussian, levels=3, sweeps=2, cycles=3, chains=2, sigma_max=2.0,
                           sigma_return=0.5, sigma_min=0.1,
                           sigma_average=0.3, same_mode=0.0)
    denoised, denoise = [], gaussian.denoise
    monkeypatch.setattr(gaussian, "denoise", lambda x,
                        sigma: denoised.append(x.shape[:-3].numel()) or denoise(x, sigma))
    *sweeps, final = list(separator.steps(problem, torch.Generator(device).manual_seed(0)))[1:]
    assert sum(denoised) == 3 * 2 * final.info["evaluations"], "for each source of each mixture"
    assert len(sweeps) == 18 and [step.info["sigma"]
                                  for step in sweeps[::6]] == pytest.approx([2.0, 0.5, 0.5])
    assert final.stage == "consensus of 6 answers" and final.info["evaluations"] == 18 * 2 + 6 * 8
    answers = torch.cat([torch.stack([step.state["chains"] for step in sweeps[first:first + 6]
                                      if step.info["sigma"] <= 0.3]).mean(0)
                         for first in (0, 6, 12)], dim=1)
    torch.testing.assert_close(final.state["answers"], answers)
    best = final.results["answer_loss"].argmin(dim=1)
    torch.testing.assert_close(final.sources, answers[torch.arange(3), best])
    assert float((problem.mixtures - problem.mixing.apply(final.sources)).abs().max()) < 1e-5


def test_the_consensus_takes_the_likeliest_chain_and_averages_its_mode(gaussian, device):
    separator = SplitGibbs(gaussian, chains=4, same_mode=0.05)
    good = gaussian.mean.expand(1, 2, *gaussian.mean.shape)
    near = good + 0.02 * torch.randn(good.shape, generator=torch.Generator(device).manual_seed(1),
                                     device=device)
    far = good + 3 * gaussian.deviation
    chains = torch.stack([far, near, good, far + 1], dim=1)
    chosen, loss = separator.consensus(chains, (1.0, 1.0), torch.Generator(device).manual_seed(0))
    assert int(loss.argmin()) in (1, 2)
    assert float(loss[0, 3]) > float(loss[0, 0]) > float(loss[0, 2])
    shares = (-math.log(6) * loss[0,
                                  1:3]).softmax(dim=0)  # the judges look at noise from 0.1 to 0.6
    assert float(shares.min()) > 0.01, "both count"
    torch.testing.assert_close(chosen, shares[0] * near + shares[1] * good)


@pytest.mark.parametrize(("weights", "exchanged"), [((1.0, 1.0), True), ((0.7, 0.3), False)])
def test_sources_of_other_weights_do_not_change_places_in_the_consensus(gaussian, device, weights,
                                                                        exchanged):
    separator = SplitGibbs(gaussian, chains=2, same_mode=0.5)
    apart = torch.linspace(0, 0.4, 2, device=device)[:, None, None, None]
    first = (gaussian.mean.clamp(0, 0.5) + apart)[None]
    answers = torch.stack([first, first.flip(1)], dim=1)
    chosen, loss = separator.consensus(answers, weights, torch.Generator(device).manual_seed(0))
    shares = (-math.log(6) * loss[0]).softmax(dim=0)
    assert 0.1 < float(shares[0]) < 0.9
    torch.testing.assert_close(chosen[0], answers[0, loss.argmin()]
                               if exchanged else torch.einsum("n,nkchw->kchw", shares, answers[0]))


def test_average_is_the_least_squares_share(device):
    problem = Problem(MIXTURE.to(device)[None], Mixing((1.0, 1.0)))
    torch.testing.assert_close(last(Average(), problem),
                               (MIXTURE.to(device) / 2)[None, None].expand(1, 2, *MIXTURE.shape))


@pytest.mark.parametrize(("method", "bad"), [
    (Basis, {"delta": float("nan")}), (Basis, {"sigma_max": -1.0}), (Basis, {"sigma_min": 1e-200}),
    (Basis, {"gamma_ratio": 0.0}),
    (SplitGibbs, {"levels": 0}), (SplitGibbs, {"sigma_max": float("inf")}),
    (SplitGibbs, {"sweeps": 10**12}),
    (SplitGibbs, {"sigma_max": 0.001}), (SplitGibbs, {"same_mode": -0.1}),
])
def test_parameters_that_no_run_can_use_are_refused_by_name(gaussian, device, method, bad):
    problem = Problem(MIXTURE.to(device)[None], Mixing.sum(2))
    with pytest.raises(SepvizError, match=next(iter(bad))) as error:
        next(method(gaussian, **bad).steps(problem, torch.Generator(device)))
    assert "\n" not in str(error.value)
