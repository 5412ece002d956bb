"""The IDX format of MNIST: two zero bytes, a type, the number of dimensions, these, the bytes."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sepviz.core import SepvizError

BYTES = 0x08  # the type of unsigned bytes, the only one that image sets use
GZIP = b"\x1f\x8b"


def read_idx(path: str | Path, dims: int | None = None) -> Tensor:
    """Read an IDX file of unsigned bytes, gzipped or not.

    Parameters
    ----------
    path : str or Path
    dims : int, optional
        How many dimensions it must have: 3 for images, 1 for labels.

    Returns
    -------
    Tensor (d_1, ..., d_n) uint8
    """
    return parse_idx(content(path), str(path), dims)


def content(path: str | Path) -> bytes:
    """The uncompressed bytes of a file; its first bytes, not its name, say whether it is gzip."""
    path = Path(path)
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise SepvizError(f"{path}: no such file; check the path") from None
    except OSError as error:
        raise SepvizError(f"{path}: cannot be read ({error.strerror}); "
                          "check the path and its permissions") from None
    if not raw:
        raise SepvizError(f"{path}: the file is empty (0 bytes); fetch it again")
    try:
        return gzip.decompress(raw) if raw.startswith(GZIP) else raw
    except (OSError, EOFError, zlib.error) as error:
        why = str(error).rstrip(".")
        raise SepvizError(f"{path}: corrupt gzip ({why}); fetch it again") from None


def parse_idx(data: bytes, name: str, dims: int | None = None) -> Tensor:
    """`read_idx` of bytes; ``name`` is for the errors."""
    def refuse(why: str) -> SepvizError:
        return SepvizError(f"{name}: {why}")

    if len(data) < 4:
        raise refuse(f"{len(data)} bytes are too few for an IDX file; fetch it again")
    zeros, kind, found = struct.unpack(">HBB", data[:4])
    if zeros != 0:
        raise refuse(f"magic 0x{data[:4].hex()} is not IDX (starts with 0x0000); "
                     "is it the right file?")
    if kind != BYTES:
        raise refuse(f"IDX type 0x{kind:02x}, only unsigned bytes (0x08) are read; convert it")
    if found == 0 or dims not in (None, found):
        raise refuse(f"{found} dimensions, want {dims or 'at least 1'}; "
                     "are images and labels swapped?")
    start = 4 + 4 * found
    if len(data) < start:
        raise refuse(f"truncated, {len(data)} bytes of a {start} byte header; fetch it again")
    shape = struct.unpack(f">{found}I", data[4:start])
    if 0 in shape:
        raise refuse(f"its shape {shape} holds nothing; fetch it again")
    size, want = len(data) - start, math.prod(shape)
    if size != want:
        what = "truncated" if size < want else "trailing bytes"
        raise refuse(f"{what}, {size} bytes of data for shape {shape}, want {want}; fetch it again")
    return torch.from_numpy(np.frombuffer(data, np.uint8, offset=start).reshape(shape).copy())
