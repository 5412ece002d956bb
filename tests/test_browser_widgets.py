"""Every widget on a page of its own in a real browser, without a network."""

import json
import re
from pathlib import Path

import pytest
from chromium import open_page
from test_trace import Toy, task  # noqa: F401 (task is a fixture)

from sepviz import metrics, tasks
from sepviz.core import Truth
from sepviz.runs.trace import record
from sepviz.tasks import drawn as sketch
from sepviz.views.page import page_of
from sepviz.widgets import Compare, Guess, Leaderboard, LiveRun, Player, Posterior, SketchPad

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
DRAWING = json.loads((Path(__file__).parent / "drawings.json").read_text())[1]
SERIOUS = ("serious", "critical")
PRIVATE = re.compile("^_|^(comm|keys|layout|log|tabbable|tooltip)$")


@pytest.fixture
def show(browser, tmp_path):
    """Open a widget's page; nothing may go wrong in its console, nor be asked of the network."""
    pages, faults = [], []

    def call(widget, width=1200, **options):
        name = type(widget).__name__
        state = {trait: getattr(widget, trait) for trait in widget.traits(sync=True)
                 if not PRIVATE.match(trait)}
        path = tmp_path / f"{name}.html"
        path.write_text(page_of(widget._esm, state, name, style=widget._css), encoding="utf-8")
        size = {"width": width, "height": 844 if width < 600 else 1000}
        pages.append(open_page(browser, path, faults, viewport=size, **options))
        return pages[-1], pages[-1].locator(".sepviz").first

    sync_api.expect.set_options(timeout=90_000)
    yield call
    for page in pages:
        page.context.close()
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
    trace = record(Toy(), tasks.repeat(problem, 1, 4), every=5, progress=False)
    return Posterior(trace, Truth(truth.sources[1:2]))


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


# The parts of a page that take keys, counted; all that is folded is opened.
PARTS = """() => {
  window.heard = [];
  document.addEventListener("keydown", (event) => window.heard.push(event.key));
  for (const details of document.querySelectorAll("details")) details.open = true;
  const all = document.querySelectorAll("button, input, select, summary, [tabindex='0']");
  const parts = [...all].filter((part) => !part.disabled && part.offsetParent);
  parts.forEach((part, i) => { part.dataset.part = i; });
  return parts.length;
}"""
PRESS = """(part) => {
  const press = (key, ctrlKey = false) => part.dispatchEvent(
    new KeyboardEvent("keydown", { key, ctrlKey, bubbles: true, cancelable: true }));
  for (const key of ["ArrowDown", "ArrowUp", "ArrowLeft", "Home", "d", "Enter"]) press(key);
  press("s", true);
  press("Tab");
  return window.heard.splice(0);
}"""


@pytest.mark.parametrize("make", WIDGETS, ids=lambda make: make.__name__)
def test_anybody_can_use_it(show, task, make):  # noqa: F811
    """axe finds nothing serious, by day or night; plain keys stay in the widget.

    Whatever part has the focus, the document hears chords and Tab alone.
    """
    axe = pytest.importorskip("axe_playwright_python.sync_playwright",
                              reason="axe-playwright-python is not installed").Axe()
    page, root = show(make(*task))
    sync_api.expect(root).to_be_visible()
    count = page.evaluate(PARTS)
    assert count
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        found = axe.run(page).response["violations"]
        assert not [(scheme, rule["id"], node["html"][:200]) for rule in found
                    if rule["impact"] in SERIOUS for node in rule["nodes"]]
    for i in range(count):
        assert page.locator(f"[data-part='{i}']").evaluate(PRESS) == ["s", "Tab"], i


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
    psnr, names = [row["psnr"] for row in widget.rows], [row["name"] for row in widget.rows]
    assert psnr == sorted(psnr, reverse=True)
    stage = page.locator(".sepviz-stage .sepviz")
    best, other = (page.get_by_role("button", name=f"Watch {name}, step by step") for name in names)
    best.click()
    expect(root).to_have_attribute("data-open", names[0])
    expect(stage).to_have_attribute("data-frames", re.compile(r"\d+"))
    other.press("Enter")
    expect(root).to_have_attribute("data-open", names[1])
    expect(stage).to_have_count(1)
    other.click()
    expect(stage).to_have_count(0)


def test_leaderboard_scores_are_the_metrics(task):  # noqa: F811
    problem, truth = task
    runs = runs_of(problem)
    for row in Leaderboard(runs, truth).rows:
        psnr = float(metrics.psnr(runs[row["name"]].sources, truth.sources).mean())
        assert row["psnr"] == pytest.approx(psnr, abs=0.006) and row["n"] == 3


def test_the_pad_takes_ink_by_pointer_and_by_keyboard(show):
    """What the model is given is what was drawn; the page has no Python to mix it."""
    page, root = show(SketchPad())
    expect = sync_api.expect

    def strokes():
        return page.evaluate("() => window.model.get('strokes')")

    first, second = page.locator(".sepviz-pen").all()
    box = first.bounding_box()
    page.mouse.move(box["x"] + 40, box["y"] + 30)
    page.mouse.down()
    page.mouse.move(box["x"] + 140, box["y"] + 30, steps=8)
    page.mouse.move(box["x"] + 90, box["y"] + 170, steps=8)
    page.mouse.up()
    (drawn,), nothing = strokes()
    assert len(drawn) >= 10 and not nothing
    assert drawn[0] == pytest.approx([40 / 7, 30 / 7], abs=0.2)
    assert drawn[-1] == pytest.approx([90 / 7, 170 / 7], abs=0.2)
    second.focus()
    for key in [*["ArrowUp"] * 6, " ", *["Shift+ArrowDown"] * 3, " ", "ArrowLeft", " ",
                "ArrowRight", "ArrowRight", " "]:
        page.keyboard.press(key)
    one, two = strokes()[1]
    assert one == [[14, 8], [14, 12], [14, 16], [14, 20]] and len(two) == 3
    page.keyboard.press("Backspace")
    assert strokes()[1] == [one]
    page.get_by_role("button", name="Clear drawing 1").click()
    assert strokes()[0] == []
    page.locator(".sepviz-filter summary").click()
    page.get_by_role("button", name="filter, row 3, column 3").click()
    taps = re.compile('"taps":"0000000000001000000000000"')
    expect(root).to_have_attribute("data-options", taps)
    page.get_by_role("slider", name="noise").fill("0.3")
    expect(root).to_have_attribute("data-options", re.compile('"noise":0.3'))
    page.get_by_role("button", name="Reset").click()
    expect(root).to_have_attribute("data-options", re.compile('"taps":"","noise":0,'))
