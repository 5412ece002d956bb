"""The tables: one file per published table, ours beside the paper's."""

from __future__ import annotations

# name -> module, kind of prior if one for all rows, what it is
TABLES: dict[str, tuple[str, str | None, str]] = {
    "basis": ("basis", "score", "BASIS, Table 2: pairs of digits, class split and class agnostic"),
    "race": ("race", "score", "basis against split-gibbs, same network, same mixtures, one process"),
    "sources": ("sources", "score", "three, four and ten sources"),
    "sd-table2": ("sd", "gan", "S-D, Table 2: denoise, inpaint, complete"),
    "sd-table3": ("sd", "gan", "S-D, Table 3: deconvolve, separate, both"),
    "sd-race": ("sd_race", "gan", "the fast synthesis against the authors' program, same generator, same mixtures, one process"),
    "nes-table1": ("nes", None, "Neural Egg Separation, Table 1: one source seen clean, the other never"),
    "remix-table1": ("nes", None, "Unmix-and-Remix, Table 1: no source seen clean"),
    "egg-race": ("egg_race", None, "the fast egg against the authors' schedule, same examples, one process"),
}
