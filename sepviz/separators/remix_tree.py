"""Unmix-and-Remix for more than two sources: part after part is split in two, until what is left cannot be (Hoshen 2019, section 6)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor

from sepviz.core import Examples, Mixing, Problem, Separator, SepvizError, Step, parameter
from sepviz.separators import learning
from sepviz.separators.remix import Remix, unmix


@dataclass(frozen=True)
class RemixTree(Separator):
    """`Remix` on the mixtures, then on the brightest of the parts it made, and so on, until there are K parts.

    The paper asks for a stop test and leaves it open. Here: a part that is one clean source cannot be split so that its remixes pass
    for originals, since half a digit fits no other half. So a split is taken back, and its part left whole, if its own discriminator
    still tells remixes from originals, by more than ``stop`` on average. One step is one epoch of one split.
    """

    epochs: int = parameter(12, "passes over a part's images for each split", low=1, high=500)
    batch: int = parameter(64, "images a training step", low=4, high=512)
    energy: float = parameter(2.0, "weight of giving both parts as much; less than for two sources, as one part may hold two", low=0.0,
                              high=100.0)
    stop: float = parameter(0.35, "how far apart the discriminator may hold originals and remixes of a split, 0 to 1", low=0.0, high=1.0)

    assumes: ClassVar[str] = "sums alone, of three or more independent sources"
    order: ClassVar[str] = "set"
    sees: ClassVar[str] = "mixtures"

    def total_steps(self, problem: Problem) -> int:
        """The number of steps after step 0, if no split is taken back."""
        return (problem.mixing.count - 1) * self.epochs

    def check(self, problem: Problem) -> None:
        """Refuse sources of other than equal weights, and other examples than sums."""
        super().check(problem)
        weights = problem.mixing.weights
        if len(weights) < 2 or len(set(weights)) > 1 or weights[0] < 0:
            raise SepvizError(f"weights {weights}: want two sources or more, of the same weight")
        learning.examples_of(problem, self.sees)

    def steps(self, problem: Problem, rng: Generator, start: Step | None = None) -> Iterator[Step]:
        """Yield step 0 (all in the first source), then every epoch; ``info["gap"]`` at a split's end is what the stop test saw."""
        mixtures, mixing, *_ = problem
        self.check(problem)
        weight = mixing.weights[0]
        mixed = learning.examples_of(problem, self.sees).mixtures / weight
        method = Remix(epochs=self.epochs, batch=self.batch, energy=self.energy)
        # a part may hold up to K - 1 sources: in these units, each of a pair is at most 1
        pair = Mixing((float(mixing.count - 1),) * 2)
        if start is None:
            start = Step(0, "whole", self._sources(problem, [mixtures / weight]), state={
                "networks": mixtures.new_zeros((0, 0)), "split": torch.zeros(0, dtype=torch.long, device=mixtures.device),
                "whole": torch.zeros(1, dtype=torch.bool, device=mixtures.device)},
                info={"evaluations": 0, "epoch": self.epochs, "residual": 0.0})
            yield learning.copy_of(start)
        while True:
            parts, new = (self._parts(images, start, method, pair) for images in (mixed, mixtures / weight))
            open_parts = [number for number in range(len(parts)) if not bool(start.state["whole"][number])]
            if len(parts) == mixing.count or not open_parts:
                return
            chosen = max(open_parts, key=lambda number: float(parts[number].mean()))
            going_on = start.info["epoch"] < self.epochs
            inner = Problem(new[chosen], pair, Examples(parts[chosen]))
            first = Step(int(start.info["epoch"]), "", new[chosen], state=start.state, info=start.info) if going_on else None
            for step in method.steps(inner, rng, first):
                if step.index == 0:
                    continue
                halves = [*new[:chosen], step.sources[:, 0] * pair.weights[0], step.sources[:, 1] * pair.weights[0], *new[chosen + 1:]]
                tree = {name: start.state[name] for name in ("networks", "split", "whole")}
                info = {**step.info, "evaluations": start.info["evaluations"] + len(mixed), "epoch": step.index}
                if step.index == self.epochs:
                    info["gap"] = self._gap(method, step, parts[chosen], pair.weights[0])
                    tree = self._settled(tree, chosen, step.state["weights"], info["gap"] > self.stop)
                    halves = new if info["gap"] > self.stop else halves
                sources = self._sources(problem, halves)
                info["residual"] = problem.residual(sources)
                start = Step(start.index + 1, f"part {chosen + 1} of {len(new)}, epoch {step.index}", sources,
                             state={**tree, **{name: step.state[name] for name in ("weights", "moments")}}, info=info)
                yield learning.copy_of(start)

    def _parts(self, images: Tensor, state: Step, method: Remix, pair: Mixing) -> list[Tensor]:
        """Images (N, C, H, W) taken apart by the splits that were kept."""
        parts, weight = [images], pair.weights[0]
        for chosen, weights in zip(state.state["split"].tolist(), state.state["networks"], strict=True):
            network = method.trained(state._replace(state={"weights": weights}), tuple(images.shape[1:]))
            parts[chosen:chosen + 1] = (weight * network.take_apart(parts[chosen], weight)).unbind(dim=1)
        return parts

    def _settled(self, tree: dict[str, Tensor], chosen: int, weights: Tensor, undone: bool) -> dict[str, Tensor]:
        """The tree after a split: the part is left whole, or its network is kept and it becomes two."""
        whole = tree["whole"].clone()
        if undone:
            whole[chosen] = True
            return {**tree, "whole": whole}
        networks = torch.cat([tree["networks"].reshape(-1, len(weights)), weights[None]])
        split = torch.cat([tree["split"], torch.tensor([chosen], device=weights.device)])
        return {"networks": networks, "split": split, "whole": torch.cat([whole[:chosen + 1], whole[chosen:]])}

    @torch.no_grad()
    def _gap(self, method: Remix, step: Step, images: Tensor, weight: float) -> float:
        """How much more real the discriminator takes originals for than remixes, on average."""
        network = method.trained(step, tuple(images.shape[1:]))
        critic = method.critic(step, tuple(images.shape[1:]))
        gaps = []
        for part in (images / weight).split(256):
            x, b = unmix(network, part)
            gaps.append(critic(part) - critic(x + b.roll(1, dims=0)))
        return float(torch.cat(gaps).mean())

    def _sources(self, problem: Problem, parts: list[Tensor]) -> Tensor:
        """Parts as sources, and nothing in those that there are no parts for: (B, K, C, H, W)."""
        missing = [torch.zeros_like(parts[0])] * (problem.mixing.count - len(parts))
        return torch.stack([*parts, *missing][:problem.mixing.count], dim=1)
