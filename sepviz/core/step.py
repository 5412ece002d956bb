"""One moment of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from torch import Tensor

GROUPS = ("shown", "results", "state")  # of a step's tensors, each with its own readers
NOTHING: Mapping[str, Any] = MappingProxyType({})


class Step(NamedTuple):
    """One moment of a run: enough to look at, and enough to go on from.

    Tensors are detached, and the method never changes them afterwards.

    - ``stage`` is for people: "sigma 0.36".
    - ``shown`` holds layers of the sources' shape: "prior_force", "data_force", "noise".
    - ``results`` holds what was found beside the sources: "filters" (B, K, h, w), "start_error"
      (B, starts), ...
    - ``state`` holds what the method needs to go on from here; nobody else reads it.
    - ``info`` holds figures: "sigma", "residual" (RMS), "evaluations" (per source, so far), ...
    """

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs of a step
    stage: str
    sources: Tensor  # (B, K, C, H, W)
    shown: Mapping[str, Tensor] = NOTHING
    results: Mapping[str, Tensor] = NOTHING
    state: Mapping[str, Tensor] = NOTHING
    info: Mapping[str, float] = NOTHING

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Step:
        """The step with every tensor changed: copied, moved, rounded."""
        groups: Any = {group: {name: change(value) for name, value in getattr(self, group).items()}
                       for group in GROUPS}
        return self._replace(sources=change(self.sources), info=dict(self.info), **groups)

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Every tensor beside the sources, by "GROUP/NAME"."""
        for group in GROUPS:
            for name, value in getattr(self, group).items():
                yield f"{group}/{name}", value
