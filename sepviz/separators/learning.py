"""Shared by methods that learn from mixtures: their examples, networks, steps and training."""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.optim import Adam

from sepviz.core import Examples, Mixing, Problem, Separator, SepvizError, Step
from sepviz.priors.learned import run_fast
from sepviz.priors.mask import MaskNetwork

BETAS = (0.5, 0.999)  # Adam's, for all networks here, as in DCGAN (Radford et al. 2016)
Make = Callable[[], Any]  # of a network


class Learner(Separator):
    """A method that learns from mixtures of two sources, and maybe from clean images."""

    def check(self, problem: Problem) -> None:
        """Refuse other than two sources of equal weights, and examples it must not see."""
        super().check(problem)
        check_pair(problem)
        assert self.sees is not None
        examples_of(problem, self.sees)


def check_pair(problem: Problem) -> None:
    """Refuse what a mask cannot separate: other than two sources of equal weights."""
    weights = problem.mixing.weights
    if len(weights) != 2 or weights[0] != weights[1] or weights[0] < 0:
        raise SepvizError(f"weights {weights}: a mask divides a mixture between two sources of the "
                          "same weight; take split-gibbs")


def examples_of(problem: Problem, sees: str) -> Examples:
    """The examples of a problem, if they are exactly those that the method may see.

    Parameters
    ----------
    sees : str
        A key of `sepviz.core.SEES`.
    """
    examples = problem.examples
    if examples is None:
        raise SepvizError("the problem has no examples to learn from: make it with "
                          "sepviz.tasks.unmix, or learn a mask first (sepviz train) and "
                          "separate with the method mask")
    allowed = {"mixtures": True, "observed": sees != "mixtures", "unobserved": sees == "all"}
    for name, wanted in allowed.items():
        images = getattr(examples, name)
        count = 0 if images is None else len(images)
        if count and not wanted:
            raise SepvizError(f"{count} {name} images are given: this method must not see them; "
                              "make the problem with another sees=")
        if wanted and count < 2:
            raise SepvizError(f"{count} {name} images to learn from: want at least 2, "
                              "better thousands")
        if images is not None:
            _check_alike(images, name, problem)
    return examples


def _check_alike(images: Tensor, name: str, problem: Problem) -> None:
    """Refuse images of other values, another shape or device than the problem's."""
    mixtures = problem.mixtures
    try:
        mixing = problem.mixing if name == "mixtures" else Mixing.sum(1)
        mixing.check(images, medium=problem.medium)
    except SepvizError as error:
        raise SepvizError(f"{name} images to learn from: {error}") from None
    if images.shape[1:] != mixtures.shape[1:]:
        raise SepvizError(f"{name} images of {problem.medium.form()} = {tuple(images.shape[1:])} "
                          f"to learn from: the mixtures are {tuple(mixtures.shape[1:])}; "
                          "make them alike")
    if images.device != mixtures.device:
        raise SepvizError(f"{name} images on {images.device}, the mixtures are on "
                          f"{mixtures.device}: take problem.to(...)")


# --- networks, and what a step holds of them ---


def new(make: Make, rng: Generator | None = None) -> Any:
    """A network, with first weights and device from ``rng`` if given; torch's own seed stays."""
    with torch.random.fork_rng(devices=[]):
        if rng is None:
            return make()
        seed = torch.randint(2**31, (1,), generator=rng, device=rng.device)
        torch.default_generator.manual_seed(int(seed))
        return make().to(rng.device)


def adam(*networks: nn.Module) -> Adam:
    """An optimiser of these networks together."""
    return Adam([weight for network in networks for weight in network.parameters()], betas=BETAS)


def held(step: Step, name: str) -> Tensor:
    """Part of a step's state; an error if the step is of a run that kept no such thing."""
    if name not in step.state:
        raise SepvizError(f"step {step.index} ({step.stage}) holds no {name}: it is of another "
                          "method, stage or setting; start from a run with these parameters")
    return step.state[name]


def copy_of(step: Step) -> Step:
    """The step with tensors of its own, to be yielded while the method continues with the first."""
    return step.mapped(torch.clone)


def pack(*networks: nn.Module) -> Tensor:
    """The weights and buffers of networks as one vector, to go into a step."""
    return torch.cat([value.detach().float().flatten() for network in networks
                      for value in network.state_dict().values()])


def unpack(vector: Tensor, *networks: nn.Module) -> None:
    """Give networks the weights that `pack` took from others of the same architecture."""
    values = [value for network in networks for value in network.state_dict().values()]
    sizes = [value.numel() for value in values]
    if len(vector) != sum(sizes):
        raise SepvizError(f"a step with {len(vector)} weights: the network has {sum(sizes)}; "
                          "it is of another run, or of another network")
    with torch.no_grad():
        for value, part in zip(values, vector.split(sizes), strict=True):
            value.copy_(part.reshape(value.shape))


def _weights(optimizers: Sequence[Adam]) -> list[tuple[Adam, nn.Parameter]]:
    return [(one, weight) for one in optimizers for weight in one.param_groups[0]["params"]]


def pack_moments(*optimizers: Adam) -> Tensor:
    """Both moments of each weight, 0 before the first step, as one vector."""
    parts = []
    for optimizer, weight in _weights(optimizers):
        kept = optimizer.state.get(weight)
        both = (kept["exp_avg"], kept["exp_avg_sq"]) if kept else (torch.zeros_like(weight),) * 2
        parts += [moment.detach().flatten() for moment in both]
    return torch.cat(parts)


def unpack_moments(vector: Tensor, taken: Sequence[int], *optimizers: Adam) -> None:
    """Give each optimiser the moments that `pack_moments` took, after so many steps of each."""
    steps, pairs = dict(zip(optimizers, taken, strict=True)), _weights(optimizers)
    sizes = [2 * weight.numel() for _, weight in pairs]
    if len(vector) != sum(sizes):
        raise SepvizError(f"a step with {len(vector)} moments: the optimiser has {sum(sizes)}; "
                          "it is of another stage or network")
    for (optimizer, weight), part in zip(pairs, vector.split(sizes), strict=True):
        mean, square = part.clone().reshape(2, *weight.shape)
        optimizer.state[weight] = {"step": torch.tensor(float(steps[optimizer])),
                                   "exp_avg": mean, "exp_avg_sq": square}


def trained(step: Step, *makers: Make) -> list[Any]:
    """The networks whose weights a step holds, ready to use."""
    networks = [new(make).to(step.sources.device) for make in makers]
    unpack(held(step, "weights"), *networks)
    return [network.eval().requires_grad_(False) for network in networks]


def begun(makers: Sequence[Make], rng: Generator, start: Step | None,
          taken: Callable[[int], Sequence[int]]) -> tuple[list[Any], list[Adam]]:
    """Networks and their optimisers: new, or as at ``start`` after ``taken(index)`` steps."""
    networks = [new(make, rng if start is None else None).to(rng.device) for make in makers]
    optimizers = [adam(network) for network in networks]
    if start is not None:
        unpack(held(start, "weights"), *networks)
        unpack_moments(held(start, "moments"), taken(start.index), *optimizers)
    return networks, optimizers


# --- training ---


def epochs(problem: Problem, networks: list[Any], optimizers: list[Adam], start: Step | None,
           total: int, seen: int, epoch: Callable[[int], dict[str, float]]) -> Iterator[Step]:
    """Yield step 0 (the untrained mask network), then a step for each epoch.

    Parameters
    ----------
    networks : list
        The mask network, and what trains beside it.
    total, seen : int
        Epochs, and images in one.
    epoch : callable
        Trains for the epoch of this number, from 1, and returns its losses.
    """
    for index in range(start.index + 1 if start else 0, total + 1):
        networks[0].train()
        losses = epoch(index) if index else {}
        sources = networks[0].take_apart(problem.mixtures, problem.mixing.weights[0])
        info = {"evaluations": index * seen, "residual": problem.residual(sources), **losses}
        state = {"weights": pack(*networks), "moments": pack_moments(*optimizers)}
        yield Step(index, f"epoch {index}", sources, state=state, info=info)


def falling(first: float, last_share: float, progress: float) -> float:
    """A learning rate that falls along half a cosine from ``first`` to ``last_share`` of it."""
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return first * (last_share + (1 - last_share) * cosine)


def batches(count: int, size: int, rng: Generator) -> Iterator[Tensor]:
    """All indices below ``count`` in random order; the last batch may be smaller, but not 1."""
    parts = list(torch.randperm(count, generator=rng, device=rng.device).split(size))
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    yield from parts


def batches_in(count: int, size: int) -> int:
    """How many `batches` there are."""
    return count // size if count > size and count % size == 1 else -(-count // size)


def descend(optimizer: Adam, loss: Tensor, rate: float) -> None:
    """One step down the slope of ``loss``, at this learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


def pass_over_pairs(network: MaskNetwork, optimizer: Adam, observed: Tensor, others: Tensor,
                    size: int, rng: Generator, rate: Callable[[float], float]) -> list[Tensor]:
    """One epoch of ``min |T(b + x) - b|_1``, ``T(y) = y m(y)``; the loss of every step.

    Parameters
    ----------
    observed, others : Tensor (N, C, H, W), (M, C, H, W)
        Every image b, each paired with a random x, or with what is taken for one.
    rate : callable
        The learning rate after a share of the epoch.
    """
    losses, steps = [], batches_in(len(observed), size)
    partners = torch.randint(len(others), (len(observed),), generator=rng, device=rng.device)
    for number, chosen in enumerate(batches(len(observed), size, rng)):
        b = observed[chosen]
        y = b + others[partners[chosen]]
        loss = (y * network.mask(y) - b).abs().mean()
        descend(optimizer, loss, rate(number / steps))
        losses.append(loss.detach())
    return losses


class Discriminator(nn.Module):
    """DCGAN's: images (N, C, H, W) -> how real each looks (N,); H and W divisible by 8.

    Parameters
    ----------
    spectral : bool
        Layers of spectral norm 1 (Miyato et al. 2018) in place of batch norm.
    """

    def __init__(self, image_shape: Sequence[int], spectral: bool = False, width: int = 64):
        super().__init__()
        channels, height, width_of_image = image_shape
        normed = spectral_norm if spectral else nn.Identity()
        halving = partial(nn.Conv2d, kernel_size=4, stride=2, padding=1, bias=spectral)
        layers: list[nn.Module] = [normed(halving(channels, width)), nn.LeakyReLU(0.2)]
        for inward, outward in ((width, 2 * width), (2 * width, 4 * width)):
            norm = [] if spectral else [nn.BatchNorm2d(outward)]
            layers += [normed(halving(inward, outward)), *norm, nn.LeakyReLU(0.2)]
        layers.append(normed(nn.Conv2d(4 * width, 1, (height // 8, width_of_image // 8))))
        faster: Any = {"memory_format": torch.channels_last}
        self.network = nn.Sequential(*layers).to(**faster)

    def forward(self, images: Tensor) -> Tensor:
        images = images.contiguous(memory_format=torch.channels_last)
        return run_fast(self.network, images).flatten().to(images.dtype)
