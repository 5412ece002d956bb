"""Recipe, run, trace: what was asked, the one loop over its steps, the steps that were kept."""

from sepviz.runs.recipe import State, restore
from sepviz.runs.recorded import recorded
from sepviz.runs.run import Run, chunk_seed, generator, in_full
from sepviz.runs.session import Session
from sepviz.runs.trace import Trace, record

__all__ = ["Run", "Session", "State", "Trace", "chunk_seed", "generator", "in_full", "record",
           "recorded", "restore"]
