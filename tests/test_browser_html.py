"""The exported page in a real browser, with no network."""

import shutil

import pytest
from test_trace import Toy, task  # noqa: F401 (task is a fixture)

from sepviz.trace import record

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH")
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync"]
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


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS, timeout=120_000)
        yield browser
        browser.close()


def test_page_plays_and_scrubs_offline(browser, task, tmp_path, capsys):  # noqa: F811
    problem, truth = task
    path = record(Toy(), problem, every=1, progress=False).to_html(tmp_path / "run.html", truth)
    context = browser.new_context(offline=True)
    context.set_default_timeout(90_000)
    page = context.new_page()
    faults: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
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

    page.locator(".sepviz-rate").select_option("0")
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
    path = record(Toy(count=3), task[0], progress=False).to_html(tmp_path / "run.html")
    for width in (360, 1280):
        context = browser.new_context(offline=True, viewport={"width": width, "height": 800})
        context.set_default_timeout(90_000)
        page = context.new_page()
        page.goto(path.as_uri())
        page.wait_for_selector(".sepviz[data-frame]")
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        context.close()
