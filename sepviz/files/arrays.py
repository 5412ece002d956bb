"""Plain arrays and one JSON string in a .npz, never a pickle; each field is checked before it is used."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import platform
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sepviz.core import CONTROL, SepvizError, shown
from sepviz.files.disk import to_json, write

IMAGES = ("B", "K", "C", "H", "W")  # the shape of sources
FORMAT = 1  # of the files; a file that says another number is refused
LARGEST = 4 * 2**30  # bytes of numbers read from one file: a small .npz may claim any amount


def versions() -> dict[str, str]:
    """Of sepviz and of what its figures depend on."""
    import sepviz

    return {"sepviz": sepviz.__version__, "torch": str(torch.__version__), "numpy": np.__version__, "python": platform.python_version()}


def digest(images: Tensor) -> str:
    """The first 16 digits of the sha256 of a tensor's float32 bytes: tells one set of mixtures from another."""
    return hashlib.sha256(images.detach().cpu().to(torch.float32).contiguous().numpy().tobytes()).hexdigest()[:16]


def save_arrays(path: str | Path, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any], overwrite: bool) -> Path:
    arrays = {**arrays, "meta": np.array(to_json({"format": FORMAT, **meta}))}
    return write(path, lambda file: np.savez(file, **arrays), overwrite)  # type: ignore[arg-type]


def to_numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().to(torch.float32).numpy()


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


def names(path: Path, meta: Mapping[str, Any], name: str) -> list[str]:
    """``meta[name]`` as a list of names, none twice."""
    found = field(path, meta, name, list)
    good = all(isinstance(one, str) and not CONTROL.search(one) for one in found)
    if not good or len(set(found)) < len(found):
        raise SepvizError(f"{path}: its meta says {name} {shown(found)}: the file is damaged, "
                          "save it again with sepviz")
    return found


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


def floats(path: Path, arrays: Mapping[str, np.ndarray], name: str,
            shape: Sequence[int | str] | None = None) -> Tensor:
    """Numbers of any kind as float32."""
    if name in arrays and arrays[name].size == 0:
        raise SepvizError(f"{path}: {name} of shape {arrays[name].shape} is empty")
    found = tensor(path, arrays, name, shape).to(torch.float32)
    if not bool(torch.isfinite(found).all()):
        raise SepvizError(f"{path}: {name} hold numbers that are infinite in float32: every "
                          "number must be finite")
    return found
