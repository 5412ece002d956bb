"""Priors: what sources look like."""

from sepviz.priors.gan import GanPrior
from sepviz.priors.gaussian import GaussianPrior
from sepviz.priors.score import ScorePrior

__all__ = ["GanPrior", "GaussianPrior", "ScorePrior"]
