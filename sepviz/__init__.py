"""sepviz: watch a mixture come apart.

    problem, truth = sepviz.tasks.separate("strokes", count=4)
    trace = sepviz.record(sepviz.SplitGibbs(sepviz.load_prior("score-strokes")), problem)
    sepviz.Player(trace, truth)
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

# Loaded when first asked for: `import sepviz` costs nothing beyond torch, and the widgets' libraries
# are only needed where widgets are.
_HOMES = {
    "Examples": "core", "Problem": "core", "Truth": "core", "Separator": "core", "Step": "core", "SepvizError": "core", "parameter": "core",
    "Mixing": "core",
    "AdversarialMask": "separators", "Average": "separators", "Basis": "separators", "Cnn": "separators", "Constant": "separators",
    "ConvNmf": "separators", "Egg": "separators", "Glo": "separators", "GloMasking": "separators", "Mask": "separators",
    "Nmf": "separators", "Remix": "separators", "RemixTree": "separators", "Rpca": "separators",
    "SplitGibbs": "separators", "SsNmf": "separators",
    "Supervised": "separators", "Synthesis": "separators",
    "CnnRegressor": "priors", "DictionaryPrior": "priors", "GanPrior": "priors", "GaussianPrior": "priors",
    "MaskNetwork": "priors", "ScorePrior": "priors",
    "State": "runs", "Trace": "runs", "record": "runs", "recorded": "runs", "restore": "runs",
    "save_gif": "views.gif", "save_page": "views.page",
    "Compare": "widgets", "Explore": "widgets", "Guess": "widgets", "KernelPad": "widgets",
    "Leaderboard": "widgets",
    "LiveRun": "widgets", "Player": "widgets",
    "Posterior": "widgets", "SketchPad": "widgets", "Workbench": "widgets",
}
_MODULES = {name: name for name in ("bench", "cli", "core", "course", "data", "files", "metrics", "priors", "runs",
                                    "separators", "tasks", "training", "views", "widgets", "zoo")}
_MODULES |= {"exercises": "course", "figures": "views.figures"}  # short names, for labs

__all__ = ["default_device", "load_prior", *_HOMES, *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"sepviz.{_HOMES[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"sepviz.{_MODULES[name]}")
    raise AttributeError(f"module 'sepviz' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def load_prior(name: str, device: Any = None) -> Any:
    """A shipped prior by name, or one of your own by the path of its ``.safetensors`` file.

    Parameters
    ----------
    name : str
        See ``sepviz.zoo.names()``.
    device : str or torch.device, optional
        `default_device()` where left out.
    """
    from sepviz import zoo

    return zoo.load(name, default_device() if device is None else device)


def default_device(name: str | None = None) -> Any:
    """The device of this name (cpu, cuda, auto); without one, of ``SEPVIZ_DEVICE``'s, and the CPU where it names none."""
    import os

    import torch

    from sepviz.core import SepvizError

    name = os.environ.get("SEPVIZ_DEVICE", "cpu") if name is None else name
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise SepvizError(f"device {name!r}: choose cpu, cuda or auto") from None
    if device.type not in ("cpu", "cuda"):
        raise SepvizError(f"device {name!r}: choose cpu, cuda or auto")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SepvizError("device cuda: no GPU is available to torch; choose cpu or auto")
    return device
