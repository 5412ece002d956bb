"""Nothing that was computed is lost: full disks, two runs of one name, outputs that are inputs."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from sepviz import cli, data, files, tasks, zoo
from sepviz.core import SepvizError, Step
from sepviz.priors import CnnRegressor
from sepviz.separators import Average, Egg
from sepviz.training import followed


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEPVIZ_DEVICE", "cpu")


@pytest.fixture(scope="module")
def mixed():
    return tasks.mix(torch.rand(5, 2, 1, 8, 8, generator=torch.Generator().manual_seed(0)))


@pytest.fixture
def problem(place, mixed):
    files.save_problem("problem.npz", *mixed)
    return "problem.npz"


@pytest.fixture
def few_images(monkeypatch):
    few = data.strokes(120, 1)
    monkeypatch.setattr(data, "load", lambda *args, **kwargs: few)
    return few


def here():
    return sorted(path.name for path in Path().iterdir())


class Slow(Average):
    """Four steps, each of the average of step 0; something may happen before each."""

    happens = staticmethod(lambda mixtures, index: None)

    def total_steps(self, problem):
        return 3

    def steps(self, problem, rng, start=None):
        half = problem.mixtures[:, None].repeat(1, 2, 1, 1, 1) / 2
        for index in range(0 if start is None else start.index + 1, 4):
            replaced = self.happens(problem.mixtures, index)
            yield Step(index, f"step {index}", half.clone() if replaced is None else replaced,
                       info={"evaluations": float(index)})


@pytest.fixture
def slow(monkeypatch):
    """The method ``average`` in four steps; what happens before each is to be set."""
    from sepviz.separators import METHODS

    monkeypatch.setitem(METHODS, "average", Slow)
    return lambda happens: monkeypatch.setattr(Slow, "happens", staticmethod(happens))


def no_space(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


SEPARATE = ["separate", "problem.npz", "--method", "average", "--chunk", 2]


# --- full disks ---------------------------------------------------------------------------------


def test_a_full_disk_in_mid_run_does_not_end_a_separation(run, problem, slow, monkeypatch):
    monkeypatch.setattr("sepviz.runs.chunks.SAVE_EVERY", -1)
    full = pytest.MonkeyPatch()
    try:
        def happens(mixtures, index):
            if len(mixtures) == 1:  # the last chunk
                full.undo()
            else:
                full.setattr(os, "fsync", no_space)

        slow(happens)
        code, _, err = run(*SEPARATE)
    finally:
        full.undo()
    assert code == 0 and err.count("\n") == err.count("No space left on device") == 1
    assert here() == ["out.npz", "problem.npz"]
    torch.testing.assert_close(files.load_separation("out.npz").sources[:, 0],
                               files.load_problem(problem)[0].mixtures / 2)


def test_a_full_disk_at_the_end_keeps_the_run(run, problem, monkeypatch):
    save = files.save_separation
    monkeypatch.setattr(files, "save_separation",
                        lambda path, *_, **__: files.write(path, no_space))
    code, _, err = run(*SEPARATE)
    assert code == 2 and err.count("\n") == 1 and "cannot write out.npz: No space left" in err
    assert "out.partial.npz keeps 5 of 5 mixtures; the same command goes on from there" in err
    assert here() == ["out.partial.npz", "problem.npz"]
    monkeypatch.setattr(files, "save_separation", save)
    monkeypatch.setattr(Average, "steps", lambda *_: pytest.fail("computed again"))
    assert run(*SEPARATE)[0] == 0 and here() == ["out.npz", "problem.npz"]
    assert files.load_separation("out.npz").sources.shape == (5, 2, 1, 8, 8)


def test_steps_that_cannot_be_written_do_not_lose_the_result(run, problem, monkeypatch):
    monkeypatch.setattr("sepviz.runs.trace.Trace.save",
                        lambda self, path, **_: files.write(path, no_space))
    code, out, err = run(*SEPARATE, "--trace", "t.npz", "--html", "p.html")
    assert code == 2
    assert "out.npz is written, but not its steps: cannot write t.npz: No space left" in err
    assert "out.npz: 5 mixtures" in out and here() == ["out.npz", "p.html", "problem.npz"]
    assert len(files.load_separation("out.npz").sources) == 5


KILLED = """
import os, sys, torch
from sepviz import cli, files
from sepviz.separators import Average

steps = Average.steps

def killed(self, problem, rng, start=None):
    if torch.equal(problem.mixtures, files.load_problem("problem.npz")[0].mixtures[2:4]):
        os._exit(9)
    return steps(self, problem, rng, start)

Average.steps = killed
cli.main(sys.argv[1:])"""


def test_a_run_killed_after_its_trace_goes_on(run, problem):
    words = [str(word) for word in SEPARATE] + ["--trace", "t.npz"]
    environment = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[2])}
    assert subprocess.run([sys.executable, "-c", KILLED, *words], env=environment,
                          capture_output=True).returncode == 9
    assert {"t.npz", "out.partial.npz", "out.npz.lock"} <= set(here())
    assert run(*words)[0] == 0 and here() == ["out.npz", "problem.npz", "t.npz"]


def test_weights_that_cannot_be_written_leave_nothing_in_the_way(run, few_images, monkeypatch):
    words = ["train", "cnn", "--iterations", 2]
    save = files.write_all
    write_by(monkeypatch, lambda writers, *rest: no_space_for(save, writers, ".safetensors", *rest))
    code, _, err = run(*words)
    assert code == 2 and err.count("\n") == 1
    assert "cannot write cnn-strokes.safetensors: No space left" in err
    assert ("cnn-strokes.ckpt keeps the run up to iteration 2; "
            "the same command goes on from there") in err
    assert here() == ["cnn-strokes.ckpt"]
    write_by(monkeypatch, save)
    monkeypatch.setattr(CnnRegressor, "regress", counted := count(CnnRegressor.regress))
    assert run(*words)[0] == 0 and here() == ["cnn-strokes.json", "cnn-strokes.safetensors"]
    assert counted.calls == 1  # the held-out images alone


def write_by(monkeypatch, function):
    """Let all files be written by a function."""
    for module in (files, files.disk):
        monkeypatch.setattr(module, "write_all", function)


def no_space_for(save, writers, suffix, *rest):
    return save({path: no_space if path.suffix == suffix else writer
                 for path, writer in writers.items()}, *rest)


def count(function):
    def counted(*args):
        counted.calls += 1
        return function(*args)

    counted.calls = 0
    return counted


def test_the_steps_of_a_training_come_with_its_weights_or_not_at_all(run, few_images, monkeypatch):
    monkeypatch.setattr("sepviz.tasks.unmixing.HELD_OUT", 10)
    words = ["train", "egg", "--training", 20, "--set", "iterations=1", "--set", "batch=8",
             "--trace", "run.npz"]
    save, refused = files.write_all, ["run.problem.npz", "egg.safetensors"]
    for name in refused:
        write_by(monkeypatch, lambda writers, *rest, name=name: save(
            {path: no_space if path.name == name else writer
             for path, writer in writers.items()}, *rest))
        code, _, err = run(*words)
        assert code == 2 and f"cannot write {name}: No space left" in err, err
        assert here() == ["egg.ckpt"]
    write_by(monkeypatch, save)
    monkeypatch.setattr(Egg, "steps", lambda *_: iter(()))  # all were done
    assert run(*words)[0] == 0
    assert here() == ["egg.json", "egg.safetensors", "run.npz", "run.problem.npz"]


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    if not hasattr(os, "geteuid") or os.geteuid() or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)],
                                                                    capture_output=True).returncode:
        pytest.skip("cannot mount a small disk here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_is_really_full(run, few_images, small_disk, monkeypatch, capsys):
    """The checkpoint fits once, not twice: the old one stays, and no temporary file."""
    out = small_disk / "mine.safetensors"
    words = ["train", "cnn", "--iterations", 3, "--out", out]
    monkeypatch.setattr(followed, "SAVE_EVERY", -1)
    (small_disk / "ballast").write_bytes(bytes(250_000))
    code, _, err = run(*words)
    assert code == 2 and "cannot write" in err and "No space left on device" in err
    assert "Traceback" not in err
    assert sorted(path.name for path in small_disk.iterdir()) == ["ballast"]
    with pytest.raises(SepvizError, match="No space left"):
        files.save_problem(small_disk / "p.npz", *tasks.mix(torch.rand(40, 2, 1, 28, 28)))
    assert sorted(path.name for path in small_disk.iterdir()) == ["ballast"]
    assert "Exception ignored" not in capsys.readouterr().err
    (small_disk / "ballast").unlink()


# --- two runs, one name -------------------------------------------------------------------------


def test_a_second_run_of_one_name_is_refused_at_once(run, problem, few_images, slow):
    seen = []

    def happens(mixtures, index):
        if not seen:
            seen.append(None)  # only once
            seen.append((cli.main([str(word) for word in SEPARATE]), here()))

    slow(happens)
    code, _, err = run(*SEPARATE)
    assert code == 0 and seen[1][0] == 2 and "out.npz is being made by another run" in err
    assert "choose another name" in err
    assert here() == ["out.npz", "problem.npz"]
    with files.lock(Path("mine.safetensors")):
        code, _, err = run("train", "cnn", "--out", "mine.safetensors")
    assert code == 2 and err.count("\n") == 1 and "mine.safetensors.lock" in err


def test_a_lock_ends_with_its_process(run, problem):
    program = ("import os, pathlib\nfrom sepviz import files\n"
               "with files.lock(pathlib.Path('out.npz')):\n    os._exit(9)")
    root = Path(cli.__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", program],
                          env={**os.environ, "PYTHONPATH": str(root)}).returncode == 9
    assert "out.npz.lock" in here()
    assert run(*SEPARATE)[0] == 0 and here() == ["out.npz", "problem.npz"]


@pytest.mark.parametrize("without", [(), ("fcntl",)])
def test_locks_with_and_without_those_of_the_system(monkeypatch, without):
    for name in without:
        monkeypatch.setitem(sys.modules, name, None)
    path = Path("out.npz")
    with files.lock(path):
        held = (r"out\.npz is being made by another run, "
                r"which holds out\.npz\.lock: .*remove that file")
        with pytest.raises(SepvizError, match=held), files.lock(path):
            pass
        with files.lock(Path("other.npz")):
            assert here() == ["other.npz.lock", "out.npz.lock"]
    with files.lock(path):
        pass
    assert here() == []


def test_a_name_that_was_taken_meanwhile_loses_no_work(run, problem, few_images, slow, monkeypatch):
    slow(lambda mixtures, index: Path("out.npz").write_text("another's") and None)
    code, out, err = run(*SEPARATE)
    assert code == 0
    assert "out.npz was made by another program meanwhile: the result is out-2.npz" in err
    assert "out-2.npz: 5 mix" in out
    assert Path("out.npz").read_text() == "another's"
    assert files.load_separation("out-2.npz").sources.shape[0] == 5
    whole = CnnRegressor.regress
    monkeypatch.setattr(CnnRegressor, "regress",
                        lambda *args: (Path("mine.json").write_text("another's"), whole(*args))[1])
    code, out, err = run("train", "cnn", "--iterations", 2, "--out", "mine.safetensors")
    assert code == 0 and "the result is mine-2.safetensors" in err
    assert "mine-2.safetensors: 2 iterations" in out
    assert json.loads(Path("mine-2.json").read_text())["iterations"] == 2
    assert Path("mine.json").read_text() == "another's"
    assert not Path("mine.safetensors").exists() and zoo.load("mine-2.safetensors").name == "mine"


# --- outputs that are inputs --------------------------------------------------------------------


@pytest.mark.parametrize("option", ["--out", "--trace", "--html"])
@pytest.mark.parametrize("link", ["same", "symbolic", "hard", "dotted"])
def test_no_output_may_be_an_input(run, problem, option, link):
    before, name = Path(problem).read_bytes(), "link.npz"
    if link == "symbolic":
        os.symlink(problem, name)
    elif link == "hard":
        os.link(problem, name)
    else:
        name = problem if link == "same" else f"../{Path().resolve().name}/./{problem}"
    code, _, err = run(*SEPARATE, option, name, "--force")
    assert code == 2 and err.count("\n") == 1
    assert "would be written over problem.npz, which this command reads" in err
    assert Path(problem).read_bytes() == before


def test_no_output_may_be_weights_a_card_or_a_mask(run, problem):
    weights = zoo.save(CnnRegressor((1, 8, 8), 4), "mine.safetensors", {})
    Path("mask.png").write_bytes(b"a mask")
    before = {name: Path(name).read_bytes() for name in here()}
    for name in (weights, "mine.json", "mask.png"):
        code, _, err = run(*SEPARATE, "--prior", weights, "--visible", "mask.png", "--html", name,
                           "--force")
        assert code == 2 and f"{name} would be written over {name}" in err
    code, _, err = run("train", "score", "--start", weights, "--out", weights)
    assert code == 2 and "there already" in err
    for name in ("x.json", "x.safetensors", "x.ckpt"):
        code, _, err = run("train", "egg", "--out", "x.safetensors", "--trace", name)
        assert code == 2 and "names of their own" in err
    assert {name: Path(name).read_bytes() for name in here()} == before


def test_exercises_are_not_written_over_the_labs(run, tmp_path, monkeypatch):
    home = tmp_path / "labs"
    home.mkdir()
    (home / "start_here.py").write_text("# %%\n")
    monkeypatch.setattr(cli.common, "labs_home", lambda: home)
    code, _, err = run("exercises", "--out", "labs/../labs", "--force")
    assert code == 2 and "the labs themselves lie there" in err
    assert [path.name for path in home.iterdir()] == ["start_here.py"]


# --- numbers that are none ----------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_separation_that_diverges_is_no_result(run, problem, slow, bad):
    worst = torch.full((1, 2, 1, 8, 8), bad)
    worst[0, 0, 0, 0, 0] = 0  # of nothing but such numbers a run ends earlier
    slow(lambda mixtures, index: worst.clone() if len(mixtures) == 1 else None)
    code, _, err = run(*SEPARATE)
    assert code == 2 and err.count("\n") == 1
    assert f"sources of mixture 4 hold {bad}: the run diverged" in err
    assert "out.partial.npz keeps 4 of 5 mixtures" in err
    assert here() == ["out.partial.npz", "problem.npz"]
    partial = files.load_partial("out.partial.npz")
    assert partial.step is None and len(partial.done) == 4
    with pytest.raises(SepvizError, match="sources of mixture 1 hold"):
        files.save_separation("bad.npz", torch.tensor([0.0, bad]).view(2, 1, 1, 1, 1), {})
    slow(lambda *_: None)
    assert run(*SEPARATE)[0] == 0 and len(files.load_separation("out.npz").sources) == 5


def test_options_that_exclude_each_other(run):
    code, _, err = run("train", "score", "--minutes", 5, "--iterations", 3)
    assert code == 2 and "--minutes 5 and --iterations 3: give one of them" in err
