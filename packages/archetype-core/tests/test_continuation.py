"""What processors stage is part of their tick: a world that is opened again, or forked there, goes on with it (T9, R3, R5)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from field_types import HOLDERS, TYPES
from hypothesis import given, settings
from hypothesis import strategies as st
from scene import Calls, Health, Position, Watches, drive, world

from archetype_core.engine import World
from archetype_core.engine.continuation import Continuation
from archetype_core.errors import CorruptStore, PendingMutations
from archetype_core.store import MemoryStore


def acting(act: Any) -> Calls:
    """A processor that calls a function with its tick and ``commands``, and changes nothing."""

    def process(df: Any, *, tick: int, commands: Any, **_: Any) -> Any:
        act(tick, commands)
        return df

    return Calls(process)


@pytest.mark.parametrize("name", TYPES)
def test_every_value_survives_a_restart(name: str) -> None:
    """Values of every type are the same in the tick after a restart as without one (T9, M7)."""
    holder, values = HOLDERS[name], TYPES[name][2]

    @settings(max_examples=15)
    @given(st.lists(values, min_size=2, max_size=2))
    def check(given: list[Any]) -> None:
        first, second = (holder(value=value) for value in given)

        def act(tick: int, commands: Any) -> None:
            if tick == 1:
                commands.update(2, second)
                commands.spawn(first)
                commands.add_components([1, 3], second)
                commands.spawn_many([[first, Position()], [second]])
                commands.update(2, first)

        async def scenario() -> None:
            whole = World(MemoryStore(), processors=[acting(act)], seed=1)
            store = MemoryStore()
            parted = World(store, processors=[acting(act)], seed=1)
            for there in (whole, parted):
                there.spawn(Position())
                there.spawn(first)
                there.spawn(Health())
                await there.run(2)
            again = await World.open(store, "world", processors=[acting(act)])
            assert again.pending == whole.pending == 7
            await again.step()
            await whole.step()
            assert again.digest(2) == whole.digest(2)

        drive(scenario)

    check()


def test_a_fork_has_what_its_tick_staged() -> None:
    """Forks of the newest tick and of an older one go on with what processors staged, and no fork is refused for it (R3)."""

    async def scenario() -> None:
        there = world(acting(lambda _, commands: commands.spawn(Health())))
        there.spawn(Position())
        await there.run(4)
        assert (there.pending, there.uncommitted) == (1, 0)
        now, past = await there.fork(), await there.fork(at_tick=1)
        there.spawn(Health(hp=5))
        assert there.uncommitted == 1
        with pytest.raises(PendingMutations):
            await there.fork()
        with pytest.raises(PendingMutations):
            await there.fork(at_tick=3)
        with pytest.raises(ValueError, match="is no part of tick 2: leave it out"):
            await there.fork(at_tick=2, pending="copy")
        beside = await there.fork(at_tick=2)
        moved = await there.fork(store=MemoryStore(), pending="copy")
        for fork, count in ((now, 4), (past, 2), (beside, 3), (moved, 5)):
            await fork.step()
            assert len(fork) == count
        # In its new store too, a fork has what the tick left, and not what others staged.
        elsewhere = await World.open(moved._store, moved.name)
        assert elsewhere.pending == 1

    drive(scenario)


def test_only_what_is_inside_a_tick_is_part_of_it() -> None:
    """What callers stage is lost in a restart, as it was before; a message of a handle inside a processor is not (T7)."""

    async def scenario() -> None:
        store = MemoryStore()
        there = world(Watches(lambda _, **__: there.send(1, "inside")), store=store)
        there.spawn(Position())
        await there.run(2)
        there.send(1, "outside")
        told: list[str] = []
        hear = Watches(lambda _, *, messages, **__: told.extend(letter.body for letter in messages))
        again = await World.open(store, "world", processors=[hear])
        await again.run(2)
        assert told == ["inside"]

    drive(scenario)


def test_bytes_that_are_not_ours_are_refused() -> None:
    """A store that gives back other bytes is corrupt, and so is a form that this version does not know (M4)."""

    class Changing(MemoryStore):
        data = b""

        def head(self, world_id: str, *, at: int | None = None) -> Any:
            return replace(super().head(world_id, at=at), continuation=self.data)

    async def scenario() -> None:
        store = Changing()
        there = world(acting(lambda _, commands: commands.spawn(Health())), store=store)
        there.spawn(Position())
        await there.run(2)
        good = there._state.continuation.data
        later = good.replace(b'"format":1', b'"format":2')
        for data in (b"x", good[:-40], good[:3] + b"\xff" + good[4:], later):
            store.data = data
            with pytest.raises(CorruptStore, match="what its last tick staged"):
                await World.open(store, "world")
        store.data = good
        assert (await World.open(store, "world")).pending == 1

    drive(scenario)


def test_a_tick_that_stages_nothing_leaves_few_bytes() -> None:
    """Names of processors are all that most ticks leave (T11)."""
    assert Continuation.of(()).data == b""
    assert len(Continuation.of(("Move", "Infect")).data) < 100
