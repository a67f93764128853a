"""Modules import from rows above them, or from modules to their left in their own row; never in a circle."""

from __future__ import annotations

import ast
import graphlib
from pathlib import Path

import pytest

import tinygraph

ROOT = Path(tinygraph.__file__).parent

# From top to bottom; inside a row from left to right. A folder stands for all its modules unless they are listed.
ROWS = [
    ["errors"],
    ["core.memory", "core.foreign", "core.array", "core.scope", "core.held", "core.node", "core.tensor", "core.convert", "core.primitive", "core.graph", "core.autodiff"],
    ["ops.elementwise", "ops.reduction", "ops.movement", "ops.windows", "ops.contraction", "ops.indexing", "ops.random", "ops"],
    ["functional", "transforms", "fused", "numpy_functions", "protocols", "dlpack", "array_api"],
    ["compiler", "lower", "picture", "testing"],
    ["distributed"],
    ["nn", "optim", "data", "checkpoint", "train"],
    ["cli", "__main__"],
]  # fmt: skip
FREE = {"", "core"}  # the package's own face, and a docstring


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def place_of(name: str) -> tuple[int, int]:
    """(row, column), by the longest entry that the module lies in."""
    found = [(row, col, entry) for row, entries in enumerate(ROWS) for col, entry in enumerate(entries)
             if name == entry or name.startswith(entry + ".")]  # fmt: skip
    assert found, f"{name} has no place in the table of layers"
    row, column, _ = max(found, key=lambda item: len(item[2]))
    return row, column


MODULES = {name_of(path): path for path in sorted(ROOT.rglob("*.py"))}


def imports_of(name: str) -> set[str]:
    """The modules of the package that a module names in an import, wherever it stands in the file."""
    path = MODULES[name]
    package = name.split(".") if path.stem == "__init__" else name.split(".")[:-1]
    package = [part for part in package if part]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            if node.level:
                base = [*package[: len(package) - node.level + 1], *(node.module or "").split(".")]
            elif node.module and node.module.split(".")[0] == "tinygraph":
                base = node.module.split(".")[1:]
            else:
                continue
            base = [part for part in base if part]
            for alias in node.names:
                deeper = ".".join([*base, alias.name])
                found.add(deeper if deeper in MODULES else ".".join(base))
        elif isinstance(node, ast.Import):
            found.update(
                a.name.removeprefix("tinygraph").lstrip(".") for a in node.names if a.name.split(".")[0] == "tinygraph"
            )
    return found - {name}


@pytest.mark.parametrize("name", sorted(set(MODULES) - FREE))
def test_a_module_imports_only_from_above_or_from_its_left(name):
    row, column = place_of(name)
    for target in imports_of(name) - FREE:
        other_row, other_column = place_of(target)
        assert (other_row, other_column) <= (row, column), f"{name} imports {target}, which lies below it"


def test_there_is_no_import_cycle():
    dependencies = {name: imports_of(name) - FREE for name in set(MODULES) - FREE}
    graphlib.TopologicalSorter(dependencies).prepare()  # raises CycleError, which names the circle


def test_no_module_is_long():
    lengths = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in MODULES.items()}
    assert {name: n for name, n in lengths.items() if n > 430} == {}


def test_the_top_level_of_the_repository_is_as_agreed():
    top = {
        p.name
        for p in ROOT.parent.iterdir()
        if not p.name.startswith(".") and p.name not in ("out", "build", "dist", "htmlcov")
    }
    assert {n for n in top if not n.endswith(".egg-info")} <= {
        "LICENSE", "README.md", "docs", "examples", "pyproject.toml", "tests", "tinygraph",
    }  # fmt: skip
