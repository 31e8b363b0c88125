"""The gate from its door: what is staged, queued, refused, counted and put on record."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from stage import (
    ADMIN,
    PLAYER,
    VIEWER,
    Fails,
    Move,
    Position,
    SetClock,
    Velocity,
    at,
    drive,
    gate,
    made,
    opened,
    position,
    rows,
    run,
    step,
    xs,
)

from archetype_core import RunConfig, StorageConfig
from archetype_core.command import (
    ActorCtx,
    AddHandler,
    CloseWorld,
    Command,
    CommandGate,
    CreateWorld,
    Custom,
    Despawn,
    DestroyWorld,
    ForkWorld,
    GetHistory,
    GetWorldInfo,
    ListWorlds,
    Run,
    Send,
    Spawn,
    Step,
    Update,
)
from archetype_core.errors import (
    EntityNotFound,
    GateClosed,
    LedgerError,
    NoHandler,
    NotDeferrable,
    PendingMutations,
    PermissionDenied,
    ProcessorError,
    QuotaExceeded,
    ValueRejected,
    WorldExists,
    WorldNotFound,
)
from archetype_gate import CommandService, Policy, Quotas, ServiceContainer, verify

_: type[CommandGate] = CommandService

MEMORY = StorageConfig("memory:")


def test_making_a_gate_does_nothing(tmp_path: Path) -> None:
    """A container that was only made has no files, no threads and nothing to shut down (C1)."""

    async def scenario() -> None:
        container = ServiceContainer(ledger=tmp_path / "ledgers")
        assert list(tmp_path.iterdir()) == []
        await container.shutdown()
        assert list(tmp_path.iterdir()) == []
        with pytest.raises(GateClosed):
            await container.gate.execute(ADMIN, ListWorlds())

    drive(scenario)


def test_the_quickstart_history(tmp_path: Path) -> None:
    """What was spawned is read at its tick, and x moves once with every tick after (T2, G6)."""

    async def scenario() -> None:
        async with gate() as there:
            world_id = await made(there, at(tmp_path), "demo", Move())
            entity = await there.execute(ADMIN, Spawn((Position(), Velocity(dx=1.0))), world_id)
            await run(there, world_id, 3)
            assert await xs(there, world_id) == {(entity, 0): 0.0, (entity, 1): 1.0, (entity, 2): 2.0}

    drive(scenario)


def test_a_direct_command_is_queued_until_its_tick(tmp_path: Path) -> None:
    """The row of a direct mutation says queued until its tick is committed, and then which tick that was (G4, G5)."""

    async def scenario() -> None:
        async with gate() as there:
            world_id = await made(there, at(tmp_path))
            await run(there, world_id, 2)
            await there.execute(ADMIN, Spawn((Position(),)), world_id)
            before = (await rows(there, world_id, type="spawn"))[0]
            await step(there, world_id)
            after = (await rows(there, world_id, type="spawn"))[0]
            assert (before.status, before.settled_at) == ("queued", None)
            assert (after.status, after.tick) == ("applied", 2)
            assert after.settled_at is not None
            assert after.settled_at >= after.submitted_at

    drive(scenario)


def test_queued_commands_apply_in_order_also_within_a_run(tmp_path: Path) -> None:
    """Commands wait for their tick and apply by tick, priority and order of submission, in the middle of a run too (G5)."""

    async def scenario() -> None:
        async with gate() as there:
            world_id = await made(there, at(tmp_path))
            entity = await there.submit_spawn(PLAYER, world_id, Position())
            for x, tick, priority in ((1.0, 5, 0), (2.0, 5, -1), (3.0, 3, 9), (4.0, 5, 0), (5.0, 50, 0)):
                await there.submit(PLAYER, Update(entity, (Position(x=x),)), world_id, tick=tick, priority=priority)
            await run(there, world_id, 60)
            found = await xs(there, world_id)
            assert [found[entity, tick] for tick in (0, 2, 3, 4, 5, 49, 50, 59)] == [0, 0, 3, 3, 4, 4, 5, 5]

    drive(scenario)


def test_a_failing_tick_keeps_what_it_took(tmp_path: Path) -> None:
    """Queued and direct commands of a tick that failed apply with the next one that does not, once (T7, G5)."""

    async def scenario() -> None:
        async with gate() as there:
            fails = Fails()
            fails.is_failing = False
            world_id = await made(there, at(tmp_path), "w", fails)
            first = await there.execute(ADMIN, Spawn((Position(x=1.0),)), world_id)
            await step(there, world_id)
            fails.is_failing = True
            second = await there.submit_spawn(PLAYER, world_id, Position(x=2.0))
            await there.execute(ADMIN, Update(first, (Position(x=9.0),)), world_id)
            for _ in range(2):
                with pytest.raises(ProcessorError):
                    await step(there, world_id)
            assert [row.status for row in await rows(there, world_id, type="step")] == ["applied", "failed", "failed"]
            fails.is_failing = False
            await run(there, world_id, 2)
            assert await xs(there, world_id) == {
                (first, 0): 1.0,
                (first, 1): 9.0,
                (first, 2): 9.0,
                (second, 1): 2.0,
                (second, 2): 2.0,
            }

    drive(scenario)


def test_a_command_that_fails_takes_nobody_along(tmp_path: Path) -> None:
    """A queued command that cannot be applied is on record as failed; the tick and the others go on (G5)."""

    async def scenario() -> None:
        async with gate() as there:
            world_id = await made(there, at(tmp_path))
            await there.submit(PLAYER, Update(77, (Position(x=1.0),)), world_id)
            entity = await there.submit_spawn(PLAYER, world_id, Position(x=3.0))
            await step(there, world_id)
            assert await position(there, world_id, entity) == 3.0
            (failed,) = await rows(there, world_id, status="failed")
            assert (failed.type, failed.tick) == ("update", 0)
            assert "EntityNotFound" in failed.reason

    drive(scenario)


def test_everything_that_waits_survives(tmp_path: Path) -> None:
    """A closed world comes back with what was staged and what was queued, and ids go on where they were (R5, G5, G6)."""

    async def scenario() -> None:
        async with gate() as there:
            world_id = await made(there, at(tmp_path), "w", Move())
            one = await there.execute(ADMIN, Spawn((Position(x=1.0), Velocity(dx=1.0))), world_id)
            two = await there.submit_spawn(PLAYER, world_id, Position(x=2.0), tick=1)
            three = await there.execute(ADMIN, Spawn((Position(x=3.0),)), world_id)
            await there.execute(ADMIN, Despawn((three,)), world_id)
        async with gate() as there:
            info = await opened(there, at(tmp_path))
            assert (info.world_id, info.tick, info.queued, info.pending) == (world_id, 0, 1, 3)
            four = await there.execute(ADMIN, Spawn((Position(x=4.0),)), world_id)
            assert len({one, two, three, four}) == 4
            await run(there, world_id, 2)
            found = await xs(there, world_id)
            assert found == {(one, 0): 1.0, (one, 1): 1.0, (two, 1): 2.0, (four, 0): 4.0, (four, 1): 4.0}
        assert verify(at(tmp_path)) == []

    drive(scenario)


def test_forks_that_never_ran_come_back(tmp_path: Path) -> None:
    """A fork that was closed before its first tick is the same branch of the same point when it is opened (R3, R5)."""

    async def scenario() -> None:
        async with gate() as there:
            world_id = await made(there, at(tmp_path), "w", Move())
            entity = await there.execute(ADMIN, Spawn((Position(), Velocity(dx=1.0))), world_id)
            await run(there, world_id, 5)
            past = await there.execute(ADMIN, ForkWorld("past", at_tick=2), world_id)
            fresh = await there.execute(ADMIN, ForkWorld("fresh", rng="fresh"), world_id)
            again = await there.execute(ADMIN, ForkWorld("again"), past.world_id)
            await run(there, world_id, 5)
        async with gate() as there:
            for name, was, x in (("past", past, 2.0), ("fresh", fresh, 4.0), ("again", again, 2.0)):
                info = await opened(there, at(tmp_path), name)
                assert (info.world_id, info.run_id, info.seed, info.tick) == (
                    was.world_id,
                    was.run_id,
                    was.seed,
                    was.tick,
                )
                assert await position(there, info.world_id, entity) == x
                await step(there, info.world_id)

    drive(scenario)


def test_a_fork_takes_copies_of_what_is_staged(tmp_path: Path) -> None:
    """With pending="copy" the staged commands are the fork's as well, each applied once in each world (R3, G5)."""

    async def scenario() -> None:
        async with gate() as there:
            world_id = await made(there, at(tmp_path))
            await step(there, world_id)
            entity = await there.execute(ADMIN, Spawn((Position(x=5.0),)), world_id)
            with pytest.raises(PendingMutations):
                await there.execute(ADMIN, ForkWorld("refused"), world_id)
            fork = await there.execute(ADMIN, ForkWorld("copy", pending="copy"), world_id)
            await step(there, world_id)
        async with gate() as there:
            for name in ("w", "copy"):
                info = await opened(there, at(tmp_path), name)
                await step(there, info.world_id)
                assert await position(there, info.world_id, entity) == 5.0
                assert info.entities + info.pending == 1
            assert [row.status for row in await rows(there, fork.world_id, type="copied")] == ["applied"]

    drive(scenario)


def test_custom_commands_do_all_or_nothing(tmp_path: Path) -> None:
    """The handler of a custom command stages what it likes; if it raises, nothing of it is staged (G2, T6)."""

    def pair(scope: Any, data: Any) -> Any:
        for x in data["xs"]:
            scope.spawn(Position(x=x))
            scope.send(1, {"x": x})
        if data["xs"] == [13.0]:
            raise ValueError("no such number")
        return "what it returns does not matter"

    async def scenario() -> None:
        async with gate() as there:
            world_id = await made(there, at(tmp_path))
            with pytest.raises(NoHandler, match="pair"):
                await there.execute(PLAYER, Custom("pair", {"xs": [1.0]}), world_id)
            await there.execute(ADMIN, AddHandler("pair", pair), world_id)
            await there.execute(PLAYER, Custom("pair", {"xs": [1.0, 2.0]}), world_id)
            with pytest.raises(ValueError, match="no such number"):
                await there.execute(PLAYER, Custom("pair", {"xs": [13.0]}), world_id)
            await there.submit(PLAYER, Custom("pair", {"xs": [13.0]}), world_id)
            await there.submit(PLAYER, Custom("pair", {"xs": [3.0]}), world_id)
            await step(there, world_id)
            assert sorted((await xs(there, world_id)).values()) == [1.0, 2.0, 3.0]
            statuses = [row.status for row in await rows(there, world_id, type="custom")]
            assert statuses == ["failed", "applied", "failed", "failed", "applied"]

    drive(scenario)


def test_a_staged_custom_command_waits_for_its_handler(tmp_path: Path) -> None:
    """What was staged by a handler is done again after a restart, once the handler is there (G5, R5)."""

    def double(scope: Any, data: Any) -> None:
        scope.update(data, Position(x=scope.get(data)[Position].x * 2))

    async def scenario() -> None:
        async with gate() as there:
            world_id = await made(there, at(tmp_path))
            entity = await there.execute(ADMIN, Spawn((Position(x=3.0),)), world_id)
            await step(there, world_id)
            await there.execute(ADMIN, AddHandler("double", double), world_id)
            await there.execute(ADMIN, Custom("double", entity), world_id)
        async with gate() as there:
            await opened(there, at(tmp_path))
            await there.execute(ADMIN, AddHandler("double", double), world_id)
            await step(there, world_id)
            assert await position(there, world_id, entity) == 6.0

    drive(scenario)


def test_refusals_change_nothing_and_are_on_record(tmp_path: Path) -> None:
    """What policy, quota, an unknown world or a wrong command refuses leaves a row and nothing else (G1, G3, G4)."""

    class Sneak(Command[None]):
        kind = "sneak"

    async def scenario() -> None:
        async with gate(quotas=Quotas(commands=2, exempt=frozenset({ADMIN.id}))) as there:
            world_id = await made(there, at(tmp_path))
            with pytest.raises(PermissionDenied):
                await there.execute(VIEWER, Spawn((Position(),)), world_id)
            with pytest.raises(PermissionDenied):
                await there.execute(ADMIN, Sneak(), world_id)
            with pytest.raises(PermissionDenied):
                await there.execute(ActorCtx("x", {"emperor"}), GetWorldInfo(), world_id)
            with pytest.raises(WorldNotFound):
                await there.submit(PLAYER, Send(1, "hi"), "nowhere")
            with pytest.raises(NotDeferrable):
                await there.submit(ADMIN, Step(), world_id)
            with pytest.raises(ValueRejected):
                await there.submit(PLAYER, Send(1, object()), world_id)
            with pytest.raises(QuotaExceeded):
                await there.submit_batch(PLAYER, [Spawn((Position(),))] * 3, world_id)
            await there.submit_batch(PLAYER, [Spawn((Position(),))] * 2, world_id)
            with pytest.raises(QuotaExceeded):
                await there.execute(PLAYER, GetWorldInfo(), world_id)
            await step(there, world_id)
            assert len(await xs(there, world_id)) == 2
            rejected = await rows(there, None, status="rejected")
            assert [row.type for row in rejected] == [
                "spawn",
                "sneak",
                "get_world_info",
                "message",
                "step",
                "message",
                *["spawn"] * 3,
                "get_world_info",
            ]
            assert all(row.reason for row in rejected)

    drive(scenario)


def test_quotas_outlive_the_gate_and_end_with_the_day(tmp_path: Path) -> None:
    """What was used counts on after a restart, for the same tick and the same day, for its actor alone (G3)."""
    clock = SetClock()
    quotas = Quotas(commands=3, credits=5, exempt=frozenset({ADMIN.id}))

    async def scenario() -> None:
        async with gate(clock=clock, quotas=quotas) as there:
            world_id = await made(there, at(tmp_path))
            for _ in range(3):
                await there.submit_spawn(PLAYER, world_id, Position())
        async with gate(clock=clock, quotas=quotas) as there:
            await opened(there, at(tmp_path))
            with pytest.raises(QuotaExceeded) as refused:
                await there.submit_spawn(PLAYER, world_id, Position())
            assert (refused.value.quota, refused.value.used) == ("commands", 3)
            await there.submit_spawn(ActorCtx("pia", {"player"}), world_id, Position())
            await step(there, world_id)
            for _ in range(2):
                await there.submit_spawn(PLAYER, world_id, Position())
            with pytest.raises(QuotaExceeded) as refused:
                await there.submit_spawn(PLAYER, world_id, Position())
            assert (refused.value.quota, refused.value.used) == ("credits", 5)
            clock.turn_day()
            await there.submit_spawn(PLAYER, world_id, Position())

    drive(scenario)


def test_a_policy_is_data(tmp_path: Path) -> None:
    """A user's own roles decide instead of the four (G2)."""
    policy = Policy({"clerk": frozenset({"create_world", "spawn"}), "runner": frozenset({"step"})})

    async def scenario() -> None:
        async with gate(policy=policy) as there:
            clerk, runner = ActorCtx("c", {"clerk"}), ActorCtx("r", {"runner"})
            info = await there.execute(clerk, CreateWorld("w", at(tmp_path)))
            await there.execute(clerk, Spawn((Position(),)), info.world_id)
            await there.execute(runner, Step(), info.world_id)
            denied: list[tuple[ActorCtx, Command[Any]]] = [
                (clerk, Step()),
                (runner, Spawn((Position(),))),
                (ADMIN, Step()),
            ]
            for actor, command in denied:
                with pytest.raises(PermissionDenied):
                    await there.execute(actor, command, info.world_id)

    drive(scenario)


def test_what_is_wrong_is_told_at_the_door() -> None:
    """No actor, no world where one is needed, and a world where none is: each is a clear error (M7)."""

    async def scenario() -> None:
        async with gate() as there:
            world_id = await made(there, MEMORY)
            wrong: list[tuple[Any, Command[Any], Any]] = [
                ("admin", Step(), world_id),
                (ADMIN, Step(), None),
                (ADMIN, ListWorlds(), world_id),
                (ADMIN, Step(), 7),
            ]
            for actor, command, world in wrong:
                with pytest.raises(TypeError):
                    await there.execute(actor, command, world)
            for tick, priority in ((-1, 0), (1.5, 0), (True, 0), (2**63, 0), (0, "high"), (0, 2**63)):
                with pytest.raises(ValueError, match=r"tick|priority"):
                    await there.submit(ADMIN, Send(1, "x"), world_id, tick=tick, priority=priority)
            with pytest.raises(EntityNotFound):
                await there.execute(ADMIN, Update(1, (Position(x=1.0),)), world_id)

    drive(scenario)


def test_names_and_ids_of_worlds(tmp_path: Path) -> None:
    """Creating is idempotent by id, refuses a taken name, and leaves nothing behind when it is refused (G8)."""

    async def scenario() -> None:
        storage = at(tmp_path)
        async with gate() as there:
            one = await there.execute(ADMIN, CreateWorld("w", storage, world_id="mine"))
            assert await there.execute(ADMIN, CreateWorld("w", storage, world_id="mine")) == one
            with pytest.raises(WorldExists):
                await there.execute(ADMIN, CreateWorld("w", storage))
            with pytest.raises(ValueError, match="seed"):
                await there.execute(ADMIN, CreateWorld("bad", storage, seed=-1))
            assert [info.name for info in await there.execute(ADMIN, ListWorlds(storage))] == ["w"]
        async with gate() as there:
            again = await there.execute(ADMIN, CreateWorld("w", storage, world_id="mine"))
            assert (again.world_id, again.run_id, again.seed) == (one.world_id, one.run_id, one.seed)
            assert await there.execute(ADMIN, DestroyWorld(), "mine")
            assert not await there.execute(ADMIN, DestroyWorld(), "mine")
            assert not await there.execute(ADMIN, CloseWorld(), "never")
            other = await there.execute(ADMIN, CreateWorld("w", storage))
            assert other.world_id != "mine"
            with pytest.raises(WorldExists):
                await opened(there, storage, "mine")

    drive(scenario)


def test_destroying_keeps_history_and_forgets_the_queue(tmp_path: Path) -> None:
    """A destroyed world has its rows and its audit, and what waited for it is on record as failed (G8)."""

    async def scenario() -> None:
        async with gate() as there:
            world_id = await made(there, at(tmp_path))
            await there.execute(ADMIN, Spawn((Position(x=1.0),)), world_id)
            await step(there, world_id)
            await there.submit_spawn(PLAYER, world_id, Position())
            await there.execute(ADMIN, DestroyWorld(), world_id)
            assert [row.status for row in await rows(there, world_id, type="spawn")] == ["applied", "failed"]
            back = await opened(there, at(tmp_path), world_id)
            assert (back.tick, back.queued, back.entities) == (1, 0, 1)

    drive(scenario)


def test_a_ledger_that_cannot_be_written_closes_the_door(tmp_path: Path) -> None:
    """While nothing can be put on record nothing is accepted, and nothing that was is lost (G5)."""

    async def scenario() -> None:
        async with gate() as there:
            world_id = await made(there, at(tmp_path))
            assert isinstance(there, CommandService)
            ledger = there._storage.backends[0].ledger
            await there.flush()
            (pages,) = ledger._connection.execute("PRAGMA page_count").fetchone()
            ledger._connection.execute(f"PRAGMA max_page_count = {pages}")

            async def fill() -> None:
                while True:
                    await there.submit(PLAYER, Send(1, "x" * 4000), world_id)

            with pytest.raises(LedgerError):
                await fill()
            with pytest.raises(LedgerError):
                await there.execute(ADMIN, Step(), world_id)
            ledger._connection.execute("PRAGMA max_page_count = 1000000")
            await there.flush()
            await step(there, world_id)
            messages = await rows(there, world_id, type="message")
            assert {row.status for row in messages} <= {"applied", "rejected"}
        assert verify(at(tmp_path)) == []

    drive(scenario)


def test_worlds_run_side_by_side(tmp_path: Path) -> None:
    """Several worlds of a gate run at the same time, and each has its own order (T14)."""

    async def scenario() -> None:
        async with gate() as there:
            ids = [await made(there, at(tmp_path), f"w{n}", Move()) for n in range(4)]
            for world_id in ids:
                await there.execute(ADMIN, Spawn((Position(), Velocity(dx=1.0))), world_id)
            await asyncio.gather(*(there.execute(ADMIN, Run(RunConfig(steps=50)), one) for one in ids))
            assert [await position(there, one, 1) for one in ids] == [49.0] * 4
            runs = await there.execute(ADMIN, GetHistory())
            assert sum(row.type == "run" for row in runs) == 4

    drive(scenario)
