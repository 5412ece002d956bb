"""The paper under every figure: what notebooks show, and how images lie on it.

Drawn without pyplot, whose global state is not safe in widgets' callbacks, which are other threads.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from torch import Tensor

from sepviz.views.images import as_drawing

RESIDUAL_COLORS = "PuOr_r"  # purple below 0, white, orange above: as in the widgets, orange adds
# inches
CELL, SPACE, GAP, LINE, TOP, SIDE, CAPTION = 1.0, 0.05, 0.3, 0.24, 0.5, 0.55, 0.24


class Scale(NamedTuple):
    """Which values are painted, and in which colours."""

    low: float = 0.0
    high: float = 1.0
    signed: bool = False

    @property
    def colors(self) -> str:
        """The name of a colour map of matplotlib."""
        return RESIDUAL_COLORS if self.signed else "gray"


class Sheet(Figure):
    """A matplotlib figure that notebooks show by themselves; places are in inches from the top."""

    @classmethod
    def of(cls, width: float, height: float, title: str | None = None) -> Sheet:
        """A white sheet of this size in inches, with a title at the top left."""
        sheet = cls(figsize=(width, height), facecolor="white")
        FigureCanvasAgg(sheet)
        if title:
            sheet.write(0.15, 0.32, title, fontsize=14, fontweight="bold", va="center")
        return sheet

    def write(self, left: float, down: float, text: str, **style: Any) -> None:
        """Write at a place."""
        width, height = self.get_size_inches()
        self.text(left / width, 1 - down / height, text, **style)

    def place(self, left: float, down: float, wide: float, high: float) -> Axes:
        """Axes that fill a box."""
        width, height = self.get_size_inches()
        box = left / width, 1 - (down + high) / height, wide / width, high / height
        return self.add_axes(box)

    def picture(self, image: Tensor, scale: Scale, left: float, down: float) -> None:
        """Draw an image (C, H, W), a cell high."""
        axes = self.place(left, down, breadth_of(image), CELL)
        axes.imshow(as_drawing(image, *scale), cmap=scale.colors, vmin=scale.low, vmax=scale.high,
                    interpolation="nearest", aspect="auto")
        axes.set(xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set(color="0.6", linewidth=0.6)

    def bar(self, scale: Scale, left: float, down: float) -> None:
        """Draw the colours of a signed scale, a cell high."""
        ticks = [scale.low, 0, scale.high]
        colors = ScalarMappable(Normalize(scale.low, scale.high), scale.colors)
        bar = self.colorbar(colors, cax=self.place(left, down, 0.12, CELL), ticks=ticks)
        texts = [f"{value:+.2g}" if value else "0" for value in ticks]
        bar.ax.set_yticklabels(texts, fontsize=10)

    def _repr_png_(self) -> tuple[bytes, dict[str, str]]:
        return png_bytes(self), {"alt": self.alt}

    @property
    def alt(self) -> str:
        """What the figure's texts say: title, headings and names, axes and curves."""
        found = [self.get_suptitle(), *(text.get_text() for text in self.texts)]
        for axes in self.axes:
            legend = axes.get_legend()
            found += [axes.get_title(), axes.get_ylabel(), axes.get_xlabel()]
            found += [text.get_text() for text in legend.get_texts()] if legend else []
        return "; ".join(dict.fromkeys(" ".join(text.split()) for text in found if text.strip()))


class Group(NamedTuple):
    """Columns of images that belong together."""

    heading: str
    images: Tensor  # (B, columns, C, H, W)
    scale: Scale = Scale()
    captions: Sequence[str] | None = None  # one per row, below its images


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


def breadth_of(images: Tensor) -> float:
    """Inches across of images (..., H, W) a cell high."""
    height, width = images.shape[-2:]
    return CELL * width / height


def lines_of(texts: Sequence[str]) -> int:
    """Lines of the longest of several headings."""
    return 1 + max(text.count("\n") for text in texts)


def sheet_of_groups(groups: Sequence[Group], title: str | None) -> Sheet:
    """Rows of mixtures, counted from 1; groups of columns under their headings."""
    rows = len(groups[0].images)
    across = breadth_of(groups[0].images) + SPACE
    high = CELL + SPACE + (CAPTION if any(group.captions for group in groups) else 0.0)
    spans = [group.images.shape[1] * across for group in groups]
    signed = [group.scale for group in groups if group.scale.signed]
    top = LINE * lines_of([group.heading for group in groups]) + 0.14 + (TOP if title else 0.0)
    width = SIDE + sum(spans) + GAP * len(groups) + (0.75 if signed else 0)
    sheet = Sheet.of(width, top + rows * high + 0.15, title)
    left = SIDE
    for group, span in zip(groups, spans, strict=True):
        middle = left + (span - SPACE) / 2
        sheet.write(middle, top - 0.08, group.heading, fontsize=12, ha="center", va="bottom",
                    linespacing=1.1)
        for row, images in enumerate(group.images):
            down = top + row * high
            for column, image in enumerate(images):
                sheet.picture(image, group.scale, left + column * across, down)
            if group.captions:
                sheet.write(middle, down + CELL + 0.04, group.captions[row], fontsize=11,
                            ha="center", va="top")
        left += span + GAP
    for row in range(rows):
        sheet.write(SIDE - 0.12, top + row * high + CELL / 2, str(row + 1), fontsize=12,
                    ha="right", va="center", color="0.3")
    for scale in signed:  # in practice one, at the right edge
        sheet.bar(scale, left - GAP + 0.05, top)
    return sheet
