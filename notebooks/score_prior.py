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
# # A prior made of denoising
#
# What does it mean that a network "knows" images? Here the answer is concrete: it can remove
# Gaussian noise from them, at any noise level sigma. This lab shows that such a denoiser gives the
# score $\nabla \log p_\sigma$, what that field looks like, and how it makes new images. It runs in
# about half a minute on a laptop's CPU.
#
# [Open in Colab](https://colab.research.google.com/github/_OWNER_/sepviz/blob/main/notebooks/score_prior.ipynb)

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
from sepviz import GaussianPrior, Guess, exercises, figures, zoo
from sepviz.data import floats, load
from sepviz.training.score import validate

DATASET = "strokes"  # or "mnist"
device = sepviz.default_device()  # the environment's SEPVIZ_DEVICE: cpu (the default), cuda or auto
prior = sepviz.load_prior(f"score-{DATASET}")
rng = torch.Generator(device).manual_seed(0)
test = load(DATASET, "test", count=1000)
clean = floats(test.images).to(device)

# %% [markdown]
# ## 1. Noise levels
#
# Sigma is the standard deviation of the noise, where black is 0 and white is 1. The middle row is
# all that the network gets.

# %%
sigmas = [0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 1.0, 2.0]
originals = clean[:8]
noisy = originals + torch.tensor(sigmas, device=device)[:, None, None, None] * torch.randn(
    originals.shape, generator=rng, device=device
)
denoised = prior.denoise(noisy, torch.tensor(sigmas, device=device))
figures.images(
    {"clean": originals, "noisy": noisy, "denoised": denoised},
    columns=[f"sigma {sigma:g}" for sigma in sigmas],
    title="Held-out images, noisy and denoised",
)

# %% [markdown]
# The denoised image is the *mean* of all clean images that could be under the noise. At sigma 0.2
# there is little doubt, and the mean is sharp; at sigma 2 many images are possible, and their mean
# is a cloud. The blur shows how uncertain the denoiser is.

# %% [markdown]
# ## 2. How good is it?
#
# The plot shows the error that is left, relative to the noise: 1 is no denoising at all, 0 is
# perfect. The network's figures are those of its card, for images it has not seen. For comparison
# there is a prior in closed form: one Gaussian for each pixel, which ignores the neighbours.

# %%
losses = {
    "score network": {
        float(sigma): loss
        for sigma, loss in zoo.card(f"score-{DATASET}")["held_out_loss_per_sigma"].items()
    }
}
losses["Gaussian for each pixel"] = validate(
    GaussianPrior.fit(floats(load(DATASET, "train", count=2000).images).to(device)), clean
)
figures.curves(
    {name: (list(values), list(values.values())) for name, values in losses.items()},
    "noise level sigma (pixel values)",
    "held-out MSE / sigma²",
    log_x=True,
    log_y=True,
    marks=True,
    title="What denoising leaves of the noise",
)

# %% [markdown]
# ## 3. Tweedie's formula, checked
#
# Let $x_0$ be clean, $x = x_0 + \sigma n$, and $p_\sigma$ the density of $x$. Then
#
# $$\nabla \log p_\sigma(x) = \frac{\mathrm{E}[x_0 \mid x] - x}{\sigma^2}.$$
#
# The left side is a gradient, the right side needs only a denoiser. For a Gaussian prior we can
# compute both: the gradient by automatic differentiation, the right side from `denoise`.

# %%
# NBVAL_CHECK_OUTPUT
gaussian, sigma = GaussianPrior.fit(clean), 0.5
x = (
    gaussian.sample(5, rng)
    + sigma * torch.randn((5, *gaussian.image_shape), generator=rng, device=device)
).requires_grad_()
(gradient,) = torch.autograd.grad(gaussian.log_prob(x, sigma).sum(), x)
tweedie = (gaussian.denoise(x, sigma) - x) / sigma**2
print(
    "gradient and Tweedie's formula agree:", torch.allclose(gradient, tweedie, rtol=1e-3, atol=1e-4)
)

# %% [markdown]
# And is `denoise` really the mean of the clean values that are possible? For a single pixel,
# $x_0 \sim N(0.5, 0.3^2)$, we draw many pairs and measure it. **Sketch it first.**

# %%
sketch = Guess.curve(
    "A noisy pixel is x, at sigma 0.4. What is its clean value on average?",
    x="noisy pixel x",
    y="clean pixel x₀",
    at=[-0.4, -0.1, 0.2, 0.5, 0.8, 1.1, 1.4],
    low=-0.4,
    high=1.4,
)
display(sketch)

# %%
pixel = GaussianPrior(
    torch.full((1, 1, 1), 0.5, device=device), torch.full((1, 1, 1), 0.3, device=device)
)
x_0 = pixel.sample(200_000, rng).flatten()
x = x_0 + 0.4 * torch.randn(x_0.shape, generator=rng, device=device)
places = torch.linspace(-0.4, 1.4, 19, device=device)
measured = torch.stack([x_0[(x - place).abs() < 0.03].mean() for place in places])
formula = pixel.denoise(places[:, None, None, None], 0.4).flatten()

# %%
sketch.reveal(
    (places.cpu(), measured.cpu()),
    why="An extreme x is more likely due to the noise than to the pixel, so the "
    "mean stays closer to 0.5 than x does.",
)

# %%
shown = {
    "measured: mean x₀ of the pairs with this x": measured,
    "denoise(x, 0.4)": formula,
    "x itself": places,
}
figures.curves(
    {name: (places.cpu(), values.cpu()) for name, values in shown.items()},
    "noisy pixel x",
    "clean pixel x₀",
    dots=("measured: mean x₀ of the pairs with this x",),
    title="The denoiser is a conditional mean",
)

# %%
# NBVAL_CHECK_OUTPUT
print(
    "measured mean and denoise differ by less than 0.03:",
    bool((measured - formula).abs().max() < 0.03),
)

# %% [markdown] tags=["exercise"]
# **Exercise: the conditional mean by hand.** $x_0 \sim N(\mu, s^2)$ and $x = x_0 + \sigma n$.
# Compute $\mathrm{E}[x_0 \mid x]$ for every x in `places`, from $\mu$, $s$ and $\sigma$, without
# `denoise`.

# %% tags=["exercise"]
mu, s, noise_level = 0.5, 0.3, 0.4
by_hand = ...  # as long as places

# %% tags=["solution"]
by_hand = (s**2 * places + noise_level**2 * mu) / (s**2 + noise_level**2)

# %% tags=["check"]
# NBVAL_CHECK_OUTPUT
share = s**2 / (s**2 + noise_level**2)
exercises.check(
    "by_hand",
    by_hand,
    right=formula,
    mistakes={
        "the weights are swapped: the stronger the noise, the less x counts": (1 - share) * places
        + share * mu,
        "these weights use standard deviations: use variances": mu
        + s / (s + noise_level) * (places - mu),
        "this pulls x towards 0, but the images' mean is mu": share * places,
        "this is x itself: nothing is denoised": places,
        "this is the mean of all images: it does not depend on x": torch.full_like(places, mu),
    },
    why="It is a mean of x and mu, each weighted by the variance of the other.",
)

# %% [markdown]
# ## 4. The score as a field
#
# Take three images A, B, C and the plane through them. Each point of the plane is an image. The
# arrow there is the part of $\sigma^2 \nabla \log p_\sigma = D(x, \sigma) - x$ that lies in the
# plane: the direction in which the prior moves this image.

# %%
corners = torch.stack([clean[test.labels == label][0] for label in test.labels.unique()[:3]])
figures.images({"": corners}, columns=["A", "B", "C"])

# %%
side, other = (corners[1:] - corners[0]).flatten(1)  # A to B, A to C
across = side / side.norm()
up = other - (other @ across) * across
axes = torch.stack([across, up / up.norm()])  # two unit images that span the plane
spots = {
    name: tuple((axes @ (image - corners[0]).flatten()).tolist())
    for name, image in zip("ABC", corners, strict=True)
}
lines = (torch.arange(-2.0, float(direction.norm()) + 3, device=device) for direction in (side, up))
grid = torch.cartesian_prod(*lines)
pictures = corners[0] + (grid @ axes).reshape(-1, *prior.image_shape)

# %%
moves = {
    sigma: (prior.denoise(pictures, sigma) - pictures).flatten(1) @ axes.T
    for sigma in (0.2, 0.7, 2.0)
}
figures.arrows(
    {f"sigma {sigma:g}": (grid, move) for sigma, move in moves.items()},
    points=spots,
    x="along A to B",
    y="towards C, at a right angle",
    title="Where the prior moves the images of a plane (pixel units)",
)

# %% [markdown]
# At large sigma there is one basin: everything flows to the mean of all images. As sigma falls the
# basin splits, and each image attracts its surroundings. That is why methods start at large sigma,
# where they can still reach every image, and end at small sigma, where they have settled on one.
#
# Now the same force as a picture. We give the prior something that is *not* an image of the set:
# the average of A and B. Orange is ink that the prior would add, purple is ink that it would
# remove.

# %%
between = (corners[0] + corners[1]) / 2
levels = [0.1, 0.2, 0.35, 0.5, 0.7, 1.0]
guesses = torch.stack([prior.denoise(between, sigma) for sigma in levels])
columns = [f"sigma {sigma:g}" for sigma in levels]
figures.images(
    {"force  D(x) - x": guesses - between},
    columns=columns,
    signed=True,
    title="What the prior would change in the average of A and B",
)

# %%
figures.images({"x": between.expand_as(guesses), "D(x, sigma)": guesses}, columns=columns)

# %% [markdown]
# ## 5. New images from noise
#
# Start with the mean image plus strong noise. At each level denoise, and go a part of the way: keep
# some of the old noise and add some fresh noise. There is no mixture here; this is the prior alone.

# %%
ladder = torch.logspace(math.log10(prior.sigma_max), -2, 60).tolist()
x = clean.mean(dim=0) + ladder[0] * torch.randn(
    (10, *prior.image_shape), generator=rng, device=device
)
film = [x]
for now, then in zip(ladder, [*ladder[1:], 0.0], strict=True):
    guess, keep = prior.denoise(x, now), (then / now) ** 2
    x = (
        guess
        + keep * (x - guess)
        + then * math.sqrt(1 - keep) * torch.randn(x.shape, generator=rng, device=device)
    )
    film.append(x)

# %%
train = floats(load(DATASET, "train", count=5000).images).to(device)
nearest = train[torch.cdist(x.flatten(1), train.flatten(1)).argmin(dim=1)]
strip = torch.stack([film[i][0] for i in (0, 10, 20, 25, 30, 35, 40, 45, 52, 60)])
figures.images(
    {
        "sample 1\non its way": strip,
        "ten samples": x,
        "nearest of 5,000\ntraining images": nearest,
        "held-out images": clean[10:20],
    },
    title="Samples from the prior",
)

# %% [markdown]
# ## Summary
#
# - A denoiser gives the score at every noise level: Tweedie's formula turns one into the other.
# - The score points to the mean of all images at large sigma, and to single images at small sigma.
# - Denoising step by step, from strong noise to none, draws new images from the prior.
#
# ## Questions
#
# 1. In section 1, above which sigma can you no longer recognise the noisy image? Above which sigma
#    does the network fail?
# 2. At sigma 0.35, how many times smaller is the network's loss than the Gaussian's? What does the
#    Gaussian not know?
# 3. For $x_0 \sim N(\mu, s^2)$ check Tweedie's formula with pen and paper, using the conditional
#    mean of section 3.
# 4. Take an $x$ that is no image of the set. As sigma goes to 0, does its *score* grow or shrink?
#    And the arrow $D(x) - x$?
# 5. In section 5 leave out the fresh noise (delete the last term). Do the samples become more or
#    less varied, and why?
# 6. Use 5 levels instead of 60. What do the samples look like? How would 5 levels change the
#    separation of a mixture?
