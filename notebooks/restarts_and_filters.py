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
# # Synthesise and compare: what restarts gain, and what a filter hides
#
# Synthesising-Decomposition (Kong et al., 2019) separates by generating. A generator $G$ has
# learned to draw single digits. We search for the latents $z_k$, and for the filters $f_k$ if there
# are any, whose remix is the mixture:
#
# $$\min_{z, f} \Bigl\| m - \sum_k a_k\, f_k * G(z_k) \Bigr\|^2.$$
#
# The error has many local minima, so the method starts in many places and keeps the best. It runs
# in about a minute on a laptop's CPU.
#
# [Open in Colab](https://colab.research.google.com/github/_OWNER_/sepviz/blob/main/notebooks/restarts_and_filters.ipynb)

# %%
import sys

if "google.colab" in sys.modules:  # elsewhere this cell does nothing
    # %pip install --quiet --no-deps git+https://github.com/_OWNER_/sepviz anywidget psygnal
    from google.colab import output

    output.enable_custom_widget_manager()

# %%
import math

import torch
from IPython.display import display

import sepviz
from sepviz import (
    Guess,
    KernelPad,
    Player,
    SepvizError,
    Synthesis,
    Trace,
    exercises,
    figures,
    metrics,
    tasks,
)

DATASET = "strokes"  # or "mnist"
device = sepviz.default_device()  # the environment's SEPVIZ_DEVICE: cpu (the default), cuda or auto
prior = sepviz.load_prior(f"gan-{DATASET}")
problem, truth = tasks.separate(DATASET, count=3, seed=5, device=device)

# %% [markdown]
# ## 1. Thirty-two starts race
#
# As in the paper, every start is drawn at random and descends on its own. The method never sees the
# truth.

# %%
lucky = Guess.number(
    "How many of the 32 starts end within twice the smallest error?", low=1, high=32
)
display(lucky)

# %%
blind = Synthesis(
    prior, bank=0, starts=32, start_iterations=60, keep=0.0, finalists=1, refine_iterations=60
)
trace = sepviz.record(blind, problem, every=5)
running = [step for step in trace if step.info["alive"] == 32]
errors = torch.stack([step.results["start_error"][0] for step in running]).cpu()
winner = int(errors[-1].argmin())
figures.race(
    errors,
    [step.index for step in running],
    winner,
    y="error of the remix",
    title="Mixture 1: who wins, who is stuck",
)

# %%
near = int((errors[-1] <= 2 * errors[-1].min()).sum())
lucky.reveal(
    near,
    why="The others are stuck in local minima: only another start helps, not more iterations.",
)

# %% [markdown]
# How does the mixture look to the best of the first 1, 4, 12 and 32 starts?

# %%
choices = blind.by_number_of_starts(running[-1], problem)
drawn = torch.stack([choices[count - 1].sources[0] for count in (1, 4, 12, 32)])
figures.images(
    {"source 1": drawn[:, 0], "source 2": drawn[:, 1], "remix": drawn.sum(dim=1).clamp(0, 1)},
    columns=[f"best of {count}" for count in (1, 4, 12, 32)],
    title="Mixture 1, remade",
)

# %% [markdown]
# ## 2. How many starts are enough?
#
# All 32 starts were recorded, so we can ask what fewer starts would have given. **Your turn.** The
# slider is the number of starts. Where does the choice change? Does the start with the smallest
# error always have the best PSNR?

# %%
best_of = Trace(problem, choices, "best of n starts")
Player(best_of, truth)

# %%
figures.curves(
    {f"mixture {b + 1}": (best_of.indices, best_of.metric(truth)[:, b].cpu()) for b in range(3)},
    "starts",
    "PSNR (dB)",
    title="The choice, made without the truth",
)

# %% [markdown] tags=["exercise"]
# **Exercise: how many starts?** Suppose that one random start in ten reaches a good minimum. How
# many starts are needed so that, with a probability of 95%, at least one of them does?

# %% tags=["exercise"]
chance = 0.1
needed = ...  # a number of starts

# %% tags=["solution"]
needed = math.log(1 - 0.95) / math.log(1 - chance)  # all fail with (1 - chance)^needed = 5%

# %% tags=["check"]
# NBVAL_CHECK_OUTPUT
exercises.check(
    "needed",
    needed,
    right=math.log(0.05) / math.log(1 - chance),
    close=0.03,
    mistakes={
        "probabilities do not add up like this: ten starts would never fail": 0.95 / chance,
        "1 / chance starts succeed once on average, and in a third of the cases never": 1 / chance,
        "this is for a probability of 5% that one succeeds": math.log(0.95) / math.log(1 - chance),
        "a start fails with probability 0.9, and the failures multiply": math.log(0.05)
        / math.log(chance),
    },
    why="Each start leaves nine tenths of the risk. Now take the share from section 1.",
)

# %% [markdown]
# ## 3. Starts that are chosen
#
# Many starts are clearly bad even before the descent. `Synthesis` draws 2,000 latents once,
# compares the mixture with all of their two million pairs in closed form, and starts from the
# nearest. Then even one start is often enough. By default the best *two* are refined, and the
# answer is their mean: where the two agree nothing changes, where they disagree the mean has a
# smaller error than they have on average.

# %%
for label, method in {
    "1 random start": Synthesis(prior, bank=0, starts=1),
    "1 chosen start": Synthesis(prior, starts=1),
    "8 chosen starts": Synthesis(prior),
}.items():
    run = sepviz.record(method, problem, every=50)
    psnr = float(metrics.psnr(run.sources, truth.sources).mean())
    print(f"{label:<18}{psnr:6.1f} dB{run.seconds:8.1f} s")
figures.separation(problem, run.sources, truth, title="Eight chosen starts")

# %% [markdown]
# ## 4. Draw a filter
#
# Paint a 5x5 filter and run the cells below again. The method knows the size of the filter and
# nothing else. It pulls filters towards a typical blur, here less than by default: a stronger
# `filter_penalty` fixes the position of the image, and blurs the filter.

# %%
pad = KernelPad(5)
display(pad)

# %%
blurred, original = tasks.deconvolve(DATASET, count=3, seed=2, kernels=pad.kernel, device=device)
method = Synthesis(prior, refine_iterations=300, filter_penalty=1e-3)
found = sepviz.record(method, blurred, every=10)
figures.separation(
    blurred,
    found.sources,
    original,
    title="Deblurred by an unknown filter",
    filters=found.final.results["filters"],
)

# %% [markdown]
# Here are the true filter and the recovered one at several iterations. In the player, choose the
# layer *filters*.

# %%
moments = [found[i] for i in (0, 1, 2, 4, 8, 16, len(found) - 1)]
true = original.filters[0, 0][None, None].expand(len(moments), 1, 5, 5).cpu()
recovered = torch.stack([step.results["filters"][0] for step in moments]).cpu()
figures.images(
    {"true": true, "recovered": recovered},
    columns=[f"step {step.index}" for step in moments],
    high=float(true.max()),
    title="A filter comes into focus",
)

# %%
Player(found, original)

# %% [markdown]
# ## 5. What cannot be known
#
# Move the image one pixel to the right and the filter one pixel to the left: the mixture is the
# same. Make the image darker and the filter stronger: again the same. So beside the raw PSNR we
# report the PSNR after the best of 25 shifts and the best gain.

# %%
aligned = metrics.align(found.sources, original.sources, found.final.results["filters"])
raw, fair = (
    metrics.psnr(sources, original.sources) for sources in (found.sources, aligned.sources)
)
similar = metrics.filter_correlation(aligned.filters, original.filters)
for b in range(3):
    print(
        f"image {b + 1}: raw {raw[b]:.1f} dB; moved by {aligned.shifts[b, 0].tolist()} "
        f"and times {aligned.gains[b, 0]:.2f}: "
        f"{fair[b]:.1f} dB; filter correlation {similar[b, 0]:.3f}"
    )

# %% [markdown]
# Filter sizes that cannot work are refused:

# %%
# NBVAL_CHECK_OUTPUT
for size in (4, 29):
    try:
        sepviz.record(
            method, blurred._replace(mixing=sepviz.Mixing((1.0,), filter_size=size)), progress=False
        )
    except SepvizError as error:
        print(error)

# %% [markdown]
# ## 6. Noise, scratches, a missing half: the same problem
#
# Here there is one source, and a disturbance. The generator draws neither noise nor scratches, so
# it removes them. Where half of the image is missing, only the other half is compared. What does
# the method invent?

# %%
disturbed = {
    name: tasks.TASKS[name](DATASET, count=3, seed=1, device=device)
    for name in ("denoise", "inpaint", "complete")
}
answers = {
    name: sepviz.record(Synthesis(prior, refine_iterations=120), task, every=50).sources
    for name, (task, _) in disturbed.items()
}
rows = {}
for name, (task, clean) in disturbed.items():
    rows |= {
        f"{name}: seen": task.mixtures,
        f"{name}: answer": answers[name][:, 0],
        f"{name}: truth": clean.sources[:, 0],
    }
figures.images(rows, title="Three disturbances, one method")

# %% [markdown]
# ## Summary
#
# - A generator separates by search: the images whose remix is the mixture are the sources.
# - The error has local minima; many starts, or a few well chosen ones, find a good one.
# - An unknown filter can be recovered too, but only up to a shift and a gain.
#
# ## Questions
#
# 1. In section 1, how often would a single random start have been good? How many starts are needed
#    for a probability of 95%, and what does this say about the 32 of the paper?
# 2. Set `outlier=0` in section 6, so that all pixels have the same weight. What happens to the
#    scratched digits, and why do *more* starts not help?
# 3. Paint a filter with a single pixel in a corner. Which shift does section 5 find? What does
#    `metrics.align` do beyond two pixels?
# 4. Paint two filters of your own and mix two digits through them:
#    `tasks.separate(DATASET, count=3, kernels=torch.stack([one, other]))`. Which is harder: to
#    separate the digits, or to separate image and filter?
# 5. The method as published is `Synthesis(prior, **Synthesis.presets["paper"])`. How many times
#    slower is it? What does it gain?
