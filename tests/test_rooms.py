"""The order of the rooms: what a module may import is told from its path."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "sepviz"
# A room imports only rooms before it, anywhere in its source: within functions and for types, too.
ROOMS = ("core", "suggest", "data", "files", "tasks", "metrics", "priors", "separators", "zoo", "runs",
         "training", "views", "widgets", "bench", "course", "cli")
MODULES = sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


KNOWN = {name_of(path): path for path in MODULES}


def imports(path: Path) -> set[str]:
    """The modules of this package that a module imports, lazily or not."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}, line {node.lineno}: imports are absolute"
            found |= {name if (name := f"{node.module}.{alias.name}") in KNOWN else str(node.module) for alias in node.names}
    return {name for name in found if name in KNOWN} - {"sepviz", name_of(path)}


def room(name: str) -> str:
    return name.split(".")[1]


def test_every_room_has_its_place():
    assert {room(name) for name in KNOWN if name not in ("sepviz", "sepviz.__main__")} == set(ROOMS)


@pytest.mark.parametrize("path", [path for path in MODULES if path.parent != PACKAGE or path.stem in ROOMS], ids=name_of)
def test_imports_come_from_rooms_before(path):
    here = ROOMS.index(room(name_of(path)))
    late = {name for name in imports(path) if ROOMS.index(room(name)) > here}
    assert not late, f"{name_of(path)} imports {', '.join(sorted(late))}"


def test_no_circle_within_a_room():
    edges = {name: imports(path) for name, path in KNOWN.items() if name != "sepviz"}
    packages = {name for name in edges if any(other.startswith(f"{name}.") for other in edges)}  # they only export
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join([*way[way.index(name):], name])
        if name not in done:
            for other in edges[name] - packages:
                visit(other, (*way, name))
            done.add(name)

    for name in sorted(set(edges) - packages):
        visit(name, ())
