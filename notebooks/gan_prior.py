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
# # A GAN as a prior: what it draws, and what it cannot draw
#
# A generator $G$ turns a latent vector $z \sim N(0, 1)$ into an image. It is a strict prior: an
# image that is not in the range of $G$ is impossible. So before we separate anything with it, we
# ask which images it leaves out. It runs in about a minute on a laptop's CPU.
#
# [Open in Colab](https://colab.research.google.com/github/_OWNER_/sepviz/blob/main/notebooks/gan_prior.ipynb)

# %%
import sys

if "google.colab" in sys.modules:  # elsewhere this cell does nothing
    # %pip install --quiet --no-deps git+https://github.com/_OWNER_/sepviz anywidget psygnal
    from google.colab import output

    output.enable_custom_widget_manager()

# %%
import tempfile
from itertools import islice

import torch
from IPython.display import display

import sepviz
from sepviz import Explore, Guess, Synthesis, exercises, figures, metrics, tasks
from sepviz.data import load
from sepviz.training.gan import gan_steps

DATASET = "strokes"  # or "mnist"
device = sepviz.default_device()  # the environment's SEPVIZ_DEVICE: cpu (the default), cuda or auto
prior = sepviz.load_prior(f"gan-{DATASET}")
rng = torch.Generator(device).manual_seed(0)

# %%
drawn = prior.sample(30, rng)
figures.images(
    {"": drawn[:10], " ": drawn[10:20], "  ": drawn[20:]}, title="Thirty images that nobody drew"
)

# %% [markdown]
# ## 1. Walk through the latent space
#
# A path between two latents is a path between two images. Two random vectors of a hundred numbers
# have nearly the same length; a path on the sphere keeps this length, with which $G$ was trained.

# %%
ends = torch.randn((3, 2, prior.latent_size), generator=rng, device=device)
angles = torch.linspace(0, torch.pi / 2, 11, device=device)[:, None]
with torch.no_grad():
    walks = [prior.decode(angles.cos() * first + angles.sin() * last) for first, last in ends]
figures.images(
    {f"walk {i + 1}": walk for i, walk in enumerate(walks)}, title="From one image to another"
)

# %% [markdown] tags=["exercise"]
# **Exercise: the straight line.** Walk from the first end to the last in a straight line, in equal
# steps, and look at the lengths of the latents on the way.

# %% tags=["exercise"]
first, last = ends[0]
parts = torch.linspace(0, 1, 11, device=device)[:, None]
straight = ...  # (11, 100), from first to last

# %% tags=["solution"]
straight = (1 - parts) * first + parts * last
with torch.no_grad():
    ways = {"straight": prior.decode(straight), "on the sphere": walks[0]}
figures.images(
    ways,
    columns=[f"|z| {length:.1f}" for length in straight.norm(dim=1)],
    title="On the straight line the latents are too short",
)

# %% tags=["check"]
# NBVAL_CHECK_OUTPUT
exercises.check(
    "straight",
    straight,
    right=torch.lerp(first, last, parts),
    mistakes={
        "this is the walk on the sphere": angles.cos() * first + angles.sin() * last,
        "this goes from last to first": torch.lerp(last, first, parts),
        "first is still there at the end: it must fade while last comes in": first + parts * last,
        "this starts at 0: first is missing": parts * last,
    },
    why="Half-way it has only about 0.7 times the length of its ends.",
)

# %% [markdown]
# **Your turn.** The sliders move the latent of the first image above in four directions at right
# angles. Which of them change the digit, and which only its shape?

# %%
directions = torch.linalg.qr(torch.randn((prior.latent_size, 4), generator=rng, device=device))[0].T


@torch.no_grad()
def show(**amounts):
    moved = ends[0, 0] + sum(
        amount * direction for amount, direction in zip(amounts.values(), directions, strict=True)
    )
    return figures.images({"G(z)": prior.decode(moved)[None]})


Explore(show, **{name: (-8.0, 8.0, 0.5) for name in "abcd"})

# %% [markdown]
# ## 2. The length of z
#
# Under the prior $|z|^2 \approx 100$, so $|z| \approx 10$. Much shorter latents give fog, much
# longer ones hard and broken strokes: the generator was never trained on such latents. When we
# search for a $z$ that explains a mixture, only a penalty keeps its length near 10.

# %%
unit = ends[:, 0] / ends[:, 0].norm(dim=1, keepdim=True)
lengths = (0.0, 2.0, 5.0, 10.0, 15.0, 25.0, 50.0)
with torch.no_grad():
    stretched = prior.decode(torch.stack([length * unit for length in lengths]))
figures.images(
    {f"z {i + 1}": stretched[:, i] for i in range(3)},
    columns=[f"|z| = {length:g}" for length in lengths],
    title="Too short, right, too long",
)

# %% [markdown]
# ## 3. What it cannot make
#
# For images that the generator has never seen, we search for the best $z$ as well as we can. The
# PSNR of the result is the *oracle*: no image of this prior comes closer. Images that training
# forgot (mode collapse) have the lowest oracle.

# %%
bound = Guess.number(
    "How many dB will the best G(z) have, on average, for an image it has never seen?",
    unit="dB",
    low=10,
    high=50,
)
display(bound)

# %%
clean, truth = tasks.separate(DATASET, count=16, sources=1, seed=3, device=device)
best = sepviz.record(Synthesis(prior, finalists=1, refine_iterations=300), clean, every=50).sources
oracle = metrics.psnr(best, truth.sources)
worst = oracle.argsort()[:8].cpu()
print(
    f"oracle of {len(oracle)} images: mean {oracle.mean():.1f} dB, "
    f"from {oracle.min():.1f} to {oracle.max():.1f} dB"
)
figures.images(
    {"image": truth.sources[worst, 0], "best G(z)": best[worst, 0]},
    columns=[f"{value:.1f} dB" for value in oracle[worst]],
    title="The eight worst",
)

# %%
bound.reveal(
    oracle.mean(),
    why="A hundred numbers describe 784 pixels: the digit is right, but its "
    "exact strokes are not in the range of G.",
)

# %% [markdown]
# Now images that are not digits of this set: mirrored, transposed and negative ones.

# %%
kinds = ["mirrored", "transposed", "negative"]
strangest = Guess.choice("Which of them will the generator explain worst?", kinds)
display(strangest)

# %%
image = truth.sources[:3]
strange = torch.cat([image, image.flip(4), image.transpose(3, 4), 1 - image])
problem = tasks.mix(strange)[0]
answer = sepviz.record(
    Synthesis(prior, finalists=1, refine_iterations=120), problem, every=50
).sources
values = metrics.psnr(answer, strange)
figures.images(
    {"image": strange[:, 0], "best G(z)": answer[:, 0]},
    columns=[f"{value:.0f} dB" for value in values],
    title="As they are, mirrored, transposed, negative",
)

# %%
strangest.reveal(
    kinds[int(values.reshape(4, 3)[1:].mean(dim=1).argmin())],
    why={
        "mirrored": "these are thin strokes on black, mostly where digits have theirs.",
        "transposed": "these are still strokes on black, and some look like another digit.",
        "negative": "no latent gives a white background: every image of G is mostly black.",
    },
)

# %% [markdown]
# ## 4. Watch one being trained
#
# A training is a stream of steps, like every run. This one trains a small network for two hundred
# iterations and shows what the same ten latents give. `sepviz train gan` trains a real one.

# %%
images = load(DATASET, "train", count=5000).images.to(device)
with tempfile.TemporaryDirectory() as folder:
    stream = gan_steps(
        images,
        f"{folder}/small.ckpt",
        iterations=200,
        widths=(64, 32, 16),
        batch=32,
        every=40,
        shown=10,
    )
    course = [step for step, _ in islice(stream, 6)]
figures.images({step.stage: step.sources[0] for step in course}, title="Ten latents learn to draw")

# %%
# NBVAL_CHECK_OUTPUT
print([step.info["iteration"] for step in course])

# %% [markdown]
# ## Summary
#
# - A generator gives sharp images, and it can give no others than those in its range.
# - Latents of the usual length give digits; much shorter or longer ones do not.
# - The oracle measures the limit of such a prior before any mixture is separated.
#
# ## Questions
#
# 1. In section 1, do the walks pass through images that are no digits? What does this say about the
#    classes in the latent space?
# 2. The oracle of section 3 is a bound for every image of this prior. Compare it with the PSNR of
#    `Synthesis` on two sources: how much is lost by the prior, and how much by the search?
# 3. A negative digit gets a poor answer. Which number in the `Step` shows that something is wrong?
# 4. Mirrored digits come out better than you might expect. Which of them do, and why?
