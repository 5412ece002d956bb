"""The gallery: pages that play without a kernel and without a network, and what is refused."""

import json
import re
import subprocess
import sys

import nbformat
import pytest
import torch
from nbclient import NotebookClient
from test_trace import Toy, task  # noqa: F401 (task is a fixture)

from sepviz import cli, files, zoo
from sepviz.core import Mixing, Problem, SepvizError, Step, Truth
from sepviz.runs.trace import Trace, record
from sepviz.views import export, web_page
from sepviz.views import page as one_page
from sepviz.views.figures import curves
from sepviz.views.page import save_page

CELLS = [
    ("markdown", "# A small lab\n\nThe rule is $m = x_1 + x_2$, and `code` is code. More of it.\n\n"
                 "$$\\arg\\min_z \\Bigl\\| m - \\sum_k \\frac{a_k}{2} x_k \\Bigr\\|^2$$\n\n"
                 "Not a formula: $\\nosuch$."),
    ("code", "import ipywidgets, torch, sepviz\nfrom sepviz import figures\n"
             "problem, truth = sepviz.tasks.separate('strokes', count=2)\n"
             "flat = torch.full((1, 28, 28), 0.2)\nprior = sepviz.GaussianPrior(flat, flat + 0.1)\n"
             "basis = sepviz.Basis(prior, steps_per_level=2)\n"
             "trace = sepviz.record(basis, problem)"),
    ("code", "sepviz.Player(trace, truth)"),
    ("code", "nothing = 'to show'"),
    ("markdown", "## The end & after"),
    ("code", "figures.images({'mixture': problem.mixtures / 2}, title='Two <mixtures>')"),
    ("code", "sepviz.LiveRun(basis, problem, truth)"),
    ("code", "ipywidgets.VBox([sepviz.Player(trace), ipywidgets.IntSlider(), sepviz.KernelPad()])"),
]


def notebook(cells):
    made = {"markdown": nbformat.v4.new_markdown_cell, "code": nbformat.v4.new_code_cell}
    return nbformat.v4.new_notebook(cells=[made[kind](source) for kind, source in cells])


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A lab that was run, as a file."""
    path = tmp_path_factory.mktemp("lab") / "small.ipynb"
    ran = notebook(CELLS)
    NotebookClient(ran, timeout=200).execute()
    nbformat.write(ran, path)
    return path


@pytest.fixture(scope="module")
def pages(lab, tmp_path_factory):
    """The lab and all recorded runs that are shipped."""
    runs = sorted(zoo.FOLDER.glob("*.trace.npz"))
    assert runs
    return export.gallery([lab, *runs], tmp_path_factory.mktemp("out") / "gallery")


def test_every_shipped_lab_becomes_a_page(tmp_path):
    """As if it had been run without an output: its text, formulas and code."""
    labs = sorted(path for path in (cli.common.labs_home()).glob("*.ipynb"))
    assert len(labs) == 9
    for path in labs:
        made = nbformat.read(path, 4)
        for number, cell in enumerate(made.cells):
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], number
        nbformat.write(made, tmp_path / path.name)
    written = export.gallery([tmp_path / path.name for path in labs], tmp_path / "gallery")
    for path, page in zip(labs, written[1:], strict=True):
        text = page.read_text(encoding="utf-8")
        title = nbformat.read(path, 4).cells[0].source.splitlines()[0].removeprefix("# ")
        assert f"<title>{title}" in text and "highlight" in text and "$" not in re.sub(
            "<(pre|script|style).*?</\\1>", "", text, flags=re.DOTALL)


def fetched(text):
    """Addresses that a page would load: all but plain links."""
    text = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    text = re.sub(r"<a [^>]*>", "", text)
    loads = r"""(?:src|href|srcset|data)=["']?(?!data:)[^"'>]+|@import|url\((?!data:)"""
    return re.findall(loads, text)


def test_pages_are_whole_and_small(pages):
    assert [page.name for page in pages[:2]] == ["index.html", "small.html"]
    for page in pages:
        text = page.read_text()
        assert page.stat().st_size < 5_000_000
        assert '<html lang="en">' in text and "default-src 'none'" in text
        assert not fetched(text)
        assert all("alt=" in image for image in re.findall("<img[^>]*>", text))
    index = pages[0].read_text()
    for page in pages[1:]:
        assert f'href="{page.name}"' in index and 'href="index.html"' in page.read_text()
    assert "The rule is m = x_1 + x_2, and code is code." in index


def test_lab_page(pages):
    text = pages[1].read_text()
    assert "<h1>A small lab</h1>" in text and text.count("<math") == 2 and "<munder>" in text
    assert "$m" not in text
    assert r"<code>\nosuch</code>" in text  # what cannot be read is shown as it stands
    assert text.count("class View extends") == 1  # of two players the code is there once
    assert text.count('class="export-widget"') == 2
    assert "A live run of Basis" in text and text.count("Controls that need Python") == 1
    assert 'alt="Two &lt;mixtures&gt;; mixture"' in text
    assert "FloatProgress" not in text and "it/s" not in text


def test_long_runs_are_thinned_and_the_page_says_so(lab, task, tmp_path, monkeypatch):  # noqa: F811
    problem, truth = task
    trace = record(Toy(), problem, every=1, progress=False)
    trace.save(tmp_path / "run.npz")
    files.save_problem(tmp_path / "run.problem.npz", problem, truth)
    whole = export.gallery([tmp_path / "run.npz", lab], tmp_path / "whole")
    assert "To keep this page small" not in whole[1].read_text() + whole[2].read_text()
    smaller = int(whole[2].stat().st_size * 0.9)
    for source, most, says in [
        (tmp_path / "run.npz", 110_000, r"it holds \d+ of 51 recorded steps and 1 of 3 mixtures"),
        (lab, smaller, r"the players show \d+ of 21, \d+ of 21 recorded steps"),
    ]:
        monkeypatch.setattr(export, "LARGEST", most)
        small = export.gallery([source], tmp_path / f"small{most}")
        assert all(page.stat().st_size < most for page in small)
        assert re.search(says, small[1].read_text())
    monkeypatch.setattr(export, "LARGEST", 10_000)
    with pytest.raises(SepvizError, match="would have"):
        export.gallery([lab], tmp_path / "none")
    assert not (tmp_path / "none").exists()


def long_run(batch, channels, side, steps, forces=True):
    """A trace of random images, with the layers that a player shows under them."""
    images = torch.rand(batch, 2, channels, side, side, generator=torch.Generator().manual_seed(0))
    extras = dict.fromkeys(("prior_force", "data_force"), images) if forces else {}
    made = [Step(i, "step", images * i / steps, extras, info={"evaluations": float(i)})
            for i in range(steps)]
    return Trace(Problem(images.sum(1), Mixing.sum(2)), made, "Toy"), Truth(images)


@pytest.mark.parametrize(("shape", "says"), [
    ((2, 1, 8, 30), ""),
    ((8, 3, 32, 60), "it holds 4[0-9] of 60 recorded steps and 2 of 8 mixtures."),
    ((1, 1, 4, 1800), "it holds [0-9]{3,4} of 1800 recorded steps."),
    ((1, 3, 200, 12), "it holds 4 of 12 recorded steps and no forces.")])
def test_every_page_of_a_run_is_small(shape, says, tmp_path, monkeypatch):
    largest = 1_000_000 if shape[-1] > 1000 else 5_000_000  # of many small frames fewer will do
    for module in (export, one_page):
        monkeypatch.setattr(module, "LARGEST", largest)
    trace, truth = long_run(*shape)
    trace.save(tmp_path / "run.npz")
    files.save_problem(tmp_path / "run.problem.npz", trace.problem, truth)
    for page in (save_page(trace, tmp_path / "run.html", truth),
                 export.gallery([tmp_path / "run.npz"], tmp_path / "out")[1]):
        text = page.read_text()
        assert page.stat().st_size < largest
        assert ("To keep this page small" in text) == bool(says)
        assert re.search(f"To keep this page small, {says}" if says else "", text)
        states = r'<script (?:id="state" )?type="application/json"[^>]*>(.*?)</script>'
        records = json.loads(re.search(states, text)[1])["frames"]["records"]
        assert (records[0]["index"], records[-1]["index"]) == (0, len(trace) - 1)


def test_a_run_of_images_too_large_for_a_page(tmp_path, capsys):
    trace, truth = long_run(1, 3, 400, 2, forces=False)
    with pytest.raises(SepvizError, match="2 sources of 3x400x400 would have more than 5 MB"):
        save_page(trace, tmp_path / "run.html", truth)
    files.save_problem(tmp_path / "p.npz", trace.problem, truth)
    words = ["separate", "p.npz", "--method", "average", "--out", "o.npz", "--html", "o.html"]
    words = [str(tmp_path / word) if word[1] == "." else word for word in words]
    assert cli.main(words) == 2 and "3x400x400" in capsys.readouterr().err  # before the run
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.npz"]


def test_thinned_packs_keep_first_and_last():
    pack = {"records": list(range(10)), "bytes": bytes(range(20))}
    web_page.thin_pack(pack, 0.4)
    assert pack["records"] == [0, 3, 6, 9] and pack["bytes"] == bytes([0, 1, 6, 7, 12, 13, 18, 19])


def test_figures_say_what_they_show():
    lines = {"measured": ([1, 2], [1, 2]), "theory": ([1, 2], [1, 3])}
    figure = curves(lines, "delta", "residual", title="Larger steps")
    assert figure.alt == "Larger steps; residual; delta; measured; theory"
    assert figure._repr_png_()[1] == {"alt": figure.alt}


BLOCKED = """
import sys
for name in ("ipywidgets", "anywidget", "ipykernel", "jupyter_client", "jupyterlab"):
    sys.modules[name] = None  # an import fails
import pkgutil
import sepviz.views
for module in pkgutil.walk_packages(sepviz.views.__path__, "sepviz.views."):
    __import__(module.name)
from sepviz import Trace, save_gif, save_page
from sepviz.views import export, figures
trace = Trace.load(sys.argv[1])
save_page(trace, "run.html")
save_gif(trace, "run.gif")
figures.save(figures.separation(trace.problem, trace), "run.png")
export.gallery([sys.argv[1]], "out")
"""


def test_views_need_no_kernel_and_no_widgets(tmp_path):
    trace, _ = long_run(1, 1, 8, 6)
    trace.save(tmp_path / "a.npz")
    done = subprocess.run([sys.executable, "-c", BLOCKED, tmp_path / "a.npz"], cwd=tmp_path,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["a.npz", "out", "run.gif", "run.html", "run.png"]


# --- the command, and what it refuses ------------------------------------------------------------


def call(capsys, *words):
    capsys.readouterr()
    code = cli.main(["export", *map(str, words)])
    told = capsys.readouterr()
    return code, told.out, told.err


def test_command(tmp_path, capsys):
    code, out, err = call(capsys, "remix-strokes", "--out", tmp_path / "course")
    assert code == 0 and "sepviz:" not in err
    assert "index.html" in out and "MB" in out
    names = sorted(path.name for path in (tmp_path / "course").iterdir())
    assert names == ["index.html", "remix-strokes.html"]


def test_runs_a_notebook_that_was_not(tmp_path, capsys):
    path = tmp_path / "new.ipynb"
    nbformat.write(notebook([("code", "print(6 * 7)")]), path)
    before = path.read_bytes()
    assert call(capsys, path, "--run", "--out", tmp_path / "out")[0] == 0
    assert "42" in (tmp_path / "out" / "new.html").read_text() and path.read_bytes() == before
    nbformat.write(notebook([("code", "1 / 0")]), path)
    code, _, err = call(capsys, path, "--run", "--out", tmp_path / "none")
    assert code == 2 and "ZeroDivisionError" in err


def test_bad_input_is_one_line(tmp_path, capsys, lab):
    new, forgot, text = tmp_path / "new.ipynb", tmp_path / "forgot.ipynb", tmp_path / "text.ipynb"
    nbformat.write(notebook([("code", "print(1)")]), new)
    without = nbformat.read(lab, as_version=4)
    del without.metadata["widgets"]
    nbformat.write(without, forgot)
    text.write_text("no notebook")
    (tmp_path / "there").mkdir()
    (tmp_path / "index.ipynb").write_bytes(lab.read_bytes())
    for words, said in [(["start_hera"], "start_here"),
                        ([lab, "--out", tmp_path / "there"], "is there already"),
                        ([new], "never run: run it first (--run does that)"),
                        ([forgot], "state was not saved: run it again (--run does that)"),
                        ([text], "no notebook"), ([tmp_path / "gone.npz"], "No such file"),
                        ([lab, lab], "two pages"), ([tmp_path / "index.ipynb"], "two pages")]:
        out = [] if "--out" in words else ["--out", tmp_path / "out"]
        code, _, err = call(capsys, *words, *out)
        assert code == 2 and err.startswith("sepviz: ") and err.count("\n") == 1, err
        assert said in err
        assert not (tmp_path / "out").exists()
    assert not list((tmp_path / "there").iterdir())


# --- in a browser, with no network ---------------------------------------------------------------


def test_every_page_plays_and_scrubs_offline(pages, browser):
    from playwright.sync_api import expect

    expect.set_options(timeout=90_000)
    for path in pages:
        context = browser.new_context(offline=True, viewport={"width": 420, "height": 800})
        context.set_default_timeout(90_000)
        page = context.new_page()
        faults: list[str] = []
        requests: list[str] = []
        page.on("console", lambda told, faults=faults: (
            faults.append(told.text) if told.type == "error" else None))
        page.on("pageerror", lambda error, faults=faults: faults.append(str(error)))
        page.on("request", lambda request, requests=requests: requests.append(request.url))
        page.goto(path.as_uri())
        places = page.locator(".export-widget")
        assert places.count() == {"index.html": 0, "small.html": 2}.get(path.name, 1)
        for i in range(places.count()):
            check_player(expect, page, places.nth(i))
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert page.evaluate("[...document.images].every((image) => image.naturalWidth > 0)")
        assert faults == [] and requests == [path.as_uri()]
        context.close()


def test_on_paper_and_in_the_dark(tmp_path, browser):
    """A printed page is light and shows the last step, without empty panels; then all is back."""
    trace, _ = long_run(1, 1, 8, 6)
    trace.steps[-1] = trace.steps[-1]._replace(shown={})  # no forces at the last step
    trace.save(tmp_path / "run.npz")
    context = browser.new_context(color_scheme="dark", viewport={"width": 700, "height": 700})
    page = context.new_page()
    page.goto(export.gallery([tmp_path / "run.npz"], tmp_path / "out")[1].as_uri())
    root, panels = page.locator(".sepviz[data-frames]"), page.locator(".sepviz-panel:visible")
    background = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(background) == "rgb(20, 22, 26)" and panels.count() == 7
    page.emulate_media(media="print", color_scheme="dark")
    page.wait_for_selector(".sepviz[data-frame='5']")
    assert page.evaluate(background) == "rgb(255, 255, 255)" and panels.count() == 5
    assert page.locator(".sepviz button:visible, .sepviz-slider:visible").count() == 0
    page.emulate_media(media="screen", color_scheme="dark")
    page.wait_for_selector(".sepviz[data-frame='0']")
    assert root.get_attribute("data-frame") == "0" and panels.count() == 7
    context.close()


def check_player(expect, page, place):
    root = place.locator(".sepviz")
    expect(root).to_have_attribute("data-frame", "0")
    last = int(root.get_attribute("data-frames")) - 1
    assert last >= 5
    root.focus()
    for key, frame in [("ArrowRight", 1), ("End", last), ("ArrowLeft", last - 1), ("Home", 0)]:
        page.keyboard.press(key)
        expect(root).to_have_attribute("data-frame", str(frame))
    place.locator(".sepviz-plot:visible").first.click(position={"x": 60, "y": 20})
    assert 0 < int(root.get_attribute("data-frame")) < last
    place.locator(".sepviz-slider").fill("3")
    expect(root).to_have_attribute("data-frame", "3")
    place.locator(".sepviz-rate").select_option("0")
    place.locator(".sepviz-loop").click()
    place.locator(".sepviz-play").click()
    expect(root).to_have_attribute("data-frame", str(last))
    expect(root).to_have_attribute("data-playing", "false")
