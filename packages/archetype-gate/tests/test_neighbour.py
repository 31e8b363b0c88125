"""Two gates on one storage, and storages that lost a part."""

from __future__ import annotations

from pathlib import Path

import pytest
from stage import ADMIN, Position, at, drive, gate, made, opened, rows, run, step, xs

from archetype_core import Component
from archetype_core.command import AddHandler, Custom, ForkWorld, ListWorlds, Spawn
from archetype_core.errors import CorruptStore, PermissionDenied, SignatureError, TickConflict, ValueRejected
from archetype_gate import Policy, ServiceContainer, verify


def test_two_gates_never_give_out_one_id_twice(tmp_path: Path) -> None:
    """Two gates that hold one world reserve apart, and what both accepted is applied, each command once (G5, G6)."""

    async def scenario() -> None:
        async with gate() as one, gate() as two:
            world_id = await made(one, at(tmp_path))
            await step(one, world_id)
            await opened(two, at(tmp_path))
            mine = [await one.submit_spawn(ADMIN, world_id, Position(x=1.0), tick=5) for _ in range(3)]
            theirs = [await two.submit_spawn(ADMIN, world_id, Position(x=2.0), tick=5) for _ in range(3)]
            mine += [await one.execute(ADMIN, Spawn((Position(x=3.0),)), world_id)]
            theirs += [await two.execute(ADMIN, Spawn((Position(x=4.0),)), world_id)]
            assert len({*mine, *theirs}) == 8
            await step(two, world_id)
            with pytest.raises(TickConflict):
                await step(one, world_id)
        async with gate() as there:
            await opened(there, at(tmp_path))
            await run(there, world_id, 8)
            assert {entity for entity, _ in await xs(there, world_id)} == {*mine, *theirs}
            assert {row.status for row in await rows(there, world_id, type="spawn")} == {"applied"}
        assert verify(at(tmp_path)) == []

    drive(scenario)


def test_a_store_that_lost_ticks_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    """A ledger that knows ticks which the store does not have says so, instead of starting the world anew (S4)."""

    async def scenario() -> None:
        async with gate() as there:
            world_id = await made(there, at(tmp_path))
            await there.execute(ADMIN, Spawn((Position(),)), world_id)
            await run(there, world_id, 3)
        for path in (tmp_path / "data").iterdir():
            if path.name.startswith("journal"):
                path.unlink()
        async with gate() as there:
            with pytest.raises(CorruptStore, match="tick 2"):
                await opened(there, at(tmp_path))

    drive(scenario)


def test_a_scope_ends_with_its_command(tmp_path: Path) -> None:
    """What a handler of a custom command was given is of no use once the command is over (G1)."""
    kept = []

    async def scenario() -> None:
        async with gate() as there:
            world_id = await made(there, at(tmp_path))
            await there.execute(ADMIN, AddHandler("keep", lambda scope, data: kept.append(scope)), world_id)
            await there.execute(ADMIN, Custom("keep"), world_id)
            with pytest.raises(RuntimeError, match="ends with its command"):
                kept[0].spawn(Position())

    drive(scenario)


def test_text_that_cannot_be_stored_harms_nobody(tmp_path: Path) -> None:
    """Half a surrogate pair in a refused command is on record spelled out; in an accepted one it is refused (M7, G4)."""
    from archetype_core.command import ActorCtx

    async def scenario() -> None:
        async with gate() as there:
            world_id = await made(there, at(tmp_path))
            with pytest.raises(PermissionDenied):
                await there.execute(ActorCtx("x\ud800", {"viewer"}), Custom("caf\udce9"), world_id)
            with pytest.raises(ValueRejected):
                await there.submit(ADMIN, Custom("caf\udce9"), world_id)
            entity = await there.submit_spawn(ADMIN, world_id, Position(), tick=3)
        async with gate() as there:
            await opened(there, at(tmp_path))
            await run(there, world_id, 4)
            assert (entity, 3) in await xs(there, world_id)

    drive(scenario)


def test_destroyed_worlds_are_not_listed(tmp_path: Path) -> None:
    """What was destroyed is gone from the list; its rows are read by its id all the same (G8)."""
    from archetype_core.command import DestroyWorld

    async def scenario() -> None:
        async with gate() as there:
            world_id = await made(there, at(tmp_path))
            await step(there, world_id)
            fork = await there.execute(ADMIN, ForkWorld("gone"), world_id)
            await step(there, fork.world_id)
            await there.execute(ADMIN, DestroyWorld(), fork.world_id)
            assert [one.name for one in await there.execute(ADMIN, ListWorlds(at(tmp_path)))] == ["w"]
            assert (await opened(there, at(tmp_path), fork.world_id)).tick == 2

    drive(scenario)


def test_wrong_parts_are_refused_where_they_are_given() -> None:
    """A policy, quotas or components that are none are a clear error at once (M7)."""
    for given in ({"policy": "x"}, {"quotas": 3}):
        with pytest.raises(TypeError, match="not"):
            ServiceContainer(**given)
    with pytest.raises(TypeError, match="set of names"):
        Policy({"viewer": "spawn"})

    async def scenario() -> None:
        from archetype_core import StorageConfig

        async with gate() as there:
            world_id = await made(there, StorageConfig("memory:"))
            kinds: list[tuple[object, ...]] = [(Position,), (3,), (Component,)]
            for wrong in kinds:
                with pytest.raises(SignatureError, match="instances"):
                    await there.execute(ADMIN, Spawn(wrong), world_id)

    drive(scenario)
