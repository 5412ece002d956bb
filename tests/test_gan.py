"""The GAN prior: sizes, folding, training that is watched, stopped and resumed, the oracle."""


import pytest
import torch

from sepviz import zoo
from sepviz.core import LatentModel, SepvizError
from sepviz.priors import GanPrior
from sepviz.priors.gan import discriminator_network
from sepviz.training.gan import gan_steps, oracle, train_gan

TINY = (8, 8, 8)


@pytest.fixture
def images():
    from sepviz.data import load

    return load("strokes", "train").images[:300]


def trained(images, checkpoint, **options):
    *_, (step, prior) = gan_steps(images, checkpoint, iterations=12, widths=TINY, latent_size=5,
                                  batch=16, every=5, **options)
    return step, prior


@pytest.mark.parametrize("size", [26, 28, 32, 34])
def test_images_of_their_size(size):
    prior = GanPrior((3, size, size), 7, TINY).eval()
    images = prior.decode(torch.randn(2, 4, 7))
    assert isinstance(prior, LatentModel) and images.shape == (2, 4, 3, size, size)
    assert float(images.detach().min()) >= 0 and float(images.detach().max()) <= 1
    discriminator = discriminator_network(prior.image_shape, TINY)
    assert discriminator(images.flatten(0, 1)).shape == (8, 1, 1, 1)


@pytest.mark.parametrize("shape", [(1, 24, 24), (1, 28, 32), (1, 27, 27)])
def test_other_sizes_are_refused(shape):
    with pytest.raises(SepvizError, match=f"{shape[1]}x{shape[2]}"):
        GanPrior(shape)


def test_latents_of_another_size_are_refused():
    with pytest.raises(SepvizError, match="size 6"):
        GanPrior((1, 28, 28), 5, TINY).decode(torch.zeros(1, 6))


def test_the_paper_sizes():
    prior = GanPrior()
    shapes = [tuple(layer.weight.shape) for layer in prior.network
              if isinstance(layer, torch.nn.ConvTranspose2d)]
    assert shapes == [(100, 512, 4, 4), (512, 256, 4, 4), (256, 128, 4, 4), (128, 1, 4, 4)]


def test_folding_changes_nothing_but_the_layers(images, tmp_path):
    _, prior = trained(images, tmp_path / "gan.ckpt")
    folded, z = prior.folded(), torch.randn(4, 5)
    assert len(folded.network) == len(prior.network) - 3
    # bf16 rounds elsewhere
    torch.testing.assert_close(folded.decode(z), prior.decode(z), rtol=0, atol=0.01)
    torch.testing.assert_close(folded.double().network(z.double()[..., None, None]),
                               prior.double().network(z.double()[..., None, None]))


def test_training_is_a_stream_one_can_watch(images, tmp_path):
    steps = [step for step, _ in gan_steps(images, tmp_path / "gan.ckpt", iterations=12,
                                           widths=TINY, latent_size=5, batch=16, every=5)]
    assert [step.info["iteration"] for step in steps] == [0, 5, 10, 12]
    assert steps[0].sources.shape == (1, 16, 1, 28, 28)
    assert not torch.equal(steps[0].sources, steps[-1].sources)
    assert steps[-1].info["generator_loss"] > 0


def test_a_stopped_training_goes_on_as_if_it_had_not_been(images, tmp_path):
    whole, _ = trained(images, tmp_path / "whole.ckpt")
    stream = gan_steps(images, tmp_path / "half.ckpt", iterations=12, widths=TINY, latent_size=5,
                       batch=16, every=5)
    assert next(stream)[0].index == 0 and next(stream)[0].info["iteration"] == 5
    stream.close()  # what Ctrl-C does to it
    resumed, _ = trained(images, tmp_path / "half.ckpt")
    torch.testing.assert_close(resumed.sources, whole.sources)


def test_a_checkpoint_of_another_run_is_refused(images, tmp_path):
    trained(images, tmp_path / "gan.ckpt")
    with pytest.raises(SepvizError, match=r"seed 0 \(here 1\)"):
        trained(images, tmp_path / "gan.ckpt", seed=1)
    with pytest.raises(SepvizError, match=r"images 300 of 1x28x28, digest .* \(here 299 of"):
        trained(images[1:], tmp_path / "gan.ckpt")


def test_the_oracle_finds_what_the_generator_makes(images, tmp_path):
    _, prior = trained(images, tmp_path / "gan.ckpt")
    prior.requires_grad_(False)
    made = prior.sample(3, torch.Generator().manual_seed(1))
    psnr = oracle(prior, made, starts=4, iterations=200, progress=False)
    other = oracle(prior, images[:3].float() / 255, starts=4, iterations=50, progress=False)
    assert float(psnr.min()) > float(other.max()) + 5


def test_weights_and_card_come_back(images, tmp_path):
    prior, card = train_gan(images[:-20], images[-20:], tmp_path / "gan.ckpt", iterations=3,
                            widths=TINY, latent_size=5, batch=16,
                            progress=False, name="gan-tiny")
    figure = card["oracle_psnr"]
    assert figure["n"] == 20 and figure["mean"] >= figure["tenth_percentile"]
    back = zoo.load(str(zoo.save(prior, tmp_path / "gan-tiny.safetensors", card)))
    assert isinstance(back, GanPrior) and back.settings() == prior.settings()
    z = torch.randn(3, 5)
    torch.testing.assert_close(back.decode(z), prior.decode(z), rtol=0, atol=0.01)
