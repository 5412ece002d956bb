"""Synthesis: true convolution, the filters' closed form, the descent, the choice of a start."""

import collections
import itertools
import math

import pytest
import torch

from sepviz import metrics, tasks
from sepviz.core import Problem, SepvizError
from sepviz.core.mixing import Mixing, convolve, shifted_copies
from sepviz.separators import Average, Synthesis
from sepviz.separators.choice import nearest_sums
from sepviz.separators.likelihood import remix_error, solve_filters, typical_filter
from sepviz.tasks.filters import paper_kernels, smooth_kernels

SHAPE = (1, 8, 8)


class Linear:
    """``G(z) = W z``: the descent's minimum is known."""

    image_shape, latent_size = SHAPE, 4

    def __init__(self, device="cpu"):
        self.weight = torch.rand((4, 64), generator=torch.Generator().manual_seed(0)).to(device) / 4

    def decode(self, z):
        return (z @ self.weight).reshape(*z.shape[:-1], *SHAPE)


def rng_of(device, seed=0):
    return torch.Generator(device).manual_seed(seed)


def last(separator, problem, seed=0):
    return collections.deque(separator.steps(problem, rng_of(problem.mixtures.device, seed)),
                             maxlen=1)[0]


def test_convolution_is_scipys(device):
    """With a filter that is not its own mirror image, so that correlation would fail."""
    from scipy.signal import convolve2d

    rng = rng_of("cpu")
    images, filters = torch.rand((2, 3, 2, 8, 9), generator=rng), torch.randn((2, 3, 5, 3),
                                                                              generator=rng)
    ours = convolve(images.to(device), filters.to(device)).cpu()
    for b, k, c in [(0, 0, 0), (1, 2, 1)]:
        theirs = convolve2d(images[b, k, c], filters[b, k], mode="same")
        torch.testing.assert_close(ours[b, k, c], torch.from_numpy(theirs), rtol=1e-5, atol=1e-5)


def test_one_tap_right_of_the_centre_moves_the_image_to_the_right(device):
    image = torch.zeros((1, 1, 1, 5, 5), device=device)
    image[..., 2, 2] = 1
    tap = torch.zeros((1, 1, 3, 3), device=device)
    tap[..., 1, 2] = 1
    assert convolve(image, tap)[0, 0, 0, 2, 3] == 1


def test_shifted_copies_weighed_by_the_taps_are_the_convolution(device):
    images = torch.rand((4, 2, 3, 8, 8), generator=rng_of(device), device=device)
    filters = torch.randn((4, 2, 5, 5), generator=rng_of(device), device=device)
    by_copies = torch.einsum("nktp,nkt->nkp", shifted_copies(images, 5),
                             filters.flatten(2)).view_as(images)
    torch.testing.assert_close(by_copies, convolve(images, filters), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("seen", [None, torch.arange(64).reshape(8, 8) % 3 > 0])
def test_filters_are_the_dense_least_squares(seen, device):
    """numpy's lstsq on the stacked system [A / sqrt n; sqrt p I] f = [m / sqrt n; sqrt p f_0]."""
    import numpy as np

    usual = typical_filter(3).flatten().repeat(2).double()

    rng, penalty = rng_of("cpu"), 0.01
    images, mixing = torch.rand((2, 3, 2, *SHAPE), generator=rng), Mixing((1.0, 0.5), 3, seen)
    mixtures = torch.rand((2, *SHAPE), generator=rng)
    copies = shifted_copies(images.flatten(0, 1), 3).unflatten(0, (2, 3))
    ours = solve_filters(copies.to(device), mixtures.to(device), mixing, penalty).cpu()
    pixels = torch.ones(64, dtype=torch.bool) if seen is None else seen.flatten()
    for b in range(2):
        for s in range(3):
            design = torch.cat([1.0 * copies[b, s, 0], 0.5 * copies[b, s, 1]])[:, pixels].double().T
            n = len(design)
            stacked = np.vstack([design / n**0.5, penalty**0.5 * np.eye(18)])
            target = np.concatenate([mixtures[b].flatten()[pixels].double() / n**0.5,
                                     penalty**0.5 * usual])
            want = np.linalg.lstsq(stacked, target, rcond=None)[0]
            np.testing.assert_allclose(ours[b, s].flatten(), want, rtol=1e-3, atol=1e-4)


def test_the_error_is_that_of_the_remix_where_it_is_seen(device):
    rng, seen = rng_of(device), tasks.top_half(8, 8)
    images, filters = (torch.rand(shape, generator=rng, device=device)
                       for shape in ((2, 3, 2, *SHAPE), (2, 3, 2, 5, 5)))
    mixtures, mixing = torch.rand((2, *SHAPE), generator=rng, device=device), Mixing((1.0, 2.0), 5,
                                                                                     seen)
    copies = shifted_copies(images.flatten(0, 1), 5).unflatten(0, (2, 3))
    error = remix_error(images, copies, filters.flatten(3), mixtures, mixing)
    left = [(mixtures - mixing.apply(images[:, s], filters[:, s]))[..., :4, :] for s in range(3)]
    by_hand = torch.stack([seen_part.square().mean((1, 2, 3)) for seen_part in left], dim=1)
    torch.testing.assert_close(error, by_hand, rtol=1e-4, atol=1e-6)


def test_the_descent_finds_the_minimum(device):
    """A linear generator without penalties: the remix becomes the mixture's projection."""
    prior = Linear(device)
    mixtures = torch.rand((3, *SHAPE), generator=rng_of(device, 3), device=device)
    separator = Synthesis(prior, starts=3, start_iterations=100, refine_iterations=1500,
                          latent_penalty=0.0, outlier=0.0)
    step = last(separator, Problem(mixtures, Mixing.sum(2)))
    basis = torch.linalg.qr(prior.weight.T)[0]
    best = mixtures.flatten(1) @ basis @ basis.T
    torch.testing.assert_close(step.sources.sum(1).flatten(1), best, rtol=0, atol=1e-3)
    left = float((mixtures.flatten(1) - best).square().mean().sqrt())
    assert step.info["residual"] == pytest.approx(left, rel=1e-3)


@pytest.mark.parametrize("update", ["ridge", "gradient"])
def test_an_unknown_filter_is_found(update, device):
    """Made by the model itself, so that the remix can be exact."""
    prior = Linear(device)
    z = torch.randn((2, 1, 4), generator=rng_of(device, 1), device=device)
    filters = smooth_kernels(2, 3, rng_of("cpu"))[:, None].to(device)
    truth, mixing = prior.decode(z), Mixing((1.0,), 3)
    problem = Problem(mixing.apply(truth, filters), mixing)
    step = last(Synthesis(prior, starts=4, start_iterations=100, refine_iterations=1500,
                          learning_rate=0.1,
                          latent_penalty=0.0, filter_penalty=0.0, filter_update=update), problem)
    assert step.results["filters"].shape == (2, 1, 3, 3)
    assert step.info["residual"] < 0.02 * float(problem.mixtures.std())


def test_the_chosen_start_is_the_best_on_what_is_seen(device):
    """Pixels that are not seen may hold anything: it changes nothing."""
    sources = torch.rand((2, 1, *SHAPE), generator=rng_of(device), device=device)
    problem = tasks.hide(tasks.mix(sources)[0], tasks.top_half(8, 8))
    other = problem._replace(mixtures=torch.where(problem.mixing.visible.to(device),
                                                  problem.mixtures, 0.9))
    separator = Synthesis(Linear(device), starts=6, start_iterations=5, refine_iterations=5)
    first, second = last(separator, problem), last(separator, other)
    torch.testing.assert_close(first.sources, second.sources)
    begun = [step for step in separator.steps(problem, rng_of(device))
             if step.info["alive"] == 6][-1]
    kept = next(step for step in separator.steps(problem, rng_of(device)) if step.info["alive"] < 6)
    assert torch.equal(kept.state["alive"][:, 0], begun.results["start_error"].argmin(dim=1))


def test_the_nearest_sums_are_those_of_a_search_through_all(device):
    """Two sources: every pair compared by hand. Three: sums that are there exactly are found."""
    rng = rng_of(device)
    images, mixtures = torch.rand((12, 30), generator=rng,
                                  device=device), 1.5 * torch.rand((4, 30), generator=rng,
                                                                   device=device)
    for weights in ((1.0, 1.0), (1.0, 0.5)):
        found = nearest_sums(images, mixtures, weights, 3)
        sums = weights[0] * images[:, None] + weights[1] * images
        best = (mixtures[:, None, None] - sums).square().sum(3).flatten(1).amin(1)
        nearest = weights[0] * images[found[:, 0, 0]] + weights[1] * images[found[:, 0, 1]]
        chosen = (nearest - mixtures).square().sum(1)
        torch.testing.assert_close(chosen, best, rtol=1e-4, atol=1e-5)
        for one in found.tolist():
            assert len({tuple(sorted(pair)) if weights[0] == weights[1] else tuple(pair)
                        for pair in one}) == 3
    mixture = (images[2] + images[5] + images[9])[None]
    assert sorted(nearest_sums(images, mixture, (1.0, 1.0, 1.0), 2)[0, 0].tolist()) == [2, 5, 9]


def test_a_bank_starts_nearer_than_chance(device):
    problem = tasks.mix(torch.rand((4, 2, *SHAPE), generator=rng_of(device), device=device))[0]
    errors = {bank: next(iter(Synthesis(Linear(device), starts=4,
                                        bank=bank).steps(problem,
                                                         rng_of(device)))).results["start_error"]
              for bank in (0, 500)}
    worst, best = errors[500].amax(dim=1), errors[0].amin(dim=1)
    assert bool((worst < best).all()), "the worst chosen start beats the best drawn one"


def test_a_line_over_the_image_does_not_draw_the_answer(device):
    """With squares, the bright line pulls; with the outlier scale the image under it comes back."""
    prior = Linear(device)
    truth = prior.decode(torch.rand((3, 1, 4), generator=rng_of(device), device=device))
    lined = truth[:, 0].clone()
    lined[..., 3, :] += 1.0
    far = {outlier: float((last(Synthesis(prior, refine_iterations=600, outlier=outlier),
                                Problem(lined, Mixing.sum(1))).sources
                           - truth).square().mean()) for outlier in (0.0, 0.3)}
    assert far[0.3] < 0.1 * far[0.0]


@pytest.mark.parametrize("update", ["ridge", "gradient"])
def test_a_run_through_filters_goes_on_from_any_step(update, device):
    problem = Problem(torch.rand((2, *SHAPE), generator=rng_of(device, 4), device=device),
                      Mixing((1.0, 1.0), 3))
    separator = Synthesis(Linear(device), starts=4, start_iterations=3, keep=0.5,
                          refine_iterations=3, filter_update=update)
    whole = list(separator.steps(problem, rng_of(device)))
    assert not list(separator.steps(problem, rng_of(device),
                                    start=whole[-1])), "the answer is the last"
    for at in (0, 2, 3, 5, 6):
        rest = list(separator.steps(problem, rng_of(device), start=whole[at]))
        assert [step.index for step in rest] == [step.index for step in whole[at + 1:]]
        torch.testing.assert_close(rest[-1].sources, whole[-1].sources)
        torch.testing.assert_close(rest[-1].results["filters"], whole[-1].results["filters"])


@pytest.mark.parametrize("size", [None, 3])
def test_the_answer_is_the_mean_of_the_finalists(size, device):
    """By hand: in the order of the best one's sources, weighted by error."""
    problem = Problem(torch.rand((5, *SHAPE), generator=rng_of(device, 4), device=device),
                      Mixing((1.0, 1.0), size))
    separator = Synthesis(Linear(device), starts=4, bank=0, start_iterations=3, refine_iterations=3,
                          learning_rate=0.01)
    *_, before, answer = separator.steps(problem, rng_of(device))
    images = separator.prior.decode(before.state["latents"])
    errors = before.results["start_error"].gather(1, before.state["alive"])
    turned, shares = 0, []
    for item in range(5):
        best, other = errors[item].argsort()
        straight, swapped = images[item, other], images[item, other].flip(0)
        apart = [((one - images[item, best]) ** 2).mean(dim=(1, 2, 3)).log().sum()
                 for one in (straight, swapped)]  # of both, in dB
        swap = bool(apart[1] < apart[0])
        turned += swap
        ratio = float(errors[item, other] / errors[item, best])
        shares.append(share := 1 / (1 + math.exp(-6 * (ratio - 1))))
        want = share * images[item, best] + (1 - share) * (swapped if swap else straight)
        torch.testing.assert_close(answer.sources[item], want, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(before.sources[item], images[item, best])
    assert answer.info["averaged"] == 2 and max(shares) > 0.6, "the better one counts more"
    if size:
        copies = shifted_copies(answer.sources, size)[:, None]
        want = solve_filters(copies, problem.mixtures, problem.mixing,
                             separator.filter_penalty)[:, 0].unflatten(2, (size, size))
        torch.testing.assert_close(answer.results["filters"], want)
        assert answer.info["residual"] == pytest.approx(problem.residual(answer.sources, want),
                                                        rel=1e-5)
    else:
        assert 0 < turned < 5, "some are turned round, some are not"


@pytest.mark.parametrize("weights", [(1.0, -1.0), (1.0, 0.5, 0.5)])
def test_sources_of_other_weights_do_not_change_places_in_the_mean(weights, device):
    """The mean of finalists explains the mixture only if sources of other weights stay put."""
    problem = Problem(torch.rand((20, *SHAPE), generator=rng_of(device, 4), device=device),
                      Mixing(weights))
    *_, before, answer = Synthesis(Linear(device), starts=4,
                                   refine_iterations=60).steps(problem, rng_of(device))
    images = Linear(device).decode(before.state["latents"])
    errors = before.results["start_error"].gather(1, before.state["alive"])
    shares = ((1 - errors / errors.amin(dim=1, keepdim=True)) * 6).softmax(dim=1)
    first = (shares[:, :, None, None, None] * images[:, :, 0]).sum(dim=1)
    torch.testing.assert_close(answer.sources[:, 0], first, rtol=1e-4, atol=1e-5)


def test_a_run_takes_up_new_parameters_on_the_way(device):
    """Fewer iterations before the fork: the step is not 0. More after the answer: it goes on."""
    problem = tasks.mix(torch.rand((2, 2, *SHAPE), generator=rng_of(device), device=device))[0]
    long = list(Synthesis(Linear(device), starts=4, start_iterations=60,
                          refine_iterations=40).steps(problem, rng_of(device)))
    short = Synthesis(Linear(device), starts=4, start_iterations=5, refine_iterations=40)
    rest = list(short.steps(problem, rng_of(device), start=long[50]))
    moved = [not torch.equal(one.state["latents"], other.state["latents"]) for one,
             other in itertools.pairwise(rest[:-1])
             if one.state["latents"].shape == other.state["latents"].shape]
    assert len(moved) > 30 and all(moved)
    longer = Synthesis(Linear(device), starts=4, start_iterations=60, refine_iterations=45)
    more = list(longer.steps(problem, rng_of(device), start=long[-1]))
    assert [step.stage for step in more] == 5 * ["refine"] + ["mean of 2 starts"]


@pytest.mark.parametrize("wrong", [{"finalists": 0}, {"finalists": -1}])
def test_no_finalists_are_refused(wrong, device):
    problem = tasks.mix(torch.rand((1, 2, *SHAPE), device=device))[0]
    with pytest.raises(SepvizError, match="finalists"):
        Synthesis(Linear(device), **wrong).total_steps(problem)


def test_the_steps_count_the_work(device):
    problem = tasks.mix(torch.rand((1, 2, *SHAPE), device=device))[0]
    separator = Synthesis(Linear(device), starts=32, bank=100, start_iterations=4,
                          refine_iterations=3)
    steps = list(separator.steps(problem, rng_of(device)))
    # 32, 8, the two finalists, their mean
    assert len(steps) == separator.total_steps(problem) + 1 == 4 + 4 + 3 + 1 + 1
    evaluations = 100 / 2 + 4 * 32 + 4 * 8 + 3 * 2  # the bank is shared by both sources
    assert steps[-1].info["evaluations"] == evaluations
    assert [steps[i].info["alive"] for i in (4, 5, 9, 12)] == [32, 8, 2, 2]
    alone = Synthesis(Linear(device), starts=32, bank=100, start_iterations=4, finalists=1,
                      refine_iterations=3)
    alive = [step.info["alive"] for step in alone.steps(problem, rng_of(device))]
    assert alive == 5 * [32] + 4 * [8] + 4 * [2] + 3 * [1]
    literal = Synthesis(Linear(device), starts=8, **Synthesis.presets["program"])
    assert literal.total_steps(problem) == 201 + 5001


@pytest.mark.parametrize("size", [None, 3])
def test_fewer_starts_would_have_chosen_among_fewer(size, device):
    problem = Problem(torch.rand((3, *SHAPE), generator=rng_of(device), device=device),
                      Mixing((1.0, 1.0), size))
    separator = Synthesis(Linear(device), starts=6, bank=0, start_iterations=4, keep=0.0,
                          refine_iterations=2)
    steps = list(separator.steps(problem, rng_of(device)))
    step = steps[3]
    choices = separator.by_number_of_starts(step, problem)
    assert [choice.index for choice in choices] == [1, 2, 3, 4, 5, 6]
    torch.testing.assert_close(choices[-1].sources, step.sources)
    errors = step.results["start_error"]
    for count in (1, 4):
        best = errors[:, :count].argmin(dim=1)
        want = separator.prior.decode(step.state["latents"][torch.arange(3, device=device), best])
        torch.testing.assert_close(choices[count - 1].sources, want)
    if size:
        torch.testing.assert_close(choices[-1].results["filters"], step.results["filters"])
    with pytest.raises(SepvizError, match="2 of 6 starts left"):
        separator.by_number_of_starts(steps[-1], problem)


@pytest.mark.parametrize(("mixing", "words"), [
    (Mixing((1.0,), 11), "filter size 11"),
    (Mixing((1.0,), None, torch.ones(3, 3, dtype=torch.bool)), r"visible of shape \(3, 3\)"),
])
def test_bad_filters_and_masks_are_refused(mixing, words, device):
    with pytest.raises(SepvizError, match=words) as error:
        next(Synthesis(Linear(device)).steps(Problem(torch.rand((1, *SHAPE), device=device),
                                                     mixing), rng_of(device)))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("size", [0, 4, -3])
def test_even_filters_are_refused(size):
    with pytest.raises(SepvizError, match=f"filter size {size}"):
        Mixing((1.0,), size)


def test_methods_that_know_no_filters_say_so(device):
    for mixing in (Mixing((1.0,), 5), Mixing((1.0,), None, tasks.top_half(8, 8))):
        with pytest.raises(SepvizError, match="synthesis"):
            next(Average().steps(Problem(torch.rand((1, *SHAPE), device=device), mixing),
                                 rng_of(device)))


def test_the_papers_kernels():
    kernels = paper_kernels()
    assert kernels.shape == (9, 5, 5)
    torch.testing.assert_close(kernels, kernels.flip(1, 2))
    torch.testing.assert_close(kernels.sum((1, 2)), torch.tensor([1.0] * 6 + [13 / 15] * 2 + [1.0]))
    assert [int((kernel > 0).sum()) for kernel in kernels] == [5, 5, 5, 5, 15, 15, 13, 13, 25]


def test_tasks_of_the_paper():
    for name, task in tasks.TASKS.items():
        problem, truth = task("strokes", count=3, seed=2)
        again, _ = task("strokes", count=3, seed=2)
        assert torch.equal(problem.mixtures, again.mixtures), name
        assert problem.mixtures.shape == (3, 1, 28, 28)
        assert truth.sources.shape[1] == (2 if "separate" in name else 1)
    problem, truth = tasks.separate("strokes", count=3, kernels="paper")
    torch.testing.assert_close(problem.mixtures, problem.mixing.apply(truth.sources, truth.filters))
    assert problem.mixing.filter_size == 5 and truth.filters.shape == (3, 2, 5, 5)
    problem, truth = tasks.denoise("strokes", count=3)
    noise = problem.mixtures - truth.sources[:, 0]
    assert float(noise.abs().max()) <= 0.31 and float(noise.std()) == pytest.approx(0.31 / 3**0.5,
                                                                                    rel=0.05)
    problem, truth = tasks.inpaint("strokes", count=3)
    lines = problem.mixtures - truth.sources[:, 0]
    torch.testing.assert_close(lines.sum((1, 2, 3)),
                               torch.full((3,), 84.0))  # three lines of 28 pixels
    problem, truth = tasks.complete("strokes", count=3)
    assert torch.equal(problem.mixtures[..., :14, :],
                       truth.sources[:, 0, :, :14]) and not bool(problem.mixtures[..., 14:,
                                                                                  :].any())


def test_alignment_undoes_order_shift_and_gain(device):
    """The filters go the other way, so that the remix stays the same."""
    rng = rng_of(device)
    truth = torch.zeros((2, 2, 1, 12, 12), device=device)
    truth[..., 3:9, 3:9] = torch.rand((2, 2, 1, 6, 6), generator=rng, device=device)
    filters = torch.zeros((2, 2, 5, 5), device=device)
    filters[..., 1:4, 1:4] = torch.rand((2, 2, 3, 3), generator=rng, device=device)
    estimates = torch.stack([0.5 * metrics.shift(truth[:, 1], 1, -1),
                             0.8 * metrics.shift(truth[:, 0], 0, 1)], dim=1)
    theirs = torch.stack([2 * metrics.shift(filters[:, 1], -1, 1),
                          1.25 * metrics.shift(filters[:, 0], 0, -1)], dim=1)
    remix = Mixing.sum(2).apply(truth, filters)
    torch.testing.assert_close(Mixing.sum(2).apply(estimates, theirs), remix)
    found = metrics.align(estimates, truth, theirs)
    torch.testing.assert_close(found.sources, truth, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.filters, filters, rtol=1e-4, atol=1e-5)
    assert found.permutation.tolist() == [[1, 0]] * 2 and found.shifts.tolist() == [[[0, -1],
                                                                                     [-1, 1]]] * 2
    torch.testing.assert_close(found.gains, torch.tensor([[1.25, 2.0]] * 2, device=device))
    torch.testing.assert_close(metrics.filter_correlation(found.filters, filters),
                               torch.ones(2, 2, device=device))


def test_alignment_never_does_worse_than_the_permutation_alone(device):
    estimates, truth = (torch.rand((4, 2, 1, 12, 12), generator=rng_of(device, seed),
                                   device=device) for seed in (1, 2))
    found = metrics.align(estimates, truth)
    assert bool((metrics.psnr(found.sources, truth,
                              "summed_mse") >= metrics.psnr(estimates, truth, "summed_mse")).all())
