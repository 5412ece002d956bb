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
# # Draw and compare: your own mixture, your own questions
#
# Draw two digits over each other and take them apart with any method. Pause the run, change one
# parameter, go on, and compare the branches side by side. Ask why a pixel has its value. Keep the
# whole run in one line of text. It runs in about half a minute on a laptop's CPU.
#
# [Open in Colab](https://colab.research.google.com/github/_OWNER_/sepviz/blob/main/notebooks/draw_and_compare.ipynb)

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
    Compare,
    Guess,
    LiveRun,
    Player,
    Posterior,
    SplitGibbs,
    Workbench,
    exercises,
    figures,
    metrics,
    tasks,
)

DATASET = "strokes"  # or "mnist"
device = sepviz.default_device()  # the environment's SEPVIZ_DEVICE: cpu (the default), cuda or auto
prior = sepviz.load_prior(f"score-{DATASET}")

# %% [markdown]
# ## 1. Draw, mix, separate
#
# Draw a digit on each pad with the mouse, a pen or a finger, or with the arrow keys; the space bar
# puts the pen down and lifts it. **Pick** takes an image of a data set instead. Then choose a
# method, press **Separate**, and **Run** below it. Press **Separate** again with another method,
# run it, and press **Compare runs**.
#
# Your drawing is scaled and moved to the size and place of the digits that the prior was trained
# on.

# %%
bench = Workbench()
display(bench)

# %% [markdown]
# ## 2. One line that keeps it all
#
# The line called *state* under a run holds data set, mixture, method, parameters and seed, with
# your drawings. Send it to a friend, paste it into the field above and press **Restore**, or give
# it to the command line: `sepviz separate --recipe TEXT --out found.npz`. Replace the line below
# with yours and run the cell:

# %%
STATE = (
    "task=drawn,sources=ink:KD5GQD5DN0cwTCtSJlgjXyBmH20fdCB7IoIliSiPLZQylzeYPplFmEyVVJNbj2KLa"
    "IZvgXR8end_coRuiWmNZZFhll2aWKBTpk-sSrJGuULAKD_EQsJFwUi_S75PvFG7VLxWvFm8W71dvWC9Y71lvWi9a"
    "r1tvXC9cr11vXi9er1-vIG8hLyHu4q7jbuQu5K7lLyWvJm9m72evaC9o72mvai-+ink:KDdANzs4ODk1OzI9MD4t"
    "PypBKEImRCRGI0kiTSFRIFUgWSBdIGEiZCNoJGsmbyhzKXgqfCuBLIUtiS6NLpAuky6VLpgtmy2eLaEtoy2lLKcr"
    "KKcnpSujL6EznzedO5s_mUKWRpRJkU2PUI1Ui1iJXYdhhWWDaYFugHJ-d317fIB6hHiIdox0kHKVcJlvnW2ibKZr"
    "q2qvabRpuGm8aMBoxWjJ,method=split-gibbs,prior=score-strokes,run=0"
)
here = sepviz.restore(STATE)
problem, truth = here.problem(device)
trace = sepviz.record(here.separator(device), problem, seed=here.run)
figures.separation(problem, trace.sources, truth, title="A drawn mixture, restored and separated")

# %%
# NBVAL_CHECK_OUTPUT
print("the text of the restored state is the text:", str(here) == STATE)
print("sources drawn:", problem.mixing.count)

# %% [markdown]
# ## 3. Why this pixel?
#
# **Your turn.** Stop in the middle of this run and point at a pixel where the strokes cross. The
# line under the player shows the arithmetic of the step: the old value of the pixel, the prior
# force, the data force, the noise, and the new value. Click to keep a pixel while you step on; or
# press *I*, then Shift with the arrow keys.

# %%
basis = Basis(prior, **{**Basis.presets["program"], "steps_per_level": 20})
walk = sepviz.record(basis, problem, every=10)
Player(walk, truth)

# %%
question = Guess.choice(
    "At the first noise level, which of the three moves the pixels least?",
    ["prior force", "data force", "noise"],
)
display(question)

# %%
early = walk[1].shown
sizes = {
    name: float(early[name].square().mean().sqrt())
    for name in ("prior_force", "data_force", "noise")
}
smallest = min(sizes, key=sizes.get).replace("_", " ")
reason = ", ".join(f"{name.replace('_', ' ')} {size:.3f}" for name, size in sizes.items())
question.reveal(smallest, why=f"RMS sizes at step {walk[1].index}: {reason}.")

# %% [markdown]
# ## 4. Fork: change one thing and go on
#
# A *fork* goes on from a step of another run with one change, here without noise from the middle
# on. Both runs share the step, so only your change makes a difference.

# %%
middle = len(walk) // 2
fork = sepviz.record(replace(basis, noise=False), problem, start=walk[middle], every=10)
rival = sepviz.record(SplitGibbs(prior), problem, every=10)
Compare({"Langevin": walk, "no noise from the middle on": fork, "split-Gibbs": rival}, truth)

# %% [markdown]
# Switch the comparison from *evaluations* (calls of the network, the same on every machine) to
# *seconds*. You can fork a live run too: pause it, move the slider back, change a parameter and
# press **Fork**; then run the second cell to see its branches side by side.

# %%
live = LiveRun(basis, problem, truth, state=here)
display(live)

# %%
if len(live.branches) > 1:
    display(Compare(live.branches, truth))
else:
    print("One branch or none yet: run and fork above, then run this cell again.")

# %% [markdown]
# ## 5. One mixture, eight answers
#
# A posterior holds more than one answer. Here are eight chains for one hard mixture, grouped by
# their answers: two chains belong to one *mode* if they differ by less than 0.1 RMS. The spread
# shows which pixels are uncertain.

# %%
hard, owners = tasks.separate(DATASET, count=8, seed=4, device=device)
quick = SplitGibbs(prior, levels=21, sweeps=2, cycles=1, sigma_average=0)
item = int(metrics.psnr(sepviz.record(quick, hard).sources, owners.sources).argmin())
chains = sepviz.record(quick, tasks.repeat(hard, item, chains=8), every=4)
display(Posterior(chains, sepviz.Truth(owners.sources[item : item + 1])))

# %%
guess = Guess.number(
    "By how many dB is the mean of the eight chains better than a single chain?",
    unit="dB",
    low=-10,
    high=10,
)
display(guess)

# %%
permutation = metrics.match(chains.sources, owners.sources[item].expand_as(chains.sources))
samples = metrics.reorder(chains.sources, permutation)
target = owners.sources[item : item + 1]
single = float(metrics.psnr(samples, target.expand_as(samples)).mean())
gain = float(metrics.psnr(samples.mean(dim=0, keepdim=True), target)) - single
guess.reveal(
    round(gain, 1),
    why="The mean of the samples has the least squared error; blurred where the modes differ.",
)

# %% [markdown] tags=["exercise"]
# **Exercise.** Which share of a single chain's squared error is spread around the mean of the
# chains? Compute `share`: the variance of `samples` over its first dimension (divided by N, not N -
# 1), averaged over pixels and sources, divided by the mean squared error of `samples` against
# `target`.

# %% tags=["exercise"]
share = None

# %% tags=["solution"]
share = samples.var(dim=0, correction=0).mean() / (samples - target).square().mean()

# %% tags=["check"]
# NBVAL_CHECK_OUTPUT
error = (samples - target).square().mean()
exercises.check(
    "share",
    share,
    samples.var(dim=0, correction=0).mean() / error,
    mistakes={
        "this is the variance with N - 1": samples.var(dim=0).mean() / error,
        "this is the standard deviation: use the variance": samples.std(dim=0, correction=0).mean()
        / error,
        "this is the rest, the share of the error of the mean": 1
        - samples.var(dim=0, correction=0).mean() / error,
    },
    why="The rest is the error of the mean: error = variance + squared bias.",
)

# %% [markdown]
# ## Summary
#
# - A run is one line of text: data, method, parameters and seed.
# - Every step can be asked what moved a pixel, and every step can be the start of a fork.
# - Several chains show the modes of a posterior; their mean has a smaller error than one chain.
#
# ## Questions
#
# 1. Draw the same digit twice, once thin and once thick, and separate their mixture. Which of the
#    two does the prior change?
# 2. Draw something that is no digit. Where does the prior force point?
# 3. Paint a filter on the pad and separate the mixture with `synthesis`. Which of the other methods
#    refuse it, and why?
# 4. Draw a mixture with several modes: two digits that could be two others. How many chains find
#    yours?
