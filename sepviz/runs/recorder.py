"""Which steps of a run are kept in memory, and how precisely."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from sepviz.core import Step
from sepviz.runs.run import in_full

MAX_FRAMES = 200  # that are kept, about, where nobody says how many
LIMIT = 256 * 2**20  # bytes of frames held in memory


class Recorder:
    """Keep every ``every``-th step; when a limit is passed, drop every second one.

    The first step is always kept, and so is the newest, which is held in full precision.

    Parameters
    ----------
    every : int
    limit : int
        Bytes of frames.
    max_frames : int, optional
    frames : iterable of Step
        What is kept already.
    """

    def __init__(self, every: int = 1, limit: int = LIMIT, max_frames: int | None = None,
                 frames: Iterable[Step] | None = None):
        self.stride = every
        self.limit = limit
        self.max_frames = max_frames
        self.frames = list(frames or [])
        self.bytes = sum(map(_size, self.frames))
        self.last: Step | None = self.frames[-1] if self.frames else None
        self._count = 0

    @classmethod
    def of(cls, steps: int, limit: int = LIMIT) -> Recorder:
        """A recorder that keeps about `MAX_FRAMES` of so many steps."""
        return cls(max(1, -(-steps // MAX_FRAMES)), limit, MAX_FRAMES + 1)

    def add(self, step: Step) -> None:
        """Take the next step of the run."""
        self.last = step
        if self._count % self.stride == 0:
            kept = _compact(step)
            self.frames.append(kept)
            self.bytes += _size(kept)
            while len(self.frames) > 1 and self._is_full():
                self.frames = self.frames[::2]
                self.stride *= 2
                self.bytes = sum(map(_size, self.frames))
        self._count += 1

    def _is_full(self) -> bool:
        many = self.max_frames is not None and len(self.frames) > self.max_frames
        return many or self.bytes > self.limit

    def kept(self) -> list[Step]:
        """The steps that are kept, the newest in float32 at the end."""
        if self.last is None:
            return []
        before = [step for step in self.frames if step.index != self.last.index]
        return [*before, in_full(self.last)]


def _compact(step: Step) -> Step:
    """The step on the CPU with its images (sources, and what has their shape) in float16.

    Other tensors (optimiser moments, latents) keep their type: float16 would round them to zero.
    """
    def kept(tensor: Tensor) -> Tensor:
        tensor = tensor.detach().cpu()
        if tensor.shape != step.sources.shape or not tensor.is_floating_point():
            return tensor
        fits = tensor.abs().nan_to_num(0).amax() <= torch.finfo(torch.float16).max
        return tensor.to(torch.float16 if fits else torch.float32)

    return step.mapped(kept)


def _size(step: Step) -> int:
    return step.sources.nbytes + sum(value.nbytes for _, value in step.tensors())
