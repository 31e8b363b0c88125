"""A history that the tests of the command read, and the command itself, in this process and as a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
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
        before = signal.getsignal(signal.SIGINT)
        try:
            code = run([str(one) for one in words])
        finally:
            signal.signal(signal.SIGINT, before)
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
