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
# # Leaderboard: what a method scores, and what it assumes
#
# This lab runs every method that needs no training of its own on the same mixtures. A high score
# means little until you know what the method assumes. Click on a method's pictures to watch it
# work. The lab runs in about a minute on a laptop's CPU.
#
# [Open in Colab](https://colab.research.google.com/github/_OWNER_/sepviz/blob/main/notebooks/leaderboard.ipynb)

# %%
import sys

if "google.colab" in sys.modules:  # elsewhere this cell does nothing
    # %pip install --quiet --no-deps git+https://github.com/_OWNER_/sepviz anywidget psygnal
    from google.colab import output

    output.enable_custom_widget_manager()

# %%
from dataclasses import replace

from IPython.display import display

import sepviz
from sepviz import (
    Basis,
    Guess,
    Leaderboard,
    Mask,
    SplitGibbs,
    Synthesis,
    exercises,
    figures,
    separators,
    tasks,
)

DATASET = "strokes"  # or "mnist"
COUNT = 6  # mixtures; for a fair comparison take hundreds: sepviz bench
device = sepviz.default_device()  # the environment's SEPVIZ_DEVICE: cpu (the default), cuda or auto

# %% [markdown]
# ## 1. The mixtures
#
# Source 1 is a digit from 0 to 4, source 2 a digit from 5 to 9. In this setting all methods can
# take part, also those that learned from one group of digits.

# %%
problem, truth = tasks.separate(DATASET, count=COUNT, seed=11, protocol="split", device=device)
figures.images(
    {
        "mixture": problem.mixtures / 2,
        "source 1": truth.sources[:, 0],
        "source 2": truth.sources[:, 1],
    },
    title="The mixtures",
)

# %% [markdown]
# ## 2. The methods
#
# `egg`, `remix` and `supervised` learn from mixtures for minutes; here their shipped masks take
# part. No masks of `adversarial-mask`, `glo-masking`, `ss-nmf` and `glo` are shipped:
# `sepviz bench nes-table1` trains and measures the first three, `sepviz bench remix-table1` the
# last.

# %%
score, gan, nmf, conv_nmf = (
    sepviz.load_prior(f"{kind}-{DATASET}", device) for kind in ("score", "gan", "nmf", "conv-nmf")
)
shipped = {
    "egg": f"egg-{DATASET}-low",
    "remix": f"remix-{DATASET}",
    "supervised": f"supervised-{DATASET}",
}
masks = {name: Mask(sepviz.load_prior(weights, device)) for name, weights in shipped.items()}
walk = replace(Basis(score, **Basis.presets["program"]), steps_per_level=20)
methods = {
    "average": separators.Average(),
    "rpca": separators.Rpca(),
    "nmf": separators.Nmf(nmf),
    "conv-nmf": separators.ConvNmf(conv_nmf),
    "synthesis, 8 starts": Synthesis(gan, starts=8),
    "basis, 200 steps": walk,
    "split-gibbs": SplitGibbs(score),
    **{f"mask of {name}": mask for name, mask in masks.items()},
}

# %%
guess = Guess.choice("Which method has the highest PSNR?", list(methods))
display(guess)

# %% [markdown]
# ## 3. The race

# %%
traces = {name: sepviz.record(method, problem) for name, method in methods.items()}

# %%
board = Leaderboard(traces, truth)
display(board)

# %%
guess.reveal(board.rows[0]["name"], why=f"It assumes: {board.rows[0]['assumes']}.")

# %%
# NBVAL_CHECK_OUTPUT
scores = {row["name"]: row["psnr"] for row in board.rows}
informed = [name for name in scores if name not in ("average", "rpca")]
print(
    "every method that learned something is better than averaging:",
    all(scores[name] > scores["average"] for name in informed),
)
print(
    "a prior of each source beats a mask that never saw source 1:",
    scores["split-gibbs"] > scores["mask of egg"],
)

# %% [markdown]
# ## 4. What does the score cost?
#
# There are two kinds of cost: the time to separate, and the images needed for learning: clean
# images of both sources, of one, or of none.

# %%
figures.compare(
    problem,
    {name: traces[name] for name in ("average", "mask of remix", "mask of egg", "split-gibbs")},
    truth,
    count=4,
    title="From no clean image to clean images of both",
)

# %% [markdown] tags=["exercise"]
# **Exercise.** Which of the methods that never saw a clean image of source 1 has the best score?
# Put its name, as in the table, into `winner`.

# %% tags=["exercise"]
winner = None

# %% tags=["solution"]
winner = max(("average", "rpca", "mask of remix", "mask of egg"), key=scores.get)

# %% tags=["check"]
# NBVAL_CHECK_OUTPUT
blind = ("average", "rpca", "mask of remix", "mask of egg")
exercises.check(
    "winner",
    winner,
    max(blind, key=scores.get),
    mistakes={
        "its prior was trained on clean images of all digits": "split-gibbs",
        "supervised saw clean images of both sources": "mask of supervised",
        "it saw mixtures alone; another mask saw clean images of source 2 too": "mask of remix",
    },
    why="It saw mixtures and clean images of source 2, and none of source 1.",
)

# %% [markdown]
# ## Summary
#
# - Compare a score with what the method assumes and what it had to see before.
# - A prior of each source does best here; masks come close without any clean image of one source.
# - A few mixtures give wide intervals: `sepviz bench` measures on many.
#
# ## Questions
#
# 1. Set `protocol="agnostic"`: any digit over any digit. Which methods get worse, and which
#    assumption is broken?
# 2. The answer of `synthesis` is the mean of two images. With `finalists=1` each source is one
#    clean digit, even where it is wrong. Why does this lower the PSNR?
# 3. Change the weights: `weights=[0.7, 0.3]`. Which methods refuse, and which need no change?
# 4. How wide are the intervals with six mixtures? How many mixtures would you need to tell the
#    first two methods apart?
