"""Bitten files, garbled states, odd arrays: one line or finite numbers, and no file changes.

python tests/fuzz.py --files 300 --states 60 --inputs 400 --seed 0
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import io
import math
import random
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from fuzz_bites import as_npy, bitten
from fuzz_inputs import CPU, ODD_INPUTS, odd_method
from test_contract import mask_network

from sepviz import files, zoo
from sepviz.core import SepvizError
from sepviz.data import load, read_idx
from sepviz.runs.recipe import restore
from sepviz.runs.trace import Trace
from sepviz.separators import METHODS
from sepviz.training import checkpoint
from sepviz.views.lab_page import lab_page

OLD = Path(__file__).parent / "data_v01"
SECONDS = 60  # that one case may take
WORDS = ["=", ",", "+", "%00", "%0A", "%ED%A0%80", "\x00", "\u0663", "9" * 5000, "-1", "nan", "inf",
         "1e999", "~nouser/x", "../", "ink:", "ink:_____", "x" * 5000, "\u202e", "task=",
         "weights=", "run=", "5.7", "none"]


class Case(NamedTuple):
    """What was tried, and its fault: an error of no single line, or numbers not finite."""

    kind: str
    accepted: bool
    fault: str = ""


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
            return Case(kind, True, unfinished(call()))
    except SepvizError as error:
        lines = len(str(error).splitlines())
        return Case(kind, False, f"an error of {lines} lines: {str(error)[:200]!r}" * (lines != 1))
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        return Case(kind, False, f"{type(error).__name__}: {str(error)[:120]!r} "
                                 f"at {Path(where.filename).name}:{where.lineno}")
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
    parts = result if isinstance(result, list | tuple) else ()
    return next((fault for part in parts if (fault := unfinished(part))), "")


# --- files --------------------------------------------------------------------------------------


class Kind(NamedTuple):
    """A kind of file: a good one's bytes by name; the first is bitten and given to ``read``."""

    good: dict[str, bytes]
    read: Callable[[Path], Any]


def picture(mode: str) -> bytes:
    from PIL import Image

    buffer, pixels = io.BytesIO(), np.arange(144, dtype=np.uint8).reshape(6, 8, 3)
    Image.fromarray(pixels).convert(mode).save(buffer, "PNG")
    return buffer.getvalue()


def notebook() -> bytes:
    from nbformat import v4, writes

    shown = {"text/plain": "2", "image/png": base64.b64encode(picture("L")).decode()}
    output = v4.new_output("execute_result", shown, execution_count=1)
    return writes(v4.new_notebook(cells=[
        v4.new_markdown_cell("# A lab\n\nOf $x_1$."),
        v4.new_code_cell("1 + 1", execution_count=1, outputs=[output])])).encode()


def kinds() -> dict[str, Kind]:
    """Every kind of file that is read, a small good one of each."""
    old = {path.name: path.read_bytes() for path in OLD.glob("*.npz")}
    array = np.linspace(0, 1, 60, dtype=np.float32).reshape(2, 5, 6)
    sizes = b"".join(size.to_bytes(4, "big") for size in (2, 3, 4))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        zoo.save(mask_network(CPU), folder / "mask.safetensors", {"command": "none"})
        card, weights = ({path.name: path.read_bytes()} for path in sorted(folder.iterdir()))
        run = {"iteration": 3, "elapsed": 1.0, "rng": torch.Generator().get_state(),
               "parts": {"weights": torch.ones(3)}}
        checkpoint.keep(folder / "run.ckpt", {}, run)
        state = (folder / "run.ckpt").read_bytes()

    def trace(path: Path) -> Any:
        found = Trace.load(path)
        sources = [step.sources for step in found.steps]
        return [found.problem.mixtures, *sources, repr(found), found.seconds]

    def images(path: Path) -> Any:
        return files.load_problem(path, count=2)

    def network(path: Path) -> Any:
        return list(zoo.load(str(path.with_suffix(".safetensors"))).state_dict().values())

    places = ("train/a/1.png", "train/a/2.png", "train/b/1.png", "test/a/1.png")
    return {
        "problem": Kind({"p.npz": old["problem.npz"]}, files.load_problem),
        "blind problem": Kind({"p.npz": old["blind.npz"]}, files.load_problem),
        "separation": Kind({"o.npz": old["out.npz"]}, files.load_separation),
        "partial": Kind({"o.partial.npz": old["stopped.partial.npz"]}, files.load_partial),
        "trace": Kind({"t.npz": old["trace.npz"]}, trace),
        "npy": Kind({"m.npy": as_npy(array)}, images),
        "png": Kind({"a.png": picture("L")}, images),
        "folder": Kind(dict.fromkeys(places, picture("RGB")),
                       lambda path: load(str(path.parents[2]), "train", size=4).images),
        "idx": Kind({"images": b"\0\0\x08\x03" + sizes + bytes(range(24))}, read_idx),
        "weights": Kind(weights | card, network),
        "card": Kind(card | weights, network),
        "checkpoint": Kind({"run.ckpt": state}, lambda path: list(
            (checkpoint.take_up(path, {}, CPU) or {}).values())),
        "notebook": Kind({"lab.ipynb": notebook()},
                         lambda path: lab_page(path, False, False)[:3]),
    }


def file_cases(count: int, rng: random.Random) -> Iterator[Case]:
    every = kinds()
    for number in range(count):
        name, kind = list(every.items())[number % len(every)]
        first, good = next(iter(kind.good)), number < len(every)
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / name.replace(" ", "")
            for file, data in {**kind.good, "other.txt": b"mine"}.items():
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                bite = file == first and not good
                (folder / file).write_bytes(bitten(data, file, rng) if bite else data)
            before = contents(folder)
            case = attempt(name, lambda read=kind.read, path=folder / first: read(path))
            if contents(folder) != before:
                case = case._replace(fault="files were changed")
            if good and not case.accepted:
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
        text = text if number < len(texts) else garbled_state(text, rng)
        yield attempt("state", lambda text=text: make(text))


def garbled_state(text: str, rng: random.Random) -> str:
    if rng.random() < 0.5:
        pairs = [part.partition("=") for part in text.split(",")]
        at = rng.randrange(len(pairs))
        name, _, value = pairs[at]
        other = rng.choice([*WORDS, rng.choice(pairs)[2], value + rng.choice(WORDS)])
        pairs[at] = rng.choice([(name, "=", other), (other, "=", value), (name, "", value),
                                (name, "=", ""), rng.choice(pairs)])
        return ",".join("".join(pair) for pair in pairs)
    at = rng.randrange(len(text))
    return text[:at] + rng.choice([*WORDS, ""]) + text[at + rng.randrange(4):]


# --- inputs -------------------------------------------------------------------------------------


def input_cases(count: int, rng: random.Random) -> Iterator[Case]:
    for _ in range(count):
        if rng.random() < 0.6:
            name = rng.choice(list(METHODS))
            yield attempt(f"method {name}", lambda name=name: odd_method(name, rng))
        else:
            kind = rng.choice(list(ODD_INPUTS))
            yield attempt(kind, lambda kind=kind: ODD_INPUTS[kind](rng))


# --- the table ----------------------------------------------------------------------------------


def fuzz(file_count: int, state_count: int, input_count: int, seed: int = 0) -> list[Case]:
    """All cases of a seed; each part has randomness of its own."""
    return [*file_cases(file_count, random.Random(seed)),
            *state_cases(state_count, random.Random(seed + 1)),
            *input_cases(input_count, random.Random(seed + 2))]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("files", 300), ("states", 60), ("inputs", 400), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default: {default}")
    words = parser.parse_args()
    begun = time.monotonic()
    cases = fuzz(words.files, words.states, words.inputs, words.seed)
    print(f"{'kind':<24} {'tried':>6} {'refused':>8} {'accepted':>9} {'failures':>9}")
    for kind in dict.fromkeys(case.kind for case in cases):
        those = [case for case in cases if case.kind == kind]
        accepted, failed = (sum(map(bool, column)) for column in list(zip(*those, strict=True))[1:])
        print(f"{kind:<24} {len(those):>6} {len(those) - accepted:>8} {accepted:>9} {failed:>9}")
    faults = Counter((case.kind, case.fault) for case in cases if case.fault)
    print(f"{len(cases)} cases, {sum(faults.values())} failures, seed {words.seed}, "
          f"{time.monotonic() - begun:.0f} s")
    for (kind, fault), count in faults.items():
        print(f"{count} x {kind}: {fault}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
