"""Ctrl-C and SIGTERM at any moment: one exit code, no traceback, no half-written file, and a store that is sound.

``ARCHETYPE_INTERRUPTS`` says how many times each command is interrupted.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from cli_scene import console_script, environment, process

pytest_plugins = ["cli_fixtures"]
pytestmark = pytest.mark.thorough

TIMES = int(os.environ.get("ARCHETYPE_INTERRUPTS", "2"))
SIGNALS = (signal.SIGINT, signal.SIGTERM)
COMMANDS = {
    "a simulation": ("demo", "--storage", "town", "--agents", "20", "--days", "10"),
    "a read": ("query", "RACE", "race", "-t", "all", "-w", "spot__x > 1.0", "-o", "rows.json", "--json"),
    "a difference": ("diff", "RACE", "race", "what-if"),
    "help": ("--help",),
}


def begun(running: subprocess.Popen[bytes]) -> bool:
    """Whether the command handles signals; before, Python itself starts. SIGTERM is the first that it takes."""
    try:
        status = Path(f"/proc/{running.pid}/status").read_text()
    except OSError:
        return True
    caught = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(caught >> (signal.SIGTERM - 1) & 1)


def start(words: tuple[str, ...], directory: Path) -> subprocess.Popen[bytes]:
    """Start a command, and return when it handles signals."""
    running = subprocess.Popen(
        [console_script(), *words],
        cwd=directory,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    while not begun(running) and running.poll() is None:
        time.sleep(0.001)
    return running


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to see that the command has begun")
@pytest.mark.parametrize("kind", COMMANDS)
def test_a_signal_at_any_moment(tmp_path: Path, race: Path, kind: str) -> None:
    """The command ends with 130 or 143 unless it was done before, and says at most that it was interrupted."""
    words = tuple(str(race) if word == "RACE" else word for word in COMMANDS[kind])
    with start(words, tmp_path) as whole:
        began = time.monotonic()
        whole.communicate(timeout=120)
        longest = time.monotonic() - began
    assert whole.returncode == 0
    draw = random.Random(kind)
    for turn in range(TIMES):
        number = SIGNALS[turn % 2]
        # A moment in each part of the command's time, so that few are spread as well as many.
        part = (turn // 2 + draw.random()) / ((TIMES + 1 - turn % 2) // 2)
        with start(words, tmp_path) as running:
            time.sleep(part * longest)
            running.send_signal(number)
            _, err = running.communicate(timeout=120)
        said = [line for line in err.decode().splitlines() if line.startswith(("error", "hint", "Traceback"))]
        assert (running.returncode in (0, 128 + number), said) == (True, []), err.decode()
        assert not list(tmp_path.glob(".rows*"))
    if kind == "a simulation":
        verified = process("verify", "town", cwd=tmp_path)
        assert verified.returncode == 0, verified.stdout + verified.stderr
