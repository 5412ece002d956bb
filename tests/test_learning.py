"""Learning from mixtures: what a method may see, training that survives, new mixtures."""

import errno
import itertools
import os

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Generator

from sepviz import separators, tasks, zoo
from sepviz.core import Examples, Mixing, Problem, SepvizError, parameters_of
from sepviz.priors import MaskNetwork
from sepviz.runs.recipe import State, restore, separator_of
from sepviz.separators import (
    AdversarialMask,
    Constant,
    Egg,
    GloMasking,
    Mask,
    Remix,
    Rpca,
    SsNmf,
    Supervised,
    learning,
)
from sepviz.separators.latents import BallLatents, into_ball
from sepviz.separators.remix import unevenness
from sepviz.separators.ss_nmf import unit, update_activations, update_last
from sepviz.training import checkpoint, masks
from sepviz.widgets import LiveRun


@pytest.fixture(scope="module")
def setting():
    """x is a bright left half, b a bright right half, each with a pattern of its own."""
    rng = Generator().manual_seed(0)
    x, b = torch.zeros(40, 1, 32, 32), torch.zeros(40, 1, 32, 32)
    x[..., 4:28, 4:14] = 0.2 + 0.8 * torch.rand((40, 1, 24, 10), generator=rng)
    b[..., 4:28, 18:28] = 0.2 + 0.8 * torch.rand((40, 1, 24, 10), generator=rng)
    problem = Problem((x + b)[:4], Mixing.sum(2), Examples((x + b)[4:24], b[24:]))
    return problem, torch.stack([x, b], dim=1)[:4]


def last(separator, problem, seed=0):
    return list(separator.steps(problem, Generator().manual_seed(seed)))[-1]


def last_of_fork(separator, problem, start):
    return list(separator.steps(problem, Generator().manual_seed(0), start=start))[-1]


class TestUnmix:
    def test_is_a_sum_of_the_two_sets_in_32x32(self):
        problem, truth = tasks.unmix("strokes:0-4", "strokes:5-9", count=3, training=20)
        assert problem.mixtures.shape == (3, 1, 32, 32) and truth.sources.shape == (3, 2, 1, 32, 32)
        assert torch.equal(problem.mixtures, truth.sources.sum(dim=1))
        assert float(truth.sources[..., :2, :].abs().max()) == 0

    def test_shows_a_method_what_it_may_see_and_no_more(self):
        seen = {sees: tasks.unmix(count=1, training=12, sees=sees)[0].examples
                for sees in tasks.SEES}
        assert seen["mixtures"].observed is None and seen["mixtures"].unobserved is None
        assert len(seen["observed"].observed) == 12 and seen["observed"].unobserved is None
        assert len(seen["all"].unobserved) == 12

    def test_no_observed_image_is_in_a_mixture(self):
        examples = tasks.unmix(count=1, training=15, sees="all")[0].examples
        mixed = (examples.mixtures - examples.unobserved).flatten(1)
        assert float(torch.cdist(mixed, examples.observed.flatten(1)).min()) > 1

    @pytest.mark.parametrize(("arguments", "message"), [
        ({"unseen": "strokes:0-x"}, "written like 0-4"),
        ({"sees": "everything"}, "choose one of mixtures"), ({"count": 0}, "at least 1"),
        ({"split": "train"}, "test or held-out"), ({"unseen": "strokes:11"}, "classes"),
        ({"unseen": "stroke:0-4"}, "strokes")])
    def test_bad_input(self, arguments, message):
        with pytest.raises(SepvizError, match=message):
            tasks.unmix(**{"training": 12, **arguments})


    def test_of_two_folders_of_inverted_colour_pictures(self, tmp_path):
        rng = np.random.default_rng(0)
        for name in ("shoes", "bags"):
            (tmp_path / name).mkdir()
            for number in range(8):
                picture = np.full((20, 30, 3), 255, np.uint8)
                picture[5:15, 8:22] = rng.integers(0, 100, (10, 14, 3))
                Image.fromarray(picture).save(tmp_path / name / f"{number}.png")
        problem, truth = tasks.unmix(str(tmp_path / "shoes"), str(tmp_path / "bags"), count=2,
                                     training=3, size=16, invert=True,
                                     split="held-out")
        assert problem.mixtures.shape == (2, 3, 16, 16) and len(problem.examples.observed) >= 2
        assert float(truth.sources[..., 0, 0].max()) < 0.1 and float(truth.sources.max()) > 0.5

    def test_two_sets_that_are_not_alike(self, tmp_path):
        for number in range(8):
            Image.fromarray(np.full((16, 16), number, np.uint8)).save(tmp_path / f"{number}.png")
        with pytest.raises(SepvizError, match="give a size"):
            tasks.unmix("strokes:0-4", str(tmp_path), count=1, training=3, split="held-out")


class TestExamples:
    @pytest.mark.parametrize("separator", [Egg(), AdversarialMask(), GloMasking(), SsNmf(), Remix(),
                                           Supervised()],
                             ids=lambda one: type(one).__name__)
    def test_without_any(self, separator, setting):
        with pytest.raises(SepvizError, match="no examples to learn from"):
            last(separator, setting[0]._replace(examples=None))

    @pytest.mark.parametrize(("separator", "sees"), [(Remix(), "observed"), (Egg(), "all")],
                             ids=["remix", "egg"])
    def test_more_than_the_method_may_see(self, separator, sees):
        with pytest.raises(SepvizError, match="must not see"):
            last(separator, tasks.unmix(count=1, training=12, sees=sees)[0])

    @pytest.mark.parametrize("change", [{"observed": None}, {"observed": torch.zeros(0, 1, 32, 32)},
                                        {"mixtures": torch.zeros(1, 1, 32, 32)}])
    def test_too_few(self, change, setting):
        problem = setting[0]
        with pytest.raises(SepvizError, match="want at least 2"):
            last(Egg(), problem._replace(examples=problem.examples._replace(**change)))

    @pytest.mark.parametrize("bad", [float("nan"), 255.0])
    def test_values_that_are_no_images(self, bad, setting):
        problem = setting[0]
        with pytest.raises(SepvizError):
            examples = problem.examples._replace(observed=torch.full((5, 1, 32, 32), bad))
            last(Egg(), problem._replace(examples=examples))

    def test_another_size(self, setting):
        problem = setting[0]
        with pytest.raises(SepvizError, match=r"\(1, 28, 28\)"):
            examples = problem.examples._replace(observed=torch.zeros(5, 1, 28, 28))
            last(Egg(), problem._replace(examples=examples))

    @pytest.mark.parametrize("weights", [(1.0,), (1.0, 0.5), (1.0, 1.0, 1.0)])
    def test_other_than_two_alike(self, weights, setting):
        problem = setting[0]._replace(mixing=Mixing(weights))
        for separator in (Egg(), Rpca(), Constant(), Mask(MaskNetwork())):
            with pytest.raises(SepvizError, match="two sources"):
                last(separator, problem)


@pytest.fixture
def one_thread():
    """Sums in one order: with so few images the way of a training hangs on their last digits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class TestEgg:
    def test_learns_to_keep_what_was_never_seen_alone(self, setting, one_thread):
        problem, truth = setting
        first, end = Constant(0.5), Egg(iterations=30, epochs=3, batch=4, learning_rate=4e-3)
        errors = [float((last(one, problem).sources - truth).abs().mean()) for one in (first, end)]
        assert errors[1] < 0.1 * errors[0]

    def test_ends_early_once_the_estimates_stand_still(self, setting):
        separator = Egg(iterations=5, batch=8, tolerance=0.09)
        steps = list(separator.steps(setting[0], Generator().manual_seed(0)))
        assert len(steps) < 6 and steps[-1].info["change"] < 0.09

    def test_a_small_share_collapses_slower_than_none(self, setting):
        """x = 0 is a fixed point: then b + x is b, and the mask that is learned is 1."""
        end = last(Egg(iterations=3, batch=8, share=0.01), setting[0])
        assert float(end.sources[:, 0].mean()) < float(last(Constant(0.5),
                                                            setting[0]).sources[:, 0].mean())

    def test_a_run_that_ended_early_stays_ended(self, setting):
        separator = Egg(iterations=5, batch=8, tolerance=0.09)
        step = last(separator, setting[0])
        assert not list(separator.steps(setting[0], Generator().manual_seed(0), start=step))

    @pytest.mark.parametrize(("text", "first"), [
        ("constant", None), ("glo-masking", GloMasking()),
        ("glo-masking+epochs=3+last_rate=0.2", GloMasking(epochs=3, last_rate=0.2))])
    def test_the_first_method_is_written_in_words(self, text, first):
        """A recipe, ``--set`` and stored parameters write it alike, and lead back to it."""
        separator = separator_of("egg", None, {"first": text}, None, torch.device("cpu"))
        assert separator == Egg(first=first) and parameters_of(separator)["first"] == text
        state = State("unmix", {"count": "1", "training": "4"}, "egg").of(separator)
        assert restore(str(state)).separator() == separator

    def test_a_live_run_sets_the_first_method_by_its_word(self, setting):
        live = LiveRun(Egg(first=SsNmf(rank=3)), setting[0])
        knob = next(one for one in live.controls if one["name"] == "first")
        assert knob["kind"] == "choice" and knob["value"] == "ss-nmf+rank=3"
        assert knob["value"] in knob["choices"]
        live.set(first="glo-masking")
        assert live.separator.first == GloMasking()
        live.set(first="constant")
        assert live.separator.first is None

    @pytest.mark.parametrize("text", ["glo", "glo-masking+epoch=3", "constant+share=0.3"])
    def test_a_first_method_that_there_is_not_is_refused(self, text):
        with pytest.raises(SepvizError, match=r"glo-masking|epochs|constant takes no parameters"):
            separator_of("egg", None, {"first": text}, None, torch.device("cpu"))

    @pytest.mark.parametrize("first", ["glo-masking", Rpca(), Supervised()], ids=str)
    def test_a_first_method_that_cannot_know_the_unseen_source_is_refused(self, first):
        with pytest.raises(SepvizError, match=r"such as GloMasking\(\)"):
            Egg(first=first)

    def test_mean_mixing_is_the_same_problem(self, setting):
        problem = setting[0]
        halves = Problem(problem.mixtures / 2, Mixing.mean(2),
                         problem.examples._replace(mixtures=problem.examples.mixtures / 2))
        one, other = (last(Egg(iterations=1, batch=8), each).sources for each in (problem, halves))
        torch.testing.assert_close(one, other)


class TestParts:
    def test_latents_stay_in_the_ball(self):
        held = BallLatents.draw((7, 2, 5), Generator().manual_seed(0))
        torch.testing.assert_close(held.latents.norm(dim=-1), torch.ones(7, 2))
        held.descend(torch.arange(7), torch.randn(7, 2, 5, generator=Generator().manual_seed(1)),
                     10.0, 1, learning.BETAS)
        assert float(held.latents.norm(dim=-1).max()) <= 1 + 1e-6
        assert torch.equal(into_ball(torch.full((1, 4), 0.1)), torch.full((1, 4), 0.1))

    def test_a_latent_outside_the_ball_is_refused(self, setting):
        separator = GloMasking(observed_epochs=2, epochs=2, batch=8, inference=1, width=4)
        steps = list(separator.steps(setting[0], Generator().manual_seed(0)))
        steps[1].state["latents"][0] *= 3
        with pytest.raises(SepvizError, match="unit ball"):
            next(separator.steps(setting[0], Generator().manual_seed(0), start=steps[1]))

    def test_energy_is_least_where_it_is_shared_evenly(self):
        y = torch.rand((6, 1, 4, 4), generator=Generator().manual_seed(0))
        for of in ("pixel", "image", "batch"):
            assert float(unevenness(y / 2, y / 2, of)) == pytest.approx(0.5)
            assert float(unevenness(y, 0 * y, of)) == pytest.approx(1)
        left = torch.zeros_like(y)
        left[..., :2] = 1
        even = torch.ones_like(y)
        assert float(unevenness(even * left, even * (1 - left), "image")) == pytest.approx(0.5)
        assert float(unevenness(even * left, even * (1 - left), "pixel")) == pytest.approx(1)

    def test_nmf_sweeps_never_raise_the_error(self):
        rng = Generator().manual_seed(0)
        images, activations, bases = (torch.rand(size, generator=rng)
                                      for size in ((30, 64), (30, 6), (6, 64)))
        bases, errors = unit(bases), []
        for _ in range(8):
            update_activations(activations, bases, images, 0.1)
            left = (images - activations @ bases).square().sum()
            errors.append(float(left + 0.1 * activations.sum(dim=1).square().sum()))
            update_last(bases, activations, images, 6)
        assert all(after <= before + 1e-3 for before,
                   after in itertools.pairwise(errors)) and errors[-1] < errors[0]
        assert float(activations.min()) >= 0 and float(bases.min()) >= 0

    def test_robust_pca_finds_a_low_rank_and_a_sparse_part(self):
        rng = Generator().manual_seed(0)
        low = 0.5 * torch.rand((1, 1, 32, 1), generator=rng) @ torch.rand((1, 1, 1, 32),
                                                                          generator=rng)
        sparse = (torch.rand((1, 1, 32, 32), generator=rng) < 0.03).float()
        found = last(Rpca(iterations=80), Problem(low + sparse, Mixing.sum(2))).sources
        assert float((found[:, 0] - sparse).abs().max()) < 0.01
        assert float((found[:, 1] - low).abs().max()) < 0.01

    def test_robust_pca_runs_for_as_long_as_its_slider_allows(self):
        problem = Problem(torch.rand((1, 1, 16, 16), generator=Generator().manual_seed(0)),
                          Mixing.sum(2))
        assert bool(torch.isfinite(last(Rpca(iterations=400, growth=2.0), problem).sources).all())

    def test_weights_of_another_network_are_refused(self):
        with pytest.raises(SepvizError, match="another network"):
            learning.unpack(learning.pack(MaskNetwork()), MaskNetwork(network="paper"))

    def test_learning_rate_falls_from_the_first_to_the_last(self):
        rates = [learning.falling(2.0, 0.1, progress / 10) for progress in range(11)]
        assert rates[0] == 2.0 and rates[-1] == pytest.approx(0.2) and rates == sorted(rates,
                                                                                       reverse=True)


class TestMaskNetwork:
    def test_pads_and_crops(self):
        network = MaskNetwork().eval().requires_grad_(False)
        images = torch.rand((2, 1, 28, 28), generator=Generator().manual_seed(0))
        small = network.mask(images)
        large = network.mask(torch.nn.functional.pad(images, (2, 2, 2, 2)))
        assert torch.equal(small, large[..., 2:-2, 2:-2])
        assert float(small.min()) >= 0 and float(small.max()) <= 1

    @pytest.mark.parametrize("shape",
                             [(1, 1, 64, 64), (1, 3, 32, 32), (1, 1, 16, 16), (1, 1, 31, 31)])
    def test_masks_of_another_resolution(self, shape):
        with pytest.raises(SepvizError, match="mask network mask knows"):
            MaskNetwork().mask(torch.zeros(shape))

    def test_odd_sizes(self):
        with pytest.raises(SepvizError, match=r"30x30.*divisible by 8"):
            MaskNetwork((1, 30, 30))


class TestTraining:
    @pytest.mark.parametrize("separator", [Egg(iterations=3, batch=8),
                                           AdversarialMask(epochs=3, batch=8),
                                           Supervised(epochs=3, batch=8)],
                             ids=lambda one: type(one).__name__)
    def test_goes_on_exactly_where_a_single_image_is_left_over(self, separator, setting):
        problem = setting[0]
        mixed = problem.examples.mixtures[:17]
        if isinstance(separator, Supervised):
            problem = problem._replace(examples=Examples(mixed, mixed, mixed))
        else:
            observed = torch.cat([problem.examples.observed, mixed[:1]])
            problem = problem._replace(examples=Examples(mixed, observed))
        rng = Generator().manual_seed(0)
        begun = separator.steps(problem, rng)
        half = [next(begun) for _ in range(3)][-1]
        assert torch.equal(list(separator.steps(problem, rng, start=half))[-1].sources,
                           last(separator, problem).sources)

    def test_a_fork_of_another_stage_or_network_is_refused_in_a_line(self, setting):
        problem = setting[0]
        step = last(Egg(iterations=1, batch=8, warm=False), problem)
        with pytest.raises(SepvizError, match="holds no moments"):
            last_of_fork(Egg(iterations=2, batch=8), problem, step)
        with pytest.raises(SepvizError, match="another network"):
            Egg(network="paper").trained(step, (1, 32, 32))
        bases = last(SsNmf(rank=3, observed_iterations=1, iterations=2), problem)
        with pytest.raises(SepvizError, match="another rank"):
            last_of_fork(SsNmf(rank=3, observed_iterations=5), problem, bases)

    def test_a_checkpoint_of_other_examples_is_refused(self, setting, tmp_path):
        problem = setting[0]
        masks.train(Egg(iterations=1, batch=8), problem, tmp_path / "one.ckpt", 0, ("a",),
                    progress=False)
        few = problem.examples._replace(observed=problem.examples.observed[:9])
        fewer = problem._replace(examples=few)
        with pytest.raises(SepvizError, match=r"examples: observed 16 of .* \(here 9 of 1x32x32"):
            masks.train(Egg(iterations=1, batch=8), fewer, tmp_path / "one.ckpt", 0, ("a",),
                        progress=False)

    def test_a_run_that_was_killed_ends_the_same(self, setting, tmp_path):
        problem, separator = setting[0], Egg(iterations=4, batch=8)

        class Killed(Exception):
            pass

        class Dying(Egg):
            def steps(self, problem, rng, start=None):
                for step in super().steps(problem, rng, start):
                    yield step
                    if step.index == 2:
                        torch.rand(5, generator=rng)  # in the middle of the next iteration
                        raise Killed

        whole = masks.train(separator, problem, tmp_path / "whole.ckpt", 0, ("a",), progress=False)
        Dying.__name__ = "Egg"
        with pytest.raises(Killed):
            masks.train(Dying(iterations=4, batch=8), problem, tmp_path / "half.ckpt", 0, ("a",),
                        progress=False)
        rest = masks.train(separator, problem, tmp_path / "half.ckpt", 0, ("a",), progress=False)
        assert torch.equal(rest.step.sources, whole.step.sources) and rest.minutes > 0
        assert [step.index for step in rest.shown] == [0, 1, 2, 3, 4]
        assert rest.shown[0].sources.shape == (4, 2, 1, 32, 32)

    def test_a_training_that_diverges_keeps_the_step_before(self, setting, tmp_path):
        class Diverging(Egg):
            def steps(self, problem, rng, start=None):
                for step in super().steps(problem, rng, start):
                    weights = step.state["weights"] / (0 if step.index == 2 else 1)
                    yield step._replace(state={**step.state, "weights": weights})

        path = tmp_path / "one.ckpt"
        says = r"step 2 .*keeps the run up to iteration 1; .*take a smaller learning_rate"
        with pytest.raises(SepvizError, match=says):
            masks.train(Diverging(iterations=3, batch=8), setting[0], path, 0, ("a",),
                        progress=False)
        assert checkpoint.read(path)["iteration"] == 1

    def test_examples_of_one_value_teach_nothing(self, setting, tmp_path):
        black = setting[0].examples._replace(observed=torch.zeros(9, 1, 32, 32))
        says = "examples: observed: every pixel of its 9 images is 0"
        with pytest.raises(SepvizError, match=says):
            masks.train(Egg(iterations=1, batch=8), setting[0]._replace(examples=black),
                        tmp_path / "one.ckpt", 0, ("a",), progress=False)

    def test_a_save_that_fails_does_not_end_the_training(self, setting, tmp_path, monkeypatch,
                                                         capsys):
        def full(*_):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        done = masks.train(Egg(iterations=2, batch=8), setting[0], tmp_path / "one.ckpt", 0, ("a",),
                           progress=False)
        told = capsys.readouterr().err
        assert done.step.index == 2 and not list(tmp_path.iterdir())
        assert told.count("No space left") == told.count("\n") == 1

    def test_a_checkpoint_of_other_data_is_refused(self, setting, tmp_path):
        separator = Constant()
        masks.train(Egg(iterations=1, batch=8), setting[0], tmp_path / "one.ckpt", 0, ("a",),
                    progress=False)
        with pytest.raises(SepvizError, match=r"sets a \(here b\)"):
            masks.train(Egg(iterations=1, batch=8), setting[0], tmp_path / "one.ckpt", 0, ("b",),
                        progress=False)
        with pytest.raises(SepvizError, match=r"iterations 1 \(here 2\), batch 8 \(here 4\)"):
            masks.train(Egg(iterations=2, batch=4), setting[0], tmp_path / "one.ckpt", 0, ("a",),
                        progress=False)
        assert separator.total_steps(setting[0]) == 0

    @pytest.mark.parametrize("method", ["egg", "adversarial-mask", "remix", "supervised"])
    def test_leaves_a_network_that_does_what_the_last_step_did(self, method, setting):
        problem = setting[0]
        examples = problem.examples._replace(observed=None
                                             if method == "remix" else problem.examples.observed,
                                             unobserved=problem.examples.mixtures
                                             if method == "supervised" else None)
        separator = separators.METHODS[method](**({"iterations": 1}
                                                  if method == "egg" else {"epochs": 1}), batch=8)
        step = last(separator, problem._replace(examples=examples))
        network = separator.trained(step, (1, 32, 32), "mine")
        torch.testing.assert_close(last(Mask(network), problem).sources, step.sources)


@pytest.mark.parametrize("name", [name for name in zoo.names()
                                  if name.endswith(("strokes", "strokes-low", "strokes-high"))
                                  and name.startswith(("egg", "remix", "supervised"))])
def test_shipped_masks_hold_what_their_card_says(name):
    """A tenth of the card's mixtures: the mean of the unseen source within what so few can tell."""
    card = zoo.card(name)
    problem, truth = tasks.unmix(card["unseen"], card["observed"], count=100, training=12,
                                 split="held-out")
    sources = last(Mask(zoo.load(name)), problem).sources
    mse = (sources.clamp(0, 1) - truth.sources).square().mean(dim=(2, 3, 4))
    psnr = -10 * torch.log10(mse)
    assert float(psnr[:, 0].mean()) > card["unseen_psnr"]["mean"] - 3 * float(psnr[:, 0].std()) / 10
