"""The direction of imports and of declared dependencies, from the tables in the root pyproject.toml.

Imports inside functions and under ``TYPE_CHECKING`` count. Every line says who imports what, and what to write instead.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from grimp import ImportGraph, build_graph
from packaging.utils import canonicalize_name

from foreign_import import ForeignImport, foreign_imports
from members import ROOT, Project, members

Table = Mapping[str, Sequence[str]]
# Rooms from the highest to the lowest; those of one level may import one another.
Levels = Sequence[Sequence[str]]


def undeclared(found: list[Project], table: Table) -> list[str]:
    """Members outside the table, and dependencies between members that the table does not allow, a line each."""
    roots = {member.name: member.import_root for member in found}
    lines = [f"{root}: not in [tool.archetype.layers]" for root in roots.values() if root not in table]
    for member in found:
        needs = {canonicalize_name(requirement.name) for requirement in member.requirements(member.extras)}
        allowed = table.get(member.import_root, [])
        lines += [
            f"{member.name}: declares {name}, but {member.import_root} may not reach {roots[name]}"
            for name in sorted(needs & roots.keys())
            if roots[name] not in allowed
        ]
    return lines


def open_ended(table: Table) -> list[str]:
    """Roots that reach another one only through a third, a line each: what is reached indirectly is listed as well."""
    return [
        f"[tool.archetype.layers]: {root} reaches {far} through {near}; list {far} too, or take {near} away"
        for root, reached in table.items()
        for near in reached
        for far in table.get(near, ())
        if far not in reached
    ]


class Graph:
    """The imports among the modules of some packages, with the place of each."""

    def __init__(self, sources: Mapping[str, Path], base: Path = ROOT) -> None:
        """Read packages by import root, each from the directory that holds it."""
        path = list(sys.path)
        sys.path[:0] = [str(directory) for directory in sources.values()]
        try:
            self._graph: ImportGraph = build_graph(*sources, cache_dir=None)
        finally:
            sys.path[:] = path
        self._sources, self._base = sources, base

    @property
    def modules(self) -> list[str]:
        """Every module, in order."""
        return sorted(self._graph.modules)

    @property
    def imports(self) -> Iterator[tuple[str, str]]:
        """Every pair of a module and one that it imports, in order."""
        return ((module, other) for module in self.modules for other in self.of(module))

    def of(self, module: str) -> list[str]:
        """What a module imports, in order."""
        return sorted(self._graph.find_modules_directly_imported_by(module))

    def line(self, importer: str, imported: str) -> str:
        """The place and the text of an import."""
        details = self._graph.get_import_details(importer=importer, imported=imported)[0]
        stem = self._sources[importer.split(".", maxsplit=1)[0]].joinpath(*importer.split("."))
        file = stem / "__init__.py" if stem.is_dir() else stem.with_suffix(".py")
        return f"{file.relative_to(self._base)}:{details['line_number']}: {details['line_contents']}"

    def cycles(self) -> list[list[str]]:
        """The shortest cycle of each set of modules that import one another, directly or through others."""
        found: list[list[str]] = []
        seen: set[str] = set()
        for module in self.modules:
            if module in seen:
                continue
            component = self._graph.find_upstream_modules(module) & self._graph.find_downstream_modules(module)
            if component:
                seen |= component | {module}
                found.append(min(map(self._back, sorted(component | {module})), key=len))
        return found

    def _back(self, module: str) -> list[str]:
        """The shortest chain of imports from a module back to itself."""
        chains = (self._graph.find_shortest_chain(importer=other, imported=module) for other in self.of(module))
        return [module, *min((chain for chain in chains if chain), key=len)]


def across(graph: Graph, table: Table) -> list[str]:
    """Imports of a root that the table does not allow, a line each."""
    lines: list[str] = []
    for importer, imported in graph.imports:
        root, other = importer.split(".")[0], imported.split(".")[0]
        if other != root and other not in table[root]:
            allowed = ", ".join(table[root]) or "no other package of ours"
            lines.append(
                f"{graph.line(importer, imported)}: {root} may not import {other}; it may import {allowed}."
                f" Move the code to where both reach it, or find it through a port or an entry point"
            )
    return lines


def between(graph: Graph, root: str, levels: Levels) -> list[str]:
    """Imports from a room of a package up to a higher one, and rooms that have no level, a line each."""
    level = {room: depth for depth, rooms in enumerate(levels) for room in rooms}
    within = [module for module in graph.modules if module.startswith(f"{root}.")]
    lines = [
        f"{module}: has no level in [tool.archetype.levels] {root}; add it"
        for module in within
        if module.count(".") == 1 and module.split(".")[1] not in level
    ]
    for importer, imported in graph.imports:
        if not importer.startswith(f"{root}.") or imported.split(".")[0] != root:
            continue
        here = importer.split(".")[1]
        if imported == root:
            lines.append(f"{graph.line(importer, imported)}: imports the package itself; import from one of its rooms")
            continue
        there = imported.split(".")[1]
        if here in level and there in level and level[there] < level[here]:
            lines.append(
                f"{graph.line(importer, imported)}: {here} is below {there} and may not import it;"
                f" move what {here} needs down to {here} or lower, or let {there} pass it in"
            )
    return lines


def cycles(graph: Graph) -> list[str]:
    """A block of lines for each cycle of imports."""
    return [
        "\n    ".join(
            [
                f"import cycle {' -> '.join(cycle)}: move what they share into a module that imports neither",
                *(graph.line(*pair) for pair in pairwise(cycle)),
            ]
        )
        for cycle in graph.cycles()
    ]


def inside(found: Iterable[ForeignImport], rooms: Table, white_box: Table) -> list[str]:
    """Imports of a module inside another distribution's room, a line each, except where white-box tests may have them."""
    return [
        one.complaint(rooms)
        for one in found
        if not one.is_room(rooms)
        and not any(one.place.startswith(f"{path}/") and one.root in roots for path, roots in white_box.items())
    ]


def faults(root: Path, found: list[Project], settings: Mapping[str, Any]) -> list[str]:
    """Everything that breaks a rule, a line each."""
    table: Table = settings["layers"]
    if lines := undeclared(found, table) + open_ended(table):
        return lines
    graph = Graph({member.import_root: member.path / "src" for member in found}, root)
    lines = across(graph, table)
    for package, levels in settings["levels"].items():
        lines += between(graph, package, levels)
    return lines + cycles(graph) + inside(foreign_imports(root, found), settings["rooms"], settings["white-box"])


def main() -> int:
    """Print what breaks a rule; 1 if anything does."""
    found = faults(ROOT, members(), Project(ROOT).metadata["tool"]["archetype"])
    print("\n".join(found) or "layers: nothing found")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
