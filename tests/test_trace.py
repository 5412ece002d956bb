"""Recording, saving, loading and exporting a run."""

import dataclasses
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Generator

from sepviz import metrics
from sepviz.core import Mixing, Problem, Separator, SepvizError, Step, Truth, parameter
from sepviz.runs.trace import Trace, record
from sepviz.separators import Average
from sepviz.views.gif import save_gif
from sepviz.views.page import save_page


@dataclass(frozen=True)
class Toy(Separator):
    """Gradient steps on 0.5 ||m - sum_k a_k x_k||^2 with noise that dies out.

    What it needs of the past is in the step.
    """

    count: int = parameter(50, "How many steps.", low=1, high=5000, log=True)
    rate: float = parameter(0.1, "Step size.", low=0.001, high=1.0, log=True)
    interrupt_at: int = -1

    def __post_init__(self):
        if self.rate <= 0:
            raise SepvizError(f"rate={self.rate}: want a positive step size")

    def total_steps(self, problem: Problem) -> int:
        return self.count

    def steps(self, problem: Problem, rng: Generator, start: Step | None = None) -> Iterator[Step]:
        mixtures, mixing, *_ = problem
        if start is None:
            sources = torch.rand((len(mixtures), mixing.count, *mixtures.shape[1:]), generator=rng)
            yield Step(0, "start", sources.clone(), info={"sigma": 1.0})
        else:
            sources = start.sources.clone()
        for index in range(start.index + 1 if start else 1, self.count + 1):
            if index == self.interrupt_at:
                raise KeyboardInterrupt
            sigma = 0.9**index
            data = self.rate * mixing.adjoint(mixtures - mixing.apply(sources))
            prior = -0.1 * self.rate * sources
            noise = 0.01 * sigma * torch.randn(sources.shape, generator=rng)
            sources = sources + data + prior + noise
            residual = float(problem.residuals(sources).mean())
            yield Step(index, f"sigma {sigma:.2g}", sources.clone(),
                       {"prior_force": prior, "data_force": data, "noise": noise},
                       info={"sigma": sigma, "residual": residual, "evaluations": index})


@pytest.fixture
def task() -> tuple[Problem, Truth]:
    mixing = Mixing.sum(2)
    sources = torch.rand(3, 2, 1, 6, 5, generator=Generator().manual_seed(1)).round()
    return Problem(mixing.apply(sources), mixing), Truth(sources)


def stream(separator, problem, seed=0, start=None) -> list[Step]:
    return list(separator.steps(problem, Generator().manual_seed(seed), start))


@pytest.mark.parametrize("separator, count", [(Average(), 1), (Toy(), 51)])
def test_the_bar_ends_full(task, capsys, separator, count):
    record(separator, task[0])
    assert f"{count}/{count} " in capsys.readouterr().err.split("\r")[-1]


def test_a_trace_is_the_stream(task):
    problem, _ = task
    trace = record(Toy(), problem, seed=3, every=1, progress=False)
    steps = stream(Toy(), problem, seed=3)
    assert list(trace.indices) == list(range(51))
    assert torch.equal(trace.sources, steps[-1].sources)
    for kept, step in zip(trace, steps, strict=True):
        # float16 has 11 bits
        torch.testing.assert_close(kept.sources, step.sources, rtol=1e-3, atol=1e-6)
        assert kept.sources.dtype == torch.float32
        assert kept.stage == step.stage
        assert {name: value for name, value in kept.info.items() if name != "seconds"} == step.info
    seconds = trace.curve("seconds")
    assert seconds[0] >= 0 and (np.diff(seconds) >= 0).all() and seconds[-1] <= trace.seconds
    fork = record(Toy(), problem, start=trace[20], progress=False)
    assert fork.curve("seconds")[0] >= seconds[20], "a fork counts the run that it was forked from"
    assert trace.method == "Toy"
    assert trace.parameters == {"count": 50, "rate": 0.1, "interrupt_at": -1}


def test_every_keeps_first_and_last(task):
    trace = record(Toy(), task[0], every=7, progress=False)
    assert list(trace.indices) == [0, 7, 14, 21, 28, 35, 42, 49, 50]


def test_about_200_frames_by_default(task):
    trace = record(Toy(count=3000), task[0], progress=False)
    assert 100 <= len(trace) <= 202
    assert (trace.indices[0], trace.indices[-1]) == (0, 3000)


def test_a_run_longer_than_it_said_is_thinned(task):
    class Endless(Toy):
        def total_steps(self, problem):
            return 1

    trace = record(Endless(count=1500), task[0], progress=False)
    assert 100 <= len(trace) <= 202
    assert (trace.indices[0], trace.indices[-1]) == (0, 1500)


def test_thinning_bounds_memory(task):
    limit = 20_000  # a frame of the toy is 3 * 2 * 30 values, 4 images, 2 bytes: 1,440
    trace = record(Toy(count=400), task[0], every=1, limit=limit, progress=False)
    images = sum(step.sources.nbytes + sum(value.nbytes for _, value in step.tensors())
                 for step in trace.steps[:-1])
    assert images <= limit
    assert (trace.indices[0], trace.indices[-1]) == (0, 400)
    assert len(set(np.diff(trace.indices[:-1]))) == 1  # evenly spaced
    assert torch.equal(trace.sources, stream(Toy(count=400), task[0])[-1].sources)


def test_tiny_budget_keeps_first_and_last(task):
    trace = record(Toy(), task[0], every=1, limit=1, progress=False)
    assert list(trace.indices) == [0, 50]


def test_interrupt_keeps_what_there_is(task, capsys):
    trace = record(Toy(interrupt_at=12), task[0], every=5, progress=False)
    assert trace.interrupted
    assert list(trace.indices) == [0, 5, 10, 11]
    assert torch.equal(trace.sources, stream(Toy(count=11), task[0])[-1].sources)
    out, err = capsys.readouterr()
    assert (out + err).count("\n") == 1 and "interrupted at step 11" in out + err


def test_fork_goes_on_as_the_method_would(task):
    problem, _ = task
    trace = record(Toy(), problem, every=10, progress=False)
    changed = dataclasses.replace(Toy(), rate=0.02)
    fork = record(changed, problem, start=trace[2], every=1, progress=False)
    assert list(fork.indices) == list(range(21, 51))
    assert torch.equal(fork.sources, stream(changed, problem, start=trace.step(2))[-1].sources)
    with pytest.raises(SepvizError, match="after step 50"):
        record(changed, problem, start=trace.final, progress=False)


def test_images_too_large_for_float16_stay_float32(task):
    class Diverged(Toy):
        def steps(self, problem, rng, start=None):
            for step in super().steps(problem, rng, start):
                moment = torch.full((2,), 1e-12)
                yield step._replace(sources=step.sources * 1e6, state={"moment": moment})

    trace = record(Diverged(count=3), task[0], every=1, progress=False)
    assert trace[1].sources.isfinite().all() and trace[1].sources.abs().amax() > 65504
    assert trace[1].state["moment"].tolist() == pytest.approx([1e-12, 1e-12])


def test_curve_and_metric(task):
    problem, truth = task
    trace = record(Toy(), problem, every=1, progress=False)
    assert trace.curve("sigma") == pytest.approx(0.9 ** np.arange(51))
    assert np.isnan(trace.curve("residual")[0])
    with pytest.raises(SepvizError, match="residual, seconds, sigma"):
        trace.curve("loss")
    values = trace.metric(truth)
    assert values.shape == (51, 3)
    assert torch.equal(values[-1], metrics.psnr(trace.sources, truth.sources))
    with pytest.raises(SepvizError, match="'wit'"):
        trace.metric(truth, "wit")


def test_save_and_load_are_exact(task, tmp_path):
    trace = record(Toy(), task[0], every=9, seed=5, progress=False)
    loaded = Trace.load(trace.save(tmp_path / "run.npz"))
    assert torch.equal(loaded.problem.mixtures, trace.problem.mixtures)
    assert loaded.problem.mixing == trace.problem.mixing
    for one, other in zip(loaded.steps, trace.steps, strict=True):
        assert (one.index, one.stage, one.info) == (other.index, other.stage, other.info)
        for (name, value), (same, again) in zip(one.tensors(), other.tensors(), strict=True):
            assert name == same and torch.equal(value, again) and value.dtype == again.dtype
        assert torch.equal(one.sources, other.sources) and one.sources.dtype == other.sources.dtype
    for name in ("method", "parameters", "seed", "seconds", "interrupted", "versions", "changes"):
        assert getattr(loaded, name) == getattr(trace, name)
    fork = record(Toy(rate=0.02), loaded.problem, start=loaded[3], progress=False)
    assert torch.equal(fork.sources,
                       record(Toy(rate=0.02), task[0], start=trace[3], progress=False).sources)


def test_save_never_destroys(task, tmp_path):
    trace = record(Toy(), task[0], every=25, progress=False)
    path = trace.save(tmp_path / "run.npz")
    with pytest.raises(SepvizError, match="is there already"):
        trace.save(path)
    trace.save(path, overwrite=True)
    with pytest.raises(SepvizError, match="cannot write"):
        trace.save(tmp_path / "nowhere" / "run.npz")
    assert [file.name for file in tmp_path.iterdir()] == ["run.npz"]  # no temporary file is left


def test_bad_files_give_one_line(task, tmp_path):
    trace = record(Toy(), task[0], every=25, progress=False)
    whole = trace.save(tmp_path / "run.npz").read_bytes()
    (tmp_path / "half.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.npz").write_text("not a trace")
    np.savez(tmp_path / "foreign.npz", a=np.zeros(3))
    np.save(tmp_path / "single.npy", np.zeros(3))
    np.savez(tmp_path / "pickled.npz", meta=np.array([{"sepviz trace": 1}], dtype=object),
             allow_pickle=True)
    middle = bytearray(whole)
    middle[len(whole) // 3] ^= 0xFF
    (tmp_path / "flipped.npz").write_bytes(middle)
    for name in ("half.npz", "text.npz", "foreign.npz", "single.npy", "pickled.npz", "flipped.npz",
                 "missing.npz"):
        with pytest.raises(SepvizError, match=name) as caught:
            Trace.load(tmp_path / name)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("change", [
    {"steps": []}, {"mixing": {"weights": ["a", 1]}},
    {"mixing": {"weights": [1, 1], "filter_size": 4}}])
def test_what_cannot_be_a_run_names_the_file(task, tmp_path, change):
    path = record(Toy(), task[0], every=25, progress=False).save(tmp_path / "run.npz")
    with np.load(path) as held:
        arrays = dict(held)
    meta = {**json.loads(str(arrays["meta"])), **change}
    np.savez(path, **{**arrays, "meta": np.array(json.dumps(meta))})
    with pytest.raises(SepvizError, match=r"run\.npz: ") as caught:
        Trace.load(path)
    assert "\n" not in str(caught.value) and str(caught.value).count("run.npz") == 1


def test_another_version_is_refused(task, tmp_path):
    path = record(Toy(), task[0], every=25, progress=False).save(tmp_path / "run.npz")
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    text = entries["meta.npy"]
    old = '"sepviz trace": 1'.encode("utf-32-le")
    assert old in text
    entries["meta.npy"] = text.replace(old, '"sepviz trace": 9'.encode("utf-32-le"))
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    with pytest.raises(SepvizError, match="format 9"):
        Trace.load(path)


def test_bad_arguments(task):
    for options in ({"every": 0}, {"limit": 0}):
        with pytest.raises(SepvizError, match=next(iter(options))):
            record(Toy(), task[0], progress=False, **options)


def test_gif_plays(task, tmp_path):
    problem, truth = task
    path = save_gif(record(Toy(), problem, every=10, progress=False), tmp_path / "run.gif", truth,
                    item=1, zoom=3, seconds=1)
    with Image.open(path) as image:
        assert image.n_frames == 6


def test_html_needs_no_network(task, tmp_path):
    problem, truth = task
    page = save_page(record(Toy(), problem, every=10, progress=False), tmp_path / "run.html", truth,
                     title="a <b> & c").read_text()
    assert "http://" not in page and "https://" not in page
    assert "<title>a &lt;b&gt; &amp; c</title>" in page
