"""Builds the core and contract wheels and a store from elsewhere, and tests that store with nothing but the wheels.

Exits with a status other than zero if anything cannot be built, installed or tested, or is imported from this tree.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MEMBERS = ("packages/archetype-core", "contracts", "tests/toy_store")
MODULES = ("archetype_core", "archetype_contracts", "toy_archetype_store")
STRICT = ("--strict-markers", "--strict-config", "-W", "error", "-q", "-p", "no:cacheprovider")


def run(*command: str | Path, cwd: Path) -> str:
    """Run a tool with no view of this tree's sources, and return what it printed."""
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    words = [str(part) for part in command]
    done = subprocess.run(words, cwd=cwd, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        print(done.stdout)
        raise SystemExit(f"{' '.join(words)} ended with {done.returncode}")
    return done.stdout


def main() -> None:
    """Build, install, test, and check the report."""
    uv = shutil.which("uv")
    if uv is None:
        raise SystemExit("uv is not installed: it builds the wheels and the environment")
    with tempfile.TemporaryDirectory(prefix="toy-store-") as scratch:
        work = Path(scratch)
        for member in MEMBERS:
            run(uv, "build", "--quiet", "--wheel", "--out-dir", work / "dist", ROOT / member, cwd=ROOT)
        wheels = sorted((work / "dist").glob("*.whl"))
        run(uv, "venv", "--quiet", "--python", sys.executable, work / "venv", cwd=work)
        python = work / "venv" / "bin" / "python"
        run(uv, "pip", "install", "--quiet", "--python", python, *wheels, cwd=ROOT)
        shutil.copytree(ROOT / "tests" / "toy_store" / "tests", work / "tests")
        found = run(
            python, "-c", f"import {', '.join(MODULES)}; print({'.__file__, '.join(MODULES)}.__file__)", cwd=work
        )
        if str(ROOT) in found:
            raise SystemExit(f"a module came from the source tree: {found}")
        print(run(python, "-m", "pytest", *STRICT, "--archetype-report=report.json", "tests", cwd=work))
        (contract,) = json.loads((work / "report.json").read_text())["contracts"]
        if not contract["conforms"]:
            raise SystemExit(f"{contract['adapter']} does not conform")
        print(f"{contract['adapter']} conforms: {sum(c['outcome'] == 'passed' for c in contract['clauses'])} clauses")


if __name__ == "__main__":
    main()
