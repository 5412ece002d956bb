"""The labs: each pair is one lab, and its notebook holds only the outputs that nbval compares."""

import ast
import re
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import jupytext
import nbformat
import pytest

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "notebooks"
LABS = sorted(path.stem for path in FOLDER.glob("*.py"))
REPOSITORY = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
    "urls"
]["Repository"]
LONGEST = 5  # lines of a function in a lab
LARGEST = 60_000  # bytes of a notebook


def sources(notebook):
    return [(cell.cell_type, cell.source, cell.metadata.get("tags", [])) for cell in notebook.cells]


def test_there_are_labs():
    assert {"start_here", "score_prior", "langevin", "gan_prior", "restarts_and_filters"} <= set(
        LABS
    )
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == LABS, "every lab is a pair"


@pytest.mark.parametrize("name", LABS)
def test_pair_is_one_lab(name):
    made = jupytext.read(FOLDER / f"{name}.py")
    kept = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    assert sources(kept) == sources(made), f"regenerate {name}.ipynb from {name}.py"


@pytest.mark.parametrize("name", LABS)
def test_only_the_text_of_checked_cells_is_kept(name):
    """The history keeps every version: pictures and widgets are made by whoever opens the lab."""
    path = FOLDER / f"{name}.ipynb"
    kept = nbformat.read(path, as_version=4)
    nbformat.validate(kept)
    assert "widgets" not in kept.metadata
    code = [cell for cell in kept.cells if cell.cell_type == "code"]
    assert not [
        cell for cell in code if cell.outputs and not cell.source.startswith("# NBVAL_CHECK_OUTPUT")
    ]
    assert path.stat().st_size < LARGEST


@pytest.mark.parametrize("name", LABS)
def test_functions_are_short(name):
    for node in ast.walk(ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            assert node.end_lineno - node.lineno < LONGEST, f"{node.name}, line {node.lineno}"


@pytest.mark.parametrize("name", LABS)
def test_checked_cells_show_something(name):
    kept = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    checked = [
        cell
        for cell in kept.cells
        if cell.cell_type == "code" and cell.source.startswith("# NBVAL_CHECK_OUTPUT")
    ]
    assert checked
    for cell in checked:
        assert [(output.output_type, output.name) for output in cell.outputs] == [
            ("stream", "stdout")
        ]


# --- where they run -----------------------------------------------------------------------------


def install_cell(name):
    """The first cell of code: on Colab it installs sepviz."""
    return next(
        cell.source
        for cell in jupytext.read(FOLDER / f"{name}.py").cells
        if cell.cell_type == "code"
    )


def run_install_cell(monkeypatch, on_colab):
    """What the cell does, line by line: its magics, and its calls of Colab."""
    done = []
    monkeypatch.delitem(sys.modules, "google.colab", raising=False)
    if on_colab:
        colab = ModuleType("google.colab")
        colab.output = ModuleType("google.colab.output")
        colab.output.enable_custom_widget_manager = lambda: done.append("widgets")
        monkeypatch.setitem(sys.modules, "google", ModuleType("google"))
        monkeypatch.setitem(sys.modules, "google.colab", colab)
    code = re.sub(r"%(pip .*)", r"run('\1')", install_cell("start_here"))
    exec(code, {"run": done.append})
    return done


def test_install_cell_does_nothing_elsewhere(monkeypatch):
    assert run_install_cell(monkeypatch, on_colab=False) == []


def test_install_cell_leaves_what_colab_has(monkeypatch):
    """It installs sepviz and what Colab lacks, without dependencies: torch and kernel stay."""
    command, widgets = run_install_cell(monkeypatch, on_colab=True)
    packages = [word for word in command.split()[2:] if not word.startswith("--")]
    assert "--no-deps" in command.split() and packages == [
        f"git+{REPOSITORY}",
        "anywidget",
        "psygnal",
    ]
    assert widgets == "widgets"


@pytest.mark.parametrize("name", LABS)
def test_lab_runs_on_colab(name):
    assert install_cell(name) == install_cell("start_here"), (
        "the install cell is the same in all labs"
    )
    first = jupytext.read(FOLDER / f"{name}.py").cells[0].source
    address = REPOSITORY.replace("https://github.com", "https://colab.research.google.com/github")
    assert f"[Open in Colab]({address}/blob/main/notebooks/{name}.ipynb)" in first


def test_one_address():
    """README's badge leads to the repository of pyproject.toml; no text names another address."""
    texts = {
        path.name: path.read_text(encoding="utf-8")
        for path in [ROOT / "README.md", *FOLDER.glob("*.py"), *FOLDER.glob("*.ipynb")]
    }
    owner = REPOSITORY.removeprefix("https://github.com/")
    assert (
        f"https://mybinder.org/v2/gh/{owner}/main?urlpath=lab/tree/notebooks/start_here.ipynb"
        in texts["README.md"]
    )
    for name, text in texts.items():
        assert set(re.findall(r"/(?:gh|github|github\.com)/([\w.-]+/sepviz)\b", text)) <= {owner}, (
            name
        )
