"""Commands that are sent through the gate from inside a tick (T7, G3, G4, G5)."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from daft import DataFrame
from stage import (
    ADMIN,
    PLAYER,
    Done,
    LimitedDisk,
    Position,
    Velocity,
    audit_rows,
    create_world,
    journal_at,
    open_gate,
    open_world,
    position_of,
    run_scenario,
    step,
)

from archetype_core import AsyncProcessor, MemoryStore, PreTick, StorageConfig
from archetype_core.command import (
    AddHandler,
    AddHook,
    AddProcessor,
    CommandGate,
    Custom,
    DestroyWorld,
    GetWorldInfo,
    RemoveProcessor,
    Send,
    Spawn,
    Step,
    Update,
)
from archetype_core.engine import Commands
from archetype_core.errors import AttemptOver, CommitUncertain, LedgerError, ProcessorError, QuotaExceeded
from archetype_gate import Quotas, verify


class Acts(AsyncProcessor):
    """Awaits what it is given, once a tick, and then fails so many times."""

    components = (Position,)

    def __init__(self, act: Callable[[], Awaitable[object]], failures: int = 0) -> None:
        self._act = act
        self.failures = failures

    async def process(self, df: DataFrame) -> DataFrame:
        await self._act()
        if self.failures:
            self.failures -= 1
            raise RuntimeError("boom")
        return df


class Spawns(AsyncProcessor):
    """Spawns with its own commands."""

    components = (Position,)

    def process(self, df: DataFrame, commands: Commands) -> DataFrame:
        commands.spawn_many([Velocity()] * 3)
        return df


async def acting_world(
    gate: CommandGate, storage: StorageConfig, act: Callable[[], Awaitable[object]], failures: int = 0
) -> str:
    """A world at tick 1 with one entity, whose next ticks call a function and fail so many times."""
    world_id = await create_world(gate, storage)
    await gate.execute(ADMIN, Spawn((Position(),)), world_id)
    await step(gate, world_id)
    await gate.execute(ADMIN, AddProcessor(Acts(act, failures)), world_id)
    return world_id


async def failing_steps(gate: CommandGate, world_id: str, times: int) -> None:
    """Make so many ticks that fail."""
    for _ in range(times):
        with pytest.raises(ProcessorError):
            await step(gate, world_id)


@contextmanager
def lost_answers() -> Iterator[list[bool]]:
    """Let each commit of a memory store raise, after it stored its tick or instead, as the list says."""
    commit, answers = MemoryStore.commit, list[bool]()

    def lose(store: MemoryStore, ticks: Any) -> None:
        stores = answers.pop(0) if answers else None
        if stores is not False:
            commit(store, ticks)
        if stores is not None:
            raise OSError("the answer is lost")

    with mock.patch.object(MemoryStore, "commit", lose):
        yield answers


def test_only_the_last_attempt_leaves_commands() -> None:
    """Executed and submitted commands of failed attempts leave no effect, no audit row and no cost (T7, G3, G4)."""

    async def scenario() -> None:
        given: list[tuple[Any, ...]] = []

        async def act() -> None:
            first = await gate.execute(PLAYER, Spawn((Velocity(dx=1.0),)), world_id)
            many = await gate.submit_spawn(PLAYER, world_id, Velocity(dx=2.0))
            await gate.submit(PLAYER, Update(1, (Position(x=5.0),)), world_id, priority=1)
            given.append((first, many))

        async with open_gate(quotas=Quotas(commands=3, credits=3, exempt=frozenset({ADMIN.id}))) as gate:
            world_id = await acting_world(gate, StorageConfig("memory:"), act, 3)
            await failing_steps(gate, world_id, 3)
            assert await audit_rows(gate, world_id, actor=PLAYER.id) == []
            info = await gate.execute(ADMIN, GetWorldInfo(), world_id)
            assert (info.queued, info.pending) == (0, 0)
            await step(gate, world_id)
            assert given == [(2, 3)] * 4
            rows = await audit_rows(gate, world_id, actor=PLAYER.id)
            assert [(row.type, row.status) for row in rows] == [("spawn", "queued")] * 2 + [("update", "queued")]
            info = await gate.execute(ADMIN, GetWorldInfo(), world_id)
            assert (info.queued, info.pending, info.entities) == (2, 1, 1)
            await gate.execute(ADMIN, RemoveProcessor(Acts), world_id)
            await step(gate, world_id)
            rows = await audit_rows(gate, world_id, actor=PLAYER.id)
            assert [(row.status, row.tick) for row in rows] == [("applied", 2)] * 3
            assert await position_of(gate, world_id, 1) == 5.0
            assert (await gate.execute(ADMIN, GetWorldInfo(), world_id)).entities == 3
            with pytest.raises(QuotaExceeded):
                await gate.execute(PLAYER, Spawn((Position(),)), world_id)

    run_scenario(scenario)


def test_a_later_tick_of_another_world_keeps_its_count() -> None:
    """What is given back for a world that has ticked meanwhile does not change what was used in its new tick (G3)."""

    async def scenario() -> None:
        async def outside(work: Coroutine[Any, Any, Any]) -> None:
            await asyncio.create_task(work, context=contextvars.Context())

        async def act() -> None:
            await gate.execute(PLAYER, Spawn((Position(),)), other)
            await outside(step(gate, other))
            await outside(gate.execute(PLAYER, Spawn((Position(),)), other))

        async with open_gate(quotas=Quotas(commands=1, exempt=frozenset({ADMIN.id}))) as gate:
            other = await create_world(gate, StorageConfig("memory:"), "other")
            world_id = await acting_world(gate, StorageConfig("memory:"), act, 1)
            await failing_steps(gate, world_id, 1)
            with pytest.raises(QuotaExceeded):
                await gate.execute(PLAYER, Spawn((Position(),)), other)

    run_scenario(scenario)


def test_a_failed_step_counts_what_it_dropped() -> None:
    """The row of a failed step says how many commands its attempt dropped (G4)."""

    async def scenario() -> None:
        async def act() -> None:
            await gate.execute(PLAYER, Spawn((Velocity(),)), world_id)
            await gate.submit_batch(PLAYER, [Spawn((Velocity(),))] * 2, world_id)

        async with open_gate() as gate:
            world_id = await acting_world(gate, StorageConfig("memory:"), act, 1)
            await failing_steps(gate, world_id, 1)
            await step(gate, world_id)
            failed, applied = (await audit_rows(gate, world_id, type="step"))[-2:]
            assert failed.status == "failed"
            assert failed.reason.endswith("(commands dropped with the attempt: 3)")
            assert (applied.status, applied.reason) == ("applied", "")

    run_scenario(scenario)


def test_what_came_from_outside_is_applied_once_at_the_retry() -> None:
    """A failed step keeps the queued and staged commands from outside, and drops those from inside (T7, G5)."""

    async def scenario() -> None:
        async def act() -> None:
            await gate.execute(PLAYER, Spawn((Velocity(dx=3.0),)), world_id)

        async with open_gate() as gate:
            world_id = await acting_world(gate, StorageConfig("memory:"), act, 2)
            queued = await gate.submit_spawn(PLAYER, world_id, Velocity(dx=1.0))
            staged = await gate.execute(PLAYER, Spawn((Velocity(dx=2.0),)), world_id)
            await failing_steps(gate, world_id, 2)
            await step(gate, world_id)
            await gate.execute(ADMIN, RemoveProcessor(Acts), world_id)
            await step(gate, world_id)
            rows = await audit_rows(gate, world_id, actor=PLAYER.id)
            assert [(row.status, row.tick) for row in rows] == [("applied", 1), ("applied", 1), ("applied", 2)]
            assert (await gate.execute(ADMIN, GetWorldInfo(), world_id)).entities == 4
            assert (queued, staged) == (2, 3)

    run_scenario(scenario)


@pytest.mark.parametrize("is_elsewhere", [False, True], ids=["same storage", "another storage"])
def test_another_world_gets_commands_at_the_commit(is_elsewhere: bool, tmp_path: Path) -> None:
    """Commands for another world are held until the commit, in whatever storage it is, and survive a restart then (T7)."""

    async def scenario() -> None:
        async def act() -> None:
            ids.append(await gate.submit_spawn(PLAYER, other, Position(x=1.0)))
            ids.append(await gate.execute(PLAYER, Spawn((Position(x=2.0),)), other))

        ids: list[int] = []
        storage = journal_at(tmp_path / "other") if is_elsewhere else journal_at(tmp_path)
        async with open_gate() as gate:
            other = await create_world(gate, storage, "other")
            world_id = await acting_world(gate, journal_at(tmp_path), act, 1)
            await failing_steps(gate, world_id, 1)
            info = await gate.execute(ADMIN, GetWorldInfo(), other)
            assert (info.queued, info.pending) == (0, 0)
            await step(gate, world_id)
            info = await gate.execute(ADMIN, GetWorldInfo(), other)
            assert (info.queued, info.pending) == (1, 1)
            assert ids == [1, 2, 1, 2]
        async with open_gate() as gate:
            info = await open_world(gate, storage, "other")
            assert (info.queued, info.pending) == (1, 1)
            await step(gate, other)
            assert [await position_of(gate, other, one) for one in (1, 2)] == [1.0, 2.0]
            rows = await audit_rows(gate, other, actor=PLAYER.id)
            assert [(row.status, row.tick) for row in rows] == [("applied", 0)] * 2
        assert verify(storage) == []

    run_scenario(scenario)


def test_pre_tick_hooks_submit_for_the_next_tick() -> None:
    """What a pre-tick hook executes lands in its tick, what it submits in the next one, whatever failed before (T7)."""

    async def scenario() -> None:
        async def nothing() -> None:
            """The processor only fails."""

        async def hook(event: PreTick) -> None:
            await gate.execute(PLAYER, Update(1, (Position(x=float(event.tick)),)), world_id)
            await gate.submit(PLAYER, Spawn((Velocity(),)), world_id)

        async with open_gate() as gate:
            world_id = await acting_world(gate, StorageConfig("memory:"), nothing, 2)
            await gate.execute(ADMIN, AddHook(PreTick, hook), world_id)
            await failing_steps(gate, world_id, 2)
            await step(gate, world_id)
            rows = await audit_rows(gate, world_id, actor=PLAYER.id)
            assert [(row.type, row.status, row.tick) for row in rows] == [
                ("update", "applied", 1),
                ("spawn", "queued", 1),
            ]
            assert await position_of(gate, world_id, 1) == 1.0
            await step(gate, world_id)
            assert (await audit_rows(gate, world_id, actor=PLAYER.id))[1].tick == 2

    run_scenario(scenario)


def test_a_custom_command_and_a_message_are_held_too() -> None:
    """A custom command's mutations and a message from inside a tick are dropped with it, and applied once after it (T7)."""

    async def scenario() -> None:
        async def act() -> None:
            await gate.execute(PLAYER, Custom("make", 2), world_id)
            await gate.execute(PLAYER, Send(1, "hello"), world_id)

        def make(scope: Any, count: int) -> None:
            scope.spawn_many([Velocity()] * count)

        async with open_gate() as gate:
            world_id = await acting_world(gate, StorageConfig("memory:"), act, 1)
            await gate.execute(ADMIN, AddHandler("make", make), world_id)
            await failing_steps(gate, world_id, 1)
            await step(gate, world_id)
            await gate.execute(ADMIN, RemoveProcessor(Acts), world_id)
            await step(gate, world_id)
            assert (await gate.execute(ADMIN, GetWorldInfo(), world_id)).entities == 3
            rows = await audit_rows(gate, world_id, actor=PLAYER.id)
            assert [(row.type, row.status, row.tick) for row in rows] == [
                ("custom", "applied", 2),
                ("message", "applied", 2),
            ]

    run_scenario(scenario)


def test_a_failed_attempt_refuses_what_comes_late() -> None:
    """A task of a failed attempt is refused, with an audit row and without a cost; after a commit it is a caller like others."""

    async def scenario() -> None:
        tasks: list[asyncio.Task[object]] = []
        go_on = asyncio.Event()

        async def later(submits: bool) -> object:
            await go_on.wait()
            if submits:
                return await gate.submit(PLAYER, Spawn((Velocity(),)), world_id)
            return await gate.execute(PLAYER, Spawn((Velocity(),)), world_id)

        async def act() -> None:
            tasks.extend(asyncio.create_task(later(submits)) for submits in (True, False))

        async with open_gate(quotas=Quotas(commands=2, exempt=frozenset({ADMIN.id}))) as gate:
            world_id = await acting_world(gate, StorageConfig("memory:"), act, 1)
            await failing_steps(gate, world_id, 1)
            await step(gate, world_id)
            go_on.set()
            for task in tasks[:2]:
                with pytest.raises(AttemptOver):
                    await task
            await asyncio.gather(*tasks[2:])
            rows = await audit_rows(gate, world_id, actor=PLAYER.id)
            assert [row.status for row in rows] == ["rejected"] * 2 + ["queued"] * 2

    run_scenario(scenario)


def test_a_world_that_is_stepped_inside_a_tick() -> None:
    """A tick that a processor makes in another world stays, with that world's queue; what it sent further is held (T7)."""

    async def scenario() -> None:
        async def act() -> None:
            await step(gate, inner)

        async def send_on() -> None:
            await gate.submit(PLAYER, Spawn((Velocity(),)), third)
            await gate.submit(PLAYER, Spawn((Done(),)), inner)

        async with open_gate() as gate:
            storage = StorageConfig("memory:")
            third = await create_world(gate, storage, "third")
            inner = await create_world(gate, storage, "inner", Acts(send_on))
            await gate.execute(ADMIN, Spawn((Position(),)), inner)
            await step(gate, inner)
            await gate.submit(PLAYER, Spawn((Velocity(),)), inner)
            world_id = await acting_world(gate, storage, act, 1)
            await failing_steps(gate, world_id, 1)
            info = await gate.execute(ADMIN, GetWorldInfo(), inner)
            assert (info.tick, info.entities, info.queued) == (2, 2, 1)
            assert (await gate.execute(ADMIN, GetWorldInfo(), third)).queued == 0
            await step(gate, world_id)
            assert (await gate.execute(ADMIN, GetWorldInfo(), third)).queued == 1
            assert (await gate.execute(ADMIN, GetWorldInfo(), inner)).entities == 3

    run_scenario(scenario)


@pytest.mark.parametrize("is_stored", [True, False])
def test_an_uncertain_commit_applies_once(is_stored: bool) -> None:
    """The step after an uncertain commit adopts it or repeats it; every command is applied once, as the audit says (T7)."""

    async def scenario() -> None:
        async def act() -> None:
            await gate.submit(PLAYER, Update(1, (Position(x=7.0),)), world_id)
            await gate.execute(PLAYER, Spawn((Velocity(),)), world_id)

        async with open_gate() as gate:
            world_id = await acting_world(gate, StorageConfig("memory:"), act)
            await gate.submit(PLAYER, Spawn((Done(),)), world_id)
            with lost_answers() as answers:
                answers.append(is_stored)
                with pytest.raises(CommitUncertain):
                    await step(gate, world_id)
            rows = await audit_rows(gate, world_id, actor=PLAYER.id)
            assert [row.status for row in rows] == ["queued"]
            assert await step(gate, world_id) == 1
            await gate.execute(ADMIN, RemoveProcessor(Acts), world_id)
            await step(gate, world_id)
            rows = await audit_rows(gate, world_id, actor=PLAYER.id)
            assert [(row.type, row.status, row.tick) for row in rows] == [
                ("spawn", "applied", 1),
                ("update", "applied", 2),
                ("spawn", "applied", 2),
            ]
            assert await position_of(gate, world_id, 1) == 7.0
            assert (await gate.execute(ADMIN, GetWorldInfo(), world_id)).entities == 3

    run_scenario(scenario)


@pytest.mark.parametrize("is_stored", [True, False])
def test_a_process_may_die_in_doubt(is_stored: bool) -> None:
    """If a process ends before it knows whether a tick was stored, the next one applies its submissions once, or never (R5)."""

    async def scenario() -> None:
        storage = StorageConfig(f"memory:dies in doubt {is_stored}")

        async def act() -> None:
            await gate.submit(PLAYER, Update(1, (Position(x=7.0),)), world_id)
            await gate.submit(PLAYER, Spawn((Velocity(),)), other, tick=2)

        async with open_gate() as gate:
            other = await create_world(gate, storage, "other")
            world_id = await acting_world(gate, storage, act)
            await gate.submit(PLAYER, Spawn((Done(),)), world_id)
            with lost_answers() as answers:
                answers.append(is_stored)
                with pytest.raises(CommitUncertain):
                    await step(gate, world_id)
            async with open_gate() as after:
                for name in ("w", "other"):
                    await open_world(after, storage, name)
                info = await after.execute(ADMIN, GetWorldInfo(), world_id)
                assert (info.tick, info.queued) == ((2, 1) if is_stored else (1, 1))
                assert (await after.execute(ADMIN, GetWorldInfo(), other)).queued == int(is_stored)
                while await step(after, world_id) < 2:
                    pass
                rows = await audit_rows(after, world_id, actor=PLAYER.id)
                applied = [("spawn", "applied", 1), ("update", "applied", 2)]
                assert [(row.type, row.status, row.tick) for row in rows] == applied[: 1 + is_stored]
                assert await position_of(after, world_id, 1) == (7.0 if is_stored else 0.0)

    run_scenario(scenario)


def test_a_full_ledger_fails_the_attempt(tmp_path: Path) -> None:
    """If the submissions of a tick cannot be written, the tick fails before it is stored, and can be tried again (T7)."""

    async def scenario() -> None:
        disk = LimitedDisk()

        async def act() -> None:
            await gate.submit(PLAYER, Send(1, "x" * 20_000), world_id)
            if disk_fills:
                disk_fills.clear()
                disk.fill()

        disk_fills = [True]
        async with open_gate(open_ledger=disk.open_ledger) as gate:
            world_id = await acting_world(gate, journal_at(tmp_path), act)
            with pytest.raises(LedgerError):
                await step(gate, world_id)
            disk.free()
            info = await gate.execute(ADMIN, GetWorldInfo(), world_id)
            assert (info.tick, info.queued) == (1, 0)
            await gate.flush()
            await step(gate, world_id)
            assert (await gate.execute(ADMIN, GetWorldInfo(), world_id)).queued == 1

    run_scenario(scenario)


def test_a_world_may_be_destroyed_meanwhile() -> None:
    """A command that was held for a world that is destroyed before the commit is recorded as failed (G5, G8)."""

    async def scenario() -> None:
        async def act() -> None:
            await gate.submit(PLAYER, Spawn((Position(),)), other)
            await gate.execute(ADMIN, DestroyWorld(), other)

        async with open_gate() as gate:
            storage = StorageConfig("memory:")
            other = await create_world(gate, storage, "other")
            world_id = await acting_world(gate, storage, act)
            await step(gate, world_id)
            (row,) = await audit_rows(gate, other, actor=PLAYER.id)
            assert (row.status, row.reason) == ("failed", "the world was destroyed")

    run_scenario(scenario)


def test_processors_take_ids_from_durable_blocks(tmp_path: Path) -> None:
    """Two gates on one ledger never give out one entity id twice, also not to processors inside a tick (G5)."""

    async def scenario() -> None:
        async with open_gate() as one, open_gate() as two:
            world_id = await create_world(one, journal_at(tmp_path), "w", Spawns())
            await one.execute(ADMIN, Spawn((Position(),)), world_id)
            await step(one, world_id)
            await open_world(two, journal_at(tmp_path))
            theirs = await two.execute(ADMIN, Spawn((Position(),)), world_id)
            for _ in range(500):
                await one.execute(ADMIN, Step(), world_id)
            assert (await one.execute(ADMIN, GetWorldInfo(), world_id)).entities == 1 + 3 * 499
            ours = await one.execute(ADMIN, Spawn((Position(),)), world_id)
            assert 1024 < theirs < ours
            assert ours - theirs > 1024

    run_scenario(scenario)
