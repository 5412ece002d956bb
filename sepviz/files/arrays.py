"""Arrays and one JSON object in a .npz, never a pickle; tables declare what each must be."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
import os
import platform
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sepviz.core import CONTROL, MEDIA, PICTURE, Medium, SepvizError, shown
from sepviz.files.disk import to_json, write

FORMAT = 1  # of the files; a file with another number is refused
LARGEST = 4 * 2**30  # bytes of numbers read from one file: a small .npz may claim any amount
KINDS = {"f": "floats", "fiu": "numbers", "fiub": "numbers", "iu": "whole numbers", "u": "bytes",
         "b": "true or false"}


class Field(NamedTuple):
    """What an array of a file must be."""

    # A name for each axis, "B K C H W"; one name is one length in all fields that are read
    # together, a lower-case name is an odd length. "B ..." may have more axes. None: any shape.
    shape: str | None = None
    kinds: str = "fiub"  # NumPy's letters of the types that may be read
    dtype: type | None = None  # to convert to; None keeps the type of the file
    optional: bool = False
    finite: bool = True  # refuse infinite numbers; nan is always refused
    empty: bool = False  # may have no numbers at all


# What a field of a JSON object may be, beside the types that `isinstance` knows.
FACTS: dict[Any, Callable[[Any], bool]] = {
    int: lambda value: type(value) is int and abs(value) < 2**63,
    float: lambda value: type(value) in (int, float) and abs(value) < 1e300,
    str: lambda value: isinstance(value, str) and not CONTROL.search(value),
    "index": lambda value: FACTS[int](value) and value >= 0,
    "figure": lambda value: value is None or type(value) is float or FACTS[float](value),
    "names": lambda value: (isinstance(value, list) and all(map(FACTS[str], value))
                            and len(set(value)) == len(value)),
}


def tensors(path: Path, arrays: Mapping[str, np.ndarray], table: Mapping[str, Field],
            sizes: dict[str, int] | None = None, where: str = "") -> dict[str, Tensor]:
    """Read the arrays that a table declares, and refuse those that do not fit it.

    ``sizes`` are lengths of axes that are known already; those of this table's are added.
    ``where`` comes before each name in the file. Optional fields that it lacks are left out.
    """
    sizes, found = {} if sizes is None else sizes, {}
    for name, field in table.items():
        if where + name in arrays:
            found[name] = _tensor(f"{path}: {where}{name}", arrays[where + name], field, sizes)
        elif not field.optional:
            raise SepvizError(f"{path} holds no array {where}{name}: "
                              "it is damaged or of another kind")
    return found


def _tensor(said: str, array: np.ndarray, field: Field, sizes: dict[str, int]) -> Tensor:
    kind = array.dtype.kind
    if kind not in field.kinds:
        raise SepvizError(f"{said} of type {array.dtype}: want {KINDS[field.kinds]}")
    if field.shape is not None:
        _check_shape(said, array.shape, field.shape, sizes)
    if not field.empty and array.size == 0:
        raise SepvizError(f"{said} of shape {array.shape} is empty")
    wide = kind == "f" and array.dtype.itemsize > 8  # torch has no longer floats
    dtype = field.dtype or (np.float64 if wide else array.dtype.newbyteorder("="))
    with np.errstate(over="ignore"):
        own = array.astype(dtype, order="C")
    if dtype is np.bool_:
        bad, want = own != array, "want 1 (true) or 0 (false)"
    else:
        bad = ~np.isfinite(own) if field.finite else np.isnan(own)
        want = f"every number must be finite in {own.dtype}"
    if bad.any():
        first = tuple(map(int, np.argwhere(bad)[0]))
        raise SepvizError(f"{said} hold {array[first]} at {first}: {want}")
    return torch.from_numpy(own)


def _check_shape(said: str, shape: tuple[int, ...], wanted: str, sizes: dict[str, int]) -> None:
    """Compare a shape with the names of its axes; the lengths of new names are noted."""
    names = wanted.removesuffix("...").split()
    odd = [name for name in names if name.islower()]
    good = len(shape) >= len(names) if wanted.endswith("...") else len(shape) == len(names)
    if not good or any(length % 2 == 0 if name in odd else sizes.get(name, length) != length
                       for name, length in zip(names, shape, strict=False)):
        axes = ", ".join(str(sizes.get(name, name)) for name in wanted.split())
        raise SepvizError(f"{said} of shape {shape}: want ({axes}{',' * (len(names) == 1)})"
                          + f" with {' and '.join(odd)} odd" * bool(odd))
    sizes |= {name: n for name, n in zip(names, shape, strict=False) if name not in odd}


def facts(path: Path, meta: Mapping[str, Any], table: Mapping[str, Any]) -> dict[str, Any]:
    """Read the fields of a JSON object that a table declares, each a type or a key of `FACTS`."""
    for name, kind in table.items():
        value = meta.get(name)
        if not (FACTS[kind](value) if kind in FACTS else isinstance(value, kind)):
            raise SepvizError(f"{path}: its meta says {name} {shown(value)}: the file is damaged, "
                              "save it again with sepviz")
    return {name: meta[name] for name in table}


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Put a file's name before errors about what it holds."""
    try:
        yield
    except SepvizError as error:
        said = str(error)
        raise SepvizError(said if str(path) in said else f"{path}: {said}") from None


def open_file(path: str | Path, kind: str = "format") -> tuple[dict[str, np.ndarray], dict]:
    """The arrays of a file, and its JSON object; in that, the field ``kind`` says the format."""
    arrays = read(Path(path))
    return arrays, read_meta(Path(path), arrays, kind)


def read(path: Path) -> dict[str, np.ndarray]:
    """Every array of a .npz, or that of a .npy as ``mixtures``; read-only."""
    try:
        with open(path, "rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy's, about headers that look old
            if file.read(6) == np.lib.format.MAGIC_PREFIX:
                _check_size(os.fstat(file.fileno()).st_size)
                file.seek(0)
                return {"mixtures": _array(file.read())}
            with zipfile.ZipFile(file) as archive:
                entries = [one for one in archive.infolist() if one.filename.endswith(".npy")]
                _check_size(sum(entry.file_size for entry in entries))
                found = {entry.filename.removesuffix(".npy"): _array(archive.read(entry))
                         for entry in entries}
        if len(found) < len(entries):
            raise ValueError("a name is there twice")
        return found
    except SepvizError as error:
        raise SepvizError(f"{path} {error}") from None
    except OSError as error:
        why = "it is a folder, give a file" if Path(path).is_dir() else error.strerror or error
        raise SepvizError(f"cannot read {path}: {why}") from None
    except MemoryError:
        raise SepvizError(f"{path} is too large for the memory here: give it in parts") from None
    except Exception:  # zipfile, zlib and NumPy raise a dozen kinds of error over foreign bytes
        raise SepvizError(f"{path} is damaged or no NumPy file: "
                          "save it again with numpy.savez") from None


def _check_size(size: int) -> None:
    if size > LARGEST:
        raise SepvizError(f"claims {size / 2**30:.3g} GiB of numbers: at most {LARGEST / 2**30:g} "
                          "are read, give it in parts")


def _array(data: bytes) -> np.ndarray:
    """The array of a .npy, if it is as long as its header says."""
    file, numpy = io.BytesIO(data), np.lib.format
    header = {(1, 0): numpy.read_array_header_1_0, (2, 0): numpy.read_array_header_2_0}
    shape, fortran, kind = header[numpy.read_magic(file)](file)
    if kind.hasobject:
        raise SepvizError("holds Python objects, which are never loaded: "
                          "save plain arrays of numbers")
    begin = file.tell()
    whole = len(data) == begin + math.prod(shape) * kind.itemsize
    if kind.names is not None or kind.itemsize == 0 or not whole:
        raise ValueError("not as long as its header says")
    flat = np.frombuffer(data, kind, offset=begin)
    return flat.reshape(shape, order="F" if fortran else "C")


def read_meta(path: Path, arrays: Mapping[str, np.ndarray], kind: str = "format") -> dict[str, Any]:
    """The JSON object of a file, empty where there is none; its field ``kind`` says the format."""
    if "meta" not in arrays:
        return {}
    try:
        meta = json.loads(arrays["meta"].item())
    except (ValueError, TypeError, RecursionError, SystemError):  # 5,000 digits, not UTF-8, ...
        meta = None
    if not isinstance(meta, dict):
        raise SepvizError(f"{path}: its meta is no JSON object; save it again with sepviz")
    if meta.get(kind, FORMAT) != FORMAT:
        raise SepvizError(f"{path} has format {shown(meta[kind])}, this sepviz reads {FORMAT}: "
                          "use the sepviz that wrote it")
    return meta


def medium_of(path: Path, meta: Mapping[str, Any]) -> Medium:
    """The medium of the signals in a file; files of version 0.1 hold pictures and do not say so."""
    name = meta.get("medium", PICTURE.name)
    if not isinstance(name, str) or name not in MEDIA:
        raise SepvizError(f"{path} holds signals of medium {shown(name)}: this sepviz knows "
                          f"{', '.join(MEDIA)}")
    return MEDIA[name]


def save_arrays(path: str | Path, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any],
                overwrite: bool) -> Path:
    """Write arrays and a JSON object to a .npz."""
    whole = {**arrays, "meta": np.array(to_json({"format": FORMAT, **meta}))}
    return write(path, lambda file: np.savez(file, **whole), overwrite)  # type: ignore[arg-type]


def to_numpy(tensor: Tensor) -> np.ndarray:
    """A tensor's values as float32."""
    return tensor.detach().cpu().to(torch.float32).numpy()


def versions() -> dict[str, str]:
    """The versions of sepviz and of what its results depend on."""
    import sepviz

    return {"sepviz": sepviz.__version__, "torch": str(torch.__version__),
            "numpy": np.__version__, "python": platform.python_version()}


def fingerprint(parts: Iterable[Tensor | str]) -> str:
    """The first 16 digits of the sha256 of texts and of tensors' bytes, one after the other."""
    total = hashlib.sha256()
    for part in parts:
        total.update(part.encode() if isinstance(part, str)
                     else part.detach().cpu().contiguous().numpy().tobytes())
    return total.hexdigest()[:16]


def digest(images: Tensor) -> str:
    """The `fingerprint` of images as float32."""
    return fingerprint([images.to(torch.float32)])
