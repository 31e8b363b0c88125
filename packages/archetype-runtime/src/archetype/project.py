"""A project to start from: a simulation that runs, its test, and a README."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

_SIMULATION = '''"""Balls that fly at their own speed, and bounce off the ground."""

from archetype import ArchetypeRuntime, Component, Processor, SyncArchetypeRuntime, SyncRuntimeWorld


class Position(Component):
    x: float = 0.0
    height: float = 0.0


class Velocity(Component):
    dx: float = 0.0
    up: float = 0.0


class Fly(Processor):
    """Moves every ball by its velocity."""

    components = (Position, Velocity)
    priority = 10

    def process(self, df):
        return df.with_columns(
            {
                "position__x": Position.c.x + Velocity.c.dx,
                "position__height": Position.c.height + Velocity.c.up,
                "velocity__up": Velocity.c.up - 1.0,
            }
        )


class Bounce(Processor):
    """Turns balls around that are below the ground, with numpy arrays."""

    components = (Position, Velocity)
    priority = 20

    def process(self, arrays):
        height, up = arrays[Position.c.height], arrays[Velocity.c.up]
        is_below = height < 0.0
        return {
            Position.c.height: abs(height),
            Velocity.c.up: up * (1 - 1.8 * is_below),
        }


def balls(runtime: SyncArchetypeRuntime) -> SyncRuntimeWorld:
    """Declare the world; if the storage has it, it goes on from its last tick."""
    world = runtime.world("balls", processors=[Fly(), Bounce()], seed=7)
    if world.info().tick == 0:
        world.spawn(Position(height=10.0), Velocity(dx=1.0))
        world.spawn(Position(height=20.0), Velocity(dx=0.5, up=2.0))
    return world


def main() -> None:
    with ArchetypeRuntime.sync("journal:./data") as runtime:
        world = balls(runtime)
        world.run(steps=20)
        print(f"tick {world.info().tick}")
        world.snapshot(Position).show()


if __name__ == "__main__":
    main()
'''

_TEST = '''"""What the simulation promises."""

from archetype import ArchetypeRuntime
from simulation import Position, balls


def test_balls_stay_above_the_ground():
    """No ball is ever below the ground, and each flies on."""
    with ArchetypeRuntime.sync("memory:") as runtime:
        world = balls(runtime)
        world.run(steps=30)
        history = world.query(Position).to_pydict()
    assert min(history["position__height"]) >= 0.0
    assert max(history["position__x"]) == 29.0


def test_a_fork_goes_its_own_way():
    """What is changed in a fork stays there."""
    with ArchetypeRuntime.sync("memory:") as runtime:
        world = balls(runtime)
        world.run(steps=3)
        branch = world.fork()
        branch.update(1, Position(x=-100.0))
        runtime.run_all(steps=1)
        assert world.get(1, Position).x == 3.0
        assert branch.get(1, Position).x == -100.0
'''

_README = """# {name}

A simulation with Archetype: `simulation.py` declares components, processors and a world,
and `test_simulation.py` says what they promise. Every tick is kept in `data/`.

```bash
python simulation.py             # run it; run it again, and it goes on
python -m pytest
archetype query balls            # archetype.toml says where the history is
archetype query balls --entity 1 --ticks all
archetype diff balls@5 @10
archetype log
```

The same world at a server, which others can use, too:

```bash
archetype serve --load simulation.py --storage journal:./data    # goes on until Ctrl-C: the rest is for another terminal
archetype run balls --steps 20 --url http://localhost:8000
archetype query balls --url http://localhost:8000
```
"""

_PYPROJECT = """[project]
name = "{name}"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = ["archetype-runtime", "archetype-cli[local]", "archetype-server"]

[dependency-groups]
dev = ["pytest"]

[tool.uv]
package = false
"""

_SETTINGS = 'place = "./data"\n'
_IGNORED = "data/\n.venv/\n__pycache__/\n"


def project_files(name: str) -> Mapping[str, str]:
    """Return the files of a new project, by name."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "simulation"
    return {
        "README.md": _README.format(name=name),
        "archetype.toml": _SETTINGS,
        "pyproject.toml": _PYPROJECT.format(name=slug),
        "simulation.py": _SIMULATION,
        "test_simulation.py": _TEST,
        ".gitignore": _IGNORED,
    }


def create_project(directory: Path) -> list[Path]:
    """Write a new project and return its files; ``FileExistsError`` if one of them is there, and then nothing is written."""
    files = {directory / name: text for name, text in project_files(directory.absolute().name).items()}
    for path in files:
        if path.exists():
            raise FileExistsError(
                17, "the file is there already, and nothing was written; choose another directory", str(path)
            )
    directory.mkdir(parents=True, exist_ok=True)
    for path, text in files.items():
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    return list(files)
