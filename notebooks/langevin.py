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
# # Langevin dynamics: walking to a separation
#
# BASIS (Jayaram and Thickstun, 2020) separates a mixture by a random walk. Both sources start as
# noise, and three terms move them at every step:
#
# $$x_k \leftarrow x_k
# + \underbrace{\eta\, \nabla \log p_\sigma(x_k)}_{\text{prior force}}
# + \underbrace{\frac{\eta\, a_k}{\gamma^2} \Bigl(m - \sum_j a_j x_j\Bigr)}_{\text{data force}}
# + \underbrace{\sqrt{2\eta}\, n}_{\text{noise}},
# \qquad \eta = \delta\, \frac{\sigma^2}{\sigma_L^2}$$
#
# with $T$ steps at each of ten noise levels sigma, from 1 to $\sigma_L = 0.01$. It runs in about a
# minute on a laptop's CPU.
#
# [Open in Colab](https://colab.research.google.com/github/_OWNER_/sepviz/blob/main/notebooks/langevin.ipynb)

# %%
import sys

if "google.colab" in sys.modules:  # elsewhere this cell does nothing
    # %pip install --quiet --no-deps git+https://github.com/_OWNER_/sepviz anywidget psygnal
    from google.colab import output

    output.enable_custom_widget_manager()

# %%
from dataclasses import replace

import torch
from IPython.display import display

import sepviz
from sepviz import (
    Basis,
    GaussianPrior,
    Guess,
    Player,
    Problem,
    SepvizError,
    SplitGibbs,
    exercises,
    figures,
    metrics,
    tasks,
)

DATASET = "strokes"  # or "mnist"
device = sepviz.default_device()  # the environment's SEPVIZ_DEVICE: cpu (the default), cuda or auto
prior = sepviz.load_prior(f"score-{DATASET}")
problem, truth = tasks.separate(DATASET, count=3, seed=4, device=device)

# %% [markdown]
# ## 1. Step through the annealing
#
# The settings are those of the authors' program: $\delta = 3 \cdot 10^{-5}$, $T = 100$,
# $\gamma^2 = \sigma^2/2$.

# %%
basis = Basis(prior, **Basis.presets["program"])
trace = sepviz.record(basis, problem, every=50)
figures.separation(problem, trace.sources, truth, title="BASIS, 1,000 steps")

# %%
moments = [trace[i] for i in range(0, 21, 2)]
figures.images(
    {
        "source 1": torch.stack([step.sources[0, 0] for step in moments]),
        "source 2": torch.stack([step.sources[0, 1] for step in moments]),
    },
    columns=[f"step {step.index}\nsigma {step.info['sigma']:.2g}" for step in moments],
    title="Mixture 1 at the end of each noise level",
)

# %% [markdown]
# **Your turn.** Scrub through the run and switch on *prior force*, *data force* and *noise*. Where
# do the two forces oppose each other?

# %%
Player(trace, truth)

# %% [markdown]
# How large are the three? The step size falls with $\sigma^2$; therefore all three fall with sigma,
# and none of them dominates.

# %%
forces = {"prior_force": "prior force", "data_force": "data force", "noise": "noise"}
walk = [step for step in trace if step.shown]
sizes = {
    label: [float(step.shown[name].square().mean().sqrt()) for step in walk]
    for name, label in forces.items()
}
figures.curves(
    {label: ([step.index for step in walk], size) for label, size in sizes.items()},
    "step",
    "RMS size (pixel values)",
    log_y=True,
    title="What moves the sources",
)

# %% [markdown]
# ## 2. Without noise the ascent gets stuck
#
# This is the paper's Figure 3 for our mixtures, with $T = 20$. **Ascent** follows the score at the
# last sigma only, without noise; **annealed ascent** goes through all levels, still without noise;
# **Langevin** adds the noise.

# %%
short = replace(basis, steps_per_level=20)
variants = {
    "ascent": replace(short, sigma_max=0.01, noise=False),
    "annealed ascent": replace(short, noise=False),
    "Langevin": short,
}
results = {name: sepviz.record(method, problem) for name, method in variants.items()}
figures.compare(
    problem,
    {name: result.sources for name, result in results.items()},
    truth,
    title="The noise is needed",
)

# %% [markdown]
# ## 3. How many steps, how large
#
# Small steps need a large $T$; a larger $\delta$ needs fewer steps, until it is too large. (These
# are random walks on three mixtures: before you believe a difference of 2 dB, repeat it with other
# seeds.)

# %%
settings = {
    "T 10, delta 3e-5": replace(basis, steps_per_level=10),
    "T 20, delta 3e-6": replace(short, delta=3e-6),
}
runs = {name: sepviz.record(method, problem) for name, method in settings.items()}
runs |= {"T 20, delta 3e-5": results["Langevin"], "T 100, delta 3e-5": trace}
for name, run in runs.items():
    psnr = float(metrics.psnr(run.sources, truth.sources).mean())
    print(f"{name:<20}{psnr:6.1f} dB{run.seconds:8.1f} s")

# %% [markdown]
# ## 4. Past the stable step
#
# One step multiplies an error by $1 - c\Lambda$, with $c = \delta/\sigma_L^2$ and the curvature
# $\Lambda \le 1 + \sum_k a_k^2\, \sigma^2/\gamma^2$. If $c\Lambda > 2$, errors change sign and
# grow. `Basis` checks this and refuses such a step:

# %%
# NBVAL_CHECK_OUTPUT
try:
    sepviz.record(Basis(prior, delta=1e-4), problem, progress=False)
except SepvizError as error:
    print(error)

# %% [markdown]
# Even when the walk is stable, large steps add noise to the result. How much? The last noise level
# is 0.01. **Sketch the curve**, up to a delta just below the one at which the walk diverges.

# %%
deltas = [5e-6, 1e-5, 2e-5, 3e-5, 4e-5, 5e-5, 6e-5]
sketch = Guess.curve(
    "How does the final residual depend on the step size?",
    x="delta",
    y="residual, RMS (pixel values)",
    at=deltas,
    low=0.0,
    high=0.02,
)
display(sketch)

# %% [markdown]
# For a prior that is almost flat, theory says that the residual ends at $\sigma_L / \sqrt{1 - c}$
# for two sources and $\gamma = \sigma$. We measure it with a Gaussian prior, which is fast:

# %%
flat = GaussianPrior(torch.full(prior.image_shape, 0.5), torch.ones(prior.image_shape))
walks = [
    sepviz.record(Basis(flat, delta=delta), problem, every=1000, progress=False) for delta in deltas
]
measured = [walk.final.info["residual"] for walk in walks]
theory = [0.01 / (1 - delta / 0.01**2) ** 0.5 for delta in deltas]
figures.curves(
    {"measured": (deltas, measured), "theory": (deltas, theory)},
    "delta",
    "residual, RMS (pixel values)",
    dots=("measured",),
    title="Larger steps leave more noise",
)

# %%
sketch.reveal(
    (deltas, measured),
    why="Large steps overshoot the mixture, which adds to the noise: "
    f"{measured[-1] / measured[0]:.1f} times the residual "
    f"at {deltas[-1] / deltas[0]:.0f} times the step.",
)

# %%
# NBVAL_CHECK_OUTPUT
worst = max(abs(one / other - 1) for one, other in zip(measured, theory, strict=True))
print("measured and theory agree within 5%:", worst < 0.05)

# %% [markdown]
# ## 5. Several samples of one posterior
#
# Langevin dynamics does not find *the* answer, it draws *one* answer from the posterior. Here are
# eight walks for the mixture that came out worst above. Nothing says which source is number 1, so
# the sources of each walk are put in the order of the first walk. The spread of the walks shows
# which pixels are uncertain.

# %%
item = int(metrics.psnr(trace.sources, truth.sources).argmin())
eight = Problem(problem.mixtures[item].expand(8, -1, -1, -1), problem.mixing)
samples = sepviz.record(replace(basis, steps_per_level=10), eight, seed=1).sources
samples = metrics.reorder(samples, metrics.match(samples, samples[:1].expand_as(samples)))
columns = [f"walk {i}" for i in range(1, 9)]
figures.images(
    {"source 1": samples[:, 0], "source 2": samples[:, 1]},
    columns=columns,
    title=f"Mixture {item + 1}: eight samples of one posterior",
)

# %%
target = truth.sources[item : item + 1]
target = metrics.reorder(target, metrics.match(target, samples[:1]))[0]
rows = torch.stack([target, samples.mean(dim=0), 2 * samples.std(dim=0)], dim=1)
figures.images(
    {"source 1": rows[0], "source 2": rows[1]},
    columns=["truth", "mean of\neight walks", "spread\n(white: 0.5)"],
    title="Where the walks differ",
)

# %% [markdown]
# ## 6. Two, three, four sources
#
# More sources make the data term steeper, so the step must be smaller. The program's preset is
# already refused for three sources:

# %%
# NBVAL_CHECK_OUTPUT
try:
    basis.check(tasks.separate("strokes", count=1, sources=3)[0])
except SepvizError as error:
    print(error)

# %% [markdown] tags=["exercise"]
# **Exercise: the largest step.** For a sum of four sources ($a_k = 1$) and $\gamma^2 = \sigma^2$,
# below which delta is the walk stable? Use the rule of section 4. ($\sigma_L = 0.01$.)

# %% tags=["exercise"]
four = tasks.separate("strokes", count=1, sources=4)[0]
largest = ...  # the delta at which c times the curvature is 2

# %% tags=["solution"]
largest = 2 * 0.01**2 / (1 + 4)
Basis(prior, delta=0.99 * largest).check(four)  # says nothing: stable

# %% tags=["check"]
# NBVAL_CHECK_OUTPUT
energy = four.mixing.energy  # the sum of a_k^2
exercises.check(
    "largest",
    largest,
    right=2 * 0.01**2 / (1 + energy),
    mistakes={
        "the 1 is missing: it is the curvature of the prior": 2 * 0.01**2 / energy,
        "at a product of 1 an error vanishes in one step; it grows above 2": 0.01**2 / (1 + energy),
        "this is for two sources: the sum has four terms": 2 * 0.01**2 / 3,
        "this is c: delta is c times sigma_L squared": 2 / (1 + energy),
        "this is for the program's gamma^2 = sigma^2 / 2": 2 * 0.01**2 / (1 + 2 * energy),
    },
    why="More sources make a steeper data term, so each step must be smaller.",
)

# %% [markdown]
# `SplitGibbs` meets the mixture in closed form for any number of sources K, so it has no step size
# that could be too large.

# %%
for count in (2, 3, 4):
    crowd, owners = tasks.separate(DATASET, count=2, sources=count, seed=4, device=device)
    runs = {
        type(method).__name__: sepviz.record(method, crowd)
        for method in (sepviz.Average(), SplitGibbs(prior))
    }
    scores = {name: metrics.psnr(run.sources, owners.sources).mean() for name, run in runs.items()}
    print(
        f"K = {count}: "
        + ", ".join(f"{name} {float(score):.1f} dB" for name, score in scores.items())
    )

# %%
figures.separation(
    crowd, runs["SplitGibbs"].sources, owners, count=2, title="Four sources, split-Gibbs"
)

# %% [markdown]
# ## 7. The race
#
# Both methods use the same network on the same mixtures. An *evaluation* is one call of the network
# on one image: unlike seconds, it does not depend on the machine. `SplitGibbs` anneals the noise
# three times, hence the dips in its curve, and keeps the likeliest answer.

# %%
rival = sepviz.record(SplitGibbs(prior), problem)
racers = {f"basis ({trace.seconds:.1f} s)": trace, f"split-gibbs ({rival.seconds:.1f} s)": rival}
courses = {
    name: (run.curve("evaluations"), run.metric(truth).mean(dim=1).cpu())
    for name, run in racers.items()
}
figures.curves(
    courses,
    "network evaluations for each source",
    "PSNR, mean of three mixtures (dB)",
    title="The race",
)

# %% [markdown]
# ## Summary
#
# - Langevin dynamics adds the score, the pull of the mixture and noise, and so draws from the
#   posterior.
# - Without the noise the walk gets stuck; with too large a step it diverges, and `Basis` refuses.
# - Several walks show what the mixture leaves open, and split-Gibbs gets there with fewer
#   evaluations.
#
# ## Questions
#
# 1. In the player: below which sigma does the data force no longer change the result? What changes
#    it then?
# 2. In the curves of section 1 the ratio of prior force and noise is the same at every level, so
#    the score grows like 1/sigma. For a smooth density it would tend to a limit. What does this say
#    about clean images? (Compare the paper's Figure 2.)
# 3. Continue the Langevin run of section 2 from its middle, without noise:
#    `sepviz.record(replace(short, noise=False), problem, start=results["Langevin"][100])`. Which
#    noise matters, the early or the late one?
# 4. The sources of the last step still contain noise of about 0.01. Which PSNR would a perfect
#    separation with this noise have? Set `denoise_last=True`: how many dB do you gain?
# 5. The curve of `basis` rises only at the end, because its sources contain the noise of their
#    level. Denoise them first (`prior.denoise(step.sources, step.info["sigma"])`) and plot the race
#    again. Is it fairer?
