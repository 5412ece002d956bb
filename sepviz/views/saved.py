"""Notebooks that anybody saved: read, and their fields checked before they are used."""

from __future__ import annotations

import base64
import json
import math
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sepviz.core import SepvizError

if TYPE_CHECKING:
    from nbformat import NotebookNode

STATE = "application/vnd.jupyter.widget-state+json"
SHOWN = "application/vnd.jupyter.widget-view+json"
ENCODINGS = {"base64": lambda text: base64.b64decode(text, validate=True), "hex": bytes.fromhex}


class NotRun(SepvizError):
    """A notebook whose outputs, or the states of whose widgets, are not in the file."""


def read(path: Path) -> NotebookNode:
    """A notebook of any format version as one of version 4 that keeps its schema.

    Raises
    ------
    SepvizError
        If the file cannot be read or is no notebook.
    """
    import nbformat
    from nbformat.validator import normalize

    try:
        # NaN and infinity are no JSON for a browser, and half a surrogate pair is no text.
        data = json.loads(path.read_bytes().decode("utf-8-sig"), parse_float=_finite,
                          parse_constant=lambda _: None)
        text = json.dumps(data, ensure_ascii=False).encode("utf-8", "replace").decode()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about ids that older notebooks do not have
            notebook = nbformat.convert(nbformat.reader.reads(text), 4)
            notebook = normalize(notebook)[1]
            nbformat.validate(notebook)
        return notebook
    except OSError as error:
        raise SepvizError(f"cannot read {path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        reason = f"byte {error.start} is not UTF-8"
    except Exception as error:  # nbformat's own, json's, AttributeError, RecursionError, ...
        reason = first_line(error, 120)
    raise SepvizError(f"{path} is damaged or no notebook ({reason}): save it again with Jupyter")


def first_line(error: Exception, most: int) -> str:
    """What an error of another library says, short enough for one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:most]


def _finite(word: str) -> float | None:
    number = float(word)
    return number if math.isfinite(number) else None


def models(notebook: NotebookNode) -> dict[str, Any]:
    """Take the saved widgets out of a notebook, by id."""
    found: Any = notebook.metadata.pop("widgets", None)
    for key in (STATE, "state"):
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def widget(found: dict[str, Any], name: str, path: Path) -> tuple[str, dict[str, Any]]:
    """The kind and the state of one widget, its bytes in place.

    Raises
    ------
    NotRun
        If it was not saved whole.
    """
    try:
        kind, state = found[name]["model_name"], json.loads(json.dumps(found[name]["state"]))
        if not isinstance(kind, str) or not isinstance(state, dict):
            raise TypeError("no model_name and state")
        for buffer in found[name].get("buffers") or []:
            encoding = "base64" if buffer["encoding"] == "base64" else "hex"
            *way, last = buffer["path"]
            place = state
            for key in way:
                place = place[key]
            place[last] = ENCODINGS[encoding](buffer["data"])
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise NotRun(f"{path}: the saved state of widget {name!r:.60} is damaged "
                     f"({first_line(error, 80)}): run the notebook again") from None
    return kind, state


def was_run(notebook: NotebookNode) -> bool:
    """Whether more was run than the cells whose text is tested, which is all that is shipped."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    free = [cell for cell in code if not cell.source.startswith("# NBVAL_CHECK_OUTPUT")]
    return not code or any(cell.execution_count or cell.outputs for cell in free or code)


def is_shipped(path: Path) -> bool:
    """Whether a notebook is one of this package's labs."""
    return (path.parent / "start_here.ipynb").is_file()
