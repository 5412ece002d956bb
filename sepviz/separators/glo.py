"""Two generators whose images add up to the mixtures, with no image of either source alone: GLO as a blind method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from sepviz.core import Problem
from sepviz.separators.glo_masking import GloMasking


@dataclass(frozen=True)
class Glo(GloMasking):
    """`GloMasking` without the observed source: both generators learn from the mixtures (the baseline of Hoshen 2019, section 5).

    Nothing is learned first, so ``observed_epochs`` has no effect here.
    """

    assumes: ClassVar[str] = "mixtures alone; each source is made by a small generator"
    order: ClassVar[str] = "set"
    sees: ClassVar[str] = "mixtures"

    def total_steps(self, problem: Problem) -> int:
        """The number of steps after step 0; nothing is learned first."""
        return self.epochs
