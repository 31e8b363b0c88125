"""``docs/architecture.md`` names files and definitions that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NAME = re.compile(r"`(?P<file>archetype\w*/[\w/]+\.py)(?::(?P<name>[\w.]+))?`")
SOURCES = [*ROOT.glob("packages/*/src"), *ROOT.glob("contracts/src")]
NAMED = sorted({(one["file"], one["name"] or "") for one in NAME.finditer((ROOT / "docs/architecture.md").read_text())})


def definitions(path: Path) -> set[str]:
    """The classes, functions and methods of a module, by dotted name."""
    found: set[str] = set()
    waiting: list[tuple[str, ast.AST]] = [("", ast.parse(path.read_text()))]
    while waiting:
        prefix, node = waiting.pop()
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                found.add(prefix + child.name)
                waiting.append((f"{prefix}{child.name}.", child))
    return found


@pytest.mark.parametrize(("file", "name"), NAMED, ids=[f"{file}:{name}" for file, name in NAMED])
def test_name_exists(file: str, name: str) -> None:
    """A file on the page is in one package, and defines the name that stands behind it."""
    paths = [source / file for source in SOURCES if (source / file).is_file()]
    assert len(paths) == 1
    assert not name or name in definitions(paths[0])
