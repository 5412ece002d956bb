"""The labs: each pair is one lab, and what is shipped was run from top to bottom."""

import ast
from pathlib import Path

import jupytext
import nbformat
import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"
LABS = sorted(path.stem for path in FOLDER.glob("*.py"))
LONGEST = 5  # lines of a function in a lab
LARGEST = 3_000_000  # bytes of a lab with its outputs


def sources(notebook):
    return [(cell.cell_type, cell.source, cell.metadata.get("tags", [])) for cell in notebook.cells]


def test_there_are_labs():
    assert {"start_here", "score_prior", "langevin", "gan_prior", "restarts_and_filters"} <= set(LABS)
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == LABS, "every lab is a pair"


@pytest.mark.parametrize("name", LABS)
def test_pair_is_one_lab(name):
    made = jupytext.read(FOLDER / f"{name}.py")
    kept = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    assert sources(kept) == sources(made), f"regenerate {name}.ipynb from {name}.py"


@pytest.mark.parametrize("name", LABS)
def test_was_run_from_top_to_bottom(name):
    kept = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    nbformat.validate(kept)
    code = [cell for cell in kept.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert not [output.text for output in outputs if output.output_type == "stream" and "Warning" in output.text]
    assert any("image/png" in output.get("data", {}) for output in outputs), "a reader without a kernel sees pictures"
    assert (FOLDER / f"{name}.ipynb").stat().st_size < LARGEST


@pytest.mark.parametrize("name", LABS)
def test_functions_are_short(name):
    for node in ast.walk(ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            assert node.end_lineno - node.lineno < LONGEST, f"{node.name}, line {node.lineno}"


@pytest.mark.parametrize("name", LABS)
def test_checked_cells_show_something(name):
    kept = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    checked = [cell for cell in kept.cells if cell.cell_type == "code" and cell.source.startswith("# NBVAL_CHECK_OUTPUT")]
    assert checked
    for cell in checked:
        assert [(output.output_type, output.name) for output in cell.outputs] == [("stream", "stdout")]
