"""A history that the tests of the command read, and the command itself, in this process and as a process."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from daft import DataFrame

from archetype import Component, Processor, SyncArchetypeRuntime
from archetype_cli.boundary import run

ESCAPE = "\x1b[31mred\x1b[0m\u202e\nline"


class Spot(Component):
    """Where a racer is."""

    x: float = 0.0
    note: str = ""


class Pace(Component):
    """How far a racer goes in a tick."""

    dx: float = 1.0


class Go(Processor):
    """Moves racers."""

    components = (Spot, Pace)

    def process(self, df: DataFrame) -> DataFrame:
        return df.with_columns({"spot__x": Spot.c.x + Pace.c.dx})


def make_history(place: str) -> None:
    """A race of five ticks, forked after three: in the fork a racer is faster, and the other one gone."""
    with SyncArchetypeRuntime(place, progress=False) as runtime:
        race = runtime.world("race", processors=[Go()], seed=1)
        runner = race.spawn(Spot(), Pace(dx=2.0))
        sitter = race.spawn(Spot(x=float("nan"), note=ESCAPE))
        race.run(3)
        branch = race.fork("what-if")
        branch.update(runner, Pace(dx=9.0))
        branch.despawn(sitter)
        runtime.run_all(steps=2)


@dataclass(frozen=True)
class Done:
    """What a command did."""

    code: int
    out: str
    err: str


class Command:
    """Runs command lines in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *words: object) -> Done:
        code = run([str(one) for one in words])
        out, err = self._capsys.readouterr()
        return Done(int(code), out, err)


def environment(**more: str) -> dict[str, str]:
    """The environment without settings of the user who runs the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ARCHETYPE_")}
    return {**kept, "HOME": os.devnull, "XDG_CONFIG_HOME": os.devnull, **more}


def console_script() -> str:
    """The installed command."""
    return str(Path(sys.executable).with_name("archetype"))


def process(*words: object, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the installed command, without a terminal."""
    return subprocess.run(
        [console_script(), *map(str, words)],
        cwd=cwd,
        env=environment(**more),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


def in_terminal(directory: Path, *words: str, **more: str) -> tuple[str, int]:
    """What a command writes to a terminal, and its exit code."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [console_script(), *words],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        env=environment(**more),
        cwd=directory,
    ) as running:
        os.close(theirs)
        shown = b""
        while True:
            try:
                data = os.read(ours, 65_536)
            except OSError:
                # The other end is closed.
                break
            if not data:
                break
            shown += data
        code = running.wait(timeout=60)
    os.close(ours)
    return shown.decode(), code


@dataclass(frozen=True)
class Served:
    """A server process: its address, and the directory that it was started in."""

    url: str
    directory: Path

    @property
    def environment(self) -> dict[str, str]:
        """What commands of the same user on the same machine have."""
        return {"XDG_STATE_HOME": str(self.directory / "state"), "ARCHETYPE_URL": self.url}


@contextlib.contextmanager
def served(directory: Path, *arguments: str) -> Iterator[Served]:
    """Run ``archetype serve`` in a directory for the block, and end it as a user does."""
    running = subprocess.Popen(
        [console_script(), "serve", "--port", "0", *arguments],
        cwd=directory,
        env=environment(XDG_STATE_HOME=str(directory / "state")),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert running.stderr is not None
    said: list[str] = []
    try:
        for line in running.stderr:
            said.append(line)
            if "ready on" in line:
                break
        assert "ready on" in "".join(said), said
        # Nobody reads the rest, and a full pipe would stop the server.
        rest = threading.Thread(target=running.stderr.read)
        rest.start()
        yield Served(said[-1].split()[-1], directory)
        running.terminate()
        assert running.wait(60) == 0
        rest.join(60)
    finally:
        if running.poll() is None:
            running.kill()
            running.wait(60)
        running.stderr.close()
