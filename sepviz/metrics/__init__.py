"""How good a separation is; names and conventions are stated, since the literature's differ.

Estimates are first clamped to the range of the medium, whose peak PSNR and SSIM refer to: [0, 1]
and 1 for pictures. Many methods give the sources back in no order, so every metric first finds the
permutation of the estimates that fits best, see `match`:

- Only sources of equal ``weights`` change places: the mixture tells the others apart.
- ``order`` is the method's (`sepviz.core.ORDERS`): "each" mixture has its own permutation; a method
  that gives all mixtures one order is matched once for the whole "set"; where the method says which
  source is which, the order is "fixed".

Shapes are written for pictures, (C, H, W); another ``medium`` has its own axes in their place.
"""

from sepviz.metrics.alignment import Aligned, align, aligned_figures, filter_correlation, shift
from sepviz.metrics.matching import (
    APART,
    assign,
    decibels,
    in_order_of,
    match,
    modes,
    pairwise_mse,
    reorder,
)
from sepviz.metrics.quality import Summary, pooled_psnr, psnr, ssim, ssim_image, summarize

__all__ = ["APART", "Aligned", "Summary", "align", "aligned_figures", "assign", "decibels",
           "filter_correlation", "in_order_of", "match", "modes", "pairwise_mse", "pooled_psnr",
           "psnr", "reorder", "shift", "ssim", "ssim_image", "summarize"]
