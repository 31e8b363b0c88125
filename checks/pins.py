"""Exact pins without a tracked uv.lock.

``check`` fails when what uv resolves differs from requirements.lock in a version or a hash. ``refresh`` writes the pins
of pyproject.toml and requirements.lock anew; it keeps every version it can, arguments such as ``--upgrade`` go to uv.
Standard library only, so that it runs when the environment itself cannot be resolved.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

UV = os.environ.get("UV", "uv")
HEADER = "# Written by `nox -s lock`. Every dependency, transitive ones too, with the hashes of its files.\n"

PIN_LINE = re.compile(r"^(?P<pin>[\w.-]+==[^\s;\\]+)(?:\s*;\s*(?P<marker>[^\\]+?))?\s*\\?$")
HASH_LINE = re.compile(r"--hash=(sha256:[0-9a-f]{64})")


def uv(root: Path, *arguments: str) -> str:
    """Output of a uv command in ``root``; its complaint goes to the terminal."""
    run = subprocess.run([UV, *arguments, "--quiet"], cwd=root, check=True, stdout=subprocess.PIPE, text=True)
    return run.stdout


def export(root: Path, *groups: str) -> str:
    """The resolved set of uv.lock as requirement lines with hashes, without addresses."""
    only = [f"--only-group={group}" for group in groups] or ["--all-packages", "--all-groups", "--all-extras"]
    return uv(root, "export", "--frozen", *only, "--no-emit-workspace", "--no-header", "--no-annotate")


def parse(text: str) -> dict[str, tuple[str, frozenset[str]]]:
    """Requirement lines as ``name==version`` → (marker, hashes)."""
    found: dict[str, tuple[str, frozenset[str]]] = {}
    pin = ""
    for line in text.splitlines():
        if match := PIN_LINE.match(line):
            pin = match["pin"]
            found[pin] = (match["marker"] or "", frozenset())
        elif hashed := HASH_LINE.search(line):
            marker, hashes = found[pin]
            found[pin] = (marker, hashes | {hashed[1]})
        elif line.strip() and not line.startswith("#"):
            raise SystemExit(f"requirements: cannot read {line!r}")
    return found


def constraints(text: str) -> list[str]:
    """Requirement lines as constraints; a marker stays only where one name has several versions."""
    pins = parse(text)
    names = [pin.split("==")[0] for pin in pins]
    return [
        f"{pin} ; {marker}" if marker and names.count(pin.split("==")[0]) > 1 else pin
        for pin, (marker, _) in pins.items()
    ]


def differences(resolved: str, recorded: str, pinned: list[str]) -> list[str]:
    """What differs between the resolved set, requirements.lock and the pins of pyproject.toml, a line each."""
    is_now, was = parse(resolved), parse(recorded)
    lines = [f"{pin}: resolved, but not in requirements.lock" for pin in sorted(is_now.keys() - was.keys())]
    lines += [f"{pin}: in requirements.lock, but not resolved" for pin in sorted(was.keys() - is_now.keys())]
    for pin in sorted(is_now.keys() & was.keys()):
        new, gone = is_now[pin][1] - was[pin][1], was[pin][1] - is_now[pin][1]
        if new or gone:
            lines.append(f"{pin}: {len(new)} hashes that requirements.lock does not know, {len(gone)} it misses")
    if sorted(pinned) != sorted(constraints(recorded)):
        odd = set(pinned) ^ set(constraints(recorded))
        lines.append(f"pyproject.toml and requirements.lock pin differently: {', '.join(sorted(odd))}")
    return lines


def check(root: Path) -> int:
    """Compare; 1 and a line for each difference if there are any."""
    uv(root, "lock")
    pinned = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["uv"]["constraint-dependencies"]
    found = differences(export(root), (root / "requirements.lock").read_text(), pinned)
    if found:
        print("\n".join(found))
        print("the pins do not describe what is resolved: run `uv run --no-sync nox -s lock` and read its diff")
        return 1
    print(f"pins: {len(pinned)} versions and their hashes are what uv resolves")
    return 0


def write_pins(pyproject: Path, key: str, pins: list[str]) -> None:
    """Replace one list of pins in pyproject.toml."""
    block = "".join(f'    "{pin}",\n' for pin in pins)
    text, count = re.subn(
        rf"^{key} = \[(?:\]|.*?^\])$",
        f"{key} = [\n{block}]" if pins else f"{key} = []",
        pyproject.read_text(),
        flags=re.MULTILINE | re.DOTALL,
    )
    if count != 1:
        raise SystemExit(f"{pyproject} has {count} lists named {key}, expected one")
    pyproject.write_text(text)


def refresh(root: Path, *arguments: str) -> int:
    """Resolve without pins, keeping known versions unless ``arguments`` say otherwise, and write the pins."""
    pyproject = root / "pyproject.toml"
    before = pyproject.read_text()
    if not (root / "uv.lock").exists() and tomllib.loads(before)["tool"]["uv"]["constraint-dependencies"]:
        uv(root, "lock")  # so that there are known versions to keep
    try:
        write_pins(pyproject, "constraint-dependencies", [])
        write_pins(pyproject, "build-constraint-dependencies", [])
        uv(root, "lock", *arguments)
        everything = export(root)
        write_pins(pyproject, "constraint-dependencies", constraints(everything))
        write_pins(pyproject, "build-constraint-dependencies", constraints(export(root, "build")))
        uv(root, "lock")
    except BaseException:
        pyproject.write_text(before)
        raise
    (root / "requirements.lock").write_text(HEADER + export(root))
    return check(root)


if __name__ == "__main__":
    top = Path(__file__).resolve().parent.parent
    sys.exit(check(top) if sys.argv[1] == "check" else refresh(top, *sys.argv[2:]))
