"""A session alone, without a widget: its thread, branches, changes and errors."""

import subprocess
import sys
import threading
import time
from dataclasses import dataclass

import pytest
import torch
from test_trace import Toy, stream, task  # noqa: F401 (task is a fixture)

from sepviz.core import SepvizError
from sepviz.runs import Session


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("sepviz ")]


@pytest.fixture
def begin(task):  # noqa: F811
    """Make sessions, which leave no thread behind when they are closed."""
    made = []

    def call(separator, tell=lambda event: None):
        made.append(Session(separator, task[0], tell=tell))
        return made[-1]

    yield call
    for session in made:
        session.close()
    assert not threads()


def step(session, count=1):
    for _ in range(count):
        session.one_step()
        assert session.wait(60)


def run(session):
    session.start()
    assert session.wait(60)
    return session.state


@dataclass(frozen=True)
class Gated(Toy):
    """Waits before each step until it is let through."""

    gate: threading.Semaphore | None = None
    reached: threading.Semaphore | None = None

    def steps(self, problem, rng, start=None):
        for made in super().steps(problem, rng, start):
            self.reached.release()
            assert self.gate.acquire(timeout=60)
            yield made


@pytest.fixture
def gated():
    return Gated(gate=threading.Semaphore(0), reached=threading.Semaphore(0))


def test_no_widget_is_needed():
    code = ("import sys; from sepviz.runs import Session; "
            "print({'anywidget', 'ipywidgets', 'traitlets'} & {*sys.modules})")
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "set()"


def test_it_is_the_same_stream(begin, task):  # noqa: F811
    session = begin(Toy())
    assert run(session) == "finished"
    assert list(session.trace.indices) == list(range(51))
    assert torch.equal(session.trace.sources, stream(Toy(), task[0])[-1].sources)


def test_one_step_at_a_time(begin, task):  # noqa: F811
    session = begin(Toy())
    for index in range(3):
        step(session)
        assert session.state == "paused" and session.trace.final.index == index
    assert torch.equal(session.trace.sources, stream(Toy(), task[0])[2].sources)


def test_an_observer_hears_what_happens(begin):
    events = []
    session = begin(Toy(count=2), events.append)
    step(session)
    assert events == ["state", "last", "state"]
    events.clear()
    assert run(session) == "finished"
    assert events == ["state", "step", "step", "steps", "state"]
    for action, heard in ((lambda: session.set(rate=0.2), ["parameters", "state"]),
                          (lambda: session.fork(1), ["steps", "state"]),
                          (lambda: session.select(0), ["parameters", "steps", "state"]),
                          (lambda: session.report(SepvizError("no")), ["state"]),
                          (session.reset, ["steps", "state"])):
        events.clear()
        action()
        assert events == heard


@pytest.mark.parametrize("event", ["step", "steps", "last"])
def test_an_observer_that_fails_ends_the_run(begin, event):
    def tell(heard):
        if heard == event:
            raise RuntimeError("no paper")

    session = begin(Toy(), tell)
    session.one_step() if event == "last" else session.start()
    assert session.wait(60)
    assert (session.state, session.error) == ("failed", "RuntimeError: no paper")


def test_a_change_takes_effect_from_the_last_step(begin, task):  # noqa: F811
    session = begin(Toy())
    step(session, 5)
    before = session.trace.final
    session.set(rate=0.5)
    step(session)
    after = session.trace
    left = task[0].mixtures - task[0].mixing.apply(before.sources)
    assert torch.equal(after.final.shown["data_force"], 0.5 * task[0].mixing.adjoint(left))
    assert after.changes == [{"before_step": 5, "rate": [0.1, 0.5]}]
    assert after.parameters["rate"] == 0.5


def test_forks_are_kept(begin, task):  # noqa: F811
    session = begin(Toy())
    run(session)
    session.fork(20)
    session.set(rate=0.02)
    run(session)
    first, second = session.branches
    assert torch.equal(first.sources, stream(Toy(), task[0])[-1].sources)
    assert first.parameters["rate"] == 0.1 and second.parameters["rate"] == 0.02
    assert second.changes == [{"before_step": 21, "rate": [0.1, 0.02]}]
    again = stream(Toy(rate=0.02), task[0], start=first[20])
    assert torch.equal(second.sources, again[-1].sources)
    assert [branch.name for branch in session.kept] == ["first run", "fork 1 at step 20"]
    session.select(0)
    assert session.separator.rate == 0.1 and session.state == "paused"
    assert torch.equal(session.trace.sources, first.sources)
    for _ in range(9):
        session.fork(20)
    assert len(session.kept) == 8 and session.kept[-1].name == "fork 10 at step 20"


def test_what_cannot_be_done(begin):
    session = begin(Toy())
    for call, words in ((lambda: session.fork(20), "fork at step 20: nothing is recorded"),
                        (lambda: session.select(1), "branch=1: there are branches 0 to 0"),
                        (lambda: session.trace, "start the run"),
                        (lambda: session.set(rate=-1.0), "positive"),
                        (lambda: session.set(speed=2), "no parameter 'speed'")):
        with pytest.raises(SepvizError, match=words):
            call()
    assert (session.state, session.separator.rate) == ("ready", 0.1)
    session.set(count=7.0)  # as a browser gives a whole number
    assert run(session) == "finished" and session.trace.final.index == 7


def test_a_class_is_not_a_separator(begin):
    with pytest.raises(SepvizError, match="instance"):
        begin(Toy)


def test_start_and_pause_at_once(begin):
    session = begin(Toy())
    step(session)
    for _ in range(20):
        session.start()
        session.pause()
        assert session.wait(60)
        assert session.state in ("paused", "finished")


def test_others_get_their_turn_while_fast_steps_run(begin):
    session = begin(Toy(count=1_000_000))
    session.start()
    for rate in (0.05, 0.06, 0.07):
        begun = time.perf_counter()
        session.set(rate=rate)
        assert time.perf_counter() - begun < 10  # generous: the machine may be shared
    while not session.branches:
        time.sleep(0.001)
    session.fork(0)
    session.start()
    session.pause()
    assert session.wait(60)


def test_what_is_asked_for_in_the_middle_of_a_step(begin, gated):
    """A pause waits for the step; after a change, a fork or another branch it is dropped."""
    session = begin(gated)
    session.start()
    for _ in range(3):
        assert gated.reached.acquire(timeout=60)
        gated.gate.release()
    assert gated.reached.acquire(timeout=60)
    session.pause()
    assert not session.wait(0.05) and session.state == "running"
    gated.gate.release()
    assert session.wait(60) and session.state == "paused" and session.trace.final.index == 3
    for change in (lambda: session.set(rate=0.03), lambda: session.fork(1),
                   lambda: session.select(0)):
        session.start()
        assert gated.reached.acquire(timeout=60)
        change()
        reached = session.trace.final.index
        session.pause()
        gated.gate.release()
        assert session.wait(60)
        assert session.state == "paused" and session.trace.final.index == reached
    session.start()
    assert gated.reached.acquire(timeout=60)
    gated.gate.release()
    session.reset()
    assert not threads() and session.state == "ready"
    for _ in range(100):
        gated.gate.release()
    step(session)
    assert session.trace.final.index == 0


def test_a_single_step_in_a_run_shows_all(begin, gated):
    """One step, asked for in mid-run: the run rests after it, and all is looked at."""
    events = []
    session = begin(gated, events.append)
    session.start()
    assert gated.reached.acquire(timeout=60)
    session.one_step()
    gated.gate.release()
    assert session.wait(60)
    assert events[-2:] == ["steps", "state"] and session.trace.final.index == 0


def test_a_closed_session_does_not_run(begin):
    session = begin(Toy(count=1_000_000))
    session.start()
    session.close()
    assert session.wait(0) and not threads()
