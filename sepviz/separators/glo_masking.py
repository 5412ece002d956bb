"""GLO Masking: two generators whose images add up to the mixtures (Halperin et al. 2019)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Generator, Tensor

from sepviz.core import Problem, SepvizError, Step, parameter
from sepviz.priors.gan import GanPrior
from sepviz.separators import learning
from sepviz.separators.constant import in_proportion, shared_out
from sepviz.separators.latents import BallLatents

BLACK = 1e-4  # added to generated images: where both are black, each source gets half of a mixture
INFERRED = 256  # mixtures whose latents are inferred at once


@dataclass(frozen=True)
class GloMasking(learning.Learner):
    """Generative latent optimisation (Bojanowski et al. 2018) of both sources, equations 6 to 10:

        first   minimise |b - G_B(z)|^2 over G_B and a latent z of every observed image b
        then    minimise |y - G_B(z_B) - G_X(z_X)|^2 over G_X and two latents of every mixture y

    with all latents in the unit ball, which keeps the generators from learning images by heart. New
    mixtures get latents with both generators fixed. Generated images are blurred: the answer is the
    mask ``m = G_B(z_B) / (G_B(z_B) + G_X(z_X))`` on the mixture. One step is one epoch.
    """

    observed_epochs: int = parameter(15, "passes over the observed images, for their generator",
                                     low=1, high=500)
    epochs: int = parameter(15, "passes over the mixtures", low=1, high=500)
    inference: int = parameter(30, "iterations for the latents of new mixtures", low=1, high=500)
    batch: int = parameter(64, "images a training step", low=2, high=512)
    learning_rate: float = parameter(2e-3, "Adam's step for the generators", low=1e-5, high=0.1,
                                     log=True)
    code_rate: float = parameter(0.02, "Adam's step for the latents", low=1e-4, high=1, log=True)
    last_rate: float = parameter(0.1, "both last steps of a stage as a share of the first",
                                 low=0.001, high=1, log=True)
    latent_size: int = parameter(64, "length of a latent", low=2, high=512)
    width: int = parameter(32, "features before a generator's last layer", low=4, high=128)

    assumes = "mixtures and clean images of one source; each source is made by a small generator"
    order = "fixed"
    sees = "observed"

    def total_steps(self, problem: Problem) -> int:
        return self.observed_epochs + self.epochs

    def steps(self, problem: Problem, rng: Generator, start: Step | None = None) -> Iterator[Step]:
        """Yield step 0 (untrained generators), then every epoch.

        Before the last one, each mixture borrows the latents of the most similar example.
        """
        self.check(problem)
        mixed, observed, _ = learning.examples_of(problem, self.sees)
        mixed, mixtures = (one / problem.mixing.weights[0] for one in (mixed, problem.mixtures))
        total, shape = self.total_steps(problem), tuple(mixed.shape[1:])
        widths = (4 * self.width, 2 * self.width, self.width)
        make, draw = partial(GanPrior, shape, self.latent_size, widths), None if start else rng
        generators = [learning.new(make, draw).to(mixed.device) for _ in "xb"]
        if start is None:
            sources = shared_out(mixtures)
            info = {"evaluations": 0, "residual": problem.residual(sources)}
            state = {"weights": learning.pack(*generators)}
            start = Step(0, "untrained", sources, state=state, info=info)
            yield learning.copy_of(start)
        learning.unpack(learning.held(start, "weights"), *generators)
        for index in range(start.index + 1, total + 1):
            epoch, epochs, targets = index - total + self.epochs, self.epochs, mixed
            used, taught = generators, generators if observed is None else generators[:1]
            stage, alone = "epoch", epoch < 1
            if alone and observed is not None:
                epoch, epochs, targets = index, self.observed_epochs, observed
                used, taught, stage = generators[1:], generators[1:], "observed alone, epoch"
            for generator in generators:
                learns = any(generator is one for one in taught)
                generator.train(learns).requires_grad_(learns)
            optimizer, size = learning.adam(*taught), (len(targets), len(used), self.latent_size)
            per_epoch = learning.batches_in(len(targets), self.batch)
            if epoch == 1:
                latents = BallLatents.draw(size, rng)
            else:
                latents, taken = held_latents(start, size), (epoch - 1) * per_epoch
                learning.unpack_moments(learning.held(start, "moments"), [taken], optimizer)
            losses = []
            for number, chosen in enumerate(learning.batches(len(targets), self.batch, rng)):
                progress = (epoch - 1 + number / per_epoch) / epochs
                fall = learning.falling(1.0, self.last_rate, progress)
                z = latents.latents[chosen].requires_grad_(True)
                loss = (generated(used, z).sum(dim=1) - targets[chosen]).square().mean()
                learning.descend(optimizer, loss, self.learning_rate * fall)
                assert z.grad is not None
                latents.descend(chosen, z.grad, self.code_rate * fall, epoch, learning.BETAS)
                losses.append(loss.detach())
            for generator in generators:
                generator.eval()
            sources = shared_out(mixtures) if alone else self._masked(
                mixtures, mixed, latents.latents, generators, self.inference * (index == total))
            state = {"weights": learning.pack(*generators),
                     "moments": learning.pack_moments(optimizer), **latents._asdict()}
            info = {"evaluations": index * len(targets), "loss": float(torch.stack(losses).mean()),
                    "residual": problem.residual(sources)}
            start = Step(index, f"{stage} {epoch}", sources, state=state, info=info)
            yield learning.copy_of(start)

    def _masked(self, mixtures: Tensor, mixed: Tensor, latents: Tensor, generators: list[GanPrior],
                iterations: int) -> Tensor:
        """Sources of new mixtures, after so many iterations from the nearest example's latents."""
        parts = []
        for y in mixtures.split(INFERRED):
            nearest = torch.cdist(y.flatten(1), mixed.flatten(1)).argmin(dim=1)
            found, every = BallLatents.of(latents[nearest]), torch.arange(len(y), device=y.device)
            for iteration in range(iterations):
                z = found.latents.clone().requires_grad_(True)
                with torch.enable_grad():
                    loss = (generated(generators, z).sum(dim=1) - y).square().mean()
                fall = learning.falling(1.0, self.last_rate, iteration / iterations)
                slope, = torch.autograd.grad(loss, z)
                found.descend(every, slope, self.code_rate * fall, iteration + 1, learning.BETAS)
            with torch.no_grad():
                parts.append(in_proportion(y, generated(generators, found.latents) + BLACK))
        return torch.cat(parts)


def held_latents(start: Step, shape: tuple[int, int, int]) -> BallLatents:
    """The latents that a step holds, checked."""
    found = BallLatents(*(learning.held(start, name).clone() for name in BallLatents._fields))
    if found.latents.shape != shape:
        raise SepvizError(f"latents of shape {tuple(found.latents.shape)} in step {start.index}: "
                          "it is of another stage, or of other images; start from a step of a run "
                          "with these parameters")
    longest = float(found.latents.norm(dim=-1).max())
    if longest > 1.001:
        raise SepvizError(f"a latent of length {longest:.3g} in step {start.index}: latents lie in "
                          "the unit ball, divide it by its length")
    return found


def generated(generators: Sequence[GanPrior], z: Tensor) -> Tensor:
    """``G_k(z_k)``: (N, K, latent_size) -> (N, K, C, H, W)."""
    images = [generator.decode(z[:, k]) for k, generator in enumerate(generators)]
    return torch.stack(images, dim=1)
