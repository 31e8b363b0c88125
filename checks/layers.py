"""The direction of imports and of declared dependencies, from the table in the root pyproject.toml."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from packaging.utils import canonicalize_name

from members import ROOT, Project, members


def undeclared(found: list[Project], table: dict[str, list[str]]) -> list[str]:
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


def contracts(roots: list[str], table: dict[str, list[str]]) -> str:
    """The table as import-linter's configuration, for the import roots that exist."""
    blocks = ["[importlinter]", "root_packages =", *(f"    {root}" for root in roots)]
    for root in roots:
        others = [other for other in roots if other != root and other not in table[root]]
        if others:
            blocks += [
                f"[importlinter:contract:{root}]",
                f"name = {root} reaches {', '.join(table[root]) or 'no other'}",
            ]
            blocks += ["type = forbidden", "source_modules =", f"    {root}"]
            blocks += ["forbidden_modules =", *(f"    {other}" for other in others)]
    return "\n".join(blocks) + "\n"


def lint(config: Path, sources: list[Path]) -> int:
    """Run import-linter on the packages of some source directories; 0 if every contract is kept."""
    linter = Path(sys.executable).parent / "lint-imports"
    path = os.pathsep.join(map(str, sources))
    command: list[str | Path] = [linter, "--config", config, "--no-cache"]
    return subprocess.run(command, check=False, cwd=config.parent, env={**os.environ, "PYTHONPATH": path}).returncode


def main() -> int:
    """Print what breaks the direction; not 0 if anything does."""
    table = Project(ROOT).metadata["tool"]["archetype"]["layers"]
    found = members()
    if lines := undeclared(found, table):
        print("\n".join(lines))
        return 1
    roots = sorted(member.import_root for member in found)
    if len(roots) == 1:
        print(f"layers: {roots[0]} is the only member, nothing to compare")
        return 0
    config = ROOT / "build" / "importlinter.ini"
    config.parent.mkdir(exist_ok=True)
    config.write_text(contracts(roots, table))
    return lint(config, [member.path / "src" for member in found])


if __name__ == "__main__":
    sys.exit(main())
