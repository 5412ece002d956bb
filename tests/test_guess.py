"""Questions that take a guess: what Python knows of them, and the widget in a real browser."""

import json

import numpy as np
import pytest
import torch
from chromium import open_page

from sepviz.core import SepvizError
from sepviz.views.assets import code_of
from sepviz.widgets import Guess
from sepviz.widgets import guess as guess_module
from sepviz.widgets.guess import NONE_YET

GUESS_JS, GUESS_CSS = code_of("sepviz.widgets.guess.Guess")


@pytest.fixture(autouse=True)
def nothing_guessed():
    """Each test begins without the guesses of the one before."""
    guess_module._given.clear()


def number():
    return Guess.number("How many dB does the prior add?", unit="dB", low=0, high=40)


def choice():
    return Guess.choice("Which answer has the best PSNR?", ["average", "half swap", "all to one"])


def curve():
    return Guess.curve("How does PSNR depend on sigma?", x="sigma", y="PSNR (dB)",
                       at=[0.1, 0.2, 0.5, 1, 2], low=0, high=40, log_x=True)


# --- Python -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("make", "answer", "says"), [
    (number, torch.tensor(15.04), "The answer is 15 dB."),
    (choice, "average", "The answer is: average."),
    (curve, ([0.1, 2], [35.0, 5.0]), "PSNR (dB): from 35 at 0.1 to 5 at 2, between 5 and 35.")])
def test_without_a_guess_the_answer_is_shown(make, answer, says):
    revealed = make().reveal(answer, why="Because.")
    spec = revealed.spec
    assert (spec["says"], spec["verdict"], spec["why"]) == (says, NONE_YET, ["Because."])
    assert says in repr(revealed) and NONE_YET in repr(revealed)


@pytest.mark.parametrize(("make", "value", "answer"), [
    (number, 12.0, 1.0), (choice, "half swap", "average"),
    (curve, [38.0, 30.0, 20.0, 12.0, 5.0], ([0.1, 2], [1, 2]))])
def test_a_cell_that_runs_again_keeps_the_guess(make, value, answer):
    """Run All makes the question again: it begins with the guess, until that is taken back."""
    first = make()
    first.set_state({"guess": value})  # as the browser does
    again = make()
    assert again.guess == value and again.reveal(answer).spec["guess"] == value
    assert Guess.number("Another question?", low=0, high=40).guess is None
    again.set_state({"guess": None})  # Reset
    assert make().guess is None


def test_the_question_does_not_hold_the_answer():
    guess = number()
    guess.reveal(12.345)
    assert "12.3" not in json.dumps(guess.get_state(["spec", "guess"])) and guess.guess is None


@pytest.mark.parametrize(("guessed", "verdict"), [
    (14, "Your guess 14 dB: close, 1 dB too low."), (30, "Your guess 30 dB: 15 dB too high."),
    (15, "Your guess 15 dB is right."), (-5, "Your guess -5 dB: 20 dB too low.")])
def test_how_far_a_number_is_off(guessed, verdict):
    guess = number()
    guess.set_state({"guess": guessed})  # as the browser does
    assert guess.reveal(15.0).spec["verdict"] == verdict


def test_a_wrong_choice_is_told_why():
    average, swap = "squared error likes a hedge", "sharp and wrong costs twice"
    guess = choice()
    for guessed, verdict, why in (
            ("half swap", "Your guess was half swap.",
             [f"half swap: {swap}", f"average: {average}"]),
            ("average", "Your guess average is right.", [f"average: {average}"])):
        guess.guess = guessed
        revealed = guess.reveal("average", {"average": average, "half swap": swap}).spec
        assert (revealed["verdict"], revealed["why"]) == (verdict, why)


def test_how_far_a_sketch_is_off():
    guess = curve()
    guess.guess = [30, 30, 30, 30, 10]
    verdict = guess.reveal((torch.tensor([0.1, 0.5, 2]), np.array([30.0, 30, 30]))).spec["verdict"]
    assert verdict == "Your sketch is off by 4 on average, most at 2: 10 in place of 30."
    straight = Guess.curve("?", x="x", y="y", at=[0.1, 1, 10], low=0, high=40, log_x=True)
    straight.guess = [0, 10, 23]
    # joined on the log scale that is drawn
    verdict = straight.reveal(([0.1, 10], [0, 20])).spec["verdict"]
    assert verdict == "Your sketch is off by 1 on average, most at 10: 23 in place of 20."


def test_choices_of_numbers_are_choices():
    guess = Guess.choice("How many sources?", [2, 3, 4])
    guess.guess = 3
    revealed = guess.reveal(np.int64(3), {2: "too few", 3: "three digits"}).spec
    assert revealed["choices"] == ["2", "3", "4"]
    assert revealed["verdict"] == "Your guess 3 is right."
    assert revealed["why"] == ["3: three digits"] and guess.guess == "3"


@pytest.mark.parametrize(("answer", "says"), [(999.7, "1,000 dB"), (-999.6, "-1,000 dB"),
                                              (999.4, "999 dB"), (-0.0, "0 dB")])
def test_rounded_numbers_are_plain(answer, says):
    assert number().reveal(answer).spec["says"] == f"The answer is {says}."


@pytest.mark.parametrize(("answer", "words"), [
    (([0, 1], [1, 2]), "answer at 0: x is on a log scale"),
    (None, "answer None: want .x values"), (3, "answer 3: want .x values"),
    ([[1, 2]], "want .x values")])
def test_wrong_curves_of_an_answer(answer, words):
    with pytest.raises(SepvizError, match=words):
        Guess.curve("?", x="x", y="y", at=[0.1, 1], low=0, high=1, log_x=True).reveal(answer)


@pytest.mark.parametrize(("make", "wrong", "words"), [
    (number, "many", "want a number"), (number, float("nan"), "finite"),
    (choice, "none", "choose one of average"), (curve, [1, 2], "want 5, one for each point")])
def test_wrong_guesses(make, wrong, words):
    with pytest.raises(SepvizError, match=words):
        make().guess = wrong


@pytest.mark.parametrize(("call", "words"), [
    (lambda: Guess.number("?", low=1, high=1), "low must be below high"),
    (lambda: Guess.number("?", low=0, high=1, step=0), "step 0"),
    (lambda: Guess.choice("?", ["a", "a"]), "no one twice"),
    (lambda: Guess.curve("?", x="x", y="y", at=[1, 0], low=0, high=1), "rising numbers"),
    (lambda: Guess.curve("?", x="x", y="y", at=[0, 1], low=0, high=1, log_x=True), "above 0"),
    (lambda: number().reveal(float("nan")), "answer nan"),
    (lambda: choice().reveal("nobody"), "answer 'nobody'"),
    (lambda: choice().reveal("average", {"nobody": "no"}), "why for nobody"),
    (lambda: curve().reveal(([1, 2], [1])), "as many of both")])
def test_wrong_questions_and_answers(call, words):
    with pytest.raises(SepvizError, match=words):
        call()


# --- the browser --------------------------------------------------------------------------------


PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Guesses</title>
<style>
:root { color-scheme: light dark; }
body { background: light-dark(#fff, #14161a); }
%s
</style></head><body><script type="module">
%s
window.models = %s.map((state) => ({
  state, get: (name) => state[name], set: (name, value) => { state[name] = value; },
  on() {}, off() {}, save_changes() {} }));
for (const model of window.models) {
  render({ model, el: document.body.appendChild(document.createElement("div")) });
}
</script></body></html>"""


@pytest.fixture
def show(browser, tmp_path):
    """Open a page with these widgets, one below the other; `models` are theirs."""
    faults: list[str] = []
    pages = []

    def call(*widgets):
        states = [{name: getattr(widget, name) for name in ("spec", "guess")
                   if widget.has_trait(name)} for widget in widgets]
        path = tmp_path / "guess.html"
        path.write_text(PAGE % (GUESS_CSS, GUESS_JS, json.dumps(states)), encoding="utf-8")
        page = open_page(browser, path, faults, viewport={"width": 760, "height": 900})
        page.wait_for_selector(".sepviz-guess")
        pages.append(page)
        return page

    yield call
    for page in pages:
        page.context.close()
    assert faults == []


def guess_of(page, number):
    return page.evaluate(f"models[{number}].state.guess")


def test_guess_with_the_mouse(show):
    page = show(number(), choice(), curve())
    assert [guess_of(page, i) for i in range(3)] == [None, None, None]
    assert page.locator(".sepviz-reset:disabled").count() == 3
    page.get_by_label("your guess (dB)", exact=True).fill("12.5")
    assert guess_of(page, 0) == 12.5
    page.get_by_label("half swap").check()
    assert guess_of(page, 1) == "half swap"
    area = page.get_by_role("slider", name="How does PSNR")
    box = area.bounding_box()
    page.mouse.move(box["x"] + 0.04 * box["width"], box["y"] + 0.04 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.96 * box["width"], box["y"] + 0.96 * box["height"], steps=30)
    assert guess_of(page, 2) is None  # sent when the pointer is let go
    page.mouse.up()
    drawn = guess_of(page, 2)
    assert len(drawn) == 5 and sorted(drawn, reverse=True) == drawn
    assert drawn[0] > 36 and drawn[-1] < 4
    states = page.locator(".sepviz-guess-state").all()
    for state, words in zip(states, ("12.5 dB", "half swap", "sigma 2"), strict=True):
        assert words in state.text_content()
    page.locator(".sepviz-reset").nth(2).click()
    assert guess_of(page, 2) is None


def test_guess_with_the_keyboard(show):
    page = show(number(), choice(), curve())
    press = page.keyboard.press
    press("Tab")
    page.keyboard.type("7")
    press("Tab")
    press("ArrowRight")  # the slider
    assert guess_of(page, 0) == 8
    press("Tab")  # the reset
    press("Tab")
    press("Space")
    assert guess_of(page, 1) == "average"
    press("ArrowDown")
    assert guess_of(page, 1) == "half swap"
    press("Tab")
    press("Tab")
    area = page.get_by_role("slider", name="How does PSNR")
    assert area.evaluate("(node) => node === document.activeElement")
    for key in ("ArrowUp", "ArrowRight", "ArrowDown", "End", "PageDown", "Home", "ArrowLeft"):
        press(key)
    assert guess_of(page, 2) == [21, 19, 20, 20, 15]
    assert area.get_attribute("aria-valuetext") == "point 1 of 5, sigma 0.1: PSNR (dB) 21"


def test_reveal(show):
    guesses = number(), choice(), curve()
    for guess, value in zip(guesses, (12, "half swap", [38, 30, 20, 12, 5]), strict=True):
        guess.guess = value
    answers = 31.2, "average", ([0.1, 0.3, 1, 2], [30, 25, 18, 15])
    pairs = zip(guesses, answers, strict=True)
    revealed = [guess.reveal(answer, "Why it is so.") for guess, answer in pairs]
    page = show(*revealed, Guess.number("Not asked before?", low=0, high=40).reveal(55))
    page.locator(".sepviz-says").nth(3).wait_for()
    text = page.locator("body").inner_text()
    for words in ("The answer is 31.2 dB.", "19.2 dB too low", "average (the answer)",
                  "half swap (your guess)", "Why it is so.", NONE_YET):
        assert words in text
    assert page.locator("path.sepviz-of-guess[d*=L]").count() == 1
    assert page.locator(".sepviz-point").count() == 5
    assert page.locator("[aria-live=polite]").count() == 4
