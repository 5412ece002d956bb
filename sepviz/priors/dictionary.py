"""A dictionary prior: images as nonnegative sums of bases, learned for each class.

This is NMF (Lee & Seung 1999); with bases smaller than the image, which may stand at several
places, it is convolutive NMF (Smaragdis 2004) in two dimensions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from sepviz.core import SepvizError
from sepviz.priors.checks import whole_numbers
from sepviz.priors.learned import LearnedPrior

TINY = 1e-9


class DictionaryPrior(LearnedPrior):
    """Images as ``sum_r sum_p h_rp (basis r at place p)``, h >= 0.

    Parameters
    ----------
    image_shape : (C, H, W)
    classes, per_class : int
        Classes of images, and bases for each of them.
    reach : int
        How far a basis moves each way: bases are (H - 2 reach) x (W - 2 reach) and stand at
        (2 reach + 1)^2 places, always wholly inside the image. 0: plain NMF.
    name : str
        For tables and messages.
    """

    bases: Tensor  # (classes, per_class, C, H - 2 reach, W - 2 reach)

    def __init__(self, image_shape: Sequence[int] = (1, 28, 28), classes: int = 10,
                 per_class: int = 20, reach: int = 0, name: str = "nmf"):
        super().__init__(image_shape, name)
        channels, height, width = self.image_shape
        self.classes, self.per_class = whole_numbers("classes and per_class",
                                                     (classes, per_class), 2)
        whole = isinstance(reach, int) and not isinstance(reach, bool)
        if not whole or reach < 0 or min(height, width) <= 2 * reach:
            raise SepvizError(f"reach {reach!r}: want a whole number of at least 0 and less than "
                              f"half of {height}x{width} images")
        self.reach = reach
        self.register_buffer("bases", torch.zeros(self.classes, self.per_class, channels,
                                                  height - 2 * reach, width - 2 * reach))

    def atoms(self) -> Tensor:
        """Every basis at every place: (classes * per_class * places, C H W)."""
        return place(self.bases.flatten(0, 1), self.reach).flatten(0, 1)


def _places(reach: int) -> Iterator[tuple[int, int]]:
    """The places of a basis, row by row: how far it stands from the top and from the left."""
    return ((down, right) for down in range(2 * reach + 1) for right in range(2 * reach + 1))


def place(bases: Tensor, reach: int) -> Tensor:
    """Bases (R, C, h, w) at all places of an image: (R, places, C (h + 2 reach) (w + 2 reach))."""
    padded = (functional.pad(bases, (right, 2 * reach - right, down, 2 * reach - down))
              for down, right in _places(reach))
    return torch.stack([basis.flatten(1) for basis in padded], dim=1)


def take_off(atoms: Tensor, shape: Sequence[int], reach: int) -> Tensor:
    """The transpose of `place`: (R, places, C H W) -> (R, C, h, w), summed over the places."""
    channels, height, width = shape
    images = atoms.reshape(len(atoms), -1, channels, height, width).unbind(1)
    h, w = height - 2 * reach, width - 2 * reach
    return torch.stack([image[..., down:down + h, right:right + w] for image, (down, right)
                        in zip(images, _places(reach), strict=True)]).sum(dim=0)


def update_activations(activations: Tensor, atoms: Tensor, images: Tensor,
                       visible: Tensor | None = None) -> Tensor:
    """Lee and Seung's step for ``|V - H W|^2``: ``H <- H * (V W^T) / (H W W^T)``.

    The error never grows.

    Parameters
    ----------
    activations : Tensor (N, A), positive
    atoms : Tensor (A, P)
    images : Tensor (N, P), not negative
    visible : Tensor (P,) of 0 and 1, optional
        Which values of an image count.
    """
    seen = atoms if visible is None else atoms * visible
    return activations * (images @ seen.T) / ((activations @ atoms) @ seen.T + TINY)
