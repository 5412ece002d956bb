"""What ``sepviz train`` shows of a training: a page while it runs, a trace at the end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sepviz.core import Truth
    from sepviz.runs.trace import Trace

SHOWS = {  # what a page's mixture and estimates are
    "score": "held-out images under noise, and denoised",
    "cnn": "held-out images under noise, and denoised",
    "gan": "the mean of the images, and samples of the generator",
}


def problem_beside(trace: Path) -> Path:
    return trace.with_name(trace.name.removesuffix(".npz") + ".problem.npz")


class Watched:
    """What was seen of a training last; shown on a page, if one is asked for."""

    def __init__(self, page: Path | None, model: str):
        self.page, self.title = page, f"sepviz train {model}"
        if model in SHOWS:
            self.title += f": {SHOWS[model]}"
        self.seen: tuple[Trace, Truth | None] | None = None

    def __call__(self, trace: Trace, truth: Truth | None) -> None:
        from sepviz.views.page import save_page

        self.seen = trace, truth
        if self.page is not None:
            save_page(trace, self.page, truth, title=self.title, overwrite=True)

    def saves(self, path: Path) -> list[tuple[Path, Callable[[Path], Path]]]:
        """The files of a trace, and how each is written."""
        from sepviz import files

        assert self.seen is not None
        trace, truth = self.seen
        return [(path, trace.save),
                (problem_beside(path),
                 lambda place: files.save_problem(place, trace.problem, truth))]
