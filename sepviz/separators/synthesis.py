"""Synthesising-Decomposition: latents and filters that remix the mixture (Kong et al. 2019)."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor

from sepviz.core import (
    LatentModel,
    Problem,
    Separator,
    SepvizError,
    Step,
    check_parameters,
    folded,
    parameter,
)
from sepviz.core.mixing import Mixing, convolve, shifted_copies
from sepviz.separators.choice import mean_in_order, nearest_sums, pick
from sepviz.separators.latents import Starts
from sepviz.separators.likelihood import remix_error, solve_filters, typical_filter

SPREAD = 1 / 6  # a finalist whose error exceeds the least by this share of it counts 1/e as much
DECODED = 500  # latents of the bank decoded at once
AS_PUBLISHED = {"bank": 0, "start_iterations": 201, "keep": 0.0, "finalists": 1,
                "refine_iterations": 5001, "learning_rate": 0.01, "cooldown": 0.0, "outlier": 0.0,
                "beta1": 0.9, "beta2": 0.999, "filter_update": "gradient"}


@dataclass(frozen=True)
class Synthesis(Separator):
    """Gradient descent on the latents of a frozen generator, from many starts; the best are kept.

    For each mixture m and each start, with images ``x_k = G(z_k)``, minimise over z

        mean over the seen pixels of (m - sum_k a_k (f_k * x_k))^2
            + latent_penalty mean(z^2) + filter_penalty sum(f^2)

    Unknown filters take part in the descent with ``filter_update = "gradient"``. With "ridge" they
    are solved for in each iteration (`solve_filters`), and z descends at the solution (variable
    projection, Golub & Pereyra 1973). The penalty is then ``|f - f_0|^2`` with the blur f_0 of
    `typical_filter`, which settles the shift and gain that source and filter may trade.

    With an ``outlier`` scale, squares of the residual r become ``s^2 log(1 + r^2 / s^2)``, as of
    Student's t, where s is the larger of this scale and 8 robust standard deviations of the
    residual: a line drawn over the image hardly changes the answer.

    The starts are the sums of images from a ``bank`` of latents, drawn once for all mixtures, that
    are nearest to the mixture; without a bank they are drawn at random, as in the paper. After each
    ``start_iterations`` the share ``keep`` with the least error goes on (successive halving,
    Jamieson & Talwalkar 2016), until the ``finalists`` are left and refined. The answer is their
    mean in the order of the best one's sources, weighted by
    ``exp(-(error / least error - 1) / SPREAD)``; only sources of equal weights change places.
    """

    prior: LatentModel
    starts: int = parameter(8, "latents tried for each mixture", low=1, high=128)
    bank: int = parameter(2000, "latents drawn once, from which the starts of every mixture are "
                          "chosen; 0: starts are drawn at random", low=0, high=20_000)
    start_iterations: int = parameter(5, "iterations before starts are dropped", low=1, high=1000)
    keep: float = parameter(0.25, "share of the starts that goes on; 0: only the finalists",
                            low=0, high=0.9)
    finalists: int = parameter(2, "starts that are refined and averaged; 1: the best alone",
                               low=1, high=32)
    refine_iterations: int = parameter(280, "iterations of the finalists", low=1, high=10_000)
    learning_rate: float = parameter(0.1, "Adam's step", low=0.001, high=1, log=True)
    cooldown: float = parameter(0.3, "last share of the iterations, in which the step falls to 0; "
                                "0: it stays", low=0, high=1)
    outlier: float = parameter(0.3, "residual from which a pixel counts less and less; "
                               "0: all count alike", low=0, high=2, unit="pixel values")
    beta1: float = parameter(0.8, "Adam's memory of the slope", low=0, high=0.999)
    beta2: float = parameter(0.95, "Adam's memory of the squared slope", low=0, high=0.9999)
    latent_penalty: float = parameter(3e-5, "weight of mean(z^2)", low=0, high=0.1)
    filter_penalty: float = parameter(5e-3, "weight of sum(f^2)", low=0, high=0.1)
    filter_update: str = parameter("ridge", "how filters are found", choices=("ridge", "gradient"))
    filter_deviation: float = parameter(0.1, "standard deviation of the filters at the start, for "
                                        "gradient", low=0.01, high=2, log=True)

    assumes = "a generator that can make every source; filters may be unknown"
    handles: ClassVar = {"solves_filters": True, "fills_in": True}  # see `Mixing.check`
    presets: ClassVar = {
        "program": {**AS_PUBLISHED, "latent_penalty": 1e-3, "filter_penalty": 0.0,
                    "filter_deviation": 0.1},
        "paper": {**AS_PUBLISHED, "latent_penalty": 0.0, "filter_penalty": 1e-3,
                  "filter_deviation": 1.0},
        "fast": {},
    }

    def total_steps(self, problem: Problem) -> int:
        check_parameters(self)
        iterations = sum(iterations for _, iterations in self.stages(self.starts))
        return iterations + (min(self.starts, self.finalists) > 1)

    def stages(self, alive: int) -> list[tuple[int, int]]:
        """How many starts run for how many iterations, from ``alive`` starts to the finalists."""
        if alive <= self.finalists:
            only = self.starts <= self.finalists
            return [(alive, self.refine_iterations + only * self.start_iterations)]
        kept = max(self.finalists, min(alive - 1, math.floor(self.keep * alive)))
        return [(alive, self.start_iterations), *self.stages(kept)]

    def steps(self, problem: Problem, rng: Generator, start: Step | None = None) -> Iterator[Step]:
        """Yield step 0 (the starts as drawn), every iteration, and the answer.

        ``sources`` and ``results["filters"]`` (B, K, h, w) are those of the best start, at the end
        the answer's; ``results["start_error"]`` (B, starts) is the last error of every start.
        ``info["evaluations"]`` counts the images decoded per source, with those of the bank.
        """
        self.check(problem)
        prior = folded(self.prior)
        if start is None:
            starts, index, iteration = self._draw(problem, prior, rng), 0, 0
            evaluations = self._bank_evaluations(problem.mixing)
        else:
            starts = Starts(*(start.state[name].clone() for name in Starts._fields))
            index, iteration = start.index, int(start.info["iteration"])
            evaluations = int(start.info["evaluations"])
        stages = self.stages(starts.alive.shape[1])
        if start is not None and start.info.get("averaged") and iteration >= stages[0][1]:
            return  # the start is the answer
        while True:
            (alive, limit), resumed, start = stages[0], start is not None, None
            images, error, slopes, starts = self._evaluate(starts, prior, problem)
            if not bool(torch.isfinite(error).all()):
                raise SepvizError(f"learning_rate {self.learning_rate:g} diverged at iteration "
                                  f"{index}: take a smaller one")
            starts.start_error.scatter_(1, starts.alive, error)
            info: dict[str, float] = {"iteration": iteration, "evaluations": evaluations,
                                      "alive": alive}
            if not resumed:
                best = error.argmin(dim=1, keepdim=True)
                stage = f"{alive} of {self.starts} starts" if alive > self.finalists else "refine"
                yield made(index, stage, info, pick(images, best)[:, 0],
                           pick(starts.taps, best)[:, 0], starts, problem)
            if iteration >= limit:
                if len(stages) == 1:
                    break
                stages, iteration = stages[1:], 0
                best = error.argsort(dim=1)[:, :stages[0][0]]
                starts, slopes = starts.kept(best), [pick(slope, best) for slope in slopes]
            index, iteration, evaluations = index + 1, iteration + 1, evaluations + stages[0][0]
            left = max(0, sum(limit for _, limit in stages) - iteration) + 1
            share = left / (index + left)  # of the run as it is now: parameters may have changed
            rate = self.learning_rate * (min(1.0, share / self.cooldown) if self.cooldown else 1.0)
            starts = starts.descended(slopes, rate, index, (self.beta1, self.beta2))
        if alive > 1:
            sources, filters = self._mean(images, error, starts, problem)
            stage, info = f"mean of {alive} starts", {**info, "averaged": alive}
            yield made(index + 1, stage, info, sources, filters, starts, problem)

    def _evaluate(self, starts: Starts, prior: LatentModel,
                  problem: Problem) -> tuple[Tensor, Tensor, list[Tensor], Starts]:
        """Images and error of every start, slopes of its loss, and starts with solved filters."""
        mixtures, mixing, *_ = problem
        descends = mixing.filter_size is not None and self.filter_update == "gradient"
        z, filters, copies = starts.latents.requires_grad_(True), starts.taps, None
        with torch.enable_grad():
            images = prior.decode(z)
            if mixing.filter_size is not None:
                copies = shifted_copies(images.flatten(0, 1), mixing.filter_size)
                copies = copies.unflatten(0, images.shape[:2])
                if not descends:
                    filters = solve_filters(copies.detach(), mixtures, mixing, self.filter_penalty)
            filters = filters.detach().requires_grad_(descends)
            error = remix_error(images, copies, filters, mixtures, mixing, self.outlier)
            loss = error + self.latent_penalty * z.square().mean(dim=(2, 3))
            loss = loss + self.filter_penalty * filters.square().sum(dim=(2, 3))
            slopes = torch.autograd.grad(loss.sum(), [z, filters] if descends else [z])
        starts = starts._replace(latents=z.detach(), taps=filters.detach())
        return images.detach(), error.detach(), list(slopes), starts

    def _mean(self, images: Tensor, error: Tensor, starts: Starts,
              problem: Problem) -> tuple[Tensor, Tensor]:
        """The finalists' mean, and the filters (B, K, h w) that explain it best."""
        mixtures, mixing, *_ = problem
        best = pick(images, error.argmin(dim=1, keepdim=True))[:, 0]
        least = error.min(dim=1, keepdim=True).values.clamp_min(1e-12)
        shares = ((1 - error / least) / SPREAD).softmax(dim=1)
        sources = mean_in_order(images, shares, best, mixing.weights, problem.medium)
        if mixing.filter_size is None:
            return sources, starts.taps[:, 0]
        copies = shifted_copies(sources, mixing.filter_size)[:, None]
        return sources, solve_filters(copies, mixtures, mixing, self.filter_penalty)[:, 0]

    def _draw(self, problem: Problem, prior: LatentModel, rng: Generator) -> Starts:
        """The starts of every mixture."""
        mixtures, mixing, *_ = problem
        shape, size = (len(mixtures), self.starts, mixing.count), mixing.filter_size

        def normal(*size: int) -> Tensor:
            return torch.randn(size, generator=rng, device=mixtures.device)

        if self.bank:
            z = normal(self._bank_size(mixing), self.prior.latent_size)
            with torch.no_grad():
                images = torch.cat([prior.decode(part) for part in z.split(DECODED)])
            if size is not None:
                usual = typical_filter(size).to(images).expand(1, len(images), -1, -1)
                images = convolve(images[None], usual)[0]
            if mixing.visible is not None:
                images = images * mixing.visible.to(images)
            flat, target = images.flatten(1), mixtures.flatten(1)
            z = z[nearest_sums(flat, target, mixing.weights, self.starts)]
        else:
            z = normal(*shape, self.prior.latent_size)
        return Starts.of(z, self.filter_deviation * normal(*shape, (size or 0) ** 2))

    def _bank_size(self, mixing: Mixing) -> int:
        """Latents in the bank: enough for every start."""
        return max(self.bank, mixing.count * self.starts) if self.bank else 0

    def _bank_evaluations(self, mixing: Mixing) -> int:
        """Images of the bank per source."""
        return math.ceil(self._bank_size(mixing) / mixing.count)

    def by_number_of_starts(self, step: Step, problem: Problem) -> list[Step]:
        """The choice at a step from its first n starts alone, for every n: steps to play.

        Parameters
        ----------
        step : Step
            One of this method's on this problem, with all starts still running.
        """
        alive, size = step.state["alive"].shape[1], problem.mixing.filter_size
        if alive < self.starts:
            raise SepvizError(f"step {step.index} has {alive} of {self.starts} starts left: "
                              "take one before any was dropped")
        with torch.no_grad():
            images = self.prior.decode(step.state["latents"])
        drawn, chosen = self._bank_evaluations(problem.mixing), []
        for count in range(1, self.starts + 1):
            best = step.results["start_error"][:, :count].argmin(dim=1, keepdim=True)
            sources, results = pick(images, best)[:, 0], {}
            if size is not None:
                filters = pick(step.state["taps"], best)[:, 0]
                results["filters"] = filters.unflatten(2, (size, size))
            descended = (step.info["evaluations"] - drawn) * count / self.starts
            info = {"evaluations": drawn + descended,
                    "residual": problem.residual(sources, results.get("filters"))}
            chosen.append(Step(count, f"best of {count}", sources, results=results, info=info))
        return chosen


def made(index: int, stage: str, info: dict[str, float], sources: Tensor, values: Tensor,
         starts: Starts, problem: Problem) -> Step:
    """A step with tensors of its own; ``values`` (B, K, h w) are those of the filters."""
    size, filters = problem.mixing.filter_size, None
    results = {"start_error": starts.start_error.clone()}
    if size is not None:
        filters = results["filters"] = values.unflatten(2, (size, size)).clone()
    state = {name: value.clone() for name, value in starts._asdict().items()}
    info = {**info, "residual": problem.residual(sources, filters)}
    return Step(index, stage, sources.clone(), results=results, state=state, info=info)
