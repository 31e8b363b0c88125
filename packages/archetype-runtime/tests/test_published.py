"""Programs from before this package."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import published
import pytest


def run(program: str, directory: Path) -> list[str]:
    """The lines that a program prints in a directory of its own, with warnings as errors."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=directory,
        env={**os.environ, "DO_NOT_TRACK": "true"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def history_of_x(line: str) -> list[tuple[int, float]]:
    """Tick and x of the rows that a program printed."""
    return sorted((row["tick"], row["position__x"]) for row in ast.literal_eval(line))


def test_quickstart(tmp_path: Path) -> None:
    """The quickstart runs as it stands; what was spawned at 0 is on record as 0, 1, 2 (T2)."""
    (line,) = run(published.QUICKSTART, tmp_path)
    assert history_of_x(line) == [(0, 0.0), (1, 1.0), (2, 2.0)]


@pytest.mark.thorough
def test_quickstart_again_goes_on(tmp_path: Path) -> None:
    """The same script in the same directory goes on with its world, and spawns one more entity (R5)."""
    run(published.QUICKSTART, tmp_path)
    (line,) = run(published.QUICKSTART, tmp_path)
    assert history_of_x(line) == [
        *((tick, float(tick)) for tick in range(3)),
        *((tick, x) for tick in range(3, 6) for x in (float(tick - 3), float(tick))),
    ]


@pytest.mark.thorough
def test_canonical_example(tmp_path: Path) -> None:
    """The specification's example runs as it stands, hooks at its declared ticks included."""
    *ticks, line = run(published.CANONICAL, tmp_path)
    assert ticks == ["tick 0", "tick 1", "tick 2"]
    assert history_of_x(line) == [(0, 0.0), (1, 1.0), (2, 2.0)]


@pytest.mark.thorough
def test_canonical_example_without_await(tmp_path: Path) -> None:
    """The same without `await` gives the same history (RT6)."""
    definitions = published.CANONICAL[: published.CANONICAL.index("async def main")]
    (line,) = run(definitions + published.CANONICAL_SYNC, tmp_path)
    assert history_of_x(line) == [(0, 0.0), (1, 1.0), (2, 2.0)]


SETTING = """
import asyncio
from archetype import *
from archetype.core.hooks import OnSpawn, PreTick
from daft import DataFrame
class Position(Component):
    x: float = 0.0
class Velocity(Component):
    dx: float = 0.0
class Agent(Component):
    name: str = ""
class Memory(Component):
    text: str = ""
class Movement(AsyncProcessor):
    components = (Position, Velocity)
    async def process(self, df: DataFrame, **_) -> DataFrame:
        return df
class AI(Movement): ...
class MyProcessor(Movement): ...
class State: ...
some_shared_state = State()
ticks = []
on_tick = ticks.append
on_spawn = ticks.append
my_handler = ticks.append
other_actor_ctx = ActorCtx("other", {"viewer"})
name, setting = "demo", dict(storage="journal:./here", cache=None, processors=[], resources=[], hooks=[])
"""


def in_main(body: str) -> str:
    """A program that does something with a runtime."""
    lines = "".join(f"        {line}\n" for line in body.splitlines())
    return (
        f"{SETTING}\nasync def main():\n    async with ArchetypeRuntime() as runtime:\n{lines}\nasyncio.run(main())\n"
    )


@pytest.mark.thorough
def test_surface(tmp_path: Path) -> None:
    """Every line of the specified surface runs, its placeholders filled; an entity that it ends takes no further changes."""
    body = published.SURFACE
    body = body.replace("=..., cache=..., processors=..., resources=..., hooks=...", "='journal:./here'")
    body = body.replace("name, storage", "'demo', storage").replace("Config(...)", "Config()")
    # What is despawned, and a world that is destroyed, take nothing more: these come last.
    body = body.replace("await world.despawn(eid)\n", "").replace("await world.destroy() ", "# ")
    body = body.replace("await world.remove_components(eid, Position, Velocity)", "await world.step()\n" * 2)
    body = body.replace("EpisodeConfig()", "EpisodeConfig(max_steps=2)")
    body += "assert world.name == 'demo'\nassert sibling.name == 'demo'\n"
    extra = "class Health(Component):\n    hp: int = 100\n"
    run(in_main(extra + body), tmp_path)


@pytest.mark.thorough
def test_declaration_and_observers(tmp_path: Path) -> None:
    """A world declared with everything, and one with the published observer, run."""
    declared = published.DECLARED.replace('"./data"', '"journal:./data"').replace("CacheConfig(...)", "CacheConfig()")
    observed = published.LOGFIRE.replace("[...]", "[Movement()]").replace('"demo"', '"observed"')
    body = f"{published.COMPONENTS}\n{published.THINK}\n{declared}\nawait world.spawn(Position(), Velocity())\n"
    body += (
        f"await world.step()\nassert len(ticks) == 2\n{observed}\nawait world.spawn(Position())\nawait world.step()\n"
    )
    run(in_main(body), tmp_path)
