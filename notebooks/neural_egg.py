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
# # Neural Egg Separation: learn a source that nobody has ever seen alone
#
# A street musician cannot be recorded without the street, but the street can be recorded without the musician. Here the street is $b$:
# we have clean images of it. The musician is $x$: never seen but in mixtures $y = x + b$. Neural Egg Separation (Halperin et al., 2019)
# learns to separate from mixtures that it makes up itself, out of its own last estimates of $x$:
#
# $$T \leftarrow \arg\min_T \|T(b_j + \tilde x_i) - b_j\|_1, \qquad \tilde x_i \leftarrow y_i - T(y_i), \qquad T(y) = y\, m(y).$$
#
# Trainings take minutes, so those of this lab were recorded; you scrub them. About a minute on a laptop's CPU.
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
# Digits 0 to 4 alone, and sums of a digit 0 to 4 and one of 5 to 9. **Never** a digit 5 to 9 alone. The class `Examples` holds this and no
# more; the truth is elsewhere, and only the figures look at it.

# %%
# NBVAL_CHECK_OUTPUT
print(f"{len(examples.observed)} observed images, {len(examples.mixtures)} mixtures, unseen ones: {examples.unobserved}")

# %%
figures.images({"observed b": examples.observed[:10], "mixtures y": examples.mixtures[:10] / 2}, title="All there is to learn from")

# %% [markdown] tags=["exercise"]
# **Exercise: the first task.** Ten clean observed images and ten mixtures. The first estimate of the unseen source is half of each mixture.
# What is the network $T$ given in the first iteration, and what should it answer?

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
exercises.check("given", given, right=b + y / 2, mistakes={
    "these are the real mixtures, and nobody knows what T should answer to them": y,
    "the estimate is half of the mixture": b + y,
    "this is the estimate alone: an observed image has to be added": y / 2,
}, why="A mixture that was made up, so its parts are known.")
exercises.check("wanted", wanted, right=b, mistakes={
    "this is the estimate of the unseen source: T gives the observed part, and the rest is x": y / 2,
    "this is y - b, of a mixture that holds another b: only made-up mixtures have this one": y - b,
    "this is what T is given": b + y / 2,
}, why="T learns the observed source, which we have clean; the unseen one is what it leaves.")

# %% [markdown]
# ## 2. Watch the unseen source appear
#
# The recorded run: 30 iterations of one pass over 12,000 images, 12 minutes on one core (its card says so). Source 1 is the
# unseen one. **Before you play:** the first estimate is half of every mixture. What will a network that is trained on $b + y/2$ do
# with a pixel that both digits cover? And with one that only $x$ covers? Sketch what becomes of it.

# %%
course = Guess.curve("How will the PSNR of the unseen source go during the training?", x="iteration", y="PSNR in dB",
                     at=[0, 5, 10, 15, 20, 25, 30], low=10, high=35)
display(course)

# %%
trace, seen = recorded("egg-strokes-high")
Player(trace, seen)


# %%
def unseen_psnr(steps, truth):
    return [metrics.summarize(step.sources[:, :1], truth.sources[:, :1]).mean for step in steps]


figures.curves({"unseen source": (range(len(trace)), unseen_psnr(trace, seen))}, x="iteration", y="PSNR in dB", title="Six mixtures")

# %%
course.reveal((range(len(trace)), unseen_psnr(trace, seen)), why="The better the estimates, the fairer the made-up mixtures, the better "
              "the next estimates: such a loop starts slowly, tips over, and ends where the mask can do no better.")

# %% [markdown]
# For a few iterations nothing seems to happen: half a mixture still looks much like $y$, and separating it from $b$ is an unfair task.
# Then the estimates start to look more like $x$, the task becomes fairer, and the whole thing tips over.
#
# ## 3. Where it starts
#
# $x = 0$ is a fixed point: mixtures $b + 0$ teach $T$ to keep everything, and then $y - T(y) = 0$ again. Three shorter runs (6,000
# images, 12 iterations): from half of each mixture, from a twentieth, and from GLO masks, two generators whose images add up to the
# mixtures.

# %%
beginning = Guess.choice("Which beginning gives the best estimates in the end?", ["half", "a twentieth", "GLO masks"])
display(beginning)

# %%
runs = {name: recorded(f"egg-strokes-{short}") for name, short in
        {"half": "half", "a twentieth": "small", "GLO masks": "glo"}.items()}
eggs = {name: [step for step in run if step.stage.startswith("egg")] for name, (run, _) in runs.items()}
same = runs["half"][1]  # the truth of all three
figures.curves({name: (range(1, len(steps) + 1), unseen_psnr(steps, same)) for name, steps in eggs.items()}, x="iteration",
               y="PSNR in dB", title="The unseen source, from three beginnings")

# %%
beginning.reveal(max(eggs, key=lambda name: unseen_psnr(eggs[name], same)[-1]), why={
    "half": "it holds all of x, and b as faint as x: wrong everywhere, but fair to both.",
    "a twentieth": "close to the fixed point x = 0, from where T learns to keep everything.",
    "GLO masks": "they hold digits already, so the first made-up mixtures are like real ones."})

# %%
figures.images({name: steps[-1].sources[:, 0] for name, steps in eggs.items()} | {"truth": same.sources[:, 0]},
               title="What each took for the unseen source in the end")

# %% [markdown]
# ## 4. New mixtures
#
# What remains of a training is a small network, and new mixtures take milliseconds. It is shipped as `egg-strokes-high`. How far is it
# from a network that saw both sources clean?

# %%
new, new_truth = tasks.unmix(UNSEEN, OBSERVED, count=200, seed=7, training=2)
methods = {"half": Constant(0.5), "egg": Mask(sepviz.load_prior("egg-strokes-high"))}
results = {name: sepviz.record(method, new, progress=False).sources for name, method in methods.items()}
upper = Mask(sepviz.load_prior("supervised-strokes"))  # knows 0 to 4 as its first source
results["supervised"] = sepviz.record(upper, new, progress=False).sources.flip(1)
for name, sources in results.items():
    found = metrics.summarize(sources[:, :1], new_truth.sources[:, :1])
    print(f"{name:<12} {found.mean:5.1f} +- {found.interval:.1f} dB   SSIM {found.ssim:.3f}")
figures.compare(new, results, new_truth, count=5, title="New mixtures")

# %% [markdown]
# ## 5. Where it must fail
#
# The made-up mixtures pair any $b$ with any $x$. If the real ones do not, if $x$ depends on $b$, the network learns from the wrong
# mixtures. Below, each $b$ is mixed with the unseen digit that covers it most, as if the musician always played along.

# %%
x, b = new_truth.sources[:, 0].flatten(1), new_truth.sources[:, 1].flatten(1)
partner = (b @ x.T / x.norm(dim=1)).argmax(dim=1)
alike, alike_truth = tasks.mix(torch.stack([new_truth.sources[partner, 0], new_truth.sources[:, 1]], dim=1))
run = sepviz.record(methods["egg"], alike, progress=False)
found = metrics.summarize(run.sources[:, :1], alike_truth.sources[:, :1])
print(f"dependent mixtures: {found.mean:.1f} +- {found.interval:.1f} dB")
display(figures.separation(alike, run, alike_truth, count=5, title="Digits that cover each other"))

# %% [markdown]
# ## 6. Your turn: train one
#
# A training within a lab's patience: 800 images and a few iterations take half a minute, which is long enough to see the estimates
# move and too short to separate. Change `share`, `learning_rate` or `iterations`; the tests run only the first few iterations.

# %%
small = sepviz.record(Egg(iterations=6, epochs=3, batch=32), problem)
print("mean change of the estimates:", [f"{step.info['change']:.3f}" for step in small if "change" in step.info])
Player(small, truth)

# %% [markdown]
# From the command line, for any two sets of images, and resumed after an interruption:
#
#     sepviz train egg --unseen mnist:0-4 --observed mnist:5-9 --out mine.safetensors
#     sepviz separate problem.npz --method mask --prior mine.safetensors
#
# **Questions.** 1. Why is the loss an absolute and not a squared difference? 2. The estimates at the end hold faint ghosts of $b$ where
# both digits overlap. Can any number of iterations remove them? 3. What would happen if the observed images were not of the same kind
# as the $b$ in the mixtures?
