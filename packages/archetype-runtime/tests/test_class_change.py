"""Worlds that are declared with other versions of their component classes."""

from __future__ import annotations

from typing import Any

import pytest
from runtime_scene import with_runtime

from archetype import ArchetypeRuntime, Component, Evolution, Processor, ProcessorError, SchemaMismatch


def define(**body: Any) -> Any:
    """Return a version of the component `Badge`."""
    return type("Badge", (Component,), {"__module__": __name__, **body})


FIRST = define(__annotations__={"rank": int, "note": str}, rank=1, note="")
SECOND = define(__annotations__={"rank": int, "color": str}, rank=1, color="red")
THIRD = define(__annotations__={"rank": int, "color": str}, rank=1, color="red", evolution=Evolution(drop=("note",)))


def test_declared_components_evolve_a_resumed_world() -> None:
    """`components=` names the classes that live rows evolve to; an undeclared change fails the first use (M8)."""

    async def main(runtime: ArchetypeRuntime) -> None:
        world = runtime.world("w", storage="memory:badges")
        entity = await world.spawn(FIRST(rank=3))
        await world.step()
        await world.shutdown()
        with pytest.raises(SchemaMismatch, match="Evolution"):
            await runtime.open("w", storage="memory:badges", components=[SECOND]).info()
        world = runtime.open("w", storage="memory:badges", components=[THIRD])
        assert await world.get(entity, THIRD) == THIRD(rank=3, color="red")
        await world.update(entity, THIRD(color="blue"))
        await world.step()
        assert (await world.info()).archetypes == {"Badge": 1}
        for missing, colors in (("null", [None, "blue"]), ("default", ["red", "blue"])):
            frame = await world.query(THIRD, missing=missing)  # type: ignore[arg-type]  # reason: of a loop
            assert frame.sort("tick").to_pydict()["badge__color"] == colors
            for at, color in ((0, colors[0]), (1, "blue"), (None, "blue")):
                frame = await world.snapshot(THIRD, at=at, missing=missing)  # type: ignore[arg-type]  # reason: as above
                assert frame.to_pydict()["badge__color"] == [color]

    with_runtime(main)


def test_components_are_part_of_a_declaration() -> None:
    """Components must be classes; those of the next declaration replace those of the last (RT8)."""

    async def main(runtime: ArchetypeRuntime) -> None:
        with pytest.raises(TypeError, match="not a component class"):
            runtime.world("w", components=[int])  # type: ignore[list-item]  # reason: what is refused
        world = runtime.world("w", components=[FIRST])
        entity = await world.spawn(FIRST(rank=3))
        await world.step()
        with pytest.raises(SchemaMismatch, match="Evolution"):
            await runtime.world("w", components=[SECOND]).info()
        assert await world.get(entity, FIRST) == FIRST(rank=3)
        again = runtime.world("w", components=[THIRD])
        assert await again.get(entity, THIRD) == await world.get(entity, THIRD) == THIRD(rank=3, color="red")

    with_runtime(main)


class Scratch(Processor):
    """Lowers the rank, and fails while it is told to."""

    components = (FIRST,)
    fails = False

    def process(self) -> dict[Any, Any]:
        if self.fails:
            raise ValueError("boom")
        return {FIRST.c.rank: FIRST.c.rank - 1}


def test_a_declaration_that_does_not_fit_after_a_failed_tick_leaves_the_world_as_it_was() -> None:
    """The failed tick's mutations stay staged, the refused classes change nothing, and the next step is the old one (T7, RT8)."""

    async def main(runtime: ArchetypeRuntime) -> None:
        scratch = Scratch()
        world = runtime.world("w", processors=[scratch])
        entity = await world.spawn(FIRST(rank=9))
        await world.run(2)
        await world.update(entity, FIRST(note="scratched"))
        scratch.fails = True
        with pytest.raises(ProcessorError, match="boom"):
            await world.step()
        for _ in range(2):
            with pytest.raises(SchemaMismatch, match="Evolution"):
                await runtime.world("w", processors=[], components=[SECOND]).step()
        assert (await world.info()).pending == 1
        assert await world.get(entity, FIRST) == FIRST(rank=8)
        scratch.fails = False
        await world.step()
        assert await world.get(entity, FIRST) == FIRST(rank=7, note="scratched")
        again = runtime.world("w", processors=[], components=[THIRD])
        await again.step()
        assert await again.get(entity, THIRD) == THIRD(rank=7, color="red")

    with_runtime(main)
