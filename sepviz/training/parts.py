"""The parts of a training (modules, optimisers, tensors) as the state of a step, and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from sepviz.core import SepvizError, Step

Parts = dict[str, Any]  # by name


def held(parts: Parts) -> Iterator[tuple[str, Tensor]]:
    """Copies of all tensors in the parts, by "PART/NAME"."""
    for name, part in parts.items():
        if isinstance(part, Tensor):
            yield name, part.clone()
        elif isinstance(part, Optimizer):
            for number, kept in part.state_dict()["state"].items():
                yield from ((f"{name}/{number}/{key}", value.clone())
                            for key, value in kept.items())
        else:
            yield from ((f"{name}/{key}", value.detach().clone())
                        for key, value in part.state_dict().items())


def load(parts: Parts, step: Step) -> None:
    """Give the parts the tensors that `held` took from the like.

    Raises
    ------
    SepvizError
        If the step's state is of other parts.
    """
    try:
        for name, part in parts.items():
            found = {key.removeprefix(f"{name}/"): value.clone()
                     for key, value in step.state.items()
                     if key.startswith(f"{name}/")}
            if isinstance(part, Tensor):
                parts[name] = step.state[name].clone().reshape(part.shape)
            elif isinstance(part, nn.Module):
                part.load_state_dict(found)
            else:
                _load_moments(part, found)
    except (RuntimeError, KeyError, ValueError, TypeError, AttributeError):
        raise SepvizError(f"step {step.index} ({step.stage}): its weights do not fit; "
                          "it is of another training, or damaged") from None


def _load_moments(optimizer: Optimizer, found: Mapping[str, Tensor]) -> None:
    whole = optimizer.state_dict()
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for path, value in found.items():
        number, key = path.split("/")
        state.setdefault(int(number), {})[key] = value
        if value.ndim and value.shape != weights[int(number)].shape:
            raise ValueError(path)
    if state and set(state) != set(range(len(weights))):
        raise KeyError("moments")
    optimizer.load_state_dict({**whole, "state": state})
