"""Rules that a program can check: style, types, the cost of an import, a true README."""

import json
import pkgutil
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import sepviz
from sepviz import cli

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
WIDGETS = {"anywidget", "ipywidgets"}
HEAVY = WIDGETS | {
    "IPython",
    "PIL",
    "comm",
    "ipykernel",
    "jupyter_client",
    "jupyter_core",
    "jupyter_server",
    "jupyterlab",
    "jupytext",
    "matplotlib",
    "nbformat",
    "pooch",
    "requests",
    "safetensors",
    "scipy",
    "skimage",
    "sklearn",
    "tornado",
    "tqdm",
    "traitlets",
}


def loaded(code: str) -> set[str]:
    """The top-level modules that are loaded after this code has run in a fresh interpreter."""
    code += "\nimport json, sys"
    code += "\nprint(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(json.loads(done.stdout))


@pytest.mark.parametrize("tool", [["ruff", "check"], ["mypy"]], ids=" ".join)
def test_clean(tool):
    done = subprocess.run([sys.executable, "-m", *tool], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_import_adds_nothing_heavy():
    """`import sepviz` loads neither torch nor any library of figures and widgets."""
    extra = loaded("import sepviz") - loaded("")
    assert "sepviz" in extra and not extra & (HEAVY | {"numpy", "torch"})


def test_only_widgets_import_the_widget_libraries():
    names = [
        f"sepviz.{module.name}"
        for module in pkgutil.iter_modules(sepviz.__path__)
        if module.name not in ("widgets", "__main__")
    ]
    assert len(names) > 10
    assert not loaded(f"import {', '.join(names)}") & WIDGETS


def test_every_public_name_is_there():
    for name in sepviz.__all__:
        assert getattr(sepviz, name) is not None


# --- the README ---------------------------------------------------------------------------------

BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
FENCED = [block for language, block in BLOCKS if language in ("", "bash", "console")]


@pytest.mark.parametrize(
    "line", [line for block in FENCED for line in block.splitlines() if line.startswith("sepviz ")]
)
def test_readme_commands_are_understood(line):
    words = shlex.split(line, comments=True)[1:]
    assert cli._parse(words).command == words[0]


def test_readme_links_are_there():
    links = {link for link in re.findall(r"\]\(([^)#\s]+)", README) if "://" not in link}
    assert links and not {link for link in links if not (ROOT / link).exists()}


def test_readme_python_runs(tmp_path, monkeypatch):
    """On one mixture and with a short walk; the recipe gives the same run again."""
    presets = sepviz.Basis.presets
    monkeypatch.setitem(presets, "program", {**presets["program"], "steps_per_level": 2})
    monkeypatch.chdir(tmp_path)
    code = next(block for language, block in BLOCKS if language == "python")
    made = {}
    exec(code.replace("count=4", "count=1"), made)
    assert bool((made["again"].sources == made["trace"].sources).all())
    assert made["fork"].final.index == made["walk"].final.index
    assert (tmp_path / "run.npz").is_file()
