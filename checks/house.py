"""House rules that no linter knows: module size, foreign addresses, machine paths, the untracked lock."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

MODULE_LINES = 500

# Written in pieces, so that this file keeps its own rule.
REGISTRY = re.compile(
    "|".join(("pypi" + r"\.org", "python" + "hosted", "crates" + r"\.io", "npm" + r"js\.", "deb" + r"ian\.org"))
)
CHECKOUT = re.compile(r"(?:^|[^.\w])/(?:root|work|workspaces?|farm|builds|home/\w+|Users/\w+)/")
# Cargo writes its registry's name into the lock, and refuses one without it.
REGISTRY_EXEMPT = frozenset({"Cargo.lock"})


def git(root: Path, *arguments: str) -> list[str]:
    """Lines of a git command in ``root``."""
    run = subprocess.run(["git", "-C", str(root), *arguments], check=True, capture_output=True, text=True)
    return run.stdout.splitlines()


def violations(root: Path) -> Iterator[str]:
    """One line for each broken rule, over all files that are tracked or about to be."""
    if "uv.lock" in git(root, "ls-files", "--cached"):
        yield "uv.lock: is tracked, but holds registry addresses; the pins are in pyproject.toml"
    for name in git(root, "ls-files", "--cached", "--others", "--exclude-standard"):
        path = root / name
        if not path.is_file():
            continue
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue
        if path.suffix in {".py", ".rs"} and len(lines) > MODULE_LINES:
            yield f"{name}: {len(lines)} lines, over {MODULE_LINES}; one noun per module"
        for number, line in enumerate(lines, start=1):
            if path.name not in REGISTRY_EXEMPT and REGISTRY.search(line):
                yield f"{name}:{number}: names a package registry's host"
            if CHECKOUT.search(line):
                yield f"{name}:{number}: names a path of one machine"


def main(root: Path) -> int:
    """Print the violations; 1 if there are any."""
    found = list(violations(root))
    print("\n".join(found) or "house rules: nothing found")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(Path(__file__).resolve().parent.parent))
