"""Shipped weights: a name, a safetensors file, its hash and a card that says how it was made."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, NoReturn

import torch

from sepviz import files
from sepviz.core import LatentModel, ScoreModel, SepvizError, shown
from sepviz.priors import CnnRegressor, DictionaryPrior, GanPrior, MaskNetwork, ScorePrior
from sepviz.suggest import nearest

FOLDER = Path(__file__).parent / "zoo"
KINDS: dict[str, type[torch.nn.Module]] = {
    "cnn": CnnRegressor, "dictionary": DictionaryPrior, "gan": GanPrior, "mask": MaskNetwork,
    "score": ScorePrior}
OFFERS: dict[Any, str] = {ScoreModel: "denoise", LatentModel: "decode"}  # what tells them apart


def names() -> list[str]:
    """The names of the shipped priors."""
    return sorted(path.stem for path in FOLDER.glob("*.safetensors"))


def card(name: str) -> dict[str, Any]:
    """Command, data, seed, minutes and held-out figures of a shipped prior."""
    return json.loads((FOLDER / f"{_known(name)}.json").read_text())


def _known(name: str) -> str:
    if name not in names():
        raise SepvizError(f"no prior {name!r}: {nearest(name, names())} Or give the path of a "
                          ".safetensors file")
    return name


def digest(prior: Any) -> str | None:
    """A fingerprint of a network's weights; None for a prior without weights."""
    if not isinstance(prior, torch.nn.Module):
        return None
    return files.fingerprint(part for item in prior.state_dict().items() for part in item)


def kind_of(prior: Any) -> str:
    """The name in `KINDS` of a prior's class."""
    return next(name for name, cls in KINDS.items() if isinstance(prior, cls))


def kind(name: str) -> type[torch.nn.Module]:
    """The class of a shipped prior, without loading its weights."""
    from safetensors import safe_open

    with safe_open(FOLDER / f"{_known(name)}.safetensors", "pt") as file:
        return KINDS[file.metadata().get("kind", "score")]


def names_for(method: str, wanted: Any) -> list[str]:
    """The shipped priors that a method can use: those named after it, else all that fit."""
    kinds = {name: kind(name) for name in names()}
    able = [name for name, cls in kinds.items()
            if (hasattr(cls, OFFERS[wanted]) if wanted in OFFERS else issubclass(cls, wanted))]
    return [name for name in able if name.startswith(f"{method}-")] or able


def save(prior: torch.nn.Module, path: str | Path, facts: dict[str, Any]) -> Path:
    """Write weights as safetensors and, beside them, the card with their hash; both or neither.

    Weights are of float16, or of float32 where a tensor is too large for that.

    Parameters
    ----------
    path : path
        ``NAME.safetensors``; nothing is written over.
    facts : dict
        What the card says besides; a number that is not finite becomes null.

    Raises
    ------
    SepvizError
        If a weight is not finite, or a file is there or cannot be written.
    """
    from safetensors.torch import save as to_bytes

    path = Path(path).with_suffix(".safetensors")
    weights = {}
    for key, value in prior.state_dict().items():
        _check_finite(path, key, value)
        half = value.detach().half()
        fits = bool(torch.isfinite(half).all())
        weights[key] = (half if fits else value.detach().float()).cpu().contiguous()
    path.parent.mkdir(parents=True, exist_ok=True)
    settings: Any = prior.settings
    data = to_bytes(weights, {"kind": kind_of(prior), "settings": json.dumps(settings())})
    facts = {**facts, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    text = files.to_json(facts, indent=1) + "\n"
    return files.write_all({path: lambda file: file.write(data),
                            path.with_suffix(".json"): lambda file: file.write(text.encode())})[0]


def _check_finite(path: Path, name: str, value: torch.Tensor) -> None:
    bad = ~torch.isfinite(value)
    if bool(bad.any()):
        raise SepvizError(f"{path}: weights {name} hold {float(value[bad][0])}: the training "
                          "diverged; train again with another seed or a smaller learning rate")


def _read_json(text: str) -> Any:
    """JSON without NaN and Infinity: Python reads them, but they are not JSON."""
    def refuse(word: str) -> NoReturn:
        raise ValueError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


def path_of(name: str) -> Path:
    """Where the weights of a name of the zoo, or of a path, are."""
    return Path(name) if name.endswith(".safetensors") else FOLDER / f"{name}.safetensors"


def load(name: str, device: str | torch.device = "cpu") -> Any:
    """A trained prior, ready to use.

    Parameters
    ----------
    name : str
        A name of the zoo, or the path of a ``.safetensors`` file.

    Raises
    ------
    SepvizError
        If the file is missing or damaged, is not the one that its card names by its hash, or holds
        weights that are not finite.
    """
    path = path_of(name if name.endswith(".safetensors") else _known(name))
    if not path.is_file():
        raise SepvizError(f"no weights at {path}: check the path, or choose one of "
                          f"{', '.join(names())}")
    _check_hash(path)
    return _read(path).to(device).eval().requires_grad_(False)


def _check_hash(path: Path) -> None:
    """Refuse weights of another hash than the card beside them says, if there is one."""
    beside = path.with_suffix(".json")
    if not beside.is_file():
        return
    try:
        want = _read_json(beside.read_text(encoding="utf-8"))["sha256"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise SepvizError(f"{beside} is damaged or no card: fetch it again with {path.name}, "
                          "or remove it") from None
    got = hashlib.sha256(path.read_bytes()).hexdigest()
    if want != got:
        raise SepvizError(f"{path.name} has sha256 {got[:12]}..., its card says "
                          f"{shown(want)[:13]}...: the file is damaged or another; fetch it again")


def _read(path: Path) -> torch.nn.Module:
    """A prior of the kind, settings and weights that a file holds."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            cls = KINDS[file.metadata().get("kind", "score")]
            settings = _read_json(file.metadata()["settings"])
            weights = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118
        with torch.device("meta"):  # sizes alone: settings could ask for any memory
            cls(**settings).load_state_dict(weights, assign=True)
        prior = cls(**settings)
        prior.load_state_dict(weights)
    except (SafetensorError, KeyError, TypeError, RuntimeError, ValueError, AttributeError,
            IndexError, OverflowError) as error:
        reason = str(error).splitlines()[0]
        raise SepvizError(f"{path} holds no weights of a prior ({reason}): train them with "
                          "sepviz train") from None
    for key, value in weights.items():
        _check_finite(path, key, value)
    return prior
