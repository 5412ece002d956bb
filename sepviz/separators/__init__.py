"""Methods: one file each, named after the method; here, the one export each."""

from sepviz.core import Separator
from sepviz.separators.adversarial_mask import AdversarialMask
from sepviz.separators.average import Average
from sepviz.separators.basis import Basis
from sepviz.separators.cnn import Cnn
from sepviz.separators.constant import Constant
from sepviz.separators.conv_nmf import ConvNmf
from sepviz.separators.egg import Egg
from sepviz.separators.glo import Glo
from sepviz.separators.glo_masking import GloMasking
from sepviz.separators.mask import Mask
from sepviz.separators.nmf import Nmf
from sepviz.separators.remix import Remix
from sepviz.separators.remix_tree import RemixTree
from sepviz.separators.rpca import Rpca
from sepviz.separators.split_gibbs import SplitGibbs
from sepviz.separators.ss_nmf import SsNmf
from sepviz.separators.supervised import Supervised
from sepviz.separators.synthesis import Synthesis

__all__ = ["AdversarialMask", "Average", "Basis", "Cnn", "Constant", "ConvNmf", "Egg", "Glo",
           "GloMasking", "Mask", "Nmf", "Remix", "RemixTree", "Rpca", "SplitGibbs", "SsNmf",
           "Supervised", "Synthesis"]

METHODS: dict[str, type[Separator]] = {
    "adversarial-mask": AdversarialMask, "average": Average, "basis": Basis, "cnn": Cnn,
    "constant": Constant, "conv-nmf": ConvNmf, "egg": Egg, "glo": Glo, "glo-masking": GloMasking,
    "mask": Mask, "nmf": Nmf, "remix": Remix, "remix-tree": RemixTree, "rpca": Rpca,
    "split-gibbs": SplitGibbs, "ss-nmf": SsNmf, "supervised": Supervised, "synthesis": Synthesis}


def named(name: str) -> type[Separator]:
    """The class of this name, as a trace holds it; the base class for a method of one's own."""
    return next((cls for cls in METHODS.values() if cls.__name__ == name), Separator)
