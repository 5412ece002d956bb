"""A command under the signals and streams of hubs, clusters and closed terminals."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_code_quality import FENCED

from sepviz import cli, files, tasks
from sepviz.priors import ScorePrior

ROOT = Path(cli.__file__).parents[2]
posix = pytest.mark.skipif(os.name != "posix", reason="signals and descriptors of POSIX")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "SEPVIZ_DEVICE": "cpu",
               "PYTHONUNBUFFERED": "1"}


def shell(line: str, folder: Path, **options) -> subprocess.CompletedProcess:
    if line.startswith("sepviz "):
        line = f"{shlex.quote(sys.executable)} -m {line}"
    return subprocess.run(["bash", "-c", line], cwd=folder, env=ENVIRONMENT, capture_output=True,
                          text=True, **options)


SIGNALLED = """
import os, signal, sys
from sepviz import cli
from sepviz.priors import ScorePrior

denoise, calls = ScorePrior.denoise, []
# they are ignored where the tests run in the background or under nohup
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

def signalled(self, x, sigma):
    calls.append(1)
    if len(calls) == 5:
        os.kill(os.getpid(), getattr(signal, sys.argv[1]))
    return denoise(self, x, sigma)

ScorePrior.denoise = signalled
sys.exit(cli.main(sys.argv[2:]))"""


WORDS = ["separate", "problem.npz", "--prior", "score-strokes", "--set", "levels=3",
         "--set", "cycles=1"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A folder with a problem and its separation, made without a signal."""
    folder = tmp_path_factory.mktemp("undisturbed")
    files.save_problem(folder / "problem.npz", *tasks.separate("strokes", count=2, seed=1))
    assert shell(f"sepviz {shlex.join(WORDS)} --out whole.npz", folder).returncode == 0
    return folder


@posix
@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 129), ("SIGINT", 130)])
def test_an_ending_signal_keeps_the_work(undisturbed, tmp_path, name, code):
    """The same command goes on from there and ends where an undisturbed run ends."""
    shutil.copy(undisturbed / "problem.npz", tmp_path)
    stopped = subprocess.run([sys.executable, "-c", SIGNALLED, name, *WORDS], cwd=tmp_path,
                             env=ENVIRONMENT, capture_output=True, text=True)
    assert stopped.returncode == code
    assert stopped.stderr.count("\n") == 1
    assert "out.partial.npz keeps 0 of 2 mixtures and step 4" in stopped.stderr
    assert not (tmp_path / "out.npz").exists()
    assert shell(f"sepviz {shlex.join(WORDS)}", tmp_path).returncode == 0
    one, other = (files.load_separation(path).sources
                  for path in (tmp_path / "out.npz", undisturbed / "whole.npz"))
    assert torch.equal(one, other) and not (tmp_path / "out.partial.npz").exists()


@posix
def test_nohup_is_obeyed(tmp_path):
    code = ("import signal; from sepviz.cli import signals\n"
            "with signals.ending_interrupts(): print(signal.getsignal(signal.SIGHUP).name)")
    done = shell(f"trap '' HUP; {shlex.quote(sys.executable)} -c {shlex.quote(code)}", tmp_path)
    assert done.stdout == "SIG_IGN\n"


@posix
def test_a_second_signal_does_not_cut_the_saving_short(tmp_path):
    code = """
import os, signal
from sepviz.cli import signals
with signals.ending_interrupts():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    except KeyboardInterrupt:
        os.kill(os.getpid(), signal.SIGHUP)
        print("saved", signals.received())"""
    done = shell(f"{shlex.quote(sys.executable)} -c {shlex.quote(code)}", tmp_path)
    assert done.stdout == f"saved {signal.SIGTERM.value}\n"


@posix
@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_a_signal_in_an_import_that_swallows_it_ends_the_command(tmp_path, name, code):
    """As numpy's and torch's do: the first catches all, the second is not imported twice."""
    (tmp_path / "swallows.py").write_text(f"""
import os, signal
whole = False
try:
    os.kill(os.getpid(), signal.{name})
    whole = True
except BaseException:
    pass""")
    script = """
import signal, sys, time
from sepviz import cli

signal.signal(signal.SIGINT, signal.default_int_handler)
def run(arguments):
    import swallows
    print(swallows.whole, flush=True)
    time.sleep(20)
    return 0

cli.data.run = run
sys.exit(cli.main(["data"]))"""
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=ENVIRONMENT,
                          capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (code, "True\n")
    assert done.stderr == "sepviz: stopped; nothing was kept\n"


@posix
@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams(tmp_path, closed):
    """What is written is whole: no message lands in a file that got a stream's number."""
    assert shell(f"sepviz mix --count 2 {closed}", tmp_path).returncode == 0
    assert len(files.load_problem(tmp_path / "problem.npz")[0].mixtures) == 2
    assert shell(f"sepviz separate problem.npz --method average {closed}", tmp_path).returncode == 0
    assert files.load_separation(tmp_path / "out.npz").sources.shape == (2, 2, 1, 28, 28)
    done = shell(f"sepviz mix --count 2 {closed}", tmp_path)  # problem.npz is there
    assert done.returncode == 2 and "Traceback" not in done.stdout + done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
@pytest.mark.parametrize("words", ["data", "--version"])
def test_a_full_disk_under_stdout(tmp_path, words):
    done = shell(f"sepviz {words} > /dev/full", tmp_path)
    assert done.returncode == 2 and done.stderr == "sepviz: No space left on device\n"


# --- sepviz lab ---------------------------------------------------------------------------------


def test_lab_as_root(monkeypatch, tmp_path, capsys):
    """JupyterLab would refuse after its start; words after -- reach it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("JUPYTERHUB_SERVICE_PREFIX", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 0, raising=False)
    monkeypatch.setattr(os, "name", "posix")
    started = []

    class Jupyter:
        def __init__(self, command, cwd):
            started.append(command[3:])

        def wait(self):
            return 0

    monkeypatch.setattr(subprocess, "Popen", Jupyter)
    assert cli.main(["lab", "langevin", "--", "--port", "9000"]) == 2
    assert "sepviz lab langevin -- --allow-root --port 9000 allows it" in capsys.readouterr().err
    assert not started and not list(tmp_path.iterdir())
    assert cli.main(["lab", "langevin", "--", "--allow-root", "--port", "9000"]) == 0
    monkeypatch.setattr(os, "geteuid", lambda: 1000, raising=False)
    assert cli.main(["lab"]) == 0
    assert started == [["langevin.ipynb", "--allow-root", "--port", "9000"], []]
    assert cli.main(["lab", "--no-open", "--", "--port", "9000"]) == 2
    assert "-- --port 9000" in capsys.readouterr().err


# --- README -------------------------------------------------------------------------------------

# labs, tables and trainings have tests of their own
SLOW = ("lab", "export", "bench", "exercises", "train")


def test_readme_commands_run_as_written(tmp_path, monkeypatch, capsys):
    """The command line's block, in one folder, with a blur in place of the networks, for speed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEPVIZ_DEVICE", "cpu")
    monkeypatch.setattr(ScorePrior, "denoise", lambda self, x, sigma: x.clamp(0, 1))
    (block,) = [block for block in FENCED if "sepviz demo  " in block]
    lines = [line for line in block.splitlines() if line.split()[1] not in SLOW]
    assert len(lines) >= 7
    for line in lines:
        words = shlex.split(line, comments=True)[1:]
        assert cli.main(words) == 0, f"{line}\n{capsys.readouterr().err}"
        told = capsys.readouterr()
        if line.startswith("sepviz demo"):
            rows = [row.split()[0] for row in told.out.splitlines()[2:6]]
            assert rows == ["method", "average", "basis", "split-gibbs"]
