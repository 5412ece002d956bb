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
# Neither source is ever seen alone; there are only mixtures. Adversarial Unmix-and-Remix (Hoshen,
# 2019) still learns to separate them. Take two mixtures apart, swap two parts, and add up again:
#
# $$y_1 = x_1 + b_1, \quad y_2 = x_2 + b_2 \quad\longrightarrow\quad
# z_1 = x_1 + b_2, \quad z_2 = x_2 + b_1.$$
#
# If the parts are the sources, $z$ looks like any other mixture. If they are not, one can see it. A
# discriminator learns to see it, and the mask learns to fool the discriminator. The lab runs in
# about a minute on a laptop's CPU.
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
clean = f"{problem.examples.observed}, {problem.examples.unobserved}"
print(f"{len(mixed)} mixtures; clean images of either source: {clean}")

# %% [markdown]
# ## 1. Swap by hand
#
# Here are three ways to take the same mixtures apart: into the true sources, into a left and a
# right half, and into two halves of every pixel. The remix of each column takes its second part
# from the next column. **Which rows of remixes do not look like mixtures?**

# %%
y, x = problem.mixtures, truth.sources[:, 0]
left = torch.zeros_like(y)
left[..., :16] = 1
parts = {"sources": x, "left part": y * left, "half": y / 2}
remixes = {name: part + (y - part).roll(-1, dims=0) for name, part in parts.items()}
figures.images(
    {"mixtures": y / 2} | {f"remix: {name}": remix / 2 for name, remix in remixes.items()},
    title="Mixtures, or remixes?",
)

# %% [markdown] tags=["exercise"]
# **Exercise: swap back.** Below are the two parts of each remix of the first kind. Swap them back,
# so that you get the *mixtures* again. (A mask that separates remixes as well as mixtures passes
# this test: it is the method's cycle loss.)

# %% tags=["exercise"]
first, second = x, (y - x).roll(-1, dims=0)  # remix i is first[i] + second[i]
again = ...  # (6, 1, 32, 32)

# %% tags=["solution"]
again = first + second.roll(1, dims=0)

# %% tags=["check"]
# NBVAL_CHECK_OUTPUT
exercises.check(
    "again",
    again,
    right=y,
    mistakes={
        "these are the remixes: nothing is swapped back": first + second,
        "this swaps in the same direction: each second part is now two columns away": first
        + second.roll(-1, dims=0),
        "this moves whole remixes: move only the second parts": (first + second).roll(1, dims=0),
        "the second parts are missing": first,
    },
    why="Swapping twice gives the mixtures again, if the parts are the sources.",
)

# %% [markdown]
# The last row looks wrong: halves of everything give four pale digits, which a discriminator learns
# to see. But swapping *nothing* is perfect: with $x = y$ and $b = 0$ every remix is a mixture. This
# solution must be ruled out.
#
# ## 2. Watch it learn
#
# The recorded run learned from 25,000 mixtures alone, in 16 passes. One term of its loss, the
# energy equity, asks that both parts get the same share of each image. **Watch for the moment at
# which the two parts become digits.** Source 1 is one group of digits and source 2 the other.
# Nothing told the method which is which, and another run may swap them, but all mixtures have the
# same order. Why?

# %%
trace, seen = recorded("remix-strokes")
Player(trace, seen)

# %%
info = trace.final.info
print({name: round(value, 3) for name, value in info.items() if name.endswith("loss")})
curve = [metrics.summarize(step.sources, seen.sources, order="set").mean for step in trace]
figures.curves(
    {"both sources": (range(len(trace)), curve)},
    x="epoch",
    y="PSNR in dB",
    title="Six mixtures, one order for all",
)

# %% [markdown]
# ## 3. Turn each loss off
#
# These are short trainings on 480 mixtures: too short to separate, but long enough to show what
# goes wrong. **Guess the mean and spread of the mask for each before you look.** The mask is 1
# where a pixel goes to the second source.

# %%
share = Guess.number(
    "What is the mean of the mask without energy equity?", low=0, high=1, step=0.01
)
display(share)

# %%
quick = {"epochs": 4, "batch": 16}
variants = {
    "all losses": Remix(**quick),
    "no energy equity": Remix(**quick, energy=0.0),
    "no adversary": Remix(**quick, adversarial=0.0),
    "no adversary, pixels even": Remix(**quick, adversarial=0.0, energy_of="pixel", spectral=False),
}
finals = {
    name: sepviz.record(method, problem, every=4, progress=False).final
    for name, method in variants.items()
}
masks = {name: (step.sources[:, 1] / y)[y > 0.2] for name, step in finals.items()}
for name, mask in masks.items():
    print(f"{name:<26} mask {mask.mean():.2f} +- {mask.std():.2f}")
figures.images(
    {name: step.sources[:, 0] for name, step in finals.items()}, title="The first source of each"
)

# %%
share.reveal(
    masks["no energy equity"].mean(),
    why="A mask near 0 or 1 swaps almost nothing, which fools any discriminator. "
    f"With energy equity the mean is {float(masks['all losses'].mean()):.2f}.",
)

# %% [markdown]
# Without energy equity the mask drifts to one side, and in a longer run one source gets everything.
# Without the discriminator any even share is good enough; if the share must be even at every pixel,
# the mask is one half everywhere. So the paper's $L_E$, read per pixel, is not enough alone.
#
# ## 4. The discriminator's view
#
# Its output is 1 for a mixture and 0 for a remix. The discriminator of the first training faces a
# mask that learns too, and after so few passes it is still guessing. That of the last training
# (with batch norm, which learns faster) has seen only pale halves as remixes. **What does it say
# about a good remix, and about left and right parts, which it has never seen?**

# %%
pale = Guess.choice(
    "To which remixes does the last discriminator give the lowest output?", list(remixes)
)
display(pale)

# %%
for variant in ("all losses", "no adversary, pixels even"):
    discriminator = variants[variant].critic(finals[variant], (1, 32, 32))
    print(f"{variant}:")
    for name, images in {"mixtures": y, **remixes}.items():
        print(f"  {name:<10}", " ".join(f"{float(score):6.2f}" for score in discriminator(images)))

# %%
pale.reveal(
    min(remixes, key=lambda name: float(discriminator(remixes[name]).mean())),
    why={
        "sources": "they are sums of two whole digits, like any mixture.",
        "left part": "we see the seams easily, but the discriminator has never seen such remixes.",
        "half": "it was trained on such remixes: four pale digits in place of two.",
    },
)

# %% [markdown]
# ## 5. New mixtures
#
# The trained mask is shipped as `remix-strokes`. We compare it with robust PCA, which assumes that
# one source has low rank and the other is sparse, and with the mask that saw both sources clean.
# The sources of all mixtures are put in one order.

# %%
new, new_truth = tasks.unmix(LOW, HIGH, count=60, seed=7, training=2, sees="mixtures")
methods = {
    "robust PCA": Rpca(),
    "remix": Mask(sepviz.load_prior("remix-strokes")),
    "supervised": Mask(sepviz.load_prior("supervised-strokes")),
}
runs = {
    name: sepviz.record(method, new, every=100, progress=False) for name, method in methods.items()
}
for name, run in runs.items():
    found = metrics.summarize(run.sources, new_truth.sources, order="set")
    print(f"{name:<12} {found.mean:5.1f} +- {found.interval:.1f} dB   SSIM {found.ssim:.3f}")
display(figures.compare(new, runs, new_truth, count=4, title="New mixtures"))

# %% [markdown]
# From the command line you can train on any two sets of images; an interrupted training is resumed:
#
#     sepviz train remix --unseen mnist:0-4 --observed mnist:5-9 --out mine.safetensors
#     sepviz separate problem.npz --method mask --prior mine.safetensors
#
# ## Summary
#
# - Swapping parts between mixtures gives new mixtures exactly if the parts are the sources.
# - A discriminator turns this into a loss; energy equity rules out swapping nothing.
# - No clean image is needed, but the two sources must differ and be independent.
#
# ## Questions
#
# 1. The method assumes that sources are independent. Which remixes would look wrong if they were
#    not?
# 2. Would it work if both sources came from the same classes, say any digit and any digit?
# 3. The paper takes four steps of the mask for each step of the discriminator. Set `mask_steps=4`
#    in section 3. What does the discriminator learn then?
