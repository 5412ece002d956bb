"""A network that regresses the image from the disturbed image: the CNN of Kong et al. 2019, section 4.1."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Generator, Tensor, nn

from sepviz.core import SepvizError
from sepviz.data.split import some
from sepviz.metrics import decibels
from sepviz.priors.checkpoint import Run, check_images, described
from sepviz.priors.checks import in_its_type, shape_of_images, whole_numbers
from sepviz.priors.score import bfloat16_is_fast


class CnnRegressor(nn.Module):
    """``s = f(s + n)``: four layers of 5x5 convolution, batch norm and ReLU between them, sigmoid at the end.

    Parameters
    ----------
    image_shape : (C, H, W)
    width : int
        Feature channels.
    name : str
        For tables and messages.
    """

    def __init__(self, image_shape: Sequence[int] = (1, 28, 28), width: int = 48, name: str = "cnn"):
        super().__init__()
        self.image_shape, self.name = shape_of_images(image_shape), name
        (self.width,), channels = whole_numbers("width", (width,), 1), self.image_shape[0]
        layers: list[nn.Module] = []
        for inward in (channels, width, width):
            layers += [nn.Conv2d(inward, width, 5, padding=2, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        self.network = nn.Sequential(*layers, nn.Conv2d(width, channels, 5, padding=2))

    def regress(self, images: Tensor) -> Tensor:
        """The clean images that these (N, C, H, W) are taken for, in [0, 1] and of their type."""
        if tuple(images.shape[-3:]) != self.image_shape:
            raise SepvizError(f"images of shape {tuple(images.shape[-3:])}: the prior {self.name} "
                              f"knows (C, H, W) = {self.image_shape}")
        with torch.autocast(images.device.type, torch.bfloat16, enabled=bfloat16_is_fast(images.device)):
            logits = in_its_type(self, self.network, images.float())
        return logits.float().sigmoid().to(images.dtype)

    def settings(self) -> dict:
        """What `CnnRegressor` must be called with to take these weights back."""
        return {"image_shape": self.image_shape, "width": self.width, "name": self.name}


def train_cnn(images: Tensor, held_out: Tensor, checkpoint: str | Path, *, iterations: int = 3000, amplitude: float = 0.31, seed: int = 0,
              width: int = 48, batch: int = 64, learning_rate: float = 2e-3, name: str = "cnn",
              progress: bool = True) -> tuple[CnnRegressor, dict]:
    """Regress images from the same with noise Uniform(-amplitude, amplitude); mean squared error, Adam, the step falling to 0.

    Parameters
    ----------
    images, held_out : Tensor (N, C, H, W) uint8
    checkpoint : path
        Where the run keeps itself once a minute and when it is stopped; taken up if it is there.

    Returns
    -------
    regressor : CnnRegressor
        In eval mode.
    card : dict
        Seed, minutes and the PSNR on held-out images under the same noise.
    """
    from tqdm.auto import tqdm

    check_images(images, batch, held_out)
    device = images.device
    torch.manual_seed(seed)
    rng = Generator(device).manual_seed(seed)
    regressor = CnnRegressor(images.shape[1:], width, name).to(device)
    optimizer = torch.optim.Adam(regressor.parameters(), lr=learning_rate, fused=True)
    settings = {"model": "cnn", "images": described(images), "seed": seed, "iterations": iterations,
                "width": width, "batch": batch, "learning rate": learning_rate, "amplitude": amplitude}
    run = Run(checkpoint, settings, rng, prior=regressor, optimizer=optimizer)

    def disturbed(pictures: Tensor) -> Tensor:
        return pictures + amplitude * (2 * torch.rand(pictures.shape, generator=rng, device=device) - 1)

    with tqdm(total=iterations, initial=run.iteration, unit="it", desc=f"train {name}",
              disable=not progress) as bar, run:
        while run.iteration < iterations:
            run.begin()
            index = torch.randint(len(images), (batch,), generator=rng, device=device)
            clean = images[index].float() / 255
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * (1 - run.iteration / iterations)
            optimizer.zero_grad(set_to_none=True)
            loss = (regressor.regress(disturbed(clean)) - clean).square().mean()
            loss.backward()
            optimizer.step()
            run.end(loss)
            bar.update()
    regressor.eval().requires_grad_(False)
    clean = some(held_out, 500).to(device).float() / 255
    psnr = decibels((regressor.regress(disturbed(clean)) - clean).square().mean(dim=(1, 2, 3)))
    card = {"seed": seed, "minutes": round(run.elapsed / 60, 1), "iterations": run.iteration,
            "batch": batch, "parameters": sum(weight.numel() for weight in regressor.parameters()), "threads": torch.get_num_threads(),
            "device": device.type,
            "denoised_psnr": {"what": f"PSNR in dB of held-out images under noise Uniform(+-{amplitude})", "n": len(psnr),
                              "mean": round(float(psnr.mean()), 2), "tenth_percentile": round(float(psnr.quantile(0.1)), 2)}}
    return regressor, card
