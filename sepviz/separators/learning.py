"""What methods that learn from mixtures share: networks from a generator, a step that holds a whole training, its examples."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch
from torch import Generator, Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from sepviz.core import Examples, Mixing, Problem, Separator, SepvizError, Step
from sepviz.priors.checks import in_its_type
from sepviz.priors.mask import MaskNetwork
from sepviz.priors.score import bfloat16_is_fast

Module = TypeVar("Module", bound=nn.Module)


def new(make: Callable[[], Module], rng: Generator | None = None) -> Module:
    """A new module, its first weights and its device those of ``rng`` if given; torch's own random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        if rng is None:
            return make()
        torch.default_generator.manual_seed(int(torch.randint(2**31, (1,), generator=rng, device=rng.device)))
        return make().to(rng.device)


def copy_of(step: Step) -> Step:
    """The step with tensors of its own, to be given out while the method goes on with the first."""
    return step.mapped(torch.clone)


def pack(*modules: nn.Module) -> Tensor:
    """The weights and buffers of modules as one vector, to go into a step."""
    return torch.cat([value.detach().float().flatten() for module in modules for value in module.state_dict().values()])


def unpack(vector: Tensor, *modules: nn.Module) -> None:
    """Give modules the weights that `pack` took from the like."""
    values = [value for module in modules for value in module.state_dict().values()]
    if len(vector) != sum(value.numel() for value in values):
        raise SepvizError(f"a step with {len(vector)} weights: the network has {sum(value.numel() for value in values)}; "
                          "it is of another run, or of another network")
    with torch.no_grad():
        for value, part in zip(values, vector.split([value.numel() for value in values]), strict=True):
            value.copy_(part.reshape(value.shape))


def pack_moments(*optimizers: torch.optim.Optimizer) -> Tensor:
    """Both moments that Adam keeps, 0 before its first step, as one vector."""
    return torch.cat([(optimizer.state[weight][name] if weight in optimizer.state else torch.zeros_like(weight)).detach().flatten()
                      for optimizer in optimizers for weight in optimizer.param_groups[0]["params"] for name in ("exp_avg", "exp_avg_sq")])


def unpack_moments(vector: Tensor, taken: Sequence[int], *optimizers: torch.optim.Adam) -> None:
    """Give each Adam the moments that `pack_moments` took, after so many steps of each."""
    begin = 0
    need = sum(2 * weight.numel() for optimizer in optimizers for weight in optimizer.param_groups[0]["params"])
    if len(vector) != need:
        raise SepvizError(f"a step with {len(vector)} moments: the optimiser has {need}; it is of another stage or network")
    for optimizer, count in zip(optimizers, taken, strict=True):
        for weight in optimizer.param_groups[0]["params"]:
            parts = vector[begin:begin + 2 * weight.numel()].clone().reshape(2, *weight.shape)
            optimizer.state[weight] = {"step": torch.tensor(float(count)), "exp_avg": parts[0], "exp_avg_sq": parts[1]}
            begin += 2 * weight.numel()


def falling(first: float, last_share: float, progress: float) -> float:
    """A learning rate that falls along half a cosine from ``first`` to ``last_share`` of it, for ``progress`` from 0 to 1."""
    return first * (last_share + (1 - last_share) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


def batches(count: int, size: int, rng: Generator) -> Iterator[Tensor]:
    """All indices below ``count`` once, in random order; the last batch may be smaller, but is never a single one."""
    order = torch.randperm(count, generator=rng, device=rng.device)
    parts = list(order.split(size))
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    yield from parts


def batches_in(count: int, size: int) -> int:
    """How many `batches` there are."""
    return count // size if count > size and count % size == 1 else -(-count // size)


def check_pair(problem: Problem) -> None:
    """Refuse what a mask cannot say: other than two sources of equal weights."""
    weights = problem.mixing.weights
    if len(weights) != 2 or weights[0] != weights[1] or weights[0] < 0:
        raise SepvizError(f"weights {weights}: a mask shares a mixture out between two sources of the same weight; take split-gibbs")


class Learner(Separator):
    """A method that learns from mixtures of two sources, and maybe from clean images."""

    def check(self, problem: Problem) -> None:
        """Refuse other than two sources of equal weights, and other examples than the method may see."""
        super().check(problem)
        check_pair(problem)
        assert self.sees is not None
        examples_of(problem, self.sees)


def examples_of(problem: Problem, sees: str) -> Examples:
    """The examples of a problem, if they are those that the method may see: no fewer, no more.

    Parameters
    ----------
    sees : str
        A key of `sepviz.core.SEES`.
    """
    examples = problem.examples
    if examples is None:
        raise SepvizError("the problem has no examples to learn from: make it with sepviz.tasks.unmix, or train with sepviz train "
                          "and separate with --method mask")
    for name, wanted in (("mixtures", True), ("observed", sees != "mixtures"), ("unobserved", sees == "all")):
        images = getattr(examples, name)
        count = 0 if images is None else len(images)
        if count and not wanted:
            raise SepvizError(f"{count} {name} images are given: this method must not see them; "
                              "make the problem with another sees=")
        if wanted and count < 2:
            raise SepvizError(f"{count} {name} images to learn from: want at least 2, better thousands")
        if images is None:
            continue
        mixing = problem.mixing if name == "mixtures" else Mixing.sum(1)
        try:
            mixing.check(images)
        except SepvizError as error:
            raise SepvizError(f"{name} images to learn from: {error}") from None
        if images.shape[1:] != problem.mixtures.shape[1:]:
            raise SepvizError(f"{name} images of (C, H, W) = {tuple(images.shape[1:])} to learn from: "
                              f"the mixtures are {tuple(problem.mixtures.shape[1:])}; make them alike")
        if images.device != problem.mixtures.device:
            raise SepvizError(f"{name} images on {images.device}, the mixtures are on "
                              f"{problem.mixtures.device}: take problem.to(...)")
    return examples


def descend(optimizer: torch.optim.Optimizer, loss: Tensor, rate: float) -> None:
    """One step down the slope of ``loss``, at this learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


def pass_over_pairs(network: MaskNetwork, optimizer: torch.optim.Optimizer, observed: Tensor, others: Tensor, size: int, rng: Generator,
                    rate: Callable[[float], float]) -> list[Tensor]:
    """One epoch of ``min |T(b + x) - b|_1``, ``T(y) = y m(y)``, over every observed b, each with any x (Halperin et al. 2019, equation 3).

    Parameters
    ----------
    observed, others : Tensor (N, C, H, W), (M, C, H, W)
        Images b, and images x or what they are taken for.
    rate : callable
        The learning rate after a share of the epoch.

    Returns
    -------
    list of Tensor
        The loss of every step.
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


def mask_network(step: Step, image_shape: Sequence[int], network: str, name: str, *beside: nn.Module) -> MaskNetwork:
    """The mask network whose weights a step holds, ready to use; modules packed ``beside`` it get theirs as well."""
    found = new(functools.partial(MaskNetwork, image_shape, network, name))
    unpack(held(step, "weights"), found, *beside)
    for module in (found, *beside):
        module.to(step.sources.device).eval().requires_grad_(False)
    return found


def held(step: Step, name: str) -> Tensor:
    """Part of a step's state; an error where the step is of a run that left no such thing."""
    if name not in step.state:
        raise SepvizError(f"step {step.index} ({step.stage}) holds no {name}: it is of another method, stage or setting; "
                          "start from a step of a run with these parameters")
    return step.state[name]


class Discriminator(nn.Module):
    """DCGAN's (Radford et al. 2016): images (N, C, H, W) -> how real each looks (N,); H and W divisible by 8.

    Parameters
    ----------
    spectral : bool
        Layers of spectral norm 1 (Miyato et al. 2018) in place of batch norm.
    """

    def __init__(self, image_shape: Sequence[int], spectral: bool = False, width: int = 64):
        super().__init__()
        channels, height, width_of_image = image_shape

        def halving(inward: int, outward: int) -> nn.Module:
            convolution = nn.Conv2d(inward, outward, 4, stride=2, padding=1, bias=spectral)
            return spectral_norm(convolution) if spectral else convolution

        layers: list[nn.Module] = [halving(channels, width), nn.LeakyReLU(0.2)]
        for inward, outward in ((width, 2 * width), (2 * width, 4 * width)):
            layers += [halving(inward, outward), *([] if spectral else [nn.BatchNorm2d(outward)]), nn.LeakyReLU(0.2)]
        last = nn.Conv2d(4 * width, 1, (height // 8, width_of_image // 8))
        network = nn.Sequential(*layers, spectral_norm(last) if spectral else last)
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, torch.bfloat16, enabled=bfloat16_is_fast(images.device)):
            images = images.float().contiguous(memory_format=torch.channels_last)
            return in_its_type(self, self.network, images).flatten()
