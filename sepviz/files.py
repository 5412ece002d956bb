"""Problem files and result files: plain arrays and one JSON string in a .npz, never a pickle."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import math
import os
import platform
import shutil
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sepviz.core import CONTROL, GROUPS, NOTHING, Mixing, Problem, SepvizError, Step, Truth, shown

IMAGES = ("B", "K", "C", "H", "W")  # the shape of sources
# Version 0.1 wrote all of a step's tensors in one group; by their names they belong to these.
OLD_GROUPS = {"shown": ("prior_force", "data_force", "noise"), "results": ("filters", "start_error", "answer_loss")}
FORMAT = 1  # of the files; a file that says another number is refused
LARGEST = 4 * 2**30  # bytes of numbers read from one file: a small .npz may claim any amount


class Separation(NamedTuple):
    """What a run gave, as read from a file."""

    sources: Tensor  # (B, K, C, H, W)
    meta: dict[str, Any]
    results: Mapping[str, Tensor] = NOTHING  # of the last step: filters (B, K, h, w), ...


class Partial(NamedTuple):
    """A run that was stopped: the mixtures that are done, and how far the next ones had come."""

    done: Tensor  # (n, K, C, H, W), n may be 0
    step: Step | None
    rng_state: Tensor | None  # of the generator, after that step
    meta: dict[str, Any]
    results: Mapping[str, Tensor] = NOTHING  # of the mixtures that are done


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


@contextlib.contextmanager
def fresh_folder(folder: Path) -> Iterator[Path]:
    """A folder to write into that takes the name ``folder`` at the end, with all that is in it.

    A full disk or Ctrl-C leaves nothing behind, so the same command can be given again.
    """
    temporary = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name[:40]}.", dir=folder.parent))
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o777 & ~umask)  # mkdtemp's folders are for their owner only
        temporary.rename(folder)
    except OSError as error:
        raise SepvizError(f"cannot write {folder}: {error.strerror or error}") from None
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


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
    problem.mixing.check_form(problem.mixtures)
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


def save_separation(path: str | Path, sources: Tensor, meta: Mapping[str, Any], results: Mapping[str, Tensor] = NOTHING, *,
                    overwrite: bool = False) -> Path:
    """Write separated sources (B, K, C, H, W), what else was found (filters, ...) and how, in a .npz.

    Raises
    ------
    SepvizError
        If a source is not finite: then the run diverged, and there is no result.
    """
    check_finite(sources)
    found = {name: _numpy(extra) for name, extra in results.items()}
    return _save(path, {"sources": _numpy(sources), **found}, {"kind": "separation", "extras": sorted(found), **meta}, overwrite)


def save_partial(path: str | Path, partial: Partial) -> Path:
    """Write a stopped run over its earlier state; without its last step, if that diverged."""
    arrays = {"done": _numpy(partial.done)} | {f"done/{name}": _numpy(extra) for name, extra in partial.results.items()}
    head = None
    step = partial.step
    if (step is not None and partial.rng_state is not None
            and bool(torch.isfinite(step.sources).all())):
        arrays |= {"step/sources": step.sources.cpu().numpy(), "step/rng": partial.rng_state.cpu().numpy()}
        arrays |= {f"step/{name}": value.detach().cpu().numpy() for name, value in step.tensors()}
        head = head_of(step)
    meta = {"kind": "partial", "step": head, "run": partial.meta, "extras": sorted(partial.results)}
    return _save(path, arrays, meta, overwrite=True)


# --- reading ------------------------------------------------------------------------------------


def read(path: Path) -> dict[str, np.ndarray]:
    """Every array of a .npz; that of a .npy as ``mixtures``; each as long as it says, read-only."""
    try:
        with open(path, "rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy's, of headers that look old
            if file.read(6) == np.lib.format.MAGIC_PREFIX:
                _not_too_large(path, os.fstat(file.fileno()).st_size)
                file.seek(0)
                return {"mixtures": _array(file.read())}
            with zipfile.ZipFile(file) as archive:
                entries = [entry for entry in archive.infolist() if entry.filename.endswith(".npy")]
                _not_too_large(path, sum(entry.file_size for entry in entries))
                found = {entry.filename.removesuffix(".npy"): _array(archive.read(entry))
                         for entry in entries}
        if len(found) < len(entries):
            raise ValueError("a name is there twice")
        return found
    except SepvizError as error:
        raise SepvizError(f"{path} {error}") from None
    except IsADirectoryError:
        raise SepvizError(f"cannot read {path}: it is a folder, give a file") from None
    except OSError as error:
        raise SepvizError(f"cannot read {path}: {error.strerror or error}") from None
    except MemoryError:
        raise SepvizError(f"{path} is too large for the memory here: give it in parts") from None
    except Exception:  # zipfile, zlib and NumPy raise a dozen kinds of error over foreign bytes
        raise SepvizError(f"{path} is damaged or no NumPy file: save it again with numpy.savez") from None


def _not_too_large(path: Path, size: int) -> None:
    if size > LARGEST:
        raise SepvizError(f"claims {size / 2**30:.3g} GiB of numbers: at most {LARGEST / 2**30:g} "
                          "are read, give it in parts")


def _array(data: bytes) -> np.ndarray:
    """The array of a .npy, if it is as long as its header says."""
    file = io.BytesIO(data)
    numpy = np.lib.format
    header = {(1, 0): numpy.read_array_header_1_0, (2, 0): numpy.read_array_header_2_0}
    shape, fortran, kind = header[numpy.read_magic(file)](file)
    if kind.hasobject:
        raise SepvizError("holds Python objects, which are never loaded: save plain arrays of "
                          "numbers")
    begin = file.tell()
    whole = len(data) == begin + math.prod(shape) * kind.itemsize
    if kind.names is not None or kind.itemsize == 0 or not whole:
        raise ValueError("not as long as its header says")
    flat = np.frombuffer(data, kind, offset=begin)
    return flat.reshape(shape, order="F" if fortran else "C")


def holds(path: str | Path, name: str) -> bool:
    """Whether a .npz has an array of this name; its numbers are not read."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return f"{name}.npy" in archive.namelist()


def read_meta(path: Path, arrays: Mapping[str, np.ndarray], kind: str = "format") -> dict[str, Any]:
    """The JSON object of a file, empty where there is none; its field ``kind`` says the format."""
    if "meta" not in arrays:
        return {}
    try:
        meta = json.loads(arrays["meta"].item())
    except (ValueError, TypeError, RecursionError, SystemError):  # 5,000 digits, no letters, ...
        meta = None
    if not isinstance(meta, dict):
        raise SepvizError(f"{path}: its meta is no JSON object; save it again with sepviz")
    if meta.get(kind, FORMAT) != FORMAT:
        raise SepvizError(f"{path} has format {shown(meta[kind])}, this sepviz reads {FORMAT}: "
                          "use the sepviz that wrote it")
    return meta


def field(path: Path, meta: Mapping[str, Any], name: str, kind: type, *,
          finite: bool = True) -> Any:
    """``meta[name]``, if it is of this type: a finite number unless said, text on one line, ..."""
    value: Any = meta.get(name)
    if value is None and kind is float and not finite:
        return math.nan
    if kind is int:
        good = type(value) is int and abs(value) < 2**63
    elif kind is float:
        good = type(value) in (int, float) and abs(value) < 1e300
        good = good or (not finite and type(value) is float)
    else:
        good = isinstance(value, kind) and not (isinstance(value, str) and CONTROL.search(value))
    if not good:
        raise SepvizError(f"{path}: its meta says {name} {shown(value)}: the file is damaged, "
                          "save it again with sepviz")
    return value


def tensor(path: Path, arrays: Mapping[str, np.ndarray], name: str,
           shape: Sequence[int | str] | None = None, *, finite: bool = True,
           kinds: str = "fiub") -> Tensor:
    """An array of a file as a tensor of its own, its type kept.

    Parameters
    ----------
    shape : sequence of int or str, optional
        What it must be; None for a length that may be any.
    finite : bool
        Refuse infinite numbers; what is not a number is always refused.
    kinds : str
        NumPy's letters of the types that are good.
    """
    if name not in arrays:
        raise SepvizError(f"{path} holds no array {name}: it is damaged or of another kind")
    array = arrays[name]
    if array.dtype.kind not in kinds:
        raise SepvizError(f"{path}: {name} of type {array.dtype}: want numbers, float32 in [0, 1] "
                          "at best")
    if shape is not None and (array.ndim != len(shape) or any(
            isinstance(want, int) and want != length
            for want, length in zip(shape, array.shape, strict=True))):
        raise SepvizError(f"{path}: {name} of shape {array.shape}: want "
                          f"({', '.join(map(str, shape))}{',' * (len(shape) == 1)})")
    if array.dtype.kind == "f":
        bad = ~np.isfinite(array) if finite else np.isnan(array)
        if bad.any():
            raise SepvizError(f"{path}: {name} hold {array[bad][0]} at "
                              f"{tuple(int(at[0]) for at in bad.nonzero())}: "
                              "every number must be finite")
    native = array.dtype.newbyteorder("=")
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        native = np.dtype(np.float64)
    return torch.from_numpy(array.astype(native, order="C"))


def _floats(path: Path, arrays: Mapping[str, np.ndarray], name: str,
            shape: Sequence[int | str] | None = None) -> Tensor:
    """Numbers of any kind as float32."""
    if name in arrays and arrays[name].size == 0:
        raise SepvizError(f"{path}: {name} of shape {arrays[name].shape} is empty")
    found = tensor(path, arrays, name, shape).to(torch.float32)
    if not bool(torch.isfinite(found).all()):
        raise SepvizError(f"{path}: {name} hold numbers that are infinite in float32: every "
                          "number must be finite")
    return found


def _png(path: Path) -> Tensor:
    """A PNG as (C, H, W) in [0, 1]."""
    from sepviz.data.picture import DEEP, read_picture

    picture, more = read_picture(path, ("PNG",))
    if more:
        raise SepvizError(f"{path} has {more + 1} frames: save the one that is meant by itself")
    most = 65535 if picture.mode.startswith(DEEP) else 255
    pixels = torch.from_numpy(np.asarray(picture).astype(np.float32)) / most
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
        return Mixing.mean(count) if weights == "mean" else Mixing.sum(count)
    mixing = Mixing(weights)  # type: ignore[arg-type]
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
        held = tensor(path, arrays, "filter_size", (), kinds="iuf").item()
        if filter_size is not None and filter_size != held:
            raise SepvizError(f"{path} says filter size {held}, {shown(filter_size)} was given: "
                              "leave it out")
        filter_size = held  # type: ignore[assignment]  # 5.7 is for `Mixing` to refuse
    if "visible" in arrays:
        values = tensor(path, arrays, "visible", ("H", "W"))
        mask = values == 1
        if not bool((mask | (values == 0)).all()):
            odd = float(values[~mask & (values != 0)][0])
            raise SepvizError(f"{path}: visible holds {odd:g}: want true or 1 where the mixtures "
                              "are seen, else false or 0")
        if visible is not None and not (
                isinstance(visible, Tensor) and torch.equal(mask, visible.cpu())):
            raise SepvizError(f"{path} says what is visible, and something else was given: leave it out")
        visible = mask
    return {"filter_size": filter_size, "visible": visible}


def read_mask(words: str, height: int, width: int) -> Tensor:
    """``top-half``, or a PNG whose bright pixels (0.5 and more) are seen -> bool (height, width)."""
    from sepviz.core.mixing import top_half

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
        if first.suffix.lower() not in (".npz", ".npy") and not first.is_dir():
            raise SepvizError(f"cannot read {first}: want a .npz, .npy or .png file")
        arrays = read(first)
        if "mixtures" not in arrays:
            held = ", ".join(arrays) or "nothing"
            raise SepvizError(f"{first} holds no array mixtures (it holds {held}): give a problem, as sepviz mix writes it")
        read_meta(first, arrays)
        mixtures = _mixtures(first, arrays)
    if "weights" in arrays:
        held_weights = tensor(first, arrays, "weights", ("K",), kinds="fiu").tolist()
        mixing = Mixing(held_weights)  # type: ignore[arg-type]
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
        truth = _truth(first, arrays, mixing, mixtures)
    return Problem(mixtures, mixing), truth


def _mixtures(path: Path, arrays: Mapping[str, np.ndarray]) -> Tensor:
    """The array mixtures, (B, H, W) or (B, C, H, W), as (B, C, H, W)."""
    mixtures = _floats(path, arrays, "mixtures")
    shape = tuple(mixtures.shape)
    if mixtures.ndim not in (3, 4):
        raise SepvizError(f"{path}: mixtures of shape {shape}: want (B, H, W) or (B, C, H, W)")
    if mixtures.ndim == 3 and shape[2] <= 4 < min(shape[:2]):
        raise SepvizError(f"{path}: mixtures of shape {shape} look like one image with its "
                          "channels last: "
                          "give (1, C, H, W), array.transpose(2, 0, 1)[None]")
    if mixtures.ndim == 4 and shape[1] > 4 >= shape[3]:
        raise SepvizError(f"{path}: mixtures of shape {shape} have their channels last: "
                          "give (B, C, H, W), array.transpose(0, 3, 1, 2)")
    return mixtures[:, None] if mixtures.ndim == 3 else mixtures


def _truth(path: Path, arrays: Mapping[str, np.ndarray], mixing: Mixing, mixtures: Tensor) -> Truth:
    """The sources of a problem's mixtures, and their filters if there are any."""
    batch, count, filters = len(mixtures), mixing.count, None
    sources = _floats(path, arrays, "sources", (batch, count, *mixtures.shape[1:]))
    if "filters" in arrays:
        filters = _floats(path, arrays, "filters", (batch, count, "h", "w"))
        sides = filters.shape[2:]
        if not (sides[0] % 2 and sides[1] % 2) or max(sides) > (mixing.filter_size or 0):
            raise SepvizError(f"{path}: filters of {sides[0]}x{sides[1]} beside filter size "
                              f"{mixing.filter_size}: "
                              "want odd sides of at most that size")
    if "labels" in arrays:
        tensor(path, arrays, "labels", (batch, count), kinds="iu")
    return Truth(sources, filters)


def load_meta(path: str | Path) -> dict[str, Any]:
    """What a problem's or a result's file says of itself."""
    return read_meta(Path(path), read(Path(path)))


def load_separation(path: str | Path) -> Separation:
    """The sources that `save_separation` wrote, and how they came about."""
    path = Path(path)
    arrays = read(path)
    meta = read_meta(path, arrays)
    if meta.get("kind") == "partial":
        raise SepvizError(f"{path} is of a run that was stopped: give its sepviz separate command again to finish it")
    if "mixtures" in arrays:  # whose sources are the truth: scored as a result, they would be perfect
        raise SepvizError(f"{path} is a problem, not a result: give what sepviz separate wrote")
    if "sources" not in arrays:
        raise SepvizError(f"{path} holds no array sources (it holds {', '.join(arrays) or 'nothing'}): give what sepviz separate wrote")
    sources = _floats(path, arrays, "sources", IMAGES)
    extras = {name: tensor(path, arrays, name, finite=name != "start_error").float()
              for name in (names(path, meta, "extras") if "extras" in meta else [])}
    check_results(path, extras, sources)
    return Separation(sources, meta, extras)


def names(path: Path, meta: Mapping[str, Any], name: str) -> list[str]:
    """``meta[name]`` as a list of names, none twice."""
    found = field(path, meta, name, list)
    good = all(isinstance(one, str) and not CONTROL.search(one) for one in found)
    if not good or len(set(found)) < len(found):
        raise SepvizError(f"{path}: its meta says {name} {shown(found)}: the file is damaged, "
                          "save it again with sepviz")
    return found


def check_results(path: Path, results: Mapping[str, Tensor], sources: Tensor) -> None:
    """Refuse results that do not fit the sources that they were found beside."""
    batch, count = sources.shape[:2]
    for name, found in results.items():
        shape = tuple(found.shape)
        fits = shape[:1] == (batch,)
        if name == "filters":
            fits = len(shape) == 4 and shape[:2] == (batch, count) and all(side % 2 for side in shape[2:])
        _fit(path, name, found, sources, fits)


def _fit(path: Path, name: str, found: Tensor, sources: Tensor, fits: bool) -> None:
    if not fits:
        raise SepvizError(f"{path}: {name} of shape {tuple(found.shape)} beside sources of shape "
                          f"{tuple(sources.shape)}: they do not fit")


def head_of(step: Step) -> dict[str, Any]:
    """What a file says of a step besides its tensors."""
    return {"index": step.index, "stage": step.stage, "info": {name: float(value) for name, value in step.info.items()},
            **{group: list(getattr(step, group)) for group in GROUPS}}


def read_step(path: Path, arrays: Mapping[str, np.ndarray], head: Any, where: str) -> Step:
    """One step of a run: arrays ``where/sources``, ``where/GROUP/NAME``, the rest in ``head``."""
    if not isinstance(head, dict):
        raise SepvizError(f"{path}: its meta says step {shown(head)}: the file is damaged, save "
                          "it again with sepviz")
    sources = tensor(path, arrays, f"{where}/sources", IMAGES, kinds="f")
    groups: dict[str, dict[str, Tensor]] = {group: {} for group in GROUPS}
    if "extras" in head:
        homes = {name: group for group, known in OLD_GROUPS.items() for name in known}
        for name in names(path, head, "extras"):
            groups[homes.get(name, "state")][name] = tensor(path, arrays, f"{where}/extras/{name}", finite=False)
    else:
        groups = {group: {name: tensor(path, arrays, f"{where}/{group}/{name}", finite=False)
                          for name in names(path, head, group)} for group in GROUPS}
    for name, layer in groups["shown"].items():
        _fit(path, name, layer, sources, layer.shape == sources.shape)
    check_results(path, groups["results"], sources)
    if field(path, head, "index", int) < 0:
        raise SepvizError(f"{path}: its meta says step {head['index']}: the file is damaged, save "
                          "it again with sepviz")
    info = field(path, head, "info", dict)
    values = {name: field(path, info, name, float, finite=False) for name in info}
    return Step(head["index"], field(path, head, "stage", str), sources, **groups, info=values)


def load_partial(path: str | Path) -> Partial:
    """The stopped run that `save_partial` wrote."""
    path = Path(path)
    arrays = read(path)
    meta = read_meta(path, arrays)
    if meta.get("kind") != "partial":
        raise SepvizError(f"{path} is not the partial result of a stopped run: move it away, or "
                          "choose another --out")
    done, step, rng_state = tensor(path, arrays, "done", IMAGES, kinds="f"), None, None
    if meta.get("step") is not None:
        step = read_step(path, arrays, meta["step"], "step")
        rng_state = tensor(path, arrays, "step/rng", ("bytes",), kinds="u")
    extras = {name: tensor(path, arrays, f"done/{name}", finite=name != "start_error")
              for name in names(path, meta, "extras")}
    check_results(path, extras, done)
    return Partial(done, step, rng_state, field(path, meta, "run", dict), extras)
