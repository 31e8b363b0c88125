"""Forks: branches of a world that share only its history."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from daft import DataFrame
from scene import (
    PATIENCE_S,
    Calls,
    FaultyStore,
    Frozen,
    Health,
    Move,
    Position,
    Velocity,
    Watches,
    drive,
    history,
    timeline,
    world,
    xs,
)

from archetype_core.engine import PostTick, PreTick, World, WorldView
from archetype_core.errors import CommitError, PendingMutations, TickNotFound
from archetype_core.store import MemoryStore


def moving(count: int = 2, **given: Any) -> World:
    """A world of movers."""
    there = world(Move(), **given)
    there.spawn_many([(Position(), Velocity(dx=float(n))) for n in range(1, count + 1)])
    return there


def test_fork_is_a_new_world_at_the_same_tick() -> None:
    """A fork has new ids, and the entities, tick, seed and processors of its source (R3)."""

    async def scenario() -> None:
        source = moving()
        await source.run(3)
        fork = await source.fork()
        assert fork.world_id != source.world_id
        assert fork.run_id != source.run_id
        assert (fork.tick, fork.seed, xs(fork)) == (source.tick, source.seed, xs(source))
        assert fork.system.slots == source.system.slots
        await fork.step()
        await source.step()
        assert fork.digest() == source.digest()

    drive(scenario)


def test_fork_shares_rows_and_history() -> None:
    """A fork copies no rows: it shares live tables and history with its source (R3, R4)."""

    async def scenario() -> None:
        store = FaultyStore()
        source = moving(store=store)
        await source.run(3)
        commits = len(store.commits)
        fork = await source.fork()
        assert len(store.commits) == commits
        for archetype, rows in source.tables().items():
            assert fork.tables()[archetype] is rows
        assert [fork.digest(tick) for tick in range(3)] == [source.digest(tick) for tick in range(3)]

    drive(scenario)


def test_source_and_fork_diverge() -> None:
    """Source and fork do not see each other's entities, processors, hooks, runs and messages (R3)."""

    async def scenario() -> None:
        source = moving()
        await source.run(2)
        fork = await source.fork()
        digests = [source.digest(tick) for tick in range(2)]
        fork.despawn(1, 2)
        fork.remove_processor(Move)
        heard: list[int] = []
        fork.add_hook(PostTick, lambda event: heard.append(event.tick))
        fork.send(1, "only here")
        await fork.run(3)
        assert (len(fork), len(source), source.tick) == (0, 2, 2)
        await source.run(2)
        assert heard == [2, 3, 4]
        assert xs(source) == {1: 3.0, 2: 6.0}
        assert [source.digest(tick) for tick in range(2)] == digests
        assert [row["tick"] for row in history(source, Position, entity_ids=[1])] == [0, 1, 2, 3]
        assert [row["tick"] for row in history(fork, Position, entity_ids=[1])] == [0, 1]

    drive(scenario)


def test_new_ids_of_source_and_fork_are_their_own() -> None:
    """Source and fork count ids on from the fork; the same id in both is two entities (M5, R3)."""

    async def scenario() -> None:
        source = moving()
        await source.step()
        fork = await source.fork()
        assert source.spawn(Position(x=100.0)) == fork.spawn(Position(x=200.0)) == 3
        await source.step()
        await fork.step()
        assert (xs(source)[3], xs(fork)[3]) == (100.0, 200.0)

    drive(scenario)


def test_history_follows_the_lineage() -> None:
    """A fork's history includes its ancestors' up to each fork point; lineage=False leaves them out (R4)."""

    async def scenario() -> None:
        first = moving(1)
        await first.run(2)
        second = await first.fork()
        await second.run(2)
        third = await second.fork(at_tick=2)
        await asyncio.gather(first.run(5), second.run(5))
        await third.run(2)
        owners = third.query(Position).sort("tick").to_pydict()
        worlds = [first.world_id] * 2 + [second.world_id] + [third.world_id] * 2
        assert (owners["tick"], owners["world_id"]) == ([0, 1, 2, 3, 4], worlds)
        assert owners["position__x"] == [0.0, 1.0, 2.0, 3.0, 4.0]
        assert [row["tick"] for row in history(third, Position, lineage=False)] == [3, 4]
        fresh = await third.fork()
        assert history(fresh, Position, lineage=False) == []
        assert len(history(fresh, Position)) == 5

    drive(scenario)


def test_fork_of_the_past() -> None:
    """fork(at_tick=k) begins after tick k with its entities and ids; later history is not part of it (R3)."""

    async def scenario() -> None:
        source = moving(1)
        await source.run(2)
        late = source.spawn(Health())
        await source.run(2)
        fork = await source.fork(at_tick=1)
        assert (fork.tick, xs(fork), late in fork) == (2, {1: 1.0}, False)
        assert [row["tick"] for row in history(fork)] == [0, 1]
        assert fork.spawn(Health(hp=5)) == late
        await fork.step()
        assert fork.get(late)[Health].hp == 5
        for tick in (-1, 4, 9):
            with pytest.raises(TickNotFound) as caught:
                await source.fork(at_tick=tick)
            assert (caught.value.tick, caught.value.first, caught.value.last) == (tick, 0, 3)

    drive(scenario)


def test_fork_of_a_fork_that_never_stepped() -> None:
    """Forks of an unstepped fork, of now and of the past, have the same past as it has (R3)."""

    async def scenario() -> None:
        source = moving(1)
        await source.run(3)
        fork = await source.fork()
        again, past = await fork.fork(), await fork.fork(at_tick=1)
        await source.run(2)
        await again.step()
        await past.step()
        assert (xs(again), xs(past)) == ({1: 3.0}, {1: 2.0})
        assert [row["tick"] for row in history(past, Position)] == [0, 1, 2]

    drive(scenario)


def test_fork_of_a_world_that_never_stepped() -> None:
    """The fork of a world that never ran is empty, and both begin at tick 0 (R3)."""

    async def scenario() -> None:
        source = world(Move())
        fork = await source.fork()
        with pytest.raises(TickNotFound):
            await source.fork(at_tick=-1)
        with pytest.raises(TickNotFound):
            await source.fork(at_tick=0)
        fork.spawn(Position())
        await fork.step()
        await source.step()
        assert (len(fork), len(source), fork.tick) == (1, 0, 1)
        assert timeline(fork).spans[0].segment.parent is None

    drive(scenario)


def test_pending_mutations_refuse_or_come_along() -> None:
    """A fork of a world with staged mutations or messages is refused, unless they are copied; then each applies its own (R3)."""

    async def scenario() -> None:
        source = moving(1)
        await source.step()
        source.update(1, Position(x=50.0))
        new = source.spawn(Health(hp=1))
        source.send(1, "hi")
        with pytest.raises(PendingMutations) as caught:
            await source.fork()
        assert (caught.value.world, caught.value.count) == ("world", 3)
        fork = await source.fork(pending="copy")
        source.update(1, Position(x=60.0))
        source.spawn(Health(hp=2))
        fork.despawn(new)
        await source.step()
        await fork.step()
        assert (xs(source), xs(fork)) == ({1: 60.0}, {1: 50.0})
        assert (len(source), len(fork)) == (3, 1)
        with pytest.raises(ValueError, match="pending"):
            await source.fork(pending="drop")  # type: ignore[arg-type]  # reason: this is what is refused

    drive(scenario)


def test_fork_during_a_tick_loses_no_mutation() -> None:
    """A fork during a tick waits for it, is refused, or copies what the tick has taken (R3)."""

    async def scenario() -> None:
        inside, leave = threading.Event(), threading.Event()

        def act(df: DataFrame, **_: Any) -> DataFrame:
            inside.set()
            assert leave.wait(PATIENCE_S)
            return df

        source = world(Calls(act))
        source.spawn(Position())
        await source.step()
        new = source.spawn(Health())
        step = asyncio.create_task(source.step())
        await asyncio.to_thread(inside.wait, PATIENCE_S)
        asyncio.get_running_loop().call_soon(leave.set)
        try:
            fork = await source.fork(pending="copy")
        except PendingMutations:
            return
        finally:
            leave.set()
            await step
        await fork.step()
        assert new in fork

    drive(scenario)


def test_hooks_are_copied_as_they_are_now() -> None:
    """A fork starts with its source's hooks; later registrations and removals are each world's own (R3)."""

    async def scenario() -> None:
        heard: list[tuple[str, str]] = []

        def hear(name: str) -> Any:
            return lambda event: heard.append((name, event.world.name))

        source = world(name="source")
        early = source.add_hook(PreTick, hear("early"))
        fork = await source.fork("fork")
        source.add_hook(PreTick, hear("late"))
        source.remove_hook(early)
        await fork.step()
        await source.step()
        assert heard == [("early", "fork"), ("late", "source")]

    drive(scenario)


class Weather:
    def __init__(self, wind: float) -> None:
        self.wind = wind


class Terrain:
    pass


def test_resources_are_shared_copied_or_replaced() -> None:
    """Resources are shared, copied, or replaced by type; other arguments are refused (R3)."""

    async def scenario() -> None:
        weather, terrain, other = Weather(1.0), Terrain(), Weather(2.0)
        source = world(resources=[weather, terrain])
        shared = await source.fork()
        copied = await source.fork(resources="copy")
        mixed = await source.fork(resources={Weather: other})
        assert shared.resources[Weather] is weather
        assert copied.resources[Weather] is not weather
        assert copied.resources[Weather].wind == 1.0
        assert mixed.resources[Weather] is other
        assert mixed.resources[Terrain] is terrain
        shared.resources.remove(Terrain)
        assert Terrain in source.resources
        with pytest.raises(ValueError, match="resources"):
            await source.fork(resources="steal")  # type: ignore[arg-type]  # reason: this is what is refused
        with pytest.raises(TypeError):
            await source.fork(resources={Weather: terrain})

    drive(scenario)


def test_fork_to_another_store_takes_its_state_along() -> None:
    """A fork to another store has the live rows, ids and messages there, and does not need the first store (R3)."""

    async def scenario() -> None:
        here, elsewhere = MemoryStore(), MemoryStore()
        source = moving(store=here)
        source.spawn(Frozen())
        await source.run(3)
        source.send(1, "on the way")
        await source.step()
        fork = await source.fork("moved", store=elsewhere)
        assert fork.digest() == source.digest()
        mail: list[Any] = []
        fork.add_processor(Watches(lambda df, messages, **_: mail.extend(one.body for one in messages)))
        here.close()
        assert (fork.tick, xs(fork)) == (4, {1: 3.0, 2: 6.0})
        assert fork.spawn(Position()) == 4
        await fork.step()
        assert mail == ["on the way"]
        opened = await World.open(elsewhere, "moved", processors=[Move()])
        await opened.step()
        assert xs(opened) == {1: 5.0, 2: 10.0, 4: 0.0}
        assert len(opened) == 4
        assert [row["tick"] for row in history(opened, Position, entity_ids=[1])] == [3, 4, 5]

    drive(scenario)


def test_fork_of_the_past_to_another_store() -> None:
    """An earlier tick, and a world that never stepped, can move too (R3)."""

    async def scenario() -> None:
        source = moving(1)
        await source.run(4)
        elsewhere = MemoryStore()
        past = await source.fork(at_tick=1, store=elsewhere)
        fresh = await world().fork(store=elsewhere)
        await past.step()
        await fresh.step()
        assert xs(past) == {1: 2.0}
        assert {record.world_id for record in elsewhere.worlds()} == {past.world_id, fresh.world_id}

    drive(scenario)


def test_failed_move_leaves_the_source_alone() -> None:
    """A fork that another store refuses is an error, and the source is unchanged (R3)."""

    async def scenario() -> None:
        source = moving(1)
        await source.step()
        elsewhere = FaultyStore()
        elsewhere.faults.append(CommitError("full"))
        with pytest.raises(CommitError):
            await source.fork(store=elsewhere)
        await source.step()
        assert xs(source) == {1: 1.0}

    drive(scenario)


@pytest.mark.parametrize("source_first", [True, False])
def test_source_and_fork_close_in_either_order(source_first: bool) -> None:
    """Closing or destroying a fork or its source leaves the other usable, history included (R3)."""

    async def scenario() -> None:
        source = moving(1)
        await source.run(2)
        fork = await source.fork()
        await fork.step()
        gone, stays = (source, fork) if source_first else (fork, source)
        await gone.destroy()
        tick = stays.tick
        await stays.run(2)
        assert [row["tick"] for row in history(stays, Position)] == list(range(tick + 2))
        await stays.close()

    drive(scenario)


def test_default_names_never_collide() -> None:
    """Default names of forks never collide (R3)."""

    async def scenario() -> None:
        source = world()
        forks = await asyncio.gather(*(source.fork() for _ in range(200)))
        assert len({fork.name for fork in forks} | {source.name}) == 201
        assert len({fork.world_id for fork in forks}) == 200

    drive(scenario)


def test_seeds_of_forks() -> None:
    """A fork keeps its source's seed, draws one, or takes the given one; other values are refused (R3, T10)."""

    async def scenario() -> None:
        source = world(seed=5)
        assert (await source.fork()).seed == 5
        assert (await source.fork(rng=9)).seed == 9
        fresh = {(await source.fork(rng="fresh")).seed for _ in range(20)}
        assert len(fresh) == 20
        for odd in (-1, 2**63, True, 1.5, "other"):
            with pytest.raises(ValueError, match="seed"):
                await source.fork(rng=odd)  # type: ignore[arg-type]  # reason: this is what is refused

    drive(scenario)


def test_views_of_a_fork_are_views() -> None:
    """A processor in a fork is given a read-only view of the fork, not of its source (T9, R3)."""

    async def scenario() -> None:
        seen: list[WorldView] = []
        source = world(Watches(lambda df, world, **_: seen.append(world)))
        source.spawn(Position())
        await source.step()
        fork = await source.fork()
        await fork.step()
        assert [view.world_id for view in seen] == [fork.world_id]
        assert not hasattr(seen[0], "spawn")

    drive(scenario)
