"""Methods: one file each, named after the method; here, the one export each."""

from sepviz.separators.average import Average
from sepviz.separators.basis import Basis
from sepviz.separators.split_gibbs import SplitGibbs
from sepviz.separators.synthesis import Synthesis

__all__ = ["Average", "Basis", "SplitGibbs", "Synthesis"]

METHODS = {"average": Average, "basis": Basis, "split-gibbs": SplitGibbs, "synthesis": Synthesis}
