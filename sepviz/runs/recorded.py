"""Trainings that were recorded and are shipped, so that nobody waits for them."""

from __future__ import annotations

from sepviz import files
from sepviz.core import SepvizError, Truth
from sepviz.runs.trace import Trace
from sepviz.suggest import nearest
from sepviz.zoo import FOLDER


def recorded(name: str) -> tuple[Trace, Truth]:
    """A recorded training: a trace to play, and the truth of its mixtures.

    Parameters
    ----------
    name : str
        Of the mask whose training it is, for example "egg-strokes-high".
    """
    path = FOLDER / f"{name}.trace.npz"
    known = sorted(path.name.removesuffix(".trace.npz") for path in FOLDER.glob("*.trace.npz"))
    if not path.is_file():
        raise SepvizError(f"no recorded training {name!r}: {nearest(name, known)}")
    truth = files.load_problem([path.with_suffix(".problem.npz")])[1]
    assert truth is not None
    return Trace.load(path), truth
