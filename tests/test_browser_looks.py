"""What the widgets look like: colours, a film, a phone, paper, a dark page."""

import re

import pytest
import torch
from test_browser_widgets import (  # noqa: F401 (show is a fixture)
    compare,
    live,
    player,
    posterior,
    show,
    sync_api,
)
from test_trace import Toy, task  # noqa: F401 (task is a fixture)

from sepviz import tasks
from sepviz.core import Step
from sepviz.runs.trace import Trace, record
from sepviz.widgets import Compare, LiveRun, Player


def test_a_picture_of_one_pixel(show):  # noqa: F811
    problem, truth = tasks.mix(torch.rand(1, 2, 1, 1, 1))
    page, root = show(Player(record(Toy(), problem, every=10, progress=False), truth))
    page.locator(".sepviz-of-source .sepviz-canvas").first.hover()
    sync_api.expect(root).to_have_attribute("data-pixel", "0 0")


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


def test_rounding_is_white_and_what_is_left_over_is_not(show):  # noqa: F811
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
    page.clock.install()
    page.evaluate("""() => {
      window.turns = [];
      const root = document.querySelector(".sepviz");
      new MutationObserver(() => {
        const frame = Number(root.dataset.frame), last = window.turns.at(-1);
        if (!last || last[0] !== frame) window.turns.push([frame, performance.now()]);
      }).observe(root, { attributes: true, attributeFilter: ["data-frame"] });
    }""")
    page.locator(".sepviz-play").click()
    for _ in range(120):
        page.clock.run_for(100)
    turns = page.evaluate("window.turns")
    frames = [frame for frame, _ in turns]
    end = frames.index(15)
    seconds = (turns[end][1] - turns[0][1]) / 1000
    assert seconds == pytest.approx(8 * 14 / 15, rel=0.1)
    assert frames[end + 1] == 0 and turns[end + 1][1] - turns[end][1] >= 1400
    expect(root).to_have_attribute("data-playing", "true")
    page, root = show(Player(trace, task[1]), reduced_motion="reduce")
    expect(page.locator(".sepviz-loop")).to_have_attribute("aria-pressed", "false")
    page.locator(".sepviz-rate").select_option("0")
    page.locator(".sepviz-play").click()
    expect(root).to_have_attribute("data-frame", "15")
    expect(root).to_have_attribute("data-playing", "false")


@pytest.mark.parametrize("make", (player, live, compare, posterior), ids=lambda make: make.__name__)
def test_on_a_phone_pictures_and_slider_are_seen_together(show, make):  # noqa: F811
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
    page, _ = show(widget, color_scheme="dark")
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
    page, _ = show(player(*task))
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        filters = page.locator(".sepviz-of-mixture canvas").evaluate_all(
            "(panels) => panels.map((panel) => getComputedStyle(panel).filter)")
        assert ["invert" in text for text in filters] == [False, False, scheme == "dark"]
