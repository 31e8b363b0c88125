"""Live rows follow the component classes that a world names; history stays as it was written (M8)."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest
from daft import DataFrame
from pydantic import Field
from scene import FaultyStore, Name, Position, drive, history
from versions import Heal, New, Old, heal, stored, tables, version

from archetype_core.engine import (
    OnComponentAdded,
    OnComponentRemoved,
    OnDespawn,
    OnSpawn,
    PreTick,
    Processor,
    Rng,
    World,
)
from archetype_core.errors import CommitError, CommitUncertain, ComponentTypeError, ProcessorError
from archetype_core.schema import Archetype, Component, ComponentType, Evolution, Snapshot
from archetype_core.store import MemoryStore, Rows, TickCommit


def test_added_field_has_its_default_and_no_tick_is_lost() -> None:
    """A field with a default is added by itself: reads show it at once, and the first tick's processors see it (M8)."""

    async def scenario() -> None:
        store = await stored((Old(hp=1),), (Old(hp=2), Name(label="n")))
        there = await World.open(store, "w", processors=[heal(New)])
        assert [there.get(one, New) for one in (1, 2)] == [New(hp=1, armor=5), New(hp=2, armor=5)]
        assert there.entity_ids(New).to_pylist() == [1, 2]
        assert set(there.tables()) == {Archetype.of(New), Archetype.of(New, Name)}
        assert there.snapshot(New).sort("entity_id").to_pydict()["health__armor"] == [5, 5]
        await there.step()
        assert [there.get(one, New).hp for one in (1, 2)] == [2, 3]
        assert there.get(2, Name) == Name(label="n")
        again = await World.open(store, "w", processors=[heal(New)])
        assert tables(again) == tables(there)

    drive(scenario)


def test_rows_move_like_a_migration() -> None:
    """An evolved row leaves a tombstone with its old values in the old table; ids and order are kept (M8, T3)."""

    async def scenario() -> None:
        store = await stored(*[(Old(hp=hp),) for hp in (7, 8, 9)])
        there = await World.open(store, "w", components=[New])
        await there.step()
        rows = there.query(Old, ticks=1, include_inactive=True).to_pylist()
        assert [(row["entity_id"], row["health__hp"], row["is_active"]) for row in rows] == [
            *[(one, hp, False) for one, hp in ((1, 7), (2, 8), (3, 9))],
            *[(one, hp, True) for one, hp in ((1, 7), (2, 8), (3, 9))],
        ]
        assert there.tables()[Archetype.of(New)].entity_ids.to_pylist() == [1, 2, 3]
        await there.step()
        assert len(there.query(Old, ticks=2, include_inactive=True).to_pylist()) == 3

    drive(scenario)


def test_only_named_classes_count() -> None:
    """A class of that name that no processor and no declaration names changes nothing (M8)."""

    async def scenario() -> None:
        store = await stored((Old(hp=1),))
        before = (await World.open(store, "w")).digest()
        there = await World.open(store, "w")
        await there.step()
        assert set(there.tables()) == {Archetype.of(Old)}
        assert there.digest() == before
        assert there.get(1, New) == New(hp=1, armor=5)

    drive(scenario)


def test_random_numbers_stay_the_same() -> None:
    """An evolved table draws what it would have drawn without the evolution, by table and by entity (M8, T10)."""

    async def scenario(kind: type[Component]) -> list[list[float]]:
        class Draws(Processor):
            components = (kind,)

            def process(self, df: DataFrame, rng: Rng) -> DataFrame:
                drawn.append([*rng.random(2), *rng.by_entity.random()])
                return df

        drawn: list[list[float]] = []
        there = await World.open(await stored((Old(hp=1),), (Old(hp=2),)), "w", processors=[Draws()])
        await there.run(3)
        return drawn

    assert drive(lambda: scenario(New)) == drive(lambda: scenario(Old))


def test_default_factory_runs_once_per_row() -> None:
    """A default factory runs once for each row, and every later read and failed attempt has what it gave (M8)."""

    async def scenario() -> None:
        count = itertools.count(100)
        stamped = version(
            "Health", hp=(int, 10), note=(str, "n"), stamp=(int, Field(default_factory=lambda: next(count)))
        )
        store = FaultyStore(await stored((Old(),), (Old(),)))
        there = await World.open(store, "w", components=[stamped])
        assert [there.get(one, stamped).stamp for one in (1, 2)] == [100, 101]
        store.faults.append(OSError("full"))
        with pytest.raises(CommitError):
            await there.step()
        fork = await there.fork()
        for world in (there, fork):
            await world.step()
            assert [world.get(one, stamped).stamp for one in (1, 2)] == [100, 101]
        assert next(count) == 102
        assert [row["health__stamp"] for row in history(there, stamped, ticks=1)] == [100, 101]

    drive(scenario)


def test_staged_mutations_fit_the_evolved_rows() -> None:
    """Mutations before the first tick name the new class, whether they were staged before or after it was named (M8)."""

    async def scenario(is_named_first: bool) -> None:
        store = await stored((Old(hp=1),), (Old(hp=2),), (Old(hp=3),), (Old(hp=4),))
        there = await World.open(store, "w")
        if is_named_first:
            there.add_processor(heal(New))
            there.update(1, New(armor=9))
        else:
            there.update(1, Old(hp=21, note="u"))
        there.add_components(2, Position(x=1.0))
        there.despawn(3)
        there.add_components(4, Name())
        there.remove_components(4, Name)
        if not is_named_first:
            there.add_processor(heal(New))
        await there.step()
        first = New(hp=2, armor=9) if is_named_first else New(hp=21, note="u")
        assert [there.get(one, New) for one in (1, 2, 4)] == [first, New(hp=3), New(hp=5)]
        assert there.get(2, Position).x == 1.0
        rows = [row for row in history(there, include_inactive=True, ticks=1) if not row["is_active"]]
        assert [row["entity_id"] for row in rows] == [1, 2, 3, 4]
        gone = history(there, Old, include_inactive=True, ticks=1)
        assert [row["health__hp"] for row in gone if not row["is_active"]] == [1, 2, 3, 4]

    drive(lambda: scenario(True))
    drive(lambda: scenario(False))


def test_staged_rows_of_an_old_class_evolve_once_they_live() -> None:
    """An entity that is spawned with an older class evolves before the tick after (M8)."""

    async def scenario() -> None:
        there = World(MemoryStore(), processors=[heal(New)])
        there.spawn(Old(hp=1))
        there.spawn(New(hp=1))
        await there.run(3)
        assert [there.get(one, New) for one in (1, 2)] == [New(hp=3), New(hp=3)]
        assert set(there.tables()) == {Archetype.of(New)}

    drive(scenario)


def test_evolution_fires_no_hooks_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """Evolving rows are no component changes to hooks; the committed tick logs what evolved, once (M8)."""

    async def scenario() -> None:
        seen: list[object] = []
        kinds = (OnSpawn, OnDespawn, OnComponentAdded, OnComponentRemoved)
        store = FaultyStore(await stored((Old(),), (Old(), Name())))
        there = await World.open(store, "w", processors=[heal(New)], hooks=[(kind, seen.append) for kind in kinds])
        store.faults.append(OSError("full"))
        with pytest.raises(CommitError):
            await there.step()
        assert not caplog.records
        await there.run(2)
        assert not seen
        (record,) = caplog.records
        assert record.levelname == "INFO"
        assert record.getMessage() == "world 'w', tick 1: Health evolved to Health in 2 entities: armor added"

    with caplog.at_level(logging.INFO, "archetype"):
        drive(scenario)


def test_failed_tick_keeps_the_evolution() -> None:
    """After a processor failed, the next step evolves the same rows (M8, T7)."""

    class Fails(Heal):
        fails = True

        def process(self, df: DataFrame) -> DataFrame:
            if self.fails:
                raise RuntimeError("no")
            return super().process(df)

    async def scenario() -> None:
        store = await stored((Old(hp=1),))
        fails = Fails(New)
        there = await World.open(store, "w", processors=[fails])
        with pytest.raises(ProcessorError):
            await there.step()
        assert (await World.open(store, "w")).tick == 1
        fails.fails = False
        await there.step()
        assert there.get(1, New).hp == 2
        assert len(history(there, Old, ticks=1, include_inactive=True)) == 2

    drive(scenario)


def test_forks_evolve_too() -> None:
    """Forks of a world that evolves, of an old tick, and into another store have evolved rows and right tombstones (M8)."""

    async def scenario() -> None:
        store = await stored((Old(hp=1),), steps=2)
        there = await World.open(store, "w", processors=[heal(New)])
        early, elsewhere = await there.fork(), MemoryStore()
        moved = await there.fork(store=elsewhere)
        assert moved.digest(1) == there.digest(1)
        await there.run(2)
        old = await there.fork(at_tick=0)
        assert old.get(1, New) == New(hp=1)
        assert old.digest(0) == there.digest(0)
        await early.step()
        await moved.step()
        await old.run(2)
        assert [one.get(1, New).hp for one in (there, early, moved, old)] == [3, 2, 2, 3]
        for one, tick in ((early, 2), (moved, 2), (old, 1)):
            rows = history(one, Old, ticks=tick, include_inactive=True)
            assert [(row["health__hp"], row["is_active"]) for row in rows] == [(1, False), (2, True)]
        assert (await World.open(elsewhere, moved.name, components=[New])).get(1, New).hp == 2

    drive(scenario)


def test_two_named_versions_keep_their_own_rows() -> None:
    """Versions that processors name side by side keep their own rows, until only one of them is named (M8)."""

    async def scenario() -> None:
        there = World(MemoryStore(), processors=[heal(Old), heal(New)])
        there.spawn(Old(hp=1))
        there.spawn(New(hp=1))
        await there.run(2)
        assert set(there.tables()) == {Archetype.of(Old), Archetype.of(New)}
        there.remove_processor(there.system.slots[0].processor)
        await there.step()
        assert set(there.tables()) == {Archetype.of(New)}
        assert [there.get(one, New).hp for one in (1, 2)] == [3, 3]

    drive(scenario)


def test_processor_added_in_a_tick_evolves_before_the_next() -> None:
    """A class that is named while a tick runs takes effect before the next one (M8, T15)."""

    async def scenario() -> None:
        store = await stored((Old(hp=1), Position()))
        there = await World.open(store, "w")

        class Adds(Processor):
            components = (Position,)
            done = False

            def process(self, df: DataFrame) -> DataFrame:
                if not self.done:
                    self.done = True
                    there.add_processor(heal(New))
                return df

        there.add_processor(Adds())
        await there.step()
        assert set(there.tables()) == {Archetype.of(Old, Position)}
        await there.step()
        assert there.get(1, New) == New(hp=2)

    drive(scenario)


def test_hook_stages_and_names_a_class_in_one_attempt() -> None:
    """What a pre-tick hook staged before it named a newer class lands in the evolved row of that tick (M8, T7)."""

    async def scenario() -> None:
        store = await stored((Old(hp=1),), (Old(hp=2),))
        there = await World.open(store, "w")

        def begin(_: PreTick) -> None:
            if not there.system.slots:
                there.update(1, Old(hp=50))
                there.add_components(2, Name(label="x"))
                there.add_processor(heal(New))

        there.add_hook(PreTick, begin)
        await there.step()
        assert there.get(1, New) == New(hp=50)
        assert there.get(2, New, Name) == (New(hp=3), Name(label="x"))

    drive(scenario)


def test_tick_whose_commit_was_in_doubt_is_adopted_with_its_evolution() -> None:
    """A tick that was stored although its commit raised evolves its rows once (M8, T7)."""

    class Doubtful(FaultyStore):
        def commit(self, ticks: Sequence[TickCommit]) -> None:
            super().commit(ticks)
            if len(self.commits) == 1:
                raise CommitUncertain(ticks[0].segment.world_id, ticks[0].tick, "the disk is gone")

    async def scenario() -> None:
        store = Doubtful(await stored((Old(hp=1),)))
        there = await World.open(store, "w", processors=[heal(New)])
        with pytest.raises(CommitUncertain):
            await there.step()
        assert (await there.step()).tick == 1
        await there.step()
        assert [row["health__hp"] for row in history(there, New)] == [1, 2, 3]
        assert len(history(there, Old, include_inactive=True)) == 4

    drive(scenario)


def test_silence_is_warned_about_once(caplog: pytest.LogCaptureFixture) -> None:
    """Tables without a class and processors without a table are logged once (M8)."""

    async def scenario() -> None:
        store = await stored((Old(),))
        # As another process left it: no class here is stored like this.
        ghost = Archetype.of(ComponentType.of("Ghost", [pa.field("ghost__v", pa.int64(), nullable=False)]))
        rows = Snapshot.from_arrow(ghost, pa.table({"entity_id": [2, 3], "ghost__v": [1, 1]}, ghost.schema))
        live = (await World.open(store, "w")).tables()
        segment = store.head(store.worlds()[0].world_id).segment
        carried = {archetype.name: one for archetype, one in live.items()}
        store.commit((TickCommit(segment, 1, {ghost.name: Rows(rows)}, next_entity_id=4, carried=carried),))
        there = await World.open(store, "w", processors=[heal(Old, Position), heal(Old)])
        await there.run(3)
        there.remove_processor(Heal)
        await there.run(2)
        ghosts, *others = [record.getMessage() for record in caplog.records]
        assert ghosts.startswith("world 'w': no class of this process is stored like the Ghost of 2 entities")
        assert others == [
            "processor Heal of world 'w' matches no table: no entity has all its components",
        ]

    with caplog.at_level(logging.WARNING, "archetype"):
        drive(scenario)


def test_a_world_that_lost_processors_says_which(caplog: pytest.LogCaptureFixture) -> None:
    """A world that is opened again and steps without some processors of its last tick logs their names, once (M8)."""

    async def scenario() -> None:
        store = await stored((Old(),))
        there = await World.open(store, "w", processors=[heal(Old), heal(Old)])
        await there.step()
        whole = await World.open(store, "w", processors=[heal(Old), heal(Old)])
        assert not caplog.messages
        fork = await whole.fork("fork", at_tick=0)
        fork.remove_processor(Heal)
        await fork.run(2)
        assert not caplog.messages
        less = await World.open(store, "w")
        less.add_processor(heal(Old))
        await less.run(2)
        again = await World.open(store, "w", processors=[heal(Old)])
        await again.step()
        (told,) = caplog.messages
        assert told.startswith("world 'w' steps without Heal, which ran in its last tick: processors are code")

    with caplog.at_level(logging.WARNING, "archetype"):
        drive(scenario)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"level": int}, r"write each\(int\) to call int for every value"),
        ({"level": ...}, r"such as each\(int\), not Ellipsis"),
    ],
)
def test_a_converter_of_single_values_is_refused_with_each(given: dict[str, Any], text: str) -> None:
    """A type or a placeholder in place of a converter is refused where it is declared, with what to write. (M8)"""
    with pytest.raises(TypeError, match=text):
        Evolution(convert=given)


def test_a_rename_the_wrong_way_round_is_told() -> None:
    """A declaration that maps an old name to the new one is refused with the right one. (M8)"""
    with pytest.raises(ComponentTypeError, match=r"if it is an old name, write rename=\{'life': 'hp'\}"):

        class Renamed(Component):
            life: int = 1

            evolution = Evolution(rename={"hp": "life"})
