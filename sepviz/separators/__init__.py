"""Methods: one file each, named after the method; here, the one export each."""

from sepviz.separators.average import Average
from sepviz.separators.basis import Basis
from sepviz.separators.split_gibbs import SplitGibbs

__all__ = ["Average", "Basis", "SplitGibbs"]

METHODS = {"average": Average, "basis": Basis, "split-gibbs": SplitGibbs}
