"""For error messages: the nearest known name."""

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str:
    """``did you mean NAME?``, or the names there are."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, 1)
    return f"did you mean {near[0]}?" if near else f"choose one of {', '.join(known)}"


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """What to say of a name that is not known."""
    return f"no {kind.lower()} {name!r}: {nearest(name, list(known))}"


def choose(kind: str, name: str, known: Iterable[str]) -> str:
    """``name`` if it is known; else an error with the nearest that is."""
    from sepviz.core import SepvizError  # it brings torch, which `sepviz --help` does without

    known = list(known)
    if name not in known:
        raise SepvizError(unknown(kind, name, known))
    return name
