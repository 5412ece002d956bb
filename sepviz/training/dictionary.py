"""Learn a dictionary of bases, class by class."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence

import torch
from torch import Generator, Tensor
from tqdm.auto import tqdm

from sepviz.core import SepvizError
from sepviz.data.split import some
from sepviz.metrics import decibels
from sepviz.priors.dictionary import TINY, DictionaryPrior, place, take_off, update_activations
from sepviz.training.common import card, check_images, figure

REBUILD = 300  # updates that rebuild the held-out images of the card


def update_bases(bases: Tensor, activations: Tensor, images: Tensor, reach: int,
                 shape: Sequence[int]) -> Tensor:
    """Lee and Seung's step, see `update_activations`, for the bases (R, C, h, w).

    The activations are (N, R * places).
    """
    def gathered(pictures: Tensor) -> Tensor:
        return take_off((activations.T @ pictures).reshape(len(bases), -1, pictures.shape[1]),
                        shape, reach)

    rebuilt = activations @ place(bases, reach).flatten(0, 1)
    return bases * gathered(images) / (gathered(rebuilt) + TINY)


def fit_convolutive(images: Tensor, count: int, reach: int, iterations: int,
                    rng: Generator) -> Tensor:
    """``count`` bases for images (N, C, H, W), of sum 1 each.

    Returns
    -------
    Tensor (count, C, H - 2 reach, W - 2 reach)
    """
    shape, flat = images.shape[1:], images.flatten(1)
    scale = (flat.mean() / count).sqrt()
    size = (count, shape[0], shape[1] - 2 * reach, shape[2] - 2 * reach)
    bases = scale * torch.rand(size, generator=rng, device=images.device)
    places = count * (2 * reach + 1) ** 2
    activations = scale * torch.rand((len(images), places), generator=rng, device=images.device)
    for _ in range(iterations):
        bases = update_bases(bases, activations, flat, reach, shape)
        activations = update_activations(activations, place(bases, reach).flatten(0, 1), flat)
    return bases / bases.sum(dim=(1, 2, 3), keepdim=True).clamp_min(TINY)


def fit_plain(images: Tensor, count: int, seed: int, iterations: int = 400) -> tuple[Tensor, int]:
    """``count`` bases for images (N, C, H, W) by scikit-learn's NMF, of sum 1 each; its iterations.

    Returns
    -------
    Tensor (count, C, H, W), int
    """
    from sklearn.decomposition import NMF
    from sklearn.exceptions import ConvergenceWarning

    model = NMF(count, init="nndsvda", max_iter=iterations, tol=1e-3, random_state=seed)
    with warnings.catch_warnings():
        # the last tenths of a per cent change no picture
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(images.flatten(1).cpu().numpy())
    bases = torch.from_numpy(model.components_).to(images).reshape(count, *images.shape[1:])
    return bases / bases.sum(dim=(1, 2, 3), keepdim=True).clamp_min(TINY), model.n_iter_


def train_dictionary(images: Tensor, labels: Tensor, held_out: Tensor, *, reach: int = 0,
                     per_class: int = 20, each: int = 1500, iterations: int | None = None,
                     seed: int = 0, name: str = "nmf",
                     progress: bool = True) -> tuple[DictionaryPrior, dict]:
    """Learn the bases of each class on their own, and join them (Kong et al. 2019, section 4.1).

    Parameters
    ----------
    images : Tensor (N, C, H, W) uint8
    labels : Tensor (N,)
    held_out : Tensor (M, C, H, W) uint8
        Rebuilt by the finished dictionary for the card.
    reach : int
        0: scikit-learn's NMF; else convolutive, see `DictionaryPrior`.
    each : int
        At most so many images of a class are learned from.
    iterations : int, optional
        Updates for each class; 300 of the convolutive kind, at most 400 of scikit-learn's, which
        ends once it stands still.

    Returns
    -------
    prior : DictionaryPrior
    card : dict
        Seed, minutes, the most iterations of a class, and the PSNR of held-out images rebuilt from
        the bases.
    """
    check_images(images, per_class, held_out)
    if len(labels) != len(images):
        raise SepvizError(f"{len(labels)} labels for {len(images)} training images: "
                          "want one for each")
    classes = labels.unique().tolist()
    for label in classes:
        found = images[labels == label][:each]
        if len(found) < per_class or found[0].numel() < per_class:
            raise SepvizError(f"{per_class} bases for each class: class {label} has {len(found)} "
                              f"images of {found[0].numel()} pixels; take a larger set")
        if not bool(found.any()):
            raise SepvizError(f"class {label} has {len(found)} training images, all of them black: "
                              "there is nothing to learn; take another set")
    begun, rng = time.monotonic(), Generator(images.device).manual_seed(seed)
    prior = DictionaryPrior(images.shape[1:], len(classes), per_class, reach, name)
    prior = prior.to(images.device)
    iterations = iterations or (300 if reach else 400)
    done = iterations if reach else 0
    with tqdm(classes, desc=f"train {name}", unit="class", disable=not progress) as bar:
        for index, label in enumerate(bar):
            chosen = some(images[labels == label], each).float() / 255
            if reach:
                prior.bases[index] = fit_convolutive(chosen, per_class, reach, iterations, rng)
            else:
                prior.bases[index], taken = fit_plain(chosen, per_class, seed, iterations)
                done = max(done, taken)
    targets, atoms = some(held_out, 500).to(images.device).float().flatten(1) / 255, prior.atoms()
    activations = torch.rand((len(targets), len(atoms)), generator=rng, device=images.device)
    for _ in range(REBUILD):
        activations = update_activations(activations, atoms, targets)
    psnr = decibels((activations @ atoms - targets).square().mean(dim=1))
    minutes = (time.monotonic() - begun) / 60
    largest = int(labels.unique(return_counts=True)[1].max())
    what = "PSNR in dB of clean held-out images rebuilt from all bases"
    return prior.eval(), card(prior, seed, minutes, done, images.device,
                              images_per_class=min(each, largest), rebuilt_psnr=figure(what, psnr))
