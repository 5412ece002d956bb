"""Baselines of Kong et al. 2019: NMF against scikit-learn and torchnmf, and the CNN."""

import collections
import itertools

import pytest
import torch

from sepviz import metrics, tasks, zoo
from sepviz.core import Problem, SepvizError
from sepviz.core.mixing import Mixing, convolve
from sepviz.priors import CnnRegressor, DictionaryPrior
from sepviz.priors.dictionary import place, take_off, update_activations
from sepviz.separators import Cnn, ConvNmf, Nmf
from sepviz.training.cnn import train_cnn
from sepviz.training.dictionary import fit_convolutive, fit_plain, train_dictionary, update_bases

SHAPE = (1, 12, 12)


def rng_of(device, seed=0):
    return torch.Generator(device).manual_seed(seed)


def last(separator, problem, seed=0):
    rng = rng_of(problem.mixtures.device, seed)
    return collections.deque(separator.steps(problem, rng), maxlen=1)[0]


def blocks(reach, device="cpu"):
    """Two classes that share no pixel: bases in the left half and in the right half."""
    prior = DictionaryPrior(SHAPE, classes=2, per_class=3, reach=reach)
    prior.bases.uniform_(generator=rng_of("cpu", 3))
    middle = prior.bases.shape[-1] // 2
    prior.bases[0, ..., middle:] = 0
    prior.bases[1, ..., :middle] = 0
    prior.bases /= prior.bases.sum(dim=(2, 3, 4), keepdim=True)
    return prior.to(device)


def digits():
    from sepviz.data import load

    found = load("strokes", "train", count=600)
    return found.images, found.labels


def test_taking_off_is_the_transpose_of_placing(device):
    bases = torch.rand((3, 2, 6, 7), generator=rng_of(device), device=device)
    atoms = torch.rand((3, 25, 2 * 10 * 11), generator=rng_of(device, 1), device=device)
    taken = take_off(atoms, (2, 10, 11), 2)
    torch.testing.assert_close((place(bases, 2) * atoms).sum(), (bases * taken).sum())


def test_a_basis_at_a_place_is_a_shift(device):
    base = torch.rand((1, 1, 4, 4), generator=rng_of(device), device=device)
    placed = place(base, 2).reshape(5, 5, 8, 8)
    torch.testing.assert_close(placed[4, 1], metrics.shift(placed[2, 2], 2, -1))


def test_updates_are_torchnmfs(device):
    """Bases first, then activations, as there."""
    nmf = pytest.importorskip("torchnmf.nmf")
    images = torch.rand((5, 2, 10, 11), generator=rng_of("cpu"))
    bases = torch.rand((3, 2, 6, 7), generator=rng_of("cpu", 1))
    activations = torch.rand((5, 3, 5, 5), generator=rng_of("cpu", 2))
    theirs = nmf.NMF2D(W=bases.transpose(0, 1).clone(), H=activations.clone())
    theirs.fit(images, beta=2, tol=0, max_iter=7)
    ours = bases.to(device)
    flat, pixels = (values.flatten(1).to(device) for values in (activations, images))
    for _ in range(7):
        ours = update_bases(ours, flat, pixels, 2, (2, 10, 11))
        flat = update_activations(flat, place(ours, 2).flatten(0, 1), pixels)
    for found, want in ((ours, theirs.W.transpose(0, 1)), (flat.reshape(5, 3, 5, 5), theirs.H)):
        torch.testing.assert_close(found.cpu(), want.detach(), rtol=1e-3, atol=1e-5)


@pytest.mark.filterwarnings("ignore:Maximum number of iterations")
def test_activations_come_to_scikit_learns():
    from sklearn.decomposition import NMF

    images, _ = digits()
    flat = images[:200].flatten(1).float() / 255
    model = NMF(8, init="nndsvda", max_iter=200, random_state=0)
    model.fit(flat.numpy())
    want = torch.from_numpy(model.transform(flat[:20].numpy()) @ model.components_).float()
    atoms = torch.from_numpy(model.components_).float()
    activations = torch.rand((20, 8), generator=rng_of("cpu"))
    for _ in range(2000):
        activations = update_activations(activations, atoms, flat[:20])
    errors = [(found - flat[:20]).square().sum(dim=1) for found in (activations @ atoms, want)]
    torch.testing.assert_close(*errors, rtol=1e-2, atol=1e-3)


def test_more_updates_fit_better():
    images, labels = digits()
    ones = images[labels == 3].float() / 255

    def error(bases, reach):
        atoms, flat = place(bases, reach).flatten(0, 1), ones.flatten(1)
        activations = torch.rand((len(ones), len(atoms)), generator=rng_of("cpu"))
        for _ in range(100):
            activations = update_activations(activations, atoms, flat)
        return float((activations @ atoms - flat).square().mean())

    few, many = (error(fit_convolutive(ones, 4, 2, count, rng_of("cpu")), 2) for count in (1, 60))
    plain = error(fit_plain(ones, 4, 0)[0], 0)
    assert many < 0.7 * few and many < plain, "bases that move explain more than bases that stand"


@pytest.mark.parametrize("reach", [0, 1])
def test_two_classes_come_apart(reach, device):
    prior = blocks(reach, device)
    placed = place(prior.bases.flatten(0, 1), reach).unflatten(0, (2, 3))
    middle = placed[:, :, (2 * reach + 1) ** 2 // 2]
    weights = 5 + 8 * torch.rand((4, 2, 3), generator=rng_of(device), device=device)
    sources = torch.einsum("bcr,crn->bcn", weights, middle).reshape(4, 2, *SHAPE)
    problem, truth = tasks.mix(sources / sources.amax(), (0.5, 1.0))
    found = last((ConvNmf if reach else Nmf)(prior, iterations=400), problem)
    error = float((found.sources - truth.sources).abs().max())
    assert error < 0.05, "the stronger class is the source of the larger weight"
    assert found.info["residual"] < 0.02


def test_one_source_of_part_of_the_pixels(device):
    """The bases see the left of an image and know its right."""
    prior = blocks(0, device)
    prior.bases[0] = (prior.bases[0] + prior.bases[1]) / 2
    activations = torch.tensor([12.0, 30.0, 21.0], device=device)[:, None]
    image = (activations * prior.bases[0].flatten(1)).sum(dim=0).reshape(1, 1, *SHAPE)
    visible = (torch.arange(12) < 6)[None].expand(12, 12)
    problem = tasks.hide(Problem(image[:, 0], Mixing.sum(1)), visible)
    found = last(Nmf(prior, iterations=2000), problem).sources
    assert float((found - image)[..., 6:].abs().max()) < 0.25 * float(image[..., 6:].max())


def test_a_filter_is_where_the_bases_stand(device):
    """One basis, one filter: both come back; correlation would give the filter mirrored."""
    prior = DictionaryPrior(SHAPE, classes=1, per_class=1, reach=1)
    prior.bases.uniform_(generator=rng_of("cpu", 4))
    prior.bases /= prior.bases.sum()
    prior = prior.to(device)
    image = 20 * place(prior.bases.flatten(0, 1), 1)[0, 4].reshape(1, 1, *SHAPE)
    true = torch.tensor([[[[0.0, 0.1, 0.3], [0.0, 0.4, 0.1], [0.1, 0.0, 0.0]]]], device=device)
    problem = Problem(convolve(image, true)[:, 0], Mixing((1.0,), filter_size=3))
    found = last(ConvNmf(prior, iterations=2000), problem)
    torch.testing.assert_close(found.results["filters"], true, rtol=0, atol=0.05)
    torch.testing.assert_close(found.sources, image, rtol=0, atol=0.02)
    assert found.info["residual"] < 0.02


def test_all_bases_move_alike_under_a_filter(device):
    """Left free, each basis would take a blur of its own; the error of the updates never grows."""
    images, labels = digits()
    prior, _ = train_dictionary(images, labels, images[:5], reach=2, per_class=3, iterations=20,
                                each=40, progress=False)
    problem, _ = tasks.deconvolve("strokes", count=3, device=device)
    steps = list(ConvNmf(prior.to(device), iterations=40).steps(problem, rng_of(device)))
    found = steps[-1].state["activations"].flatten(1, 2)
    weights, filters, total = (found.sum(dim=axes, keepdim=True) for axes in (2, 1, (1, 2)))
    alike = weights * filters / total
    torch.testing.assert_close(found, alike, rtol=1e-3, atol=1e-5)
    residuals = [step.info["residual"] for step in steps]
    pairs = itertools.pairwise(residuals[1:])
    assert all(later <= earlier * (1 + 1e-5) for earlier, later in pairs)


def test_dictionaries_are_learned_shipped_and_used(tmp_path):
    images, labels = digits()
    prior, card = train_dictionary(images, labels, images[:50], per_class=3, iterations=40,
                                   each=40, progress=False)
    assert card["rebuilt_psnr"]["n"] == 50 and card["rebuilt_psnr"]["mean"] > 12
    zoo.save(prior, tmp_path / "nmf-tiny.safetensors", card)
    again = zoo.load(str(tmp_path / "nmf-tiny.safetensors"))
    torch.testing.assert_close(again.bases, prior.bases, rtol=1e-2, atol=1e-4)
    problem, truth = tasks.denoise("strokes", count=3)
    found = last(Nmf(again, iterations=60), problem)
    assert float(metrics.psnr(found.sources, truth.sources).mean()) > 10


@pytest.mark.parametrize(("separator", "mixing", "words"), [
    (Nmf(blocks(0)), Mixing((1.0, -1.0)), "negative"),
    (Nmf(blocks(0)), Mixing.sum(3), "3 sources"),
    (Nmf(blocks(0), iterations=0), Mixing.sum(1), "iterations 0"),
    (ConvNmf(blocks(0)), Mixing.sum(1), "one place"),
    (ConvNmf(blocks(1)), Mixing((1.0,), filter_size=5), "filter size 5"),
    (Cnn(CnnRegressor(SHAPE, width=2)), Mixing.sum(2), "2 sources"),
    (Cnn(CnnRegressor(width=2)), Mixing.sum(1), "the prior knows"),
])
def test_bad_input_is_one_line(separator, mixing, words):
    with pytest.raises(SepvizError, match=words) as error:
        next(iter(separator.steps(Problem(torch.rand((1, *SHAPE)), mixing), rng_of("cpu"))))
    assert "\n" not in str(error.value)


def test_a_reach_beyond_the_image_is_refused():
    with pytest.raises(SepvizError, match="reach 6"):
        DictionaryPrior(SHAPE, reach=6)


def gain(regressor, problem, truth):
    """How much nearer the answer is to the truth than the mixtures are, in dB."""
    before = metrics.psnr(problem.mixtures[:, None], truth.sources).mean()
    return float(metrics.psnr(last(Cnn(regressor), problem).sources, truth.sources).mean() - before)


def test_the_cnn_takes_off_the_noise_it_knows_alone(tmp_path):
    images, _ = digits()
    regressor, card = train_cnn(images, images[:40], tmp_path / "cnn.ckpt", iterations=60, width=8,
                                batch=16, progress=False)
    assert card["denoised_psnr"]["n"] == 40
    noisy, clean = tasks.denoise("strokes", count=20)
    assert gain(regressor, noisy, clean) > 0.5
    assert gain(regressor, *tasks.complete("strokes", count=20)) < 1


def test_a_stopped_training_of_the_cnn_goes_on_as_if_never_stopped(tmp_path, monkeypatch):
    images, _ = digits()

    def train(checkpoint):
        return train_cnn(images, images[:20], checkpoint, iterations=12, width=4, batch=16,
                         progress=False)

    whole, _ = train(tmp_path / "whole.ckpt")
    original, calls = CnnRegressor.regress, []

    def stopping(self, pictures):
        calls.append(1)
        if len(calls) == 7:
            raise KeyboardInterrupt
        return original(self, pictures)

    monkeypatch.setattr(CnnRegressor, "regress", stopping)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "part.ckpt")
    monkeypatch.setattr(CnnRegressor, "regress", original)
    again, _ = train(tmp_path / "part.ckpt")
    for one, other in zip(whole.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(one, other)
