"""Odd arguments for `fuzz`: arrays, tensors, numbers, parameters."""

from __future__ import annotations

import copy
import dataclasses
import math
import random
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from test_contract import SEPARATORS, gaussian_prior, make_problem

from sepviz import files, metrics, tasks
from sepviz.core import Mixing, Problem, Truth

CPU = torch.device("cpu")
ODD = [None, True, False, 0, -1, 5.7, 1e400, math.nan, "", "x", "\n", "\ud800", [], [[]], {},
       [1, "a"], 10**5000]
SOURCES = torch.rand((2, 2, 1, 8, 8), generator=torch.Generator().manual_seed(0))
MIXING = Mixing.sum(2)
TYPES = [torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool,
         torch.complex64]
NUMBERS = [*ODD, (1.0, 1.0), (1,), (True, 1), ("1", "1"), np.ones(2), torch.ones(2),
           np.ones((1, 2)), 1.0, (1j, 1), 3, 4, [5, 5], "5"]
MASKS = [None, torch.ones(8, 8).bool(), torch.ones(8, 8), np.ones((8, 8), bool),
         torch.zeros(8, 8).bool(), [[True]], torch.tensor(True)]


def odd_tensor(good: torch.Tensor, rng: random.Random) -> Any:
    """Like this tensor of mixtures (B, C, H, W), but odd in one way."""
    one = good.clone()
    one[0, 0, 0, 0] = rng.choice([math.nan, math.inf, -math.inf, 1e38, -3.0])
    return rng.choice([
        lambda: good.to(rng.choice(TYPES)), good.numpy, good.tolist, lambda: None,
        lambda: good.clone().requires_grad_(), lambda: one,
        lambda: good.transpose(2, 3).contiguous().transpose(2, 3),
        lambda: good[:1].expand_as(good), lambda: good[0], lambda: good[None], lambda: good[:0],
        lambda: good[..., :0], lambda: good.movedim(1, -1), lambda: good.repeat(1, 3, 1, 1),
        lambda: good[..., :1, :1], lambda: good[..., :3], lambda: good[:1], lambda: good * 0,
        lambda: good * 0 + 1, lambda: good * 255, lambda: -good, lambda: good * 2 - 2,
        lambda: good * 1e-30, lambda: good.to("meta"), good.to_sparse, lambda: copy.copy(good)])()


def odd_method(name: str, rng: random.Random) -> Any:
    """A method on a problem that is odd, or with an odd parameter."""
    weights = (1.0,) if name == "cnn" else (1.0, 1.0)
    separator = SEPARATORS[name](gaussian_prior(CPU))
    problem = make_problem(weights, CPU, name=name)
    what = rng.choice(["mixtures", "mixtures", "mixtures", "examples", "parameter"])
    if what == "examples" and problem.examples is not None:
        held = problem.examples._asdict()
        part = rng.choice([name for name, images in held.items() if images is not None])
        odd = {part: odd_tensor(held[part], rng)}
        problem = problem._replace(examples=problem.examples._replace(**odd))
    elif what == "parameter":
        fields = [field.name for field in dataclasses.fields(separator) if field.name != "prior"]
        for field in rng.sample(fields, min(1, len(fields))):
            value = rng.choice([None, "x", -1, 0, math.nan, 1e9, 2.5, []])
            separator = dataclasses.replace(separator, **{field: value})
    else:
        problem = problem._replace(mixtures=odd_tensor(problem.mixtures, rng))
    step = None
    for step in separator.steps(problem, torch.Generator().manual_seed(0)):  # noqa: B007
        pass
    assert step is not None, "no step"
    shape, want = step.sources.shape, (len(weights), *problem.mixtures.shape[1:])
    assert tuple(shape) == (len(problem.mixtures), *want), f"sources of shape {tuple(shape)}"
    assert not step.sources.requires_grad
    return step.sources


def odd_mixing(rng: random.Random) -> Any:
    mixing = Mixing(rng.choice(NUMBERS), rng.choice([None, rng.choice(NUMBERS)]), rng.choice(MASKS))
    mixtures = mixing.apply(SOURCES[:, :1].expand(-1, mixing.count, -1, -1, -1))
    return [*mixing.weights, mixing.check(mixtures, fills_in=True, solves_filters=True)]


def odd_count(rng: random.Random) -> Any:
    return list(rng.choice([Mixing.sum, Mixing.mean])(rng.choice(NUMBERS)).weights)


def is_batch(odd: Any) -> bool:
    return isinstance(odd, torch.Tensor) and odd.ndim == 4


def odd_metric(rng: random.Random) -> Any:
    name = rng.choice(["psnr", "ssim", "summarize", "pooled_psnr", "align"])
    odd = odd_tensor(SOURCES[:, 0], rng)
    if is_batch(odd) and odd.layout == torch.strided:
        odd = odd[:, None].expand(-1, 2, *odd.shape[1:])
    found = getattr(metrics, name)(odd, rng.choice([SOURCES, odd]))
    parts = found if isinstance(found, tuple) else (found,)
    return [part for part in parts if not (isinstance(part, float) and math.isnan(part))]


def odd_task(rng: random.Random) -> Any:
    odd, number = odd_tensor(SOURCES[:, 0], rng), lambda: rng.choice(NUMBERS)
    problem = Problem(MIXING.apply(SOURCES), MIXING)
    return rng.choice([
        lambda: tasks.mix(odd[:, None] if is_batch(odd) else odd, number())[0],
        lambda: tasks.hide(problem, odd[0, 0] if is_batch(odd) and len(odd) else odd),
        lambda: tasks.repeat(problem, rng.choice(ODD[:8]), rng.choice([2, *ODD[:8]])),
        lambda: tasks.separate("strokes", count=number(), sources=number(), weights=number())[0],
    ])().mixtures


def odd_file(rng: random.Random) -> Any:
    good = np.linspace(0, 1, 128, dtype=np.float32).reshape(2, 1, 8, 8)
    words = {name: rng.choice(NUMBERS) for name in ("weights", "count", "filter_size")}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.npy"
        np.save(path, odd_array(good[:, 0] if rng.random() < 0.5 else good, rng), True)
        given = {"count": 2} | dict(rng.sample(list(words.items()), rng.randrange(2)))
        return files.load_problem(path, **given)[0].mixtures


def odd_save(rng: random.Random) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        problem = Problem(odd_tensor(SOURCES[:, 0], rng), MIXING)
        path = files.save_problem(Path(folder) / "p.npz", problem, Truth(SOURCES))
        return files.load_problem(path)[0].mixtures


def odd_array(array: np.ndarray, rng: random.Random) -> np.ndarray:
    """Like this array, but of another type, shape or with other values."""
    flat = array.reshape(-1)
    type_ = rng.choice(["f2", "f8", ">f4", "g", "i4", "u1", "?", "c8", "U3", "S2", "M8[s]"])
    value = rng.choice([np.nan, np.inf, -np.inf, 1e300, -5.0])
    scale = rng.choice([0.0, 255.0, -1.0, 1e30])
    first = np.arange(flat.size).reshape(array.shape) == 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return rng.choice([
            lambda: array.astype(type_), lambda: array.astype(object),
            lambda: np.zeros(array.shape, [("a", "f4"), ("b", "i2")]),
            lambda: flat[:rng.randrange(len(flat) + 1)], lambda: array[None],
            lambda: np.array(flat[0]), lambda: flat[:0], lambda: array.T,
            lambda: np.asfortranarray(array),
            lambda: np.moveaxis(array, 1, -1) if array.ndim > 1 else array,
            lambda: np.concatenate([array] * 2, axis=-1) if array.ndim else array,
            lambda: array[:1] if array.ndim else array, lambda: np.where(first, value, array),
            lambda: array * scale, lambda: array * 2.0 - 1,
            lambda: np.zeros((20, 20, 3), np.float32)])()


ODD_INPUTS = {"mixing": odd_mixing, "number of sources": odd_count, "metrics": odd_metric,
              "tasks": odd_task, "array file": odd_file, "save": odd_save}
