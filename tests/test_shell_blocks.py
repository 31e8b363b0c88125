"""Shell blocks of the documentation run as they stand.

The ``bash`` blocks of one page are one script, in an empty directory of its own. A reader starts ``archetype serve`` in
another terminal; here it runs in the background, on a free port, until the script ends. Blocks that are not to be run
are ``sh``.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from members import ROOT
from page import program

pytestmark = pytest.mark.thorough
PAGES = ("README.md", "docs/cli.md", "docs/server.md")
_BEGIN = """set -euo pipefail
archetype() {
    if [ "${1-}" != serve ]; then command archetype "$@"; return; fi
    command archetype "$@" 2>serve.log &
    server=$!
    until grep -q 'ready on' serve.log; do kill -0 $server || { cat serve.log >&2; return 1; }; sleep 0.1; done
}
trap 'if [ -n "${server-}" ]; then kill $server; wait $server; fi' EXIT
"""


def run(text: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Run the shell blocks of a page in a directory."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ARCHETYPE_")}
    own = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "ARCHETYPE_PORT": port,
        "XDG_STATE_HOME": str(directory / ".state"),
        "XDG_CONFIG_HOME": str(directory / ".config"),
    }
    script = _BEGIN + program(text, "bash").replace("localhost:8000", f"localhost:{port}")
    return subprocess.run(
        ["bash", "-c", script],
        cwd=directory,
        env={**kept, **own},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.parametrize("name", PAGES)
def test_shell_blocks_run(name: str, tmp_path: Path) -> None:
    """Every line of the page's shell blocks ends without an error."""
    text = (ROOT / name).read_text()
    assert program(text, "bash").strip(), f"{name} has no shell block that runs"
    if name == "README.md":
        (tmp_path / "ball.py").write_text(program(text))
    done = run(text, tmp_path)
    assert done.returncode == 0, f"{name}\n{done.stdout}{done.stderr}"
    assert "Traceback" not in done.stderr


def test_commands_of_a_new_project_run(tmp_path: Path) -> None:
    """The README of a new project is true: its commands run there, its tests too, and a server runs its world on."""
    assert run("```bash\narchetype init new\n```\n", tmp_path).returncode == 0
    done = run((tmp_path / "new" / "README.md").read_text(), tmp_path / "new")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout
    assert "final_tick  39" in done.stdout
    # The server has given the script's world its processors: the first ball flew on, by one in each tick.
    assert "39.0" in done.stdout


def test_a_line_that_fails_is_found(tmp_path: Path) -> None:
    """A command that fails ends the script with its code."""
    assert run("```bash\narchetype qery\ntrue\n```\n", tmp_path).returncode == 2
