"""The order of the rooms, and their size: what a module may import is told from its path."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "sepviz"
# A room imports only rooms before it, anywhere in its source: within functions and for types, too.
ROOMS = ("core", "suggest", "data", "files", "tasks", "metrics", "priors", "separators", "zoo",
         "runs", "training", "views", "widgets", "bench", "course", "cli")
COLUMNS, LINES = 100, 300
MODULES = sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


KNOWN = {name_of(path): path for path in MODULES}


def imports(path: Path) -> set[str]:
    """The modules of this package that a module imports, lazily or not."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}, line {node.lineno}: imports are absolute"
            full = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in KNOWN else str(node.module) for name in full}
    return {name for name in found if name in KNOWN} - {"sepviz", name_of(path)}


def room(name: str) -> str:
    return name.split(".")[1]


def test_every_room_has_its_place():
    assert {room(name) for name in KNOWN if name not in ("sepviz", "sepviz.__main__")} == set(ROOMS)


@pytest.mark.parametrize("path", [path for path in MODULES if path.parent != PACKAGE
                                  or path.stem in ROOMS], ids=name_of)
def test_imports_come_from_rooms_before(path):
    here = ROOMS.index(room(name_of(path)))
    late = {name for name in imports(path) if ROOMS.index(room(name)) > here}
    assert not late, f"{name_of(path)} imports {', '.join(sorted(late))}"


def test_no_circle_within_a_room():
    edges = {name: imports(path) for name, path in KNOWN.items() if name != "sepviz"}
    packages = {name for name in edges  # they only export
                if any(other.startswith(f"{name}.") for other in edges)}
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join([*way[way.index(name):], name])
        if name not in done:
            for other in edges[name] - packages:
                visit(other, (*way, name))
            done.add(name)

    for name in sorted(set(edges) - packages):
        visit(name, ())


def test_files_fit_a_reader():
    """Python files have at most `LINES` lines; lines of Python, JavaScript and CSS, `COLUMNS`."""
    sources = [path for path in PACKAGE.rglob("*.*") if path.suffix in (".py", ".js", ".css")]
    assert {path.suffix for path in sources} == {".py", ".js", ".css"}
    long = []
    for path in sources:
        lines, name = path.read_text(encoding="utf-8").splitlines(), path.relative_to(PACKAGE)
        long += [f"{name}, line {number}: {len(line)} columns"
                 for number, line in enumerate(lines, 1) if len(line) > COLUMNS]
        long += [f"{name}: {len(lines)} lines"] * (path.suffix == ".py" and len(lines) > LINES)
    assert not long, "\n".join(long)
