"""One way to follow a method's steps: the same recipe gives the same bits wherever it is run."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import sepviz
from sepviz import cli, files, runs, tasks
from sepviz.bench.run import separate_chunk
from sepviz.core import SepvizError, Step
from sepviz.separators import Average

ROOT = Path(__file__).parents[1]
RECIPE = "task=separate,dataset=strokes,count=2,seed=4,method=split-gibbs,prior=score-strokes,levels=3,sweeps=2,cycles=2,run=5"


def test_one_recipe_gives_the_same_bits_everywhere(tmp_path, monkeypatch):
    """The command line, `record`, a live run that is paused and goes on, a fork, and the tables' engine."""
    monkeypatch.setenv("SEPVIZ_DEVICE", "cpu")
    state = sepviz.restore(RECIPE)
    problem, _ = state.problem()
    separator = state.separator()
    trace = sepviz.record(separator, problem, seed=state.run, every=1, progress=False)
    assert cli.main(["separate", "--state", RECIPE, "--out", str(tmp_path / "out.npz")]) == 0
    assert torch.equal(files.load_separation(tmp_path / "out.npz").sources, trace.sources)
    assert torch.equal(separate_chunk(separator, problem, state.run).sources, trace.sources)
    live = sepviz.LiveRun(separator, problem, seed=state.run)
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
    other = sepviz.record(separator, problem, seed=state.run + 1, progress=False)
    assert not torch.equal(other.sources, trace.sources), "the seed counts"


def test_a_run_says_where_it_is(monkeypatch):
    problem, _ = tasks.separate("strokes", count=2)
    run = runs.Run(sepviz.SplitGibbs(sepviz.load_prior("score-strokes"), levels=2, sweeps=1, cycles=1), problem,
                   runs.generator(problem, 0))
    seconds = [step.info["seconds"] for step in run]
    assert seconds == sorted(seconds) and run.seconds == seconds[-1] > 0 and run.step.index == len(seconds) - 1
    assert runs.chunk_seed(7, 0) == 7 and len({runs.chunk_seed(seed, index) for seed in range(99) for index in range(99)}) == 99**2


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


# --- "Add a method", as README tells it --------------------------------------------------------

METHOD = '''"""Half: every source is the same part of the mixture, and a little noise."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator

from sepviz.core import Problem, Separator, Step, parameter


@dataclass(frozen=True)
class Half(Separator):
    """``x_k = share m + 0.01 noise``."""

    share: float = parameter(0.5, "part of the mixture", low=0.0, high=1.0)

    assumes: ClassVar[str] = "nothing at all"

    def total_steps(self, problem: Problem) -> int:
        """The number of steps after step 0."""
        return 1

    def steps(self, problem: Problem, rng: Generator, start: Step | None = None) -> Iterator[Step]:
        """Yield the sources, twice."""
        self.check(problem)
        for index in range(0 if start is None else start.index + 1, 2):
            sources = self.share * problem.mixtures[:, None].repeat(1, problem.mixing.count, 1, 1, 1)
            sources = sources + 0.01 * torch.randn(sources.shape, generator=rng, device=sources.device)
            info = {"evaluations": float(index), "residual": problem.residual(sources)}
            yield Step(index, "half", sources, info=info)
'''
USE = """
import sepviz
from sepviz import tasks
problem, truth = tasks.separate("strokes", count=2)
live = sepviz.LiveRun(sepviz.restore("task=separate,method=half,share=0.25,run=0").separator(), problem, truth)
print([(knob["name"], knob["value"], knob["meaning"]) for knob in live.controls])
board = sepviz.Leaderboard({"half": sepviz.record(live.separator, problem, progress=False)}, truth)
print(board.rows[0]["assumes"])
"""


def test_a_method_is_added_by_three_edits(tmp_path):
    """Its file, its export, its row in the contract's test: the command line, sliders and leaderboard then have it."""
    shutil.copytree(ROOT / "sepviz", tmp_path / "sepviz", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "tests").mkdir()
    for name in ("conftest.py", "chromium.py", "test_contract.py"):
        shutil.copy(ROOT / "tests" / name, tmp_path / "tests")
    (tmp_path / "sepviz" / "separators" / "half.py").write_text(METHOD)
    exported = "from sepviz.separators.mask import Mask\n"
    edit(tmp_path / "sepviz" / "separators" / "__init__.py",
         (exported, f"from sepviz.separators.half import Half\n{exported}"), ('"mask": Mask,', '"half": Half, "mask": Mask,'))
    row = '    "half": lambda prior: methods.METHODS["half"](),\n'
    edit(tmp_path / "tests" / "test_contract.py", ('    "ss-nmf": lambda', f'{row}    "ss-nmf": lambda'))
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "SEPVIZ_DEVICE": "cpu"}

    def python(*words):
        done = subprocess.run([sys.executable, *words], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    told = python("-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "half", "tests/test_contract.py")
    assert int(re.search(r"(\d+) passed", told)[1]) >= 10
    python("-m", "sepviz", "mix", "--count", "2")
    assert "by half" in python("-m", "sepviz", "separate", "problem.npz", "--method", "half", "--set", "share=0.25")
    given = files.load_problem(tmp_path / "problem.npz")[0]
    torch.testing.assert_close(files.load_separation(tmp_path / "out.npz").sources[:, 1], given.mixtures / 4, rtol=0, atol=0.06)
    assert python("-c", USE).splitlines() == ["[('share', 0.25, 'part of the mixture')]", "nothing at all"]


def edit(path, *pairs):
    text = path.read_text()
    for old, new in pairs:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path.write_text(text)


def test_a_step_says_what_is_whose():
    step = Step(3, "here", torch.zeros(1, 2, 1, 2, 2), {"noise": torch.ones(1, 2, 1, 2, 2)}, {"filters": torch.ones(1, 2, 3, 3)},
                {"moments": torch.ones(4)}, {"sigma": 0.1})
    assert [name for name, _ in step.tensors()] == ["shown/noise", "results/filters", "state/moments"]
    copy = step.mapped(lambda tensor: tensor * 2)
    assert all(torch.equal(value, 2 * old) for (_, value), (_, old) in zip(copy.tensors(), step.tensors(), strict=True))
    assert copy[:2] == step[:2] and copy.info == step.info
