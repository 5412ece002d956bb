"""``sepviz lab``: the labs in JupyterLab, in a folder of the user's."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

from sepviz.cli import common, signals
from sepviz.cli.common import Commands

MANIFEST = ".sepviz-labs.json"
RUN_ALL = "to run all cells of a lab: in JupyterLab's menu, Run > Run All Cells"


def add(commands: Commands) -> None:
    """Its arguments."""
    lab = commands.add("lab", run, "open the labs in JupyterLab", """
        They are copied to a folder of yours. What you changed there is kept; a new version is
        written beside it as NAME.new.ipynb. On a JupyterHub, where JupyterLab is running already,
        it says which page to open. Words after -- go to JupyterLab, for example: sepviz lab
        langevin -- --no-browser --port 9000""")
    lab.add_argument("name", metavar="NAME", nargs="?",
                     help="the lab to open: start_here, score_prior, langevin, ...")
    lab.add_argument("--folder", type=Path, default=Path("sepviz-labs"),
                     help="default: ./sepviz-labs")
    lab.add_argument("--no-open", action="store_true", help="only copy them and say where they are")


def run(arguments: argparse.Namespace) -> int:
    """The command."""
    from sepviz.core import SepvizError
    from sepviz.suggest import choose

    home = common.labs_home()
    names = sorted(path.stem for path in home.glob("*.ipynb"))
    if not names:
        raise SepvizError(f"no labs at {home}: install sepviz again")
    name = None if arguments.name is None else arguments.name.removesuffix(".ipynb")
    if name is not None:
        choose("lab", name, names)
    lab = f"{name or 'start_here'}.ipynb"
    on_a_hub = "JUPYTERHUB_SERVICE_PREFIX" in os.environ and not arguments.no_open
    page = _page_of_the_hub(arguments.folder / lab) if on_a_hub else None
    opens = not arguments.no_open and page is None
    _check_passed_on(arguments, opens)
    for line in copy_labs(home, arguments.folder):
        print(line)
    print(RUN_ALL)
    print(f"labs in {arguments.folder}: {', '.join(names)}")
    if page is not None:
        print(f"JupyterLab is running: open {arguments.folder / lab} in it, or in the browser this "
              f"page of the hub: {page}")
    if not opens:
        return 0
    opened = [] if name is None else [lab]
    return _wait_for([sys.executable, "-m", "jupyterlab", *opened, *arguments.passed_on],
                     arguments.folder)


def _check_passed_on(arguments: argparse.Namespace, opens: bool) -> None:
    """Refuse words for JupyterLab where it is not started, or where it would refuse to start."""
    from sepviz.core import SepvizError

    words: list[str] = arguments.passed_on
    if words and not opens:
        raise SepvizError(f"-- {shlex.join(words)}: no JupyterLab is started here, leave it out")
    as_root = os.name == "posix" and getattr(os, "geteuid", int)() == 0
    if opens and as_root and "--allow-root" not in words:
        named = [arguments.name] if arguments.name else []
        again = shlex.join(["sepviz", "lab", *named, "--", "--allow-root", *words])
        raise SepvizError("JupyterLab does not start as root, the user of many containers: "
                          f"{again} allows it")


def _wait_for(command: list[str], folder: Path) -> int:
    process = subprocess.Popen(command, cwd=folder)
    while True:
        try:
            return process.wait()
        except signals.Ended as stop:  # was sent to this process alone: JupyterLab must hear of it
            process.send_signal(stop.number)
        except KeyboardInterrupt:  # JupyterLab has it too, asks, and ends by itself
            continue


def copy_labs(home: Path, folder: Path) -> list[str]:
    """Copy the labs to a folder of the user's, never over the user's edits.

    A manifest in the folder remembers what was copied last. A file that is still as it was copied
    is renewed; one that was changed is kept, and a new version is written beside it as
    ``NAME.new.ipynb``.

    Returns
    -------
    list of str
        What there is to tell, a line for each file that was written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    manifest = folder / MANIFEST
    copied = _read_manifest(manifest)
    told = []
    for source in sorted([*home.glob("*.ipynb"), *home.glob("*.py")]):
        if source.name == "__init__.py":
            continue
        data, target = source.read_bytes(), folder / source.name
        ours, before = _digest(data), copied.get(source.name)
        theirs = _digest(target.read_bytes()) if target.is_file() else None
        copied[source.name] = ours
        if theirs is None or (theirs != ours and theirs == before):
            _write(target, data, overwrite=True)
            told.append(f"{target.name}: {'copied' if theirs is None else 'renewed'}")
        elif theirs != ours and before != ours:
            beside = _new_name(target, data)
            if beside is not None:
                _write(beside, data)
                told.append(f"{target.name}: yours is kept, the new version is {beside.name}")
    _write(manifest, json.dumps(copied, indent=1).encode(), overwrite=True)
    return told


def _write(path: Path, data: bytes, overwrite: bool = False) -> None:
    from sepviz import files

    files.write(path, lambda file: file.write(data), overwrite=overwrite)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _read_manifest(path: Path) -> dict[str, str]:
    """What was copied last; nothing if that is not known: then what differs is the user's."""
    try:
        found = json.loads(path.read_text()) if path.is_file() else {}
    except (ValueError, OSError):
        return {}
    return found if isinstance(found, dict) else {}


def _new_name(target: Path, data: bytes) -> Path | None:
    """The first free ``NAME.new.ipynb``, ``NAME.new2.ipynb``, ...; None if one holds this data."""
    for number in range(1, 1000):
        suffix = f".new{number if number > 1 else ''}{target.suffix}"
        beside = target.with_name(target.stem + suffix)
        if not beside.exists():
            return beside
        if beside.read_bytes() == data:
            return None
    return None


def _page_of_the_hub(path: Path) -> str:
    """Where the server of a JupyterHub shows a lab; the browser would not reach a second server."""
    from sepviz.core import SepvizError

    root = Path(os.environ.get("JUPYTER_SERVER_ROOT") or Path.home()).resolve()
    place = path.resolve()
    if not place.is_relative_to(root):
        raise SepvizError(f"--folder {path.parent}: the JupyterLab of this JupyterHub shows {root} "
                          "alone, give a folder in there")
    page = quote(place.relative_to(root).as_posix())
    return f"{os.environ['JUPYTERHUB_SERVICE_PREFIX'].rstrip('/')}/lab/tree/{page}"
