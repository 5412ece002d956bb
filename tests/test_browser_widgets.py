"""Every widget on a page of its own in a real browser, without a network: it answers, and axe has nothing serious to say of it."""

import json
import re
from pathlib import Path

import pytest
import torch
from test_trace import Toy, task  # noqa: F401 (task is a fixture)

from sepviz import metrics, tasks
from sepviz.core import Step, Truth
from sepviz.runs.trace import Trace, record
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
    opened, faults = [], []

    def open_page(widget, dark=False, width=1200, **options):
        state = {name: getattr(widget, name) for name in widget.traits(sync=True) if not PRIVATE.match(name)}
        path = tmp_path / f"{type(widget).__name__}.html"
        page = page_of(widget._esm, state, type(widget).__name__, style=widget._css)
        path.write_text(page, encoding="utf-8")
        context = browser.new_context(
            offline=True, viewport={"width": width, "height": 844 if width < 600 else 1000},
            color_scheme="dark" if dark else "light", **options)
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


HEARD = """() => {
  window.heard = [];
  document.addEventListener("keydown", (event) => window.heard.push(event.key));
}"""
PARTS = """() => {
  for (const details of document.querySelectorAll("details")) details.open = true;
  const all = document.querySelectorAll("button, input, select, summary, [tabindex='0']");
  const parts = [...all].filter((part) => !part.disabled && part.offsetParent);
  parts.forEach((part, i) => { part.dataset.part = i; });
  return parts.length;
}"""


@pytest.mark.parametrize("make", WIDGETS, ids=lambda make: make.__name__)
def test_plain_keys_stay_in_the_widget(show, task, make):  # noqa: F811
    """From whatever part has the focus: the document hears chords and Tab alone."""
    page, root = show(make(*task))
    sync_api.expect(root).to_be_visible()
    page.evaluate(HEARD)
    count = page.evaluate(PARTS)
    assert count
    for i in range(count):
        page.locator(f"[data-part='{i}']").evaluate("""(part) => {
          const press = (key, ctrlKey = false) => part.dispatchEvent(
            new KeyboardEvent("keydown", { key, ctrlKey, bubbles: true, cancelable: true }));
          for (const key of ["ArrowDown", "ArrowUp", "ArrowLeft", "Home", "d", "Enter"]) press(key);
          press("s", true);
          press("Tab");
        }""")
        assert page.evaluate("window.heard.splice(0)") == ["s", "Tab"], i


def colours(panel):
    """The colours (pixels, 3) of a panel's canvas."""
    return torch.tensor(panel.evaluate("""(canvas) => {
      const { width, height } = canvas;
      return [...canvas.getContext("2d").getImageData(0, 0, width, height).data];
    }""")).reshape(-1, 4)[:, :3]


def exact(shift):
    """A run of one step whose residual is ``shift`` everywhere but for 5e-4 of rounding."""
    sources = torch.rand((1, 2, 1, 6, 5), generator=torch.Generator().manual_seed(0)) / 2
    problem, truth = tasks.mix(sources)
    noise = torch.rand((1, 2, 1, 6, 5), generator=torch.Generator().manual_seed(1))
    rounding = 5e-4 * (noise - 0.5)
    step = Step(0, "known", sources - shift / 2 + rounding)
    return Trace(problem, [step], "Known"), truth


def test_rounding_is_white_and_what_is_left_over_is_not(show):
    """An exact residual is no picture of its rounding.

    One of 0.2 is orange where the estimates lack ink, blue where they have too much.
    """
    (known, truth), (short, _), (over, _) = exact(0.0), exact(0.2), exact(-0.2)
    page, _ = show(Player(known, truth))
    panel = page.locator(".sepviz-of-mixture canvas").nth(2)
    assert bool((colours(panel) == 247).all())
    caption = page.locator(".sepviz-of-mixture figcaption").nth(2)
    sync_api.expect(caption).to_have_text("residual ±0.010")
    page, _ = show(Compare({"known": known, "short": short, "over": over}, truth))
    rows = page.locator(".sepviz-compare-row").all()[1:]
    panels = [colours(row.locator("canvas").last).float().mean(dim=0).tolist() for row in rows]
    assert panels[0] == [247, 247, 247], "one scale for all runs"
    (red, _, blue), (red_over, _, blue_over) = panels[1:]
    assert red > blue + 50 and blue_over > red_over + 50
    captions = {row.locator("figcaption").last.text_content() for row in rows}
    assert captions == {"residual ±0.20"}
    page, _ = show(Player(short, truth))
    legend = page.locator(".sepviz-legend").text_content()
    assert legend.startswith("blue \u2212 takes away") and legend.endswith("orange + adds")


def test_a_run_of_few_frames_plays_for_eight_seconds_and_again(show, task):  # noqa: F811
    """By the page's own clock; without motion where that is asked for, it plays once."""
    trace = record(Toy(count=15), task[0], every=1, progress=False)
    page, root = show(Player(trace, task[1]))
    expect = sync_api.expect
    expect(page.locator(".sepviz-rate")).to_have_value("whole")
    expect(page.locator(".sepviz-loop")).to_have_attribute("aria-pressed", "true")
    page.evaluate("""() => {
      window.turns = [];
      const root = document.querySelector(".sepviz");
      new MutationObserver(() => {
        const frame = Number(root.dataset.frame), last = window.turns.at(-1);
        if (!last || last[0] !== frame) window.turns.push([frame, performance.now()]);
      }).observe(root, { attributes: true, attributeFilter: ["data-frame"] });
    }""")
    page.locator(".sepviz-play").click()
    page.wait_for_function("""() => window.turns.some(([frame]) => frame === 15)
      && window.turns.at(-1)[0] < 15""", timeout=60_000)
    turns = page.evaluate("window.turns")
    frames = [frame for frame, _ in turns]
    end = frames.index(15)
    seconds = (turns[end][1] - turns[0][1]) / 1000
    assert 0.5 <= seconds / (8 * 14 / 15) <= 2  # generous: the machine may be shared
    assert frames[end + 1] == 0 and turns[end + 1][1] - turns[end][1] >= 1400
    expect(root).to_have_attribute("data-playing", "true")
    page, root = show(Player(trace, task[1]), reduced_motion="reduce")
    expect(page.locator(".sepviz-loop")).to_have_attribute("aria-pressed", "false")
    page.locator(".sepviz-rate").select_option("0")
    page.locator(".sepviz-play").click()
    expect(root).to_have_attribute("data-frame", "15")
    expect(root).to_have_attribute("data-playing", "false")


@pytest.mark.parametrize("make", (player, live, compare, posterior), ids=lambda make: make.__name__)
def test_on_a_phone_pictures_and_slider_are_seen_together(show, make):
    problem, truth = tasks.separate("strokes", count=3)
    widget = make(problem, truth)
    if isinstance(widget, LiveRun):
        widget.start()
        assert widget.wait(60)
        widget.close()
    page, root = show(widget, width=390)
    sync_api.expect(root).to_have_attribute("data-frame", re.compile(r"\d"))
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("""() => {
      const inside = (node) => {
        const box = node.getBoundingClientRect();
        return box.top >= 0 && box.bottom <= innerHeight && box.width >= 50;
      };
      const pictures = [...document.querySelectorAll(".sepviz-canvas")].slice(0, 3);
      return [document.querySelector(".sepviz-slider"), ...pictures].every(inside);
    }""")


@pytest.mark.parametrize("begun", [False, True], ids=["ready", "run"])
def test_on_paper_there_are_pictures_and_nothing_to_press(show, task, begun):  # noqa: F811
    widget = live(*task)
    if begun:
        widget.start()
        assert widget.wait(60)
    widget.close()
    page, _ = show(widget, dark=True)
    page.emulate_media(media="print")
    sizes = page.locator(".sepviz-panel").evaluate_all("""(panels) => panels.map((panel) => {
      const box = panel.getBoundingClientRect(), style = getComputedStyle(panel);
      return [box.height > 0, style.visibility]; })""")
    assert sizes.count([True, "visible"]) == (9 if begun else 1) and [True, "hidden"] not in sizes
    pressed = page.locator("button:visible, input[type=range]:visible")
    assert pressed.count() == (3 if begun else 0)  # they tell which layer is shown
    method = page.locator(".sepviz-method")
    assert method.evaluate("(node) => getComputedStyle(node).color") == "rgb(0, 0, 0)"
    title = page.locator("h1")  # outside the widget: the page itself is light too
    assert title.evaluate("(node) => getComputedStyle(node).color") == "rgb(28, 31, 36)"


def test_signed_pictures_are_dark_where_the_page_is(show, task):  # noqa: F811
    for dark in (False, True):
        page, _ = show(player(*task), dark=dark)
        filters = page.locator(".sepviz-of-mixture canvas").evaluate_all(
            "(panels) => panels.map((panel) => getComputedStyle(panel).filter)")
        assert ["invert" in text for text in filters] == [False, False, dark]
