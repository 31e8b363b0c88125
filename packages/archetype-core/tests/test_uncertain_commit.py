"""A commit that ends in doubt: the next step adopts the tick or repeats it, never both (T7)."""

from __future__ import annotations

from typing import Any

import pytest
from scene import Calls, Fails, FaultyStore, Health, Move, Position, Velocity, drive, world, xs

from archetype_core.engine import Commands, World
from archetype_core.errors import CommitError, CommitUncertain, TickConflict
from archetype_core.store import Head, MemoryStore


class LostAck(MemoryStore):
    """A store that fails after it has committed, as often as it is told to."""

    loses = 0

    def commit(self, ticks: Any) -> None:
        super().commit(ticks)
        if self.loses:
            self.loses -= 1
            raise OSError("connection lost")


def test_an_uncertain_commit_that_is_stored_is_adopted() -> None:
    """If the store fails after it committed, the next step takes the tick over and runs nothing again (T7)."""

    async def scenario() -> None:
        runs: list[int] = []
        store = LostAck()

        def act(tick: int, commands: Commands, **_: Any) -> None:
            runs.append(tick)
            commands.spawn(Health())

        there = world(Calls(Fails(0, act)), store=store)
        entity = there.spawn(Position())
        await there.step()
        store.loses = 1
        there.update(entity, Position(x=1.0))
        with pytest.raises(CommitUncertain) as caught:
            await there.step()
        assert (caught.value.tick, there.tick, xs(there)) == (1, 1, {entity: 0.0})
        outcome = await there.step()
        assert (outcome.tick, there.tick, xs(there), runs) == (1, 2, {entity: 1.0}, [1])
        await there.step()
        assert len(there.entity_ids(Health)) == 1
        again = await World.open(store, there.world_id)
        assert (again.tick, again.digest(), xs(again)) == (3, there.digest(), {entity: 1.0})

    drive(scenario)


def test_an_uncertain_commit_that_is_not_stored_is_repeated() -> None:
    """If the store failed before it committed, the next step makes a new attempt (T7)."""

    async def scenario() -> None:
        store = FaultyStore()
        there = world(Move(), store=store)
        entity = there.spawn(Position(), Velocity(dx=1.0))
        await there.step()
        store.faults = [OSError("gone"), OSError("gone")]
        there.update(entity, Velocity(dx=2.0))
        for _ in range(2):
            with pytest.raises(CommitUncertain):
                await there.step()
        outcome = await there.step()
        assert (outcome.tick, xs(there)) == (1, {entity: 1.0})
        assert len({commit.attempt for commit in store.commits}) == 2

    drive(scenario)


def test_another_writer_is_not_taken_for_this_one() -> None:
    """A tick of the same number that another process committed is a TickConflict, and is not adopted (T7, S3)."""

    async def scenario() -> None:
        store = FaultyStore()
        there = world(store=store)
        there.spawn(Position())
        await there.step()
        twin = await World.open(store.inner, there.world_id)
        store.faults = [OSError("gone")]
        with pytest.raises(CommitError):
            await there.step()
        await twin.step()
        with pytest.raises(TickConflict):
            await there.step()
        assert there.tick == 1

    drive(scenario)


def test_every_attempt_has_an_id_of_its_own() -> None:
    """Commits carry the attempt's id, and the head has the last one (T7)."""

    async def scenario() -> None:
        store = FaultyStore()
        there = world(store=store)
        await there.run(3)
        attempts = [commit.attempt for commit in store.commits]
        assert len(set(attempts)) == 3
        assert store.head(there.world_id).attempt == attempts[-1]
        assert store.head(there.world_id, at=0).attempt == attempts[0]

    drive(scenario)


def test_an_interrupted_commit_is_in_doubt_too() -> None:
    """A KeyboardInterrupt in the store's commit leaves a tick in doubt, which the next step adopts (T7)."""

    async def scenario() -> None:
        class Interrupted(LostAck):
            def commit(self, ticks: Any) -> None:
                try:
                    super().commit(ticks)
                except OSError:
                    raise KeyboardInterrupt from None

        store = Interrupted()
        there = world(store=store)
        entity = there.spawn(Position())
        await there.step()
        store.loses = 1
        there.update(entity, Position(x=1.0))
        with pytest.raises(KeyboardInterrupt):
            await there.step()
        assert (await there.step()).tick == 1
        assert xs(there) == {entity: 1.0}

    drive(scenario)


def test_a_tick_stays_in_doubt_while_the_head_cannot_be_read() -> None:
    """If the store's head cannot be read, the step is CommitUncertain again, and a later one settles the tick (T7)."""

    async def scenario() -> None:
        class Unreadable(LostAck):
            fails = 0

            def head(self, world_id: str, *, at: int | None = None) -> Head:
                if self.fails:
                    self.fails -= 1
                    raise OSError("head fails")
                return super().head(world_id, at=at)

        store = Unreadable()
        there = world(store=store)
        there.spawn(Position())
        await there.step()
        store.loses = store.fails = 1
        for reason in ("connection lost", "head fails"):
            with pytest.raises(CommitUncertain, match=reason):
                await there.step()
        assert (await there.step()).tick == 1
        assert there.tick == 2

    drive(scenario)
