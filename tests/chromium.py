"""Debian's Chromium as every browser test starts it."""

import shutil

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--disable-sync"]


def launch(playwright, patience=120_000):
    """A browser without a window; patience in milliseconds."""
    return playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS, timeout=patience)
