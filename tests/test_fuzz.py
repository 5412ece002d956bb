"""The fuzz, small; ``python tests/fuzz.py`` runs it in full."""

import fuzz
import pytest

SIZES = {"files": (130, 0, 0), "states": (0, 20, 0), "inputs": (0, 0, 40)}


@pytest.mark.parametrize("part", SIZES)
def test_whatever_comes_in_is_refused_in_one_line_or_read(part):
    cases = fuzz.fuzz(*SIZES[part])
    assert len(cases) == sum(SIZES[part]) and any(case.accepted for case in cases)
    assert [f"{case.kind}: {case.fault}" for case in cases if case.fault] == []
