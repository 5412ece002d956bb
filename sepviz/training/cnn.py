"""Train a network that regresses the image from the disturbed image."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Generator, Tensor

from sepviz.data.split import some
from sepviz.metrics import decibels
from sepviz.priors.cnn import CnnRegressor
from sepviz.training.checkpoint import Run, check_images, described


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
