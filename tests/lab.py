"""A real JupyterLab with its default settings, and a page of a browser that watches it."""

import contextlib
import os
import re
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import nbformat
import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

ROOT = Path(__file__).parents[1]
PATIENCE = 300_000  # milliseconds: the machine may be busy with other things
KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}

# A closed-form prior: nothing to train. The live run has more steps than it will get to take.
CELLS = [
    """import sepviz
images = sepviz.data.floats(sepviz.data.load("strokes", "train", count=256).images)
prior = sepviz.GaussianPrior.fit(images)
problem, truth = sepviz.tasks.separate("strokes", count=3)""",
    """short = sepviz.SplitGibbs(prior, levels=10, sweeps=5, cycles=1, sigma_average=0)
player = sepviz.Player(sepviz.record(short, problem, progress=False), truth)
player""",
    """live = sepviz.LiveRun(sepviz.SplitGibbs(prior, levels=100, sweeps=50), problem, truth)
live""",
    """print("player at step", player.step.index)""",
    """sweeps, state = live.separator.sweeps, live.status["state"]
print("sweeps", sweeps, "branches", len(live.branches), "state", state)""",
    """guess = sepviz.Guess.number("How many?", unit="dB", low=0, high=40)
guess""",
    """guess.reveal(10.0, why="So it is.")""",
    """import torch
from sepviz.views import figures
def gray(a):
    return figures.images({"G(z)": torch.full((1, 1, 8, 8), a)})
sepviz.Explore(gray, a=(0.0, 1.0, 0.125))""",
    """display(sepviz.KernelPad(3), sepviz.Guess.choice("Which?", ["one", "other"]),
    sepviz.Guess.curve("How?", x="x", y="y", at=[1, 2, 3], low=0, high=1), sepviz.SketchPad())""",
]

# The course: draw, separate, compare, restore.
COURSE = [
    """import sepviz
bench = sepviz.Workbench()
bench""",
    """print("sweeps", bench.live.separator.sweeps, "at", bench.live.trace.final.index)""",
    """trace = bench.live.trace
display(sepviz.Player(trace))
display(sepviz.Player(trace))""",
]


def notebook(cells):
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells],
                                    metadata=KERNEL)


@contextlib.contextmanager
def served(root, settings):
    """A JupyterLab over the folder ``root`` that knows nothing of the user's settings.

    Gives a function: the name of a notebook -> its address, in a workspace of its own.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    places = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    path = os.pathsep.join([str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    environment = {**os.environ, **{name: str(settings / name.lower()) for name in places},
                   "JUPYTER_TOKEN": token, "PYTHONPATH": path}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root",
               "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--ServerApp.port_retries=0",
               f"--ServerApp.root_dir={root}", "--LabApp.extension_manager=readonly",
               "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]  # no network
    log = settings / "jupyter.log"
    with open(log, "wb") as out:
        server = subprocess.Popen(command, cwd=root, env=environment, stdout=out,
                                  stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    try:
        _wait_for(f"http://127.0.0.1:{port}/api/status?token={token}", server, log)
        yield lambda name: (f"http://127.0.0.1:{port}/lab/workspaces/{Path(name).stem}"
                            f"/tree/{name}?token={token}")
    finally:
        server.terminate()  # it ends its kernels first
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(30)
        server.kill()
        server.wait()


def _wait_for(address, server, log):
    deadline = time.monotonic() + PATIENCE / 1000
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while True:
        try:
            return opener.open(address, timeout=10).close()
        except (urllib.error.URLError, OSError):
            if server.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"JupyterLab did not start:\n{log.read_text()[-3000:]}")
            time.sleep(0.1)


class Tab:
    """A page that keeps what its console says and counts the messages to the kernel."""

    def __init__(self, browser, height):
        # tall enough for all cells: JupyterLab does not draw what is out of sight
        self.page = browser.new_page(viewport={"width": 1300, "height": height})
        self.page.set_default_timeout(PATIENCE)
        self.faults: list[str] = []
        self.sent: list[str] = []  # kinds of messages to the kernel
        self.received: list[str] = []
        self.page.on("console", lambda said: self.faults.append(said.text)
                     if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("websocket", self._watch)

    def _watch(self, websocket):
        if "/channels" in websocket.url:
            websocket.on("framesent", lambda payload: self.sent.append(_kind_of(payload)))
            websocket.on("framereceived", lambda payload: self.received.append(_kind_of(payload)))

    def open(self, address):
        """Open a notebook; gives the indicator of its kernel, which is idle."""
        self.page.goto(address, wait_until="domcontentloaded")
        # the indicator says idle before there is a kernel, too
        self.wait_until(lambda: "kernel_info_reply" in self.received)
        indicator = self.page.locator(".jp-Notebook-ExecutionIndicator")
        indicator.and_(self.page.locator("[data-status=idle]")).wait_for()
        return indicator

    def menu(self, menu, item):
        bar = self.page.locator(".lm-MenuBar-item", has_text=re.compile(f"^{menu}$"))
        bar.click()
        self.page.locator(".lm-Menu-item", has_text=item).first.click()

    def cell(self, number):
        return self.page.locator(".jp-CodeCell").nth(number)

    def run_cell(self, number):
        """Run a cell; gives its first output."""
        self.cell(number).locator(".cm-content").click()
        self.page.keyboard.press("Control+Enter")
        return self.cell(number).locator(".jp-OutputArea-output").first

    def wait_until(self, condition):
        """Let the page's events come in until the condition holds."""
        deadline = time.monotonic() + PATIENCE / 1000
        while not condition():
            assert time.monotonic() < deadline
            self.page.wait_for_timeout(20)


def _kind_of(payload):
    text = payload if isinstance(payload, str) else payload.decode("latin-1")
    found = re.search(r'"msg_type":\s*"(\w+)"', text)
    return found[1] if found else "unknown"


def number_of(locator, name):
    return int(locator.get_attribute(f"data-{name}"))


class Live:
    """The live run of a page."""

    def __init__(self, root):
        self.root = root

    def click(self, *names):
        for name in names:
            self.root.locator(f".sepviz-{name}").click()

    def expect(self, **data):
        for name, value in data.items():
            sync_api.expect(self.root).to_have_attribute(f"data-{name}", value)

    def knob(self, kind):
        return self.root.locator(f".sepviz-knob input[type={kind}][data-name=sweeps]")

    def set_sweeps(self, value):
        self.knob("number").fill(value)
        self.knob("number").press("Tab")


FOCUSABLE = """() => {
  const kinds = new Set();
  let count = 0;
  const cells = [...document.querySelectorAll(".jp-Cell")];
  const focusable = ":is(button, input, select, summary, [tabindex='0'])";
  for (const node of document.querySelectorAll(`.jp-OutputArea-output ${focusable}`)) {
    const cell = cells.indexOf(node.closest(".jp-Cell"));
    const kind = [node.tagName, node.className, node.type, cell].join(" ");
    if (node.disabled || !node.offsetParent || kinds.has(kind)) continue;
    kinds.add(kind);
    node.dataset.probe = count++;
  }
  return count;
}"""
ACTIVE = """() => {
  const cells = [...document.querySelectorAll(".jp-Notebook .jp-Cell")];
  const active = cells.findIndex((cell) => cell.classList.contains("jp-mod-active"));
  return `${active} of ${cells.length}`;
}"""


def keys_stay_in_the_widgets(page):
    """No plain key, in whatever part of a widget, moves on to another cell or edits cells.

    A chord reaches JupyterLab.
    """
    count = page.evaluate(FOCUSABLE)
    assert count >= 40
    for probe in range(count):
        part = page.locator(f"[data-probe='{probe}']")
        if not part.count():
            continue  # a key before it has redrawn this part
        part.focus()
        before = page.evaluate(ACTIVE)
        for key in ("ArrowDown", "ArrowUp", "ArrowLeft", "Shift+ArrowDown", "j", "d", "d", "x"):
            page.keyboard.press(key)
        assert page.evaluate(ACTIVE) == before, part.evaluate("(node) => node.outerHTML")[:200]
    page.locator(".sepviz-slider").first.focus()
    with page.expect_request(lambda sent: sent.method == "PUT" and "/api/contents/" in sent.url):
        page.keyboard.press("Control+s")
