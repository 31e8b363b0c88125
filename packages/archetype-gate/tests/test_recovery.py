"""What a world has when it is opened again, after a close, by another gate, or with a part missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from stage import (
    ADMIN,
    PLAYER,
    Fails,
    Move,
    Position,
    Velocity,
    audit_rows,
    create_world,
    journal_at,
    open_gate,
    open_world,
    position_of,
    run_scenario,
    run_steps,
    step,
    x_history,
)

from archetype_core.command import (
    AddHandler,
    Custom,
    Despawn,
    ForkWorld,
    Spawn,
    Update,
)
from archetype_core.errors import (
    CorruptStore,
    ProcessorError,
    TickConflict,
)
from archetype_gate import verify


def test_waiting_commands_survive(tmp_path: Path) -> None:
    """A world reopens with its staged and queued commands, and continues its entity ids (R5, G5, G6)."""

    async def scenario() -> None:
        async with open_gate() as gate:
            world_id = await create_world(gate, journal_at(tmp_path), "w", Move())
            one = await gate.execute(ADMIN, Spawn((Position(x=1.0), Velocity(dx=1.0))), world_id)
            two = await gate.submit_spawn(PLAYER, world_id, Position(x=2.0), tick=1)
            three = await gate.execute(ADMIN, Spawn((Position(x=3.0),)), world_id)
            await gate.execute(ADMIN, Despawn((three,)), world_id)
        async with open_gate() as gate:
            info = await open_world(gate, journal_at(tmp_path))
            assert (info.world_id, info.tick, info.queued, info.pending) == (world_id, 0, 1, 3)
            four = await gate.execute(ADMIN, Spawn((Position(x=4.0),)), world_id)
            assert len({one, two, three, four}) == 4
            await run_steps(gate, world_id, 2)
            found = await x_history(gate, world_id)
            assert found == {(one, 0): 1.0, (one, 1): 1.0, (two, 1): 2.0, (four, 0): 4.0, (four, 1): 4.0}
        assert verify(journal_at(tmp_path)) == []

    run_scenario(scenario)


def test_staged_commands_keep_their_order(tmp_path: Path) -> None:
    """What a failed tick had staged from the queue is staged again before the commands that build on it (R5, G5)."""

    async def scenario() -> None:
        failing = Fails()
        async with open_gate() as gate:
            world_id = await create_world(gate, journal_at(tmp_path), "w", failing)
            first = await gate.execute(ADMIN, Spawn((Position(),)), world_id)
            failing.is_failing = False
            await step(gate, world_id)
            later = await gate.submit_spawn(PLAYER, world_id, Position(x=1.0), tick=2)
            born = await gate.submit_spawn(PLAYER, world_id, Position(x=1.0), priority=1)
            await gate.submit(PLAYER, Update(first, (Position(x=2.0),)), world_id)
            failing.is_failing = True
            with pytest.raises(ProcessorError):
                await step(gate, world_id)
            await gate.execute(ADMIN, Update(first, (Position(x=3.0),)), world_id)
            await gate.execute(ADMIN, Update(born, (Position(x=4.0),)), world_id)
            last = await gate.submit_spawn(PLAYER, world_id, Position(x=5.0), priority=-1)
        for _ in range(2):
            # The second time it is opened as the first one left it.
            async with open_gate() as gate:
                await open_world(gate, journal_at(tmp_path))
        async with open_gate() as gate:
            await open_world(gate, journal_at(tmp_path))
            await step(gate, world_id)
            found = {entity: x for (entity, tick), x in (await x_history(gate, world_id)).items() if tick == 1}
            assert found == {first: 3.0, born: 4.0, last: 5.0}
            await step(gate, world_id)
            assert (later, 2) in await x_history(gate, world_id)
            statuses = {row.status for row in await audit_rows(gate, world_id) if row.type in ("spawn", "update")}
            assert statuses == {"applied"}
        assert verify(journal_at(tmp_path)) == []

    run_scenario(scenario)


def test_forks_without_ticks_reopen(tmp_path: Path) -> None:
    """A fork that was closed before its first tick reopens at the same point of its parent (R3, R5)."""

    async def scenario() -> None:
        async with open_gate() as gate:
            world_id = await create_world(gate, journal_at(tmp_path), "w", Move())
            entity = await gate.execute(ADMIN, Spawn((Position(), Velocity(dx=1.0))), world_id)
            await run_steps(gate, world_id, 5)
            past = await gate.execute(ADMIN, ForkWorld("past", at_tick=2), world_id)
            fresh = await gate.execute(ADMIN, ForkWorld("fresh", rng="fresh"), world_id)
            again = await gate.execute(ADMIN, ForkWorld("again"), past.world_id)
            await run_steps(gate, world_id, 5)
        async with open_gate() as gate:
            for name, was, x in (("past", past, 2.0), ("fresh", fresh, 4.0), ("again", again, 2.0)):
                info = await open_world(gate, journal_at(tmp_path), name)
                assert (info.world_id, info.run_id, info.seed, info.tick) == (
                    was.world_id,
                    was.run_id,
                    was.seed,
                    was.tick,
                )
                assert await position_of(gate, info.world_id, entity) == x
                await step(gate, info.world_id)

    run_scenario(scenario)


def test_a_recovered_custom_command_waits_for_its_handler(tmp_path: Path) -> None:
    """A staged custom command is applied again after a restart, at the tick after its handler is added (G5, R5)."""

    def double(scope: Any, data: Any) -> None:
        scope.update(data, Position(x=scope.get(data)[Position].x * 2))

    async def scenario() -> None:
        async with open_gate() as gate:
            world_id = await create_world(gate, journal_at(tmp_path))
            entity = await gate.execute(ADMIN, Spawn((Position(x=3.0),)), world_id)
            await step(gate, world_id)
            await gate.execute(ADMIN, AddHandler("double", double), world_id)
            await gate.execute(ADMIN, Custom("double", entity), world_id)
        async with open_gate() as gate:
            await open_world(gate, journal_at(tmp_path))
            await gate.execute(ADMIN, AddHandler("double", double), world_id)
            await step(gate, world_id)
            assert await position_of(gate, world_id, entity) == 6.0

    run_scenario(scenario)


def test_two_gates_never_assign_an_id_twice(tmp_path: Path) -> None:
    """Two gates with one world reserve ids apart, and each accepted command of both is applied once (G5, G6)."""

    async def scenario() -> None:
        async with open_gate() as one, open_gate() as two:
            world_id = await create_world(one, journal_at(tmp_path))
            await step(one, world_id)
            await open_world(two, journal_at(tmp_path))
            mine = [await one.submit_spawn(ADMIN, world_id, Position(x=1.0), tick=5) for _ in range(3)]
            theirs = [await two.submit_spawn(ADMIN, world_id, Position(x=2.0), tick=5) for _ in range(3)]
            mine += [await one.execute(ADMIN, Spawn((Position(x=3.0),)), world_id)]
            theirs += [await two.execute(ADMIN, Spawn((Position(x=4.0),)), world_id)]
            assert len({*mine, *theirs}) == 8
            await step(two, world_id)
            with pytest.raises(TickConflict):
                await step(one, world_id)
        async with open_gate() as gate:
            await open_world(gate, journal_at(tmp_path))
            await run_steps(gate, world_id, 8)
            assert {entity for entity, _ in await x_history(gate, world_id)} == {*mine, *theirs}
            assert {row.status for row in await audit_rows(gate, world_id, type="spawn")} == {"applied"}
        assert verify(journal_at(tmp_path)) == []

    run_scenario(scenario)


def test_a_store_that_lost_ticks_is_refused(tmp_path: Path) -> None:
    """Opening a world raises CorruptStore if the store lost ticks that its ledger settled (S4)."""

    async def scenario() -> None:
        async with open_gate() as gate:
            world_id = await create_world(gate, journal_at(tmp_path))
            await gate.execute(ADMIN, Spawn((Position(),)), world_id)
            await run_steps(gate, world_id, 3)
        for path in (tmp_path / "data").iterdir():
            if path.name.startswith("journal"):
                path.unlink()
        async with open_gate() as gate:
            with pytest.raises(CorruptStore, match="tick 2"):
                await open_world(gate, journal_at(tmp_path))

    run_scenario(scenario)
