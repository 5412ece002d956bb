"""The browser's code: its modules, the scripts they are joined to, and their tests in node."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from test_trace import Toy, task  # noqa: F401 (task is a fixture)

from sepviz import metrics
from sepviz.runs.trace import record
from sepviz.views import assets
from sepviz.views.packing import make_view, pack
from sepviz.views.page import state_text

JS = Path(__file__).parent / "js"
MODULES = sorted(assets.FOLDER.glob("*.js"))
NAMES = re.compile(r"^(?:export )?(?:async )?(?:const|let|function|class) (\w+)", re.MULTILINE)
IMPORTED = re.compile(r'^import \{([^}]*)\} from "\./([\w.]+)";$', re.MULTILINE)
WIDGETS = sorted({f"{module}.js" for module, _ in assets.OWN.values()})


@pytest.fixture(scope="module")
def node():
    """Run node with these words; where it is too old or missing, the tests skip."""
    path = shutil.which("node")
    if path is None:
        pytest.skip("no node on the PATH")
    version = subprocess.run([path, "--version"], capture_output=True, text=True).stdout.strip()
    if tuple(map(int, version[1:].split(".")[:2])) < (20, 19):
        pytest.skip(f"node {version} does not tell modules from scripts: want 20.19 or newer")

    def run(*words, **options):
        done = subprocess.run([path, *words], capture_output=True, text=True, **options)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_pure_modules(node):
    told = node("--test", *map(str, sorted(JS.glob("*.test.mjs"))))
    assert re.search(r"^# pass [1-9]\d", told, re.MULTILINE) and "# fail 0" in told


def test_modules_find_what_they_import(node):
    """And none of them needs a page before something is drawn, but for the gallery's."""
    names = json.dumps([path.as_uri() for path in MODULES if path.name != "gallery.js"])
    node("--input-type=module", "-e", f"for (const name of {names}) await import(name);")


def test_the_browser_unpacks_what_python_packed(node, task, tmp_path):  # noqa: F811
    """To the last bit, for every layer, source, mixture and frame."""
    problem, truth = task
    trace = record(Toy(), problem, every=10, progress=False)
    view = make_view(problem, truth)
    _, static, frames = pack(trace, view)
    (tmp_path / "state.json").write_text(state_text({"static": static, "frames": frames}))
    found = json.loads(node(str(JS / "unpack.mjs"), str(tmp_path / "state.json")))
    assert len(found) == len(problem.mixtures) and len(found[0]["frames"]) == len(trace)
    halves = np.frombuffer(frames["bytes"], np.float16).reshape(len(trace), -1)
    written = (truth.sources * 255).round() / 255
    size = problem.mixtures[0].numel()
    for place, seen in enumerate(found):
        assert seen["mixture"] == problem.mixtures[place].half().flatten().tolist()
        assert np.allclose(seen["truth"], written[place].flatten(1), atol=1e-6)
        for i, layers in enumerate(seen["frames"]):
            blocks, at = {}, 0
            for layer in frames["layers"]:
                end = at + len(found) * layer["panels"] * size
                block = halves[i, at:end].reshape(len(found), layer["panels"], size)
                blocks[layer["name"]] = block[place].astype(float).tolist()
                at = end
            assert layers == blocks and at == halves.shape[1]
    order = metrics.match(trace.sources, truth.sources)
    last = metrics.reorder(trace.sources, order)[1].half().flatten(1).tolist()
    assert found[1]["frames"][-1]["estimate"] == last


# --- what they are joined to ---------------------------------------------------------------------


@pytest.mark.parametrize("name", [*WIDGETS, "gallery.js", "saved_model.js", "keys.js"])
def test_a_script_imports_nothing_and_names_nothing_twice(name):
    script = assets.bundle(name)
    assert "import" not in re.sub("//.*|await import", "", script).split()
    exports = re.findall("^export .*", script, re.MULTILINE)
    assert exports == (["export default { render };"] if name in WIDGETS else [])
    names = NAMES.findall(script)
    assert names and len(set(names)) == len(names)


def test_imports_name_what_is_exported_and_used():
    for path in MODULES:
        text = path.read_text()
        rest = re.sub("//.*", "", IMPORTED.sub("", text))
        for names, module in IMPORTED.findall(text):
            exported = re.findall(r"^export \w+ (\w+)", assets.read(module), re.MULTILINE)
            for name in map(str.strip, names.strip().strip(",").split(",")):
                assert name in exported, f"{path.name}: {module} exports no {name}"
                assert re.search(rf"(?<![.\w]){name}\b", rest), f"{path.name}: {name} is not used"


def test_a_module_imported_twice_is_there_once(tmp_path, monkeypatch):
    for name, text in {
        "low.js": "export const low = 1;\n",
        "left.js": 'import { low } from "./low.js";\n\nexport function left() { return low; }\n',
        "right.js": 'import {\n  low,\n} from "./low.js";\n\nexport class Right {}\n',
        "top.js": 'import { Right } from "./right.js";\nimport { left } from "./left.js";\n'
                  "\nexport default { left, Right };\n",
    }.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(assets, "FOLDER", tmp_path)
    monkeypatch.setattr(assets, "read", assets.read.__wrapped__)
    lines = [line for line in assets.bundle.__wrapped__("top.js").splitlines() if line]
    assert lines == ["const low = 1;", "class Right {}", "function left() { return low; }",
                     "export default { left, Right };"]


@pytest.mark.parametrize(("widget", "has", "lacks"), [
    ("player.Player", "class View extends", "class Pad"),
    ("guess.Guess", "function verdictOf", "class Panel"),
    ("sketch_pad.SketchPad", "class Pad", "class View"),
    ("compare.Compare", "class Comparison", "class View"),
    ("posterior.Posterior", "class Chains", "class Plot"),
    ("live.LiveRun", "class Knob", "function verdictOf"),
    ("leaderboard.Leaderboard", "class View extends", "class Knob")])
def test_a_widget_carries_only_what_it_needs(widget, has, lacks):
    script, style = assets.code_of(f"sepviz.widgets.{widget}")
    assert has in script and lacks not in script
    assert (".sepviz-pads" in style) == ("SketchPad" in widget)
    assert (".sepviz-guess" in style) == ("Guess" in widget)


@pytest.mark.parametrize("path", sorted(path for path in assets.FOLDER.iterdir() if path.is_file()),
                         ids=lambda path: path.name)
def test_files_are_short_and_narrow(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 300 and max(map(len, lines)) <= 100
