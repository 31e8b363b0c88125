"""The tick as a transaction."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from daft import DataFrame, lit
from scene import (
    Calls,
    FaultyStore,
    Flagged,
    Frozen,
    Health,
    Move,
    Name,
    Position,
    SkippedCalls,
    Velocity,
    Watches,
    drive,
    history,
    timeline,
    world,
    xs,
)

from archetype_core.engine import OnDespawn, Processor
from archetype_core.errors import (
    CommitError,
    EntityNotFound,
    ProcessorError,
    SignatureError,
    StoreClosed,
    TickConflict,
)
from archetype_core.schema import Archetype, Entity, Letter, Mailbox


def test_despawn_only_archetype_is_processed() -> None:
    """A table whose only mutation is a despawn runs its processors like any other (T1)."""

    async def scenario() -> None:
        rows: list[int] = []
        there = world(Watches(lambda df, **_: rows.append(df.count_rows())))
        leaving, _ = there.spawn_many([Position(), Position()])
        await there.step()
        there.despawn(leaving)
        await there.step()
        there.despawn(2)
        await there.step()
        await there.step()
        assert rows == [2, 1]
        assert there.archetypes() == {}

    drive(scenario)


@pytest.mark.parametrize("stages", ["spawn", "move"])
def test_a_table_without_rows_is_not_processed(stages: str) -> None:
    """A table whose first rows are this tick's spawns or moves is written, and processed from the next tick on (T1)."""

    class WatchesHealth(Processor):
        components = (Health,)

        def process(self, df: DataFrame, tick: int) -> DataFrame:
            seen.append((tick, df.count_rows()))
            return df

    seen: list[tuple[int, int]] = []

    async def scenario() -> None:
        there = world(WatchesHealth())
        there.spawn(Position())
        await there.step()
        if stages == "spawn":
            there.spawn(Position(), Health())
        else:
            there.add_components(1, Health())
        outcome = await there.step()
        assert Archetype.of(Position, Health).name in outcome.written
        assert seen == []
        await there.step()
        assert seen == [(2, 1)]

    drive(scenario)


def test_initial_condition_is_on_record() -> None:
    """A spawned row is stored as written, and x at t+k is f applied k times (T2)."""

    async def scenario() -> None:
        there = world(Move())
        await there.run(2)
        there.spawn(Position(x=1.0), Velocity(dx=2.0))
        await there.run(4)
        assert [(row["tick"], row["position__x"]) for row in history(there, Position)] == [
            (2, 1.0),
            (3, 3.0),
            (4, 5.0),
            (5, 7.0),
        ]

    drive(scenario)


def test_despawn_leaves_a_tombstone_with_last_values() -> None:
    """A despawned entity has one inactive row, with the values of the tick before, and is never seen again (T3)."""

    async def scenario() -> None:
        there = world(Move())
        entity = there.spawn(Position(), Velocity())
        await there.run(3)
        there.despawn(entity)
        await there.run(2)
        rows = history(there, Position, include_inactive=True)
        assert [(row["tick"], row["position__x"], row["is_active"]) for row in rows] == [
            (0, 0.0, True),
            (1, 1.0, True),
            (2, 2.0, True),
            (3, 2.0, False),
        ]

    drive(scenario)


def test_spawn_and_despawn_before_the_tick_cancel() -> None:
    """Spawn then despawn leaves no row, no tombstone and no table (T4)."""

    async def scenario() -> None:
        there = world()
        stays, goes = there.spawn_many([Position(x=1.0), Position(x=2.0)])
        alone = there.spawn(Health())
        there.despawn(goes, alone)
        there.despawn(goes)
        await there.step()
        rows = history(there, include_inactive=True)
        assert [row["entity_id"] for row in rows] == [stays]
        assert list(timeline(there).tables) == [Archetype.of(Position).name]

    drive(scenario)


def test_duplicate_despawns_collapse() -> None:
    """An entity despawned several times in a tick leaves one tombstone and one event (T4)."""

    async def scenario() -> None:
        there = world()
        entity = there.spawn(Position())
        await there.step()
        observed: list[tuple[int, ...]] = []
        there.add_hook(OnDespawn, lambda event: observed.append(event.entity_ids))
        there.despawn(entity, entity)
        there.despawn(entity)
        await there.step()
        rows = history(there, Position, include_inactive=True)
        assert [(row["tick"], row["is_active"]) for row in rows] == [(0, True), (1, False)]
        assert observed == [(entity,)]

    drive(scenario)


def test_rows_keep_their_order() -> None:
    """Survivors stay in prior order, then new rows follow in first-seen order (T4)."""

    async def scenario() -> None:
        there = world()
        a, b, c = there.spawn_many([Position(), Position(), (Position(), Frozen())])
        await there.step()
        d = there.spawn(Position())
        there.remove_components(c, Frozen)
        e = there.spawn(Position())
        there.despawn(a)
        there.update(b, Position(x=1.0))
        await there.step()
        (rows,) = there.tables().values()
        assert rows.entity_ids.to_pylist() == [b, d, c, e]

    drive(scenario)


def test_mutations_fold_in_order() -> None:
    """Of several writes in one tick the last one wins, field by field, across a migration too (T4, T5)."""

    async def scenario() -> None:
        there = world()
        entity = there.spawn(Position(x=1.0, y=1.0))
        there.update(entity, Position(x=2.0))
        there.add_components(entity, Health(hp=1))
        there.update(entity, Health(hp=2), Position(y=5.0))
        there.update(entity, Position(x=3.0))
        await there.step()
        assert there.get(entity) == Entity.of(entity, (Position(x=3.0, y=5.0), Health(hp=2)))
        there.remove_components(entity, Health)
        there.add_components(entity, Health(hp=9, seen=1))
        await there.step()
        assert there.get(entity)[Health] == Health(hp=9, seen=1)
        assert [row["is_active"] for row in history(there, Health, include_inactive=True)] == [True, True]

    drive(scenario)


def test_migration_keeps_the_id() -> None:
    """A migration is a tombstone in the old table and a row in the new one, under the same id (T5)."""

    async def scenario() -> None:
        there = world()
        entity = there.spawn(Position(x=1.0), Name(label="n"))
        await there.step()
        there.remove_components(entity, Name)
        await there.step()
        rows = history(there, Position, include_inactive=True)
        assert [(row["tick"], row["entity_id"], row["is_active"]) for row in rows] == [
            (0, entity, True),
            (1, entity, False),
            (1, entity, True),
        ]
        assert there.get(entity) == {Position: Position(x=1.0)}

    drive(scenario)


def test_adding_present_and_removing_absent_components_does_nothing() -> None:
    """Adding a present component and removing an absent one stage nothing (T5)."""

    async def scenario() -> None:
        there = world()
        entity = there.spawn(Position(x=1.0))
        there.add_components(entity, Position(x=2.0))
        there.remove_components(entity, Health)
        assert there.pending == 1
        await there.step()
        assert there.get(entity) == {Position: Position(x=1.0)}

    drive(scenario)


def test_last_component_cannot_go() -> None:
    """Removing every component is an error, and nothing is staged (T5)."""

    async def scenario() -> None:
        there = world()
        entity = there.spawn(Position(), Frozen())
        there.remove_components(entity, Frozen)
        with pytest.raises(SignatureError):
            there.remove_components(entity, Position)
        await there.step()
        assert there.get(entity) == {Position: Position()}

    drive(scenario)


def test_unknown_entities(caplog: pytest.LogCaptureFixture) -> None:
    """Despawning an unknown entity is logged, any other mutation of it is an error with its id; nothing is staged (T6)."""

    async def scenario() -> None:
        there = world()
        gone = there.spawn(Position())
        there.despawn(gone)
        before = there.pending
        for unknown in (gone, 7, 2**40, 2**70, -1, 0):
            for mutate in (
                lambda one: there.update(one, Position(x=1.0)),
                lambda one: there.add_components(one, Frozen()),
                lambda one: there.remove_components(one, Position),
            ):
                with pytest.raises(EntityNotFound) as caught:
                    mutate(unknown)
                assert (caught.value.entity_id, caught.value.world) == (unknown, "world")
            caplog.clear()
            there.despawn(unknown)
            assert str(unknown) in caplog.text
        assert there.pending == before
        await there.step()

    drive(scenario)


def test_mutation_that_is_refused_stages_nothing() -> None:
    """A call with one bad part leaves nothing of its good parts behind (T6, M7)."""

    async def scenario() -> None:
        there = world()
        entity = there.spawn(Position())
        await there.step()
        with pytest.raises(TypeError):
            there.despawn(entity, [entity])  # type: ignore[arg-type]  # reason: this is what is refused
        with pytest.raises(SignatureError):
            there.update(entity, Position(x=1.0), Health(hp=1))
        with pytest.raises(SignatureError):
            there.spawn_many([Position(), (Position(), Position())])
        for odd in (True, 1.0, "1", None):
            with pytest.raises(TypeError):
                there.update(odd, Position(x=1.0))  # type: ignore[arg-type]  # reason: this is what is refused
            with pytest.raises(TypeError):
                there.despawn(odd)  # type: ignore[arg-type]  # reason: this is what is refused
        assert there.pending == 0
        assert there.spawn(Position()) == entity + 1
        await there.step()

    drive(scenario)


class PanicException(BaseException):
    """The exception that Daft raises in the middle of a plan, by its name."""


@pytest.mark.parametrize("kind", [RuntimeError, PanicException])
def test_failing_processor_undoes_the_tick(kind: type[BaseException]) -> None:
    """After a processor fails, no table has rows of the tick, and the next step runs it whole (T7)."""

    async def scenario() -> None:
        fails = True

        def act(df: DataFrame, **_: Any) -> DataFrame:
            if fails:
                raise kind("boom")
            return df

        store = FaultyStore()
        there = world(Move(), Calls(act), store=store)
        mover = there.spawn(Position(), Velocity())
        await there.step()
        before = there.digest(), there.tables()
        new = there.spawn(Health(hp=1))
        there.update(mover, Position(x=9.0))
        there.send(mover, "hello")
        with pytest.raises(ProcessorError) as caught:
            await there.step()
        error = caught.value
        table = Archetype.of(Position, Velocity).name
        assert (error.processor, error.table, error.tick) == ("Calls", table, 1)
        assert "boom" in error.reason
        assert isinstance(error.__cause__, RuntimeError)
        assert (there.tick, there.digest(), there.tables()) == (1, *before)
        assert len(store.commits) == 1
        assert new not in there
        assert there.pending == 3
        fails = False
        await there.step()
        assert there.get(mover)[Position].x == 9.0
        assert new in there

    drive(scenario)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [(OSError("disk full"), CommitError), (TickConflict("w", 3, 1), TickConflict), (StoreClosed("it"), StoreClosed)],
    ids=lambda one: getattr(one, "__name__", type(one).__name__),
)
def test_failing_commit_undoes_the_tick(fault: Exception, kind: type[Exception]) -> None:
    """If the store refuses, the caller gets one typed error with its cause, and can try the tick again (T7)."""

    async def scenario() -> None:
        store = FaultyStore()
        there = world(Move(), store=store)
        entity = there.spawn(Position(), Velocity())
        await there.step()
        there.add_components(entity, Flagged())
        other = there.spawn(Health())
        store.faults.append(fault)
        before = there.tables()
        with pytest.raises(kind) as caught:
            await there.step()
        assert caught.value is fault or caught.value.__cause__ is fault
        assert (there.tick, there.tables(), there.pending) == (1, before, 2)
        assert [row["tick"] for row in history(there, include_inactive=True)] == [0]
        await there.step()
        assert there.get(entity) == Entity.of(entity, (Position(x=1.0), Velocity(), Flagged()))
        assert other in there

    drive(scenario)


def test_skipped_processor_leaves_the_last_good_frame(caplog: pytest.LogCaptureFixture) -> None:
    """A failing processor with on_error="skip" loses its frame and its messages, and the others go on (T7)."""
    heard: list[Letter] = []

    def act(df: DataFrame, messages: Mailbox, **_: Any) -> DataFrame:
        heard.extend(messages)
        messages.send(1, "never")
        df = df.with_column("position__x", lit(99.0))
        raise RuntimeError("boom")

    async def scenario() -> None:
        there = world(SkippedCalls(act), Move())
        entity = there.spawn(Position(), Velocity())
        await there.run(3)
        assert xs(there) == {entity: 2.0}
        assert heard == []

    with caplog.at_level(logging.WARNING, "archetype"):
        drive(scenario)
    assert "SkippedCalls" in caplog.text
    assert "boom" in caplog.text


def test_processor_that_raises_cancelled_error_fails() -> None:
    """A processor that raises CancelledError is a ProcessorError, if the step was not cancelled (T7)."""

    async def scenario() -> None:
        def act(df: DataFrame, **_: Any) -> DataFrame:
            raise asyncio.CancelledError

        there = world(Calls(act))
        there.spawn(Position())
        await there.step()
        with pytest.raises(ProcessorError):
            await there.step()

    drive(scenario)
