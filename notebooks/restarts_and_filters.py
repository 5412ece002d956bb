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
# # Synthesise and compare: what restarts buy, and what a filter hides
#
# Synthesising-Decomposition (Kong et al., 2019) turns separation round. A generator $G$ has learned to draw single digits. We look for
# the latents $z_k$, and for the filters $f_k$ if there are any, whose remix *is* the mixture:
#
# $$\min_{z, f} \Bigl\| m - \sum_k a_k\, f_k * G(z_k) \Bigr\|^2.$$
#
# The error has many valleys, so one starts in many places and keeps the best. About a minute and a half on a laptop's CPU.
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
from sepviz import Guess, KernelPad, Player, SepvizError, Synthesis, Trace, exercises, figures, metrics, tasks

DATASET = "strokes"  # or "mnist"
device = sepviz.default_device()  # the environment's SEPVIZ_DEVICE: cpu (the default), cuda or auto
prior = sepviz.load_prior(f"gan-{DATASET}")
problem, truth = tasks.separate(DATASET, count=3, seed=5, device=device)

# %% [markdown]
# ## 1. Thirty-two starts race
#
# As in the paper: every start is a blind draw, each goes down its own slope, and nobody looks at the truth.

# %%
lucky = Guess.number("How many of the 32 starts will end within twice the winner's error?", low=1, high=32)
display(lucky)

# %%
blind = Synthesis(prior, bank=0, starts=32, start_iterations=100, keep=0.0, finalists=1,
                  refine_iterations=100)
trace = sepviz.record(blind, problem, every=5)
running = [step for step in trace if step.info["alive"] == 32]
errors = torch.stack([step.results["start_error"][0] for step in running]).cpu()
winner = int(errors[-1].argmin())
figures.race(errors, [step.index for step in running], winner, y="error of the remix",
             title="Mixture 1: who wins, who is stuck")

# %%
near = int((errors[-1] <= 2 * errors[-1].min()).sum())
lucky.reveal(near, why="The others are stuck in valleys of their own: going on downhill does not help them, only another start does.")

# %% [markdown]
# The winner, two in the middle of the field and the last, with what they take the mixture for:

# %%
places = errors[-1].argsort()[[0, 10, 20, 31]]
with torch.no_grad():
    drawn = prior.decode(running[-1].state["latents"][0, places])
figures.images({"source 1": drawn[:, 0], "source 2": drawn[:, 1], "remix": drawn.sum(dim=1).clamp(0, 1)},
               columns=["winner", "11th", "21st", "last"], title="A good remix, or none")

# %% [markdown]
# ## 2. How many starts are enough?
#
# All 32 were recorded, so we can ask what fewer would have given. **Your turn.** The slider is the number of starts. Where does the
# choice change? Is the start with the least error always the one with the best PSNR?

# %%
choices = blind.by_number_of_starts(running[-1], problem)
Player(Trace(problem, choices, "best of n starts"), truth)

# %%
best_of = Trace(problem, choices, "best of n starts")
figures.curves({f"mixture {b + 1}": (best_of.indices, best_of.metric(truth)[:, b].cpu()) for b in range(3)}, "starts", "PSNR (dB)",
               title="The choice, made without the truth")

# %% [markdown] tags=["exercise"]
# **Exercise: how many starts?** Say that one blind start in ten gets to a good valley. How many starts does it take, so that with a chance
# of 95% at least one of them does?

# %% tags=["exercise"]
chance = 0.1
needed = ...  # a number of starts

# %% tags=["solution"]
needed = math.log(1 - 0.95) / math.log(1 - chance)  # so that (1 - chance)^needed, all of them failing, is 5%

# %% tags=["check"]
# NBVAL_CHECK_OUTPUT
exercises.check("needed", needed, right=math.log(0.05) / math.log(1 - chance), close=0.03, mistakes={
    "chances do not add up: ten starts would be sure to win": 0.95 / chance,
    "with 1 / chance starts one expects one success, and in a third of the cases there is none": 1 / chance,
    "this is for a chance of 5% that one gets there": math.log(0.95) / math.log(1 - chance),
    "a start fails with a chance of 0.9, and it is the failures that multiply": math.log(0.05) / math.log(chance),
}, why="Each start leaves nine tenths of the doubt. Now with the share of section 1.")

# %% [markdown]
# ## 3. Starts that are not blind
#
# A remix that is far off can be seen to be far off before any descent. `Synthesis` draws 2,000 latents once, compares the mixture with
# all their two million pairs in closed form, and starts from the nearest. Then one start goes a long way. By default the best *two* are
# refined, and the answer is their mean: where they agree nothing changes, where they do not it errs less than
# they do on average.

# %%
for label, method in {"1 blind start": Synthesis(prior, bank=0, starts=1), "1 chosen start": Synthesis(prior, starts=1),
                      "8 chosen starts": Synthesis(prior)}.items():
    run = sepviz.record(method, problem, every=50)
    print(f"{label:<18}{float(metrics.psnr(run.sources, truth.sources).mean()):6.1f} dB{run.seconds:8.1f} s")
figures.separation(problem, run.sources, truth, title="Eight chosen starts")

# %% [markdown]
# ## 4. Draw a filter
#
# Paint the taps of a 5x5 filter and run the cells below again. The method is told the size of the filter, and nothing else. It pulls
# filters towards a usual blur, here less than by default: a stronger `filter_penalty` settles where the image lies, and smears the taps.

# %%
pad = KernelPad(5)
display(pad)

# %%
blurred, original = tasks.deconvolve(DATASET, count=3, seed=2, kernels=pad.kernel, device=device)
method = Synthesis(prior, refine_iterations=300, filter_penalty=1e-3)
found = sepviz.record(method, blurred, every=10)
figures.separation(blurred, found.sources, original, title="Deblurred by an unknown filter", filters=found.final.results["filters"])

# %% [markdown]
# The true filter and the recovered one, through the iterations. In the player, choose the layer *filters*.

# %%
moments = [found[i] for i in (0, 1, 2, 4, 8, 16, len(found) - 1)]
true = original.filters[0, 0][None, None].expand(len(moments), 1, 5, 5).cpu()
recovered = torch.stack([step.results["filters"][0] for step in moments]).cpu()
figures.images({"true": true, "recovered": recovered}, columns=[f"step {step.index}" for step in moments], high=float(true.max()),
               title="A filter comes into focus")

# %%
Player(found, original)

# %% [markdown]
# ## 5. What nobody can know
#
# Move the image one pixel to the right and the filter one to the left: the mixture is the same. Make the image darker and the filter
# stronger: the same. So beside the raw PSNR there is one after the best of 25 shifts and a gain.

# %%
aligned = metrics.align(found.sources, original.sources, found.final.results["filters"])
raw, fair = (metrics.psnr(sources, original.sources) for sources in (found.sources, aligned.sources))
similar = metrics.filter_correlation(aligned.filters, original.filters)
for b in range(3):
    print(f"image {b + 1}: raw {raw[b]:.1f} dB; moved by {aligned.shifts[b, 0].tolist()} and times {aligned.gains[b, 0]:.2f}: "
          f"{fair[b]:.1f} dB; filter correlation {similar[b, 0]:.3f}")

# %% [markdown]
# Sizes that make no sense are refused:

# %%
# NBVAL_CHECK_OUTPUT
for size in (4, 29):
    try:
        sepviz.record(method, blurred._replace(mixing=sepviz.Mixing((1.0,), filter_size=size)), progress=False)
    except SepvizError as error:
        print(error)

# %% [markdown]
# ## 6. Noise, scratches, a missing half: the same problem
#
# One source, and something else in the picture. The generator draws neither noise nor scratches, so it leaves them behind. Where half of
# the image is missing, only the other half is compared: what does the method invent?

# %%
disturbed = {name: tasks.TASKS[name](DATASET, count=3, seed=1, device=device) for name in ("denoise", "inpaint", "complete")}
answers = {name: sepviz.record(Synthesis(prior, refine_iterations=200), task, every=50).sources for name, (task, _) in disturbed.items()}
rows = {}
for name, (task, clean) in disturbed.items():
    rows |= {f"{name}: seen": task.mixtures, f"{name}: answer": answers[name][:, 0], f"{name}: truth": clean.sources[:, 0]}
figures.images(rows, title="Three disturbances, one method")

# %% [markdown]
# ## Questions
#
# 1. In section 1, how often would a single blind start have been good? How many starts does that make for a chance of 95%, and what does it
#    say about the 32 of the paper?
# 2. Set `outlier=0` in section 6: all pixels count alike. What happens to the scratched digits, and why do *more* starts not help?
# 3. Paint a filter with one tap, in a corner. Which shift does section 5 find? What does `metrics.align` do beyond two pixels?
# 4. Paint two filters of your own and mix two digits through them: `tasks.separate(DATASET, count=3, kernels=torch.stack([one, other]))`.
#    Which is harder, to tell the digits apart or to tell image from filter?
# 5. The literal method of the paper is `Synthesis(prior, **Synthesis.presets["paper"])`. How many times slower is it? What does it gain?
