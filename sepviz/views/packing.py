"""Steps as bytes for the browser.

Images are sent as float16, as a trace stores them, so that the sum a player shows for a pixel is the sum that was
made; the truth is sent as uint8, which it was read from. The figures on the curves are of the unrounded steps.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from sepviz import metrics
from sepviz.core import Problem, SepvizError, Step, Truth
from sepviz.runs.trace import Trace

ITEMS = 8  # mixtures of one player
BUDGET = 16 * 2**20  # bytes of frames of one player; a saved notebook holds them
EXACT = 1e-6  # a residual below this is rounding, and its curve would be noise
RECORD = 120  # bytes of what is said about a frame and a mixture: colour scales, values of the curves
CODE = 100_000  # bytes of a page's code and style
ENOUGH = 40  # frames; a page of large images rather shows fewer mixtures than fewer frames
CURVES = ("sigma", "loss", "discriminator_loss", "generator_loss", "mask_loss")  # of a step's info
SIGNED = {"prior_force": "prior force", "data_force": "data force", "noise": "noise", "filters": "filters"}  # layers, and the filters


class View(NamedTuple):
    """Which mixtures are shown, with what is needed to show them."""

    problem: Problem
    truth: Truth | None
    items: list[int]
    low: float
    high: float
    order: str  # of the method's sources, a key of `sepviz.core.ORDERS`
    all_sources: Tensor | None  # the truth of all mixtures: "one order for the set" is of all


def make_view(problem: Problem, truth: Truth | None, item: int = 0, order: str = "each") -> View:
    """The block of `ITEMS` mixtures that ``item`` is in.

    Raises
    ------
    SepvizError
        If there is no such mixture, the truth does not fit, or the images are neither gray nor RGB.
    """
    batch, channels, height, width = problem.mixtures.shape
    if not 0 <= item < batch:
        raise SepvizError(f"item={item}: the problem has mixtures 0 to {batch - 1}")
    if channels not in (1, 3):
        raise SepvizError(f"images of {channels} channels: 1 (gray) or 3 (RGB) can be shown")
    want = (batch, problem.mixing.count, channels, height, width)
    if truth is not None and tuple(truth.sources.shape) != want:
        raise SepvizError(f"truth of shape {tuple(truth.sources.shape)}: this problem's sources are {want}")
    first = item - item % ITEMS
    items = list(range(first, min(first + ITEMS, batch)))
    mixtures = problem.mixtures[items].detach().float().cpu().nan_to_num(0)
    shown = Problem(mixtures, problem.mixing)
    shown_truth = None if truth is None else Truth(truth.sources[items].detach().float().cpu())
    low, high = min(0.0, float(mixtures.min())), max(1.0, float(mixtures.max()))
    return View(shown, shown_truth, items, low, high, order, None if truth is None else truth.sources)


def first(view: View, count: int) -> View:
    """The view of its first mixtures only."""
    problem = view.problem._replace(mixtures=view.problem.mixtures[:count])
    truth = None if view.truth is None else Truth(view.truth.sources[:count])
    return view._replace(problem=problem, truth=truth, items=view.items[:count])


def _image_bytes(images: Tensor) -> bytes:
    return (images.nan_to_num(0).clamp(0, 1) * 255).round().to(torch.uint8).numpy().tobytes()


def _half_bytes(images: Tensor) -> bytes:
    largest = torch.finfo(torch.float16).max
    return images.nan_to_num(0, posinf=largest, neginf=-largest).clamp(-largest, largest).half().numpy().tobytes()


def short(value: float) -> float | None:
    """Four digits, as JSON knows no nan and the browser needs no more."""
    return float(f"{value:.4g}") if math.isfinite(value) else None


def pack_static(view: View, batch: int, method: str) -> dict[str, Any]:
    """What does not change over a run: the mixtures and the truth."""
    _, channels, height, width = view.problem.mixtures.shape
    return {
        "method": method, "items": view.items, "batch": batch, "count": view.problem.mixing.count,
        "channels": channels, "height": height, "width": width, "low": short(view.low), "high": short(view.high),
        "mixtures": _half_bytes(view.problem.mixtures),
        "visible": b"" if view.problem.mixing.visible is None else view.problem.mixing.visible.to(torch.uint8).cpu().numpy().tobytes(),
        "truth": b"" if view.truth is None else _image_bytes(view.truth.sources),
    }


def pack(trace: Trace, view: View, budget: int = BUDGET) -> tuple[list[int], dict[str, Any], dict[str, Any]]:
    """A run as a player gets it: the positions of its frames in the trace, `pack_static` and `pack_frames`."""
    positions = thin(trace.steps, view, budget)
    # One matching, at the last step: panels that follow the matching of each step would jump.
    permutation = None if view.truth is None else matching(view, trace.final.sources)
    steps = tqdm([trace.steps[i] for i in positions], desc="packing", delay=1, leave=False)
    return positions, pack_static(view, len(trace.problem.mixtures), trace.method), pack_frames(view, steps, permutation)


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
    positions, static, frames = pack(slim, view, _fit(steps, view, largest) * _frame_bytes(steps, view))
    counts = [(len(positions), len(trace), "recorded steps"),
              (len(view.items), len(trace.problem.mixtures), "mixtures")]
    parts = [f"{kept} of {whole} {what}" for kept, whole, what in counts if kept < whole]
    parts += [] if forces else ["no forces"]
    left_out = f"To keep this page small, it holds {' and '.join(parts)}." if parts else ""
    return view, static, frames, left_out


def check_page(problem: Problem, largest: int) -> None:
    """Refuse a problem whose images are too large for a page of so many bytes."""
    view = first(make_view(problem, None), 1)
    if _fit([], view, largest) < 2:
        size = "x".join(map(str, problem.mixtures.shape[1:]))
        raise SepvizError(f"a page of {problem.mixing.count} sources of {size} would have more than "
                          f"{largest / 1e6:.0f} MB: separate smaller images, or make a GIF (sepviz.save_gif)")


def _fit(steps: Sequence[Step], view: View, largest: int) -> int:
    """How many frames a page holds beside code, mixtures and truth; base64 makes all a third longer."""
    fixed = (2 + view.problem.mixing.count) * view.problem.mixtures.numel()
    room = max(0, (largest - CODE) * 3 // 4 - fixed)
    return room // (_frame_bytes(steps, view) + RECORD * (2 + len(view.items)))


def matching(view: View, sources: Tensor) -> Tensor:
    """For the mixtures in view: ``permutation[b, k]`` is the estimate of source k.

    Parameters
    ----------
    sources : Tensor (B, K, C, H, W)
        Of all mixtures, in view or not.
    """
    assert view.all_sources is not None
    weights, whole = view.problem.mixing.weights, view.order == "set"
    ours, true = (images[slice(None) if whole else view.items].detach().float().cpu()
                  for images in (sources, view.all_sources))
    found = metrics.match(ours.nan_to_num(0), true, weights=weights, order=view.order)
    return found[view.items] if whole else found


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
    steps = list(steps)
    names = [name for name in SIGNED if any(_is_layer(step, name) for step in steps)]
    count = view.problem.mixing.count
    hides = view.problem.mixing.visible is not None  # else the remix is the mixture less the residual, which the browser works out
    layers = [{"name": "estimate", "signed": False, "panels": count}, *([{"name": "remix", "signed": False, "panels": 1}] if hides else []),
              {"name": "residual", "signed": True, "panels": 1},
              *({"name": name, "label": SIGNED[name], "signed": True, "panels": count} for name in names)]
    found = psnrs(view, steps) if view.truth is not None else None

    def images(tensor: Tensor) -> Tensor:
        chosen = tensor[view.items].detach().to("cpu", torch.float32)
        return chosen if permutation is None else metrics.reorder(chosen, permutation)

    chunks: list[bytes] = []
    records = []
    for i, step in enumerate(steps):
        sources, filters = (None if part is None else part[view.items].detach().to("cpu", torch.float32)
                            for part in (step.sources, step.results.get("filters")))
        assert sources is not None
        signed = {"residual": view.problem.left_over(sources, filters)}
        signed |= {name: images(_layer(step, name)) for name in names}
        scales = {}
        chunks += [_half_bytes(images(step.sources)), *([_half_bytes(view.problem.mixing.apply(sources, filters))] if hides else [])]
        for name, layer in signed.items():
            scales[name] = [short(scale) for scale in layer.nan_to_num(0).abs().flatten(1).amax(dim=1).tolist()]
            chunks.append(_half_bytes(layer))
        # What the method said, if it did: frames are stored in float16, whose rounding alone leaves a residual of 1e-4.
        rests = view.problem.residuals(sources, filters).tolist()
        rests = [step.info.get("residual", rest) for rest in rests]
        values = {"residual": [None if rest < EXACT else short(rest) for rest in rests]}
        for name in CURVES:
            if name in step.info:
                values[name] = [short(step.info[name])] * len(view.items)
        if found is not None:
            values["psnr"] = found[i]
        records.append({"index": step.index, "stage": step.stage, "scales": scales, "values": values, "order": order,
                        "evaluations": step.info.get("evaluations")})
    weights = [short(weight) for weight in view.problem.mixing.weights]  # equal ones alone are permuted
    return {"layers": layers, "records": records, "bytes": b"".join(chunks),
            "weights": [weights] * len(view.items)}


def psnrs(view: View, steps: list[Step]) -> list[list[float | None]]:
    """PSNR of every step and mixture; many steps in one call, which is several times as fast."""
    assert view.truth is not None
    found: list[list[float | None]] = []
    weights, order, together = view.problem.mixing.weights, view.order, 16

    def images(step: Step) -> Tensor:
        chosen = step.sources[view.items].detach().to("cpu", torch.float32).nan_to_num(0)
        return metrics.reorder(chosen, matching(view, step.sources)) if order == "set" else chosen

    for begin in range(0, len(steps), together):
        some = torch.stack([images(step) for step in steps[begin:begin + together]])
        truth = view.truth.sources.expand_as(some)
        values = metrics.psnr(some.flatten(0, 1), truth.flatten(0, 1), weights=weights,
                              order="each" if order == "each" else "fixed").reshape(len(some), -1)
        found += [[short(value) for value in row] for row in values.tolist()]
    return found


def _is_layer(step: Step, name: str) -> bool:
    return name in (step.results if name == "filters" else step.shown)


def _layer(step: Step, name: str) -> Tensor:
    """An extra as pictures of the sources' shape: as it is, 0 where the step has none, filters enlarged."""
    if not _is_layer(step, name):
        return torch.zeros_like(step.sources)
    return enlarge(step.results[name], step.sources.shape) if name == "filters" else step.shown[name]


def enlarge(filters: Tensor, shape: Sequence[int]) -> Tensor:
    """Filters (B, K, h, w) as pictures (B, K, C, H, W), each tap a square as large as fits, in the middle."""
    height, width = shape[-2:]
    zoom = max(1, min(height // filters.shape[2], width // filters.shape[3]))
    large = filters.float().repeat_interleave(zoom, 2).repeat_interleave(zoom, 3)[..., :height, :width]
    down, right = height - large.shape[2], width - large.shape[3]
    padded = torch.nn.functional.pad(large, (right // 2, right - right // 2, down // 2, down - down // 2))
    return padded[:, :, None].expand(*shape).clone()


def _frame_bytes(steps: Sequence[Step], view: View) -> int:
    count = view.problem.mixing.count
    extras = sum(any(_is_layer(step, name) for step in steps) for name in SIGNED)
    layers = 1 + (view.problem.mixing.visible is not None) + count * (1 + extras)
    return 2 * layers * view.problem.mixtures.numel()


def thin(steps: Sequence[Step], view: View, budget: int = BUDGET) -> list[int]:
    """Positions of the steps that fit the budget: evenly spread, first and last among them."""
    fit = max(2, budget // _frame_bytes(steps, view))
    if len(steps) <= fit:
        return list(range(len(steps)))
    return np.linspace(0, len(steps) - 1, fit).round().astype(int).tolist()
