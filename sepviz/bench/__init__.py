"""The published tables: their rows as recipes, measured, stored, and made into FIGURES.md."""

from __future__ import annotations

# name -> kind of prior if its methods need one, what it is
TABLES: dict[str, tuple[str | None, str]] = {
    "basis": ("score", "BASIS, Table 2: pairs of digits, class split and class agnostic"),
    "race": ("score", "basis against split-gibbs, same network, same mixtures, one process"),
    "sources": ("score", "three, four and ten sources"),
    "sd-table2": ("gan", "S-D, Table 2: denoise, inpaint, complete"),
    "sd-table3": ("gan", "S-D, Table 3: deconvolve, separate, both"),
    "sd-race": ("gan", "synthesis against the authors' program, same generator, same mixtures, "
                       "one process"),
    "nes-table1": (None, "Neural Egg Separation, Table 1: one source seen clean, the other never"),
    "remix-table1": (None, "Unmix-and-Remix, Table 1: no source seen clean"),
    "egg-race": (None, "egg against the authors' schedule, same examples, one process"),
}
RACES = ("race", "sd-race", "egg-race")
LEARNED = ("nes-table1", "remix-table1", "egg-race")  # tables of methods that learn from mixtures
TASKS = {"sd-table2": ("denoise", "inpaint", "complete"),
         "sd-table3": ("deconvolve", "separate", "separate-deconvolve")}
# of the tables of methods that learn: data set -> direction -> the unseen source, the observed one
PAIRS = {
    "mnist": {"low": ("mnist:0-4", "mnist:5-9"), "high": ("mnist:5-9", "mnist:0-4")},
    "strokes": {"low": ("strokes:0-4", "strokes:5-9"), "high": ("strokes:5-9", "strokes:0-4")},
    "fashion-mnist": {"bags": ("fashion-mnist:8", "fashion-mnist:5,7,9"),
                      "shoes": ("fashion-mnist:5,7,9", "fashion-mnist:8")},
}
