"""Curves, races of several starts, fields of arrows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from torch import Tensor

from sepviz.core import SepvizError
from sepviz.views.sheet import Sheet

# Okabe and Ito's colours, safe for any colour vision, each with its own dash and mark.
LINES = (("#0072B2", "-", "o"), ("#D55E00", "--", "s"), ("#009E73", "-.", "^"),
         ("#CC79A7", ":", "D"), ("#000000", (0, (5, 1, 1, 1)), "v"))
STUCK = 3  # times the error of the chosen one


def _titled(width: float, height: float, title: str | None) -> Sheet:
    """A sheet that matplotlib lays out by itself."""
    figure = Sheet(figsize=(width, height), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    if title:
        figure.suptitle(title, fontsize=14, fontweight="bold")
    return figure


def _plot(x: str, y: str, title: str | None) -> tuple[Sheet, Axes]:
    """A figure with one pair of axes, named."""
    figure = _titled(7.5, 4.2, title)
    axes = figure.add_subplot()
    axes.set_xlabel(x, fontsize=13)
    axes.set_ylabel(y, fontsize=13)
    axes.tick_params(labelsize=11)
    axes.grid(color="0.9")
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def curves(lines: Mapping[str, tuple[Sequence[float], Sequence[float]]], x: str, y: str, *,
           title: str | None = None, log_x: bool = False, log_y: bool = False, marks: bool = False,
           dots: Sequence[str] = ()) -> Sheet:
    """Curves over one axis, at most five.

    Parameters
    ----------
    lines : {name: (x values, y values)}
    x, y : str
        What the axes are, with the unit.
    marks : bool
        Mark the points: for a handful of measurements rather than a course.
    dots : sequence of str
        Names of measurements to draw as rings, not joined, so that a line behind them shows.
    """
    if not 1 <= len(lines) <= len(LINES):
        raise SepvizError(f"{len(lines)} lines: draw 1 to {len(LINES)}")
    figure, axes = _plot(x, y, title)
    for (name, (across, up)), (color, dash, mark) in zip(lines.items(), LINES, strict=False):
        if name in dots:
            axes.plot(across, up, "o", label=name, color=color, markersize=10, fillstyle="none",
                      markeredgewidth=2, zorder=3)
        else:
            axes.plot(across, up, label=name, color=color, linestyle=dash, linewidth=2.2,
                      marker=mark if marks else None, markersize=7)
    axes.set(xscale="log" if log_x else "linear", yscale="log" if log_y else "linear")
    if len(lines) > 1:
        axes.legend(fontsize=12, frameon=False)
    return figure


def race(courses: Tensor, x: Sequence[float], chosen: int, *, y: str = "error",
         title: str | None = None) -> Sheet:
    """Courses (steps, runners) of which one is chosen, in colour; dashed, those that are stuck."""
    looks = {"chosen": (LINES[0][0], "-", 3.0), "others": ("0.6", "-", 1.0),
             "stuck: three times its error": (LINES[1][0], "--", 1.2)}
    figure, axes = _plot("iteration", y, title)
    ends = courses[-1]
    stuck = ends > STUCK * ends[chosen]
    named: set[str] = set()
    for runner in ends.argsort(descending=True).tolist():
        kind = "stuck: three times its error" if bool(stuck[runner]) else "others"
        kind = "chosen" if runner == chosen else kind
        color, dash, width = looks[kind]
        axes.plot(x, courses[:, runner].tolist(), color=color, linestyle=dash, linewidth=width,
                  label=None if kind in named else kind, zorder=3 if kind == "chosen" else 2)
        named.add(kind)
    axes.set_yscale("log")
    axes.legend(fontsize=12, frameon=False)
    return figure


def arrows(fields: Mapping[str, tuple[Tensor, Tensor]], *,
           points: Mapping[str, tuple[float, float]] | None = None, x: str = "", y: str = "",
           title: str | None = None) -> Sheet:
    """Fields of arrows side by side.

    Each panel has its own scale, by which its longest arrow spans one cell of the grid; lengths
    are drawn by their square root, so that the small arrows near a fixed point can be seen.

    Parameters
    ----------
    fields : {name: (places (N, 2), arrows (N, 2))}
    points : {name: (x, y)}, optional
        Places to mark, the same in every panel.
    """
    if not fields:
        raise SepvizError("no fields: give at least one name with its places and arrows")
    figure = _titled(4.4 * len(fields), 5.7, title)
    panels = figure.subplots(1, len(fields), sharex=True, sharey=True, squeeze=False)[0]
    for axes, (name, field) in zip(panels, fields.items(), strict=True):
        longest = _field(axes, *(part.detach().cpu().float() for part in field))
        for label, place in (points or {}).items():
            axes.plot(*place, "o", color=LINES[1][0], markersize=9, markeredgecolor="white")
            axes.annotate(label, place, textcoords="offset points", xytext=(8, 8), fontsize=13,
                          fontweight="bold", color=LINES[1][0])
        axes.set_title(f"{name}\nlongest arrow {longest:.2g}", fontsize=12)
        axes.set_xlabel(x, fontsize=12)
        axes.set_aspect("equal")
        axes.tick_params(labelsize=10)
    panels[0].set_ylabel(y, fontsize=12)
    return figure


def _field(axes: Axes, places: Tensor, steps: Tensor) -> float:
    """Draw the arrows of one panel; the length of the longest."""
    across = places[:, 0]
    spacing = float((across.max() - across.min()) / max(1, len(across.unique()) - 1))
    length = steps.norm(dim=1, keepdim=True).clamp_min(1e-12)
    longest = float(length.max())
    drawn = steps / (length * longest).sqrt() * spacing
    axes.quiver(*places.T.numpy(), *drawn.T.numpy(), color=LINES[0][0], angles="xy",
                scale_units="xy", scale=1, width=0.006)
    return longest
