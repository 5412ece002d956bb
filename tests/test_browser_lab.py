"""The widgets in a real JupyterLab, with its default settings, in a real browser."""

import re

import nbformat
import pytest
from lab import (
    CELLS,
    COURSE,
    PATIENCE,
    ROOT,
    Live,
    Tab,
    keys_stay_in_the_widgets,
    notebook,
    number_of,
    served,
    sync_api,
)
from nbformat.sign import NotebookNotary

pytestmark = pytest.mark.timeout(1500)

ROUNDS = 20


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A function of a notebook's name and text: its address in a JupyterLab."""
    root, settings = tmp_path_factory.mktemp("root"), tmp_path_factory.mktemp("settings")
    with served(root, settings) as address:
        def opened(name, made, trusted=False):
            nbformat.write(made, root / name)
            if trusted:  # as JupyterLab does when it saves
                NotebookNotary(data_dir=str(settings / "jupyter_data_dir")).sign(made)
            return address(name)

        yield opened


@pytest.fixture
def tab(browser, request, tmp_path):
    """A page of the height that the test asks for; no error may come up in its console."""
    sync_api.expect.set_options(timeout=PATIENCE)
    made = Tab(browser, request.param)
    yield made
    made.page.screenshot(path=tmp_path / "lab.png")
    made.page.context.close()
    assert not made.faults


def expect(locator):
    return sync_api.expect(locator)


def height(pixels):
    return pytest.mark.parametrize("tab", [pixels], indirect=True, ids=[""])


def shows_end(player):
    expect(player).to_have_attribute("data-frame", str(number_of(player, "frames") - 1))


@height(6000)
def test_the_first_lab(lab, tab):
    """`start_here` runs from top to bottom, and its player and live run answer."""
    made = nbformat.read(ROOT / "notebooks" / "start_here.ipynb", nbformat.NO_CONVERT)
    for whole, short in (("SplitGibbs(prior)\n", "SplitGibbs(prior, levels=12, sweeps=2)\n"),
                         ("tries = 4", "tries = 2")):  # the whole lab is executed elsewhere
        (cell,) = (cell for cell in made.cells if whole in cell.source)
        cell.source = cell.source.replace(whole, short)
    indicator = tab.open(lab("start_here.ipynb", made))
    tab.menu("Run", "Run All Cells")
    views = tab.page.locator(".sepviz:not(.sepviz-guess)")
    expect(views).to_have_count(2)
    tab.wait_until(lambda: tab.received.count("execute_reply") >= 10)
    expect(indicator).to_have_attribute("data-status", "idle")
    expect(tab.page.get_by_text("Traceback")).to_have_count(0)
    player, live = views.nth(0), Live(views.nth(1))
    player.focus()
    tab.page.keyboard.press("End")
    shows_end(player)
    live.click("start")
    live.expect(index=re.compile(r"\d"))
    live.click("pause")
    live.expect(state=re.compile("paused|finished"))


@height(5200)
def test_a_course_by_hand(lab, tab):
    """Draw, mix, separate, pause, step, change, scrub, compare, restore; no update is lost."""
    page = tab.page
    tab.open(lab("course.ipynb", notebook(COURSE)))
    tab.run_cell(0)
    pad, problem = page.locator(".sepviz-sketchpad"), page.locator(".sepviz-problem")
    live = Live(page.locator(".sepviz:has(.sepviz-run)"))
    text = live.root.locator(".sepviz-text input")
    mixes_what_is_drawn(page, pad, problem)
    page.get_by_role("button", name="Separate").click()
    live.expect(state="ready")
    expect(problem).to_have_count(0)
    runs_and_steps(tab, live, text)

    # --- another method on the same mixture, and the two side by side
    kept = text.input_value()
    page.locator(".widget-dropdown select").select_option("average")
    page.get_by_role("button", name="Separate").click()
    live.expect(state="ready")
    live.click("start")
    live.expect(state="finished")
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
    for state in (kept, "hello"):
        page.locator(".widget-text input").fill(state)
        page.locator(".widget-text input").press("Tab")
        page.get_by_role("button", name="Restore").click()
        if state == kept:
            expect(pad).to_have_attribute("data-state", drawn)
            live.expect(state="ready")
            expect(text).to_have_value(kept)
            live.click("start")
            live.expect(state="finished")
    expect(problem).to_contain_text("hello")

    # --- two players on one trace do not disturb each other
    tab.run_cell(2)
    players = tab.cell(2).locator(".sepviz")
    expect(players).to_have_count(2)
    players.nth(0).focus()
    page.keyboard.press("End")
    shows_end(players.nth(0))
    expect(players.nth(1)).to_have_attribute("data-frame", "0")

    # --- the page comes back, and its cell is run again
    page.reload(wait_until="domcontentloaded")
    tab.wait_until(lambda: tab.received.count("kernel_info_reply") >= 2)
    tab.run_cell(0)
    expect(pad).to_have_attribute("data-mixed", "false")
    expect(page.get_by_text("Traceback")).to_have_count(0)


def mixes_what_is_drawn(page, pad, problem):
    """An empty drawing is told where the button is; one is drawn, the other picked."""
    expect(pad).to_have_attribute("data-mixed", "false")
    page.get_by_role("button", name="Separate").click()
    expect(problem).to_contain_text("pads 1 and 2 are empty")
    first = page.locator(".sepviz-pen").first
    first.scroll_into_view_if_needed()
    box = first.bounding_box()
    page.mouse.move(box["x"] + 50, box["y"] + 40)
    page.mouse.down()
    for x, y in ((140, 40), (90, 165)):
        page.mouse.move(box["x"] + x, box["y"] + y, steps=6)
    page.mouse.up()
    expect(first).to_have_attribute("data-empty", "false")
    expect(problem).to_have_count(0)  # it is no longer so
    page.get_by_role("button", name="Pick an image for drawing 2").click()
    expect(pad).to_have_attribute("data-mixed", "true")
    page.get_by_role("slider", name="weight 2").fill("0.8")
    expect(pad).to_have_attribute("data-state", re.compile(r"weights=1\+0\.8"))


def runs_and_steps(tab, live, text):
    """Every change arrives, every step is one step; a wrong value is told and changes nothing."""
    live.click("start")
    live.expect(index=re.compile(r"\d"))
    live.click("pause")
    live.expect(state=re.compile("paused|finished"))
    live.click("reset")
    live.expect(state="ready")
    for turn in range(ROUNDS):
        sweeps = str(3 + turn % 2)
        live.set_sweeps(sweeps)
        expect(live.knob("range")).to_have_attribute("aria-valuetext", sweeps)
        live.click("one")
        live.expect(index=str(turn), state="paused")
    expect(tab.run_cell(1)).to_have_text(re.compile(f"sweeps 4 at {ROUNDS - 1}"))
    state = re.compile(r"^task=drawn,sources=ink:.*method=split-gibbs,prior=score-strokes,run=0$")
    expect(text).to_have_value(state)
    live.click("start")
    live.expect(state="finished")
    live.set_sweeps("0")
    expect(live.root.locator(".sepviz-error")).to_contain_text("sweeps 0")
    expect(live.knob("number")).to_have_value("4")
    before = len(tab.sent)  # why this pixel, without a message to the kernel
    live.root.locator(".sepviz-of-source .sepviz-canvas").first.hover()
    expect(live.root.locator(".sepviz-arithmetic tbody tr")).to_have_count(2)
    assert tab.sent[before:] == []


@height(2600)
def test_a_notebook_by_hand(lab, tab):
    page = tab.page
    indicator = tab.open(lab("hand.ipynb", notebook(CELLS)))
    tab.menu("Run", "Run All Cells")
    player, live = page.locator(".sepviz").nth(0), Live(page.locator(".sepviz").nth(1))
    traceback = page.get_by_text("Traceback")
    expect(live.root.or_(traceback).first).to_be_attached()
    expect(traceback).to_have_count(0)
    expect(player).to_have_attribute("data-frames", "51")
    expect(player).to_have_attribute("data-frame", "0")
    live.expect(state="ready")
    said = tab.cell(4).locator(".jp-OutputArea-output")
    expect(said).to_have_text(re.compile("sweeps 50 branches 0 state ready"))
    expect(indicator).to_have_attribute("data-status", "idle")
    scrubs_without_the_kernel(tab, player)
    plays_and_stops(player)
    runs_changes_and_forks(tab, live)

    # --- a question: its reveal knows the guess when its cell is run again
    verdict, guessed = page.locator(".sepviz-verdict"), page.locator(".sepviz-guess-state").first
    expect(verdict).to_contain_text("No guess yet")
    page.get_by_label("your guess (dB)", exact=True).fill("9")
    expect(guessed).to_contain_text("9 dB")
    near = re.compile("Your guess 9 dB: close, 1 dB too low.*So it is")
    expect(tab.run_cell(6)).to_have_text(near)

    # --- sliders over a picture: it is there at once, and another one when a slider moves
    picture = tab.cell(7).locator("img.widget-image")
    expect(picture).to_be_visible()
    before = picture.get_attribute("src")
    tab.cell(7).locator(".noUi-handle").focus()
    page.keyboard.press("ArrowRight")
    expect(picture).not_to_have_attribute("src", before)

    # --- all cells are run again: the question keeps its guess, and the reveal knows it
    tab.menu("Run", "Run All Cells")
    expect(verdict).to_contain_text("Your guess 9 dB")
    live.expect(state="ready")
    expect(guessed).to_contain_text("9 dB")
    expect(indicator).to_have_attribute("data-status", "idle")
    keys_stay_in_the_widgets(page)
    nothing_goes_on_without_the_kernel(tab, player, live)


def scrubs_without_the_kernel(tab, player):
    """Frames go by without a message; come to rest, the player tells Python once where it is."""
    mouse, slider = tab.page.mouse, player.locator(".sepviz-slider")
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    middle = box["y"] + box["height"] / 2
    mouse.move(box["x"] + 8, middle)
    mouse.down()
    before, draws, seen = len(tab.sent), number_of(player, "draws"), set()
    for part in (0.1, 0.3, 0.5, 0.7, 0.9, 0.4):
        last = player.get_attribute("data-frame")
        mouse.move(box["x"] + part * box["width"], middle, steps=5)
        expect(player).not_to_have_attribute("data-frame", last)
        seen.add(number_of(player, "frame"))
    assert len(seen) == 6 and number_of(player, "draws") >= draws + 6
    assert tab.sent[before:] == [], "scrubbing sent messages to the kernel"
    mouse.up()
    assert 15 <= number_of(player, "frame") <= 25  # 0.4 of 50
    tab.wait_until(lambda: tab.sent[before:] == ["comm_msg"])
    player.locator(".sepviz-forward").click()
    tab.wait_until(lambda: tab.sent[before:] == ["comm_msg", "comm_msg"])
    index = number_of(player, "index")
    expect(player.locator(".sepviz-status")).to_contain_text(f"step {index}")
    expect(tab.run_cell(3)).to_have_text(re.compile(f"player at step {index}"))


def plays_and_stops(player):
    player.locator(".sepviz-first").click()
    player.locator(".sepviz-rate").select_option("2")  # 25 seconds to the end
    player.locator(".sepviz-play").click()
    expect(player).to_have_attribute("data-playing", "true")
    expect(player).not_to_have_attribute("data-frame", "0")
    player.locator(".sepviz-play").click()
    expect(player).to_have_attribute("data-playing", "false")


def runs_changes_and_forks(tab, live):
    """Run, pause, one step, another parameter, a fork."""
    live.click("start")
    live.expect(state="running", index=re.compile(r"\d\d"))
    live.click("pause")
    live.expect(state="paused")
    paused = number_of(live.root, "index")
    assert 10 <= paused < 5000
    live.click("one")
    live.expect(index=str(paused + 1), state="paused")
    live.set_sweeps("40")
    expect(live.knob("range")).to_have_attribute("aria-valuetext", "40")  # Python's answer
    expect(tab.run_cell(4)).to_have_text(re.compile("sweeps 40 branches 1 state paused"))
    live.click("first")
    live.expect(index="0")
    live.click("fork")
    expect(live.root.locator(".sepviz-branch option")).to_have_count(2)
    live.expect(state="running", index=re.compile(r"\d\d"))
    live.click("pause")
    live.expect(state="paused")
    expect(tab.run_cell(4)).to_have_text(re.compile("sweeps 40 branches 2 state paused"))


def nothing_goes_on_without_the_kernel(tab, player, live):
    """The kernel is restarted in mid-run; what there is can still be looked at."""
    page = tab.page
    live.click("start")
    live.expect(index=re.compile(r"\d"))
    tab.menu("Kernel", "Restart Kernel…")
    page.locator(".jp-Dialog-footer .jp-mod-accept").click()
    live.expect(state="gone")
    expect(live.root.locator(".sepviz-error").first).to_contain_text("run this cell again")
    for name in ("start", "pause", "one", "reset", "fork"):
        expect(live.root.locator(f".sepviz-{name}")).to_be_disabled()
    live.click("first")
    live.expect(frame="0")
    for gone in (".sepviz-guess", ".sepviz-sketchpad"):
        expect(page.locator(gone).first).to_have_attribute("data-kernel", "gone")
    expect(player).not_to_have_attribute("data-kernel", "gone")  # it needs no kernel


@height(2600)
def test_a_notebook_without_its_kernel_shows_stills(lab, tab, monkeypatch):
    """Saved without widget states: a picture in each widget's place, gone when the cell is run."""
    made, names, shown = notebook([*CELLS[:3], CELLS[5]]), {}, []
    monkeypatch.setattr("IPython.display.display", lambda data, metadata, raw: shown.append(
        nbformat.v4.new_output("display_data", data, metadata=metadata)))
    for cell, name in zip(made.cells, (None, "player", "live", "guess"), strict=True):
        exec(cell.source, names)  # here, which is faster than in a kernel
        if name:
            names[name]._ipython_display_()
            cell.outputs = shown[-2:]
    page = tab.page
    page.goto(lab("saved.ipynb", made, trusted=True))
    page.get_by_text("model not found").nth(2).wait_for()
    assert all("model not found" in fault for fault in tab.faults)
    tab.faults.clear()
    stills = page.locator(".sepviz-still")
    assert [still.is_visible() for still in stills.all()] == [True] * 3
    player, live, guess = (words.strip() for words in stills.all_inner_texts())
    assert player.startswith("Player: SplitGibbs, mixture 1 of 3, at the last step")
    assert live.startswith("LiveRun: SplitGibbs, mixture 1 of 3, before the first step")
    assert guess == "Guess: How many?"
    sizes = page.locator(".sepviz-still img").evaluate_all(
        "(images) => images.map((image) => image.naturalWidth)")
    assert len(sizes) == 2 and min(sizes) > 80
    tab.menu("Run", "Run All Cells")
    page.locator(".sepviz-guess").wait_for()
    page.locator(".sepviz[data-frames]").first.wait_for()
    assert [still.is_visible() for still in stills.all()] == [False] * 3
