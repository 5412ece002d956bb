"""Priors: what sources look like."""

from sepviz.priors.cnn import CnnRegressor
from sepviz.priors.dictionary import DictionaryPrior
from sepviz.priors.gan import GanPrior
from sepviz.priors.gaussian import GaussianPrior
from sepviz.priors.mask import MaskNetwork
from sepviz.priors.score import ScorePrior

__all__ = ["CnnRegressor", "DictionaryPrior", "GanPrior", "GaussianPrior", "MaskNetwork",
           "ScorePrior"]
