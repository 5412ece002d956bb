"""Two generators whose images add up to the mixtures, with no clean image: GLO, blind."""

from dataclasses import dataclass

from sepviz.core import Problem
from sepviz.separators.glo_masking import GloMasking


@dataclass(frozen=True)
class Glo(GloMasking):
    """`GloMasking` where both generators learn from mixtures (Hoshen 2019, section 5).

    There is no first stage, so ``observed_epochs`` has no effect.
    """

    assumes = "mixtures alone; each source is made by a small generator"
    order = "set"
    sees = "mixtures"

    def total_steps(self, problem: Problem) -> int:
        return self.epochs
