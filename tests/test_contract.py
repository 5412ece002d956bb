"""One contract for every prior and every separator: a new one adds its row here."""

import dataclasses
import functools
import itertools

import pytest
import torch

from sepviz import separators as methods
from sepviz import tasks
from sepviz.core import Examples, ScoreModel, SepvizError, Step
from sepviz.priors import CnnRegressor, DictionaryPrior, GaussianPrior, MaskNetwork, ScorePrior
from sepviz.separators import METHODS, Average, Basis, Cnn, ConvNmf, Nmf, SplitGibbs, Synthesis

SHAPE = (1, 4, 8)
PAIR_SHAPE = (1, 16, 16)  # of the mixtures of two that mask networks halve three times
GENERATED_SHAPE = (1, 32, 32)  # of those that generators make


def gaussian_prior(device):
    rng = torch.Generator().manual_seed(0)
    return GaussianPrior(torch.rand(SHAPE, generator=rng).to(device),
                         (0.05 + 0.3 * torch.rand(SHAPE, generator=rng)).to(device))


def score_prior(device):
    torch.manual_seed(0)
    prior = ScorePrior(SHAPE, mean=0.2, deviation=0.3,
                       widths=(8, 8, 8)).eval().requires_grad_(False)
    torch.nn.init.normal_(prior.network.head.weight, std=0.1)
    return prior.to(device)


class Decoder:
    """A latent prior in one line: ``G(z) = sigmoid(W z)``."""

    image_shape, latent_size = SHAPE, 6

    def __init__(self, device):
        self.weight = torch.randn((self.latent_size, 32),
                                  generator=torch.Generator().manual_seed(5)).to(device)

    def decode(self, z):
        return (z @ self.weight).sigmoid().reshape(*z.shape[:-1], *SHAPE)


def dictionary(device, reach=0):
    prior = DictionaryPrior(SHAPE, classes=4, per_class=2, reach=reach)
    prior.bases.uniform_(generator=torch.Generator().manual_seed(6))
    return prior.to(device)


def regressor(device):
    torch.manual_seed(0)
    return CnnRegressor(SHAPE, width=4).eval().requires_grad_(False).to(device)


def mask_network(device):
    torch.manual_seed(0)
    return MaskNetwork(PAIR_SHAPE).eval().requires_grad_(False).to(device)


PRIORS = {"gaussian": gaussian_prior, "score": score_prior}

# name of the method -> a small, quick one
SEPARATORS = {
    "adversarial-mask": lambda prior: methods.AdversarialMask(epochs=2, batch=4),
    "average": lambda prior: Average(),
    "basis": lambda prior: Basis(prior, levels=3, steps_per_level=4, delta=5e-6, denoise_last=True),
    "cnn": lambda prior: Cnn(regressor(device_of(prior))),
    "conv-nmf": lambda prior: ConvNmf(dictionary(device_of(prior), reach=1), iterations=6),
    "constant": lambda prior: methods.Constant(),
    "egg": lambda prior: methods.Egg(iterations=3, batch=4),
    "egg, literal": lambda prior: methods.Egg(**{**methods.Egg.presets["program"], "iterations": 2,
                                                 "epochs": 2}),
    "egg, from another": lambda prior: methods.Egg(
        iterations=2, batch=4, first=methods.SsNmf(rank=3, observed_iterations=2, iterations=3)),
    "glo": lambda prior: methods.Glo(epochs=2, batch=4, inference=2, width=4),
    "glo-masking": lambda prior: methods.GloMasking(observed_epochs=2, epochs=2, batch=4,
                                                    inference=2, width=4),
    "mask": lambda prior: methods.Mask(mask_network(device_of(prior))),
    "remix": lambda prior: methods.Remix(epochs=2, batch=4, mask_steps=2),
    "remix-tree": lambda prior: methods.RemixTree(epochs=2, batch=4, stop=1.0),
    "remix-tree, taken back": lambda prior: methods.RemixTree(epochs=2, batch=4, stop=0.0),
    "rpca": lambda prior: methods.Rpca(iterations=4),
    "ss-nmf": lambda prior: methods.SsNmf(rank=3, observed_iterations=2, iterations=3),
    "supervised": lambda prior: methods.Supervised(epochs=2, batch=4),
    "nmf": lambda prior: Nmf(dictionary(device_of(prior)), iterations=6),
    "split-gibbs": lambda prior: SplitGibbs(prior, levels=3, sweeps=4),
    "synthesis": lambda prior: Synthesis(Decoder(device_of(prior)), starts=4, start_iterations=3,
                                         keep=0.5, refine_iterations=3),
    "synthesis, literal": lambda prior: Synthesis(Decoder(device_of(prior)), **{
        **Synthesis.presets["program"], "starts": 2, "start_iterations": 3,
        "refine_iterations": 2}),
    "split-gibbs, chains": lambda prior: SplitGibbs(prior, levels=3, sweeps=2, chains=3, draws=2),
    "split-gibbs, one sweep": lambda prior: SplitGibbs(prior, levels=3, sweeps=2, cycles=1,
                                                       sigma_average=0),
}
WITHOUT_CHANCE = ("average", "cnn", "constant", "mask", "rpca")
OF_SCORES = ("basis", "split-gibbs")  # the others do not use the prior that the rows are given
OF_ONE_SOURCE = ("cnn",)
OF_TWO_SOURCES = ("adversarial-mask", "constant", "egg", "egg, literal", "egg, from another", "glo",
                  "glo-masking", "mask", "remix",
                  "remix-tree", "remix-tree, taken back", "rpca", "ss-nmf", "supervised")


def device_of(prior):
    return prior.mean.device if isinstance(prior,
                                           GaussianPrior) else next(prior.parameters()).device


def make_problem(weights, device, batch=2, name=""):
    """Mixtures, with what the method of this name may learn from."""
    shape = PAIR_SHAPE if name in OF_TWO_SOURCES else SHAPE
    shape = GENERATED_SHAPE if name.startswith("glo") else shape
    rng = torch.Generator().manual_seed(1)
    problem = tasks.mix(torch.rand((batch, len(weights), *shape), generator=rng).to(device),
                        weights)[0]
    known = METHODS.get(name.split(",")[0])
    sees = None if known is None else known.sees
    if sees is None:
        return problem
    images = torch.rand((3, 6, *shape), generator=rng).to(device)
    return problem._replace(examples=Examples(images[0] + images[1],
                                              images[1] if sees != "mixtures" else None,
                                              images[2] if sees == "all" else None))


def rng_of(device, seed=0):
    return torch.Generator(device).manual_seed(seed)


def two_sources(name, device):
    """A problem of two sources, or of what the method can take."""
    return make_problem((1.0,) if name in OF_ONE_SOURCE else (1.0, 1.0), device, name=name)


@functools.cache
def whole_run(name, prior, weights, device):
    """Every step of a run: several tests look at one, and none may change it."""
    separator = SEPARATORS[name](PRIORS[prior](device))
    return [step.mapped(torch.clone)
            for step in separator.steps(make_problem(weights, device, name=name), rng_of(device))]


def usual_run(name, device):
    return whole_run(name, "gaussian", (1.0,) if name in OF_ONE_SOURCE else (1.0, 1.0), device)


def handles(name, weights):
    wanted = 1 if name in OF_ONE_SOURCE else 2 if name in OF_TWO_SOURCES else len(weights)
    return len(weights) == wanted


def test_every_method_has_a_row():
    assert set(METHODS) == {name.split(",")[0] for name in SEPARATORS}


def test_every_method_says_what_it_assumes():
    sentences = [getattr(methods, name).assumes for name in methods.__all__]
    assert all(sentences) and len(set(sentences)) == len(sentences)


@pytest.mark.parametrize("name", PRIORS)
class TestPrior:
    def test_is_a_score_model(self, name, device):
        prior = PRIORS[name](device)
        assert isinstance(prior, ScoreModel) and tuple(prior.image_shape) == SHAPE

    def test_score_is_tweedies(self, name, device):
        prior = PRIORS[name](device)
        x = torch.rand((2, 3, *SHAPE), generator=rng_of(device), device=device)
        torch.testing.assert_close(prior.score(x, 0.3), (prior.denoise(x, 0.3) - x) / 0.09,
                                   rtol=1e-4, atol=1e-4)

    def test_variance_is_that_of_each_pixel(self, name, device):
        prior = PRIORS[name](device)
        clean = prior.denoise(torch.rand((2, 3, *SHAPE), generator=rng_of(device), device=device),
                              0.3)
        variance = prior.variance(clean, 0.3)
        assert variance.shape == clean.shape and bool((variance > 0).all())

    def test_one_sigma_or_one_each(self, name, device):
        prior = PRIORS[name](device)
        x = torch.rand((3, *SHAPE), generator=rng_of(device), device=device)
        sigma = torch.tensor([0.1, 0.5, 1.0], device=device)
        each = torch.stack([prior.denoise(image[None], float(level))[0] for image,
                            level in zip(x, sigma, strict=True)])
        torch.testing.assert_close(prior.denoise(x, sigma), each, rtol=0,
                                   atol=0.02)  # bf16 may round another way in another batch

    def test_does_not_touch_its_input_or_the_global_seed(self, name, device):
        prior = PRIORS[name](device)
        x = torch.rand((2, *SHAPE), generator=rng_of(device), device=device)
        before, state = x.clone(), torch.get_rng_state()
        prior.denoise(x, 0.5)
        assert torch.equal(x, before) and torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", SEPARATORS)
class TestSeparator:
    @pytest.mark.parametrize("weights", [(1.0,), (1.0, 1.0), (0.5, 0.25, 2.0)])
    @pytest.mark.parametrize("prior", PRIORS)
    def test_yields_numbered_finite_steps(self, name, prior, weights, device):
        separator, problem = SEPARATORS[name](PRIORS[prior](device)), make_problem(weights, device,
                                                                                   name=name)
        if not handles(name, weights):
            with pytest.raises(SepvizError, match="sources"):
                next(iter(separator.steps(problem, rng_of(device))))
            return
        steps = whole_run(name, prior if name.startswith(OF_SCORES) else "gaussian", weights,
                          device)
        assert [step.index for step in steps] == list(range(separator.total_steps(problem) + 1))
        for step in steps:
            assert isinstance(step, Step) and step.stage
            assert step.sources.shape == (2, len(weights), *problem.mixtures.shape[1:])
            assert step.sources.device.type == device.type
            assert bool(torch.isfinite(step.sources).all()) and not step.sources.requires_grad
            assert all(not value.requires_grad for _, value in step.tensors())
            assert all(isinstance(value, int | float) for value in step.info.values())
        evaluations = [step.info["evaluations"] for step in steps]
        assert evaluations == sorted(evaluations)

    def test_no_step_is_aliased(self, name, device):
        """Scribbling on a step that was given out changes nothing that follows."""
        separator, problem = SEPARATORS[name](gaussian_prior(device)), two_sources(name, device)
        scribbled = []
        for step in separator.steps(problem, rng_of(device)):
            scribbled.append(step.sources.clone())
            step.mapped(lambda tensor: tensor.fill_(7.0))
        kept = [step.sources for step in usual_run(name, device)]
        assert all(torch.equal(one, other) for one, other in zip(kept, scribbled, strict=True))

    @pytest.mark.parametrize("weights", [(1.0, 1.0), (1.0, 0.5)])
    def test_forces_add_up_to_the_move(self, name, weights, device):
        """The forces of a step are what moved the sources: a player shows their sum."""
        steps = usual_run(name, device)
        if name not in OF_ONE_SOURCE + OF_TWO_SOURCES:
            steps = whole_run(name, "gaussian", weights, device)
        for before, step in itertools.pairwise(steps):
            assert set(step.shown) <= {"prior_force", "data_force", "noise"}
            if step.shown:
                torch.testing.assert_close(step.sources - before.sources, sum(step.shown.values()),
                                           rtol=1e-4, atol=1e-5)

    def test_the_seed_decides(self, name, device):
        separator, problem = SEPARATORS[name](gaussian_prior(device)), two_sources(name, device)
        state = torch.get_rng_state()
        first = usual_run(name, device)[-1].sources
        again, other = (list(separator.steps(problem, rng_of(device, seed)))[-1].sources
                        for seed in (0, 4))
        assert torch.equal(first, again)
        assert name in WITHOUT_CHANCE or not torch.equal(first, other)
        assert torch.equal(torch.get_rng_state(),
                           state), "randomness comes from the generator passed in alone"

    def test_any_step_starts_another_run(self, name, device):
        separator, problem = SEPARATORS[name](gaussian_prior(device)), two_sources(name, device)
        whole = usual_run(name, device)
        for at in {0, len(whole) // 2, len(whole) - 1}:
            rest = list(separator.steps(problem, rng_of(device),
                                        start=whole[at].mapped(torch.clone)))
            assert [(step.index, step.stage) for step in rest] == [(step.index, step.stage)
                                                                   for step in whole[at + 1:]]

    def test_going_on_with_the_same_randomness_is_the_same_run(self, name, device):
        separator, problem = SEPARATORS[name](gaussian_prior(device)), two_sources(name, device)
        whole, rng = usual_run(name, device), rng_of(device)
        begun = separator.steps(problem, rng)
        half = [next(begun) for _ in range(max(1, len(whole) // 2))]
        rest = list(separator.steps(problem, rng, start=half[-1]))
        assert torch.equal([*half, *rest][-1].sources, whole[-1].sources)

    def test_fields_tell_a_slider_what_it_needs(self, name, device):
        separator = SEPARATORS[name](gaussian_prior(device))
        for field in dataclasses.fields(separator):
            if field.name != "prior":
                assert field.metadata["meaning"]
                if field.metadata["methods"] is None and not isinstance(field.default, bool | str):
                    assert field.metadata["low"] <= field.default <= field.metadata["high"]
        with pytest.raises(dataclasses.FrozenInstanceError):
            separator.anything = 1

    def test_presets_are_fields(self, name, device):
        separator = SEPARATORS[name](gaussian_prior(device))
        for preset in getattr(separator, "presets", {}).values():
            dataclasses.replace(separator, **preset)

    @pytest.mark.parametrize("bad", [float("nan"), float("inf"), 255.0])
    def test_bad_mixtures_are_refused(self, name, bad, device):
        separator = SEPARATORS[name](gaussian_prior(device))
        problem = two_sources(name, device)
        problem = problem._replace(mixtures=torch.full_like(problem.mixtures, bad))
        with pytest.raises(SepvizError) as error:
            next(iter(separator.steps(problem, rng_of(device))))
        assert "\n" not in str(error.value)
