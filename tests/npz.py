"""Shared by tests of files: what an error must say, and files with one field changed."""

import json
from pathlib import Path

import numpy as np
import pytest

from sepviz.core import SepvizError

OLD = Path(__file__).parent / "data_v01"


def fails(words, call, *args, **kwargs):
    """The call raises one line that holds all these words."""
    with pytest.raises(SepvizError) as caught:
        call(*args, **kwargs)
    line = str(caught.value)
    assert "\n" not in line
    for word in words:
        assert word in line, line


def changed(path, to, edit=(), **arrays):
    """A copy of a .npz with other arrays (None: without) and another meta, its checksums right."""
    with np.load(path) as archive:
        held = dict(archive)
    if edit != ():
        held["meta"] = np.array(edit(json.loads(str(held["meta"]))))
    held |= {name.replace("__", "/"): array for name, array in arrays.items()}
    np.savez(to, **{name: array for name, array in held.items() if array is not None})
    return to


def setting(*path, to):
    """A change of meta: the field at this path is set."""

    def change(meta):
        at = meta
        for name in path[:-1]:
            at = at[name]
        at[path[-1]] = to
        return json.dumps(meta)

    return change


def one_line(caught, *words):
    text = str(caught.value)
    assert "\n" not in text
    for word in words:
        assert str(word) in text, text
