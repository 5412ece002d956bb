"""Static figures of separations, to be looked at on a projector or printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from torch import Tensor

from sepviz import metrics
from sepviz.core import Problem, SepvizError, Truth
from sepviz.runs.trace import Trace
from sepviz.views.images import range_allowed
from sepviz.views.plots import LINES, arrows, curves, race
from sepviz.views.sheet import (
    CELL,
    LINE,
    RESIDUAL_COLORS,
    SPACE,
    TOP,
    Group,
    Scale,
    Sheet,
    breadth_of,
    lines_of,
    png_bytes,
    save,
    sheet_of_groups,
)
from sepviz.views.view import floats

__all__ = ["LINES", "RESIDUAL_COLORS", "Sheet", "arrows", "compare", "curves", "images",
           "png_bytes", "race", "save", "separation"]

FINEST = 0.01  # no signed scale is finer: rounding would be painted in full colours
COARSE = 0.05  # nor is that of the residuals of a separation


class _Shown:
    """A run's first mixtures: estimates in the order of the truth, filters and truth with them."""

    def __init__(self, problem: Problem, run: Tensor | Trace, truth: Truth | None, count: int,
                 filters: Tensor | None = None):
        problem.medium.want_drawn()
        sources, order = (run.sources, run.order) if isinstance(run, Trace) else (run, "each")
        want = (len(problem.mixtures), problem.mixing.count, *problem.mixtures.shape[1:])
        if tuple(sources.shape) != want:
            raise SepvizError(f"sources of shape {tuple(sources.shape)}: "
                              f"this problem wants {want}")
        if count < 1:
            raise SepvizError(f"count {count}: draw at least 1 mixture")
        self.problem = problem._replace(mixtures=floats(problem.mixtures[:count]))
        self.sources = floats(sources[:count])
        self.filters = None if filters is None else floats(filters[:count])
        self.truth = None if truth is None else floats(truth.sources[:count])
        self.decibels: list[float] = []  # of each mixture, where the truth is known
        if truth is None or self.truth is None:
            return
        found = metrics.match(floats(sources), floats(truth.sources),
                              weights=problem.mixing.weights, order=order,
                              medium=problem.medium)[:count]
        self.sources = metrics.reorder(self.sources, found)
        if self.filters is not None:
            self.filters = self.filters.gather(1, found[..., None, None].expand_as(self.filters))
        self.decibels = metrics.psnr(self.sources, self.truth, order="fixed",
                                     medium=problem.medium).tolist()

    @property
    def captions(self) -> list[str] | None:
        return [f"{value:.1f} dB" for value in self.decibels] or None

    @property
    def mixture(self) -> Group:
        scale = Scale(*range_allowed(self.problem))
        return Group("mixture", self.problem.mixtures[:, None], scale)


def separation(problem: Problem, sources: Tensor | Trace, truth: Truth | None = None,
               count: int = 6, title: str | None = None, filters: Tensor | None = None) -> Figure:
    """Mixtures in rows: the mixture, its separated sources, the true ones, and the residual.

    Parameters
    ----------
    sources : Tensor (B, K, C, H, W) or Trace
        A method's estimates; they are put in the order of the truth if that is given, each
        mixture's in its own, but those of a trace as its method's ``order`` allows.
    truth : Truth, optional
        Adds the true sources and each row's PSNR (per_source, see `sepviz.metrics.psnr`).
    count : int
        Mixtures to draw, from the first.
    filters : Tensor (B, K, h, w), optional
        Of the estimates, for a residual through them.

    Returns
    -------
    matplotlib.figure.Figure
        Sources are drawn from 0 (black) to 1 (white), mixtures over the range that their weights
        allow, residuals (mixture minus remix; the mean over colours) from purple (negative) over
        white to orange, on the scale at the side.
    """
    shown = _Shown(problem, sources, truth, count, filters)
    left_over = shown.problem.left_over(shown.sources, shown.filters)
    high = max(COARSE, float(f"{float(left_over.mean(dim=1).abs().max()):.1g}"))
    many = problem.mixing.count > 1
    heading = f"{problem.mixing.count} separated sources" if many else "estimate"
    groups = [shown.mixture, Group(heading, shown.sources, captions=shown.captions)]
    if shown.truth is not None:
        groups.append(Group("true sources" if many else "truth", shown.truth))
    rms = shown.problem.residuals(shown.sources, shown.filters).tolist()
    captions = [f"RMS {value:.3f}" for value in rms]
    groups.append(Group("residual", left_over[:, None], Scale(-high, high, True), captions))
    return sheet_of_groups(groups, title)


def compare(problem: Problem, results: Mapping[str, Tensor | Trace], truth: Truth | None = None,
            count: int = 6, title: str | None = None) -> Figure:
    """Mixtures in rows, methods side by side, and the truth at the right.

    Parameters
    ----------
    results : {name: Tensor (B, K, C, H, W) or Trace}
        With a truth, estimates are put in its order as in `separation`; each cell says its PSNR,
        each heading the mean of those drawn (per_source, see `sepviz.metrics.psnr`).
    """
    if not results:
        raise SepvizError("no results to compare: give at least one name with its sources")
    groups = []
    for name, run in results.items():
        shown = _Shown(problem, run, truth, count)
        mean = sum(shown.decibels) / len(shown.decibels) if shown.decibels else None
        heading = name if mean is None else f"{name}\n{mean:.1f} dB"
        groups.append(Group(heading, shown.sources, captions=shown.captions))
    if shown.truth is not None:
        groups.append(Group("truth", shown.truth))
    return sheet_of_groups([shown.mixture, *groups], title)


def images(rows: Mapping[str, Tensor], *, columns: Sequence[str] | None = None,
           signed: bool = False, high: float = 1.0, title: str | None = None) -> Sheet:
    """Named rows of images.

    Parameters
    ----------
    rows : {name: Tensor (N, C, H, W)}
        N may differ from row to row.
    columns : sequence of str, optional
        A heading for each column.
    signed : bool
        Draw forces, residuals and the like: purple below 0, white at 0, orange above, one scale
        for the whole sheet, no finer than 0.01.
    high : float
        What is white, where ``signed`` is not set; 0 is black.
    """
    if not rows or any(row.ndim != 4 or len(row) == 0 for row in rows.values()):
        raise SepvizError("rows: give at least one name with its images (N, C, H, W)")
    drawn = {name: floats(row) for name, row in rows.items()}
    if signed:
        high = max(FINEST, max(float(row.abs().max()) for row in drawn.values()))
    scale = Scale(-high if signed else 0.0, high, signed)
    across, step = max(map(len, drawn.values())), breadth_of(next(iter(drawn.values()))) + SPACE
    if columns is not None and len(columns) != across:
        raise SepvizError(f"{len(columns)} columns named, {across} drawn: give a name for each")
    side = 0.25 + 0.105 * max(len(line) for name in drawn for line in name.split("\n"))
    top = 0.1 + (TOP if title else 0.0) + (LINE * lines_of(columns) if columns else 0.0)
    width = side + across * step + (0.85 if signed else 0.1)
    height = top + len(drawn) * (CELL + SPACE) + 0.1
    sheet = Sheet.of(max(width, 0.125 * len(title or "") + 0.3), height, title)
    for j, name in enumerate(columns or ()):
        middle = side + j * step + (step - SPACE) / 2
        sheet.write(middle, top - 0.07, name, fontsize=11, ha="center", va="bottom")
    for i, (name, row) in enumerate(drawn.items()):
        down = top + i * (CELL + SPACE)
        sheet.write(side - 0.12, down + CELL / 2, name, fontsize=12, ha="right", va="center")
        for j, image in enumerate(row):
            sheet.picture(image, scale, side + j * step, down)
    if signed:
        sheet.bar(scale, side + across * step + 0.08, top)
    return sheet
