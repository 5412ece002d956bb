"""Methods: one file each, named after the method; here, the one export each."""

from sepviz.separators.average import Average
from sepviz.separators.basis import Basis
from sepviz.separators.cnn import Cnn
from sepviz.separators.conv_nmf import ConvNmf
from sepviz.separators.nmf import Nmf
from sepviz.separators.split_gibbs import SplitGibbs
from sepviz.separators.synthesis import Synthesis

__all__ = ["Average", "Basis", "Cnn", "ConvNmf", "Nmf", "SplitGibbs", "Synthesis"]

METHODS = {"average": Average, "basis": Basis, "cnn": Cnn, "conv-nmf": ConvNmf, "nmf": Nmf, "split-gibbs": SplitGibbs,
           "synthesis": Synthesis}
