"""The workspace's members, read from their own metadata."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Project:
    """One directory with a pyproject.toml: a member, or a stranger that uses members."""

    path: Path

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """The parsed pyproject.toml."""
        return tomllib.loads((self.path / "pyproject.toml").read_text())

    @property
    def name(self) -> NormalizedName:
        """The normalized name of the distribution."""
        return canonicalize_name(self.metadata["project"]["name"])

    @property
    def import_root(self) -> str:
        """The one top-level package that the distribution owns."""
        roots = [init.parent.name for init in sorted(self.path.glob("src/*/__init__.py"))]
        if len(roots) != 1:
            raise SystemExit(f"{self.path}: src/ must hold exactly one package, it holds {roots or 'none'}")
        return roots[0]

    @property
    def source(self) -> Path:
        """The directory of that package."""
        return self.path / "src" / self.import_root

    @property
    def tests(self) -> Path | None:
        """The directory of the project's own tests, if it has any."""
        tests = self.path / "tests"
        return tests if any(tests.rglob("test_*.py")) else None

    @property
    def extras(self) -> dict[str, list[str]]:
        """What it may use as well, by extra."""
        return dict(self.metadata["project"].get("optional-dependencies", {}))

    def requirements(self, extras: Iterable[str] = ()) -> list[Requirement]:
        """What it declares to need at run time, with some of its extras."""
        lines = list(self.metadata["project"].get("dependencies", []))
        lines += [line for extra in extras for line in self.extras[extra]]
        return [Requirement(line) for line in lines]

    def test_requirements(self) -> list[str]:
        """What its own tests need on top: its ``test`` dependency group."""
        return list(self.metadata.get("dependency-groups", {}).get("test", []))


def members() -> list[Project]:
    """Every member that exists, by the globs of the root pyproject.toml."""
    globs = Project(ROOT).metadata["tool"]["uv"]["workspace"]["members"]
    found = {path.parent for glob in globs for path in ROOT.glob(f"{glob}/pyproject.toml")}
    return [Project(path) for path in sorted(found)]


def closure(requirements: list[Requirement]) -> list[Project]:
    """The members among some requirements, and the members that those need in turn."""
    by_name = {member.name: member for member in members()}
    found: dict[str, Project] = {}
    todo = list(requirements)
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        if name in by_name and name not in found:
            found[name] = by_name[name]
            todo += by_name[name].requirements(requirement.extras)
    return [found[name] for name in sorted(found)]
