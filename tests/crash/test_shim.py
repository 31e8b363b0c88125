"""The fault shim meets system calls whoever makes them: the machine code in this process, libc, or a program it starts."""

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
    """Return a library with a system call of its own."""
    built = tmp_path_factory.mktemp("bare") / "bare.so"
    compiler = shutil.which(os.environ.get("CC", "cc")) or "gcc"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", built, HERE / "bare.c"], check=True)
    return built


@dataclass
class Rig:
    """A directory with one file, and processes that change it under the shim."""

    bare: Path
    root: Path

    def run(self, what: str, kind: Kind, call: int, error: int = 0) -> subprocess.CompletedProcess[str]:
        """Let a process do something with a fault at a call."""
        command = [
            sys.executable,
            HERE / "bare_calls.py",
            self.bare,
            self.root,
            what,
            kind.value,
            str(call),
            str(error),
        ]
        environment = {**os.environ, "LD_PRELOAD": str(library()), "PYTHONPATH": os.pathsep.join(sys.path)}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    def tell(self, what: str, kind: Kind = Kind.NOTHING, call: int = 0, error: int = 0) -> dict[str, Any]:
        """What it said, since it lived."""
        done = self.run(what, kind, call, error)
        assert (done.returncode, done.stderr) == (0, "")
        return dict(json.loads(done.stdout))

    def names(self) -> list[str]:
        """What is in the directory."""
        return sorted(path.name for path in self.root.iterdir())


@pytest.fixture
def rig(bare: Path, tmp_path: Path) -> Rig:
    """Return a directory in which nothing happened yet."""
    root = tmp_path.resolve() / "root"
    root.mkdir()
    (root / "old").write_bytes(b"old")
    return Rig(bare, root)


def test_every_call_is_seen_once(rig: Rig) -> None:
    """Calls are logged in their order, once each, whether made bare, by libc or by its ``syscall``."""
    told = rig.tell("every")
    assert told["results"] == [4, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    assert told["seen"] == [
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
    assert told["count"] == len(told["seen"])
    assert rig.names() == ["d", "f", "old"]


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
def test_a_bare_call_fails_as_told(rig: Rig, error: int) -> None:
    """The call that is meant fails with the error that is meant, and changes nothing."""
    told = rig.tell("rename", Kind.FAIL, 1, error)
    assert told["results"] == [-error, 0, -errno.ENOENT]
    assert told["seen"] == ["R old -> new1"]
    assert rig.names() == ["new1"]


def test_a_bare_write_is_cut_short(rig: Rig) -> None:
    """A short write takes half, and the log has that half alone."""
    told = rig.tell("tear", Kind.SHORT, 2)
    assert told["results"] == [2, 2]
    assert told["seen"] == ["W old 2 bytes at 0", "W old 2 bytes at 2"]
    assert (rig.root / "old").read_bytes() == b"four"


@pytest.mark.parametrize(("kind", "left"), [(Kind.KILL_BEFORE, "old"), (Kind.KILL_AFTER, "new0")])
def test_a_bare_call_kills(rig: Rig, kind: Kind, left: str) -> None:
    """A kill strikes before the call that is meant, or right after it."""
    assert rig.run("rename", kind, 1).returncode == -signal.SIGKILL
    assert rig.names() == [left]


def test_blocked_signals_do_no_harm(rig: Rig) -> None:
    """A thread that blocks every signal is followed like any other."""
    assert rig.tell("blocked")["seen"] == ["R old -> new"]


def test_what_no_log_could_tell_is_refused(rig: Rig) -> None:
    """Copies within the kernel and io_uring are absent, so that a store does without."""
    assert rig.tell("hidden")["results"] == [-errno.ENOSYS, -errno.ENOSYS]


def test_programs_can_be_started(rig: Rig) -> None:
    """A program that an armed process starts works as ever; the shim does not count what it does."""
    told = rig.tell("start")
    assert (told["results"], told["seen"]) == ([0], [])
    assert (rig.root / "old").read_text() == "changed\n"
