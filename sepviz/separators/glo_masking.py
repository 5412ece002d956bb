"""GLO Masking: two generators whose images add up to the mixtures, one of them taught by the observed source (Halperin et al. 2019)."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Generator, Tensor

from sepviz.core import Problem, SepvizError, Step, parameter
from sepviz.priors.gan import GanPrior
from sepviz.separators import learning
from sepviz.separators.constant import in_proportion, shared_out

BETAS = (0.5, 0.999)  # Adam's


@dataclass(frozen=True)
class GloMasking(learning.Learner):
    """Generative latent optimisation (Bojanowski et al. 2018) of both sources; equations 6 to 8 and 10 of Halperin et al.:

        first   minimise |b - G_B(z)|^2 over G_B and a latent z of every observed image b
        then    minimise |y - G_B(z_B) - G_X(z_X)|^2 over G_X and two latents of every mixture y

    with every latent in the unit ball, which keeps the generators from learning their images by heart. New mixtures get their latents
    with both generators held. The result is the mask ``m = G_B(z_B) / (G_B(z_B) + G_X(z_X))`` on the mixture, not the images
    generated, since they are blurred. One step is one epoch.
    """

    observed_epochs: int = parameter(15, "passes over the observed images, for their generator", low=1, high=500)
    epochs: int = parameter(15, "passes over the mixtures", low=1, high=500)
    inference: int = parameter(30, "iterations for the latents of new mixtures", low=1, high=500)
    batch: int = parameter(64, "images a training step", low=2, high=512)
    learning_rate: float = parameter(2e-3, "Adam's step for the generators", low=1e-5, high=0.1, log=True)
    code_rate: float = parameter(0.02, "Adam's step for the latents", low=1e-4, high=1.0, log=True)
    last_rate: float = parameter(0.1, "both steps at the end of either stage, as a share of those at its start", low=0.001, high=1.0,
                                 log=True)
    latent_size: int = parameter(64, "length of a latent", low=2, high=512)
    width: int = parameter(32, "features before a generator's last layer", low=4, high=128)

    assumes: ClassVar[str] = "mixtures and clean images of one source; each source is made by a small generator"
    order: ClassVar[str] = "fixed"
    sees: ClassVar[str] = "observed"

    def total_steps(self, problem: Problem) -> int:
        """The number of steps after step 0."""
        return self.observed_epochs + self.epochs

    def steps(self, problem: Problem, rng: Generator, start: Step | None = None) -> Iterator[Step]:
        """Yield step 0 (untrained generators), then every epoch.

        Before the last one, the problem's mixtures borrow the latents of the example that is most like each.
        """
        self.check(problem)
        weight, examples = problem.mixing.weights[0], learning.examples_of(problem, self.sees)
        mixed, observed = examples.mixtures / weight, examples.observed
        learned_first, total = self.total_steps(problem) - self.epochs, self.total_steps(problem)
        make = functools.partial(GanPrior, tuple(mixed.shape[1:]), self.latent_size, (4 * self.width, 2 * self.width, self.width))
        generators = [learning.new(make, rng if start is None else None).to(mixed.device) for _ in ("x", "b")]
        if start is None:
            sources = shared_out(problem.mixtures / weight, 0.5)
            start = Step(0, "untrained", sources, state={"weights": learning.pack(*generators)},
                         info={"evaluations": 0, "residual": problem.residual(sources)})
            yield learning.copy_of(start)
        learning.unpack(learning.held(start, "weights"), *generators)
        for index in range(start.index + 1, total + 1):
            alone = index <= learned_first
            epoch, epochs = (index, learned_first) if alone else (index - learned_first, self.epochs)
            targets = observed if alone else mixed
            assert targets is not None
            taught = generators[1:] if alone else generators if observed is None else generators[:1]
            optimizer = torch.optim.Adam([weight for generator in taught for weight in generator.parameters()], betas=BETAS)
            per_epoch, losses = learning.batches_in(len(targets), self.batch), []
            if epoch == 1:
                codes = Codes.draw((len(targets), 1 if alone else 2, self.latent_size), rng)
            else:
                codes = Codes(*(learning.held(start, name).clone() for name in Codes._fields))
                if codes.latents.shape != (len(targets), 1 if alone else 2, self.latent_size):
                    raise SepvizError(f"latents of shape {tuple(codes.latents.shape)} in step {start.index}: it is of another stage, or of "
                                      "other images; start from a step of a run with these parameters")
                longest = float(codes.latents.norm(dim=-1).max())
                if longest > 1.001:
                    raise SepvizError(f"a latent of length {longest:.3g} in step {start.index}: latents lie in the unit ball, "
                                      "divide it by its length")
                learning.unpack_moments(learning.held(start, "moments"), [(epoch - 1) * per_epoch], optimizer)
            for generator in generators:
                generator.train(any(generator is one for one in taught)).requires_grad_(generator.training)
            for number, chosen in enumerate(learning.batches(len(targets), self.batch, rng)):
                fall = learning.falling(1.0, self.last_rate, (epoch - 1 + number / per_epoch) / epochs)
                z = codes.latents[chosen].requires_grad_(True)
                loss = (generated(generators[1:] if alone else generators, z).sum(dim=1) - targets[chosen]).square().mean()
                learning.descend(optimizer, loss, self.learning_rate * fall)
                assert z.grad is not None
                codes.descend(chosen, z.grad, self.code_rate * fall, epoch)
                losses.append(loss.detach())
            for generator in generators:
                generator.eval()
            sources = shared_out(problem.mixtures / weight, 0.5)
            if not alone:
                sources = self._masked(problem.mixtures / weight, mixed, codes.latents, generators, last=index == total)
            state = {"weights": learning.pack(*generators), "moments": learning.pack_moments(optimizer), **codes._asdict()}
            info = {"evaluations": index * len(targets), "loss": float(torch.stack(losses).mean()), "residual": problem.residual(sources)}
            start = Step(index, f"{'observed alone, ' if alone else ''}epoch {epoch}", sources, state=state, info=info)
            yield learning.copy_of(start)

    def _masked(self, mixtures: Tensor, mixed: Tensor, latents: Tensor, generators: list[GanPrior], last: bool) -> Tensor:
        """Both sources of mixtures: the generated images' shares of every pixel."""
        nearest = torch.cat([torch.cdist(part.flatten(1), mixed.flatten(1)).argmin(dim=1) for part in mixtures.split(256)])
        parts = []
        for y, z in zip(mixtures.split(256), latents[nearest].split(256), strict=True):
            codes = Codes(z, torch.zeros_like(z), torch.zeros_like(z))
            for iteration in range(self.inference if last else 0):
                z = codes.latents.clone().requires_grad_(True)
                with torch.enable_grad():
                    loss = (generated(generators, z).sum(dim=1) - y).square().mean()
                fall = learning.falling(1.0, self.last_rate, iteration / self.inference)
                codes.descend(torch.arange(len(z), device=z.device), torch.autograd.grad(loss, z)[0], self.code_rate * fall, iteration + 1)
            with torch.no_grad():
                images = generated(generators, codes.latents) + 1e-4  # where both are black, half and half
            parts.append(in_proportion(y, images))
        return torch.cat(parts)


class Codes(NamedTuple):
    """Latents (N, K, latent_size) in the unit ball, each learned like a weight, with Adam's moments."""

    latents: Tensor
    latents_mean: Tensor
    latents_square: Tensor

    @classmethod
    def draw(cls, shape: tuple[int, int, int], rng: Generator) -> Codes:
        """Latents from everywhere on the ball's surface."""
        z = torch.randn(shape, generator=rng, device=rng.device)
        return cls(into_ball(z / 1e-6), torch.zeros_like(z), torch.zeros_like(z))

    def descend(self, chosen: Tensor, slope: Tensor, rate: float, visits: int) -> None:
        """One step of Adam for the chosen ones, their ``visits``-th, and back into the ball."""
        mean = self.latents_mean[chosen].lerp(slope, 1 - BETAS[0])
        square = self.latents_square[chosen].lerp(slope.square(), 1 - BETAS[1])
        self.latents_mean[chosen], self.latents_square[chosen] = mean, square
        scale = (square / (1 - BETAS[1] ** visits)).sqrt() + 1e-12
        self.latents[chosen] = into_ball(self.latents[chosen] - rate / (1 - BETAS[0] ** visits) * mean / scale)


def into_ball(z: Tensor) -> Tensor:
    """The nearest latents of length at most 1."""
    return z / z.norm(dim=-1, keepdim=True).clamp_min(1)


def generated(generators: Sequence[GanPrior], z: Tensor) -> Tensor:
    """``G_k(z_k)``: (N, K, latent_size) -> (N, K, C, H, W)."""
    return torch.stack([generator.decode(z[:, k]) for k, generator in enumerate(generators)], dim=1)
