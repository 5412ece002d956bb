"""Static figures of separations, to be looked at on a projector or printed.

Drawn without pyplot, whose global state is not safe where widgets' callbacks run (other threads).
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from torch import Tensor

from sepviz import metrics
from sepviz.core import Problem, SepvizError, Truth
from sepviz.runs.trace import Trace

RESIDUAL_COLORS = "PuOr_r"  # purple below 0, white, orange above: as in the widgets, orange adds
FINEST = 0.01  # no scale of signed pictures is finer: rounding would be painted in full colours
# inches
CELL, SPACE, GAP, LINE, TOP, SIDE, CAPTION = 1.0, 0.05, 0.3, 0.24, 0.5, 0.55, 0.24


class Sheet(Figure):
    """A matplotlib figure that notebooks show by themselves, pyplot or not."""

    def _repr_png_(self) -> tuple[bytes, dict[str, str]]:
        return png_bytes(self), {"alt": self.alt}

    @property
    def alt(self) -> str:
        """What the figure's texts say, for who does not see it: title, headings and names, axes and curves."""
        found = [self.get_suptitle(), *(text.get_text() for text in self.texts)]
        for axes in self.axes:
            legend = axes.get_legend()
            found += [axes.get_title(), axes.get_ylabel(), axes.get_xlabel()]
            found += [text.get_text() for text in legend.get_texts()] if legend else []
        return "; ".join(dict.fromkeys(" ".join(text.split()) for text in found if text.strip()))


class _Group(NamedTuple):
    """Columns of images that belong together."""

    heading: str
    images: Tensor  # (B, columns, C, H, W)
    low: float = 0.0
    high: float = 1.0
    captions: Sequence[str] | None = None  # one per row, below its images
    colors: str = "gray"


def png_bytes(figure: Figure, dpi: int = 150) -> bytes:
    """The figure as a PNG file's bytes."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_figure(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


def save(figure: Figure, path: str | Path, *, dpi: int = 150, overwrite: bool = False) -> Path:
    """Write a figure as a PNG; nothing is written over unless asked for."""
    from sepviz import files

    data = png_bytes(figure, dpi)
    return files.write(path, lambda file: file.write(data), overwrite)


def _picture(image: Tensor, group: _Group) -> Tensor:
    """(C, H, W) as matplotlib draws it: (H, W) or, for colours, (H, W, 3) in [0, 1]."""
    if image.shape[0] == 3 and group.colors == "gray":
        return ((image - group.low) / (group.high - group.low)).clamp(0, 1).permute(1, 2, 0)
    return image.mean(dim=0)


def _sheet(groups: Sequence[_Group], rows: int, title: str | None) -> Sheet:
    """Rows of mixtures, groups of columns; every cell an inch high."""
    height, width = groups[0].images.shape[-2:]
    breadth = CELL * width / height
    caption = CAPTION if any(group.captions for group in groups) else 0.0
    spans = [group.images.shape[1] * (breadth + SPACE) for group in groups]
    scales = [group for group in groups if group.colors != "gray"]
    full_width = SIDE + sum(spans) + GAP * len(groups) + (0.75 if scales else 0)
    top = LINE * (1 + max(group.heading.count("\n") for group in groups)) + 0.14 + (TOP if title else 0.0)
    full_height = top + rows * (CELL + SPACE + caption) + 0.15
    figure = Sheet(figsize=(full_width, full_height), facecolor="white")
    FigureCanvasAgg(figure)

    def place(left: float, down: float, wide: float, high: float) -> tuple[float, float, float, float]:
        return left / full_width, 1 - (down + high) / full_height, wide / full_width, high / full_height

    if title:
        figure.text(0.15 / full_width, 1 - 0.32 / full_height, title, fontsize=14, fontweight="bold", va="center")
    left = SIDE
    for group, span in zip(groups, spans, strict=True):
        middle = (left + (span - SPACE) / 2) / full_width
        figure.text(middle, 1 - (top - 0.08) / full_height, group.heading, fontsize=12, ha="center", va="bottom", linespacing=1.1)
        for row in range(rows):
            down = top + row * (CELL + SPACE + caption)
            for column in range(group.images.shape[1]):
                axes = figure.add_axes(place(left + column * (breadth + SPACE), down, breadth, CELL))
                axes.imshow(_picture(group.images[row, column], group).numpy(), cmap=group.colors, vmin=group.low, vmax=group.high,
                            interpolation="nearest", aspect="auto")
                axes.set(xticks=[], yticks=[])
                for spine in axes.spines.values():
                    spine.set(color="0.6", linewidth=0.6)
            if group.captions:
                figure.text(middle, 1 - (down + CELL + 0.04) / full_height, group.captions[row], fontsize=11, ha="center", va="top")
        left += span + GAP
    for row in range(rows):
        down = top + row * (CELL + SPACE + caption) + CELL / 2
        figure.text((SIDE - 0.12) / full_width, 1 - down / full_height, str(row + 1), fontsize=12, ha="right", va="center", color="0.3")
    for group in scales:  # in practice one, at the right edge
        axes = figure.add_axes(place(left - GAP + 0.05, top, 0.12, CELL))
        bar = figure.colorbar(ScalarMappable(Normalize(group.low, group.high), group.colors), cax=axes, ticks=[group.low, 0, group.high])
        bar.ax.set_yticklabels([f"{value:+.2g}" if value else "0" for value in (group.low, 0, group.high)], fontsize=10)
    return figure


def _check(problem: Problem, sources: Tensor, truth: Truth | None, count: int,
           permutation: Tensor | None) -> tuple[Problem, Tensor, Truth | None]:
    """The first ``count`` mixtures, on the CPU, estimates in the order of the truth."""
    want = (len(problem.mixtures), problem.mixing.count, *problem.mixtures.shape[1:])
    if tuple(sources.shape) != want:
        raise SepvizError(f"sources of shape {tuple(sources.shape)}: this problem wants {want}")
    if count < 1:
        raise SepvizError(f"count {count}: draw at least 1 mixture")
    problem = problem._replace(mixtures=problem.mixtures[:count].detach().cpu().float())
    sources = sources[:count].detach().cpu().float()
    if truth is not None:
        truth = Truth(truth.sources[:count].detach().cpu().float())
    if permutation is not None:
        sources = metrics.reorder(sources, permutation[:count])
    return problem, sources, truth


def _matched(problem: Problem, run: Tensor | Trace,
             truth: Truth | None) -> tuple[Tensor, Tensor | None]:
    """The sources of a run, and which belongs to which true one."""
    problem.medium.want_drawn()
    sources, order = (run.sources, run.order) if isinstance(run, Trace) else (run, "each")
    if truth is None:
        return sources, None
    ours, true = (images.detach().cpu().float() for images in (sources, truth.sources))
    return sources, metrics.match(ours, true, weights=problem.mixing.weights, order=order)


def _mixture_group(problem: Problem) -> _Group:
    low, high = (sum(bound(weight, 0.0) for weight in problem.mixing.weights) for bound in (min, max))
    return _Group("mixture", problem.mixtures[:, None], low, max(high, low + 1e-6))


def _decibels(matched: Tensor, truth: Truth) -> list[str]:
    return [f"{value:.1f} dB"
            for value in metrics.psnr(matched, truth.sources, order="fixed").tolist()]


def separation(problem: Problem, sources: Tensor | Trace, truth: Truth | None = None, count: int = 6, title: str | None = None,
               filters: Tensor | None = None) -> Figure:
    """Mixtures in rows: the mixture, its separated sources, the true ones, and what the remix leaves.

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
        Sources are drawn from 0 (black) to 1 (white), mixtures over the range that their weights allow, residuals
        (mixture minus remix; the mean over colours) from purple (negative) over white to orange, on
        the scale at the side.
    """
    sources, permutation = _matched(problem, sources, truth)
    if filters is not None:  # in the order that `_check` brings the sources to
        filters = filters[:count].detach().cpu().float()
        if permutation is not None:
            index = permutation[:count, :, None, None].expand_as(filters)
            filters = filters.gather(1, index)
    problem, sources, truth = _check(problem, sources, truth, count, permutation)
    left_over = problem.left_over(sources, filters)
    scale = max(0.05, float(f"{float(left_over.mean(dim=1).abs().max()):.1g}"))
    count_of = problem.mixing.count
    captions = _decibels(sources, truth) if truth is not None else None
    heading = f"{count_of} separated sources" if count_of > 1 else "estimate"
    groups = [_mixture_group(problem), _Group(heading, sources, captions=captions)]
    if truth is not None:
        groups.append(_Group("true sources" if count_of > 1 else "truth", truth.sources))
    rms = problem.residuals(sources, filters).tolist()
    groups.append(_Group("residual", left_over[:, None], -scale, scale, [f"RMS {value:.3f}" for value in rms], RESIDUAL_COLORS))
    return _sheet(groups, len(sources), title)


def compare(problem: Problem, results: Mapping[str, Tensor | Trace], truth: Truth | None = None, count: int = 6,
            title: str | None = None) -> Figure:
    """Mixtures in rows, methods side by side: ``{name: sources (B, K, C, H, W)}``, and the truth at the right.

    With a truth, estimates are put in its order as in `separation`, each cell says its PSNR and each heading the mean of those
    drawn (per_source, see `sepviz.metrics.psnr`).
    """
    if not results:
        raise SepvizError("no results to compare: give at least one name with its sources")
    groups = []
    shown = problem
    for name, run in results.items():
        sources, permutation = _matched(problem, run, truth)
        shown, drawn, known = _check(problem, sources, truth, count, permutation)
        heading, captions = name, None
        if known is not None:
            captions = _decibels(drawn, known)
            mean = float(metrics.psnr(drawn, known.sources, order="fixed").mean())
            heading = f"{name}\n{mean:.1f} dB"
        groups.append(_Group(heading, drawn, captions=captions))
    if truth is not None:
        groups.append(_Group("truth", truth.sources[:count].detach().cpu().float()))
    return _sheet([_mixture_group(shown), *groups], len(shown.mixtures), title)


__all__ = ["RESIDUAL_COLORS", "Sheet", "compare", "png_bytes", "save", "separation"]


# --- for the labs: rows of pictures, curves, a field of arrows ------------------------------------------------

# Okabe and Ito's colours, which every kind of colour vision tells apart, each with its own dash and mark.
LINES = (("#0072B2", "-", "o"), ("#D55E00", "--", "s"), ("#009E73", "-.", "^"), ("#CC79A7", ":", "D"), ("#000000", (0, (5, 1, 1, 1)), "v"))


def images(rows: Mapping[str, Tensor], *, columns: Sequence[str] | None = None, signed: bool = False, high: float = 1.0,
           title: str | None = None) -> Sheet:
    """Named rows of images.

    Parameters
    ----------
    rows : {name: Tensor (N, C, H, W)}
        N may differ from row to row.
    columns : sequence of str, optional
        A heading for each column.
    signed : bool
        Draw forces, residuals and the like: purple below 0, white at 0, orange above, one scale for
        the whole sheet, no finer than 0.01.
    high : float
        What is white, where ``signed`` is not set; 0 is black.
    """
    if not rows or any(row.ndim != 4 or len(row) == 0 for row in rows.values()):
        raise SepvizError("rows: give at least one name with its images (N, C, H, W)")
    drawn = {name: row.detach().cpu().float() for name, row in rows.items()}
    scale = max(FINEST, max(float(row.abs().max()) for row in drawn.values())) if signed else high
    group = _Group("", next(iter(drawn.values())), -scale if signed else 0.0, scale, None, RESIDUAL_COLORS if signed else "gray")
    across, (height, width) = max(map(len, drawn.values())), next(iter(drawn.values())).shape[-2:]
    if columns is not None and len(columns) != across:
        raise SepvizError(f"{len(columns)} columns named, {across} drawn: give a name for each")
    breadth, side = CELL * width / height, 0.25 + 0.105 * max(max(map(len, name.split("\n"))) for name in drawn)
    top = 0.1 + (TOP if title else 0.0) + (LINE * (1 + max(name.count("\n") for name in columns)) if columns else 0.0)
    full_width = max(side + across * (breadth + SPACE) + (0.85 if signed else 0.1), 0.125 * len(title or "") + 0.3)
    full_height = top + len(drawn) * (CELL + SPACE) + 0.1
    figure = Sheet(figsize=(full_width, full_height), facecolor="white")
    FigureCanvasAgg(figure)
    if title:
        figure.text(0.15 / full_width, 1 - 0.32 / full_height, title, fontsize=14, fontweight="bold", va="center")
    for i, (name, row) in enumerate(drawn.items()):
        down = top + i * (CELL + SPACE)
        figure.text((side - 0.12) / full_width, 1 - (down + CELL / 2) / full_height, name, fontsize=12, ha="right", va="center")
        for j, image in enumerate(row):
            left = side + j * (breadth + SPACE)
            if columns is not None and i == 0:
                above = (left + breadth / 2) / full_width, 1 - (top - 0.07) / full_height
                figure.text(*above, columns[j], fontsize=11, ha="center", va="bottom")
            axes = figure.add_axes((left / full_width, 1 - (down + CELL) / full_height, breadth / full_width, CELL / full_height))
            axes.imshow(_picture(image, group).numpy(), cmap=group.colors, vmin=group.low, vmax=group.high,
                        interpolation="nearest", aspect="auto")
            axes.set(xticks=[], yticks=[])
            for spine in axes.spines.values():
                spine.set(color="0.6", linewidth=0.6)
    if signed:
        left = side + across * (breadth + SPACE) + 0.08
        axes = figure.add_axes((left / full_width, 1 - (top + CELL) / full_height, 0.12 / full_width, CELL / full_height))
        bar = figure.colorbar(ScalarMappable(Normalize(-scale, scale), RESIDUAL_COLORS), cax=axes, ticks=[-scale, 0, scale])
        bar.ax.set_yticklabels([f"{-scale:+.2g}", "0", f"{scale:+.2g}"], fontsize=10)
    return figure


def _plot(x: str, y: str, title: str | None) -> tuple[Sheet, Axes]:
    """A figure with one pair of axes, named."""
    figure = Sheet(figsize=(7.5, 4.2), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_xlabel(x, fontsize=13)
    axes.set_ylabel(y, fontsize=13)
    axes.tick_params(labelsize=11)
    axes.grid(color="0.9")
    axes.spines[["top", "right"]].set_visible(False)
    if title:
        figure.suptitle(title, fontsize=14, fontweight="bold")
    return figure, axes


def curves(lines: Mapping[str, tuple[Sequence[float], Sequence[float]]], x: str, y: str, *, title: str | None = None,
           log_x: bool = False, log_y: bool = False, marks: bool = False, dots: Sequence[str] = ()) -> Sheet:
    """Curves over one axis, at most five.

    Parameters
    ----------
    lines : {name: (x values, y values)}
    x, y : str
        What the axes are, with the unit.
    marks : bool
        Mark the points: for a handful of measurements rather than a course.
    dots : sequence of str
        Names of measurements that are drawn as rings, not joined, so that a theory's line shows through.
    """
    if not 1 <= len(lines) <= len(LINES):
        raise SepvizError(f"{len(lines)} lines: draw 1 to {len(LINES)}")
    figure, axes = _plot(x, y, title)
    for (name, (across, up)), (color, dash, mark) in zip(lines.items(), LINES, strict=False):
        if name in dots:
            axes.plot(across, up, "o", label=name, color=color, markersize=10, fillstyle="none", markeredgewidth=2, zorder=3)
        else:
            axes.plot(across, up, label=name, color=color, linestyle=dash, linewidth=2.2, marker=mark if marks else None, markersize=7)
    axes.set(xscale="log" if log_x else "linear", yscale="log" if log_y else "linear")
    if len(lines) > 1:
        axes.legend(fontsize=12, frameon=False)
    return figure


def race(courses: Tensor, x: Sequence[float], chosen: int, *, y: str = "error", title: str | None = None) -> Sheet:
    """Many courses (steps, runners) of which one is chosen: the chosen one in colour, those that end three times as high dashed."""
    figure, axes = _plot("iteration", y, title)
    ends = courses[-1]
    stuck = ends > 3 * ends[chosen]
    named: set[str] = set()
    for runner in ends.argsort(descending=True).tolist():
        kind = "chosen" if runner == chosen else "stuck: three times its error" if bool(stuck[runner]) else "others"
        color, dash, width = {"chosen": (LINES[0][0], "-", 3.0), "others": ("0.6", "-", 1.0)}.get(kind, (LINES[1][0], "--", 1.2))
        axes.plot(x, courses[:, runner].tolist(), color=color, linestyle=dash, linewidth=width, label=None if kind in named else kind,
                  zorder=3 if kind == "chosen" else 2)
        named.add(kind)
    axes.set_yscale("log")
    axes.legend(fontsize=12, frameon=False)
    return figure


def arrows(fields: Mapping[str, tuple[Tensor, Tensor]], *, points: Mapping[str, tuple[float, float]] | None = None,
           x: str = "", y: str = "", title: str | None = None) -> Sheet:
    """Fields of arrows side by side.

    Each panel has its own scale, by which its longest arrow spans one cell of the grid; lengths are drawn by their square
    root, so that the small arrows near a place of rest can be seen.

    Parameters
    ----------
    fields : {name: (places (N, 2), arrows (N, 2))}
    points : {name: (x, y)}, optional
        Places to mark, the same in every panel.
    """
    if not fields:
        raise SepvizError("no fields: give at least one name with its places and arrows")
    figure = Sheet(figsize=(4.4 * len(fields), 5.7), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(fields), sharex=True, sharey=True, squeeze=False)[0]
    for axes, (name, (places, steps)) in zip(panels, fields.items(), strict=True):
        places, steps = places.detach().cpu().float(), steps.detach().cpu().float()
        spacing = float((places[:, 0].max() - places[:, 0].min()) / max(1, len(places[:, 0].unique()) - 1))
        length = steps.norm(dim=1, keepdim=True).clamp_min(1e-12)
        longest = float(length.max())
        drawn = steps / (length * longest).sqrt() * spacing
        axes.quiver(*places.T.numpy(), *drawn.T.numpy(), color=LINES[0][0], angles="xy", scale_units="xy", scale=1, width=0.006)
        for label, place in (points or {}).items():
            axes.plot(*place, "o", color=LINES[1][0], markersize=9, markeredgecolor="white")
            axes.annotate(label, place, textcoords="offset points", xytext=(8, 8), fontsize=13, fontweight="bold", color=LINES[1][0])
        axes.set_title(f"{name}\nlongest arrow {longest:.2g}", fontsize=12)
        axes.set_xlabel(x, fontsize=12)
        axes.set_aspect("equal")
        axes.tick_params(labelsize=10)
    panels[0].set_ylabel(y, fontsize=12)
    if title:
        figure.suptitle(title, fontsize=14, fontweight="bold")
    return figure


__all__ += ["LINES", "arrows", "curves", "images"]
