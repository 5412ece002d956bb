"""What a copy of the package can do with what was added to it as README tells."""

import gzip

import numpy as np
import pytest
import torch

import sepviz
from sepviz import cli, data, files, tasks, zoo
from sepviz.core import ScoreModel
from sepviz.data.registry import IDX_FILES
from sepviz.priors import FlatPrior
from sepviz.widgets.workbench import choices


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def sepviz_(*words):
    assert cli.main([str(word) for word in words]) == 0


def test_method(capsys):
    problem, truth = tasks.separate("strokes", count=2)
    files.save_problem("problem.npz", problem, truth)
    sepviz_("separate", "problem.npz", "--method", "half", "--set", "share=0.25")
    assert "by half" in capsys.readouterr().out
    found = files.load_separation("out.npz").sources[:, 1]
    torch.testing.assert_close(found, problem.mixtures / 4, rtol=0, atol=0.06)
    recipe = sepviz.restore("task=separate,method=half,share=0.25,run=0")
    live = sepviz.LiveRun(recipe.separator(), problem, truth)
    knobs = [(knob["name"], knob["value"], knob["meaning"]) for knob in live.controls]
    assert knobs == [("share", 0.25, "part of the mixture")] and "half" in choices()
    trace = sepviz.record(live.separator, problem, progress=False)
    assert sepviz.Leaderboard({"half": trace}, truth).rows[0]["assumes"] == "nothing at all"


def test_prior():
    zoo.save(FlatPrior(), zoo.FOLDER / "flat.safetensors", {"seed": 0})
    few = ["--set", "levels=2", "--set", "cycles=1"]
    sepviz_("mix", "--count", 2)
    sepviz_("separate", "problem.npz", "--prior", "flat", *few)
    assert files.load_separation("out.npz").meta["prior"] == "flat"
    assert "flat" in zoo.names_for("split-gibbs", ScoreModel)


def test_task(capsys):
    sepviz_("mix", "--task", "darken", "--count", 2)
    assert files.load_problem("problem.npz")[0].mixing.weights == (0.5,)
    sepviz_("separate", "--recipe", "task=darken,count=2,method=average,run=0")
    sepviz_("score", "out.npz", "problem.npz")
    assert "residual RMS  0.0000" in capsys.readouterr().out


def test_data_set(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SEPVIZ_DATA", str(tmp_path))
    (tmp_path / "dots").mkdir()
    for images, labels in IDX_FILES.values():
        for name, array in ((images, np.eye(28, dtype=np.uint8)[None].repeat(9, 0) * 255),
                            (labels, np.arange(9, dtype=np.uint8))):
            head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
            (tmp_path / "dots" / f"{name}.gz").write_bytes(gzip.compress(head + array.tobytes()))
    assert data.load("dots", "test").images.shape == (9, 1, 28, 28)
    sepviz_("data")
    assert "dots" in capsys.readouterr().out
    sepviz_("mix", "--dataset", "dots", "--task", "darken", "--count", 2)


def test_lab(capsys):
    sepviz_("lab", "mine", "--no-open", "--folder", "labs")
    assert "mine.ipynb: copied" in capsys.readouterr().out
    sepviz_("exercises", "mine", "--out", "class")
    assert "mine.solution.ipynb" in capsys.readouterr().out


def test_command(capsys):
    sepviz_("mix", "--count", 3)
    sepviz_("tally", "problem.npz")
    assert capsys.readouterr().out.endswith("3 mixtures\n")
    sepviz_("--help")
    assert "count the mixtures of a problem file" in capsys.readouterr().out
