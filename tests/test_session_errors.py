"""A session whose method fails: it ends with a message, and goes on when it can."""

import threading
from dataclasses import dataclass

import pytest
import torch
from test_session import begin, run, step, threads  # noqa: F401 (begin is a fixture)
from test_trace import Toy, task  # noqa: F401 (task is a fixture)

from sepviz.core import SepvizError, parameter


@dataclass(frozen=True)
class Fails(Toy):
    break_at: int = parameter(5, "Where it fails.", low=0, high=100)

    def steps(self, problem, rng, start=None):
        for made in super().steps(problem, rng, start):
            if made.index >= self.break_at:
                raise RuntimeError("out of\npaper")
            yield made


def test_errors_of_a_run_are_told(begin):  # noqa: F811
    session = begin(Fails())
    assert run(session) == "failed" and session.error == "RuntimeError: out of paper"
    assert session.trace.final.index == 4  # what was recorded is not lost
    session.set(break_at=100)  # mended, it goes on
    assert run(session) == "finished" and session.trace.final.index == 50
    session.fork(10)
    session.set(break_at=3)  # fails at once: the parameters go back
    assert run(session) == "paused"
    assert "as before" in session.error and session.separator.break_at == 100


def no_pixel(made):
    return made._replace(sources=torch.full_like(made.sources, torch.nan))


def raises(error):
    def spoil(_step):
        raise error
    return spoil


class Mute(Exception):
    def __str__(self):
        raise RuntimeError


SHAPE = "step 3 has sources of shape {}: this problem's are (3, 2, 1, 6, 5)"
WRONG = [
    (lambda made: made._replace(sources=made.sources[:, :1]), SHAPE.format((3, 1, 1, 6, 5))),
    (lambda made: made._replace(sources=None), SHAPE.format(())),
    (no_pixel, "step 3 has no finite pixel: the run diverged; take smaller steps"),
    (lambda made: None, "Spoilt yields a NoneType: want a Step"),
    (lambda made: tuple(made), "Spoilt yields a tuple: want a Step"),
    (lambda made: made._replace(shown=None), None),
    (raises(SystemExit(3)), "SystemExit: 3"),
    (raises(KeyboardInterrupt("stop")), "KeyboardInterrupt: stop"),
    (raises(GeneratorExit("gone")), "GeneratorExit: gone"),
    (raises(SepvizError("too many")), "too many"),
    (raises(Mute()), "Mute: it has no message"),
]


@pytest.mark.parametrize(("spoil", "says"), WRONG)
def test_a_run_ends_whatever_its_method_does(begin, spoil, says):  # noqa: F811
    """It fails with a message, what was recorded is there, and after a reset it runs again."""
    @dataclass(frozen=True)
    class Spoilt(Toy):
        spoilt: bool = parameter(True, "Whether step 3 is spoilt.")

        def steps(self, problem, rng, start=None):
            for made in super().steps(problem, rng, start):
                yield spoil(made) if self.spoilt and made.index == 3 else made

    session = begin(Spoilt())
    step(session, 3)
    assert session.state == "paused"
    step(session)
    assert session.state == "failed" and session.error
    assert says is None or session.error == says
    assert session.trace[2].index == 2
    session.reset()
    session.set(spoilt=False)
    assert run(session) == "finished" and session.trace.final.index == 50


def test_a_step_that_never_ends_is_left_behind(begin, monkeypatch):  # noqa: F811
    begun, ended = threading.Event(), threading.Event()

    @dataclass(frozen=True)
    class Blocks(Toy):
        blocks: bool = parameter(True, "Whether it blocks.")

        def steps(self, problem, rng, start=None):
            if self.blocks:
                begun.set()
                ended.wait(60)
            yield from super().steps(problem, rng, start)

    monkeypatch.setattr("sepviz.runs.session.PATIENCE", 0.1)
    session = begin(Blocks())
    session.start()
    assert begun.wait(60)
    session.pause()
    assert not session.wait(0.05)  # it pauses after this step, which does not end
    session.reset()
    assert session.state == "ready" and session.wait(1)
    session.set(blocks=False)
    assert run(session) == "finished"
    ended.set()  # what was left behind ends, and changes nothing
    for thread in threads():
        thread.join(10)
    assert session.state == "finished" and session.trace.final.index == 50
