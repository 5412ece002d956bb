"""The exported page in a real browser, with no network."""

import re

import pytest
from test_trace import Toy, task  # noqa: F401 (task is a fixture)

from sepviz import metrics
from sepviz.runs.trace import record
from sepviz.views.page import save_page

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
DRAW_FOR_A_SECOND = """() => {
  const slider = document.querySelector(".sepviz-slider");
  const root = document.querySelector(".sepviz");
  const before = Number(root.dataset.draws), begun = performance.now();
  for (let i = 0; performance.now() - begun < 1000; i++) {
    slider.value = i % (Number(slider.max) + 1);
    slider.dispatchEvent(new Event("input"));
  }
  slider.dispatchEvent(new Event("change"));
  return (Number(root.dataset.draws) - before) / ((performance.now() - begun) / 1000);
}"""


def test_page_plays_and_scrubs_offline(browser, task, tmp_path, capsys):  # noqa: F811
    problem, truth = task
    trace = record(Toy(), problem, every=1, progress=False)
    path = save_page(trace, tmp_path / "run.html", truth)
    context = browser.new_context(offline=True)
    context.set_default_timeout(90_000)
    page = context.new_page()
    faults: list[str] = []
    requests: list[str] = []
    page.on("console", lambda told: faults.append(told.text) if told.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(path.as_uri())
    root = page.locator(".sepviz")
    expect = sync_api.expect
    expect.set_options(timeout=90_000)
    expect(root).to_have_attribute("data-frames", "51")
    expect(root).to_have_attribute("data-frame", "0")

    root.focus()
    for key, frame in [("ArrowRight", 1), ("End", 50), ("ArrowLeft", 49), ("Home", 0)]:
        page.keyboard.press(key)
        expect(root).to_have_attribute("data-frame", str(frame))
    page.locator(".sepviz-slider").fill("30")
    expect(root).to_have_attribute("data-index", "30")
    expect(page.locator(".sepviz-status")).to_contain_text("step 30")
    page.locator(".sepviz-plot").first.click(position={"x": 1, "y": 20})
    expect(root).to_have_attribute("data-frame", "0")

    page.locator(".sepviz-next").click()
    expect(page.locator(".sepviz-item")).to_have_text("mixture 2 of 3")
    page.locator(".sepviz-segment", has_text="data force").click()
    expect(page.locator(".sepviz-segment[aria-pressed=true]")).to_have_text("data force")

    # why this pixel: the sum that is shown adds up, and is the one that was made
    page.locator(".sepviz-slider").fill("7")
    page.locator(".sepviz-of-source .sepviz-canvas").first.hover()
    expect(root).to_have_attribute("data-pixel", re.compile(r"^\d+ \d+$"))
    page.locator(".sepviz-of-source .sepviz-canvas").first.click()
    expect(root).to_have_attribute("data-pinned", "true")
    page.locator(".sepviz-next").click()  # the pointer passes over other panels
    place = root.get_attribute("data-pixel")
    row, column = map(int, place.split())
    heads = page.locator(".sepviz-arithmetic thead th").all_text_contents()
    assert heads == ["before", "+ prior force", "+ data force", "+ noise", "= now", "truth"]
    order = metrics.match(trace.sources, truth.sources)
    was, now = (metrics.reorder(trace[i].sources, order)[2, :, 0, row, column].tolist()
                for i in (6, 7))
    for k, cells in enumerate(page.locator(".sepviz-arithmetic tbody tr").all()):
        texts = cells.locator("td").all_text_contents()
        before, *forces, after, _ = [float(text.replace("\u2212", "-")) for text in texts]
        assert before == pytest.approx(was[k], abs=0.002)
        assert after == pytest.approx(now[k], abs=0.001)
        assert before + sum(forces) == pytest.approx(after, abs=0.004)
    root.focus()
    page.keyboard.press("Shift+ArrowDown" if row == 0 else "Shift+ArrowUp")
    expect(root).not_to_have_attribute("data-pixel", place)
    page.keyboard.press("Escape")
    expect(page.locator(".sepviz-hint")).to_be_visible()
    page.keyboard.press("i")
    height, width = problem.mixtures.shape[-2:]
    expect(root).to_have_attribute("data-pixel", f"{height // 2} {width // 2}")

    page.locator(".sepviz-rate").select_option("0")
    page.locator(".sepviz-loop").click()  # once, not again and again
    page.locator(".sepviz-play").click()
    expect(root).to_have_attribute("data-playing", "true")
    expect(root).to_have_attribute("data-frame", "50")  # it plays to the end, and stops there
    expect(root).to_have_attribute("data-playing", "false")

    rate = page.evaluate(DRAW_FOR_A_SECOND)
    with capsys.disabled():
        print(f"\n{rate:.0f} frames drawn per second")
    assert rate > 5  # generous: the machine may be shared
    assert faults == []
    assert requests == [path.as_uri()]
    context.close()


def test_panels_do_not_overflow(browser, task, tmp_path):  # noqa: F811
    path = save_page(record(Toy(count=3), task[0], progress=False), tmp_path / "run.html")
    for width in (360, 1280):
        context = browser.new_context(offline=True, viewport={"width": width, "height": 800})
        context.set_default_timeout(90_000)
        page = context.new_page()
        page.goto(path.as_uri())
        page.wait_for_selector(".sepviz[data-frame]")
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        context.close()
