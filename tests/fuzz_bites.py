"""What `fuzz` does to files: bites of bytes, of JSON fields, of arrays."""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from fuzz_inputs import ODD, odd_array


def bitten(data: bytes, name: str, rng: random.Random) -> bytes:
    """One bite: of bytes, of a JSON field, of an array in a .npz with checksums made right."""
    ways: list[Callable[[bytes, random.Random], bytes]] = [flipped, cut, inserted, repeated]
    ways += {".npz": [array_changed, meta_changed, header_changed, array_changed, meta_changed],
             ".npy": [header_garbled, array_odd],
             ".json": [json_changed] * 3, ".ipynb": [json_changed] * 3}.get(Path(name).suffix, [])
    return rng.choice(ways)(data, rng)


def flipped(data: bytes, rng: random.Random) -> bytes:
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 3, 30))):
        early = min(len(found) - 1, int(rng.expovariate(1 / 100)))
        found[early if rng.random() < 0.5 else rng.randrange(len(found))] ^= rng.randrange(1, 256)
    return bytes(found)


def cut(data: bytes, rng: random.Random) -> bytes:
    return data[:rng.randrange(len(data))]


def inserted(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + rng.randbytes(rng.choice((1, 4, 100))) + data[at:]


def repeated(data: bytes, rng: random.Random) -> bytes:
    at, size = rng.randrange(len(data)), rng.randrange(1, 200)
    return data[:at + size] + data[at:]


def entries_of(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(entries: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def as_npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def array_odd(data: bytes, rng: random.Random) -> bytes:
    return as_npy(odd_array(np.load(io.BytesIO(data)), rng))


def array_changed(data: bytes, rng: random.Random) -> bytes:
    entries = entries_of(data)
    name = rng.choice([name for name in entries if name != "meta.npy"])
    if rng.random() < 0.15:
        del entries[name]
    elif rng.random() < 0.15:
        entries[name] = rng.choice(list(entries.values()))
    else:
        entries[name] = array_odd(entries[name], rng)
    return zipped(entries)


def header_changed(data: bytes, rng: random.Random) -> bytes:
    entries = entries_of(data)
    name = rng.choice(list(entries))
    return zipped({**entries, name: header_garbled(entries[name], rng)})


def header_garbled(data: bytes, rng: random.Random) -> bytes:
    """A .npy whose header, a line of Python, says something else; as long as it was."""
    begin, end = 10, data.index(b"\n")
    old, new = rng.choice([
        ("(", "(9" * rng.randrange(1, 30)), ("(", "(1000000000000, "), (")", "))"), ("'", '"'),
        ("<", ">"), ("<f4", "<f8"), ("<f4", "|O"), ("<f4", "<c8"), ("False", "True"),
        ("False", "[0]"), ("{", "{" * 50), ("'shape'", "'shade'"), (":", "\u00e9"), ("(", "(-1, -"),
        ("descr", "desc\x00"), ("(", "(0x"), ("(", "(True, ")])
    head = data[begin:end].decode().rstrip().replace(old, new, 1).encode("latin-1", "replace")
    return data[:begin] + head[:end - begin].ljust(end - begin) + data[end:]


def meta_changed(data: bytes, rng: random.Random) -> bytes:
    entries = entries_of(data)
    text = str(np.load(io.BytesIO(entries["meta.npy"])))
    changed = json_changed(text.encode(), rng).decode("utf-8", "replace")
    return zipped({**entries, "meta.npy": as_npy(np.array(changed))})


def json_changed(data: bytes, rng: random.Random) -> bytes:
    """A field somewhere in the object is another, gone, or has another name."""
    at = whole = json.loads(data)
    while True:
        place = rng.choice(list(at) if isinstance(at, dict) else range(len(at)))
        if not (isinstance(at[place], dict | list) and at[place] and rng.random() < 0.7):
            break
        at = at[place]
    if rng.random() < 0.2:
        del at[place]
    else:
        at[place] = rng.choice(ODD[:-1])
    text = json.dumps(whole)
    if rng.random() < 0.1:
        text = text.replace("1", "1" * 5000, 1) if rng.random() < 0.5 else "[" * 100_000
    return text.encode("utf-8", "surrogatepass")
