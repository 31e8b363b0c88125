"""Commands with idempotency keys are done once, at whatever moment the process dies (H3)."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from keys_child import ADMIN, Purse, send_all
from stage import run_scenario

from archetype_contracts.gate import ManualClock
from archetype_core.command import (
    ActorCtx,
    AuditFilter,
    CreateWorld,
    Despawn,
    DestroyWorld,
    GetHistory,
    GetWorldInfo,
    IdempotencyKey,
    ListWorlds,
    OpenWorld,
    Query,
    Spawn,
    Step,
    Update,
)
from archetype_core.config import StorageConfig
from archetype_core.errors import KeyConflict, QuotaExceeded, StorageNotFound
from archetype_gate import Quotas, ServiceContainer, verify

CHILD = Path(__file__).with_name("keys_child.py")
NEVER = 0


def run_child(place: Path, moment: int) -> dict[str, str]:
    """Run the program until a moment; return what it was answered, by key."""
    command = [sys.executable, str(CHILD), str(place), str(moment)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == (0 if moment == NEVER else 9), done.stderr
    return dict(line.split("\t", 1) for line in done.stdout.splitlines())


async def sent_again(storage: StorageConfig) -> tuple[dict[str, str], dict[str, Any], Counter[str]]:
    """Open all worlds, send every call again, and return the answers, the facts of the world, and its rows by kind."""
    container = ServiceContainer()
    gate, answers = container.gate, dict[str, str]()
    try:
        for one in await gate.execute(ADMIN, ListWorlds(storage)):
            await gate.execute(ADMIN, OpenWorld(one.world_id, storage))
    except StorageNotFound:
        pass
    made = await send_all(gate, storage, lambda name, result: answers.update({name: repr(result)}))
    world = made["create"].world_id
    info = await gate.execute(ADMIN, GetWorldInfo(), world)
    frame = await gate.execute(ADMIN, Query((Purse,)), world)
    rows = await asyncio.to_thread(frame.to_pydict)
    last = zip(rows["tick"], rows["purse__number"], strict=True)
    numbers = sorted(number for tick, number in last if tick == info.tick - 1)
    fork = await gate.execute(ADMIN, GetWorldInfo(), made["fork"].world_id)
    worlds = sorted(one.name for one in await gate.execute(ADMIN, ListWorlds(storage)))
    history = await gate.execute(ADMIN, GetHistory(AuditFilter(limit=1000)))
    await container.shutdown()
    facts = {"tick": info.tick, "numbers": numbers, "fork": fork.tick, "worlds": worlds}
    done = Counter(row.type for row in history if row.status == "applied" and row.world_id == world)
    return answers, facts, done


EXPECTED = {"tick": 8, "numbers": [3, 6, 7, 9], "fork": 7, "worlds": ["f", "w"]}
ROWS = {
    "create_world": 1,
    "spawn": 3,
    "update": 2,
    "step": 2,
    "run": 1,
    "run_episode": 1,
    "fork_world": 1,
    "run_rollout": 1,
}


def check_death(place: Path, moment: int) -> None:
    """Die at a moment, send everything again, and require that all was done once and answered as before."""
    told = run_child(place, moment)
    storage = StorageConfig(f"journal:{place}")
    answers, facts, done = asyncio.run(sent_again(storage))
    told.pop("moments", None)
    assert answers == {**answers, **told}
    assert facts == EXPECTED
    assert {kind: done[kind] for kind in ROWS} == ROWS
    assert verify(storage) == []


def test_without_a_death_everything_is_answered_again(tmp_path: Path) -> None:
    """Another process gets the same answers, and nothing is done twice."""
    check_death(tmp_path, NEVER)


@pytest.mark.thorough
@pytest.mark.parametrize("moment", [3, 11, 18, 27, 41, 52, 60, 71, 82, 93, 101])
def test_a_death_at_any_moment_does_nothing_twice(tmp_path: Path, moment: int) -> None:
    """Before or after any commit of ledger or store, what was answered stays, and everything is done exactly once."""
    check_death(tmp_path, moment)


def test_keys_expire_and_are_bounded(tmp_path: Path) -> None:
    """An actor has a number of keys at a time; each is free again after a day."""

    async def scenario() -> None:
        clock = ManualClock()
        container = ServiceContainer(quotas=Quotas(keys=2), clock=clock)
        gate, storage = container.gate, StorageConfig(f"journal:{tmp_path}")
        world = (await gate.execute(ADMIN, CreateWorld("w", storage))).world_id

        async def step(key: str, actor: ActorCtx = ADMIN, request: str = "") -> int:
            return (await gate.execute(actor, Step(), world, key=IdempotencyKey(key, request))).tick

        assert [await step("a"), await step("b"), await step("a")] == [0, 1, 0]
        with pytest.raises(QuotaExceeded):
            await step("c")
        assert await step("c", ActorCtx("bob", {"operator"})) == 2
        clock.advance(timedelta(hours=23))
        assert await step("a") == 0
        clock.advance(timedelta(hours=1, seconds=1))
        assert [await step("a", request="new"), await step("b")] == [3, 4]
        with pytest.raises(KeyConflict):
            await step("a")
        await container.shutdown()
        assert verify(storage) == []

    run_scenario(scenario)


def test_a_keyed_mutation_is_on_disk_before_a_tick_applies_it(tmp_path: Path) -> None:
    """While ticks are made all the time, keyed spawns and updates are each applied once, with the ids that were told."""

    async def scenario() -> None:
        container = ServiceContainer()
        gate, storage = container.gate, StorageConfig(f"journal:{tmp_path}")
        world = (await gate.execute(ADMIN, CreateWorld("w", storage))).world_id
        is_over = False

        async def tick() -> None:
            while not is_over:
                await gate.execute(ADMIN, Step(), world)

        async def spawn(number: int) -> list[int]:
            key = IdempotencyKey(f"spawn {number}")
            return [await gate.execute(ADMIN, Spawn((Purse(number=number),)), world, key=key) for _ in range(3)]

        ticking = asyncio.ensure_future(tick())
        found = await asyncio.gather(*(spawn(number) for number in range(30)))
        for number, (entity, *again) in enumerate(found):
            assert again == [entity, entity]
            key = IdempotencyKey(f"update {number}")
            await gate.execute(ADMIN, Update(entity, (Purse(number=100 + number),)), world, key=key)
        await gate.execute(ADMIN, Despawn(found[0][0]), world, key=IdempotencyKey("despawn"))
        is_over = True
        await ticking
        await gate.execute(ADMIN, Step(), world)
        frame = await gate.execute(
            ADMIN, Query((Purse,), (await gate.execute(ADMIN, GetWorldInfo(), world)).tick - 1), world
        )
        rows = await asyncio.to_thread(frame.to_pydict)
        assert sorted(rows["purse__number"]) == [100 + number for number in range(1, 30)]
        await container.shutdown()
        assert verify(storage) == []

    run_scenario(scenario)


def test_one_key_twice_before_there_is_a_world(tmp_path: Path) -> None:
    """What does nothing may be sent twice with one key before any ledger is open; the first ledger has both rows."""
    storage = StorageConfig(f"journal:{tmp_path / 'data'}")

    async def play() -> None:
        container = ServiceContainer()
        for _ in range(2):
            key = IdempotencyKey("again", "the same request")
            assert await container.gate.execute(ADMIN, DestroyWorld(), "nowhere", key=key) is False
        early = await container.gate.execute(ADMIN, GetHistory(AuditFilter()))
        assert len(early) >= 2
        await container.gate.execute(ADMIN, CreateWorld("w", storage), durable=True)
        rows = await container.gate.execute(ADMIN, GetHistory(AuditFilter()))
        assert [one.type for one in rows].count("destroy_world") == 2
        await container.shutdown()

    asyncio.run(play())
    assert verify(storage) == []
