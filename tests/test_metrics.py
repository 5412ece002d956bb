import itertools

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from sepviz import metrics
from sepviz.core import SepvizError


def images(shape, seed):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_psnr_per_source_is_scikit_images_under_the_best_permutation():
    estimates, sources = images((3, 3, 1, 14, 12), 0) * 1.4 - 0.2, images((3, 3, 1, 14, 12), 1)
    got = metrics.psnr(estimates, sources)
    for item in range(3):
        best = max(np.mean([peak_signal_noise_ratio(sources[item, k].numpy(), estimates[item, order[k]].clamp(0, 1).numpy(), data_range=1)
                            for k in range(3)]) for order in itertools.permutations(range(3)))
        assert got[item] == pytest.approx(best, abs=1e-4)


def test_summed_mse_is_the_programs_convention():
    estimates, sources = images((4, 2, 1, 12, 12), 2), images((4, 2, 1, 12, 12), 3)
    got = metrics.psnr(estimates, sources, "summed_mse")
    for item in range(4):
        mse = [[float((sources[item, i] - estimates[item, j]).square().mean()) for j in range(2)] for i in range(2)]
        assert got[item] == pytest.approx(-10 * np.log10(min(mse[0][0] + mse[1][1], mse[0][1] + mse[1][0])), abs=1e-4)


def test_the_two_conventions_differ_by_3_db_for_equal_errors():
    sources = torch.full((1, 2, 1, 12, 12), 0.5)
    sources[:, 1] = 0.0
    estimates = sources + 0.1
    assert float(metrics.psnr(estimates, sources) - metrics.psnr(estimates, sources, "summed_mse")) == pytest.approx(3.0103, abs=1e-4)


@pytest.mark.parametrize("channels", [1, 3])
def test_ssim_is_scikit_images(channels):
    first, second = images((5, channels, 28, 20), 4), images((5, channels, 28, 20), 5)
    second = 0.6 * first + 0.4 * second
    want = [structural_similarity(a.numpy(), b.numpy(), gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
                                  data_range=1, channel_axis=0) for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(metrics.ssim_image(first, second).numpy(), want, atol=1e-6)


def test_estimates_are_reordered_to_the_truth():
    sources = images((2, 4, 1, 12, 12), 6)
    shuffled = sources[:, [2, 0, 3, 1]]
    assert torch.equal(metrics.reorder(shuffled, metrics.match(shuffled, sources)), sources)
    assert float(metrics.ssim(shuffled, sources).min()) == pytest.approx(1.0)


def test_pooled_is_one_mse_over_everything():
    sources = torch.zeros(2, 1, 1, 12, 12)
    estimates = sources.clone()
    estimates[0] += 0.1
    estimates[1] += 0.3
    assert metrics.pooled_psnr(estimates, sources) == pytest.approx(-10 * np.log10((0.01 + 0.09) / 2), abs=1e-4)


def test_estimates_are_clamped_first():
    sources = torch.ones(1, 1, 1, 12, 12)
    assert float(metrics.psnr(sources + 3, sources)) == pytest.approx(120, abs=0.1)


def test_summary_counts_and_bounds():
    estimates, sources = images((40, 2, 1, 12, 12), 7), images((40, 2, 1, 12, 12), 8)
    summary = metrics.summarize(estimates, sources)
    values = metrics.psnr(estimates, sources).numpy()
    assert summary.n == 40
    assert summary.interval == pytest.approx(1.96 * values.std(ddof=1) / np.sqrt(40), rel=1e-4)


def test_shapes_that_disagree_are_refused():
    with pytest.raises(SepvizError, match=r"\(1, 2, 1, 12, 12\).*\(1, 3, 1, 12, 12\)"):
        metrics.psnr(torch.zeros(1, 2, 1, 12, 12), torch.zeros(1, 3, 1, 12, 12))


def test_one_order_for_all_is_not_one_for_each():
    """A blind method that swaps the sources of some mixtures is not forgiven."""
    rng = torch.Generator().manual_seed(0)
    sources = torch.rand((10, 2, 1, 16, 16), generator=rng)
    estimates = (sources + 0.05 * torch.randn(sources.shape, generator=rng)).flip(1)
    whole = metrics.summarize(estimates, sources, order="set")
    assert whole.mean == pytest.approx(metrics.summarize(estimates, sources).mean, abs=1e-4)
    assert whole.ssim == pytest.approx(metrics.summarize(estimates, sources).ssim, abs=1e-4) and whole.n == 10
    estimates[:4] = estimates[:4].flip(1)
    assert metrics.summarize(estimates, sources).mean == pytest.approx(whole.mean, abs=1e-4)
    assert metrics.summarize(estimates, sources, order="set").mean < whole.mean - 5
