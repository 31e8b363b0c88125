"""Imports of a member's modules by other distributions, tests, benchmarks and the blocks of the documentation."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from members import Project
from page import programs


@dataclass(frozen=True)
class ForeignImport:
    """One import across a border: where it stands, its text, and the module and names that it takes."""

    place: str
    text: str
    module: str
    names: tuple[str, ...]
    owner: Project

    @property
    def root(self) -> str:
        """The import root of the package that is imported from."""
        return self.module.split(".")[0]

    def is_room(self, rooms: Mapping[str, Sequence[str]]) -> bool:
        """Whether the module is the root of its package or one of its rooms."""
        return self.module == self.root or self.module.removeprefix(f"{self.root}.") in rooms.get(self.root, ())

    def complaint(self, rooms: Mapping[str, Sequence[str]]) -> str:
        """What is wrong, and what to write instead."""
        inner = self.module.split(".")
        around = [".".join(inner[:count]) for count in range(len(inner) - 1, 0, -1)]
        listed = {self.root, *(f"{self.root}.{room}" for room in rooms.get(self.root, ()))}
        room = next(name for name in around if name in listed)
        advice = f"write `from {room} import {', '.join(self.names) or '…'}`"
        if missing := [name for name in self.names if name not in exports(self.owner, room)]:
            advice += f" and export {', '.join(missing)} there, or test it in {self.owner.name}'s own tests"
        return f"{self.place}: `{self.text}`: {self.module} is a module inside {room}; {advice}"


@cache
def exports(owner: Project, module: str) -> frozenset[str]:
    """The names in ``__all__`` of a module of a member, without importing it."""
    stem = owner.path.joinpath("src", *module.split("."))
    file = stem / "__init__.py" if stem.is_dir() else stem.with_suffix(".py")
    for node in ast.parse(file.read_text()).body if file.exists() else ():
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            return frozenset(ast.literal_eval(node.value))
    return frozenset()


class Finder:
    """Finds the imports of members' modules in a source text."""

    def __init__(self, found: Sequence[Project]) -> None:
        self._owners = {member.import_root: member for member in found}

    @cached_property
    def _modules(self) -> set[str]:
        """Every module of every member."""
        return {
            ".".join(path.relative_to(member.path / "src").with_suffix("").parts).removesuffix(".__init__")
            for member in self._owners.values()
            for path in member.source.rglob("*.py")
        }

    def __call__(self, name: str, text: str, owner: Project | None) -> Iterator[ForeignImport]:
        """Every import in a text that crosses the border of its owner; the text may belong to no member."""
        own = owner.import_root if owner else None
        for node in ast.walk(ast.parse(text, filename=name)):
            if not isinstance(node, ast.Import | ast.ImportFrom):
                continue
            for module, names in self._taken(node):
                if (root := module.split(".")[0]) in self._owners and root != own:
                    place = f"{name}:{node.lineno}"
                    yield ForeignImport(place, ast.unparse(node), module, names, self._owners[root])

    def _taken(self, node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, tuple[str, ...]]]:
        """The modules that a statement imports, each with the names that it takes from them."""
        if isinstance(node, ast.Import):
            yield from ((alias.name, ()) for alias in node.names)
        elif node.level == 0 and node.module:
            taken = [alias.name for alias in node.names]
            # A package may export a name that one of its modules has as well.
            inner = [name for name in taken if self._is_module(node.module, name)]
            yield from ((f"{node.module}.{name}", ()) for name in inner)
            if names := tuple(name for name in taken if name not in inner):
                yield node.module, names

    def _is_module(self, package: str, name: str) -> bool:
        """Whether a name that is imported from a package is one of its modules."""
        if f"{package}.{name}" not in self._modules:
            return False
        return name not in exports(self._owners[package.split(".", maxsplit=1)[0]], package)


def foreign_imports(root: Path, found: Sequence[Project]) -> Iterator[ForeignImport]:
    """Every import across a border, in members, tests, benchmarks and pages; a member's own tests are within it."""
    finder = Finder(found)
    for member in found:
        for path in sorted(member.path.rglob("*.py")):
            yield from finder(path.relative_to(root).as_posix(), path.read_text(), member)
    for directory in ("tests", "benchmarks"):
        for path in sorted((root / directory).rglob("*.py")):
            yield from finder(path.relative_to(root).as_posix(), path.read_text(), None)
    for page, text in programs(root).items():
        yield from finder(page.relative_to(root).as_posix(), text, None)
