import functools
import itertools
import json
import re

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from sepviz import cli, files, metrics, tasks
from sepviz.core import NOTHING, ORDERS, SepvizError, Truth
from sepviz.separators import METHODS


def images(shape, seed):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def reference_psnr(estimate, source):
    return peak_signal_noise_ratio(source.numpy(), estimate.clamp(0, 1).numpy(), data_range=1)


reference_ssim = functools.partial(structural_similarity, gaussian_weights=True, sigma=1.5,
                                   use_sample_covariance=False, data_range=1)


def test_psnr_per_source_is_scikit_images_under_the_best_permutation():
    estimates, sources = images((3, 3, 1, 14, 12), 0) * 1.4 - 0.2, images((3, 3, 1, 14, 12), 1)
    got = metrics.psnr(estimates, sources)
    for item in range(3):
        best = max(np.mean(list(map(reference_psnr, estimates[item, list(order)], sources[item])))
                   for order in itertools.permutations(range(3)))
        assert got[item] == pytest.approx(best, abs=1e-4)


def test_summed_mse_is_the_programs_convention():
    estimates, sources = images((4, 2, 1, 12, 12), 2), images((4, 2, 1, 12, 12), 3)
    got = metrics.psnr(estimates, sources, "summed_mse")
    for item in range(4):
        sums = [float((sources[item] - some).square().mean(dim=(1, 2, 3)).sum())
                for some in (estimates[item], estimates[item].flip(0))]
        assert got[item] == pytest.approx(-10 * np.log10(min(sums)), abs=1e-4)


def test_the_two_conventions_differ_by_3_db_for_equal_errors():
    sources = torch.full((1, 2, 1, 12, 12), 0.5)
    sources[:, 1] = 0.0
    estimates = sources + 0.1
    apart = metrics.psnr(estimates, sources) - metrics.psnr(estimates, sources, "summed_mse")
    assert float(apart) == pytest.approx(3.0103, abs=1e-4)


@pytest.mark.parametrize("channels", [1, 3])
def test_ssim_is_scikit_images(channels):
    first, second = images((5, channels, 28, 20), 4), images((5, channels, 28, 20), 5)
    second = 0.6 * first + 0.4 * second
    want = [reference_ssim(a.numpy(), b.numpy(), channel_axis=0)
            for a, b in zip(first.double(), second.double(), strict=True)]
    np.testing.assert_allclose(metrics.ssim_image(first, second).numpy(), want, atol=1e-7)


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
    pooled = -10 * np.log10((0.01 + 0.09) / 2)
    assert metrics.pooled_psnr(estimates, sources) == pytest.approx(pooled, abs=1e-4)


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
    whole, each = (metrics.summarize(estimates, sources, order=order) for order in ("set", "each"))
    assert whole.mean == pytest.approx(each.mean, abs=1e-4)
    assert whole.ssim == pytest.approx(each.ssim, abs=1e-4) and whole.n == 10
    estimates[:4] = estimates[:4].flip(1)
    assert metrics.summarize(estimates, sources).mean == pytest.approx(whole.mean, abs=1e-4)
    assert metrics.summarize(estimates, sources, order="set").mean < whole.mean - 5


# --- who may change places ---


def unequal():
    """For weights .7 and .3: estimates of 22.91 dB, nearer to each other's source (25.8 dB)."""
    true = torch.zeros(2, 2, 1, 16, 16)
    true[:, 0], true[:, 1] = 0.5, 0.5 + 0.02
    errors = torch.tensor([10 ** (-value / 20) for value in (22.91, 22.91)])
    estimates = true + torch.stack([errors[0], -errors[1]])[:, None, None, None]
    return estimates, true


def test_sources_of_unequal_weights_keep_their_places():
    estimates, sources = unequal()
    swapped = float(metrics.psnr(estimates, sources)[0])
    assert swapped == pytest.approx(25.8, abs=0.1), "the example would gain by a swap"
    rules = {"weights": (0.7, 0.3)}
    own = np.mean(list(map(reference_psnr, estimates[0], sources[0])))
    assert own == pytest.approx(22.91, abs=1e-3)
    for convention, value in (("per_source", own), ("summed_mse", own - 10 * np.log10(2))):
        values = metrics.psnr(estimates, sources, convention, **rules).tolist()
        assert values == pytest.approx([value] * 2, abs=1e-3)
    found = metrics.summarize(estimates, sources, **rules)
    assert [found.mean, found.median, found.pooled] == pytest.approx([own] * 3, abs=1e-3)
    similar = metrics.ssim_image(estimates.flatten(0, 1), sources.flatten(0, 1)).mean()
    assert found.ssim == pytest.approx(float(similar), abs=1e-6)
    drawn = images((2, 2, 1, 12, 12), 9)
    for weights, order in (((0.7, 0.3), [0, 1]), ((0.5, 0.5), [1, 0])):
        aligned = metrics.align(drawn.flip(1), drawn, weights=weights)
        assert aligned.permutation.tolist() == [order] * 2
    with pytest.raises(SepvizError, match="3 weights for 2 sources"):
        metrics.psnr(estimates, sources, weights=(1, 1, 1))


def test_of_three_only_those_of_equal_weight_change_places():
    sources, rules = images((2, 3, 1, 12, 12), 9), {"weights": (1, 0.5, 1)}
    swapped = sources[:, [2, 1, 0]]
    assert metrics.match(swapped, sources, **rules).tolist() == [[2, 1, 0]] * 2
    assert metrics.match(sources[:, [1, 2, 0]], sources, **rules)[:, 1].tolist() == [1, 1]
    assert float(metrics.psnr(swapped, sources, **rules).min()) > 100


@pytest.mark.parametrize(("order", "right"), [("each", 10), ("set", 7), ("fixed", 3)])
def test_orders(order, right):
    """Seven of ten pairs are swapped: right in each one's order, in one for all, as they are."""
    sources = images((10, 2, 1, 12, 12), 10)
    estimates = sources.clone()
    estimates[:7] = sources[:7].flip(1)
    values = metrics.psnr(estimates, sources, order=order)
    assert int((values > 100).sum()) == right
    found = metrics.summarize(estimates, sources, order=order)
    assert found.mean == pytest.approx(float(values.mean())) and found.order == order
    apart = float((sources[:, 0] - sources[:, 1]).square().mean())
    whole = -10 * np.log10((10 - right) / 10 * apart + 1e-12)
    assert found.pooled == pytest.approx(whole, abs=0.5)
    with pytest.raises(SepvizError, match="order 'any': choose each, set, fixed"):
        metrics.psnr(estimates, sources, order="any")


def test_every_method_says_its_order():
    want = {"each": {"average", "basis", "cnn", "conv-nmf", "nmf", "split-gibbs", "synthesis"},
            "set": {"glo", "mask", "remix", "remix-tree", "rpca"},
            "fixed": {"adversarial-mask", "constant", "egg", "glo-masking", "ss-nmf", "supervised"}}
    assert want == {order: {name for name, method in METHODS.items() if method.order == order}
                    for order in ORDERS}


def test_values_that_are_no_numbers_are_refused():
    sources = images((3, 2, 1, 12, 12), 11)
    estimates = sources.clone()
    estimates[1, 0, 0, 3, 3] = torch.nan
    with pytest.raises(SepvizError, match="mixture 1: its estimates or sources hold nan"):
        metrics.psnr(estimates, sources)


# --- large images ---


def test_parts_give_what_the_whole_gives(monkeypatch):
    sources = images((5, 2, 3, 40, 33), 12)
    estimates = (0.7 * sources + 0.3 * images(sources.shape, 13)).flip(1)
    filters = images((5, 2, 5, 5), 14)
    whole = metrics.summarize(estimates, sources), metrics.align(estimates, sources, filters)
    monkeypatch.setattr(metrics.matching, "AT_ONCE", 1)
    parts = metrics.summarize(estimates, sources), metrics.align(estimates, sources, filters)
    assert parts[0][:-2] == pytest.approx(whole[0][:-2], abs=1e-9)
    for one, other in zip(parts[1], whole[1], strict=True):
        assert torch.equal(one, other)


def test_align_finds_shift_gain_and_order():
    sources = images((2, 2, 1, 20, 20), 15)
    sources[..., :4, :] = sources[..., -4:, :] = sources[..., :4] = sources[..., -4:] = 0
    moved = torch.stack([metrics.shift(sources[:, 1], 2, -1) / 2,
                         metrics.shift(sources[:, 0], -1, 1) / 4], dim=1)
    filters = torch.zeros(2, 2, 5, 5)
    filters[:, :, 2, 2] = 1
    found = metrics.align(moved, sources, filters)
    assert found.permutation.tolist() == [[1, 0]] * 2
    assert found.shifts.tolist() == [[[1, -1], [-2, 1]]] * 2
    assert found.gains.flatten().tolist() == pytest.approx([4, 2] * 2)
    assert torch.allclose(found.sources, sources, atol=1e-6)
    assert float(found.filters[0, 0, 1, 3]) == 0.25 and float(found.filters[0, 1, 4, 1]) == 0.5


def test_memory_is_bounded():
    """SSIM by a convolution of doubles took a gigabyte for each of five maps."""
    import resource

    one = images((1, 1, 1024, 1024), 16)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    value = float(metrics.ssim_image(one, 0.9 * one))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kB
    want = reference_ssim(one[0, 0].numpy(), 0.9 * one[0, 0].numpy())
    assert value == pytest.approx(want, abs=1e-5)


@pytest.mark.parametrize(("down", "right"), [(0, 0), (1, -2), (-3, 0), (0, 2), (9, -9), (-5, 7)])
def test_a_shift_brings_in_zeros(down, right):
    image, want = images((2, 5, 7), 21), torch.zeros(2, 5, 7)
    for row, column in itertools.product(range(5), range(7)):
        if 0 <= row - down < 5 and 0 <= column - right < 7:
            want[:, row, column] = image[:, row - down, column - right]
    assert torch.equal(metrics.shift(image, down, right), want)


# --- sepviz score ---


@pytest.fixture
def score(tmp_path, capsys):
    """Score estimates against a problem; the JSON, or the one line that refuses it."""
    def call(problem, truth, estimates, method="average", meta=None, results=NOTHING):
        files.save_problem(tmp_path / "problem.npz", problem, truth, meta, overwrite=True)
        files.save_separation(tmp_path / "out.npz", estimates, {"method": method}, results,
                              overwrite=True)
        words = ["score", str(tmp_path / "out.npz"), str(tmp_path / "problem.npz")]
        plain = cli.main(words)
        text = capsys.readouterr().out
        code = cli.main([*words, "--json"])
        told = capsys.readouterr()
        assert plain == code
        return {**json.loads(told.out), "text": text, "note": told.err} if code == 0 else told.err

    return call


def test_score_keeps_unequal_sources_in_their_places(score):
    estimates, sources = unequal()
    found = score(*tasks.mix(sources, (0.7, 0.3)), estimates)
    assert found["mean"] == pytest.approx(22.91, abs=2e-3) and found["note"] == ""
    assert score(*tasks.mix(sources, (0.5, 0.5)), estimates)["mean"] == pytest.approx(25.8, abs=0.1)


@pytest.mark.parametrize(("method", "order"), [
    ("split-gibbs", "each"), ("mask", "set"), ("remix", "set"), ("egg", "fixed"),
    ("something else", "each")])
def test_score_orders_as_the_method_does(score, method, order):
    sources = images((6, 2, 1, 12, 12), 17)
    estimates = sources.clone()
    estimates[:4] = sources[:4].flip(1)
    found = score(*tasks.mix(sources, (1.0, 1.0)), estimates, method)
    assert found["order"] == order and ORDERS[order] in found["text"]
    mean = float(metrics.psnr(estimates, sources, order=order).mean())
    assert found["mean"] == pytest.approx(mean)


@pytest.mark.parametrize(("change", "words"), [
    (lambda x: x * 255, "estimates from 0 to 255.*: divide them by 255"),
    (lambda x: 2 * x - 1, r"estimates from -1 to 1.*: take \(x \+ 1\) / 2"),
    (lambda x: 4 * x, "estimates from 0 to 4.*: bring them to"),
])
@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.5, 0.5), (0.7, 0.3), (1.0, -1.0)])
def test_score_refuses_results_of_another_scale(score, change, words, weights):
    sources = images((4, 2, 1, 12, 12), 18).round()
    problem, truth = tasks.mix(sources, weights)
    refused = score(problem, truth, change(sources))
    assert re.search(words, refused) and refused.count("\n") == 1
    fair = problem.mixing.condition(torch.zeros_like(sources), problem.mixtures)
    assert score(problem, truth, fair)["n"] == 4


def test_score_takes_what_methods_overshoot(score):
    """Robust PCA goes below 0, `nmf` far above 1 where nothing is visible; both fit the mixture."""
    problem, truth = tasks.separate("strokes", count=3)
    (*_, step) = METHODS["rpca"]().steps(problem, torch.Generator())
    assert float(step.sources.min()) < -0.5
    assert score(problem, truth, step.sources, "rpca")["n"] == 3
    problem, truth = tasks.complete("strokes", count=3)
    far = torch.where(problem.mixing.visible, truth.sources, 50.0)
    assert score(problem, truth, far, "nmf", {"task": "complete"})["n"] == 3
    bright = 0.8 + 0.2 * images((3, 1, 1, 28, 28), 20).round() - torch.eye(28) * 0.8
    refused = score(*tasks.mix(bright, (1.0,)), 2 * bright - 1)
    assert "take (x + 1) / 2" in refused


@pytest.mark.parametrize(("change", "words"), [
    (lambda x: x * 255, "true sources from 0 to 255.*divide them by 255"),
    (lambda x: 2 * x - 1, "true sources from -1 to 1.*take"),
    (lambda x: x / 2, "true sources of mixture .* miss it by RMS"),
    (lambda x: x.roll(1, dims=0), "true sources of mixture .* miss it by RMS"),
    (lambda x: x.flip(1), "true sources of mixture .* miss it by RMS"),
])
def test_score_refuses_truths_that_are_none(score, change, words):
    sources = images((4, 2, 1, 12, 12), 19).round()
    problem, truth = tasks.mix(sources, (0.7, 0.3))
    refused = score(problem, Truth(change(sources)), sources)
    assert re.search(words, refused) and refused.count("\n") == 1
    assert score(problem, truth, sources)["mean"] > 100


@pytest.mark.parametrize("task", list(tasks.TASKS))
def test_score_takes_every_task(score, task):
    problem, truth = tasks.TASKS[task]("strokes", count=3)
    found = score(problem, truth, truth.sources, meta={"task": task},
                  results={} if truth.filters is None else {"filters": truth.filters})
    assert found["mean"] > 100 and found["note"] == ""


def test_score_says_where_a_little_noise_was_added(score):
    problem, truth = tasks.separate("strokes", count=3)
    noisy = problem._replace(mixtures=tasks.with_noise(problem.mixtures, 0.05, torch.Generator()))
    assert "right only if noise was added" in score(noisy, truth, truth.sources)["note"]
    wrong = truth._replace(sources=truth.sources.roll(1, dims=0))
    refused = score(problem, wrong, truth.sources, meta={"task": "denoise"})
    assert "more than denoise adds" in refused


def test_whole_numbers_are_no_pixels():
    whole = torch.randint(0, 255, (1, 2, 1, 12, 12), dtype=torch.uint8)
    with pytest.raises(SepvizError, match=r"torch.uint8: want floats in \[0, 1\]"):
        metrics.psnr(whole, whole.float() / 255)
