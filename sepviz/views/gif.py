"""An animation without a browser: mixture, estimates, truth and residual side by side."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image, ImageDraw
from tqdm.auto import tqdm

from sepviz import files
from sepviz.core import Problem, SepvizError, Step, Truth
from sepviz.views.packing import make_view, matching, psnrs

if TYPE_CHECKING:
    from sepviz.runs.trace import Trace

FRAMES = 100
GAP = 6
LINE = 14  # pixels of a line of text
PAPER, INK = (20, 22, 26), (225, 228, 232)


def save_gif(trace: Trace, path: str | Path, truth: Truth | None = None, *, item: int = 0, zoom: int = 4,
             seconds: float = 8.0, overwrite: bool = False) -> Path:
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
    """The animation as a GIF file's bytes. The residual is in gray: 0 is mid-gray, full scale plus or minus 0.5."""
    if zoom < 1 or seconds <= 0:
        raise SepvizError(f"zoom={zoom}, seconds={seconds}: want 1 or more, and more than 0")
    view = make_view(trace.problem, truth, item, trace.order)
    place = view.items.index(item)
    order = list(range(trace.problem.mixing.count))
    if truth is not None:
        order = matching(view, trace.final.sources)[place].tolist()
    positions = np.unique(np.linspace(0, len(trace) - 1, min(FRAMES, len(trace))).round().astype(int))
    mixture = view.problem.mixtures[place]

    def picture(step: Step) -> Image.Image:
        sources = step.sources[item].detach().float().cpu()[order]
        one = Problem(mixture[None], trace.problem.mixing)
        filters = step.results.get("filters")
        residual = one.left_over(step.sources[item : item + 1].detach().float().cpu(),
                                 None if filters is None else filters[item : item + 1].detach().float().cpu())[0]
        rows = [[("mixture", (mixture - view.low) / (view.high - view.low)), *((f"estimate {k + 1}", x) for k, x in enumerate(sources))],
                [("residual", residual + 0.5)]]
        if view.truth is not None:
            rows[1] += [(f"truth {k + 1}", x) for k, x in enumerate(view.truth.sources[place])]
        height, width = mixture.shape[1] * zoom, max(mixture.shape[2] * zoom, 64)
        size = (GAP + len(rows[0]) * (width + GAP), LINE + GAP + len(rows) * (height + LINE + GAP))
        sheet = Image.new("RGB", size, PAPER)
        draw = ImageDraw.Draw(sheet)
        psnr = ""
        if view.truth is not None:
            psnr = f"   PSNR {psnrs(view, [step])[0][place]:.1f} dB"
        draw.text((GAP, 2), f"step {step.index}   {step.stage}{psnr}", fill=INK)
        for i, row in enumerate(rows):
            for j, (name, image) in enumerate(row):
                left, top = GAP + j * (width + GAP), LINE + GAP + i * (height + LINE + GAP)
                sheet.paste(enlarged(image, zoom), (left, top))
                draw.text((left, top + height + 1), name, fill=INK)
        return sheet

    pictures = [picture(trace.steps[i]) for i in tqdm(positions, desc="drawing", delay=1, leave=False)]
    # One palette for all frames, from the last: a palette of each frame's own flickers.
    palette = pictures[-1].quantize(256 if mixture.shape[0] == 3 else 64)
    pictures = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    duration = max(20, round(1000 * seconds / len(pictures)))
    file = io.BytesIO()
    durations = [duration] * (len(pictures) - 1) + [2000]
    pictures[0].save(file, format="GIF", save_all=True, append_images=pictures[1:], duration=durations, loop=0, optimize=False)
    return file.getvalue()


def enlarged(image: torch.Tensor, zoom: int) -> Image.Image:
    """An image (C, H, W) in [0, 1] with ``zoom`` by ``zoom`` pixels for each of its own."""
    pixels = (image.nan_to_num(0).clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    pixels = np.repeat(np.repeat(np.broadcast_to(pixels, (*pixels.shape[:2], 3)), zoom, axis=0), zoom, axis=1)
    return Image.fromarray(np.ascontiguousarray(pixels))
