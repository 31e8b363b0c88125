"""The fault shim handles system calls of libc, of machine code without libc, and of started programs."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from archetype_contracts.crash.case import Kind
from archetype_contracts.crash.shim import library

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a library that makes system calls without libc."""
    built = tmp_path_factory.mktemp("bare") / "bare.so"
    compiler = shutil.which(os.environ.get("CC", "cc")) or "gcc"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", built, HERE / "bare.c"], check=True)
    return built


@dataclass
class ShimmedDirectory:
    """A directory with one file, and processes that change it under the shim."""

    bare: Path
    root: Path

    def run(self, what: str, kind: Kind, call: int, error: int = 0) -> subprocess.CompletedProcess[str]:
        """Run a function of ``bare_calls`` in a process with a fault at a call."""
        script = HERE / "bare_calls.py"
        command = [sys.executable, *map(str, (script, self.bare, self.root)), what, kind.value, str(call), str(error)]
        environment = {**os.environ, "LD_PRELOAD": str(library()), "PYTHONPATH": os.pathsep.join(sys.path)}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    def results(self, what: str, kind: Kind = Kind.NOTHING, call: int = 0, error: int = 0) -> dict[str, Any]:
        """Run a function and return what it printed; the process must end normally."""
        done = self.run(what, kind, call, error)
        assert (done.returncode, done.stderr) == (0, "")
        return dict(json.loads(done.stdout))

    def names(self) -> list[str]:
        """The names in the directory."""
        return sorted(path.name for path in self.root.iterdir())


@pytest.fixture
def directory(bare: Path, tmp_path: Path) -> ShimmedDirectory:
    """Return a new directory with the file ``old``."""
    root = tmp_path.resolve() / "root"
    root.mkdir()
    (root / "old").write_bytes(b"old")
    return ShimmedDirectory(bare, root)


def test_every_call_is_seen_once(directory: ShimmedDirectory) -> None:
    """Calls are logged once and in order, whether made directly, by libc or by its ``syscall``."""
    answer = directory.results("every")
    assert answer["results"] == [4, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    assert answer["seen"] == [
        "C a",
        "W a 4 bytes at 0",
        "W a 4 bytes at 4",
        "S a",
        "T a to 2",
        "S a",
        "D d",
        "R a -> d/b",
        "R d/b -> c",
        "L c -> d/c",
        "U c",
        "R d/c -> e",
        "R e -> f",
    ]
    assert answer["count"] == len(answer["seen"])
    assert directory.names() == ["d", "f", "old"]


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
def test_a_bare_call_fails_as_requested(directory: ShimmedDirectory, error: int) -> None:
    """The chosen call fails with the chosen error and changes nothing."""
    answer = directory.results("rename", Kind.FAIL, 1, error)
    assert answer["results"] == [-error, 0, -errno.ENOENT]
    assert answer["seen"] == ["R old -> new1"]
    assert directory.names() == ["new1"]


def test_a_bare_write_is_cut_short(directory: ShimmedDirectory) -> None:
    """A short write writes half, and the log has only that half."""
    answer = directory.results("short", Kind.SHORT, 2)
    assert answer["results"] == [2, 2]
    assert answer["seen"] == ["W old 2 bytes at 0", "W old 2 bytes at 2"]
    assert (directory.root / "old").read_bytes() == b"four"


@pytest.mark.parametrize(("kind", "left"), [(Kind.KILL_BEFORE, "old"), (Kind.KILL_AFTER, "new0")])
def test_a_bare_call_kills(directory: ShimmedDirectory, kind: Kind, left: str) -> None:
    """A kill happens before the chosen call, or right after it."""
    assert directory.run("rename", kind, 1).returncode == -signal.SIGKILL
    assert directory.names() == [left]


def test_blocked_signals_do_no_harm(directory: ShimmedDirectory) -> None:
    """Calls of a thread that blocks all signals are logged too."""
    assert directory.results("blocked")["seen"] == ["R old -> new"]


def test_calls_that_cannot_be_logged_are_refused(directory: ShimmedDirectory) -> None:
    """Copies within the kernel and io_uring fail with ENOSYS, so that a store uses other calls."""
    assert directory.results("hidden")["results"] == [-errno.ENOSYS, -errno.ENOSYS]


def test_programs_can_be_started(directory: ShimmedDirectory) -> None:
    """A program that an armed process starts works normally, and its calls are not counted."""
    answer = directory.results("start")
    assert (answer["results"], answer["seen"]) == ([0], [])
    assert (directory.root / "old").read_text() == "changed\n"
