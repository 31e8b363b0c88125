"""Worlds that are declared again while they live, as a notebook cell does that runs twice."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from runtime_scene import Movement, Position, Velocity, with_runtime, xs

from archetype import ArchetypeRuntime, Component, PostTick, PreTick, Processor, ReentrantStep, SchemaMismatch

CELL = """
class Body(Component):
    x: float = 0.0
{more}

class Push(Processor):
    components = (Body,)

    def process(self, arrays):
        return {{Body.c.x: arrays[Body.c.x] + {by}}}

world = runtime.world("cells", processors=[Push()])
"""


class Wind:
    """A resource."""

    def __init__(self, speed: float) -> None:
        self.speed = speed


class Blow(Processor):
    """Moves everything by the wind."""

    components = (Position,)

    def process(self, arrays: Any, resources: Any) -> Any:
        return {Position.c.x: arrays[Position.c.x] + resources[Wind].speed}


class Jump(Processor):
    components = (Position,)

    def __init__(self, by: float) -> None:
        self.by = by

    def process(self, arrays: Any) -> Any:
        return {Position.c.x: arrays[Position.c.x] + self.by}


def names_of(found: Any) -> list[str]:
    """The class names of processors."""
    return [one.qualname.rpartition(".")[2] for one in found]


def test_given_keywords_replace_and_others_stay() -> None:
    """A keyword replaces what it declared before from the next tick on; others, and what methods added, stay (RT8)."""

    async def main(runtime: ArchetypeRuntime) -> None:
        told: list[str] = []
        world = runtime.world(
            "demo",
            processors=[Jump(1.0)],
            resources=[Wind(0.0)],
            hooks=[(PostTick, lambda _: told.append("old"))],
            handlers={"make": lambda scope, data: scope.spawn(Position(x=data))},
        )
        entity = await world.spawn(Position())
        await world.run(2)
        await world.add_processor(Blow())
        await world.add_hook(PostTick, lambda _: told.append("added"))
        again = runtime.world("demo", processors=[Jump(100.0)])
        assert again.world_id == world.world_id
        await world.step()
        assert (await world.get(entity, Position)).x == 101.0
        assert names_of(await world.list_processors()) == ["Jump", "Blow"]
        assert told == ["old", "old", "old", "added"]
        again = runtime.world("demo", resources=[Wind(1000.0)], hooks=[(PostTick, lambda _: told.append("new"))])
        await again.step()
        assert (await again.get(entity, Position)).x == 1201.0
        assert told[4:] == ["new", "added"]
        runtime.world("demo", handlers={}, processors=[])
        runtime.world("demo", hooks=[])
        await world.step()
        assert (await world.get(entity, Position)).x == 2201.0
        assert (told[6:], names_of(await world.list_processors())) == (["added"], ["Blow"])
        with pytest.raises(LookupError, match="make"):
            await world.custom("make", 1.0)

    with_runtime(main)


def test_declarations_before_the_first_use_become_one() -> None:
    """What is declared before the first use counts together, the last of each keyword (RT8)."""

    async def main(runtime: ArchetypeRuntime) -> None:
        runtime.world("demo", processors=[Jump(1.0)], resources=[Wind(5.0)])
        world = runtime.world("demo", processors=[Jump(2.0), Blow()])
        entity = await world.spawn(Position())
        await world.run(2)
        assert (await world.get(entity, Position)).x == 7.0

    with_runtime(main)


def test_a_refused_declaration_leaves_the_old_parts_whole() -> None:
    """If one new part is refused, that use raises, all old parts stay, and the next use goes on with them (RT8)."""

    async def main(runtime: ArchetypeRuntime) -> None:
        told: list[int] = []
        hook = (PostTick, lambda event: told.append(event.tick))
        world = runtime.world("demo", processors=[Jump(1.0)], resources=[Wind(1.0)], hooks=[hook])
        entity = await world.spawn(Position())
        await world.step()
        wrong: list[dict[str, Any]] = [
            {"processors": [Blow(), object()]},
            {"processors": [Blow()], "resources": [Wind]},
            {"processors": [], "hooks": [], "handlers": {"": print}},
        ]
        for given in wrong:
            again = runtime.world("demo", **given)
            with pytest.raises(TypeError):
                await again.step()
        await again.step()
        assert names_of(await world.list_processors()) == ["Jump"]
        assert ((await world.get(entity, Position)).x, told) == (1.0, [0, 1])
        rows = (await world.history(type="declare_world")).to_pydict()
        assert rows["status"] == ["failed"] * 3

    with_runtime(main)


def test_declaring_while_it_ticks() -> None:
    """Declared during a run, new parts count from a later tick on, and no tick has some of both (RT8)."""

    async def main(runtime: ArchetypeRuntime) -> None:
        world = runtime.world("demo", processors=[Jump(1.0), Jump(10.0)])
        entity = await world.spawn(Position())
        await world.step()
        started = asyncio.Event()
        await world.add_hook(PostTick, lambda _: started.set())
        running = asyncio.create_task(world.run(200))
        await started.wait()
        again = runtime.world("demo", processors=[Jump(2.0), Jump(20.0)])
        await again.info()
        await running
        track = xs(await world.query(Position, entity_ids=entity))
        moves = [after - before for before, after in pairwise(track)]
        change = moves.index(22.0)
        assert 0 < change < 200
        assert moves == [11.0] * change + [22.0] * (200 - change)

    with_runtime(main)


def test_declaring_inside_a_tick() -> None:
    """A hook that declares its own world again uses it as it is; the parts change with the next use from outside (T15)."""

    async def main(runtime: ArchetypeRuntime) -> None:
        world = runtime.world("demo", processors=[Jump(1.0)])
        entity = await world.spawn(Position())
        await world.step()

        async def declare(event: PreTick) -> None:
            if event.tick == 1:
                inner = runtime.world("demo", processors=[Jump(100.0)])
                await inner.spawn(Position(x=-5.0))
                with pytest.raises(ReentrantStep):
                    await inner.step()

        await world.add_hook(PreTick, declare, fail_fast=True)
        await world.step()
        assert (await world.get(entity, Position)).x == 1.0
        await world.step()
        assert (await world.get(entity, Position)).x == 101.0

    with_runtime(main)


def run_cell(runtime: Any, by: float, more: str = "") -> dict[str, Any]:
    """Run a notebook's cell that defines a component and a processor and declares a world with them."""
    scope: dict[str, Any] = {"Component": Component, "Processor": Processor, "runtime": runtime, "__name__": "__cell__"}
    exec(CELL.format(by=by, more=more), scope)  # noqa: S102  # reason: that is what a notebook does
    return scope


def test_a_cell_that_defines_its_classes_again() -> None:
    """New class objects of the same names take over, with the same fields or others, as in a reopened world (M8)."""
    with ArchetypeRuntime.sync("memory:", progress=False) as runtime:
        first = run_cell(runtime, 1.0)
        world, body = first["world"], first["Body"]
        entity = world.spawn(body(x=5.0))
        world.run(2)
        assert world.get(entity, body).x == 6.0
        second = run_cell(runtime, 10.0)
        world.step()
        assert second["world"].get(entity, second["Body"]).x == 16.0
        third = run_cell(runtime, 100.0, "    mass: float = 2.0")
        newcomer = third["world"].spawn(third["Body"](x=0.0, mass=7.0))
        third["world"].run(2)
        assert third["world"].get(entity, third["Body"]).model_dump() == {"x": 216.0, "mass": 2.0}
        assert third["world"].get(newcomer, third["Body"]).model_dump() == {"x": 100.0, "mass": 7.0}
        assert third["world"].info().archetypes == {"Body": 2}


def test_a_part_that_stays_with_an_earlier_class_is_named() -> None:
    """A processor that a method added, for a class that is defined anew with other fields, is named with the remedy (M8)."""
    with ArchetypeRuntime.sync("memory:", progress=False) as runtime:
        first = run_cell(runtime, 1.0)
        world, body = first["world"], first["Body"]
        entity = world.spawn(body())
        world.step()

        class Extra(Processor):
            components = (body,)

            def process(self, arrays: Any) -> Any:
                return {}

        world.add_processor(Extra())
        second = run_cell(runtime, 10.0, "    mass: float = 2.0")
        with pytest.raises(SchemaMismatch, match=r"Extra, which stays, names the Body .*\n.*remove_processor\(Extra\)"):
            second["world"].step()
        world.step()
        assert world.get(entity, body).x == 1.0
        world.remove_processor(Extra)
        third = run_cell(runtime, 10.0, "    mass: float = 2.0")
        third["world"].step()
        assert third["world"].get(entity, third["Body"]).model_dump() == {"x": 11.0, "mass": 2.0}


def test_a_fork_is_declared_like_its_source() -> None:
    """Declaring a fork again replaces what it has from the declaration of its source (R3)."""

    async def main(runtime: ArchetypeRuntime) -> None:
        world = runtime.world("demo", processors=[Jump(1.0)])
        entity = await world.spawn(Position())
        await world.step()
        await world.fork("branch")
        branch = runtime.world("branch", processors=[Jump(50.0)])
        await branch.step()
        await world.step()
        assert (await branch.get(entity, Position)).x == 50.0
        assert (await world.get(entity, Position)).x == 1.0

    with_runtime(main)


def test_a_script_runs_twice(tmp_path: Path) -> None:
    """The same declaration resumes the world in the next process, and is the same world in this one (RT8, R5)."""
    for number in range(4):
        if number % 2 == 0:
            runtime = ArchetypeRuntime.sync(f"journal:{tmp_path}/data", progress=False)
        world = runtime.world("demo", processors=[Movement()], seed=7)
        if world.info().entities == 0:
            world.spawn(Position(), Velocity(dx=1.0))
        world.run(2)
        assert world.info().tick == 2 * (number + 1)
        if number % 2 == 1:
            runtime.shutdown()
