"""One run of mypy over everything: packages, checks, tests, benchmarks and the blocks of the documentation.

The root pyproject.toml says what is strict. One run reads every dependency once, so no two test modules or scripts share a name.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

from members import ROOT, members
from page import programs

BLOCKS = ROOT / "build" / "blocks"
# Namespace of the modules that hold a page's blocks.
PACKAGE = "pages"


def duplicates(directories: list[Path]) -> list[str]:
    """Module names that two directories share, a line each."""
    places: dict[str, list[Path]] = defaultdict(list)
    for directory in directories:
        for path in sorted(directory.glob("*.py")):
            if path.name == "conftest.py":  # pytest finds these by their directory
                continue
            places[path.name].append(path)
    return [
        f"{found[1]}: {found[0]} has this name already; rename one, mypy reads tests and scripts of all packages as one program"
        for name, found in places.items()
        if len(found) > 1
    ]


def write_blocks(target: Path, texts: dict[Path, str], root: Path = ROOT) -> dict[str, str]:
    """Write each page's blocks as a module; returns the page of each module's path, relative to ``root``."""
    shutil.rmtree(target, ignore_errors=True)
    (target / PACKAGE).mkdir(parents=True)
    sources: dict[str, str] = {}
    for page, text in texts.items():
        name = page.relative_to(root).as_posix()
        module = target / PACKAGE / (re.sub(r"\W", "_", name.removesuffix(".md")) + ".py")
        module.write_text(text)
        sources[module.relative_to(root).as_posix()] = name
    return sources


def paged(output: str, sources: dict[str, str]) -> str:
    """The output of mypy with pages in the place of their modules."""
    for module, page in sources.items():
        output = output.replace(f"{module}:", f"{page}:")
    return output


def mypy(
    targets: list[Path], bases: list[Path], *arguments: str, root: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    """Run mypy in ``root``; modules are named from the nearest of ``bases`` that holds them."""
    settings = ("--config-file", str(ROOT / "pyproject.toml"), "--explicit-package-bases")
    command = [sys.executable, "-m", "mypy", *settings, *arguments, *map(str, targets)]
    path = os.pathsep.join(map(str, bases))
    return subprocess.run(
        command, cwd=root, env={**os.environ, "MYPYPATH": path}, capture_output=True, text=True, check=False
    )


def main(*arguments: str) -> int:
    """Check everything; not 0 if something is found. Arguments go to mypy."""
    found = members()
    sources = [member.path / "src" for member in found]
    tests = [member.tests for member in found if member.tests] + [ROOT / "tests" / name for name in ("crash", "door")]
    scripts = [ROOT / "checks", ROOT / "benchmarks"]
    if lines := duplicates([*tests, *scripts]):
        print("\n".join(lines))
        return 1
    pages = write_blocks(BLOCKS, programs())
    targets = [
        *sources,
        *tests,
        *scripts,
        ROOT / "noxfile.py",
        *sorted((ROOT / "tests").glob("*.py")),
        BLOCKS / PACKAGE,
    ]
    # The other side of a comparison imports the public peer, which has our name.
    arguments = ("--exclude=benchmarks/_peer_theirs.py", *arguments)
    done = mypy(targets, [*sources, *tests, *scripts, BLOCKS], *arguments)
    print(paged(done.stdout, pages) + done.stderr, end="")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
