"""Steps as bytes for the browser.

Images are sent as float16, as a trace stores them, so the sum that a player shows for a pixel is
the sum that was made; the truth is sent as uint8. Values of the curves are of unrounded steps.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from sepviz import metrics
from sepviz.core import Problem, SepvizError, Step, Truth
from sepviz.runs.trace import Trace
from sepviz.views.images import as_bytes
from sepviz.views.view import View, first, floats, make_view, matching, psnrs, short

BUDGET = 16 * 2**20  # bytes of frames of one player; a saved notebook holds them
EXACT = 1e-6  # a residual below this is rounding, and its curve would be noise
RECORD = 120  # bytes of what is said about a frame and a mixture: colour scales, values of curves
CODE = 100_000  # bytes of a page's code and style
ENOUGH = 40  # frames; a page of large images rather shows fewer mixtures than fewer frames
CURVES = ("sigma", "loss", "discriminator_loss", "generator_loss", "mask_loss")  # of `Step.info`
SIGNED = {"prior_force": "prior force", "data_force": "data force", "noise": "noise",
          "filters": "filters"}  # layers that a person may switch on, in this order


def _half_bytes(images: Tensor) -> bytes:
    largest = torch.finfo(torch.float16).max
    whole = images.nan_to_num(0, posinf=largest, neginf=-largest)
    return whole.clamp(-largest, largest).half().numpy().tobytes()


def pack_static(view: View, batch: int, method: str) -> dict[str, Any]:
    """What does not change over a run: the mixtures and the truth."""
    _, channels, height, width = view.problem.mixtures.shape
    visible = view.problem.mixing.visible
    return {
        "method": method, "items": view.items, "batch": batch, "count": view.problem.mixing.count,
        "channels": channels, "height": height, "width": width,
        "low": short(view.low), "high": short(view.high),
        "mixtures": _half_bytes(view.problem.mixtures),
        "visible": b"" if visible is None else visible.to(torch.uint8).cpu().numpy().tobytes(),
        "truth": b"" if view.truth is None else as_bytes(view.truth.sources).numpy().tobytes(),
    }


def pack(trace: Trace, view: View,
         budget: int = BUDGET) -> tuple[list[int], dict[str, Any], dict[str, Any]]:
    """The positions of a player's frames in the trace, `pack_static` and `pack_frames`."""
    positions = thin(trace.steps, view, budget)
    # One matching, at the last step: panels that follow the matching of each step would jump.
    permutation = None if view.truth is None else matching(view, trace.final.sources)
    steps = tqdm([trace.steps[i] for i in positions], desc="packing", delay=1, leave=False)
    static = pack_static(view, len(trace.problem.mixtures), trace.method)
    return positions, static, pack_frames(view, steps, permutation)


def pack_for_page(trace: Trace, truth: Truth | None,
                  largest: int) -> tuple[View, dict[str, Any], dict[str, Any], str]:
    """A run for a page of at most so many bytes, and a sentence about what is left out of it.

    Frames are left out first, evenly; below `ENOUGH` of them mixtures; at last the forces.

    Raises
    ------
    SepvizError
        If two frames of one mixture are too large.
    """
    view, steps = make_view(trace.problem, truth, order=trace.order), trace.steps
    while len(view.items) > 1 and _fit(steps, view, largest) < min(ENOUGH, len(steps)):
        view = first(view, len(view.items) // 2)
    forces = _fit(steps, view, largest) >= 2
    if not forces:
        check_page(trace.problem, largest)
        steps = [step._replace(shown={}) for step in steps]
    slim = dataclasses.replace(trace, steps=steps)
    budget = _fit(steps, view, largest) * _frame_bytes(steps, view)
    positions, static, frames = pack(slim, view, budget)
    counts = [(len(positions), len(trace), "recorded steps"),
              (len(view.items), len(trace.problem.mixtures), "mixtures")]
    parts = [f"{kept} of {whole} {what}" for kept, whole, what in counts if kept < whole]
    parts += [] if forces else ["no forces"]
    left_out = f"To keep this page small, it holds {' and '.join(parts)}." if parts else ""
    return view, static, frames, left_out


def check_page(problem: Problem, largest: int) -> None:
    """Refuse a problem whose images are too large for a page of so many bytes."""
    if _fit([], first(make_view(problem, None), 1), largest) < 2:
        size = "x".join(map(str, problem.mixtures.shape[1:]))
        raise SepvizError(f"a page of {problem.mixing.count} sources of {size} would have more "
                          f"than {largest / 1e6:.0f} MB: separate smaller images, or make a GIF "
                          "(sepviz.save_gif)")


def _fit(steps: Sequence[Step], view: View, largest: int) -> int:
    """How many frames a page holds beside code, mixtures and truth; base64 adds a third."""
    fixed = (2 + view.problem.mixing.count) * view.problem.mixtures.numel()
    room = max(0, (largest - CODE) * 3 // 4 - fixed)
    return room // (_frame_bytes(steps, view) + RECORD * (2 + len(view.items)))


def pack_frames(view: View, steps: Iterable[Step], permutation: Tensor | None = None,
                order: list[list[int]] | None = None) -> dict[str, Any]:
    """Steps as one block of bytes and one small record each.

    Parameters
    ----------
    permutation : Tensor (items, K), optional
        Bring the estimates into this order, in every step, so that panels do not jump.
    order : list, optional
        Or leave the estimates and say which true source belongs under each.
    """
    steps, mixing = list(steps), view.problem.mixing
    extras = _extras(steps)
    count = mixing.count
    layers = [{"name": "estimate", "signed": False, "panels": count},
              {"name": "remix", "signed": False, "panels": 1},
              {"name": "residual", "signed": True, "panels": 1},
              *({"name": name, "label": SIGNED[name], "signed": True, "panels": count}
                for name in extras)]
    if mixing.visible is None:  # then the browser works it out: the mixture less the residual
        del layers[1]
    found = psnrs(view, steps) if view.truth is not None else None
    chunks: list[bytes] = []
    records = []
    for i, step in enumerate(steps):
        images, values = _frame(view, step, extras, permutation)
        chunks += [_half_bytes(images[layer["name"]]) for layer in layers]
        scales = {layer["name"]: _largest(images[layer["name"]])
                  for layer in layers if layer["signed"]}
        if found is not None:
            values["psnr"] = found[i]
        records.append({"index": step.index, "stage": step.stage, "scales": scales,
                        "values": values, "order": order,
                        "evaluations": step.info.get("evaluations")})
    weights = [short(weight) for weight in mixing.weights]  # only equal ones are permuted
    return {"layers": layers, "records": records, "bytes": b"".join(chunks),
            "weights": [weights] * len(view.items)}


def _frame(view: View, step: Step, extras: Sequence[str],
           permutation: Tensor | None) -> tuple[dict[Any, Tensor], dict[str, Any]]:
    """The images of a step by their layers' names, and its values on the curves."""
    def ordered(images: Tensor) -> Tensor:
        return images if permutation is None else metrics.reorder(images, permutation)

    problem, sources = view.problem, floats(step.sources[view.items])
    filters = step.results.get("filters")
    filters = None if filters is None else floats(filters[view.items])
    images = {"estimate": ordered(sources), "residual": problem.left_over(sources, filters)}
    if problem.mixing.visible is not None:
        images["remix"] = problem.mixing.apply(sources, filters)
    images |= {name: ordered(floats(_layer(step, name)[view.items])) for name in extras}
    # What the method said, if it did: rounding to float16 alone leaves a residual of 1e-4.
    rests = [step.info.get("residual", rest)
             for rest in problem.residuals(sources, filters).tolist()]
    values = {"residual": [None if rest < EXACT else short(rest) for rest in rests]}
    for name in CURVES:
        if name in step.info:
            values[name] = [short(step.info[name])] * len(view.items)
    return images, values


def _largest(images: Tensor) -> list[float | None]:
    """The largest size in the images of each mixture."""
    return [short(size) for size in images.nan_to_num(0).abs().flatten(1).amax(dim=1).tolist()]


def _extras(steps: Sequence[Step]) -> list[str]:
    """The layers of `SIGNED` that any of the steps has."""
    return [name for name in SIGNED if any(_has(step, name) for step in steps)]


def _has(step: Step, name: str) -> bool:
    return name in (step.results if name == "filters" else step.shown)


def _layer(step: Step, name: str) -> Tensor:
    """A layer as pictures of the sources' shape; 0 where the step has none."""
    if not _has(step, name):
        return torch.zeros_like(step.sources)
    if name == "filters":
        return enlarge(step.results[name], step.sources.shape)
    return step.shown[name]


def enlarge(filters: Tensor, shape: Sequence[int]) -> Tensor:
    """Filters (B, K, h, w) as large as fits into pictures (B, K, C, H, W), in the middle."""
    height, width = shape[-2:]
    zoom = max(1, min(height // filters.shape[2], width // filters.shape[3]))
    large = filters.float().repeat_interleave(zoom, 2).repeat_interleave(zoom, 3)
    large = large[..., :height, :width]
    down, right = height - large.shape[2], width - large.shape[3]
    border = (right // 2, right - right // 2, down // 2, down - down // 2)
    return torch.nn.functional.pad(large, border)[:, :, None].expand(*shape).clone()


def _frame_bytes(steps: Sequence[Step], view: View) -> int:
    mixing = view.problem.mixing
    layers = 1 + (mixing.visible is not None) + mixing.count * (1 + len(_extras(steps)))
    return 2 * layers * view.problem.mixtures.numel()


def thin(steps: Sequence[Step], view: View, budget: int = BUDGET) -> list[int]:
    """Positions of the steps that fit the budget: evenly spread, first and last among them."""
    fit = max(2, budget // _frame_bytes(steps, view))
    return evenly(len(steps), fit)


def evenly(count: int, most: int) -> list[int]:
    """At most ``most`` of the places 0 to count - 1: evenly spread, first and last among them."""
    places = np.linspace(0, count - 1, min(count, most))
    return np.unique(places.round().astype(int)).tolist()
