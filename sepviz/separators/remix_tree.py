"""Unmix-and-Remix for more than two sources: split one part after another, until no part can be split (Hoshen 2019, section 6)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from sepviz.core import Examples, Mixing, Problem, Separator, SepvizError, Step, parameter
from sepviz.separators import learning
from sepviz.separators.remix import Remix, swapped, unmix

TREE = ("networks", "split", "whole")  # of a state: the kept splits' networks and parts, parts that stay whole


@dataclass(frozen=True)
class RemixTree(Separator):
    """`Remix` on the mixtures, then on the brightest of the parts it made, and so on, until there are K parts.

    The paper asks for a stop test and leaves it open. Here: a part that is one clean source cannot be
    split so that its remixes pass for originals, since half a digit fits no other half. A split is
    undone, and its part stays whole, if its discriminator still tells remixes from originals by more
    than ``stop`` on average. One step is one epoch of one split.
    """

    epochs: int = parameter(12, "passes over a part's images for each split", low=1, high=500)
    batch: int = parameter(64, "images a training step", low=4, high=512)
    energy: float = parameter(2.0, "weight of giving both parts the same energy; less than for two sources, "
                              "as one part may hold two", low=0.0, high=100.0)
    stop: float = parameter(0.35, "how far apart the discriminator may hold originals and remixes of a split, 0 to 1",
                            low=0.0, high=1.0)

    assumes = "sums alone, of three or more independent sources"
    order = "set"
    sees = "mixtures"

    def total_steps(self, problem: Problem) -> int:
        """The number of steps after step 0, if no split is undone."""
        return (problem.mixing.count - 1) * self.epochs

    def check(self, problem: Problem) -> None:
        """Refuse sources of other than equal weights, and examples other than mixtures."""
        super().check(problem)
        weights = problem.mixing.weights
        if len(weights) < 2 or len(set(weights)) > 1 or weights[0] < 0:
            raise SepvizError(f"weights {weights}: want two sources or more, of the same weight")
        learning.examples_of(problem, self.sees)

    def steps(self, problem: Problem, rng: Generator, start: Step | None = None) -> Iterator[Step]:
        """Yield step 0 (all in the first source), then every epoch; ``info["gap"]`` ends a split: the stop test."""
        self.check(problem)
        count, weight = problem.mixing.count, problem.mixing.weights[0]
        mixtures, mixed = problem.mixtures / weight, learning.examples_of(problem, self.sees).mixtures / weight
        method = Remix(epochs=self.epochs, batch=self.batch, energy=self.energy)
        scale = float(count - 1)  # a part may hold so many sources: divided by it, each half is at most 1
        pair = Mixing((scale, scale))
        if start is None:
            empty = {"networks": mixtures.new_zeros((0, 0)),
                     "split": torch.zeros(0, dtype=torch.long, device=mixtures.device),
                     "whole": torch.zeros(1, dtype=torch.bool, device=mixtures.device)}
            info: dict[str, float] = {"evaluations": 0, "epoch": self.epochs, "residual": 0.0}
            start = Step(0, "whole", padded([mixtures], count), state=empty, info=info)
            yield learning.copy_of(start)
        while True:
            parts, new = (taken_apart(images, start, method, scale) for images in (mixed, mixtures))
            open_parts = [number for number in range(len(parts)) if not bool(start.state["whole"][number])]
            if len(parts) == count or not open_parts:
                return
            chosen = max(open_parts, key=lambda number: float(parts[number].mean()))
            inner, before = Problem(new[chosen], pair, Examples(parts[chosen])), None
            if start.info["epoch"] < self.epochs:
                before = start._replace(index=int(start.info["epoch"]))
            for step in method.steps(inner, rng, before):
                if step.index == 0:
                    continue
                tree = {name: start.state[name] for name in TREE}
                info = {**step.info, "evaluations": start.info["evaluations"] + len(mixed), "epoch": step.index}
                halves = [*new[:chosen], *(step.sources * scale).unbind(dim=1), *new[chosen + 1:]]
                if step.index == self.epochs:
                    info["gap"] = gap(method, step, parts[chosen] / scale)
                    undone = info["gap"] > self.stop
                    tree = grown(tree, chosen, None if undone else step.state["weights"])
                    halves = new if undone else halves
                sources = padded(halves, count)
                info["residual"] = problem.residual(sources)
                start = Step(start.index + 1, f"part {chosen + 1} of {len(new)}, epoch {step.index}", sources,
                             state={**step.state, **tree}, info=info)
                yield learning.copy_of(start)


def taken_apart(images: Tensor, step: Step, method: Remix, scale: float) -> list[Tensor]:
    """The parts of images (N, C, H, W) after the splits that a step has kept."""
    parts = [images]
    for chosen, weights in zip(step.state["split"].tolist(), step.state["networks"], strict=True):
        network = method.trained(step._replace(state={"weights": weights}), tuple(images.shape[1:]))
        parts[chosen:chosen + 1] = (scale * network.take_apart(parts[chosen], scale)).unbind(dim=1)
    return parts


def grown(tree: dict[str, Tensor], chosen: int, weights: Tensor | None) -> dict[str, Tensor]:
    """The tree after a split: the part becomes two, by a network with these weights; None: it stays whole."""
    whole = tree["whole"].clone()
    if weights is None:
        whole[chosen] = True
        return {**tree, "whole": whole}
    networks = torch.cat([tree["networks"].reshape(-1, len(weights)), weights[None]])
    split = torch.cat([tree["split"], torch.tensor([chosen], device=weights.device)])
    return {"networks": networks, "split": split, "whole": torch.cat([whole[:chosen + 1], whole[chosen:]])}


@torch.no_grad()
def gap(method: Remix, step: Step, images: Tensor) -> float:
    """How much more real the discriminator finds originals than their remixes, on average."""
    shape, gaps = tuple(images.shape[1:]), []
    network, discriminator = method.trained(step, shape), method.critic(step, shape)
    for part in images.split(256):
        x, b = unmix(network, part)
        gaps.append(discriminator(part) - discriminator(x + swapped(b)))
    return float(torch.cat(gaps).mean())


def padded(parts: list[Tensor], count: int) -> Tensor:
    """Parts as sources (B, count, C, H, W); those without a part are empty."""
    missing = [torch.zeros_like(parts[0])] * (count - len(parts))
    return torch.stack([*parts, *missing][:count], dim=1)
