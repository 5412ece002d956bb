"""Exercises: the versions for students and teachers, and checks that tell a wrong answer why."""

import ast
from pathlib import Path

import jupytext
import nbformat
import numpy as np
import pytest
import torch
from IPython.core.inputtransformer2 import TransformerManager
from nbclient import NotebookClient

from sepviz import cli, files
from sepviz import course as exercises
from sepviz.core import SepvizError

LABS = Path(__file__).parents[1] / "notebooks"
NAMES = sorted(path.stem for path in LABS.glob("*.py"))
SMALL = """# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %%
from sepviz import course as exercises

# %% [markdown] tags=["exercise"]
# **Exercise.** What is six by seven, and why?

# %% tags=["exercise"]
product = ...

# %% tags=["solution"]
product = 6 * 7

# %% [markdown] tags=["solution"]
# Because the secret is out.

# %% tags=["check"]
exercises.check("product", product, right=42, mistakes={"this is the sum": 13}, why="Well done.")
"""


# --- a check ------------------------------------------------------------------------------------


def told(capsys, value, right, **options):
    exercises.check("mine", value, right, **options)
    line = capsys.readouterr().out
    assert line.startswith("mine: ") and line.count("\n") == 1
    return line[len("mine: ") : -1]


def plain(source):
    """A cell without IPython's magics."""
    return TransformerManager().transform_cell(source)


@pytest.mark.parametrize("value", [3.01, torch.tensor([3.0]), np.float32(2.98), "3"])
def test_right(capsys, value):
    assert told(capsys, value, 3.0, why="So it is.") == "right. So it is."


@pytest.mark.parametrize("value", [None, ...])
def test_not_solved_yet(capsys, value):
    assert told(capsys, value, torch.ones(3)).startswith("not solved yet: ")


@pytest.mark.parametrize(
    ("value", "right", "words"),
    [
        (0.5, 0.25, "wrong: this is the RMS, not the mean square."),  # a known mistake
        (-0.25, 0.25, "the sign is the wrong way round"),
        (2.5, 0.25, "2.5 is too large, 10 times what it should be"),
        (0.1, 0.25, "too small"),
        (float("nan"), 0.25, "not finite"),
        ("many", 0.25, "type str, want a number"),
        ([1, 2], 0.25, "an array of shape (2,), want a number"),
        (1, [1, 2], "a number, want an array of shape (2,)"),
        (
            torch.tensor([1.0, 5.0]),
            torch.tensor([1.0, 2.0]),
            "1 of 2 values differ, the first at (1,)",
        ),
        (1.0, 0.0, "1 is too large"),
        ("one half", "half", "not 'one half'"),
    ],
)
def test_wrong_and_why(capsys, value, right, words):
    line = told(capsys, value, right, mistakes={"this is the RMS, not the mean square.": 0.5})
    assert line.startswith("wrong: ") and words in line


def test_close_is_relative(capsys):
    assert told(capsys, 28.9, 28.4) == "right."
    assert told(capsys, 29, 28.4).startswith("wrong")
    assert told(capsys, 29, 28.4, close=0.03) == "right."


# --- the labs' exercises ------------------------------------------------------------------------


def tags(cell):
    return cell.metadata.get("tags", [])


def names(node, kind):
    """The names that a piece of code loads (ast.Load) or binds (ast.Store)."""
    found = {
        part.id
        for part in ast.walk(node)
        if isinstance(part, ast.Name) and isinstance(part.ctx, kind)
    }
    if kind is ast.Store:
        for part in ast.walk(node):
            if isinstance(part, (ast.Import, ast.ImportFrom)):
                found |= {(alias.asname or alias.name).partition(".")[0] for alias in part.names}
            elif isinstance(part, ast.FunctionDef):
                found.add(part.name)
    return found


def run_checks(cells):
    """Run the checks among these cells, each with only the statements that it depends on."""
    statements = [
        (statement, "check" in tags(cell))
        for cell in cells
        if cell.cell_type == "code"
        for statement in ast.parse(plain(cell.source)).body
    ]
    wanted, kept = set(), []
    for statement, is_check in reversed(statements):
        if is_check or names(statement, ast.Store) & wanted:
            wanted |= names(statement, ast.Load)
            kept.insert(0, statement)
    exec(compile(ast.Module(kept, []), "lab", "exec"), {})


@pytest.fixture
def checks_of(monkeypatch):
    """What `check` is called with in a lab, with or without the solutions."""

    def call(notebook):
        calls = []
        with monkeypatch.context() as patch:
            patch.setattr(
                exercises,
                "check",
                lambda name, value, right, **options: calls.append((name, value, right, options)),
            )
            run_checks(notebook.cells)
        return calls

    return call


@pytest.mark.parametrize("name", NAMES)
def test_each_check_says_why(name, checks_of, capsys):
    lab = exercises.read_lab(LABS / f"{name}.py")
    solved = checks_of(lab)
    unsolved = checks_of(exercises.student_version(lab))
    assert solved and [call[0] for call in solved] == [call[0] for call in unsolved]
    for (label, value, right, options), (_, nothing, _, _) in zip(solved, unsolved, strict=True):
        capsys.readouterr()
        exercises.check(label, value, right, **options)
        assert capsys.readouterr().out == f"{label}: right. {options['why']}\n"
        exercises.check(label, nothing, right, **options)
        assert capsys.readouterr().out.startswith(f"{label}: not solved yet: ")
        assert options["mistakes"]
        for reason, wrong in options["mistakes"].items():
            exercises.check(label, wrong, right, **options)
            assert capsys.readouterr().out == f"{label}: wrong: {reason}.\n"


@pytest.mark.parametrize("name", NAMES)
def test_a_lab_asks_and_runs_unsolved(name):
    """It holds a guess and its reveal, and only the checks need what a student has to find."""
    code = [
        cell for cell in exercises.read_lab(LABS / f"{name}.py").cells if cell.cell_type == "code"
    ]
    asked = [
        line.partition(" = ")[0]
        for cell in code
        for line in cell.source.splitlines()
        if " = Guess." in line
    ]
    assert asked
    text = "\n".join(cell.source for cell in code)
    for question in asked:
        assert (
            text.index(f"{question} = Guess.")
            < text.index(f"display({question})")
            < text.index(f"{question}.reveal(")
        )
    given: set[str] = set()
    missing: set[str] = set()
    for cell in code:
        tree = ast.parse(plain(cell.source))
        if "solution" in tags(cell):
            missing |= names(tree, ast.Store) - given
        elif "exercise" in tags(cell):
            empty = [
                part
                for part in tree.body
                if isinstance(part, ast.Assign) and getattr(part.value, "value", 0) is ...
            ]
            missing |= {target.id for part in empty for target in part.targets}
            given = names(tree, ast.Store)
        elif "check" not in tags(cell):
            assert not missing & (names(tree, ast.Load) - names(tree, ast.Store))
            missing -= names(tree, ast.Store)


# --- the command --------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder with one small lab, which the command takes for the labs'."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "small.py").write_text(SMALL)
    monkeypatch.setattr(cli.common, "labs_home", lambda: home)
    return home


def printed(notebook, capsys):
    """What the code of a notebook prints, run in here."""
    exec("\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code"), {})
    return capsys.readouterr().out


def test_both_versions(home, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(LABS.parent))
    folder = tmp_path / "new" / "class"
    assert cli.main(["exercises", "small", "--out", str(folder)]) == 0
    assert sorted(path.name for path in folder.iterdir()) == ["small.ipynb", "small.solution.ipynb"]
    assert capsys.readouterr().out.splitlines() == [
        str(folder / "small.ipynb"),
        str(folder / "small.solution.ipynb"),
    ]
    student, complete = (
        nbformat.read(folder / f"small{kind}.ipynb", as_version=4) for kind in ("", ".solution")
    )
    for notebook in (student, complete):
        nbformat.validate(notebook)
        assert (
            "jupytext" not in notebook.metadata and notebook.metadata.kernelspec.name == "python3"
        )
    assert [cell.source for cell in complete.cells] == [
        cell.source for cell in jupytext.reads(SMALL, "py:percent").cells
    ]
    assert [cell.source for cell in student.cells][3:5] == [exercises.STUB, exercises.TEXT_STUB]
    assert (
        "6 * 7" not in (folder / "small.ipynb").read_text()
        and "secret" not in (folder / "small.ipynb").read_text()
    )
    assert printed(complete, capsys) == "product: right. Well done.\n"
    NotebookClient(
        student, timeout=200, kernel_name="python3"
    ).execute()  # an error in any cell would be raised
    assert "not solved yet" in student.cells[-1].outputs[0].text
    student.cells[3].source = "product = 6 + 7"
    assert printed(student, capsys) == "product: wrong: this is the sum.\n"


def test_the_labs_as_they_are(tmp_path, capsys):
    assert cli.main(["exercises", "--out", str(tmp_path / "all")]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2 * len(NAMES)
    for name in NAMES:
        solutions = [
            cell.source
            for cell in jupytext.read(LABS / f"{name}.py").cells
            if "solution" in tags(cell)
        ]
        student = nbformat.read(tmp_path / "all" / f"{name}.ipynb", as_version=4)
        text = "\n".join(cell.source for cell in student.cells)
        assert solutions and not [
            solution for solution in solutions if solution.splitlines()[0] in text
        ]
        assert all(
            cell.metadata.jupyter.source_hidden for cell in student.cells if "check" in tags(cell)
        )
        assert not any(cell.get("outputs") for cell in student.cells)


def test_nothing_is_written_over(home, tmp_path, capsys):
    words = ["exercises", "--out", str(tmp_path)]
    mine = tmp_path / "small.solution.ipynb"
    mine.write_text("mine")
    assert cli.main(words) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "small.solution.ipynb is there already" in told
    assert told.endswith("give another name, or --force to write over it\n")
    assert mine.read_text() == "mine" and not (tmp_path / "small.ipynb").exists()
    assert cli.main([*words, "--force"]) == 0 and mine.read_text() != "mine"
    before = mine.read_bytes()
    assert (
        cli.main([*words, "--force"]) == 0 and mine.read_bytes() == before
    )  # the same at every writing


@pytest.mark.parametrize("before", [[], ["small.ipynb"]])
def test_a_full_disk_leaves_what_was_there(before, home, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    for name in before:
        out.mkdir()
        (out / name).write_text("mine")
    words = ["exercises", "--out", str(out), *(["--force"] if before else [])]
    write = files.write

    def full(path, *rest):
        if path.name == "small.solution.ipynb":
            raise SepvizError(f"cannot write {path}: No space left on device")
        return write(path, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(files, "write", full)
        assert cli.main(words) == 2 and "No space left" in capsys.readouterr().err
    assert (
        out.exists() == bool(before)
        and sorted(path.name for path in tmp_path.glob("out/*")) == before
    )
    assert cli.main(words) == 0  # the same command works


def test_wrong_names_and_folders(home, tmp_path, capsys):
    assert cli.main(["exercises", "smal", "--out", str(tmp_path / "new")]) == 2
    assert "did you mean small" in capsys.readouterr().err and not (tmp_path / "new").exists()
    (tmp_path / "file").write_text("mine")
    assert cli.main(["exercises", "--out", str(tmp_path / "file")]) == 2
    assert "is a file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('tags=["exercise"]', "", "without an exercise"),
        ('# %% tags=["check"]', "# %%", "no check after it"),
    ],
)
def test_incomplete_exercises(home, tmp_path, old, new, words):
    (home / "small.py").write_text(SMALL.replace(old, new))
    with pytest.raises(SepvizError, match=words):
        exercises.write(home, ["small"], tmp_path / "out")
    assert not (tmp_path / "out").exists()
