"""Time and identifiers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC
from uuid import RFC_4122, UUID

from scene import Position, drive

from archetype_core.clock import Clock, IdSource, SequentialIds, SystemClock, SystemIds
from archetype_core.engine import World
from archetype_core.store import MemoryStore

_clock: type[Clock] = SystemClock
_ids: tuple[type[IdSource], ...] = (SystemIds, SequentialIds)


def test_time_is_aware() -> None:
    """The system clock gives aware UTC times that never go back."""
    clock = SystemClock()
    first, second = clock.now(), clock.now()
    assert first.tzinfo is UTC
    assert first <= second


def test_system_ids_are_uuid7_in_order() -> None:
    """Ids are UUIDv7, all different, and sort as they were made, also within one millisecond (M5)."""
    ids = SystemIds()
    made = [ids.new() for _ in range(20_000)]
    assert sorted(set(made)) == made
    for text in made[::1000]:
        assert (UUID(text).version, UUID(text).variant, str(UUID(text))) == (7, RFC_4122, text)


def test_system_ids_from_threads_are_different() -> None:
    """Threads that share a source never get the same id (M5)."""
    ids = SystemIds()
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: [ids.new() for _ in range(1000)], range(8)))
    assert len({one for part in made for one in part}) == 8000
    assert all(part == sorted(part) for part in made)


def test_sources_do_not_repeat_one_another() -> None:
    """Two sources in one process give different ids (M5)."""
    one, two = SystemIds(), SystemIds()
    assert len({source.new() for source in (one, two) for _ in range(1000)}) == 2000


def test_sequential_ids_repeat() -> None:
    """The n-th sequential id is always the same, a valid UUIDv7, and sorts after those before it."""
    one, two = SequentialIds(), SequentialIds()
    made = [one.new() for _ in range(20)]
    assert made == [two.new() for _ in range(20)] == sorted(made)
    assert {UUID(text).version for text in made} == {7}
    assert SequentialIds(start=5).new() == made[4]


def test_worlds_take_their_ids_from_the_source() -> None:
    """A world, its runs and its forks have the ids that the source gives (R3)."""

    async def scenario() -> None:
        expected = [SequentialIds(start=n).new() for n in range(1, 5)]
        there = World(MemoryStore(), ids=SequentialIds())
        there.spawn(Position())
        await there.step()
        fork = await there.fork()
        assert [there.world_id, there.run_id, fork.world_id, fork.run_id] == expected

    drive(scenario)
