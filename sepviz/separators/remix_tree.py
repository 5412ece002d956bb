"""Unmix-and-Remix for more than two sources: split part after part (Hoshen 2019, section 6)."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from sepviz.core import Examples, Mixing, Problem, Separator, SepvizError, Step, parameter
from sepviz.separators import learning
from sepviz.separators.remix import Remix, swapped, unmix

TREE = ("networks", "split", "whole")  # kept splits: networks and their parts; parts left whole


@dataclass(frozen=True)
class RemixTree(Separator):
    """`Remix` on the mixtures, then on the brightest of the parts it made, until there are K parts.

    The paper asks for a stop test and leaves it open. Here: a part that is one clean source cannot
    be split so that its remixes pass for originals, since half a digit fits no other half. A split
    is undone, and its part stays whole, if its discriminator still tells remixes from originals by
    more than ``stop`` on average. One step is one epoch of one split.
    """

    epochs: int = parameter(12, "passes over a part's images for each split", low=1, high=500)
    batch: int = parameter(64, "images a training step", low=4, high=512)
    energy: float = parameter(2.0, "weight of giving both parts the same energy; less than for two "
                              "sources, as one part may hold two", low=0, high=100)
    stop: float = parameter(0.35, "how far apart the discriminator may hold originals and remixes "
                            "of a split, 0 to 1", low=0, high=1)

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
        """Yield step 0 (all in the first source), then every epoch.

        ``info["gap"]`` at the end of a split is what the stop test saw.
        """
        self.check(problem)
        count, weight = problem.mixing.count, problem.mixing.weights[0]
        mixed = learning.examples_of(problem, self.sees).mixtures / weight
        mixtures, device = problem.mixtures / weight, mixed.device
        method = Remix(epochs=self.epochs, batch=self.batch, energy=self.energy)
        scale = float(count - 1)  # the most sources in a part: divided by it, each is <= 1
        if start is None:
            tree = {"networks": mixtures.new_zeros((0, 0)),
                    "split": torch.zeros(0, dtype=torch.long, device=device),
                    "whole": torch.zeros(1, dtype=torch.bool, device=device)}
            info: dict[str, float] = {"evaluations": 0, "epoch": self.epochs, "residual": 0.0}
            start = Step(0, "whole", padded([mixtures], count), state=tree, info=info)
            yield learning.copy_of(start)
        while True:
            parts, new = (split(images, start, method, scale) for images in (mixed, mixtures))
            whole = start.state["whole"].tolist()
            open_parts = [number for number in range(len(parts)) if not whole[number]]
            if len(parts) == count or not open_parts:
                return
            chosen = max(open_parts, key=lambda number: float(parts[number].mean()))
            inner = Problem(new[chosen], Mixing((scale, scale)), Examples(parts[chosen]),
                            problem.medium)
            epoch = int(start.info["epoch"])
            before = start._replace(index=epoch) if epoch < self.epochs else None
            for step in method.steps(inner, rng, before):
                if step.index == 0:
                    continue
                tree = {name: start.state[name] for name in TREE}
                evaluations = start.info["evaluations"] + len(mixed)
                info = {**step.info, "evaluations": evaluations, "epoch": step.index}
                now = [*new[:chosen], *(step.sources * scale).unbind(dim=1), *new[chosen + 1:]]
                if step.index == self.epochs:
                    info["gap"] = gap(method, step, parts[chosen] / scale)
                    undone = info["gap"] > self.stop
                    tree = grown(tree, chosen, None if undone else step.state["weights"])
                    now = new if undone else now
                sources = padded(now, count)
                info["residual"] = problem.residual(sources)
                stage = f"part {chosen + 1} of {len(new)}, epoch {step.index}"
                state = {**step.state, **tree}
                start = Step(start.index + 1, stage, sources, state=state, info=info)
                yield learning.copy_of(start)


def split(images: Tensor, step: Step, method: Remix, scale: float) -> list[Tensor]:
    """The parts of images (N, C, H, W) after the splits that a step has kept."""
    parts = [images]
    for chosen, weights in zip(step.state["split"].tolist(), step.state["networks"], strict=True):
        one = step._replace(state={"weights": weights})
        network = method.trained(one, tuple(images.shape[1:]))
        halves = (scale * network.take_apart(parts[chosen], scale)).unbind(dim=1)
        parts[chosen:chosen + 1] = halves
    return parts


def grown(tree: dict[str, Tensor], chosen: int, weights: Tensor | None) -> dict[str, Tensor]:
    """The tree after a part was split by a network with these weights; None: it stays whole."""
    whole = tree["whole"].clone()
    if weights is None:
        whole[chosen] = True
        return {**tree, "whole": whole}
    return {"networks": torch.cat([tree["networks"].reshape(-1, len(weights)), weights[None]]),
            "split": torch.cat([tree["split"], torch.tensor([chosen], device=weights.device)]),
            "whole": torch.cat([whole[:chosen + 1], whole[chosen:]])}


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
