"""The memory store, beyond the contract of every store."""

from __future__ import annotations

import pytest
from scene import Move, Position, Velocity, drive, history, timeline, world, xs

from archetype_core.engine import World
from archetype_core.errors import CommitError, StoreClosed, TickConflict, UnsupportedCapability, WorldNotFound
from archetype_core.store import Capability, MemoryStore, Scan, Segment, Store, TickCommit

_: type[Store] = MemoryStore


def test_named_stores_outlive_their_handles() -> None:
    """A store opened again by its name has what was committed; once forgotten it is empty (R5)."""

    async def scenario() -> None:
        first = MemoryStore("attic")
        there = world(Move(), store=first, name="w")
        there.spawn(Position(), Velocity())
        await there.run(3)
        first.close()
        again = MemoryStore("attic")
        opened = await World.open(again, "w", processors=[Move()])
        await opened.step()
        assert xs(opened) == {1: 3.0}
        MemoryStore.forget("attic")
        MemoryStore.forget("attic")
        assert MemoryStore("attic").worlds() == ()
        MemoryStore.forget("attic")

    drive(scenario)


def test_nothing_is_copied() -> None:
    """The rows that the engine commits are the rows that the store keeps."""

    async def scenario() -> None:
        store = MemoryStore()
        there = world(Move(), store=store)
        there.spawn(Position(), Velocity())
        await there.run(2)
        ((archetype, rows),) = there.tables().items()
        span = timeline(there).at(1)
        assert span is not None
        (batch,) = store.scan(Scan(archetype.name, span.segment, 1, 1, ("position__x",)))
        assert batch.column(0).buffers()[1].address == rows.columns["position__x"].arrow.buffers()[1].address

    drive(scenario)


def test_use_after_close_is_an_error() -> None:
    """Every method of a closed store is StoreClosed, closing again does nothing, and its world keeps its mutations (S1)."""

    async def scenario() -> None:
        store = MemoryStore()
        there = world(store=store)
        await there.step()
        there.spawn(Position())
        store.close()
        store.close()
        with pytest.raises(StoreClosed):
            await there.step()
        assert (there.tick, there.pending) == (1, 1)
        for use in (store.worlds, lambda: store.commit(()), lambda: store.timeline("w"), lambda: store.head("w")):
            with pytest.raises(StoreClosed):
                use()

    drive(scenario)


def test_files_are_not_claimed() -> None:
    """A memory store does not claim FILES and refuses to name any (S1)."""
    store = MemoryStore()
    segment = Segment("w", "r", 0, None, "w", 1)
    assert Capability.FILES not in store.capabilities
    with pytest.raises(UnsupportedCapability) as caught:
        store.files(Scan("t", segment, 0, 0, ()))
    assert caught.value.capability == Capability.FILES


def test_commits_that_do_not_follow_are_refused_whole() -> None:
    """Ticks with a gap, of two segments, before their segment, or of an unknown parent are refused whole (S2, S3)."""
    store = MemoryStore()
    segment = Segment("w", "r", 3, None, "w", 1)
    other = Segment("w", "s", 4, None, "w", 1)
    for ticks, kind in (
        ([TickCommit(segment, 3, {}, 1), TickCommit(segment, 5, {}, 1)], CommitError),
        ([TickCommit(segment, 3, {}, 1), TickCommit(other, 4, {}, 1)], CommitError),
        ([TickCommit(segment, 2, {}, 1)], CommitError),
    ):
        with pytest.raises(kind):
            store.commit(ticks)
    assert store.worlds() == ()
    store.commit([])
    store.commit([TickCommit(segment, 3, {}, 1), TickCommit(segment, 4, {}, 1)])
    with pytest.raises(TickConflict):
        store.commit([TickCommit(segment, 4, {}, 1)])
    assert store.head("w").tick == 4
    with pytest.raises(WorldNotFound):
        store.head("elsewhere")


def test_worlds_share_a_store_without_seeing_one_another() -> None:
    """Worlds of one store have their own entities, ticks and history (Q3)."""

    async def scenario() -> None:
        store = MemoryStore()
        one, two = (world(Move(), store=store, name=name) for name in ("one", "two"))
        one.spawn(Position(x=1.0))
        two.spawn(Position(x=2.0))
        await one.run(2)
        await two.step()
        assert [row["position__x"] for row in history(one, Position)] == [1.0, 1.0]
        assert [row["position__x"] for row in history(two, Position)] == [2.0]
        assert {(record.name, record.tick) for record in store.worlds()} == {("one", 1), ("two", 0)}

    drive(scenario)
