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
# # Unmix and remix: separate without a single clean image
#
# Nobody has seen either source alone; there are only mixtures. Adversarial Unmix-and-Remix (Hoshen, 2019) still learns to separate them.
# Take two mixtures apart, swap a part, and add up again:
#
# $$y_1 = x_1 + b_1, \quad y_2 = x_2 + b_2 \quad\longrightarrow\quad z_1 = x_1 + b_2, \quad z_2 = x_2 + b_1.$$
#
# If the parts are the sources, $z$ is a mixture like any other. If they are not, it shows. A discriminator learns to see it, and the
# mask learns to fool the discriminator. About a minute on a laptop's CPU.
#
# [Open in Colab](https://colab.research.google.com/github/_OWNER_/sepviz/blob/main/notebooks/unmix_remix.ipynb)

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
from sepviz import Guess, Mask, Player, Remix, Rpca, exercises, figures, metrics, recorded, tasks

LOW, HIGH = "strokes:0-4", "strokes:5-9"
problem, truth = tasks.unmix(LOW, HIGH, count=6, training=480, sees="mixtures", split="held-out")
mixed = problem.examples.mixtures

# %%
# NBVAL_CHECK_OUTPUT
print(f"{len(mixed)} mixtures; clean images of either source: {problem.examples.observed}, {problem.examples.unobserved}")

# %% [markdown]
# ## 1. Swap by hand
#
# Three ways to take the same mixtures apart: into the true sources, into a left and a right half, and into two halves of every pixel.
# Each column's remix takes its second part from the next column. **Which rows of remixes would you not take for mixtures?**

# %%
y, x = problem.mixtures, truth.sources[:, 0]
left = torch.zeros_like(y)
left[..., :16] = 1
parts = {"sources": x, "left part": y * left, "half": y / 2}
remixes = {name: part + (y - part).roll(-1, dims=0) for name, part in parts.items()}
figures.images({"mixtures": y / 2} | {f"remix: {name}": remix / 2 for name, remix in remixes.items()}, title="Mixtures, or remixes?")

# %% [markdown] tags=["exercise"]
# **Exercise: swap back.** Below are the two parts of each remix of the first kind. Swap them once more, so that the *mixtures* come out
# again. (A mask that takes remixes apart as well as mixtures must pass this test: it is the method's cycle loss.)

# %% tags=["exercise"]
first, second = x, (y - x).roll(-1, dims=0)  # remix i is first[i] + second[i]
again = ...  # (6, 1, 32, 32)

# %% tags=["solution"]
again = first + second.roll(1, dims=0)

# %% tags=["check"]
# NBVAL_CHECK_OUTPUT
exercises.check("again", again, right=y, mistakes={
    "these are the remixes: nothing is swapped back": first + second,
    "this swaps once more the same way: each second part is now two columns from home": first + second.roll(-1, dims=0),
    "this moves whole remixes: only the second parts have to go back": (first + second).roll(1, dims=0),
    "the second parts are missing": first,
}, why="Unmix, remix, unmix, remix: back at the start, if the parts were the sources.")

# %% [markdown]
# The last row is the difficulty. Halves of everything give pale ghosts, which a discriminator learns to see. But to swap *nothing*
# is perfect: with $x = y$ and $b = 0$ every remix is a mixture. That solution has to be forbidden.
#
# ## 2. Watch it learn
#
# The recorded run, from mixtures alone: 16 passes over 25,000. The loss has a term, the energy equity, that wants both parts to hold as
# much of each image. **Watch for the moment at which the two parts begin to be digits.** Source 1 happens to be one group of digits and
# source 2 the other: nobody told it which, and it might have been the other way round, but it is the same way in every mixture. Why?

# %%
trace, seen = recorded("remix-strokes")
Player(trace, seen)

# %%
info = trace.final.info
print({name: round(value, 3) for name, value in info.items() if name.endswith("loss")})
curve = [metrics.summarize(step.sources, seen.sources, order="set").mean for step in trace]
figures.curves({"both sources": (range(len(trace)), curve)}, x="epoch", y="PSNR in dB", title="Six mixtures, one order for all")

# %% [markdown]
# ## 3. Turn each loss off
#
# Short trainings on 480 mixtures: too short to separate, long enough to fall into every trap. **Guess the mask's mean and spread for
# each before you look.** The mask is 1 where a pixel goes to the second source.

# %%
share = Guess.number("Without energy equity, what will be the mean of the mask?", low=0, high=1, step=0.01)
display(share)

# %%
quick = {"epochs": 4, "batch": 16}
variants = {"all losses": Remix(**quick), "no energy equity": Remix(**quick, energy=0.0),
            "no adversary": Remix(**quick, adversarial=0.0),
            "no adversary, pixels even": Remix(**quick, adversarial=0.0, energy_of="pixel", spectral=False)}
finals = {name: sepviz.record(method, problem, every=4, progress=False).final for name, method in variants.items()}
masks = {name: (step.sources[:, 1] / y)[y > 0.2] for name, step in finals.items()}
for name, mask in masks.items():
    print(f"{name:<26} mask {mask.mean():.2f} +- {mask.std():.2f}")
figures.images({name: step.sources[:, 0] for name, step in finals.items()}, title="The first source of each")

# %%
share.reveal(masks["no energy equity"].mean(), why="To leave nearly everything on one side is to swap nearly nothing, and that fools any "
             f"discriminator. Nothing holds it back here; with energy equity the mean is {float(masks['all losses'].mean()):.2f}.")

# %% [markdown]
# Without energy equity the mask drifts to one side, and in a longer run one source gets all. Without the adversary any even share will
# do, and with evenness asked of every pixel the mask is one half everywhere: that is the reading of the paper's $L_E$ that cannot be
# meant alone.
#
# ## 4. The discriminator's view
#
# 1 means "a mixture", 0 "a remix". The discriminator of the first training has a mask to keep up with, and after so few passes it is
# still guessing. That of the last one (with batch norm, which is quicker) only ever saw pale halves as remixes. **What will it make of
# a good remix, and of left and right parts, which it has never seen?**

# %%
pale = Guess.choice("Which remixes will the last discriminator be surest of, that they are remixes?", list(remixes))
display(pale)

# %%
for variant in ("all losses", "no adversary, pixels even"):
    critic = variants[variant].critic(finals[variant], (1, 32, 32))
    print(f"{variant}:")
    for name, images in {"mixtures": y, **remixes}.items():
        print(f"  {name:<10}", " ".join(f"{float(score):6.2f}" for score in critic(images)))

# %%
pale.reveal(min(remixes, key=lambda name: float(critic(remixes[name]).mean())), why={
    "sources": "they are sums of two whole digits: mixtures like any other.",
    "left part": "seams and cut digits are easy to see for us, but a discriminator sees only what it was trained against.",
    "half": "it is what this one was trained against: four pale digits in place of two."})

# %% [markdown]
# ## 5. New mixtures
#
# The trained mask is shipped as `remix-strokes`. Beside it: robust PCA, which wants one source of low rank and a sparse one, and
# the mask that saw both sources clean. All are put in one order for the whole set.

# %%
new, new_truth = tasks.unmix(LOW, HIGH, count=60, seed=7, training=2, sees="mixtures")
methods = {"robust PCA": Rpca(), "remix": Mask(sepviz.load_prior("remix-strokes")),
           "supervised": Mask(sepviz.load_prior("supervised-strokes"))}
runs = {name: sepviz.record(method, new, every=100, progress=False) for name, method in methods.items()}
for name, run in runs.items():
    found = metrics.summarize(run.sources, new_truth.sources, order="set")
    print(f"{name:<12} {found.mean:5.1f} +- {found.interval:.1f} dB   SSIM {found.ssim:.3f}")
display(figures.compare(new, runs, new_truth, count=4, title="New mixtures"))

# %% [markdown]
# From the command line, and resumed after an interruption:
#
#     sepviz train remix --unseen mnist:0-4 --observed mnist:5-9 --out mine.safetensors
#     sepviz separate problem.npz --method mask --prior mine.safetensors
#
# **Questions.** 1. The method assumes that sources are independent. What remixes would give away a mixture of dependent ones? 2. Would it
# work with both sources from the same classes, say any digit and any digit? 3. The paper makes four mask steps for each step of the
# discriminator. Set `mask_steps=4` in section 3: what does the discriminator learn then?
