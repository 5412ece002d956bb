"""Recipe, run, trace: what was asked, the one loop over its steps, the steps that were kept."""

from sepviz.runs.chunks import Chunks
from sepviz.runs.recipe import Recipe, State, restore
from sepviz.runs.recorded import recorded
from sepviz.runs.recorder import Recorder
from sepviz.runs.run import Found, Run, chunk_seed, found_by, generator, in_full, separated
from sepviz.runs.session import Session
from sepviz.runs.trace import Trace, record

__all__ = ["Chunks", "Found", "Recipe", "Recorder", "Run", "Session", "State", "Trace",
           "chunk_seed", "found_by", "generator", "in_full", "record", "recorded", "restore",
           "separated"]
