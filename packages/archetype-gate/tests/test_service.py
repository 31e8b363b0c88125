"""The command service: direct and queued commands, custom commands, and failures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from stage import (
    ADMIN,
    PLAYER,
    Fails,
    LimitedDisk,
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
    ActorCtx,
    AddHandler,
    CommandGate,
    Custom,
    Despawn,
    Send,
    Spawn,
    SpawnMany,
    Step,
    Update,
)
from archetype_core.errors import (
    LedgerError,
    NoHandler,
    PermissionDenied,
    ProcessorError,
    ValueRejected,
)
from archetype_gate import CommandService, verify

_: type[CommandGate] = CommandService


def test_history_of_a_moving_entity(tmp_path: Path) -> None:
    """A spawned row is read as written at its tick and moves with every later tick (T2, G6)."""

    async def scenario() -> None:
        async with open_gate() as gate:
            world_id = await create_world(gate, journal_at(tmp_path), "demo", Move())
            entity = await gate.execute(ADMIN, Spawn((Position(), Velocity(dx=1.0))), world_id)
            await run_steps(gate, world_id, 3)
            assert await x_history(gate, world_id) == {(entity, 0): 0.0, (entity, 1): 1.0, (entity, 2): 2.0}

    run_scenario(scenario)


def test_a_direct_command_is_queued_until_its_tick(tmp_path: Path) -> None:
    """The row of a direct mutation says queued until its tick commits, then applied and the tick (G4, G5)."""

    async def scenario() -> None:
        async with open_gate() as gate:
            world_id = await create_world(gate, journal_at(tmp_path))
            await run_steps(gate, world_id, 2)
            await gate.execute(ADMIN, Spawn((Position(),)), world_id)
            before = (await audit_rows(gate, world_id, type="spawn"))[0]
            await step(gate, world_id)
            after = (await audit_rows(gate, world_id, type="spawn"))[0]
            assert (before.status, before.settled_at) == ("queued", None)
            assert (after.status, after.tick) == ("applied", 2)
            assert after.settled_at is not None
            assert after.settled_at >= after.submitted_at

    run_scenario(scenario)


def test_queued_commands_apply_in_order(tmp_path: Path) -> None:
    """Queued commands apply by tick, priority and submission, also in the middle of a run (G5)."""

    async def scenario() -> None:
        async with open_gate() as gate:
            world_id = await create_world(gate, journal_at(tmp_path))
            entity = await gate.submit_spawn(PLAYER, world_id, Position())
            for x, tick, priority in ((1.0, 5, 0), (2.0, 5, -1), (3.0, 3, 9), (4.0, 5, 0), (5.0, 50, 0)):
                await gate.submit(PLAYER, Update(entity, (Position(x=x),)), world_id, tick=tick, priority=priority)
            await run_steps(gate, world_id, 60)
            found = await x_history(gate, world_id)
            assert [found[entity, tick] for tick in (0, 2, 3, 4, 5, 49, 50, 59)] == [0, 0, 3, 3, 4, 4, 5, 5]

    run_scenario(scenario)


def test_a_failing_tick_keeps_its_commands(tmp_path: Path) -> None:
    """Queued and direct commands of a failed tick apply once, with the next tick that succeeds (T7, G5)."""

    async def scenario() -> None:
        async with open_gate() as gate:
            fails = Fails()
            fails.is_failing = False
            world_id = await create_world(gate, journal_at(tmp_path), "w", fails)
            first = await gate.execute(ADMIN, Spawn((Position(x=1.0),)), world_id)
            await step(gate, world_id)
            fails.is_failing = True
            second = await gate.submit_spawn(PLAYER, world_id, Position(x=2.0))
            await gate.execute(ADMIN, Update(first, (Position(x=9.0),)), world_id)
            for _ in range(2):
                with pytest.raises(ProcessorError):
                    await step(gate, world_id)
            assert [row.status for row in await audit_rows(gate, world_id, type="step")] == [
                "applied",
                "failed",
                "failed",
            ]
            fails.is_failing = False
            await run_steps(gate, world_id, 2)
            assert await x_history(gate, world_id) == {
                (first, 0): 1.0,
                (first, 1): 9.0,
                (first, 2): 9.0,
                (second, 1): 2.0,
                (second, 2): 2.0,
            }

    run_scenario(scenario)


def test_a_failing_queued_command_stops_nothing(tmp_path: Path) -> None:
    """A queued command that cannot be applied is recorded as failed; the tick and other commands continue (G5)."""

    async def scenario() -> None:
        async with open_gate() as gate:
            world_id = await create_world(gate, journal_at(tmp_path))
            gone, entity = [await gate.submit_spawn(PLAYER, world_id, Position(x=x)) for x in (1.0, 3.0)]
            await step(gate, world_id)
            await gate.submit(PLAYER, Update(gone, (Position(x=2.0),)), world_id)
            await gate.submit(PLAYER, Despawn((gone,)), world_id, priority=-1)
            await gate.submit(PLAYER, Update(entity, (Position(x=4.0),)), world_id)
            await step(gate, world_id)
            assert await position_of(gate, world_id, entity) == 4.0
            (failed,) = await audit_rows(gate, world_id, status="failed")
            assert (failed.type, failed.tick) == ("update", 1)
            assert "EntityNotFound" in failed.reason

    run_scenario(scenario)


def test_a_queued_command_for_nobody_is_in_nobodys_way(tmp_path: Path) -> None:
    """Commands are queued beside one that spawns nothing, also those that depend on what is queued (G5)."""

    async def scenario() -> None:
        async with open_gate() as gate:
            world_id = await create_world(gate, journal_at(tmp_path))
            await gate.submit(ADMIN, SpawnMany(()), world_id)
            born = await gate.submit_spawn(ADMIN, world_id, Position())
            await gate.submit(ADMIN, Update(born, (Position(x=1.0),)), world_id)
            await step(gate, world_id)
            rows = [row for row in await audit_rows(gate, world_id) if row.type in ("spawn", "update")]
            assert [row.status for row in rows] == ["applied"] * 3

    run_scenario(scenario)


def test_a_failing_handler_stages_nothing(tmp_path: Path) -> None:
    """If the handler of a custom command raises, none of its mutations stay staged (G2, T6)."""

    def pair(scope: Any, data: Any) -> Any:
        for x in data["xs"]:
            scope.spawn(Position(x=x))
            scope.send(1, {"x": x})
        if data["xs"] == [13.0]:
            raise ValueError("no such number")
        return "what it returns does not matter"

    async def scenario() -> None:
        async with open_gate() as gate:
            world_id = await create_world(gate, journal_at(tmp_path))
            with pytest.raises(NoHandler, match="pair"):
                await gate.execute(PLAYER, Custom("pair", {"xs": [1.0]}), world_id)
            with pytest.raises(TypeError, match="name"):
                await gate.execute(ADMIN, AddHandler(5, pair), world_id)  # type: ignore[arg-type]  # reason: that is refused
            await gate.execute(ADMIN, AddHandler("pair", pair), world_id)
            await gate.execute(PLAYER, Custom("pair", {"xs": [1.0, 2.0]}), world_id)
            with pytest.raises(ValueError, match="no such number"):
                await gate.execute(PLAYER, Custom("pair", {"xs": [13.0]}), world_id)
            await gate.submit(PLAYER, Custom("pair", {"xs": [13.0]}), world_id)
            await gate.submit(PLAYER, Custom("pair", {"xs": [3.0]}), world_id)
            await step(gate, world_id)
            assert sorted((await x_history(gate, world_id)).values()) == [1.0, 2.0, 3.0]
            statuses = [row.status for row in await audit_rows(gate, world_id, type="custom")]
            assert statuses == ["failed", "applied", "failed", "failed", "applied"]

    run_scenario(scenario)


def test_a_scope_ends_with_its_command(tmp_path: Path) -> None:
    """A handler's scope raises once the command is over (G1)."""
    kept: list[Any] = []

    async def scenario() -> None:
        async with open_gate() as gate:
            world_id = await create_world(gate, journal_at(tmp_path))
            await gate.execute(ADMIN, AddHandler("keep", lambda scope, data: kept.append(scope)), world_id)
            await gate.execute(ADMIN, Custom("keep"), world_id)
            with pytest.raises(RuntimeError, match="ends with its command"):
                kept[0].spawn(Position())

    run_scenario(scenario)


def test_text_that_is_not_utf8(tmp_path: Path) -> None:
    """A rejected command with a lone surrogate is recorded escaped; an accepted one is refused (M7, G4)."""

    async def scenario() -> None:
        async with open_gate() as gate:
            world_id = await create_world(gate, journal_at(tmp_path))
            with pytest.raises(PermissionDenied):
                await gate.execute(ActorCtx("x\ud800", {"viewer"}), Custom("caf\udce9"), world_id)
            with pytest.raises(ValueRejected):
                await gate.submit(ADMIN, Custom("caf\udce9"), world_id)
            entity = await gate.submit_spawn(ADMIN, world_id, Position(), tick=3)
        async with open_gate() as gate:
            await open_world(gate, journal_at(tmp_path))
            await run_steps(gate, world_id, 4)
            assert (entity, 3) in await x_history(gate, world_id)

    run_scenario(scenario)


def test_a_full_disk_stops_commands(tmp_path: Path) -> None:
    """While the ledger cannot be written, commands raise LedgerError; no accepted command is lost (G5)."""

    async def scenario() -> None:
        disk = LimitedDisk()
        async with open_gate(open_ledger=disk.open_ledger) as gate:
            world_id = await create_world(gate, journal_at(tmp_path))
            entity = await gate.submit_spawn(ADMIN, world_id, Position())
            await gate.flush()
            disk.fill()

            async def fill() -> None:
                while True:
                    await gate.submit(PLAYER, Send(entity, "x" * 4000), world_id)

            with pytest.raises(LedgerError):
                await fill()
            with pytest.raises(LedgerError):
                await gate.execute(ADMIN, Step(), world_id)
            disk.free()
            await gate.flush()
            await step(gate, world_id)
            messages = await audit_rows(gate, world_id, type="message")
            assert {row.status for row in messages} <= {"applied", "rejected"}
        assert verify(journal_at(tmp_path)) == []

    run_scenario(scenario)
