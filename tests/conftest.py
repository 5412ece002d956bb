"""What several tests share: the device under test, real data where it is, a small exact prior."""

import os

import pytest
import torch
from chromium import CHROMIUM, launch

import sepviz
from sepviz import cli
from sepviz.priors.gaussian import GaussianPrior

if "PYTEST_XDIST_WORKER" in os.environ:  # processes share the cores; kernels and commands too
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True, scope="session")
def threads():
    together = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    torch.set_num_threads(max(1, min(2, os.cpu_count() or 1) // together))


@pytest.fixture(scope="session")
def device():
    return sepviz.default_device()


@pytest.fixture(scope="session")
def mnist():
    """MNIST's test images, where the real files are."""
    folder = os.environ.get("SEPVIZ_DATA")
    if not folder or not os.path.isdir(os.path.join(folder, "mnist")):
        pytest.skip("SEPVIZ_DATA names no folder with mnist/: this test needs the real digits")
    from sepviz.data import load

    return load("mnist", "test")


@pytest.fixture
def run(capsys):
    """Run a command line in this process: its exit code, its stdout and its stderr."""
    def call(*words):
        capsys.readouterr()
        code = cli.main([str(word) for word in words])
        told = capsys.readouterr()
        return code, told.out, told.err

    return call


@pytest.fixture
def gaussian(device):
    """A Gaussian prior on 1x2x3 images with very different pixels."""
    mean = torch.tensor([[[0.2, 0.5, 0.8], [0.4, 0.6, 0.3]]], device=device)
    deviation = torch.tensor([[[0.05, 0.3, 0.15], [0.5, 0.1, 0.25]]], device=device)
    return GaussianPrior(mean, deviation)


@pytest.fixture(scope="module")
def browser():
    """Chromium, where it and playwright are."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no chromium on the PATH")
    with sync_api.sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()
