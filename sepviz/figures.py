"""Static figures of separations, to be looked at on a projector or printed.

Drawn without pyplot, whose global state is not safe where widgets' callbacks run (other threads).
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from torch import Tensor

from sepviz import metrics
from sepviz.core import Problem, SepvizError, Truth

RESIDUAL_COLORS = "PuOr"  # two hues that every kind of colour vision tells apart, white at 0
# inches
CELL, SPACE, GAP, LINE, TOP, SIDE, CAPTION = 1.0, 0.05, 0.3, 0.24, 0.5, 0.55, 0.24


class Sheet(Figure):
    """A matplotlib figure that notebooks show by themselves, pyplot or not."""

    def _repr_png_(self) -> bytes:
        return png_bytes(self)


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


def _check(problem: Problem, sources: Tensor, truth: Truth | None, count: int) -> tuple[Problem, Tensor, Truth | None]:
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
        sources = metrics.reorder(sources, metrics.match(sources, truth.sources))
    return problem, sources, truth


def _mixture_group(problem: Problem) -> _Group:
    low, high = (sum(bound(weight, 0.0) for weight in problem.mixing.weights) for bound in (min, max))
    return _Group("mixture", problem.mixtures[:, None], low, max(high, low + 1e-6))


def _decibels(sources: Tensor, truth: Truth) -> list[str]:
    return [f"{value:.1f} dB" for value in metrics.psnr(sources, truth.sources).tolist()]


def separation(problem: Problem, sources: Tensor, truth: Truth | None = None, count: int = 6, title: str | None = None) -> Figure:
    """Mixtures in rows: the mixture, its separated sources, the true ones, and what the remix leaves.

    Parameters
    ----------
    sources : Tensor (B, K, C, H, W)
        A method's estimates; they are put in the order of the truth if that is given.
    truth : Truth, optional
        Adds the true sources and each row's PSNR (per_source, see `sepviz.metrics.psnr`).
    count : int
        Mixtures to draw, from the first.

    Returns
    -------
    matplotlib.figure.Figure
        Sources are drawn from 0 (black) to 1 (white), mixtures over the range that their weights allow, residuals
        (mixture minus remix; the mean over colours) from orange (negative) over white to purple, on the scale at the side.
    """
    problem, sources, truth = _check(problem, sources, truth, count)
    left_over = problem.mixtures - problem.mixing.apply(sources)
    scale = max(0.05, float(f"{float(left_over.mean(dim=1).abs().max()):.1g}"))
    count_of = problem.mixing.count
    captions = _decibels(sources, truth) if truth is not None else None
    heading = f"{count_of} separated sources" if count_of > 1 else "estimate"
    groups = [_mixture_group(problem), _Group(heading, sources, captions=captions)]
    if truth is not None:
        groups.append(_Group("true sources" if count_of > 1 else "truth", truth.sources))
    rms = metrics.residual(problem.mixtures, problem.mixing.apply(sources)).tolist()
    groups.append(_Group("residual", left_over[:, None], -scale, scale, [f"RMS {value:.3f}" for value in rms], RESIDUAL_COLORS))
    return _sheet(groups, len(sources), title)


def compare(problem: Problem, results: Mapping[str, Tensor], truth: Truth | None = None, count: int = 6,
            title: str | None = None) -> Figure:
    """Mixtures in rows, methods side by side: ``{name: sources (B, K, C, H, W)}``, and the truth at the right.

    With a truth, estimates are put in its order, each cell says its PSNR and each heading the mean of those
    drawn (per_source, see `sepviz.metrics.psnr`).
    """
    if not results:
        raise SepvizError("no results to compare: give at least one name with its sources")
    groups = []
    shown = problem
    for name, sources in results.items():
        shown, drawn, known = _check(problem, sources, truth, count)
        heading, captions = name, None
        if known is not None:
            captions = _decibels(drawn, known)
            heading = f"{name}\n{float(metrics.psnr(drawn, known.sources).mean()):.1f} dB"
        groups.append(_Group(heading, drawn, captions=captions))
    if truth is not None:
        groups.append(_Group("truth", truth.sources[:count].detach().cpu().float()))
    return _sheet([_mixture_group(shown), *groups], len(shown.mixtures), title)


__all__ = ["RESIDUAL_COLORS", "Sheet", "compare", "png_bytes", "save", "separation"]
