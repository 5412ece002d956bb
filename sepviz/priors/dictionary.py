"""A dictionary prior: images as nonnegative sums of bases, learned for each class (NMF, Lee & Seung 1999).

With bases smaller than the image, each may stand at several places: convolutive NMF (Smaragdis 2004) in two dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from sepviz.core import SepvizError
from sepviz.priors.checks import shape_of_images, whole_numbers

TINY = 1e-9


class DictionaryPrior(nn.Module):
    """Images as ``sum_r sum_p h_rp (basis r at place p)``, h >= 0.

    Parameters
    ----------
    image_shape : (C, H, W)
    classes, per_class : int
        So many bases for each class of images.
    reach : int
        How far a basis moves each way: bases are (H - 2 reach) x (W - 2 reach) and stand at (2 reach + 1)^2 places,
        always wholly inside the image. 0: plain NMF.
    name : str
        For tables and messages.
    """

    bases: Tensor  # (classes, per_class, C, H - 2 reach, W - 2 reach)

    def __init__(self, image_shape: Sequence[int] = (1, 28, 28), classes: int = 10, per_class: int = 20, reach: int = 0,
                 name: str = "nmf"):
        super().__init__()
        self.image_shape = channels, height, width = shape_of_images(image_shape)
        classes, per_class = whole_numbers("classes and per_class", (classes, per_class), 2)
        whole = isinstance(reach, int) and not isinstance(reach, bool)
        if not whole or reach < 0 or min(height, width) <= 2 * reach:
            raise SepvizError(f"reach {reach!r}: want a whole number of at least 0 and less than "
                              f"half of {height}x{width} images")
        self.classes, self.per_class, self.reach, self.name = classes, per_class, reach, name
        self.register_buffer("bases", torch.zeros(classes, per_class, channels, height - 2 * reach, width - 2 * reach))

    def atoms(self) -> Tensor:
        """Every basis at every place, rows of pixels: (classes * per_class * places, C H W)."""
        return place(self.bases.flatten(0, 1), self.reach).flatten(0, 1)

    def settings(self) -> dict:
        """What `DictionaryPrior` must be called with to take these weights back."""
        return {"image_shape": self.image_shape, "classes": self.classes, "per_class": self.per_class, "reach": self.reach,
                "name": self.name}


def place(bases: Tensor, reach: int) -> Tensor:
    """Bases (R, C, h, w) at all places of an image larger by ``reach`` on each side -> (R, places, C H W)."""
    side = 2 * reach + 1
    return torch.stack([functional.pad(bases, (right, 2 * reach - right, down, 2 * reach - down)).flatten(1)
                        for down in range(side) for right in range(side)], dim=1)


def take_off(atoms: Tensor, shape: Sequence[int], reach: int) -> Tensor:
    """The transpose of `place`: (R, places, C H W) -> (R, C, h, w), summed over the places."""
    channels, height, width = shape
    side = 2 * reach + 1
    grid = atoms.reshape(len(atoms), side, side, channels, height, width)
    return torch.stack([grid[:, down, right, :, down:down + height - 2 * reach, right:right + width - 2 * reach]
                        for down in range(side) for right in range(side)]).sum(dim=0)


def update_activations(activations: Tensor, atoms: Tensor, images: Tensor, visible: Tensor | None = None) -> Tensor:
    """Lee and Seung's step for ``|V - H W|^2``: ``H <- H * (V W^T) / (H W W^T)``, which never lets the error grow.

    Parameters
    ----------
    activations : Tensor (N, A), positive
    atoms : Tensor (A, pixels)
    images : Tensor (N, pixels), not negative
    visible : Tensor (pixels,) of 0 and 1, optional
        Pixels that count.
    """
    seen = atoms if visible is None else atoms * visible
    return activations * (images @ seen.T) / ((activations @ atoms) @ seen.T + TINY)
