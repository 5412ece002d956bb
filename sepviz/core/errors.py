"""What is wrong with a user's input, on one line."""

from __future__ import annotations

import re

# characters that cannot be seen on a line of text
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class SepvizError(ValueError):
    """An error in the user's input: one line that names the value and the mend."""


def one_line(error: BaseException) -> str:
    """An error as a widget shows it: on one line, with its type if it is not a `SepvizError`."""
    try:
        text = " ".join(str(error).split())
    except Exception:  # somebody else's error may fail to say what it is
        text = "it has no message"
    return text if isinstance(error, SepvizError) and text else f"{type(error).__name__}: {text}"


def shown(value: object) -> str:
    """A value as an error names it: on one line, at most 60 characters."""
    try:
        text = " ".join(repr(value).split())
    except (ValueError, RecursionError):  # a number of 5,000 digits; lists in lists in lists
        text = f"of type {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."
