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


def add(commands: Commands) -> None:
    """Its arguments."""
    lab = commands.add("lab", run, "open the labs in JupyterLab", """
        They are copied to a folder of yours. What you changed there is kept; a new version is written beside it as
        NAME.new.ipynb. On a JupyterHub, where JupyterLab is running already, it says which page to open. Words
        after -- go to JupyterLab, for example: sepviz lab langevin -- --no-browser --port 9000""")
    lab.add_argument("name", metavar="NAME", nargs="?", help="the lab to open: start_here, score_prior, langevin, ...")
    lab.add_argument("--folder", type=Path, default=Path("sepviz-labs"), help="default: ./sepviz-labs")
    lab.add_argument("--no-open", action="store_true", help="only copy them and say where they are")


def run(arguments: argparse.Namespace) -> int:
    """The command."""
    from sepviz.core import SepvizError
    from sepviz.suggest import choose

    passed_on: list[str] = arguments.passed_on

    home = common.labs_home()
    names = sorted(path.stem for path in home.glob("*.ipynb"))
    if not names:
        raise SepvizError(f"no labs at {home}: install sepviz again")
    if arguments.name is not None:
        choose("lab", arguments.name.removesuffix(".ipynb"), names)
    lab = (arguments.name or "start_here").removesuffix(".ipynb") + ".ipynb"
    on_a_hub = "JUPYTERHUB_SERVICE_PREFIX" in os.environ and not arguments.no_open
    page = _page_of_the_hub(arguments.folder / lab) if on_a_hub else None
    opens = not arguments.no_open and page is None
    if passed_on and not opens:
        raise SepvizError(f"-- {shlex.join(passed_on)}: no JupyterLab is started here, leave it out")
    if opens and getattr(os, "geteuid", int)() == 0 and "--allow-root" not in passed_on and os.name == "posix":
        again = shlex.join(["sepviz", "lab", *([arguments.name] if arguments.name else []), "--",
                            "--allow-root", *passed_on])
        raise SepvizError(f"JupyterLab does not start as root, the user of many containers: {again} allows it")
    for line in copy_labs(home, arguments.folder):
        print(line)
    print(f"labs in {arguments.folder}: {', '.join(names)}")
    if page is not None:
        print(f"JupyterLab is running: open {arguments.folder / lab} in it, or in the browser this page of the hub: {page}")
        return 0
    if arguments.no_open:
        return 0
    command = [sys.executable, "-m", "jupyterlab", *([] if arguments.name is None else [lab]), *passed_on]
    process = subprocess.Popen(command, cwd=arguments.folder)
    while True:
        try:
            return process.wait()
        except signals.Ended as stop:  # was sent to this process alone: JupyterLab must hear of it
            process.send_signal(stop.number)
        except KeyboardInterrupt:  # JupyterLab has it too, asks, and ends by itself
            continue


def copy_labs(home: Path, folder: Path) -> list[str]:
    """Copy the labs to a folder of the user's, never over the user's edits.

    A manifest in the folder remembers what was copied last. A file that is still as it was copied is
    renewed; one that was changed is kept, and a new version is written beside it as ``NAME.new.ipynb``.

    Returns
    -------
    list of str
        What there is to tell, a line for each file that was written.
    """
    from sepviz import files

    folder.mkdir(parents=True, exist_ok=True)
    manifest = folder / MANIFEST
    try:
        delivered = json.loads(manifest.read_text()) if manifest.is_file() else {}
    except (ValueError, OSError):
        delivered = {}  # then every file that differs counts as the user's
    delivered = delivered if isinstance(delivered, dict) else {}
    told = []
    for source in sorted([*home.glob("*.ipynb"), *home.glob("*.py")]):
        if source.name == "__init__.py":
            continue
        data = source.read_bytes()
        ours = hashlib.sha256(data).hexdigest()
        target = folder / source.name
        theirs = hashlib.sha256(target.read_bytes()).hexdigest() if target.is_file() else None
        if theirs is None or (theirs != ours and theirs == delivered.get(source.name)):
            files.write(target, lambda file, data=data: file.write(data), overwrite=True)  # type: ignore[misc]
            told.append(f"{target.name}: {'copied' if theirs is None else 'renewed'}")
        elif theirs != ours and delivered.get(source.name) != ours:
            beside = _new_name(target, data)
            if beside is not None:
                files.write(beside, lambda file, data=data: file.write(data))  # type: ignore[misc]
                told.append(f"{target.name}: yours is kept, the new version is {beside.name}")
        delivered[source.name] = ours
    text = json.dumps(delivered, indent=1)
    files.write(manifest, lambda file: file.write(text.encode()), overwrite=True)
    return told


def _new_name(target: Path, data: bytes) -> Path | None:
    """The first free ``NAME.new.ipynb``, ``NAME.new2.ipynb``, ...; None if one of them holds this version already."""
    for number in range(1, 1000):
        beside = target.with_name(f"{target.stem}.new{number if number > 1 else ''}{target.suffix}")
        if not beside.exists():
            return beside
        if beside.read_bytes() == data:
            return None
    return None


def _page_of_the_hub(path: Path) -> str:
    """Where the running server of a JupyterHub shows a lab: a second server would be out of the browser's reach."""
    from sepviz.core import SepvizError

    root = Path(os.environ.get("JUPYTER_SERVER_ROOT") or Path.home()).resolve()
    place = path.resolve()
    if not place.is_relative_to(root):
        raise SepvizError(f"--folder {path.parent}: the JupyterLab of this JupyterHub shows {root} alone, give a folder in there")
    return os.environ["JUPYTERHUB_SERVICE_PREFIX"].rstrip("/") + "/lab/tree/" + quote(place.relative_to(root).as_posix())
