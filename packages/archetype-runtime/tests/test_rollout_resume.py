"""A named rollout whose process is killed goes on where it was."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rollout_child import SEEDS, STEPS

pytestmark = pytest.mark.thorough


def played(directory: Path, parallel: int, moment: str = "never") -> tuple[Any, list[int]]:
    """Run the program until its end or its death; return what it printed, if it lived, and the seeds of its ticks."""
    ticks = directory / "ticks"
    ticks.parent.mkdir(exist_ok=True)
    ticks.write_text("")
    program = Path(__file__).with_name("rollout_child.py")
    command = [sys.executable, str(program), str(directory), str(parallel), moment]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    assert (done.returncode == 0) == (moment == "never"), f"it did not come to {moment}"
    return json.loads(done.stdout) if done.returncode == 0 else None, [int(one) for one in ticks.read_text().split()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What a rollout gives that nobody kills."""
    found, seeds = played(tmp_path_factory.mktemp("whole"), 1)
    assert seeds == [seed for seed in SEEDS for _ in range(STEPS)]
    assert found["worlds"] == ["base"]
    return found


def test_a_killed_rollout_goes_on(tmp_path: Path, whole: Any) -> None:
    """Killed at several moments in turn, it runs no finished episode again, and gives what an unbroken one gives (R2)."""
    kills = [
        ("tick:10:1", [10]),
        ("tick:11:2", [10, 10, 10, 11, 11]),
        ("score:11", [11, 11, 11]),
        # Its result is on disk, so it is finished.
        ("end:base-ep1", [11, 11, 11]),
        ("tick:13:3", [12, 12, 12, 13, 13, 13]),
    ]
    for moment, expected in kills:
        assert played(tmp_path, 1, moment) == (None, expected)
    assert played(tmp_path, 1) == (whole, [13, 13, 13])
    assert played(tmp_path, 1) == (whole, [])


def test_a_killed_parallel_rollout_goes_on(tmp_path: Path, whole: Any) -> None:
    """So does a parallel one, of which several episodes were under way (R2)."""
    finished: set[int] = set()
    # The episode of seed 12 is never finished before the last call; the others may be.
    for moment in ("score:12", "tick:12:1", "never"):
        found, seeds = played(tmp_path, 2, moment)
        assert not finished & set(seeds)
        finished = stored(tmp_path)
    assert found == whole
    assert finished == set(SEEDS)


def stored(directory: Path) -> set[int]:
    """Return the seeds of the episodes whose results are on disk."""
    (path,) = directory.glob("**/ledger.sqlite")
    connection = sqlite3.connect(path)
    try:
        rows = connection.execute("SELECT episode FROM episodes WHERE result IS NOT NULL").fetchall()
    finally:
        connection.close()
    return {SEEDS[one] for (one,) in rows}
