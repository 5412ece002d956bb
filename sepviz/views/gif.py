"""An animation without a browser: mixture, estimates, truth and residual side by side."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image, ImageDraw
from torch import Tensor
from tqdm.auto import tqdm

from sepviz import files
from sepviz.core import SepvizError, Step, Truth
from sepviz.runs.trace import Trace
from sepviz.views.images import GAP, enlarged, in_range
from sepviz.views.packing import evenly
from sepviz.views.view import View, make_view, matching, psnrs

FRAMES = 100
LINE = 14  # pixels of a line of text
NARROWEST = 64  # pixels of a picture's place: its name must fit
HELD = 2000  # milliseconds of the last frame
PAPER, INK = (20, 22, 26), (225, 228, 232)

Named = list[tuple[str, Tensor]]  # images (C, H, W) in [0, 1], with what stands below them


def save_gif(trace: Trace, path: str | Path, truth: Truth | None = None, *, item: int = 0,
             zoom: int = 4, seconds: float = 8.0, overwrite: bool = False) -> Path:
    """Write an animation of one mixture: mixture, estimates, truth if given, and residual.

    Parameters
    ----------
    zoom : int
        Screen pixels per image pixel.
    seconds : float
        How long the animation takes; at most 100 frames are used, and the last is held.
    """
    data = gif_bytes(trace, truth, item, zoom, seconds)
    return files.write(path, lambda file: file.write(data), overwrite)


def gif_bytes(trace: Trace, truth: Truth | None, item: int, zoom: int, seconds: float) -> bytes:
    """The animation as a GIF file's bytes; the residual is mid-gray at 0, its range +-0.5."""
    if zoom < 1 or seconds <= 0:
        raise SepvizError(f"zoom={zoom}, seconds={seconds}: want 1 or more, and more than 0")
    view = make_view(trace.problem, truth, item, trace.order)
    order = list(range(trace.problem.mixing.count))
    if truth is not None:
        order = matching(view, trace.final.sources)[view.items.index(item)].tolist()
    positions = tqdm(evenly(len(trace), FRAMES), desc="drawing", delay=1, leave=False)
    pictures = [_picture(view, trace.steps[i], item, order, zoom) for i in positions]
    # One palette for all frames, from the last: a palette of each frame's own flickers.
    palette = pictures[-1].quantize(256 if view.problem.mixtures.shape[1] == 3 else 64)
    first, *rest = (one.quantize(palette=palette, dither=Image.Dither.NONE) for one in pictures)
    durations = [max(20, round(1000 * seconds / len(pictures)))] * len(rest) + [HELD]
    file = io.BytesIO()
    first.save(file, format="GIF", save_all=True, append_images=rest, duration=durations, loop=0,
               optimize=False)
    return file.getvalue()


def _picture(view: View, step: Step, item: int, order: list[int], zoom: int) -> Image.Image:
    """One frame: mixture and estimates over residual and truth."""
    place = view.items.index(item)
    mixture = view.problem.mixtures[place]
    sources, filters = (None if part is None else part[item : item + 1].detach().float().cpu()
                        for part in (step.sources, step.results.get("filters")))
    assert sources is not None
    one = view.problem._replace(mixtures=mixture[None])
    above: Named = [("mixture", in_range(mixture, view.low, view.high))]
    above += [(f"estimate {k + 1}", image) for k, image in enumerate(sources[0, order])]
    below: Named = [("residual", one.left_over(sources, filters)[0] + 0.5)]
    says = f"step {step.index}   {step.stage}"
    if view.truth is not None:
        below += [(f"truth {k + 1}", image) for k, image in enumerate(view.truth.sources[place])]
        says += f"   PSNR {psnrs(view, [step])[0][place]:.1f} dB"
    height, width = mixture.shape[1] * zoom, max(mixture.shape[2] * zoom, NARROWEST)
    across, down, top = width + GAP, height + LINE + GAP, LINE + GAP
    sheet = Image.new("RGB", (GAP + len(above) * across, top + 2 * down), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, 2), says, fill=INK)
    for i, row in enumerate((above, below)):
        for j, (name, image) in enumerate(row):
            left, upper = GAP + j * across, top + i * down
            sheet.paste(enlarged(image, zoom), (left, upper))
            draw.text((left, upper + height + 1), name, fill=INK)
    return sheet
