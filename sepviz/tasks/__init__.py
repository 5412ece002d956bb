"""Data -> (Problem, Truth): the tasks of the papers, with named protocols."""

from sepviz.core import SEES
from sepviz.core.mixing import top_half
from sepviz.tasks.images import PROTOCOLS, TASKS, complete, deconvolve, denoise, inpaint, separate
from sepviz.tasks.mixed import hide, mix, repeat, with_noise
from sepviz.tasks.unmixing import HELD_OUT, HELD_OUT_IS, blind, unmix

__all__ = ["HELD_OUT", "HELD_OUT_IS", "PROTOCOLS", "SEES", "TASKS", "blind", "complete",
           "deconvolve", "denoise", "hide", "inpaint", "mix", "repeat", "separate",
           "top_half", "unmix", "with_noise"]
