"""Predict, then reveal: a question that takes a guess, and in a later cell the answer beside it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import anywidget
import numpy as np
import traitlets

from sepviz.core import SepvizError, shown
from sepviz.views import assets
from sepviz.widgets.still import Still

NONE_YET = "No guess yet: make one above, then run this cell again."
CLOSE = 0.05  # of the question's range: a guess that is no further off is called close
_given: dict[str, Any] = {}  # question -> guess: a cell that runs again does not discard it


class Guess(Still, anywidget.AnyWidget):
    """A question whose answer a later cell computes: `number`, `choice` or `curve`, then `reveal`.

    A guess is kept for its question as long as the kernel runs, also when the cell is run again.
    Reset, or ``guess = None``, forgets it.

    Attributes
    ----------
    guess : float, str, list of float or None
        The number, the choice, or the height of the curve at each of its points; None before there
        is one.

    Examples
    --------
    >>> gain = Guess.number("How many dB does the prior add?", low=0, high=30)  # doctest: +SKIP
    >>> gain.reveal(psnr - baseline, why="It knows which ink belongs together.")  # doctest: +SKIP
    """

    _esm, _css = assets.code_of("sepviz.widgets.guess.Guess")
    spec = traitlets.Dict().tag(sync=True)  # the question; the answer would be in the page's source
    guess = traitlets.Any(None, allow_none=True).tag(sync=True)

    def __init__(self, spec: dict[str, Any]):
        self._key = json.dumps(spec, sort_keys=True)
        super().__init__(spec=spec, guess=_given.get(self._key))
        self.observe(lambda change: _given.update({self._key: change["new"]}), "guess")

    @classmethod
    def number(cls, question: str, *, low: float, high: float, unit: str = "",
               step: float = 1) -> Guess:
        """Ask for a number.

        Parameters
        ----------
        low, high : float
            The ends of the slider and of the number line; what is typed may lie beyond.
        unit : str
            Shown behind the numbers.
        step : float
            Of the slider.
        """
        if not _finite("step", step) > 0:
            raise SepvizError(f"step {step}: want a number above 0")
        return cls({"kind": "number", "question": question, **_range(low, high), "unit": unit,
                    "step": float(step)})

    @classmethod
    def choice(cls, question: str, choices: Sequence[str]) -> Guess:
        """Ask for one of several ``choices``."""
        choices = [str(choice) for choice in choices]  # a browser's radio buttons hold text
        if len(choices) < 2 or len(set(choices)) < len(choices):
            raise SepvizError(f"choices {choices}: want at least two, no one twice")
        return cls({"kind": "choice", "question": question, "choices": choices})

    @classmethod
    def curve(cls, question: str, *, x: str, y: str, at: Sequence[float], low: float, high: float,
              log_x: bool = False) -> Guess:
        """Ask for a sketch of y over x.

        Parameters
        ----------
        x, y : str
            What the axes are, with the unit.
        at : sequence of float
            Where along x there is a point to be moved: about eight, rising.
        low, high : float
            The ends of the y axis.
        log_x : bool
            Whether x is drawn on a log scale.
        """
        places = [float(place) for place in at]
        rising = all(map(math.isfinite, places)) and sorted(set(places)) == places
        if len(places) < 2 or not rising or (log_x and places[0] <= 0):
            above = " above 0" if log_x else ""
            raise SepvizError(f"at={places}: want two or more rising numbers{above}")
        return cls({"kind": "curve", "question": question, "x": x, "y": y, "at": places,
                    **_range(low, high), "log_x": log_x})

    @traitlets.validate("guess")
    def _check_guess(self, proposal: Any) -> Any:
        value, kind = proposal["value"], self.spec["kind"]
        if value is None or kind != "curve":
            return None if value is None else _ANSWERS[kind](self.spec, value, "guess")
        heights, count = [_finite("guess", height) for height in value], len(self.spec["at"])
        if len(heights) != count:
            raise SepvizError(f"guess of {len(heights)} heights: want {count}, one for each point")
        return heights

    def reveal(self, answer: Any, why: str | Mapping[str, str] = "") -> Reveal:
        """The answer beside the guess as it is now; a call in the last line of a cell shows it.

        Without a guess the answer is shown all the same: a notebook runs from top to bottom.

        Parameters
        ----------
        answer : float, str or (x values, y values)
            What was computed: a number, one of the choices, or a curve of any number of points.
        why : str or {choice: str}
            An explanation; for a choice it may be one for each, of which those of the guess and of
            the answer are shown.
        """
        spec, kind, guess = self.spec, self.spec["kind"], self.guess
        answer = _ANSWERS[kind](spec, answer)
        reasons = {} if isinstance(why, str) else {str(key): text for key, text in why.items()}
        if not set(reasons) <= set(spec.get("choices", [])):
            raise SepvizError(f"why for {', '.join(reasons)}: want one sentence, or one for each "
                              "of the question's choices")
        says = [why] if isinstance(why, str) and why else []
        if reasons:
            both = dict.fromkeys((guess, answer))
            says = [f"{choice}: {reasons[choice]}" for choice in both if choice in reasons]
        return Reveal(spec={
            **spec, "guess": guess, "answer": answer, "says": _SAYS[kind](spec, answer),
            "verdict": NONE_YET if guess is None else _VERDICTS[kind](spec, guess, answer),
            "why": says, "reasons": reasons})  # all, for a guess made in an exported page

    def __repr__(self) -> str:  # what a reader sees where there are no widgets
        return f"Guess: {self.spec['question']}"


class Reveal(Still, anywidget.AnyWidget):
    """What `Guess.reveal` shows: the guess, the answer, how far apart they are, and why."""

    _esm, _css = assets.code_of("sepviz.widgets.guess.Guess")
    spec = traitlets.Dict().tag(sync=True)

    def __repr__(self) -> str:
        spec = self.spec
        return " ".join([spec["question"], spec["says"], spec["verdict"], *spec["why"]])


def _finite(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise SepvizError(f"{name} {value!r}: want a number") from None
    if not math.isfinite(number):
        raise SepvizError(f"{name} {number}: want a finite number")
    return number


def _range(low: float, high: float) -> dict[str, float]:
    if not _finite("low", low) < _finite("high", high):
        raise SepvizError(f"low {low}, high {high}: low must be below high")
    return {"low": float(low), "high": float(high)}


def _text(value: float, unit: str = "") -> str:
    rounded = float(f"{value:.3g}") + 0.0  # -0 is 0
    number = f"{rounded:.3g}".replace("e-0", "e-") if abs(rounded) < 1000 else f"{value:,.0f}"
    return f"{number} {unit}".rstrip()


# --- the answer, as the browser gets it ---


def _one_of(spec: Mapping[str, Any], value: Any, name: str = "answer") -> str:
    if str(value) not in spec["choices"]:
        raise SepvizError(f"{name} {shown(value)}: choose one of {', '.join(spec['choices'])}")
    return str(value)


def _curve_answer(spec: Mapping[str, Any], answer: Any) -> list[list[float]]:
    try:
        across, up = (list(part) for part in answer)
    except (TypeError, ValueError):
        raise SepvizError(f"answer {shown(answer)}: want (x values, y values)") from None
    across, up = ([_finite("answer", value) for value in part] for part in (across, up))
    if len(across) != len(up) or len(across) < 2 or sorted(across) != across:
        raise SepvizError(f"answer of {len(across)} x values and {len(up)} y values: want as many "
                          "of both, two or more, x rising")
    if spec["log_x"] and across[0] <= 0:
        raise SepvizError(f"answer at {across[0]:g}: x is on a log scale, it must be above 0")
    return [across, up]


_ANSWERS: dict[str, Any] = {
    "number": lambda _spec, value, name="answer": _finite(name, value),
    "choice": _one_of,
    "curve": _curve_answer,
}


# --- what is said of it ---


def _number_verdict(spec: Mapping[str, Any], guess: float, answer: float) -> str:
    off = guess - answer
    side = "too high" if off > 0 else "too low"
    if _text(guess) == _text(answer):
        return f"Your guess {_text(guess, spec['unit'])} is right."
    near = "close, " if abs(off) <= CLOSE * (spec["high"] - spec["low"]) else ""
    return f"Your guess {_text(guess, spec['unit'])}: {near}{_text(abs(off), spec['unit'])} {side}."


def _choice_verdict(_spec: Mapping[str, Any], guess: str, answer: str) -> str:
    return f"Your guess {guess} is right." if guess == answer else f"Your guess was {guess}."


def _curve_verdict(spec: Mapping[str, Any], guess: list[float], answer: list[list[float]]) -> str:
    scale = np.log if spec["log_x"] else np.asarray
    truth = np.interp(scale(spec["at"]), scale(answer[0]), answer[1])
    off = np.abs(np.asarray(guess) - truth)
    worst = int(off.argmax())
    mean, at, drawn, true = map(_text, (off.mean(), spec["at"][worst], guess[worst], truth[worst]))
    return f"Your sketch is off by {mean} on average, most at {at}: {drawn} in place of {true}."


def _curve_says(spec: Mapping[str, Any], answer: list[list[float]]) -> str:
    (begin, *_, end), heights = map(_text, answer[0]), answer[1]
    first, last, low, high = map(_text, (heights[0], heights[-1], min(heights), max(heights)))
    return (f"{spec['y']}: from {first} at {begin} to {last} at {end}, "
            f"between {low} and {high}.")


_VERDICTS: dict[str, Any] = {"number": _number_verdict, "choice": _choice_verdict,
                             "curve": _curve_verdict}
_SAYS: dict[str, Any] = {
    "number": lambda spec, answer: f"The answer is {_text(answer, spec['unit'])}.",
    "choice": lambda _spec, answer: f"The answer is: {answer}.",
    "curve": _curve_says,
}
