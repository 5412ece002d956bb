"""The command line: every command once, every bad input, and an interrupted run taken up again."""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from sepviz import cli, data, files, tasks, zoo
from sepviz.priors import GanPrior, ScorePrior
from sepviz.runs.recipe import CHUNK, restore
from sepviz.runs.trace import Trace, record
from sepviz.separators import METHODS

FEW = [word for setting in ("levels=2", "sweeps=3", "cycles=1", "sigma_average=0")
       for word in ("--set", setting)]


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """Every test in an empty folder, on the CPU."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEPVIZ_DEVICE", "cpu")
    monkeypatch.delenv("JUPYTERHUB_SERVICE_PREFIX", raising=False)


@pytest.fixture
def prior(tmp_path):
    """An untrained network, as a file."""
    torch.manual_seed(0)
    return str(zoo.save(ScorePrior(widths=(8, 8, 8), name="tiny"), tmp_path / "tiny.safetensors",
                        {"seed": 0}))


@pytest.fixture(scope="module")
def mixed():
    return tasks.separate("strokes", count=5, seed=3)


@pytest.fixture
def problem(place, mixed):
    files.save_problem("problem.npz", *mixed)
    return "problem.npz"


@pytest.fixture
def few_images(monkeypatch):
    """A train split of 300 strokes: drawing 20,000 takes longer than all the tests."""
    few = data.strokes(300, 1)
    monkeypatch.setattr(data, "load", lambda *args, **kwargs: few)
    return few


@pytest.fixture
def fails(run, tmp_path):
    """The command ends with code 2 and one line that holds these words, and changes no file."""
    def call(words, *command):
        before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        code, _, err = run(*command)
        assert code == 2
        assert err.startswith("sepviz: ") and err.count("\n") == 1, err
        for word in words:
            assert word in err, err
        assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before

    return call


# --- what works ---------------------------------------------------------------------------------


def test_help(run):
    code, out, _ = run()
    assert code == 0 and "separate" in out
    for name in ("lab", "exercises", "demo", "mix", "separate", "score", "train", "export", "data"):
        code, out, _ = run(name, "--help")
        assert code == 0 and f"sepviz {name}" in out
    assert all(method in run("separate", "--help")[1] for method in METHODS)
    assert run("--version")[1].startswith("sepviz 0")


def test_help_is_quick():
    """Neither torch nor matplotlib is loaded to print the help."""
    code = ("import sys; from sepviz import cli; cli.main(['--help']); "
            "assert not {'torch', 'numpy', 'matplotlib'} & set(sys.modules)")
    root = Path(cli.__file__).parents[2]  # where sepviz is not installed
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL,
                   env={**os.environ, "PYTHONPATH": str(root)})


def test_mix_separate_score(run, prior, mixed):
    problem = "problem.npz"
    assert run("mix", "--count", 5, "--seed", 3)[0] == 0
    assert torch.equal(files.load_problem(problem)[1].sources, mixed[1].sources)
    assert files.load_problem(problem)[0].mixtures.shape == (5, 1, 28, 28)
    code, out, err = run("separate", problem, "--prior", prior, *FEW, "--seed", 4, "--chunk", 2)
    assert (code, err) == (0, "") and "out.npz: 5 mixtures of 2 sources by split-gibbs" in out
    sources, meta, _ = files.load_separation("out.npz")
    assert sources.shape == (5, 2, 1, 28, 28)
    assert meta["parameters"]["levels"] == 2 and meta["seed"] == 4 and meta["evaluations"] >= 6
    assert meta["device"] == "cpu"
    assert set(meta["versions"]) == {"sepviz", "torch", "numpy", "python"}
    code, out, err = run("score", "out.npz", problem)
    assert (code, err) == (0, "") and "per_source" in out and "95%" in out
    found = json.loads(run("score", "out.npz", problem, "--json", "--convention", "summed_mse")[1])
    assert found["n"] == 5 and found["convention"] == "summed_mse" and found["residual_rms"] < 1e-4


def test_the_first_chunk_is_what_record_gives(run, prior, problem):
    import sepviz

    run("separate", problem, "--prior", prior, *FEW, "--seed", 4, "--chunk", 2)
    given = files.load_problem(problem)[0]
    separator = sepviz.SplitGibbs(zoo.load(prior), levels=2, sweeps=3, cycles=1, sigma_average=0)
    trace = sepviz.record(separator, given._replace(mixtures=given.mixtures[:2]), seed=4,
                          progress=False)
    assert torch.equal(files.load_separation("out.npz").sources[:2], trace.sources)


def test_presets_and_settings(run, prior, problem):
    few = ["--set", "levels=2", "--set", "steps_per_level=1"]
    words = ["separate", problem, "--method", "basis", "--prior", prior, "--preset", "program",
             *few]
    assert run(*words, "--set", "denoise_last=yes")[0] == 0
    meta = files.load_separation("out.npz").meta
    assert meta["preset"] == "program" and meta["parameters"]["delta"] == 3e-5
    assert meta["parameters"]["denoise_last"] is True


def test_average_needs_no_prior(run, problem):
    assert run("separate", problem, "--method", "average", "--sources", 2, "--weights",
               "sum")[0] == 0
    given = files.load_problem(problem)[0]
    torch.testing.assert_close(files.load_separation("out.npz").sources[:, 0], given.mixtures / 2)


def test_trace_and_page(run, prior, problem):
    from sepviz.runs.trace import Trace

    words = ["separate", problem, "--prior", prior, *FEW, "--chunk", 3, "--trace", "trace.npz",
             "--html", "player.html"]
    code, out, _ = run(*words)
    assert code == 0 and "the first 3 mixtures" in out
    trace = Trace.load("trace.npz")
    assert torch.equal(trace.sources, files.load_separation("out.npz").sources[:3])
    with open("player.html") as file:
        assert "<html" in file.read()


def test_bare_array_in(run, problem):
    np.save("m.npy", files.load_problem(problem)[0].mixtures[:, 0])
    assert run("separate", "m.npy", "--method", "average", "--sources", 3)[0] == 0
    assert files.load_separation("out.npz").sources.shape == (5, 3, 1, 28, 28)


def test_mix_weights(run):
    assert run("mix", "--count", 2, "--weights", 1, 0.5, 2)[0] == 0
    assert files.load_problem("problem.npz")[0].mixing.weights == (1, 0.5, 2)


@pytest.fixture
def short_demo(monkeypatch):
    """The demo's methods in a few steps."""
    from sepviz.separators import Basis, SplitGibbs

    def few(self, *args):
        return Basis(self.prior, levels=2, steps_per_level=1).steps(*args)

    monkeypatch.setattr(Basis, "presets", {"program": {"levels": 2, "steps_per_level": 2}})
    monkeypatch.setattr(SplitGibbs, "steps", few)


def test_demo(run, prior, short_demo):
    for folder in ("sepviz-demo", "sepviz-demo-2"):
        code, out, err = run("demo", "--prior", prior, "--count", 2)
        assert (code, err) == (0, "") and "average" in out
        assert f"{folder}/player.html" in out.replace("\\", "/")
        with open(f"{folder}/methods.png", "rb") as file:
            assert file.read(4) == b"\x89PNG"


def test_a_demo_that_fails_leaves_nothing(run, prior, short_demo, monkeypatch, tmp_path):
    def full(*_args, **_more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sepviz.views.page.save_page", full)
    code, _, err = run("demo", "--prior", prior, "--count", 2, "--out", tmp_path / "new")
    assert code == 2 and "No space left" in err and not (tmp_path / "new").exists()


def test_train(run, fails, monkeypatch, few_images):
    from sepviz.training import score

    whole = score.train_score
    monkeypatch.setattr(score, "train_score", functools.partial(whole, widths=(8, 8, 8), batch=8))
    code, out, err = run("train", "score", "--iterations", 2, "--out", "mine.safetensors",
                         "--seed", 1)
    assert (code, err) == (0, "") and "sigma 0.02" in out
    with open("mine.json") as file:
        card = json.load(file)
    assert card["iterations"] == 2 and card["dataset"] == "strokes"
    assert "--iterations 2" in card["command"]
    assert zoo.load("mine.safetensors").name == "mine"
    assert run("train", "score", "--iterations", 2, "--start", "mine.safetensors",
               "--out", "more.safetensors")[0] == 0
    mine, more = (zoo.load(f"{name}.safetensors").parameters() for name in ("mine", "more"))
    for one, other in zip(mine, more, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-3)  # the two runs are of other seeds
    fails(["no weights at", "nowhere.safetensors"],
          "train", "score", "--start", "nowhere.safetensors")
    fails(["--start gan-strokes", "is of kind gan"], "train", "score", "--start", "gan-strokes")


def test_train_interrupted(run, monkeypatch, tmp_path, few_images):
    from sepviz.training import score

    whole, loss, calls = score.train_score, score.denoising_loss, []

    def interrupt(*args):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return loss(*args)

    monkeypatch.setattr(score, "denoising_loss", interrupt)
    monkeypatch.setattr(score, "train_score", functools.partial(whole, widths=(8, 8, 8), batch=8))
    words = ["train", "score", "--iterations", 4, "--out", "mine.safetensors"]
    code, _, err = run(*words)
    assert code == 130 and err.count("\n") == 1 and "mine.ckpt keeps the run" in err
    assert run(*words)[0] == 0
    assert len(calls) == 3 + 2  # two were done, the third was lost, two were left
    assert not (tmp_path / "mine.ckpt").exists()


def test_data(run):
    code, out, _ = run("data")
    assert code == 0 and "strokes" in out


def test_bench_gets_its_words(run, monkeypatch):
    from sepviz.bench import report

    got = []
    monkeypatch.setattr(report, "main", lambda options, prior: got.append(
        (options.count, options.chunk, prior.name)))
    assert run("bench", "basis", "--dataset", "strokes", "--count", "3")[0] == 0
    assert got == [(3, 50, "score-strokes")]


# --- labs ---------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    for name in ("start_here", "langevin"):
        (home / f"{name}.ipynb").write_text(f"{name} 1")
        (home / f"{name}.py").write_text(f"# {name} 1")
    monkeypatch.setattr(cli.common, "labs_home", lambda: home)
    return home


def test_labs_never_over_edits(run, home, tmp_path):
    mine = tmp_path / "sepviz-labs"
    assert run("lab", "--no-open")[0] == 0
    assert (mine / "start_here.ipynb").read_text() == "start_here 1"
    assert (mine / "langevin.py").exists()
    (mine / "start_here.ipynb").write_text("my edit")
    code, out, _ = run("lab", "--no-open")  # no new version: nothing to tell
    assert code == 0 and "new" not in out and not list(mine.glob("*.new*"))
    for name in ("start_here", "langevin"):
        (home / f"{name}.ipynb").write_text(f"{name} 2")
    code, out, _ = run("lab", "--no-open")
    assert "yours is kept, the new version is start_here.new.ipynb" in out
    assert (mine / "start_here.ipynb").read_text() == "my edit"
    assert (mine / "start_here.new.ipynb").read_text() == "start_here 2"
    assert (mine / "langevin.ipynb").read_text() == "langevin 2"  # was not edited
    (mine / "start_here.new.ipynb").write_text("my second edit")
    (home / "start_here.ipynb").write_text("start_here 3")
    run("lab", "--no-open")
    assert (mine / "start_here.new.ipynb").read_text() == "my second edit"
    assert (mine / "start_here.new2.ipynb").read_text() == "start_here 3"


def test_labs_without_manifest(run, home, tmp_path):
    """A file that nobody remembers copying counts as the user's."""
    mine = tmp_path / "sepviz-labs"
    mine.mkdir()
    (mine / "langevin.ipynb").write_text("whose?")
    run("lab", "--no-open")
    assert (mine / "langevin.ipynb").read_text() == "whose?"
    assert (mine / "langevin.new.ipynb").read_text() == "langevin 1"


def test_lab_says_how_to_run_all_cells(run, home):
    lines = run("lab", "--no-open")[1].splitlines()
    assert len([line for line in lines if "Run All Cells" in line]) == 1


def test_lab_opens(run, home, monkeypatch, tmp_path):
    got = []

    class Process:
        def __init__(self, command, cwd):
            got.append((command, cwd))

        def wait(self):
            return 0

    monkeypatch.setattr(cli.lab.subprocess, "Popen", Process)
    monkeypatch.setattr(os, "geteuid", lambda: 1000, raising=False)
    assert run("lab", "langevin", "--folder", "mine")[0] == 0
    assert got[0][0][1:] == ["-m", "jupyterlab", "langevin.ipynb"] and str(got[0][1]) == "mine"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A user's server on a JupyterHub, where another server must not be started."""
    monkeypatch.setattr(cli.lab.subprocess, "Popen",
                        lambda *args, **kwargs: pytest.fail("a second server"))
    monkeypatch.setenv("JUPYTERHUB_SERVICE_PREFIX", "/user/ada/")
    monkeypatch.setenv("JUPYTER_SERVER_ROOT", str(tmp_path))


def page_of(done):
    """The page that the last line of a command names."""
    return done[1].splitlines()[-1].split(" ")[-1]


def test_lab_on_a_hub(run, home, hub, tmp_path):
    code, out, err = run("lab", "langevin", "--folder", "my labs")
    assert code == 0 and not err and (tmp_path / "my labs" / "langevin.ipynb").exists()
    assert out.splitlines()[-1].endswith(" /user/ada/lab/tree/my%20labs/langevin.ipynb")
    assert page_of(run("lab")) == "/user/ada/lab/tree/sepviz-labs/start_here.ipynb"
    assert run("lab", "--no-open")[1].splitlines()[-1].startswith("labs in sepviz-labs")


def test_lab_on_a_hub_looks_under_home(run, home, hub, monkeypatch, tmp_path):
    monkeypatch.delenv("JUPYTER_SERVER_ROOT")
    monkeypatch.setenv("HOME", str(tmp_path.parent))
    page = f"/user/ada/lab/tree/{tmp_path.name}/sepviz-labs/start_here.ipynb"
    assert page_of(run("lab")) == page


def test_lab_out_of_the_hubs_sight(run, fails, home, hub, monkeypatch, tmp_path):
    monkeypatch.setenv("JUPYTER_SERVER_ROOT", str(tmp_path / "elsewhere"))
    fails(["--folder sepviz-labs", f"shows {tmp_path / 'elsewhere'} alone"], "lab", "langevin")
    assert not (tmp_path / "sepviz-labs").exists()
    page = "/user/ada/lab/tree/labs/start_here.ipynb"
    assert page_of(run("lab", "--folder", "elsewhere/labs")) == page


def test_lab_errors(fails, home, tmp_path):
    fails(["langvin", "did you mean langevin"], "lab", "langvin", "--no-open")
    (tmp_path / "file").write_text("mine")
    fails(["file"], "lab", "--no-open", "--folder", "file")
    fails(["file"], "lab", "--no-open", "--folder", "file/labs")


# --- interrupted and resumed --------------------------------------------------------------------


# in the first chunk of 6 evaluations, the second, the third
@pytest.mark.parametrize("after", [4, 9, 15])
def test_interrupted_run_resumes(run, prior, problem, monkeypatch, tmp_path, after):
    words = ["separate", problem, "--prior", prior, *FEW, "--chunk", 2, "--seed", 1]
    assert run(*words, "--out", "whole.npz")[0] == 0
    denoise, calls = ScorePrior.denoise, []

    def interrupt(self, x, sigma):
        calls.append(1)
        if len(calls) == after:
            raise KeyboardInterrupt
        return denoise(self, x, sigma)

    monkeypatch.setattr(ScorePrior, "denoise", interrupt)
    code, _, err = run(*words)
    assert code == 130 and err.count("\n") == 1 and "out.partial.npz keeps" in err
    assert (tmp_path / "out.partial.npz").exists() and not (tmp_path / "out.npz").exists()
    code, out, _ = run(*words)
    assert code == 0 and "going on after" in out
    # nothing was computed twice but the evaluation that the interrupt cut
    assert len(calls) == 18 + 1
    assert torch.equal(files.load_separation("out.npz").sources,
                       files.load_separation("whole.npz").sources)
    assert not (tmp_path / "out.partial.npz").exists()


def stop_at(monkeypatch, number):
    denoise, calls = ScorePrior.denoise, []

    def interrupt(self, x, sigma):
        calls.append(1)
        if len(calls) == number:
            raise KeyboardInterrupt
        return denoise(self, x, sigma)

    monkeypatch.setattr(ScorePrior, "denoise", interrupt)
    return calls


def test_another_run_does_not_resume(run, fails, prior, problem, monkeypatch):
    words = ["separate", problem, "--prior", prior, *FEW, "--chunk", 2]
    stop_at(monkeypatch, 8)
    assert run(*words)[0] == 130
    fails(["out.partial.npz", "seed 0", "9"], *words, "--seed", 9)
    fails(["out.partial.npz", "parameters"], *words, "--set", "levels=3")
    fails(["out.partial.npz", "method split-gibbs", "average"], "separate", problem, "--method",
          "average", "--chunk", 2)
    fails(["out.partial.npz", "without", "t.npz", "leave this out"], *words, "--trace", "t.npz")
    files.save_problem("other.npz", *tasks.mix(torch.rand(5, 2, 1, 28, 28)))
    fails(["out.partial.npz", "mixtures_digest"], "separate", "other.npz", *words[2:])
    fails(["out.partial.npz", "stopped"], "score", "out.partial.npz", problem)


def test_interrupt_with_a_trace(run, prior, problem, monkeypatch, tmp_path):
    words = ["separate", problem, "--prior", prior, *FEW, "--chunk", 2, "--trace", "t.npz"]
    stop_at(monkeypatch, 4)  # in the chunk that is traced: a trace with a hole is none
    code, _, err = run(*words)
    assert code == 130 and "nothing was kept" in err and not list(tmp_path.glob("*.partial.npz"))
    stop_at(monkeypatch, 8)
    assert run(*words)[0] == 130
    trace = (tmp_path / "t.npz").read_bytes()
    assert run(*words)[0] == 0
    assert (tmp_path / "t.npz").read_bytes() == trace


def test_a_failure_keeps_what_is_done(run, prior, problem, monkeypatch):
    denoise, calls = ScorePrior.denoise, []

    def full(self, x, sigma):
        calls.append(1)
        if len(calls) == 8:
            raise torch.OutOfMemoryError("CUDA out of memory.\nmany\nlines")
        return denoise(self, x, sigma)

    monkeypatch.setattr(ScorePrior, "denoise", full)
    code, _, err = run("separate", problem, "--prior", prior, *FEW, "--chunk", 2)
    assert code == 2 and err.count("\n") == 1 and "--chunk" in err
    assert len(files.load_partial("out.partial.npz").done) == 2


# --- the user's errors --------------------------------------------------------------------------


def test_wrong_names(fails, prior, problem):
    fails(["seperate", "did you mean separate"], "seperate", problem)
    fails(["splitgibbs", "did you mean split-gibbs"], "separate", problem, "--method", "splitgibbs",
          "--prior", prior)
    fails(["progam", "did you mean program"], "separate", problem, "--method", "basis", "--preset",
          "progam", "--prior", prior)
    fails(["paper", "average has none"], "separate", problem, "--method", "average", "--preset",
          "paper")
    fails(["score-nothing"], "separate", problem, "--prior", "score-nothing")
    fails(["gone.safetensors"], "separate", problem, "--prior", "gone.safetensors")
    fails(["needs a prior", "choose one of", "score-strokes"], "separate", problem)
    fails(["gpu", "choose cpu, cuda or auto"], "separate", problem, "--prior", prior, "--device",
          "gpu")
    fails(["--sead", "did you mean --seed"], "separate", problem, "--prior", prior, "--sead", "3")
    fails(["stroke", "did you mean strokes"], "mix", "--dataset", "stroke", "--out", "p.npz")
    fails(["agnostick", "did you mean agnostic"], "mix", "--protocol", "agnostick", "--out",
          "p.npz")
    fails(["seperate", "did you mean separate"], "mix", "--task", "seperate", "--out", "p.npz")
    fails(["dev", "train or test"], "mix", "--split", "dev", "--out", "p.npz")
    fails(["scor", "did you mean score"], "train", "scor")
    fails(["per_sources", "did you mean per_source"], "score", "out.npz", problem, "--convention",
          "per_sources")
    fails(["INPUT"], "separate")


def test_wrong_settings(fails, prior, problem):
    words = ["separate", problem, "--prior", prior, "--set"]
    fails(["level", "did you mean levels"], *words, "level=3")
    fails(["levels=2.5", "whole number"], *words, "levels=2.5")
    fails(["sigma_max=big", "a number"], *words, "sigma_max=big")
    fails(["sigma_max=nan", "a number"], *words, "sigma_max=nan")
    fails(["levels", "FIELD=VALUE"], *words, "levels")
    fails(["prior"], *words, "prior=other")
    fails(["denoise_last=maybe", "true or false"], *words, "denoise_last=maybe", "--method",
          "basis")
    fails(["average has no fields"], "separate", problem, "--method", "average", "--set",
          "levels=3")
    fails(["delta 0.001", "diverges"], *words, "delta=0.001", "--method", "basis")
    fails(["--count", "0", "at least 1"], "mix", "--count", 0)
    fails(["--count", "few"], "mix", "--count", "few")
    fails(["--count", "0", "at least 1"], "bench", "basis", "--count", 0)
    fails(["--seed", "-1"], "mix", "--seed", -1)
    fails(["--minutes", "nan"], "train", "score", "--minutes", "nan")


@pytest.mark.parametrize("values, words", [
    (np.full((1, 28, 28), np.nan, np.float32), ["nan"]),
    (np.full((1, 28, 28), np.inf, np.float32), ["inf"]),
    (np.full((1, 28, 28), 200, np.uint8), ["200", "divide them by 255"]),
    (np.zeros((28, 28), np.float32), ["(28, 28)", "(B, H, W)"]),
    (np.zeros((1, 3, 28, 28), np.float32), ["(3, 28, 28)", "(1, 28, 28)"]),
    (np.zeros((1, 32, 32), np.float32), ["(1, 32, 32)", "(1, 28, 28)"]),
])
def test_wrong_mixtures(fails, prior, values, words):
    np.save("m.npy", values)
    fails(words, "separate", "m.npy", "--prior", prior, "--sources", 2)


def test_wrong_weights(fails, prior, problem):
    fails(["K = 2", "3"], "separate", problem, "--prior", prior, "--sources", 3)
    fails(["(1.0, 1.0)", "(0.5, 0.5)"], "separate", problem, "--prior", prior, "--weights", "mean")
    fails(["3 weights", "K = 2"], "separate", problem, "--prior", prior, "--weights", 1, 1, 1)
    fails(["heavy"], "separate", problem, "--prior", prior, "--weights", "heavy", 1)
    fails(["(1.0, 0.0)", "not 0"], "mix", "--weights", 1, 0, "--out", "p.npz")
    fails(["3 weights", "K = 2"], "mix", "--weights", 1, 1, 1, "--sources", 2, "--out", "p.npz")


def test_wrong_files(fails, run, prior, problem, tmp_path):
    fails(["gone.npz", "No such file"], "separate", "gone.npz", "--prior", prior)
    (tmp_path / "cut.npz").write_bytes((tmp_path / problem).read_bytes()[:500])
    fails(["cut.npz", "damaged"], "separate", "cut.npz", "--prior", prior)
    run("separate", problem, "--method", "average")
    fails(["out.npz", "no array mixtures"], "separate", "out.npz", "--method", "average", "--out",
          "two.npz")
    fails(["problem.npz", "not a result"], "score", problem, "out.npz")
    fails(["problem.npz", "not a result"], "score", problem, problem)
    fails(["out.npz", "no array mixtures"], "score", "out.npz", "out.npz")
    files.save_problem("three.npz", *tasks.mix(torch.rand(3, 2, 1, 28, 28)))
    fails(["out.npz", "(5, 2, 1, 28, 28)", "(3, 2, 1, 28, 28)"], "score", "out.npz", "three.npz")
    given = files.load_problem(problem)[0]
    files.save_problem("blind.npz", given)
    fails(["blind.npz", "no true sources"], "score", "out.npz", "blind.npz")
    (tmp_path / "bad.partial.npz").write_text("mine")
    fails(["bad.partial.npz"], "separate", problem, "--method", "average", "--out", "bad.npz")


def test_score_of_other_mixtures_says_so(run, problem):
    run("separate", problem, "--method", "average")
    files.save_problem("other.npz", *tasks.mix(torch.rand(5, 2, 1, 28, 28)))
    code, _, err = run("score", "out.npz", "other.npz")
    assert code == 0 and "other mixtures" in err


def test_weights_with_a_wrong_hash(fails, prior, problem, tmp_path):
    data = bytearray((tmp_path / "tiny.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "tiny.safetensors").write_bytes(data)
    fails(["tiny.safetensors", "sha256"], "separate", problem, "--prior", prior)


def test_existing_outputs_are_kept(fails, run, prior, problem, tmp_path):
    for name in ("out.npz", "t.npz", "p.html", "mine.safetensors", "card.json"):
        (tmp_path / name).write_text("mine")
    average = ["separate", problem, "--method", "average"]
    fails(["problem.npz", "there already"], "mix")
    fails(["out.npz", "there already"], *average)
    fails(["t.npz", "there already"], *average, "--out", "o.npz", "--trace", "t.npz")
    fails(["p.html", "there already"], *average, "--out", "o.npz", "--html", "p.html")
    fails(["o.npz", "names of their own"], *average, "--out", "o.npz", "--trace", "o.npz")
    fails(["mine.safetensors", "there already"], "train", "score", "--out", "mine.safetensors")
    fails(["card.json", "there already"], "train", "score", "--out", "card.safetensors")
    assert run(*average, "--force")[0] == 0
    assert files.load_separation("out.npz").sources.shape[0] == 5


def test_unwritable_outputs(fails, prior, problem, tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder.npz").mkdir()
    for out in ("file/out.npz", "gone/out.npz", "folder.npz"):
        fails([out], "separate", problem, "--method", "average", "--out", out)
        fails([out], "mix", "--out", out)
    fails(["file"], "demo", "--prior", prior, "--out", "file/demo")
    fails(["score-nothing"], "demo", "--prior", "score-nothing", "--count", 1)
    assert not (tmp_path / "sepviz-demo").exists()
    fails(["file"], "train", "score", "--out", "file/mine.safetensors")
    fails(["out.txt", ".npz"], "separate", problem, "--method", "average", "--out", "out.txt")
    fails(["mine.pt", ".safetensors"], "train", "score", "--out", "mine.pt")


def test_train_errors(fails, monkeypatch, tmp_path):
    images = torch.randint(256, (300, 1, 30, 30), dtype=torch.uint8)
    odd = data.Dataset("odd", images, torch.zeros(300))
    monkeypatch.setattr(data, "load", lambda *args, **kwargs: odd)
    fails(["30x30", "divisible by 4"], "train", "score", "--dataset", "odd")
    even = odd._replace(images=odd.images[..., :28, :28])
    monkeypatch.setattr(data, "load", lambda *args, **kwargs: even)
    (tmp_path / "score-odd.ckpt").write_text("mine")
    fails(["score-odd.ckpt", "no checkpoint"], "train", "score", "--dataset", "odd")


# --- filters and masks --------------------------------------------------------------------------

QUICK = ["--method", "synthesis", "--starts", 3, "--set", "start_iterations=2", "--set",
         "refine_iterations=2"]


@pytest.fixture
def generator(tmp_path):
    """An untrained generator, as a file."""
    torch.manual_seed(0)
    return str(zoo.save(GanPrior(latent_size=5, widths=(8, 8, 8), name="tiny-gan").eval(),
                        tmp_path / "tiny-gan.safetensors", {"seed": 0}))


@pytest.mark.parametrize("task", list(tasks.TASKS))
def test_every_task_from_mix_to_score(run, generator, task):
    assert run("mix", "--task", task, "--count", 3, "--seed", 1)[0] == 0
    assert run("separate", "problem.npz", "--prior", generator, *QUICK, "--chunk", 2, "--html",
               "player.html")[0] == 0
    found = files.load_separation("out.npz")
    blind = "deconvolve" in task
    assert set(found.results) == {"start_error", *(["filters"] if blind else [])}
    assert found.results["start_error"].shape == (3, 3)
    if blind:
        assert found.results["filters"].shape == (3, found.sources.shape[1], 5, 5)
    code, out, _ = run("score", "out.npz", "problem.npz")
    assert code == 0 and ("correlation with the true ones" in out) == blind
    assert Path("player.html").stat().st_size > 10_000


def test_a_mask_and_a_filter_size_of_the_users(run, generator, problem):
    from PIL import Image

    mask = np.zeros((28, 28), np.uint8)
    mask[:, :20] = 255
    Image.fromarray(mask).save("mask.png")
    given, _ = files.load_problem(problem)
    assert run("separate", problem, "--prior", generator, *QUICK, "--visible", "mask.png",
               "--filter-size", 3)[0] == 0
    first = files.load_separation("out.npz")
    assert first.results["filters"].shape == (5, 2, 3, 3)
    given.mixtures[..., 20:] = 0.5  # what is not seen does not count
    files.save_problem("other.npz", given)
    assert run("separate", "other.npz", "--prior", generator, *QUICK, "--visible", "mask.png",
               "--filter-size", 3, "--out", "o.npz")[0] == 0
    torch.testing.assert_close(files.load_separation("o.npz").sources, first.sources)


def test_wrong_filters_and_masks(fails, run, prior, generator, problem):
    run("mix", "--task", "deconvolve", "--count", 2, "--out", "blurred.npz")
    fails(["unknown filters", "synthesis"], "separate", "blurred.npz", "--prior", prior)
    fails(["says filter size 5, 3 was given"], "separate", "blurred.npz", "--prior", generator,
          *QUICK, "--filter-size", 3)
    fails(["filter size 4", "odd"], "separate", problem, "--prior", generator, *QUICK,
          "--filter-size", 4)
    fails(["filter size 29", "28x28"], "separate", problem, "--prior", generator, *QUICK,
          "--filter-size", 29)
    fails(["bottom", "top-half"], "separate", problem, "--prior", generator, *QUICK, "--visible",
          "bottom")
    fails(["seen in part", "synthesis"], "separate", problem, "--prior", prior, "--visible",
          "top-half")
    fails(["0", "at least 1"], "separate", problem, "--prior", generator, "--method", "synthesis",
          "--starts", 0)
    fails(["synthesis needs a prior that decodes latents"], "separate", problem, "--prior", prior,
          "--method", "synthesis")
    fails(["basis needs a prior that denoises"], "separate", problem, "--prior", generator,
          "--method", "basis")
    fails(["task denoise is of one image"], "mix", "--task", "denoise", "--sources", 2, "--out",
          "p.npz")
    fails(["--kernels", "filters nothing"], "mix", "--task", "denoise", "--kernels", "paper",
          "--out", "p.npz")
    fails(["kernels 'sharp'"], "mix", "--task", "deconvolve", "--kernels", "sharp", "--out",
          "p.npz")


def test_train_gan(run, fails, monkeypatch, few_images):
    from sepviz.training import gan

    monkeypatch.setattr(gan, "oracle", lambda prior, images, **_: torch.full((len(images),), 20.0))
    fails(["--iterations", "--minutes"], "train", "gan", "--minutes", 3)
    fails(["narow", "did you mean narrow"], "train", "gan", "--preset", "narow")
    code, out, _ = run("train", "gan", "--iterations", 1, "--preset", "narrow")
    assert code == 0 and "20.0 dB" in out
    card = json.loads(Path("gan-strokes.json").read_text())
    assert card["iterations"] == 1 and card["oracle_psnr"]["n"] == 30
    assert card["command"].startswith("sepviz train gan")
    assert isinstance(zoo.load("gan-strokes.safetensors"), GanPrior)
    assert not Path("gan-strokes.ckpt").exists()


@pytest.mark.parametrize(("model", "figure"), [
    ("nmf", "rebuilt_psnr"), ("conv-nmf", "rebuilt_psnr"), ("cnn", "denoised_psnr")])
def test_train_a_baseline_and_use_it(run, fails, few_images, model, figure):
    fails([f"--minutes is not for {model}", "--iterations"], "train", model, "--minutes", 3)
    fails([f"--preset is not for {model}"], "train", model, "--preset", "narrow")
    fails([f"--start is not for {model}"], "train", model, "--start", "score-strokes")
    code, out, _ = run("train", model, "--iterations", 2)
    assert code == 0 and "held-out images" in out
    weights = f"{model}-strokes.safetensors"
    assert figure in json.loads(Path(weights).with_suffix(".json").read_text())
    run("mix", "--task", "denoise", "--count", 2, "--out", "noisy.npz")
    assert run("separate", "noisy.npz", "--method", model, "--prior", weights,
               "--out", "clean.npz")[0] == 0
    fails([f"{model} needs a", "this is none"], "separate", "noisy.npz", "--method", model,
          "--prior", "score-strokes", "--out", "o.npz")


def test_train_a_mask_and_use_it(run, fails, few_images, monkeypatch):
    monkeypatch.setattr("sepviz.tasks.unmixing.HELD_OUT", 10)
    fails(["--dataset is not for egg", "--unseen"], "train", "egg", "--dataset", "strokes")
    fails(["--unseen is not for gan"], "train", "gan", "--unseen", "strokes:0-4")
    fails(["strokes:0-x", "0-4"], "train", "egg", "--unseen", "strokes:0-x")
    fails(["no field of egg 'epoch'"], "train", "egg", "--set", "epoch=1")
    words = ["train", "egg", "--training", 20, "--set", "iterations=1", "--set", "batch=8"]
    words += ["--out", "mine.safetensors", "--trace", "run.npz"]
    code, out, _ = run(*words)
    assert code == 0 and "held-out mixtures" in out
    card = json.loads(Path("mine.json").read_text())
    assert card["iterations"] == 1 and card["examples"] == 20 and card["unseen"] == "strokes:0-4"
    assert card["unseen_psnr"]["n"] == 1000
    trace = Trace.load("run.npz")
    mixed, truth = files.load_problem("run.problem.npz")
    assert torch.equal(mixed.mixtures, truth.sources.sum(dim=1))
    assert torch.allclose(mixed.mixtures, trace.problem.mixtures, atol=1e-3)
    assert len(trace) == 2 and trace.problem.mixtures.shape == (6, 1, 32, 32)
    assert trace.parameters["iterations"] == 1
    run("mix", "--count", 2, "--protocol", "split")
    code, _, err = run("separate", "problem.npz", "--method", "mask", "--prior", "mine.safetensors")
    assert code == 0, err
    fails(["a mask (egg-"], "separate", "problem.npz", "--method", "mask",
          "--prior", "score-strokes", "--out", "other.npz")
    fails(["no examples to learn from", "sepviz train"], "separate", "problem.npz",
          "--method", "egg", "--out", "other.npz")


def test_train_a_mask_goes_on_after_a_stop(run, few_images, monkeypatch):
    from sepviz.separators import Egg

    monkeypatch.setattr("sepviz.tasks.unmixing.HELD_OUT", 10)
    whole = Egg.steps

    def stopped(self, problem, rng, start=None):
        for step in whole(self, problem, rng, start):
            if step.index == 2:
                raise KeyboardInterrupt
            yield step

    words = ["train", "egg", "--training", 20, "--set", "iterations=2", "--set", "batch=8"]
    monkeypatch.setattr(Egg, "steps", stopped)
    code, _, err = run(*words)
    assert code == 130 and "egg.ckpt keeps the run" in err and not Path("egg.safetensors").exists()
    monkeypatch.setattr(Egg, "steps", whole)
    assert run(*words)[0] == 0
    stopped_run = Path("egg.safetensors").read_bytes()
    assert run(*words, "--out", "whole.safetensors")[0] == 0
    from safetensors.torch import load

    one, other = load(stopped_run), load(Path("whole.safetensors").read_bytes())
    assert all(bool((one[name] == other[name]).all()) for name in one)
    assert not Path("egg.ckpt").exists()


def test_a_run_from_its_recipe(run, fails):
    """What a lab shows under a run makes the same run here."""
    text = ("task=separate,dataset=strokes,count=3,seed=4,method=split-gibbs,prior=score-strokes,"
            "levels=3,sweeps=1,run=5")
    code, out, _ = run("separate", "--state", text)
    assert code == 0 and "out.npz: 3 mixtures of 2 sources by split-gibbs" in out
    recipe = restore(text)
    trace = record(recipe.separator(), recipe.problem()[0], seed=recipe.run, progress=False)
    sources, meta, _ = files.load_separation("out.npz")
    assert torch.equal(sources, trace.sources)
    assert (meta["seed"], meta["prior"], meta["recipe"]) == (5, "score-strokes", text)
    beside = ["problem.npz", "--prior", "score-mnist", "--out", "a.npz"]
    fails(["--recipe says", "leave input and prior out"], "separate", *beside, "--recipe", text)
    fails(["leave method and seed out"], "separate", "--recipe", text, "--method", "rpca",
          "--seed", "7", "--out", "a.npz")
    fails(["names no method"], "separate", "--recipe", "task=separate,count=1", "--out", "a.npz")
    fails(["hello"], "separate", "--recipe", "hello", "--out", "a.npz")
    fails(["INPUT", "--recipe"], "separate", "--out", "a.npz")


def test_a_result_tells_its_recipe(run, fails, prior, problem):
    """The recipe of a result, a trace and the scores is one line, and makes the result again."""
    words = ["--method", "basis", "--preset", "program", "--weights", 1, 1, "--seed", 3,
             "--chunk", 2, "--set", "levels=2", "--set", "steps_per_level=2"]
    code, *_ = run("separate", problem, "--prior", prior, *words, "--trace", "t.npz")
    separation = files.load_separation("out.npz")
    recipe = separation.meta["recipe"]
    assert code == 0 and Trace.load("t.npz").recipe == recipe
    assert recipe.startswith("problem=problem.npz,weights=1.0+1.0,method=basis,prior=/")
    assert recipe.endswith(",preset=program,levels=2,steps_per_level=2,run=3,chunk=2")
    assert f"recipe        {recipe}" in run("score", "out.npz", problem)[1]
    assert json.loads(run("score", "out.npz", problem, "--json")[1])["recipe"] == recipe
    assert run("separate", "--recipe", recipe, "--out", "again.npz")[0] == 0
    again = files.load_separation("again.npz")
    assert torch.equal(again.sources, separation.sources) and again.meta["recipe"] == recipe
    fails(["problem.npz would be written over problem.npz"], "separate", "--recipe", recipe,
          "--out", problem, "--force")


def test_the_recipe_of_pictures(run, problem):
    """Names with blanks, commas and + come back, and so does what pictures do not say."""
    from PIL import Image

    for name in ("a, b.png", "c+d%.png"):
        Image.fromarray(np.full((8, 8), 128, np.uint8)).save(name)
    run("separate", "a, b.png", "c+d%.png", "--sources", 3, "--weights", "mean", "--method",
        "average")
    separation = files.load_separation("out.npz")
    recipe = restore(separation.meta["recipe"])
    assert [path.name for path in recipe.paths] == ["a, b.png", "c+d%.png"]
    assert dict(recipe.mixture) == {"problem": "a, b.png+c%2Bd%25.png", "sources": "3",
                                    "weights": "mean"}
    assert recipe.problem()[0].mixing.weights == (1 / 3,) * 3 and separation.sources.shape[1] == 3


def test_the_help_tells_the_size_of_a_chunk(run):
    assert f"default: {CHUNK}" in " ".join(run("separate", "--help")[1].split())
