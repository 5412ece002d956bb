"""The player and the live run in a real JupyterLab, with its default settings, in a real browser."""

import contextlib
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import nbformat
import pytest
from chromium import CHROMIUM, launch
from nbclient import NotebookClient
from nbformat.sign import NotebookNotary

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH")
ROOT = Path(__file__).parents[1]
PATIENCE = 300_000  # milliseconds: the machine may be busy with other things

# A closed-form prior, so that nothing has to be trained; the live run has far more steps than it will get to take.
CELLS = [
    """import sepviz
images = sepviz.data.floats(sepviz.data.load("strokes", "train", count=256).images)
prior = sepviz.GaussianPrior.fit(images)
problem, truth = sepviz.tasks.separate("strokes", count=3)""",
    """trace = sepviz.record(sepviz.SplitGibbs(prior, levels=10, sweeps=5, cycles=1, sigma_average=0), problem, progress=False)
player = sepviz.Player(trace, truth)
player""",
    """live = sepviz.LiveRun(sepviz.SplitGibbs(prior, levels=100, sweeps=50), problem, truth)
live""",
    """print("player at step", player.step.index)""",
    """print("sweeps", live.separator.sweeps, "branches", len(live.branches), "state", live.status["state"])""",
    """guess = sepviz.Guess.number("How many?", unit="dB", low=0, high=40)
guess""",
    """guess.reveal(10.0, why="So it is.")""",
    """import torch
from sepviz.views import figures
def gray(a):
    return figures.images({"G(z)": torch.full((1, 1, 8, 8), a)})
sepviz.Explore(gray, a=(0.0, 1.0, 0.125))""",
    """display(sepviz.KernelPad(3), sepviz.Guess.choice("Which?", ["one", "other"]),
    sepviz.Guess.curve("How?", x="x", y="y", at=[1, 2, 3], low=0, high=1), sepviz.SketchPad())""",
]

# The course: draw, separate, compare, restore.
COURSE = [
    """import sepviz
from sepviz import Compare, Player, Workbench
bench = Workbench()
bench""",
    """print("kept", len(bench.kept))""",
    """print("sweeps", bench.live.separator.sweeps, "at", bench.live.trace.final.index)""",
    """trace = bench.live.trace
display(Player(trace))
display(Player(trace))""",
]
ROUNDS = 20


@pytest.fixture
def lab(tmp_path):
    """The address of a JupyterLab that knows nothing of the user's settings, with a notebook in it."""
    root = tmp_path / "root"
    root.mkdir()
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS], metadata=metadata)
    nbformat.write(notebook, root / "lab.ipynb")
    course = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in COURSE], metadata=metadata)
    nbformat.write(course, root / "course.ipynb")
    shutil.copy(ROOT / "notebooks" / "start_here.ipynb", root)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    places = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    environment = {**os.environ, **{name: str(tmp_path / name.lower()) for name in places}, "JUPYTER_TOKEN": token,
                   "PYTHONPATH": os.pathsep.join([str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}",
               "--ServerApp.port_retries=0", f"--ServerApp.root_dir={root}",
               "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate", "--LabApp.extension_manager=readonly"]  # no network
    log = tmp_path / "jupyter.log"
    with open(log, "wb") as out:
        server = subprocess.Popen(command, cwd=root, env=environment, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    try:
        wait_for_server(f"http://127.0.0.1:{port}/api/status?token={token}", server, log)
        yield f"http://127.0.0.1:{port}/lab/tree/lab.ipynb?token={token}"
    finally:
        server.terminate()  # it ends its kernels first
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(30)
        server.kill()
        server.wait()


def wait_for_server(address, server, log):
    deadline = time.monotonic() + PATIENCE / 1000
    while True:
        try:
            return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(address, timeout=10).close()
        except (urllib.error.URLError, OSError):
            if server.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"JupyterLab did not start:\n{log.read_text()[-3000:]}")
            time.sleep(0.2)


class Page:
    """A page that keeps what the console says and counts the messages to the kernel."""

    def __init__(self, playwright, height=2600):
        self.browser = launch(playwright, PATIENCE)
        # tall enough for all cells: JupyterLab does not draw what is out of sight
        self.page = self.browser.new_page(viewport={"width": 1300, "height": height})
        self.page.set_default_timeout(PATIENCE)
        self.faults: list[str] = []
        self.sent: list[str] = []  # kinds of messages to the kernel
        self.received: list[str] = []
        self.page.on("console", lambda message: self.faults.append(message.text) if message.type == "error" else None)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("websocket", self.watch)

    def watch(self, websocket):
        if "/channels" in websocket.url:
            websocket.on("framesent", lambda payload: self.sent.append(message_type(payload)))
            websocket.on("framereceived", lambda payload: self.received.append(message_type(payload)))

    def run_only(self, number):
        """Run a cell."""
        self.page.locator(".jp-CodeCell").nth(number).locator(".cm-content").click()
        self.page.keyboard.press("Control+Enter")

    def run_cell(self, number, pattern):
        """Run a cell again; its output is to be this."""
        cell = self.page.locator(".jp-CodeCell").nth(number)
        cell.locator(".cm-content").click()
        self.page.keyboard.press("Control+Enter")
        sync_api.expect(cell.locator(".jp-OutputArea-output").first).to_have_text(re.compile(pattern), timeout=PATIENCE)


def message_type(payload):
    text = payload if isinstance(payload, str) else payload.decode("latin-1")
    found = re.search(r'"msg_type":\s*"(\w+)"', text)
    return found[1] if found else "unknown"


def number_of(locator, name):
    return int(locator.get_attribute(f"data-{name}"))


@pytest.mark.timeout(1500)
def test_a_notebook_by_hand(lab, tmp_path):
    with sync_api.sync_playwright() as playwright:
        tab = Page(playwright)
        try:
            follow(tab, lab)
        finally:
            tab.page.screenshot(path=tmp_path / "lab.png")
            print("console errors:", tab.faults)
            tab.browser.close()
        assert not tab.faults


@pytest.mark.timeout(1500)
def test_the_first_lab(lab, tmp_path):
    """`start_here` runs from top to bottom, and its player and live run answer."""
    with sync_api.sync_playwright() as playwright:
        tab = Page(playwright, height=6000)
        page, expect = tab.page, sync_api.expect
        try:
            indicator = run_all(tab, lab.replace("lab.ipynb", "start_here.ipynb"))
            expect(page.locator(".sepviz:not(.sepviz-guess)")).to_have_count(2)
            wait_until(tab, lambda: tab.received.count("execute_reply") >= 10)
            expect(indicator).to_have_attribute("data-status", "idle")
            expect(page.get_by_text("Traceback")).to_have_count(0)
            player, live = page.locator(".sepviz:not(.sepviz-guess)").all()
            player.focus()
            page.keyboard.press("End")
            expect(player).to_have_attribute("data-frame", str(number_of(player, "frames") - 1))
            live.locator(".sepviz-start").click()
            expect(live).to_have_attribute("data-index", re.compile(r"\d"))
            live.locator(".sepviz-pause").click()
            expect(live).to_have_attribute("data-state", re.compile("paused|finished"))
        finally:
            page.screenshot(path=tmp_path / "start_here.png")
            print("console errors:", tab.faults)
            tab.browser.close()
        assert not tab.faults


@pytest.mark.timeout(1500)
def test_a_course_by_hand(lab, tmp_path):
    """Draw, mix, separate, pause, step, change, go on, scrub, compare, hover, restore; then twenty rounds without a lost update."""
    with sync_api.sync_playwright() as playwright:
        tab = Page(playwright, height=5200)
        try:
            draw_and_separate(tab, lab.replace("lab.ipynb", "course.ipynb"))
        finally:
            tab.page.screenshot(path=tmp_path / "course.png")
            print("console errors:", tab.faults)
            tab.browser.close()
        assert not tab.faults


def draw(page, canvas, points):
    """One stroke with the pen, by points in pixels of the canvas."""
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + points[0][0], box["y"] + points[0][1])
    page.mouse.down()
    for x, y in points[1:]:
        page.mouse.move(box["x"] + x, box["y"] + y, steps=6)
    page.mouse.up()


def draw_and_separate(tab, address):
    page, expect = tab.page, sync_api.expect
    run_all(tab, address, whole=False)
    tab.run_only(0)
    pad = page.locator(".sepviz-sketchpad")
    expect(pad).to_have_attribute("data-mixed", "false")

    # --- an empty drawing is told, where the button is
    page.get_by_role("button", name="Separate").click()
    expect(page.locator(".sepviz-problem")).to_contain_text("pads 1 and 2 are empty")

    # --- draw one digit, pick the other; the mixture is there at once
    first = page.locator(".sepviz-pen").first
    draw(page, first, [(50, 40), (140, 40), (90, 165)])
    expect(first).to_have_attribute("data-empty", "false")
    expect(page.locator(".sepviz-problem")).to_have_count(0)  # it is no longer so
    page.get_by_role("button", name="Pick an image for drawing 2").click()
    expect(pad).to_have_attribute("data-mixed", "true")
    page.get_by_role("slider", name="weight 2").fill("0.8")
    expect(pad).to_have_attribute("data-state", re.compile(r"weights=1\+0\.8"))

    # --- separate, pause, step, change, go on
    page.get_by_role("button", name="Separate").click()
    live = page.locator(".sepviz:has(.sepviz-run)")
    expect(live).to_have_attribute("data-state", "ready")
    expect(page.locator(".sepviz-problem")).to_have_count(0)

    def click(name):
        live.locator(f".sepviz-{name}").click()

    click("start")
    expect(live).to_have_attribute("data-index", re.compile(r"\d"))
    click("pause")
    expect(live).to_have_attribute("data-state", re.compile("paused|finished"))
    click("reset")
    expect(live).to_have_attribute("data-state", "ready")
    field = live.locator(".sepviz-knob input[type=number][data-name=sweeps]")
    slider = live.locator(".sepviz-knob input[type=range][data-name=sweeps]")
    text = live.locator(".sepviz-text input")
    for turn in range(ROUNDS):  # every change arrives, every step is one step
        sweeps = 3 + turn % 2
        field.fill(str(sweeps))
        field.press("Tab")
        expect(slider).to_have_attribute("aria-valuetext", str(sweeps))
        click("one")
        expect(live).to_have_attribute("data-index", str(turn))
        expect(live).to_have_attribute("data-state", "paused")
    tab.run_cell(2, f"sweeps 4 at {ROUNDS - 1}")
    expect(text).to_have_value(re.compile(r"^task=drawn,sources=ink:.*method=split-gibbs,prior=score-strokes,run=0$"))
    click("start")
    expect(live).to_have_attribute("data-state", "finished")

    # --- a value that the method refuses is told in the widget, and the run stands as it was
    field.fill("0")
    field.press("Tab")
    expect(live.locator(".sepviz-error")).to_contain_text("sweeps 0")
    expect(field).to_have_value("4")

    # --- why this pixel, without a message to the kernel
    before = len(tab.sent)
    live.locator(".sepviz-of-source .sepviz-canvas").first.hover()
    expect(live.locator(".sepviz-arithmetic tbody tr")).to_have_count(2)
    assert tab.sent[before:] == []

    # --- another method on the same mixture, and the two side by side
    kept = text.input_value()
    page.locator(".widget-dropdown select").select_option("average")
    page.get_by_role("button", name="Separate").click()
    expect(live).to_have_attribute("data-state", "ready")
    click("start")
    expect(live).to_have_attribute("data-state", "finished")
    page.get_by_role("button", name="Compare runs").click()
    compare = page.locator(".sepviz-compare")
    expect(compare.locator(".sepviz-run-label")).to_have_text(["SplitGibbs", "Average"])
    compare.focus()
    page.keyboard.press("Home")
    expect(compare).to_have_attribute("data-frame", "0")

    # --- the text restores drawing, weights, method and all
    drawn = pad.get_attribute("data-state")
    pad.get_by_role("button", name="Reset").click()
    expect(pad).to_have_attribute("data-mixed", "false")
    state = page.locator(".widget-text input")
    state.fill(kept)
    state.press("Tab")
    page.get_by_role("button", name="Restore").click()
    expect(pad).to_have_attribute("data-state", drawn)
    expect(live).to_have_attribute("data-state", "ready")
    expect(text).to_have_value(kept)
    click("start")
    expect(live).to_have_attribute("data-state", "finished")
    state.fill("hello")
    state.press("Tab")
    page.get_by_role("button", name="Restore").click()
    expect(page.locator(".sepviz-problem")).to_contain_text("hello")

    # --- two players on one trace do not disturb each other
    tab.run_only(3)
    players = page.locator(".jp-CodeCell").nth(3).locator(".sepviz")
    expect(players).to_have_count(2)
    players.nth(0).focus()
    page.keyboard.press("End")
    expect(players.nth(0)).to_have_attribute("data-frame", str(number_of(players.nth(0), "frames") - 1))
    expect(players.nth(1)).to_have_attribute("data-frame", "0")

    # --- the browser is closed and comes back in mid-run, the kernel is restarted, all cells are run again
    page.reload(wait_until="domcontentloaded")
    wait_until(tab, lambda: tab.received.count("kernel_info_reply") >= 2)
    tab.run_only(0)
    expect(page.locator(".sepviz-sketchpad")).to_have_attribute("data-mixed", "false")
    expect(page.get_by_text("Traceback")).to_have_count(0)


def run_all(tab, address, whole=True):
    """Open a notebook and, unless it is only to be opened, run all its cells; gives the kernel's indicator."""
    page = tab.page
    sync_api.expect.set_options(timeout=PATIENCE)
    page.goto(address, wait_until="domcontentloaded")
    indicator = page.locator(".jp-Notebook-ExecutionIndicator")
    wait_until(tab, lambda: "kernel_info_reply" in tab.received)  # the indicator says idle before there is a kernel, too
    sync_api.expect(indicator).to_have_attribute("data-status", "idle")
    if not whole:
        return indicator
    run_from_menu(page, "Run", "Run All Cells")
    return indicator


def follow(tab, lab):
    page = tab.page

    def expect(locator):
        return sync_api.expect(locator)

    indicator = run_all(tab, lab)
    player, live = page.locator(".sepviz").nth(0), page.locator(".sepviz").nth(1)
    traceback = page.get_by_text("Traceback")
    expect(live.or_(traceback).first).to_be_attached()
    expect(traceback).to_have_count(0)
    expect(player).to_have_attribute("data-frames", "51")
    expect(player).to_have_attribute("data-frame", "0")
    expect(live).to_have_attribute("data-state", "ready")
    outputs = page.locator(".jp-OutputArea-output")
    expect(outputs.filter(has_text="sweeps 50 branches 0 state ready")).to_be_visible()
    expect(indicator).to_have_attribute("data-status", "idle")

    # --- the player: frames go by without a message to the kernel
    slider = player.locator(".sepviz-slider")
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 8, middle)
    page.mouse.down()
    before, draws = len(tab.sent), number_of(player, "draws")
    seen = set()
    for part in (0.1, 0.3, 0.5, 0.7, 0.9, 0.4):
        last = player.get_attribute("data-frame")
        page.mouse.move(box["x"] + part * box["width"], middle, steps=5)
        expect(player).not_to_have_attribute("data-frame", last)
        seen.add(number_of(player, "frame"))
    assert len(seen) == 6 and number_of(player, "draws") >= draws + 6
    assert tab.sent[before:] == [], "scrubbing sent messages to the kernel"
    page.mouse.up()
    assert 15 <= number_of(player, "frame") <= 25  # 0.4 of 50
    wait_until(tab, lambda: tab.sent[before:] == ["comm_msg"])  # come to rest, it tells Python where it stands, once
    player.locator(".sepviz-forward").click()
    wait_until(tab, lambda: tab.sent[before:] == ["comm_msg", "comm_msg"])
    index = number_of(player, "index")
    expect(player.locator(".sepviz-status")).to_contain_text(f"step {index}")
    tab.run_cell(3, f"player at step {index}")

    # --- plays, and stops
    player.locator(".sepviz-first").click()
    player.locator(".sepviz-rate").select_option("2")  # 25 seconds to the end
    play = player.locator(".sepviz-play")
    play.click()
    expect(player).to_have_attribute("data-playing", "true")
    expect(player).not_to_have_attribute("data-frame", "0")
    play.click()
    expect(player).to_have_attribute("data-playing", "false")

    # --- the live run: run, pause, one step, another parameter, a fork
    def click(name):
        live.locator(f".sepviz-{name}").click()

    click("start")
    expect(live).to_have_attribute("data-state", "running")
    expect(live).to_have_attribute("data-index", re.compile(r"\d\d"))
    click("pause")
    expect(live).to_have_attribute("data-state", "paused")
    paused = number_of(live, "index")
    assert 10 <= paused < 5000
    click("one")
    expect(live).to_have_attribute("data-index", str(paused + 1))
    expect(live).to_have_attribute("data-state", "paused")

    sweeps = live.locator(".sepviz-knob input[type=number][data-name=sweeps]")
    sweeps.fill("40")
    sweeps.press("Tab")
    expect(live.locator(".sepviz-knob input[type=range][data-name=sweeps]")).to_have_attribute("aria-valuetext", "40")  # Python's answer
    tab.run_cell(4, "sweeps 40 branches 1 state paused")
    click("first")
    expect(live).to_have_attribute("data-index", "0")
    click("fork")
    expect(live.locator(".sepviz-branch option")).to_have_count(2)
    expect(live).to_have_attribute("data-state", "running")
    expect(live).to_have_attribute("data-index", re.compile(r"\d\d"))
    click("pause")
    expect(live).to_have_attribute("data-state", "paused")
    tab.run_cell(4, "sweeps 40 branches 2 state paused")

    # --- a question: its reveal knows the guess when its cell is run again
    expect(page.locator(".sepviz-verdict")).to_contain_text("No guess yet")
    page.get_by_label("your guess (dB)", exact=True).fill("9")
    expect(page.locator(".sepviz-guess-state").first).to_contain_text("9 dB")
    tab.run_cell(6, "Your guess 9 dB: close, 1 dB too low.*So it is")

    # --- sliders over a picture: it is there at once, and another one when a slider moves
    picture = page.locator(".jp-CodeCell").nth(7).locator("img.widget-image")
    expect(picture).to_be_visible()
    before = picture.get_attribute("src")
    page.locator(".jp-CodeCell").nth(7).locator(".noUi-handle").focus()
    page.keyboard.press("ArrowRight")
    expect(picture).not_to_have_attribute("src", before)

    # --- all cells are run again: the question keeps its guess, and the reveal knows it
    run_from_menu(page, "Run", "Run All Cells")
    expect(page.locator(".sepviz-verdict")).to_contain_text("Your guess 9 dB", timeout=PATIENCE)
    expect(live).to_have_attribute("data-state", "ready")
    expect(page.locator(".sepviz-guess-state").first).to_contain_text("9 dB")
    expect(indicator).to_have_attribute("data-status", "idle")

    keys_stay_in_the_widgets(tab)

    # --- the kernel is restarted in mid-run: nothing pretends to go on
    click("start")
    expect(live).to_have_attribute("data-index", re.compile(r"\d"))
    run_from_menu(page, "Kernel", "Restart Kernel…")
    page.locator(".jp-Dialog-footer .jp-mod-accept").click()
    expect(live).to_have_attribute("data-state", "gone")
    expect(live.locator(".sepviz-error").first).to_contain_text("run this cell again")
    for name in ("start", "pause", "one", "reset", "fork"):
        expect(live.locator(f".sepviz-{name}")).to_be_disabled()
    live.locator(".sepviz-first").click()  # what there is can still be looked at
    expect(live).to_have_attribute("data-frame", "0")
    expect(page.locator(".sepviz-guess").first).to_have_attribute("data-kernel", "gone")
    expect(page.locator(".sepviz-sketchpad")).to_have_attribute("data-kernel", "gone")
    expect(player).not_to_have_attribute("data-kernel", "gone")  # it needs no kernel


def run_from_menu(page, menu, item):
    page.locator(".lm-MenuBar-item", has_text=re.compile(f"^{menu}$")).click()
    page.locator(".lm-Menu-item", has_text=item).first.click()


FOCUSABLE = """() => {
  const kinds = new Set();
  let count = 0;
  const cells = [...document.querySelectorAll(".jp-Cell")];
  const focusable = ":is(button, input, select, summary, [tabindex='0'])";
  for (const node of document.querySelectorAll(`.jp-OutputArea-output ${focusable}`)) {
    const cell = cells.indexOf(node.closest(".jp-Cell"));
    const kind = [node.tagName, node.className, node.type, cell].join(" ");
    if (node.disabled || !node.offsetParent || kinds.has(kind)) continue;
    kinds.add(kind);
    node.dataset.probe = count++;
  }
  return count;
}"""
ACTIVE = """() => {
  const cells = [...document.querySelectorAll(".jp-Notebook .jp-Cell")];
  const active = cells.findIndex((cell) => cell.classList.contains("jp-mod-active"));
  return `${active} of ${cells.length}`;
}"""


def keys_stay_in_the_widgets(tab):
    """No plain key, in whatever part of a widget, moves on to another cell or edits cells.

    A chord reaches JupyterLab.
    """
    page = tab.page
    count = page.evaluate(FOCUSABLE)
    assert count >= 40
    for probe in range(count):
        part = page.locator(f"[data-probe='{probe}']")
        if not part.count():
            continue  # a key before it has redrawn this part
        part.focus()
        before = page.evaluate(ACTIVE)
        for key in ("ArrowDown", "ArrowUp", "ArrowLeft", "Shift+ArrowDown", "j", "d", "d", "x"):
            page.keyboard.press(key)
        assert page.evaluate(ACTIVE) == before, part.evaluate("(node) => node.outerHTML")[:200]
    page.locator(".sepviz-slider").first.focus()
    with page.expect_request(lambda sent: sent.method == "PUT" and "/api/contents/" in sent.url):
        page.keyboard.press("Control+s")


def wait_until(tab, condition):
    """Let the page's events come in until the condition holds."""
    deadline = time.monotonic() + PATIENCE / 1000
    while not condition():
        assert time.monotonic() < deadline
        tab.page.wait_for_timeout(50)


def test_a_notebook_without_its_kernel_shows_stills(lab, tmp_path):
    """Saved without widget states, opened again: a picture in each widget's place, gone when the cell is run."""
    cells = [*CELLS[:3], CELLS[5]]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells],
                                        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
    NotebookClient(notebook, timeout=200, store_widget_state=False).execute()
    nbformat.write(notebook, tmp_path / "root" / "saved.ipynb")
    NotebookNotary(data_dir=str(tmp_path / "jupyter_data_dir")).sign(notebook)  # as JupyterLab does when it saves
    with sync_api.sync_playwright() as playwright:
        page = Page(playwright).page
        page.goto(lab.replace("lab.ipynb", "saved.ipynb"))
        page.get_by_text("model not found").nth(2).wait_for(timeout=PATIENCE)
        stills = page.locator(".sepviz-still")
        assert [still.is_visible() for still in stills.all()] == [True] * 3
        words = stills.all_inner_texts()
        assert words[0].strip().startswith("Player: SplitGibbs, mixture 1 of 3, at the last step")
        assert words[1].strip().startswith("LiveRun: SplitGibbs, mixture 1 of 3, before the first step")
        assert words[2].strip() == "Guess: How many?"
        sizes = page.evaluate("[...document.querySelectorAll('.sepviz-still img')].map((image) => image.naturalWidth)")
        assert len(sizes) == 2 and min(sizes) > 80
        page.get_by_role("menuitem", name="Run").click()
        page.get_by_role("menuitem", name="Run All Cells").first.click()
        page.locator(".sepviz-guess").wait_for(timeout=PATIENCE)
        page.locator(".sepviz[data-frames]").first.wait_for(timeout=PATIENCE)
        assert [still.is_visible() for still in page.locator(".sepviz-still").all()] == [False] * 3
        page.context.browser.close()
