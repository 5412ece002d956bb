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
# # Start here: what a mixture hides
#
# Two images were added, and only their sum was kept. Which ink belongs to which image? This lab
# shows why the question has no answer without a *prior*, why a blurry guess scores well, and how a
# sampler takes a mixture apart step by step. It runs in about a minute on a laptop's CPU.
#
# [Open in Colab](https://colab.research.google.com/github/_OWNER_/sepviz/blob/main/notebooks/start_here.ipynb)

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
from sepviz import Guess, Player, Problem, SplitGibbs, exercises, figures, metrics, tasks

DATASET = "strokes"  # or "mnist"
device = sepviz.default_device()  # the environment's SEPVIZ_DEVICE: cpu (the default), cuda or auto
prior = sepviz.load_prior(f"score-{DATASET}")

# %% [markdown]
# ## 1. One mixture, two sources
#
# A *problem* is all that a method may see: the mixtures and the rule $m = x_1 + x_2$. The *truth*
# is only for our eyes and for the score.

# %%
problem, truth = tasks.separate(DATASET, count=6, seed=4, device=device)
figures.images(
    {
        "mixture\n(0 to 2)": problem.mixtures / 2,
        "source 1": truth.sources[:, 0],
        "source 2": truth.sources[:, 1],
    },
    columns=[str(i) for i in range(1, 7)],
    title="Six mixtures, and what was mixed",
)

# %%
# NBVAL_CHECK_OUTPUT
pixels = problem.mixtures[0].numel()
print(f"equations: {pixels}, one for each pixel of the mixture")
print(f"unknowns:  {pixels * problem.mixing.count}, one for each pixel of each source")

# %% [markdown]
# ## 2. Many answers fit exactly
#
# Each of these pairs adds up to the mixture, so the residual cannot tell which is right:
#
# - **truth**;
# - **average**: half of the mixture each;
# - **half swap**: sharp and wrong: the right halves of the two sources are swapped;
# - **all to one**: the whole mixture to the first source, nothing to the second.

# %%
average = sepviz.record(sepviz.Average(), problem, progress=False).sources
half_swap = torch.cat([truth.sources[..., :14], truth.sources.flip(1)[..., 14:]], dim=-1)
all_to_one = torch.stack([problem.mixtures, torch.zeros_like(problem.mixtures)], dim=1)
answers = {"average": average, "half swap": half_swap, "all to one": all_to_one}
figures.compare(problem, answers, truth, count=4, title="Every one of these adds up to the mixture")

# %% [markdown]
# PSNR is $-10 \log_{10}$ of the mean squared error, for pixels in $[0, 1]$, after the best matching
# of estimates to sources. `per_source` is the mean of the sources' PSNRs; `summed_mse` adds the
# sources' errors first, which for two sources gives about 3 dB less. **Guess first**, then run the
# table.

# %%
nearest = Guess.choice("Which of the three comes nearest to the truth in PSNR?", list(answers))
display(nearest)

# %%
print(f"{'answer':<12}{'per_source':>12}{'summed_mse':>12}{'residual':>10}")
for name, answer in answers.items():
    scores = [
        metrics.psnr(answer, truth.sources, convention).mean()
        for convention in ("per_source", "summed_mse")
    ]
    residual = problem.residuals(answer).mean()
    print(f"{name:<12}{scores[0]:>9.1f} dB{scores[1]:>9.1f} dB{residual:>10.3f}")

# %%
nearest.reveal(
    max(answers, key=lambda name: float(metrics.psnr(answers[name], truth.sources).mean())),
    why={
        "average": "its error is half of the difference of the sources, everywhere.",
        "half swap": "right in one half, and off by the whole difference in the other; "
        "an error twice as large counts four times.",
        "all to one": "off by the whole second source, in both estimates.",
    },
)

# %% [markdown]
# The average looks like no digit at all, and still it beats the sharp half swap: the squared error
# rewards a compromise. So always compare a figure in dB with this baseline. And note which
# convention it uses: here are both for the same separation.

# %%
# NBVAL_CHECK_OUTPUT
difference = metrics.psnr(average, truth.sources) - metrics.psnr(
    average, truth.sources, "summed_mse"
)
print(f"average, per_source minus summed_mse: {difference.min():.2f} to {difference.max():.2f} dB")

# %% [markdown] tags=["exercise"]
# **Exercise: PSNR by hand.** Compute the PSNR of this estimate, in dB, from its pixels, which are
# in $[0, 1]$.

# %% tags=["exercise"]
estimate, source = average[0, 0], truth.sources[0, 0]
by_hand = ...  # a number

# %% tags=["solution"]
by_hand = -10 * torch.log10((estimate - source).square().mean())

# %% tags=["check"]
# NBVAL_CHECK_OUTPUT
error = estimate - source
square = error.square().mean()
exercises.check(
    "by_hand",
    by_hand,
    right=metrics.decibels(square),
    mistakes={
        "this is 10 log10 of the RMS: use the mean square": metrics.decibels(square.sqrt()),
        "20 log10 belongs to the RMS: for the mean square use 10 log10": 2
        * metrics.decibels(square),
        "this is a natural logarithm: decibels use base 10": -10 * square.log(),
        "the squares are summed: divide by the number of pixels": metrics.decibels(
            error.square().sum()
        ),
        "these are absolute errors: square them before the mean": metrics.decibels(
            error.abs().mean()
        ),
        "this is the mean squared error: convert it to dB": square,
    },
    why="A squared error ten times smaller is 10 dB more.",
)

# %% [markdown]
# ## 3. Let a prior decide
#
# A prior knows what single images look like. `SplitGibbs` keeps an estimate of both sources and
# repeats three moves while the noise level sigma falls: add **noise**, let the **prior** denoise
# each source on its own, then correct both so that they add up to the **mixture** again. One such
# round is a *sweep*. The mean of the sweeps at low noise is an *answer*; it has a smaller error
# than any single sweep. An answer can be poor, so the noise is raised and lowered twice more, and
# the last step holds the one of the three answers that is likeliest under the prior.

# %%
gain = Guess.number("By how many dB will it beat the average?", unit="dB", low=-10, high=40)
display(gain)

# %%
method = SplitGibbs(prior)
trace = sepviz.record(
    method, problem, every=3 * method.sweeps
)  # a frame for every third noise level
print(trace)

# %%
figures.separation(problem, trace.sources, truth, count=6, title="Taken apart by split-Gibbs")

# %%
gain.reveal(
    (metrics.psnr(trace.sources, truth.sources) - metrics.psnr(average, truth.sources)).mean(),
    why="The mixture leaves half of the unknowns open; the prior settles nearly all of them.",
)

# %% [markdown]
# Here is how the first answer came about. At high noise the two estimates are alike and blurred;
# then each piece of ink goes to one source or the other; at low noise only edges change. The last
# picture is the final answer.

# %%
moments = [trace[i] for i in (0, 1, 2, 3, 4, -1)]
figures.images(
    {
        "estimate 1": torch.stack([step.sources[0, 0] for step in moments]),
        "estimate 2": torch.stack([step.sources[0, 1] for step in moments]),
    },
    columns=[f"step {step.index}\nsigma {step.info['sigma']:.2g}" for step in moments],
    title="Mixture 1 comes apart",
)

# %% [markdown]
# **Your turn.** Drag the slider, or use the arrow keys. Choose another mixture, and look at the
# layers *prior force*, *data force* and *noise*. Find the frame in which the ink is divided between
# the sources. (Assign the player to a variable: then `player.step` is the step on the screen, from
# which another run can start.)

# %%
Player(trace, truth)

# %% [markdown]
# ## 4. Is there one answer?
#
# We run every mixture four times, each time with other random numbers, and look at the mixture
# whose runs disagree most. Above each run stands its PSNR and the *loss*: how badly the prior
# denoises the two images. It is small for images that are likely under the prior.

# %%
tries = 4
quick = SplitGibbs(prior, levels=12, sweeps=4, cycles=1)
many = Problem(problem.mixtures.repeat_interleave(tries, 0), problem.mixing)
found = sepviz.record(quick, many, seed=1).sources
psnr = metrics.psnr(found, truth.sources.repeat_interleave(tries, 0)).reshape(-1, tries)
item = int((psnr.amax(dim=1) - psnr.amin(dim=1)).argmax())

# %%
true_pair = truth.sources[item].expand(tries, -1, -1, -1, -1)
one = found[item * tries : (item + 1) * tries]
one = torch.cat([metrics.reorder(one, metrics.match(one, true_pair)), true_pair[:1]])
rng = torch.Generator(device).manual_seed(0)
noise = 0.3 * torch.randn((16, 1, *one.shape[1:]), generator=rng, device=device)  # the same for all
denoised = prior.denoise((one + noise).flatten(0, 2), 0.3).reshape(16, *one.shape)
loss = (denoised - one).square().mean(dim=(0, 2, 3, 4, 5)) / 0.3**2
names = [f"{value:.1f} dB" for value in psnr[item].tolist()] + ["truth"]
columns = [f"{name}\nloss {value:.4f}" for name, value in zip(names, loss.tolist(), strict=True)]
figures.images(
    {"source 1": one[:, 0], "source 2": one[:, 1], "sum / 2": one.sum(dim=1) / 2},
    columns=columns,
    title=f"Mixture {item + 1}, four runs and the truth: all of them add up",
)

# %% [markdown]
# The bottom row is always the same. If a run has a low PSNR and a *higher* loss than the truth, the
# sampler failed: it stopped at a poor answer. If a run has a low PSNR and a loss *as low* as the
# truth's, the mixture is ambiguous: nothing in the mixture or the prior speaks against this answer.

# %% [markdown]
# ## 5. Live
#
# Now run it yourself: start, pause, step, change a parameter in mid-run, go back and fork.

# %%
sepviz.LiveRun(SplitGibbs(prior, levels=21, cycles=1), problem, truth)

# %% [markdown]
# ## Summary
#
# - A mixture of two images leaves half of the unknowns open: many pairs add up to it exactly.
# - A prior chooses among these pairs; without one, the best guess is the blurred average.
# - Where prior and mixture allow several answers, runs differ: the loss tells a failed run from an
#   ambiguous mixture.
#
# ## Questions
#
# 1. Show that for two sources the average's `per_source` and `summed_mse` differ by exactly
#    $10 \log_{10} 2 = 3.01$ dB. What is the difference for three?
# 2. A swap of *all* pixels costs nothing, a swap of half of them does. Let $d$ be the mean of
#    $(x_1 - x_2)^2$ per pixel. Write the MSE of the average and of the half swap in terms of $d$:
#    by how many dB does the average win?
# 3. In the player, at which sigma do the two estimates of mixture 1 begin to differ? Is it the same
#    for the other mixtures?
# 4. In the live run set `sigma_max` to 0.2 and start again. What goes wrong, and why does a high
#    first noise level help?
# 5. `once = sepviz.record(SplitGibbs(prior, levels=21, cycles=1), problem)`: `once[-2].sources` is
#    its last sweep, `once.sources` the mean of many. By how many dB is the mean better? Why can it
#    be better, if every sweep is plausible? What happens to a pixel that is truly ambiguous?
# 6. Make mixtures with `weights=(0.7, 0.3)` in `tasks.separate`. Is the ambiguity of section 4
#    larger or smaller? Why?
# 7. Set `DATASET` to the other value and run all cells. Which data set is harder for the average,
#    and which for the sampler?
