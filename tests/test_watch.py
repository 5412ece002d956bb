"""The one training loop: watched on a page, recorded, played, forked, timed, left half-read."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sepviz import data
from sepviz.core import Step
from sepviz.runs import record
from sepviz.training import cnn, followed, gan, score
from sepviz.training.cnn import CnnTraining
from sepviz.training.followed import Followed
from sepviz.training.gan import GanTraining
from sepviz.training.loop import LOOKS
from sepviz.training.score import ScoreTraining
from sepviz.widgets import Player

TINY = (8, 8, 8)
SMALL = {"score": {"widths": TINY, "batch": 8}, "gan": {"widths": TINY, "batch": 8},
         "cnn": {"width": 4, "batch": 8}}
LOSSES = {"score": ["loss"], "gan": ["discriminator_loss", "generator_loss"], "cnn": ["loss"],
          "egg": ["loss"]}


@pytest.fixture(scope="module")
def images():
    return data.strokes(120, 1).images


def trainings(images, **length):
    return [ScoreTraining(images=images, **SMALL["score"], **length),
            GanTraining(images=images, latent_size=5, **SMALL["gan"], **length),
            CnnTraining(images=images, **SMALL["cnn"], **length)]


def weights(step):
    return {name: value for name, value in step.state.items() if value.is_floating_point()}


def assert_same(one: Step, other: Step):
    assert one.index == other.index and torch.equal(one.sources, other.sources)
    assert weights(one).keys() == weights(other).keys()
    assert all(torch.equal(value, other.state[name]) for name, value in weights(one).items())


# --- a page of it -------------------------------------------------------------------------------


@pytest.fixture
def command(run, tmp_path, monkeypatch):
    """The command that trains a small model for four iterations, watched on page.html."""
    few = data.strokes(120, 1)
    monkeypatch.setattr(data, "load", lambda *args, **kwargs: few)
    monkeypatch.setattr("sepviz.tasks.unmixing.HELD_OUT", 10)
    monkeypatch.setattr(gan, "oracle", lambda prior, images, **_: torch.ones(len(images)))
    monkeypatch.chdir(tmp_path)
    for module, name in ((score, "score"), (gan, "gan"), (cnn, "cnn")):
        whole = getattr(module, f"train_{name}")

        def small(*args, whole=whole, fields=SMALL[name], **options):
            return whole(*args, **{**options, **fields})

        monkeypatch.setattr(module, f"train_{name}", small)

    def call(model):
        length = ["--iterations", 4]
        if model == "egg":
            length = ["--training", 16, "--set", "iterations=4", "--set", "batch=8"]
        return run("train", model, *length, "--watch", "page.html", "--out", "mine.safetensors")

    return call


def frames_of_page():
    text = Path("page.html").read_text()
    found = re.search(r'\{"static": .*?"cursor": 0, "item": 0\}', text)
    assert found is not None
    return json.loads(found[0])["frames"], text


@pytest.mark.parametrize("model", LOSSES)
def test_a_page_is_renewed_and_goes_on_after_a_stop(model, command, monkeypatch):
    monkeypatch.setattr(followed, "WATCH_EVERY", 0)
    shown, whole, add, stop = [], followed.Followed._show, followed.Recorder.add, [True]

    def show(self):
        whole(self)
        shown.append(len(self.frames))

    def stopped(self, step):
        if stop and step.index == 3:
            raise KeyboardInterrupt
        add(self, step)

    monkeypatch.setattr(followed.Followed, "_show", show)
    monkeypatch.setattr(followed.Recorder, "add", stopped)
    code, _, err = command(model)
    assert code == 130 and "mine.ckpt keeps the run" in err
    before = frames_of_page()
    assert shown[:3] == [1, 2, 3] and f"sepviz train {model}" in before[1]
    stop.clear()
    code, _, err = command(model)
    assert code == 0, err
    after = frames_of_page()
    assert shown[-1] > 3 and after[1] != before[1] and Path("mine.safetensors").exists()
    for loss in LOSSES[model]:
        assert f'"{loss}"' in after[1]


def test_a_page_shows_no_more_samples_than_stand_in_a_row(images, tmp_path, monkeypatch):
    monkeypatch.setattr(gan, "oracle", lambda prior, images, **_: torch.ones(len(images)))
    seen = []
    gan.train_gan(images[:100], images[100:], tmp_path / "a", iterations=2, latent_size=5,
                  progress=False, watch=lambda trace, truth: seen.append(trace), **SMALL["gan"])
    last = seen[-1].steps[-1]
    assert last.sources.shape[1] == seen[-1].problem.mixing.count == gan.SAMPLES


# --- recorded, played, forked -------------------------------------------------------------------


def test_is_recorded_and_played(images):
    for training in trainings(images, iterations=5, every=2):
        problem, truth = training.view(images[:10])
        trace = record(training, problem, progress=False)
        assert [step.index for step in trace.steps] == [0, 2, 4, 5]
        assert all("seconds" in step.info for step in trace.steps)
        player = Player(trace, truth)
        assert len(player.frames) == 4


def test_a_fork_ends_at_the_same_bits(images):
    for training in trainings(images, iterations=5, every=2):
        problem, _ = training.view(images[:10])
        rng = torch.Generator().manual_seed(3)
        steps = training.steps(problem, rng)
        half = [next(steps) for _ in range(2)][-1]
        drawn_from = rng.get_state()
        *_, whole = steps
        rng.set_state(drawn_from)
        *_, forked = training.steps(problem, rng, half)
        assert half.index == 2
        assert_same(forked, whole)


def test_minutes_end_it(images):
    for training in trainings(images, minutes=0.3 / 60):
        problem, _ = training.view(images[:10])
        steps = list(training.steps(problem, torch.Generator().manual_seed(0)))
        assert training.total_steps(problem) == LOOKS >= len(steps) - 1 > 0
        assert steps[-1].index > 0 and all(float(value).is_integer() or value > 0
                                           for value in steps[-1].info.values())


# --- left half-read -----------------------------------------------------------------------------


def test_goes_on_where_it_was_left_half_read(images, tmp_path):
    for number, training in enumerate(trainings(images, iterations=5, every=2)):
        problem, _ = training.view(images[:10])

        def follow(name, training=training, problem=problem):
            return Followed(training, problem, tmp_path / name, 0, training.settings(),
                            progress=False)

        whole = follow(f"whole{number}").last()
        steps = iter(follow(f"half{number}"))
        assert [next(steps).index, next(steps).index] == [0, 2]
        steps.close()
        rest = follow(f"half{number}")
        assert rest.step.index == 2
        assert_same(rest.last(), whole)


def test_a_program_that_ends_in_the_middle_says_nothing(tmp_path):
    program = """
from sepviz import data
from sepviz.training.cnn import CnnTraining
from sepviz.training.followed import Followed
training = CnnTraining(images=data.strokes(40, 1).images, iterations=9, every=1, width=4, batch=8)
run = Followed(training, training.view()[0], "one.ckpt", 0, training.settings(), progress=False)
steps = iter(run)
for _ in range(3):
    next(steps)
"""
    ended = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True,
                           text=True, check=True)
    assert ended.stdout == ended.stderr == ""
