"""One way to follow a method's steps: the same recipe gives the same bits wherever it is run."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jupytext
import pytest
import torch

import sepviz
from sepviz import cli, files, runs, tasks
from sepviz.core import SepvizError, Step
from sepviz.separators import Average

ROOT = Path(__file__).parents[1]
METHOD = "method=split-gibbs,prior=score-strokes,levels=3,sweeps=2,cycles=2,run=5"


@pytest.mark.parametrize("mixtures", ["task=separate,dataset=strokes,count=2,seed=4",
                                      "problem=problem.npz,weights=sum,sources=2"])
def test_one_recipe_gives_the_same_bits_everywhere(mixtures, tmp_path, monkeypatch):
    """The command line by recipe and by options, `Chunks`, `record`, a live run that is paused and
    goes on, and the tables' engine."""
    monkeypatch.setenv("SEPVIZ_DEVICE", "cpu")
    monkeypatch.chdir(tmp_path)
    files.save_problem("problem.npz", *tasks.separate("strokes", count=2, seed=4))
    recipe = sepviz.restore(f"{mixtures},{METHOD}")
    problem, _ = recipe.problem()
    separator = recipe.separator()
    trace = sepviz.record(separator, problem, seed=recipe.run, every=1, progress=False,
                          recipe=recipe)
    assert cli.main(["separate", "--recipe", str(recipe)]) == 0
    words = [f"--set={name}={text}" for name, text in recipe.parameters.items()]
    assert cli.main(["separate", "problem.npz", "--prior", "score-strokes", "--seed", "5", *words,
                     "--out", "plain.npz"]) == 0
    results = [files.load_separation(name) for name in ("out.npz", "plain.npz")]
    with runs.Chunks(recipe) as chunks:
        results.append(chunks.run())
    results.append(runs.separated(separator, problem, recipe.run))
    assert all(torch.equal(result.sources, trace.sources) for result in results)
    assert trace.recipe == str(recipe) == results[0].meta["recipe"]
    assert results[1].meta["recipe"] == f"problem=problem.npz,{METHOD}"
    live = sepviz.LiveRun(separator, problem, seed=recipe.run)
    for _ in range(3):
        live.one_step()
        assert live.wait(60)
    live.start()
    live.pause()
    assert live.wait(60)
    live.start()
    assert live.wait(60) and live.status["state"] == "finished"
    assert torch.equal(live.trace.sources, trace.sources)
    live.close()
    other = sepviz.record(separator, problem, seed=recipe.run + 1, progress=False)
    assert not torch.equal(other.sources, trace.sources), "the seed counts"


def test_a_run_says_where_it_is(monkeypatch):
    problem, _ = tasks.separate("strokes", count=2)
    method = sepviz.SplitGibbs(sepviz.load_prior("score-strokes"), levels=2, sweeps=1, cycles=1)
    run = runs.Run(method, problem, runs.generator(problem, 0))
    seconds = [step.info["seconds"] for step in run]
    assert seconds == sorted(seconds) and run.seconds == seconds[-1] > 0
    assert run.step.index == len(seconds) - 1
    assert runs.chunk_seed(7, 0) == 7
    seeds = {runs.chunk_seed(seed, index) for seed in range(99) for index in range(99)}
    assert len(seeds) == 99**2


@pytest.mark.parametrize(("spoil", "says"), [
    (lambda step: None, "yields a NoneType: want a Step"),
    (lambda step: step._replace(sources=step.sources[:1]), r"sources of shape \(1, 2, 1, 28, 28\)"),
    (lambda step: step._replace(sources=step.sources / 0 * 0), "no finite pixel"),
])
def test_what_is_no_step_is_refused(spoil, says):
    class Spoilt(Average):
        def steps(self, problem, rng, start=None):
            for step in super().steps(problem, rng, start):
                yield spoil(step)

    problem, _ = tasks.separate("strokes", count=2)
    with pytest.raises(SepvizError, match=says):
        sepviz.record(Spoilt(), problem, progress=False)


# --- "Add a method", a prior, a task, a data set, a lab, a command, as README tells -------------

ADDED = ROOT / "tests" / "added"


def add_all(house):
    """The edits that README tells, and no others."""
    def row(pattern, table, text, first=""):
        """Put a row into a table of the one file that has it, with an import before the others."""
        start = re.compile(rf"^{table}\b[^\n=]*= [{{(]", re.MULTILINE)
        (path,) = [path for path in house.glob(pattern) if start.search(path.read_text())]
        whole = start.sub(lambda match: f"{match[0]}{text}, ", path.read_text(), count=1)
        path.write_text(whole.replace("from sepviz", f"{first}\nfrom sepviz", 1))

    for name, room in (("half", "separators"), ("flat", "priors"), ("darken", "tasks"),
                       ("tally", "cli")):
        shutil.copy(ADDED / f"{name}.py", house / "sepviz" / room)
    row("sepviz/separators/*.py", "METHODS", '"half": Half',
        "from sepviz.separators.half import Half")
    row("tests/*.py", "SEPARATORS", '"half": lambda prior: methods.METHODS["half"]()')
    with (house / "sepviz" / "priors" / "__init__.py").open("a") as exports:
        exports.write("from sepviz.priors.flat import FlatPrior\n")
    row("sepviz/zoo.py", "KINDS", '"flat": FlatPrior', "from sepviz.priors import FlatPrior")
    row("tests/*.py", "PRIORS", '"flat": lambda device: FlatPrior(SHAPE).requires_grad_(False)',
        "from sepviz.priors import FlatPrior")
    row("sepviz/tasks/*.py", "TASKS", '"darken": darken', "from sepviz.tasks.darken import darken")
    row("sepviz/data/*.py", "SETS", '"dots": IdxSet("dots", ("https://example.org/dots/",), {})')
    row("sepviz/cli/*.py", "COMMANDS", "tally", "from sepviz.cli import tally")
    first = jupytext.read(house / "notebooks" / "start_here.py")
    first.cells = first.cells[:2]
    text = jupytext.writes(first, "py:percent").replace("start_here.ipynb", "mine.ipynb")
    (house / "notebooks" / "mine.py").write_text(text + (ADDED / "mine.py").read_text())


@pytest.fixture(scope="module")
def added(tmp_path_factory):
    """The names of the tests that a copy of the package passes once all six were added."""
    house = tmp_path_factory.mktemp("house")
    shutil.copytree(ROOT / "sepviz", house / "sepviz", ignore=shutil.ignore_patterns("__pycache__"))
    for name in (".ci/labs", "notebooks/start_here.py", "pyproject.toml", "README.md",
                 "tests/chromium.py", "tests/conftest.py", "tests/test_contract.py",
                 "tests/test_notebooks.py"):
        (house / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, house / name)
    shutil.copy(ADDED / "checks.py", house / "tests" / "test_added.py")
    add_all(house)
    chosen = "half or (TestPrior and flat) or test_added or mine"
    for words in ([".ci/labs", "mine"], ["-m", "pytest", "-q", "-rA", "-k", chosen, "tests"]):
        done = subprocess.run([sys.executable, *words], cwd=house, capture_output=True, text=True,
                              env={**os.environ, "PYTHONPATH": str(house), "SEPVIZ_DEVICE": "cpu"})
        assert done.returncode == 0, done.stdout + done.stderr
    return re.findall(r"^PASSED (\S+)", done.stdout, re.MULTILINE)


@pytest.mark.parametrize(("what", "others", "many"), [
    ("method", "test_contract.py.*half", 10), ("prior", "test_contract.py.*flat", 5),
    ("task", "", 0), ("data_set", "", 0), ("lab", "test_notebooks.py.*mine", 5),
    ("command", "", 0)])
def test_what_readme_adds_is_there(added, what, others, many):
    """Command line, sliders, leaderboard and labs have it, and it holds the contract."""
    assert f"tests/test_added.py::test_{what}" in added
    assert sum(bool(re.search(others, name)) for name in added) >= many


def test_a_step_says_what_is_whose():
    step = Step(3, "here", torch.zeros(1, 2, 1, 2, 2), {"noise": torch.ones(1, 2, 1, 2, 2)},
                {"filters": torch.ones(1, 2, 3, 3)},
                {"moments": torch.ones(4)}, {"sigma": 0.1})
    names = [name for name, _ in step.tensors()]
    assert names == ["shown/noise", "results/filters", "state/moments"]
    copy = step.mapped(lambda tensor: tensor * 2)
    for (_, value), (_, old) in zip(copy.tensors(), step.tensors(), strict=True):
        assert torch.equal(value, 2 * old)
    assert copy[:2] == step[:2] and copy.info == step.info
