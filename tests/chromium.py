"""Debian's Chromium as every browser test starts it."""

import shutil

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--disable-sync"]


def launch(playwright, patience=120_000):
    """A browser without a window; patience in milliseconds."""
    return playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS, timeout=patience)


def open_page(browser, path, faults, **options):
    """A page of its own without a network; its errors and its requests are put to ``faults``."""
    context = browser.new_context(offline=True, **options)
    context.set_default_timeout(90_000)
    page, address = context.new_page(), path.as_uri()
    page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda sent: faults.append(sent.url) if sent.url != address else None)
    page.goto(address)
    return page
