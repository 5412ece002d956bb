"""sepviz: watch a mixture come apart.

    problem, truth = sepviz.tasks.separate("strokes", count=4)
    trace = sepviz.record(sepviz.SplitGibbs(sepviz.load_prior("score-strokes")), problem)
    sepviz.Player(trace, truth)
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

# Loaded when first asked for: `import sepviz` costs nothing, not even torch, and the widgets'
# libraries are only needed where widgets are.
_PUBLIC = {
    "core": "Examples Mixing Problem Separator SepvizError Step Truth parameter",
    "separators": "AdversarialMask Average Basis Cnn Constant ConvNmf Egg Glo GloMasking Mask Nmf "
                  "Remix RemixTree Rpca SplitGibbs SsNmf Supervised Synthesis",
    "priors": "CnnRegressor DictionaryPrior GanPrior GaussianPrior MaskNetwork ScorePrior",
    "runs": "Recipe State Trace record recorded restore",
    "views.gif": "save_gif",
    "views.page": "save_page",
    "widgets": "Compare Explore Guess KernelPad Leaderboard LiveRun Player Posterior SketchPad "
               "Workbench",
}
_HOMES = {name: home for home, names in _PUBLIC.items() for name in names.split()}
_ROOMS = ("bench", "cli", "core", "course", "data", "files", "metrics", "priors", "runs",
          "separators", "tasks", "training", "views", "widgets", "zoo")
_MODULES = {room: room for room in _ROOMS}
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
    """The device of this name, or of that in ``SEPVIZ_DEVICE``, or the CPU.

    Parameters
    ----------
    name : {"cpu", "cuda", "auto"}, optional
        ``auto`` is the GPU where there is one.
    """
    import os

    import torch

    from sepviz.core import SepvizError

    name = os.environ.get("SEPVIZ_DEVICE", "cpu") if name is None else name
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise SepvizError(f"device {name!r}: choose cpu, cuda or auto")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SepvizError("device cuda: no GPU is available to torch; choose cpu or auto")
    return device
