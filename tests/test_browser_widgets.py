"""Every widget on a page of its own in a real browser, without a network: it answers, and axe has nothing serious to say of it."""

import json
import re
from pathlib import Path

import pytest
import torch
from test_trace import Toy, task  # noqa: F401 (task is a fixture)

from sepviz import metrics, sketch, tasks
from sepviz.core import Truth
from sepviz.trace import record
from sepviz.widgets import Compare, Guess, Leaderboard, LiveRun, Player, Posterior, SketchPad
from sepviz.widgets.player import page_of

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
DRAWING = json.loads((Path(__file__).parent / "drawings.json").read_text())[1]
SERIOUS = ("serious", "critical")
PRIVATE = re.compile("^_|^(comm|keys|layout|log|tabbable|tooltip)$")


@pytest.fixture
def show(browser, tmp_path):
    """Open a widget's page; nothing may go wrong in its console, nor be asked of the network."""
    opened, faults = [], []

    def open_page(widget, dark=False):
        state = {name: getattr(widget, name) for name in widget.traits(sync=True) if not PRIVATE.match(name)}
        path = tmp_path / f"{type(widget).__name__}.html"
        path.write_text(page_of(widget._esm, state, type(widget).__name__), encoding="utf-8")
        context = browser.new_context(offline=True, viewport={"width": 1200, "height": 1000}, color_scheme="dark" if dark else "light")
        context.set_default_timeout(90_000)
        page = context.new_page()
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda request: faults.append(request.url) if request.url != path.as_uri() else None)
        page.goto(path.as_uri())
        opened.append(context)
        return page, page.locator(".sepviz").first

    sync_api.expect.set_options(timeout=90_000)
    yield open_page
    for context in opened:
        context.close()
    assert faults == []


def runs_of(problem):
    toys = {"slow": Toy(), "fast": Toy(count=20, rate=0.3)}
    return {name: record(toy, problem, every=1, progress=False) for name, toy in toys.items()}


def player(problem, truth):
    return Player(record(Toy(), problem, every=5, progress=False), truth)


def live(problem, truth):
    return LiveRun(Toy(), problem, truth)


def compare(problem, truth):
    return Compare(runs_of(problem), truth)


def posterior(problem, truth):
    return Posterior(record(Toy(), tasks.repeat(problem, 1, 4), every=5, progress=False), Truth(truth.sources[1:2]))


def leaderboard(problem, truth):
    return Leaderboard(runs_of(problem), truth, shown=2)


def pad(_problem=None, _truth=None):
    made = SketchPad()
    for k, source in enumerate(DRAWING["sources"]):
        made.ink(k, sketch.decode(source))
    return made


def question(_problem, _truth):
    return Guess.number("How many dB?", unit="dB", low=0, high=40)


WIDGETS = (player, live, compare, posterior, leaderboard, pad, question)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("make", WIDGETS, ids=lambda make: make.__name__)
def test_axe_finds_nothing_serious(show, task, make, dark):  # noqa: F811
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    page, root = show(make(*task), dark)
    sync_api.expect(root).to_be_visible()
    page.evaluate("() => { for (const details of document.querySelectorAll('details')) details.open = true; }")
    found = axe.Axe().run(page).response["violations"]
    assert not [(rule["id"], node["html"][:200]) for rule in found if rule["impact"] in SERIOUS for node in rule["nodes"]]


def test_compare_moves_all_runs_together(show, task):  # noqa: F811
    expect = sync_api.expect
    page, root = show(compare(*task))
    expect(root).to_have_attribute("data-axis", "evaluations")
    expect(root).to_have_attribute("data-indices", "50 20")
    root.focus()
    page.keyboard.press("Home")
    expect(root).to_have_attribute("data-indices", "0 0")
    for _ in range(30):
        page.keyboard.press("ArrowRight")
    expect(root).to_have_attribute("data-at", "30")
    expect(root).to_have_attribute("data-indices", "30 20")  # the shorter one has ended
    expect(page.locator(".sepviz-run-text").nth(1)).to_contain_text("step 20")
    page.locator(".sepviz-align").select_option("share")
    page.locator(".sepviz-slider").fill("0")
    expect(root).to_have_attribute("data-indices", "0 0")
    page.keyboard.press("End")
    expect(root).to_have_attribute("data-indices", "50 20")
    page.locator(".sepviz-align").select_option("seconds")
    expect(root).to_have_attribute("data-axis", "seconds")
    page.locator(".sepviz-next").click()
    expect(root).to_have_attribute("data-item", "1")
    expect(page.locator("[data-curve=psnr] .sepviz-line")).to_have_count(2)


def test_posterior_scrubs_and_shows_one_mode(show, task):  # noqa: F811
    problem, truth = task
    widget = posterior(problem, truth)
    page, root = show(widget)
    expect = sync_api.expect
    expect(root).to_have_attribute("data-frame", "10")
    expect(root).to_have_attribute("data-modes", str(len(set(widget.mode))))
    root.focus()
    page.keyboard.press("Home")
    expect(root).to_have_attribute("data-index", "0")
    if len(set(widget.mode)) > 1:
        page.locator(".sepviz-segment[data-mode='0']").click()
        expect(root).to_have_attribute("data-chosen", "0")
    expect(page.locator(".sepviz-chain canvas")).to_have_count(2 * (4 + 3) + 1)


def test_leaderboard_plays_what_is_clicked(show, task):  # noqa: F811
    widget = leaderboard(*task)
    page, root = show(widget)
    expect = sync_api.expect
    assert [row["psnr"] for row in widget.rows] == sorted((row["psnr"] for row in widget.rows), reverse=True)
    best = widget.rows[0]["name"]
    watch = page.get_by_role("button", name=f"Watch {best}, step by step")
    watch.click()
    expect(root).to_have_attribute("data-open", best)
    expect(page.locator(".sepviz-stage .sepviz")).to_have_attribute("data-frames", re.compile(r"\d+"))
    page.get_by_role("button", name=f"Watch {widget.rows[1]['name']}, step by step").press("Enter")
    expect(root).to_have_attribute("data-open", widget.rows[1]["name"])
    expect(page.locator(".sepviz-stage .sepviz")).to_have_count(1)
    page.get_by_role("button", name=f"Watch {widget.rows[1]['name']}, step by step").click()
    expect(page.locator(".sepviz-stage .sepviz")).to_have_count(0)


def test_leaderboard_scores_are_the_metrics(task):  # noqa: F811
    problem, truth = task
    runs = runs_of(problem)
    for row in Leaderboard(runs, truth).rows:
        assert row["psnr"] == pytest.approx(float(metrics.psnr(runs[row["name"]].sources, truth.sources).mean()), abs=0.006)
        assert row["n"] == 3


def test_the_pad_takes_ink_by_pointer_and_by_keyboard(show):
    """What the model is given is what was drawn; the page has no Python to mix it."""
    page, root = show(SketchPad())
    expect = sync_api.expect
    strokes = "() => JSON.stringify(window.model.get('strokes'))"
    first, second = page.locator(".sepviz-pen").all()
    box = first.bounding_box()
    page.mouse.move(box["x"] + 40, box["y"] + 30)
    page.mouse.down()
    page.mouse.move(box["x"] + 140, box["y"] + 30, steps=8)
    page.mouse.move(box["x"] + 90, box["y"] + 170, steps=8)
    page.mouse.up()
    drawn = json.loads(page.evaluate(strokes))
    assert len(drawn[0]) == 1 and len(drawn[0][0]) >= 10 and not drawn[1]
    assert drawn[0][0][0] == pytest.approx([40 / 7, 30 / 7], abs=0.2) and drawn[0][0][-1] == pytest.approx([90 / 7, 170 / 7], abs=0.2)
    second.focus()
    for key in ["ArrowUp"] * 6 + [" "] + ["Shift+ArrowDown"] * 3 + [" ", "ArrowLeft", " ", "ArrowRight", "ArrowRight", " "]:
        page.keyboard.press(key)
    drawn = json.loads(page.evaluate(strokes))
    assert [len(stroke) for stroke in drawn[1]] == [4, 3]
    assert drawn[1][0] == [[14, 8], [14, 12], [14, 16], [14, 20]]
    page.keyboard.press("Backspace")
    assert [len(stroke) for stroke in json.loads(page.evaluate(strokes))[1]] == [4]
    page.get_by_role("button", name="Clear drawing 1").click()
    assert json.loads(page.evaluate(strokes))[0] == []
    page.locator(".sepviz-filter summary").click()
    page.get_by_role("button", name="filter, row 3, column 3").click()
    expect(root).to_have_attribute("data-options", re.compile('"taps":"0000000000001000000000000"'))
    page.get_by_role("slider", name="noise").fill("0.3")
    expect(root).to_have_attribute("data-options", re.compile('"noise":0.3'))
    page.get_by_role("button", name="Reset").click()
    expect(root).to_have_attribute("data-options", re.compile('"taps":"","noise":0,'))


def test_a_picture_of_one_pixel(show):
    problem, truth = tasks.mix(torch.rand(1, 2, 1, 1, 1))
    page, root = show(Player(record(Toy(), problem, every=10, progress=False), truth))
    page.locator(".sepviz-of-source .sepviz-canvas").first.hover()
    sync_api.expect(root).to_have_attribute("data-pixel", "0 0")
