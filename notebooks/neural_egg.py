# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Neural Egg Separation: learn a source that is never seen alone
#
# A street musician cannot be recorded without the street, but the street can be recorded without
# the musician. Here the street is $b$: we have clean images of it. The musician is $x$: we see it
# only in mixtures $y = x + b$. Neural Egg Separation (Halperin et al., 2019) learns from synthetic
# mixtures, which it makes from its own last estimates of $x$:
#
# $$T \leftarrow \arg\min_T \|T(b_j + \tilde x_i) - b_j\|_1, \qquad
# \tilde x_i \leftarrow y_i - T(y_i), \qquad T(y) = y\, m(y).$$
#
# Training takes minutes, so the trainings of this lab were recorded, and you play them. The lab
# runs in about half a minute on a laptop's CPU.
#
# [Open in Colab](https://colab.research.google.com/github/_OWNER_/sepviz/blob/main/notebooks/neural_egg.ipynb)

# %%
import sys

if "google.colab" in sys.modules:  # elsewhere this cell does nothing
    # %pip install --quiet --no-deps git+https://github.com/_OWNER_/sepviz anywidget psygnal
    from google.colab import output

    output.enable_custom_widget_manager()

# %%
import torch
from IPython.display import display

import sepviz
from sepviz import Constant, Egg, Guess, Mask, Player, exercises, figures, metrics, recorded, tasks

UNSEEN, OBSERVED = "strokes:5-9", "strokes:0-4"
problem, truth = tasks.unmix(UNSEEN, OBSERVED, count=6, training=800, split="held-out")
examples = problem.examples

# %% [markdown]
# ## 1. What the method may see
#
# It may see digits 0 to 4 alone, and sums of a digit 0 to 4 and a digit 5 to 9. It **never** sees a
# digit 5 to 9 alone. The class `Examples` holds just this; only the figures use the truth.

# %%
# NBVAL_CHECK_OUTPUT
print(f"{len(examples.observed)} observed images, {len(examples.mixtures)} mixtures, ", end="")
print("unseen ones:", examples.unobserved)

# %%
figures.images(
    {"observed b": examples.observed[:10], "mixtures y": examples.mixtures[:10] / 2},
    title="All there is to learn from",
)

# %% [markdown] tags=["exercise"]
# **Exercise: the first task.** There are ten clean observed images and ten mixtures. The first
# estimate of the unseen source is half of each mixture. What is the input of the network $T$ in the
# first iteration, and what should its output be?

# %% tags=["exercise"]
b, y = examples.observed[:10], examples.mixtures[:10]
given = ...  # (10, 1, 32, 32)
wanted = ...  # (10, 1, 32, 32)

# %% tags=["solution"]
estimate = y / 2
given = b + estimate
wanted = b

# %% tags=["check"]
# NBVAL_CHECK_OUTPUT
exercises.check(
    "given",
    given,
    right=b + y / 2,
    mistakes={
        "these are the real mixtures, and nobody knows the right output for them": y,
        "the estimate is half of the mixture": b + y,
        "this is the estimate alone: add an observed image": y / 2,
    },
    why="The parts of this synthetic mixture are known.",
)
exercises.check(
    "wanted",
    wanted,
    right=b,
    mistakes={
        "this is the estimate of the unseen source: T gives the observed part": y / 2,
        "this is y - b, but y was made with another b": y - b,
        "this is the input of T": b + y / 2,
    },
    why="T learns the observed source, which we have clean; the rest is the unseen source.",
)

# %% [markdown]
# ## 2. Watch the unseen source appear
#
# The recorded run has 30 iterations, each one pass over 12,000 images. Source 1 is the unseen one.
# **Before you play it:** the first estimate is half of every mixture. What will a network that is
# trained on $b + y/2$ do with a pixel that both digits cover? And with a pixel that only $x$
# covers? Sketch the course of the PSNR.

# %%
course = Guess.curve(
    "How does the PSNR of the unseen source change during the training?",
    x="iteration",
    y="PSNR in dB",
    at=[0, 5, 10, 15, 20, 25, 30],
    low=10,
    high=35,
)
display(course)

# %%
trace, seen = recorded("egg-strokes-high")
Player(trace, seen)


# %%
def unseen_psnr(steps, truth):
    return [metrics.summarize(step.sources[:, :1], truth.sources[:, :1]).mean for step in steps]


figures.curves(
    {"unseen source": (range(len(trace)), unseen_psnr(trace, seen))},
    x="iteration",
    y="PSNR in dB",
    title="Six mixtures",
)

# %%
course.reveal(
    (range(len(trace)), unseen_psnr(trace, seen)),
    why="Better estimates make better mixtures, and these make better estimates: the PSNR rises "
    "slowly, then quickly, and stops where the mask can do no better.",
)

# %% [markdown]
# For a few iterations nothing seems to happen: half a mixture still contains much of $b$, so the
# synthetic mixtures are unlike the real ones. Then the estimates begin to look like $x$, the
# synthetic mixtures become more realistic, and the PSNR rises quickly.
#
# ## 3. Where it starts
#
# $x = 0$ is a fixed point: mixtures $b + 0$ teach $T$ to keep everything, and then $y - T(y) = 0$
# again. Here are three shorter runs (6,000 images, 12 iterations). They start from half of each
# mixture, from a twentieth of it, and from GLO masks, which come from two generators whose images
# add up to the mixtures.

# %%
beginning = Guess.choice(
    "Which beginning gives the best estimates in the end?", ["half", "a twentieth", "GLO masks"]
)
display(beginning)

# %%
runs = {
    name: recorded(f"egg-strokes-{short}")
    for name, short in {"half": "half", "a twentieth": "small", "GLO masks": "glo"}.items()
}
eggs = {
    name: [step for step in run if step.stage.startswith("egg")] for name, (run, _) in runs.items()
}
same = runs["half"][1]  # the truth of all three
figures.curves(
    {name: (range(1, len(steps) + 1), unseen_psnr(steps, same)) for name, steps in eggs.items()},
    x="iteration",
    y="PSNR in dB",
    title="The unseen source, from three beginnings",
)

# %%
beginning.reveal(
    max(eggs, key=lambda name: unseen_psnr(eggs[name], same)[-1]),
    why={
        "half": "it contains all of x, and no more of b than of x.",
        "a twentieth": "it is close to the fixed point x = 0, where T learns to keep everything.",
        "GLO masks": "they contain digits, so the first synthetic mixtures are like real ones.",
    },
)

# %%
figures.images(
    {name: steps[-1].sources[:, 0] for name, steps in eggs.items()} | {"truth": same.sources[:, 0]},
    title="The unseen source at the end of each run",
)

# %% [markdown]
# ## 4. New mixtures
#
# The result of a training is a small network, which separates a new mixture in milliseconds. It is
# shipped as `egg-strokes-high`. How far is it from a network that saw both sources clean?

# %%
new, new_truth = tasks.unmix(UNSEEN, OBSERVED, count=200, seed=7, training=2)
methods = {"half": Constant(0.5), "egg": Mask(sepviz.load_prior("egg-strokes-high"))}
results = {
    name: sepviz.record(method, new, progress=False).sources for name, method in methods.items()
}
upper = Mask(sepviz.load_prior("supervised-strokes"))  # knows 0 to 4 as its first source
results["supervised"] = sepviz.record(upper, new, progress=False).sources.flip(1)
for name, sources in results.items():
    found = metrics.summarize(sources[:, :1], new_truth.sources[:, :1])
    print(f"{name:<12} {found.mean:5.1f} +- {found.interval:.1f} dB   SSIM {found.ssim:.3f}")
figures.compare(new, results, new_truth, count=5, title="New mixtures")

# %% [markdown]
# ## 5. Where it must fail
#
# The synthetic mixtures pair any $b$ with any $x$. If in the real mixtures $x$ depends on $b$, the
# network learns from the wrong mixtures. Below, each $b$ is mixed with the unseen digit that covers
# it most, as if the musician always played along with the street.

# %%
x, b = new_truth.sources[:, 0].flatten(1), new_truth.sources[:, 1].flatten(1)
partner = (b @ x.T / x.norm(dim=1)).argmax(dim=1)
alike, alike_truth = tasks.mix(
    torch.stack([new_truth.sources[partner, 0], new_truth.sources[:, 1]], dim=1)
)
run = sepviz.record(methods["egg"], alike, progress=False)
found = metrics.summarize(run.sources[:, :1], alike_truth.sources[:, :1])
print(f"dependent mixtures: {found.mean:.1f} +- {found.interval:.1f} dB")
display(figures.separation(alike, run, alike_truth, count=5, title="Digits that cover each other"))

# %% [markdown]
# ## 6. Your turn: train one
#
# This is a short training: with 800 images and six iterations the estimates move, but they do not
# separate yet. Change `share`, `learning_rate` or `iterations` and run it again.

# %%
small = sepviz.record(Egg(iterations=6, epochs=1, batch=32), problem)
print(
    "mean change of the estimates:",
    [f"{step.info['change']:.3f}" for step in small if "change" in step.info],
)
Player(small, truth)

# %% [markdown]
# From the command line you can train on any two sets of images; an interrupted training is resumed:
#
#     sepviz train egg --unseen mnist:0-4 --observed mnist:5-9 --out mine.safetensors
#     sepviz separate problem.npz --method mask --prior mine.safetensors
#
# ## Summary
#
# - A source that is never seen alone can be learned from mixtures and clean images of the other
#   source.
# - The network learns from synthetic mixtures, which become more realistic as its estimates
#   improve.
# - It needs a start away from $x = 0$, and sources that are independent of each other.
#
# ## Questions
#
# 1. Why is the loss an absolute and not a squared difference?
# 2. The final estimates contain faint traces of $b$ where both digits overlap. Can more iterations
#    remove them?
# 3. What would happen if the observed images differed in kind from the $b$ in the mixtures?
