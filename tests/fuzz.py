"""Bitten files, garbled states, odd arrays: one line or finite numbers, and no file changes.

python tests/fuzz.py --files 300 --states 60 --inputs 400 --seed 0
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import copy
import io
import json
import math
import random
import signal
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from test_contract import SEPARATORS, gaussian_prior, make_problem, mask_network

from sepviz import files, metrics, tasks, zoo
from sepviz.core import Mixing, Problem, SepvizError, Truth
from sepviz.data import load, read_idx
from sepviz.runs.recipe import restore
from sepviz.runs.trace import Trace
from sepviz.separators import METHODS
from sepviz.training import checkpoint
from sepviz.views.lab_page import lab_page

OLD = Path(__file__).parent / "data_v01"
SECONDS = 60  # that one case may take
ODD = [
    None,
    True,
    False,
    0,
    -1,
    5.7,
    1e400,
    math.nan,
    "",
    "x",
    "\n",
    "\ud800",
    [],
    [[]],
    {},
    [1, "a"],
    10**5000,
]
WORDS = [
    "=",
    ",",
    "+",
    "%00",
    "%0A",
    "%ED%A0%80",
    "\x00",
    "\u0663",
    "9" * 5000,
    "-1",
    "nan",
    "inf",
    "1e999",
    "~nouser/x",
    "../",
    "ink:",
    "ink:_____",
    "x" * 5000,
    "\u202e",
    "task=",
    "weights=",
    "run=",
    "5.7",
    "none",
]


class Case(NamedTuple):
    """What was tried, and its fault: an error of no single line, or numbers not finite."""

    kind: str
    accepted: bool
    fault: str = ""


# --- the judge ----------------------------------------------------------------------------------


def attempt(kind: str, call: Callable[[], Any]) -> Case:
    """Call it; one line of a `SepvizError` and a result of finite numbers are both good."""

    def late(*_: Any) -> None:
        raise TimeoutError(f"more than {SECONDS} s")

    alarm = hasattr(signal, "SIGALRM")
    if alarm:
        signal.signal(signal.SIGALRM, late)
        signal.alarm(SECONDS)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            fault = unfinished(call())
        return Case(kind, True, fault)
    except SepvizError as error:
        lines = str(error).splitlines()
        return Case(
            kind,
            False,
            "" if len(lines) == 1 else f"an error of {len(lines)} lines: {str(error)[:200]!r}",
        )
    except Exception as error:
        said = f"{type(error).__name__}: {str(error)[:120]!r}"
        where = traceback.extract_tb(error.__traceback__)[-1]
        return Case(
            kind,
            False,
            f"{said} at {Path(where.filename).name}:{where.lineno}",
        )
    finally:
        if alarm:
            signal.alarm(0)


def unfinished(result: Any) -> str:
    """What of a result is not finite; nothing if all is."""
    if isinstance(result, torch.Tensor):
        good = not result.is_floating_point() or bool(torch.isfinite(result).all())
        return "" if good else f"a tensor {tuple(result.shape)} with numbers that are not finite"
    if isinstance(result, float):
        return "" if math.isfinite(result) else f"a result of {result}"
    if isinstance(result, list | tuple):
        return next((fault for part in result if (fault := unfinished(part))), "")
    return ""


# --- files --------------------------------------------------------------------------------------


class Kind(NamedTuple):
    """A kind of file: a good one's bytes by name, the one that is bitten and read first."""

    good: dict[str, bytes]
    read: Callable[[Path], Any]


def picture(mode: str) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.arange(144, dtype=np.uint8).reshape(6, 8, 3)).convert(mode).save(
        buffer, "PNG"
    )
    return buffer.getvalue()


def kinds() -> dict[str, Kind]:
    """Every kind of file that is read, a small good one of each."""
    from nbformat import v4, writes

    old = {path.name: path.read_bytes() for path in OLD.glob("*.npz")}
    array = io.BytesIO()
    np.save(array, np.linspace(0, 1, 60, dtype=np.float32).reshape(2, 5, 6))
    idx = (
        b"\0\0\x08\x03" + b"".join(size.to_bytes(4, "big") for size in (2, 3, 4)) + bytes(range(24))
    )
    with tempfile.TemporaryDirectory() as folder:
        zoo.save(
            mask_network(torch.device("cpu")),
            Path(folder) / "mask.safetensors",
            {"command": "none"},
        )
        weights = {
            path.name: path.read_bytes() for path in sorted(Path(folder).iterdir(), reverse=True)
        }
        parts = {"weights": torch.ones(3)}
        run = {"iteration": 3, "elapsed": 1.0, "rng": torch.Generator().get_state(), "parts": parts}
        checkpoint.keep(Path(folder) / "run.ckpt", {}, run)
        state = (Path(folder) / "run.ckpt").read_bytes()
    cells = [
        v4.new_markdown_cell("# A lab\n\nOf $x_1$."),
        v4.new_code_cell(
            "1 + 1",
            execution_count=1,
            outputs=[
                v4.new_output(
                    "execute_result",
                    {"text/plain": "2", "image/png": base64.b64encode(picture("L")).decode()},
                    execution_count=1,
                )
            ],
        ),
    ]
    notebook = writes(v4.new_notebook(cells=cells)).encode()

    def trace(path: Path) -> Any:
        found = Trace.load(path)
        return [
            found.problem.mixtures,
            *(step.sources for step in found.steps),
            repr(found),
            found.seconds,
        ]

    def folder_of(path: Path) -> Any:
        return load(str(path.parents[2]), "train", size=4).images

    def state_of(path: Path) -> Any:
        return list((checkpoint.take_up(path, {}, torch.device("cpu")) or {}).values())

    return {
        "problem": Kind({"p.npz": old["problem.npz"]}, files.load_problem),
        "blind problem": Kind({"p.npz": old["blind.npz"]}, files.load_problem),
        "separation": Kind({"o.npz": old["out.npz"]}, files.load_separation),
        "partial": Kind({"o.partial.npz": old["stopped.partial.npz"]}, files.load_partial),
        "trace": Kind({"t.npz": old["trace.npz"]}, trace),
        "npy": Kind({"m.npy": array.getvalue()}, lambda path: files.load_problem(path, count=2)),
        "png": Kind({"a.png": picture("L")}, lambda path: files.load_problem(path, count=2)),
        "folder": Kind(
            {
                "train/a/1.png": picture("RGB"),
                "train/a/2.png": picture("RGB"),
                "train/b/1.png": picture("RGB"),
                "test/a/1.png": picture("RGB"),
            },
            folder_of,
        ),
        "idx": Kind({"images": idx}, read_idx),
        "weights": Kind(weights, lambda path: list(zoo.load(str(path)).state_dict().values())),
        "card": Kind(
            dict(reversed(weights.items())),
            lambda path: list(
                zoo.load(str(path.with_suffix(".safetensors"))).state_dict().values()
            ),
        ),
        "checkpoint": Kind({"run.ckpt": state}, state_of),
        "notebook": Kind({"lab.ipynb": notebook}, lambda path: lab_page(path, False, False)[:3]),
    }


def bitten(data: bytes, name: str, rng: random.Random) -> bytes:
    """One bite: of bytes, of a JSON field, of an array in a .npz with checksums made right."""
    ways: list[Callable[[bytes, random.Random], bytes]] = [flipped, cut, inserted, repeated]
    if name.endswith(".npz"):
        ways = [*ways, array_changed, meta_changed, header_changed, array_changed, meta_changed]
    elif name.endswith((".json", ".ipynb")):
        ways = [*ways, json_changed, json_changed, json_changed]
    elif name.endswith(".npy"):
        ways = [
            *ways,
            lambda data, rng: header_garbled(data, rng),
            lambda data, rng: as_npy(odd_array(np.load(io.BytesIO(data)), rng)),
        ]
    return rng.choice(ways)(data, rng)


def flipped(data: bytes, rng: random.Random) -> bytes:
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 3, 30))):
        found[
            min(len(found) - 1, int(rng.expovariate(1 / 100)))
            if rng.random() < 0.5
            else rng.randrange(len(found))
        ] ^= rng.randrange(1, 256)
    return bytes(found)


def cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))]


def inserted(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + rng.randbytes(rng.choice((1, 4, 100))) + data[at:]


def repeated(data: bytes, rng: random.Random) -> bytes:
    at, size = rng.randrange(len(data)), rng.randrange(1, 200)
    return data[: at + size] + data[at:]


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


def array_changed(data: bytes, rng: random.Random) -> bytes:
    entries = entries_of(data)
    name = rng.choice([name for name in entries if name != "meta.npy"])
    if rng.random() < 0.15:
        del entries[name]
    elif rng.random() < 0.15:
        entries[name] = rng.choice(list(entries.values()))
    else:
        entries[name] = as_npy(odd_array(np.load(io.BytesIO(entries[name])), rng))
    return zipped(entries)


def header_changed(data: bytes, rng: random.Random) -> bytes:
    entries = entries_of(data)
    name = rng.choice(list(entries))
    return zipped({**entries, name: header_garbled(entries[name], rng)})


def header_garbled(data: bytes, rng: random.Random) -> bytes:
    """A .npy whose header, a line of Python, says something else; as long as it was."""
    begin, end = 10, data.index(b"\n")
    head = data[begin:end].decode()
    old, new = rng.choice(
        [
            ("(", "(9" * rng.randrange(1, 30)),
            ("(", "(1000000000000, "),
            (")", "))"),
            ("'", '"'),
            ("<", ">"),
            ("<f4", "<f8"),
            ("<f4", "|O"),
            ("<f4", "<c8"),
            ("False", "True"),
            ("False", "[0]"),
            ("{", "{" * 50),
            ("'shape'", "'shade'"),
            (":", "\u00e9"),
            ("(", "(-1, -"),
            ("descr", "desc\x00"),
            ("(", "(0x"),
            ("(", "(True, "),
        ]
    )
    garbled = (
        head.rstrip()
        .replace(old, new, 1)
        .encode("latin-1", "replace")[: end - begin]
        .ljust(end - begin)
    )
    return data[:begin] + garbled + data[end:]


def meta_changed(data: bytes, rng: random.Random) -> bytes:
    entries = entries_of(data)
    text = str(np.load(io.BytesIO(entries["meta.npy"])))
    changed = json_changed(text.encode(), rng).decode("utf-8", "replace")
    return zipped({**entries, "meta.npy": as_npy(np.array(changed))})


def json_changed(data: bytes, rng: random.Random) -> bytes:
    """A field somewhere in the object is another, gone, or has another name."""
    whole = json.loads(data)
    at = whole
    while True:
        places = list(at) if isinstance(at, dict) else list(range(len(at)))
        place = rng.choice(places)
        if isinstance(at[place], dict | list) and at[place] and rng.random() < 0.7:
            at = at[place]
            continue
        if rng.random() < 0.2:
            del at[place]
        else:
            at[place] = rng.choice(
                [value for value in ODD if not (isinstance(value, int) and value > 1e9)]
            )
        break
    text = json.dumps(whole)
    if rng.random() < 0.1:
        text = text.replace("1", "1" * 5000, 1) if rng.random() < 0.5 else "[" * 100_000
    return text.encode("utf-8", "surrogatepass")


def odd_array(array: np.ndarray, rng: random.Random) -> np.ndarray:
    """Like this array, but of another type, shape or with other values."""
    flat = array.reshape(-1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return rng.choice(
            [
                lambda: array.astype(
                    rng.choice(["f2", "f8", ">f4", "g", "i4", "u1", "?", "c8", "U3", "S2", "M8[s]"])
                ),
                lambda: array.astype(object),
                lambda: np.zeros(array.shape, [("a", "f4"), ("b", "i2")]),
                lambda: flat[: rng.randrange(len(flat) + 1)],
                lambda: array[None],
                lambda: np.array(flat[0]),
                lambda: array.reshape(-1)[:0],
                lambda: array.T,
                lambda: np.asfortranarray(array),
                lambda: np.moveaxis(array, 1, -1) if array.ndim > 1 else array,
                lambda: np.concatenate([array] * 2, axis=-1) if array.ndim else array,
                lambda: array[:1] if array.ndim else array,
                lambda: np.where(
                    np.arange(flat.size).reshape(array.shape) == 0,
                    rng.choice([np.nan, np.inf, -np.inf, 1e300, -5.0]),
                    array,
                ),
                lambda: array * rng.choice([0.0, 255.0, -1.0, 1e30]),
                lambda: array * 2.0 - 1,
                lambda: np.zeros((20, 20, 3), np.float32),
            ]
        )()


def file_cases(count: int, rng: random.Random) -> Iterator[Case]:
    every = kinds()
    for number in range(count):
        name = list(every)[number % len(every)]
        kind = every[name]
        first = next(iter(kind.good))
        with tempfile.TemporaryDirectory() as folder:
            for file, data in {**kind.good, "other.txt": b"mine"}.items():
                path = Path(folder) / name.replace(" ", "") / file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(
                    bitten(data, file, rng) if file == first and number >= len(every) else data
                )
            path = Path(folder) / name.replace(" ", "") / first
            before = contents(Path(folder))
            case = attempt(name, lambda path=path, kind=kind: kind.read(path))
            if contents(Path(folder)) != before:
                case = case._replace(fault="files were changed")
            if number < len(every) and not case.accepted:
                case = case._replace(fault=case.fault or "a good file was refused")
            yield case


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- states -------------------------------------------------------------------------------------


def state_cases(count: int, rng: random.Random) -> Iterator[Case]:
    texts = (OLD / "states.txt").read_text().split()

    def make(text: str) -> Any:
        state = restore(text)
        problem, truth = state.problem()
        if state.method:
            state.separator()
        return [problem.mixtures, truth.sources]

    for number in range(count):
        text = rng.choice(texts)
        if number >= len(texts):
            text = garbled_state(text, rng)
        yield attempt("state", lambda text=text: make(text))


def garbled_state(text: str, rng: random.Random) -> str:
    if rng.random() < 0.5:
        pairs = [part.partition("=") for part in text.split(",")]
        at = rng.randrange(len(pairs))
        name, _, value = pairs[at]
        other = rng.choice([*WORDS, rng.choice(pairs)[2], value + rng.choice(WORDS)])
        pairs[at] = rng.choice(
            [
                (name, "=", other),
                (other, "=", value),
                (name, "", value),
                (name, "=", ""),
                rng.choice(pairs),
            ]
        )
        return ",".join("".join(pair) for pair in pairs)
    at = rng.randrange(len(text))
    return text[:at] + rng.choice([*WORDS, ""]) + text[at + rng.randrange(4) :]


# --- inputs -------------------------------------------------------------------------------------


def odd_tensor(good: torch.Tensor, rng: random.Random) -> Any:
    """Like this tensor of mixtures (B, C, H, W), but odd in one way."""
    one = good.clone()
    one[0, 0, 0, 0] = rng.choice([math.nan, math.inf, -math.inf, 1e38, -3.0])
    return rng.choice(
        [
            lambda: good.to(
                rng.choice(
                    [
                        torch.float64,
                        torch.float16,
                        torch.bfloat16,
                        torch.int64,
                        torch.uint8,
                        torch.bool,
                        torch.complex64,
                    ]
                )
            ),
            lambda: good.numpy(),
            lambda: good.tolist(),
            lambda: None,
            lambda: good.clone().requires_grad_(),
            lambda: one,
            lambda: good.transpose(2, 3).contiguous().transpose(2, 3),
            lambda: good[:1].expand_as(good),
            lambda: good[0],
            lambda: good[None],
            lambda: good[:0],
            lambda: good[..., :0],
            lambda: good.movedim(1, -1),
            lambda: good.repeat(1, 3, 1, 1),
            lambda: good[..., :1, :1],
            lambda: good[..., :3],
            lambda: good[:1],
            lambda: good * 0,
            lambda: good * 0 + 1,
            lambda: good * 255,
            lambda: -good,
            lambda: good * 2 - 2,
            lambda: good * 1e-30,
            lambda: good.to("meta"),
            lambda: good.to_sparse(),
            lambda: copy.copy(good),
        ]
    )()


def input_cases(count: int, rng: random.Random) -> Iterator[Case]:
    cpu = torch.device("cpu")
    sources = torch.rand((2, 2, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    mixing = Mixing.sum(2)
    names = list(METHODS)

    def number() -> Any:
        return rng.choice(
            [
                *ODD,
                (1.0, 1.0),
                (1,),
                (True, 1),
                ("1", "1"),
                np.ones(2),
                torch.ones(2),
                np.ones((1, 2)),
                1.0,
                (1j, 1),
                3,
                4,
                [5, 5],
                "5",
            ]
        )

    def mix_words() -> Any:
        visible = rng.choice(
            [
                None,
                torch.ones(8, 8).bool(),
                torch.ones(8, 8),
                np.ones((8, 8), bool),
                torch.zeros(8, 8).bool(),
                [[True]],
                torch.tensor(True),
            ]
        )
        mixing = Mixing(number(), filter_size=rng.choice([None, number()]), visible=visible)
        return [
            list(mixing.weights),
            mixing.check(
                mixing.apply(sources[:, :1].expand(-1, mixing.count, -1, -1, -1)),
                fills_in=True,
                solves_filters=True,
            ),
        ]

    def counts() -> Any:
        return list(rng.choice([Mixing.sum, Mixing.mean])(number()).weights)

    def method(name: str) -> Any:
        weights = (1.0,) if name == "cnn" else (1.0, 1.0)
        separator, problem = (
            SEPARATORS[name](gaussian_prior(cpu)),
            make_problem(weights, cpu, name=name),
        )
        what = rng.choice(["mixtures", "mixtures", "mixtures", "examples", "parameter"])
        good = problem.mixtures
        if what == "examples" and problem.examples is not None:
            part = rng.choice(
                [name for name, images in problem.examples._asdict().items() if images is not None]
            )
            images = odd_tensor(getattr(problem.examples, part), rng)
            problem = problem._replace(examples=problem.examples._replace(**{part: images}))
        elif what == "parameter":
            import dataclasses

            fields = [
                field.name for field in dataclasses.fields(separator) if field.name != "prior"
            ]
            if fields:
                separator = dataclasses.replace(
                    separator,
                    **{rng.choice(fields): rng.choice([None, "x", -1, 0, math.nan, 1e9, 2.5, []])},
                )
        else:
            problem = problem._replace(mixtures=odd_tensor(good, rng))
        step = None
        for step in separator.steps(problem, torch.Generator().manual_seed(0)):  # noqa: B007
            pass
        assert step is not None, "no step"
        want = (len(problem.mixtures), len(weights), *problem.mixtures.shape[1:])
        assert tuple(step.sources.shape) == want, (
            f"sources of shape {tuple(step.sources.shape)}, want {want}"
        )
        assert not step.sources.requires_grad
        return step.sources

    def metric() -> Any:
        name = rng.choice(["psnr", "ssim", "summarize", "pooled_psnr", "align"])
        odd = odd_tensor(sources[:, 0], rng)
        if isinstance(odd, torch.Tensor) and odd.ndim == 4 and odd.layout == torch.strided:
            odd = odd[:, None].expand(-1, 2, *odd.shape[1:])
        found = getattr(metrics, name)(odd, rng.choice([sources, odd]))
        parts = found if isinstance(found, tuple) else (found,)
        return [part for part in parts if not (isinstance(part, float) and math.isnan(part))]

    def task() -> Any:
        odd = odd_tensor(sources[:, 0], rng)
        choice = rng.randrange(4)
        if choice == 0:
            return tasks.mix(
                odd[:, None] if isinstance(odd, torch.Tensor) and odd.ndim == 4 else odd, number()
            )[0].mixtures
        problem = Problem(mixing.apply(sources), mixing)
        if choice == 1:
            return tasks.hide(
                problem,
                odd[0, 0] if isinstance(odd, torch.Tensor) and odd.ndim == 4 and len(odd) else odd,
            ).mixtures
        if choice == 2:
            return tasks.repeat(problem, rng.choice(ODD[:8]), rng.choice([2, *ODD[:8]])).mixtures
        return tasks.separate("strokes", count=number(), sources=number(), weights=number())[
            0
        ].mixtures

    def array() -> Any:
        good = np.linspace(0, 1, 128, dtype=np.float32).reshape(2, 1, 8, 8)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "m.npy"
            np.save(
                path, odd_array(good[:, 0] if rng.random() < 0.5 else good, rng), allow_pickle=True
            )
            words = {"weights": number(), "count": number(), "filter_size": number()}
            return files.load_problem(
                path, **{"count": 2} | dict(rng.sample(list(words.items()), rng.randrange(2)))
            )[0].mixtures

    def kept() -> Any:
        odd = odd_tensor(sources[:, 0], rng)
        with tempfile.TemporaryDirectory() as folder:
            path = files.save_problem(Path(folder) / "p.npz", Problem(odd, mixing), Truth(sources))
            return files.load_problem(path)[0].mixtures

    plain = {
        "mixing": mix_words,
        "number of sources": counts,
        "metrics": metric,
        "tasks": task,
        "array file": array,
        "save": kept,
    }
    for _ in range(count):
        if rng.random() < 0.6:
            name = rng.choice(names)
            yield attempt(f"method {name}", lambda name=name: method(name))
        else:
            kind = rng.choice(list(plain))
            yield attempt(kind, plain[kind])


# --- the table ----------------------------------------------------------------------------------


def fuzz(file_count: int, state_count: int, input_count: int, seed: int = 0) -> list[Case]:
    """All cases of a seed; each part has randomness of its own."""
    cases = [
        *file_cases(file_count, random.Random(seed)),
        *state_cases(state_count, random.Random(seed + 1)),
    ]
    return [*cases, *input_cases(input_count, random.Random(seed + 2))]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("files", 300), ("states", 60), ("inputs", 400), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default: {default}")
    words = parser.parse_args()
    begun = time.monotonic()
    cases = fuzz(words.files, words.states, words.inputs, words.seed)
    print(f"{'kind':<24} {'tried':>6} {'refused':>8} {'accepted':>9} {'failures':>9}")
    for kind in dict.fromkeys(case.kind for case in cases):
        of_kind = [case for case in cases if case.kind == kind]
        refused, faults = (
            sum(not case.accepted for case in of_kind),
            sum(bool(case.fault) for case in of_kind),
        )
        print(f"{kind:<24} {len(of_kind):>6} {refused:>8} {len(of_kind) - refused:>9} {faults:>9}")
    faults = Counter((case.kind, case.fault) for case in cases if case.fault)
    print(
        f"{len(cases)} cases, {sum(faults.values())} failures, seed {words.seed}, "
        f"{time.monotonic() - begun:.0f} s"
    )
    for (kind, fault), count in faults.items():
        print(f"{count} x {kind}: {fault}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
