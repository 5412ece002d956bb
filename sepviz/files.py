"""Problem files and result files: plain arrays and one JSON string in a .npz, never a pickle."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
import os
import platform
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sepviz.core import Problem, SepvizError, Step, Truth
from sepviz.mixing import Mixing

FORMAT = 1  # of the files; a file that says another number is refused


class Separation(NamedTuple):
    """What a run gave, as read from a file."""

    sources: Tensor  # (B, K, C, H, W)
    meta: dict[str, Any]
    extras: Mapping[str, Tensor] = MappingProxyType({})  # of the last step: filters (B, K, h, w), ...


class Partial(NamedTuple):
    """A run that was stopped: the mixtures that are done, and how far the next ones had come."""

    done: Tensor  # (n, K, C, H, W), n may be 0
    step: Step | None
    rng_state: Tensor | None  # of the generator, after that step
    meta: dict[str, Any]
    extras: Mapping[str, Tensor] = MappingProxyType({})  # of the mixtures that are done


# --- writing ------------------------------------------------------------------------------------


def check_target(path: str | Path, overwrite: bool = False) -> Path:
    """Refuse a path that cannot be written, before the long work whose result goes there.

    Raises
    ------
    SepvizError
        If the file is there already (unless ``overwrite``), or its folder is missing or read-only.
    """
    path = Path(path)
    if path.is_dir():
        raise SepvizError(f"cannot write {path}: it is a folder, give the name of a file")
    if path.exists() and not overwrite:
        raise SepvizError(f"{path} is there already: give another name, or --force (overwrite=True) to write over it")
    if not path.parent.is_dir():
        raise SepvizError(f"cannot write {path}: there is no folder {path.parent}")
    if not os.access(path.parent, os.W_OK):
        raise SepvizError(f"cannot write {path}: the folder {path.parent} is read-only")
    return path


def write(path: str | Path, writer: Callable[[BinaryIO], Any], overwrite: bool = False) -> Path:
    """Call ``writer(file)`` on a temporary file and put it in place at once: no half-written file is ever seen."""
    return write_all({Path(path): writer}, overwrite)[0]


def write_all(writers: Mapping[Path, Callable[[BinaryIO], Any]],
              overwrite: bool = False) -> list[Path]:
    """`write` for files that belong together, as weights and their card: all of them, or none."""
    with contextlib.ExitStack() as temporaries, together() as made:
        staged = []
        for path, writer in writers.items():
            check_target(path, overwrite)
            try:
                handle, temporary = tempfile.mkstemp(prefix=f".{path.name[:40]}.", dir=path.parent)
                temporaries.callback(Path(temporary).unlink, missing_ok=True)
                with os.fdopen(handle, "wb") as file:
                    writer(file)
                    file.flush()
                    os.fsync(file.fileno())
                umask = os.umask(0)
                os.umask(umask)
                os.chmod(temporary, 0o666 & ~umask)  # mkstemp's files are for their owner only
            except OSError as error:
                raise SepvizError(f"cannot write {path}: {error.strerror or error}") from None
            staged.append((temporary, path))
        for temporary, path in staged:
            try:
                os.replace(temporary, path)
            except OSError as error:
                raise SepvizError(f"cannot write {path}: {error.strerror or error}") from None
            made.append(path)
    return made


@contextlib.contextmanager
def together() -> Iterator[list[Path]]:
    """A list for the files that a block makes; they are removed if it fails, to block no other run."""
    made: list[Path] = []
    try:
        yield made
    except BaseException:
        for path in made:
            path.unlink(missing_ok=True)
        raise


def patiently(save: Callable[[], Any], told: list[str]) -> bool:
    """Save in mid-run: a save that fails is told on stderr, once, and does not end the run.

    Parameters
    ----------
    save : callable
    told : list of str
        What was told so far; one list for each run.

    Returns
    -------
    bool
        Whether it was saved.
    """
    from tqdm.auto import tqdm

    try:
        save()
    except (SepvizError, OSError) as error:
        if not told:
            tqdm.write(f"sepviz: note: {error}; the run goes on and tries again", file=sys.stderr)
        told.append(str(error))
        return False
    return True


@contextlib.contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold ``path`` while it is being made: another run that wants it is refused at once.

    The lock is on ``PATH.lock`` and ends with the process, however that ends. A system without such
    locks keeps the file after a crash, and it must be removed by hand.
    """
    try:
        import fcntl
    except ImportError:
        fcntl = None  # type: ignore[assignment]
    check_target(path, overwrite=True)
    place = path.with_name(path.name + ".lock")
    try:
        while True:
            if fcntl is None and os.name == "nt":
                place.unlink(missing_ok=True)  # Windows refuses that while another has it open
            handle = os.open(place, os.O_CREAT | os.O_RDWR | (os.O_EXCL if fcntl is None else 0))
            if fcntl is None or _locked(fcntl, handle, place):
                break
    except OSError as error:
        if not isinstance(error, FileExistsError | BlockingIOError) and os.name != "nt":
            raise SepvizError(f"cannot write {place}: {error.strerror or error}") from None
        raise SepvizError(f"{path} is being made by another run, which holds {place}: wait for it, "
                          "or choose another name; if there is no such run, remove that file") from None
    try:
        yield
    finally:
        if fcntl is None:
            os.close(handle)
        place.unlink(missing_ok=True)  # where it can be locked: before somebody else locks it
        if fcntl is not None:
            os.close(handle)


def _locked(fcntl: Any, handle: int, place: Path) -> bool:
    """Lock an open file; False if its last holder has removed it in between."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise
    except OSError:  # a file system without locks: go on as if alone
        return True
    if place.exists() and os.path.samestat(os.fstat(handle), place.stat()):
        return True
    os.close(handle)
    return False


def free_name(path: Path, *beside: str) -> Path:
    """``path``, or NAME-2, NAME-3, ... where it, or its like with one of these suffixes, is there."""
    number, free = 1, path
    while any(one.exists() for one in (free, *map(free.with_suffix, beside))):
        number += 1
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return free


def check_apart(outputs: Iterable[Path], inputs: Iterable[Path] = ()) -> None:
    """Refuse outputs of one name, and an output that is an input, by whatever name or link.

    Raises
    ------
    SepvizError
        Before anything is written: an input that is written over is lost.
    """
    def same(one: Path, other: Path) -> bool:
        if os.path.realpath(one) == os.path.realpath(other):
            return True
        return one.exists() and other.exists() and os.path.samefile(one, other)

    outputs, inputs = list(outputs), list(inputs)
    for number, output in enumerate(outputs):
        for other in inputs:
            if same(output, other):
                raise SepvizError(f"{output} would be written over {other}, "
                                  "which this command reads: "
                                  "give another name")
        for other in outputs[:number]:
            if same(output, other):
                raise SepvizError(f"{output} and {other} are one file: "
                                  "all outputs need names of their own")


def to_json(value: Any, **options: Any) -> str:
    """Valid JSON: a number that is not finite becomes null."""
    def plain(part: Any) -> Any:
        if isinstance(part, Mapping):
            return {name: plain(one) for name, one in part.items()}
        if isinstance(part, list | tuple):
            return [plain(one) for one in part]
        return None if isinstance(part, float) and not math.isfinite(part) else part

    return json.dumps(plain(value), allow_nan=False, **options)


def versions() -> dict[str, str]:
    """Of sepviz and of what its figures depend on."""
    import sepviz

    return {"sepviz": sepviz.__version__, "torch": str(torch.__version__), "numpy": np.__version__, "python": platform.python_version()}


def digest(images: Tensor) -> str:
    """The first 16 digits of the sha256 of a tensor's float32 bytes: tells one set of mixtures from another."""
    return hashlib.sha256(images.detach().cpu().to(torch.float32).contiguous().numpy().tobytes()).hexdigest()[:16]


def _save(path: str | Path, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any], overwrite: bool) -> Path:
    arrays = {**arrays, "meta": np.array(json.dumps({"format": FORMAT, **meta}))}
    return write(path, lambda file: np.savez(file, **arrays), overwrite)  # type: ignore[arg-type]


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().to(torch.float32).numpy()


def save_problem(path: str | Path, problem: Problem, truth: Truth | None = None, meta: Mapping[str, Any] | None = None, *,
                 labels: Tensor | None = None, overwrite: bool = False) -> Path:
    """Write mixtures and weights and, in the same file, what was mixed.

    Parameters
    ----------
    path : path
        ``problem.npz``: arrays ``mixtures`` (B, C, H, W) float32, ``weights`` (K,), ``sources``
        (B, K, C, H, W) float32 and ``labels`` (B, K) where they are known, and ``meta``, a JSON string;
        ``filter_size``, ``visible`` (H, W) and the true ``filters`` (B, K, h, w) where the problem has them.
    meta : dict, optional
        How the problem was made: data set, seed, protocol, ...
    """
    arrays = {"mixtures": _numpy(problem.mixtures), "weights": np.array(problem.mixing.weights)}
    if problem.mixing.filter_size is not None:
        arrays["filter_size"] = np.array(problem.mixing.filter_size)
    if problem.mixing.visible is not None:
        arrays["visible"] = problem.mixing.visible.cpu().numpy()
    if truth is not None:
        arrays["sources"] = _numpy(truth.sources)
        if truth.filters is not None:
            arrays["filters"] = _numpy(truth.filters)
    if labels is not None:
        arrays["labels"] = labels.cpu().numpy()
    return _save(path, arrays, {"kind": "problem", "versions": versions(), **(meta or {})}, overwrite)


def check_finite(sources: Tensor, first: int = 0) -> None:
    """Refuse sources (B, K, C, H, W) of a run that diverged; mixtures are numbered from ``first``."""
    bad = ~torch.isfinite(sources)
    if bool(bad.any()):
        item = first + int(bad.nonzero()[0, 0])
        raise SepvizError(f"sources of mixture {item} hold {float(sources[bad][0])}: "
                          "the run diverged; take smaller steps (--set) or another --preset, prior or method")


def save_separation(path: str | Path, sources: Tensor, meta: Mapping[str, Any], extras: Mapping[str, Tensor] | None = None, *,
                    overwrite: bool = False) -> Path:
    """Write separated sources (B, K, C, H, W), what else was found (filters, ...) and how, in a .npz.

    Raises
    ------
    SepvizError
        If a source is not finite: then the run diverged, and there is no result.
    """
    check_finite(sources)
    found = {name: _numpy(extra) for name, extra in (extras or {}).items()}
    return _save(path, {"sources": _numpy(sources), **found}, {"kind": "separation", "extras": sorted(found), **meta}, overwrite)


def save_partial(path: str | Path, partial: Partial) -> Path:
    """Write a stopped run over its earlier state; without its last step, if that diverged."""
    arrays = {"done": _numpy(partial.done)} | {f"done/{name}": _numpy(extra) for name, extra in partial.extras.items()}
    head = None
    step = partial.step
    if (step is not None and partial.rng_state is not None
            and bool(torch.isfinite(step.sources).all())):
        arrays |= {"step/sources": step.sources.cpu().numpy(), "step/rng": partial.rng_state.cpu().numpy()}
        arrays |= {f"step/extras/{name}": extra.detach().cpu().numpy() for name, extra in step.extras.items()}
        info = {name: float(value) for name, value in step.info.items()}
        head = {"index": step.index, "stage": step.stage, "extras": list(step.extras), "info": info}
    meta = {"kind": "partial", "step": head, "run": partial.meta, "extras": sorted(partial.extras)}
    return _save(path, arrays, meta, overwrite=True)


# --- reading ------------------------------------------------------------------------------------


def _read(path: Path) -> dict[str, np.ndarray]:
    """Every array of a .npz; that of a .npy as ``mixtures``."""
    if path.is_dir():
        raise SepvizError(f"cannot read {path}: it is a folder, give a file")
    if path.suffix.lower() not in (".npz", ".npy"):
        raise SepvizError(f"cannot read {path}: want a .npz, .npy or .png file")
    try:
        archive = np.load(path, allow_pickle=False)
        if isinstance(archive, np.ndarray):
            return {"mixtures": archive}
        with archive:
            return {name: archive[name] for name in archive.files}
    except OSError as error:
        raise SepvizError(f"cannot read {path}: {error.strerror or error}") from None
    except ValueError as error:
        if "Object arrays" in str(error):
            raise SepvizError(f"{path} holds Python objects, which are never loaded: save plain arrays of numbers") from None
        raise SepvizError(f"{path} is damaged or no NumPy file: save it again with numpy.savez") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, SyntaxError, NotImplementedError, RuntimeError, MemoryError):
        raise SepvizError(f"{path} is damaged or no NumPy file: save it again with numpy.savez") from None


def _meta(path: Path, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    if "meta" not in arrays:
        return {}
    try:
        meta = json.loads(str(arrays["meta"]))
    except json.JSONDecodeError:
        meta = None
    if not isinstance(meta, dict):
        raise SepvizError(f"{path}: its meta is no JSON object; save it again with sepviz")
    if meta.get("format", FORMAT) != FORMAT:
        raise SepvizError(f"{path} has format {meta['format']}, this sepviz reads {FORMAT}: use the sepviz that wrote it")
    return meta


def _floats(path: Path, name: str, array: np.ndarray) -> Tensor:
    """Numbers of any kind as float32."""
    if array.dtype.kind not in "fiub":
        raise SepvizError(f"{path}: {name} of type {array.dtype}: want numbers, float32 in [0, 1] at best")
    if array.size == 0:
        raise SepvizError(f"{path}: {name} of shape {array.shape} is empty")
    with np.errstate(over="ignore"):  # too large for float32 turns infinite, which is refused by its name later
        return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))


def _sources(path: Path, array: np.ndarray) -> Tensor:
    sources = _floats(path, "sources", array)
    if sources.ndim != 5:
        raise SepvizError(f"{path}: sources of shape {tuple(sources.shape)}: want (B, K, C, H, W)")
    bad = ~torch.isfinite(sources)
    if bool(bad.any()):
        raise SepvizError(f"{path}: sources of mixture {int(bad.nonzero()[0, 0])} hold {float(sources[bad][0])}: "
                          "every pixel must be a finite number")
    return sources


def _png(path: Path) -> Tensor:
    """A PNG as (C, H, W) in [0, 1]."""
    from PIL import Image

    try:
        with Image.open(path, formats=("PNG",)) as image:
            if image.mode in ("P", "PA"):
                image = image.convert("RGBA" if "transparency" in image.info else "RGB")  # type: ignore[assignment]
            if image.mode in ("LA", "RGBA"):
                if image.getchannel("A").getextrema() != (255, 255):
                    raise SepvizError(f"{path} has transparent pixels, which have no value: save it without transparency")
                image = image.convert(image.mode[:-1])  # type: ignore[assignment]
            if image.mode == "1":
                image = image.convert("L")  # type: ignore[assignment]
            most = 65535 if image.mode.startswith("I") else 255
            pixels = torch.from_numpy(np.asarray(image).astype(np.float32)) / most
    except FileNotFoundError:
        raise SepvizError(f"cannot read {path}: No such file or directory") from None
    except IsADirectoryError:
        raise SepvizError(f"cannot read {path}: it is a folder, give a file") from None
    except SepvizError:
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise SepvizError(f"{path} is damaged or no PNG: save it again as an 8 or 16 bit PNG") from None
    return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)


def resolve_weights(weights: Sequence[float] | str | None, count: int | None) -> Mixing | None:
    """The `Mixing` that the caller states; None where neither weights nor K are.

    Parameters
    ----------
    weights : "sum", "mean", K floats or None
    count : int or None
        The number K of sources.
    """
    if isinstance(weights, str) and weights not in ("sum", "mean"):
        raise SepvizError(f"weights {weights!r}: want sum, mean or K numbers")
    if weights is None or isinstance(weights, str):
        if count is None:
            return None
        if count < 1:
            raise SepvizError(f"K = {count} sources: want at least 1")
        return Mixing.mean(count) if weights == "mean" else Mixing.sum(count)
    mixing = Mixing(tuple(weights))
    if count is not None and count != mixing.count:
        raise SepvizError(f"{mixing.count} weights {mixing.weights} for K = {count} sources: give {count} weights, or sum or mean")
    return mixing


def _agree(path: Path, mixing: Mixing, weights: Sequence[float] | str | None, count: int | None) -> None:
    """Refuse weights or a K that are not those of the file."""
    if count is not None and count != mixing.count:
        raise SepvizError(f"{path} holds mixtures of K = {mixing.count} sources, {count} were asked for: leave K out or say {mixing.count}")
    stated = resolve_weights(weights, mixing.count) if weights is not None else None
    if stated is not None and not np.allclose(stated.weights, mixing.weights, rtol=1e-6, atol=0):
        raise SepvizError(f"{path} says weights {mixing.weights}, {stated.weights} were given: leave the weights out, or mend the file")


def _conditions(path: Path, arrays: Mapping[str, np.ndarray], filter_size: int | None, visible: Tensor | None) -> dict[str, Any]:
    """What the file and the caller say of filters and of what is seen; they must not disagree."""
    if "filter_size" in arrays:
        held = int(arrays["filter_size"])
        if filter_size not in (None, held):
            raise SepvizError(f"{path} says filter size {held}, {filter_size} was given: leave it out")
        filter_size = held
    if "visible" in arrays:
        mask = torch.from_numpy(arrays["visible"].astype(bool))
        if visible is not None and not torch.equal(mask, visible):
            raise SepvizError(f"{path} says what is visible, and something else was given: leave it out")
        visible = mask
    return {"filter_size": filter_size, "visible": visible}


def read_mask(words: str, height: int, width: int) -> Tensor:
    """``top-half``, or a PNG whose bright pixels (0.5 and more) are seen -> bool (height, width)."""
    from sepviz.tasks import top_half

    if words == "top-half":
        return top_half(height, width)
    if not words.lower().endswith(".png"):
        raise SepvizError(f"visible {words}: want top-half or a .png whose bright pixels are seen")
    mask = _png(Path(words)).mean(dim=0) >= 0.5
    if tuple(mask.shape) != (height, width):
        raise SepvizError(f"{words} is {mask.shape[0]}x{mask.shape[1]}: the mixtures are {height}x{width}")
    return mask


def load_problem(path: str | Path | Sequence[str | Path], *, weights: Sequence[float] | str | None = None,
                 count: int | None = None, filter_size: int | None = None,
                 visible: Tensor | None = None) -> tuple[Problem, Truth | None]:
    """Mixtures from a file, checked.

    Parameters
    ----------
    path : path or several
        A problem.npz as `save_problem` writes it; a bare .npz with an array ``mixtures`` of shape
        (B, H, W) or (B, C, H, W), or a .npy that is this array; or one or several PNGs of one size, gray
        or RGB, 8 or 16 bit (16 bit RGB is read with 8 bits), one mixture each. A PNG holds values
        v in [0, 1] only, so it is taken for the mean picture of the sources: the mixture is ``v * sum(weights)``.
    weights : "sum", "mean" or K floats, optional
        Of a file that does not say them ("sum" where left out); if it does, they must agree.
    count : int, optional
        The number K of sources; likewise.
    filter_size, visible : optional
        Of a file that does not say them, see `Mixing`; one that does must agree.

    Returns
    -------
    Problem, Truth or None
        On the CPU, float32.

    Raises
    ------
    SepvizError
        If the file is missing, damaged or foreign, holds anything but finite numbers in the range
        that the weights allow (0 to 255 is refused), or disagrees with ``weights`` or ``count``.
    """
    paths = [Path(item) for item in ([path] if isinstance(path, str | Path) else path)]
    if not paths:
        raise SepvizError("no input file: give a problem.npz, a .npy or PNG files")
    pictures = [item.suffix.lower() == ".png" for item in paths]
    if len(paths) > 1 and not all(pictures):
        raise SepvizError(f"{paths[pictures.index(False)]} among {len(paths)} files: several files must all be PNG; "
                          "give one .npz or .npy at a time")
    first, truth = paths[0], None
    if all(pictures):
        images = [_png(item) for item in paths]
        for item, image in zip(paths, images, strict=True):
            if image.shape != images[0].shape:
                raise SepvizError(f"{item} has (C, H, W) = {tuple(image.shape)}, {first} has {tuple(images[0].shape)}: "
                                  "mixtures must be of one size")
        arrays: dict[str, np.ndarray] = {}
        mixtures = torch.stack(images)
    else:
        arrays = _read(first)
        if "mixtures" not in arrays:
            held = ", ".join(arrays) or "nothing"
            raise SepvizError(f"{first} holds no array mixtures (it holds {held}): give a problem, as sepviz mix writes it")
        _meta(first, arrays)
        mixtures = _floats(first, "mixtures", arrays["mixtures"])
        if mixtures.ndim not in (3, 4):
            raise SepvizError(f"{first}: mixtures of shape {tuple(mixtures.shape)}: want (B, H, W) or (B, C, H, W)")
        if mixtures.ndim == 4 and mixtures.shape[1] > 4 >= mixtures.shape[3]:
            raise SepvizError(f"{first}: mixtures of shape {tuple(mixtures.shape)} have their channels last: "
                              "move that axis, to (B, C, H, W)")
        mixtures = mixtures[:, None] if mixtures.ndim == 3 else mixtures
    if "weights" in arrays:
        held_weights = _floats(first, "weights", arrays["weights"])
        if held_weights.ndim != 1:
            raise SepvizError(f"{first}: weights of shape {tuple(held_weights.shape)}: want (K,)")
        mixing = Mixing(tuple(arrays["weights"].tolist()))
        _agree(first, mixing, weights, count)
    else:
        stated = resolve_weights(weights, count)
        if stated is None:
            raise SepvizError(f"{first} does not say of how many sources it is mixed: give K (--sources) or the weights (--weights)")
        mixing = stated
    mixing = dataclasses.replace(mixing, **_conditions(first, arrays, filter_size, visible))
    if all(pictures):
        if abs(sum(mixing.weights)) < 1e-6:
            raise SepvizError(f"weights {mixing.weights} sum to 0, and a PNG can only hold the mean picture of the sources: give a .npy")
        mixtures = mixtures * sum(mixing.weights)
    most = float(mixtures.nan_to_num(0, 0, 0).amax())
    high = sum(max(weight, 0.0) for weight in mixing.weights)
    if most > high + max(1.0, sum(map(abs, mixing.weights))):
        raise SepvizError(f"{first}: mixtures reach {most:g}, sources in [0, 1] with weights {mixing.weights} reach {high:g}: "
                          "if these are images of 0 to 255, divide them by 255")
    mixing.check(mixtures, solves_filters=True, fills_in=True)
    if mixing.visible is not None:
        mixtures = mixtures * mixing.visible
    if "sources" in arrays:
        sources = _sources(first, arrays["sources"])
        want = (len(mixtures), mixing.count, *mixtures.shape[1:])
        if tuple(sources.shape) != want:
            raise SepvizError(f"{first}: sources of shape {tuple(sources.shape)} beside {len(mixtures)} mixtures: want {want}")
        truth = Truth(sources, _floats(first, "filters", arrays["filters"]) if "filters" in arrays else None)
    return Problem(mixtures, mixing), truth


def load_separation(path: str | Path) -> Separation:
    """The sources that `save_separation` wrote, and how they came about."""
    path = Path(path)
    arrays = _read(path)
    meta = _meta(path, arrays)
    if meta.get("kind") == "partial":
        raise SepvizError(f"{path} is of a run that was stopped: give its sepviz separate command again to finish it")
    if "mixtures" in arrays:  # whose sources are the truth: scored as a result, they would be perfect
        raise SepvizError(f"{path} is a problem, not a result: give what sepviz separate wrote")
    if "sources" not in arrays:
        raise SepvizError(f"{path} holds no array sources (it holds {', '.join(arrays) or 'nothing'}): give what sepviz separate wrote")
    extras = {name: _floats(path, name, arrays[name]) for name in meta.get("extras", []) if name in arrays}
    return Separation(_sources(path, arrays["sources"]), meta, extras)


def load_partial(path: str | Path) -> Partial:
    """The stopped run that `save_partial` wrote."""
    path = Path(path)
    arrays = _read(path)
    meta = _meta(path, arrays)
    try:
        if meta["kind"] != "partial":
            raise KeyError("kind")
        head, step, rng_state = meta["step"], None, None
        if head is not None:
            extras = {name: torch.from_numpy(arrays[f"step/extras/{name}"]) for name in head["extras"]}
            step = Step(head["index"], head["stage"], torch.from_numpy(arrays["step/sources"]), extras, head["info"])
            rng_state = torch.from_numpy(arrays["step/rng"])
        extras = {name: torch.from_numpy(arrays[f"done/{name}"]) for name in meta.get("extras", [])}
        return Partial(torch.from_numpy(arrays["done"]), step, rng_state, meta["run"], extras)
    except (KeyError, TypeError):
        raise SepvizError(f"{path} is not the partial result of a stopped run: move it away, or choose another --out") from None
