"""Classes change while worlds live: live rows evolve, history stays, and every read sees all versions (M8)."""

from __future__ import annotations

import enum
import itertools
import logging
from collections.abc import Callable
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from daft import DataFrame
from pydantic import Field
from scene import FaultyStore, Name, Position, drive, history
from versions import version

from archetype_core.engine import (
    OnComponentAdded,
    OnComponentRemoved,
    OnDespawn,
    OnSpawn,
    PreTick,
    Processor,
    World,
)
from archetype_core.errors import CommitError, ComponentTypeError, ProcessorError, SchemaMismatch
from archetype_core.schema import Archetype, Evolution, each
from archetype_core.store import MemoryStore, Store

INT16, INT32, FLOAT32 = Annotated[int, pa.int16()], Annotated[int, pa.int32()], Annotated[float, pa.float32()]

Old = version("Health", hp=(int, 10), note=(str, "n"))
New = version("Health", hp=(int, 10), note=(str, "n"), armor=(int, 5))


class Heal(Processor):
    """Adds one to the hp of a version of Health."""

    def __init__(self, health: Any, *more: Any) -> None:
        self.health = health
        self.components = (health, *more)  # type: ignore[misc]  # reason: the class of each test

    def process(self, df: DataFrame) -> DataFrame:
        return df.with_column("health__hp", self.health.c.hp + 1)


def heal(health: Any, *more: Any) -> Processor:
    """A processor of a version of Health, and of other components."""
    return Heal(health, *more)


async def stored(*entities: tuple[Any, ...], store: Store | None = None, steps: int = 1) -> Store:
    """A store with a world "w" that has these entities."""
    store = store or MemoryStore()
    there = World(store, "w", seed=1)
    there.spawn_many(entities)
    await there.run(steps)
    return store


def tables(view: World, at: int | None = None) -> dict[Archetype, list[dict[str, Any]]]:
    """The live rows of every table, now or at a tick."""
    return {archetype: rows.to_arrow().to_pylist() for archetype, rows in view.tables(at).items()}


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


def test_default_factory_runs_once_per_row() -> None:
    """A default factory runs once for each row, and every later read and failed attempt has what it gave (M8)."""

    async def scenario() -> None:
        count = itertools.count(100)
        stamped = version(
            "Health", hp=(int, 10), note=(str, "n"), stamp=(int, Field(default_factory=lambda: next(count)))
        )
        store = FaultyStore(await stored((Old(),), (Old(),)))  # type: ignore[arg-type]
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


WIDENINGS: dict[str, tuple[Any, Any, Any, Any]] = {
    "int16 to int32": (INT16, INT32, -(2**15), -(2**15)),
    "int32 to int64": (INT32, int, 2**31 - 1, 2**31 - 1),
    "uint8 to int16": (Annotated[int, pa.uint8()], INT16, 255, 255),
    "float32 to float64": (FLOAT32, float, 0.1, pa.scalar(0.1, pa.float32()).as_py()),
    "T to T | None": (str, str | None, "x", "x"),
    "int16 to int | None": (INT16, int | None, 3, 3),
    "list of int32 to list of int64": (list[INT32], list[int], [1, 2], [1, 2]),
}


@pytest.mark.parametrize("case", WIDENINGS)
def test_widened_types_evolve_by_themselves(case: str) -> None:
    """Wider types take the old values without a declaration, and history is read as the wider type (M8)."""
    narrow, wide, value, expected = WIDENINGS[case]

    async def scenario() -> None:
        one, other = version("Gauge", v=(narrow, ...)), version("Gauge", v=(wide, ...))
        store = await stored((one(v=value),))
        there = await World.open(store, "w", components=[other])
        await there.step()
        assert there.get(1, other).v == expected
        assert [row["gauge__v"] for row in history(there, other)] == [expected, expected]
        assert there.query(one).to_arrow().schema.field("gauge__v").type == other.component_type().fields[0].type
        assert there.diff(0, 1).to_pylist() == []

    drive(scenario)


NARROWINGS: dict[str, tuple[Any, Any]] = {
    "int64 to int32": (int, INT32),
    "int64 to float64": (int, float),
    "T | None to T": (int | None, int),
    "text to int": (str, int),
    "uint64 to int64": (Annotated[int, pa.uint64()], int),
}


@pytest.mark.parametrize("case", NARROWINGS)
def test_other_types_are_refused(case: str) -> None:
    """Any other change of type needs a converter (M8)."""
    old, new = (version("Gauge", v=(kind, ...)) for kind in NARROWINGS[case])
    value = "3" if old.__annotations__["v"] is str else 3

    async def scenario() -> None:
        store = await stored((old(v=value),))
        with pytest.raises(SchemaMismatch, match="field 'v' is stored as"):
            await World.open(store, "w", components=[new])
        convert = {"v": lambda column: column.cast(new.component_type().fields[0].type)}
        third = version("Gauge", Evolution(convert=convert), v=(NARROWINGS[case][1], ...))
        there = await World.open(store, "w", components=[third])
        await there.step()
        assert there.get(1, third).v == 3

    drive(scenario)


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Red(enum.Enum):
    RED = "red"


def test_removed_enum_member_that_no_row_has() -> None:
    """An enum member may go if no live row has it; else `SchemaMismatch` names an entity, and a converter helps (M8)."""

    async def scenario() -> None:
        one, other = version("Paint", color=(Color, ...)), version("Paint", color=(Red, ...))
        store = await stored((one(color=Color.RED),))
        there = await World.open(store, "w", components=[other])
        await there.step()
        assert there.get(1, other).color is Red.RED

        store = await stored((one(color=Color.RED),), (one(color=Color.BLUE),))
        with pytest.raises(SchemaMismatch, match="'color' of entity 2: 'blue' is none of 'red'"):
            await World.open(store, "w", components=[other])
        third = version("Paint", Evolution(convert={"color": each(lambda _: Red.RED)}), color=(Red, ...))
        there = await World.open(store, "w", components=[third])
        before = there.digest()
        assert there.get(2, third).color is Red.RED
        assert before == there.digest(0)
        await there.step()
        assert [row["paint__color"] for row in history(there, third, ticks=1)] == ["red", "red"]
        assert [row["paint__color"] for row in history(there, third, ticks=0)] == ["red", "blue"]
        assert history(there, third, ticks=1, include_inactive=True) == history(there, third, ticks=1)
        await there.step()
        assert there.digest(2) == there.digest(1) != before

    drive(scenario)


def test_undeclared_change_prints_both_schemas_and_the_line() -> None:
    """A removed, renamed or retyped field that is not declared is `SchemaMismatch` with both forms and the line (M8)."""

    async def scenario() -> None:
        changed = version("Health", hp=(str, ""), armor=(int, 5))
        store = await stored((Old(),))
        with pytest.raises(SchemaMismatch) as caught:
            await World.open(store, "w", processors=[heal(changed)])
        text = str(caught.value)
        assert "stored field 'note' is not in the class" in text
        assert "field 'hp' is stored as int64 and declared as text" in text
        assert (
            "\n    hp: int64    hp: text, default\n    note: text   -\n    -            armor: int64, default\n" in text
        )
        assert '    evolution = Evolution(drop=("note",), convert={"hp": ...})' in text
        assert 'rename={"armor": "note"}' in text
        assert 'refuse=(("hp", "note"),)' in text
        there = await World.open(store, "w")
        with pytest.raises(SchemaMismatch):
            there.add_processor(heal(changed))
        await there.step()
        assert there.system.slots == ()
        assert there.get(1, Old) == Old()

    drive(scenario)


def test_required_field_needs_a_default() -> None:
    """An added field without a default is `SchemaMismatch` (M8)."""

    async def scenario() -> None:
        changed = version("Health", hp=(int, 10), note=(str, "n"), armor=(int, ...))
        store = await stored((Old(),))
        with pytest.raises(SchemaMismatch, match="Give armor a default in class Health"):
            await World.open(store, "w", components=[changed])
        with pytest.raises(SchemaMismatch, match="Give armor a default"):
            (await World.open(store, "w")).get(1, changed)

    drive(scenario)


def test_declared_changes_are_made() -> None:
    """Removed, renamed and retyped fields evolve as their class declares, in live rows and in history (M8)."""
    evolution = Evolution(rename={"life": "hp"}, drop=("note",), convert={"life": each(lambda hp: f"{hp} points")})
    changed = version("Health", evolution, life=(str, ""), armor=(int | None, None))

    async def scenario() -> None:
        store = await stored((Old(hp=1, note="a"),), (Old(hp=2, note="b"),))
        there = await World.open(store, "w", components=[changed])
        assert [there.get(one, changed).life for one in (1, 2)] == ["1 points", "2 points"]
        await there.step()
        assert [(row["tick"], row["health__life"], row["health__armor"]) for row in history(there, changed)] == [
            (tick, life, None) for tick in (0, 1) for life in ("1 points", "2 points")
        ]
        assert "health__note" not in there.query(changed).column_names
        # The old names are still what the old class reads.
        assert [row["health__note"] for row in history(there, Old)] == ["a", "b", None, None]

    drive(scenario)


def test_declaration_may_stay_for_good() -> None:
    """A rename, drop or conversion touches only rows of the old form, so later versions may keep it (M8)."""
    evolution = Evolution(rename={"life": ("hp", "points")}, drop=("note",), convert={"life": each(str)})
    second = version("Health", evolution, life=(str, ""))
    third = version("Health", evolution, life=(str, ""), hp=(int, 3), armor=(int, 1))

    async def scenario() -> None:
        store = await stored((Old(hp=1),))
        there = await World.open(store, "w", components=[second])
        there.spawn(second(life="own"))
        await there.step()
        there = await World.open(store, "w", components=[third])
        assert [there.get(one, third) for one in (1, 2)] == [
            third(life="1", hp=3, armor=1),
            third(life="own", hp=3, armor=1),
        ]
        direct = await World.open(await stored((Old(hp=1),)), "w", components=[third])
        assert direct.get(1, third) == third(life="1", hp=3, armor=1)

    drive(scenario)


def test_renamed_class_takes_its_rows_along() -> None:
    """A class that names its previous name has those rows, live and in history (M8)."""
    vigor = version("Vigor", Evolution(previous="Health"), hp=(int, 10), note=(str, "n"))

    async def scenario() -> None:
        store = await stored((Old(hp=4), Position()))
        there = await World.open(store, "w", components=[vigor])
        await there.step()
        assert there.get(1, vigor).hp == 4
        assert set(there.tables()) == {Archetype.of(vigor, Position)}
        assert [row["vigor__hp"] for row in history(there, vigor)] == [4, 4]

    drive(scenario)


def test_old_name_is_claimed_or_refused_by_schema() -> None:
    """When a class takes over an old name, its rows go to the class that claims them and away from one that refuses (M8)."""
    vigor = version("Vigor", Evolution(previous="Health"), hp=(int, 10), note=(str, "n"))
    clash = version("Health", hp=(int, 1), note=(str, ""), more=(int, 0))
    refusing = version("Health", Evolution(refuse=(("hp", "note"),)), hp=(int, 1), note=(str, ""), more=(int, 0))

    async def scenario() -> None:
        store = await stored((Old(hp=4),), (refusing(hp=5),))
        with pytest.raises(SchemaMismatch, match="both claim its rows"):
            await World.open(store, "w", components=[vigor, clash])
        there = await World.open(store, "w", components=[vigor, refusing])
        assert there.get(1, vigor).hp == 4
        assert there.get(2, refusing).hp == 5
        await there.step()
        assert [row["health__hp"] for row in history(there, refusing)] == [5, 5]
        alone = await World.open(await stored((Old(hp=4),)), "w", components=[refusing])
        await alone.step()
        assert set(alone.tables()) == {Archetype.of(Old)}

    drive(scenario)


def test_evolution_that_would_double_a_component_is_refused() -> None:
    """An entity with both the old and the new class cannot evolve, and says so (M8, M4)."""
    vigor = version("Vigor", Evolution(previous="Health"), hp=(int, 10), note=(str, "n"))

    async def scenario() -> None:
        store = await stored((Old(), vigor()))
        with pytest.raises(SchemaMismatch, match="cannot evolve"):
            await World.open(store, "w", components=[vigor])

    drive(scenario)


def test_old_digests_stay() -> None:
    """History is not rewritten: a committed tick keeps its digest and its rows, before and after the evolving tick (M8)."""

    async def scenario() -> None:
        store = await stored((Old(hp=1),), steps=2)
        before = [(await World.open(store, "w")).digest(tick) for tick in (0, 1)]
        there = await World.open(store, "w", processors=[heal(New)])
        assert [there.digest(), there.digest(0)] == [before[1], before[0]]
        assert set(there.tables(1)) == {Archetype.of(Old)}
        assert there.snapshot(New, at=1).to_pydict()["health__armor"] == [None]
        await there.run(2)
        assert [there.digest(tick) for tick in (0, 1)] == before

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
        store = FaultyStore(await stored((Old(),), (Old(), Name())))  # type: ignore[arg-type]
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


def test_failed_converter_changes_nothing() -> None:
    """A converter that raises, gives too few values or one that does not fit is `SchemaMismatch`; the world reopens (M8)."""
    faults: dict[str, Callable[[pa.Array], Any]] = {
        "ZeroDivisionError": lambda column: [1 // 0 for _ in column],
        "gave 1 values for 2 rows": lambda column: column[:1],
        "'hp' of entity 2: null": lambda column: pc.if_else(pc.equal(column, 1), column, None).cast(pa.int32()),
        "expected int, got str": lambda column: ["x" for _ in column],
    }

    async def scenario() -> None:
        store = await stored((Old(hp=1),), (Old(hp=2),))
        for text, convert in faults.items():
            changed = version("Health", Evolution(convert={"hp": convert}, drop=("note",)), hp=(INT32, 1))
            with pytest.raises(SchemaMismatch, match=text):
                await World.open(store, "w", components=[changed])
        there = await World.open(store, "w", components=[New])
        await there.step()
        assert len(there) == 2

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


def test_where_sees_the_filled_value() -> None:
    """A condition on a filled, renamed, widened or converted column answers as on the collected frame (M8, Q2)."""
    evolution = Evolution(rename={"life": "hp"}, convert={"note": each(len), "life": each(float)})
    changed = version("Health", evolution, life=(float, 1.0), note=(int, 0), armor=(int, 5))

    async def scenario() -> None:
        store = await stored((Old(hp=1, note="a"),), (Old(hp=5, note="abc"),))
        there = await World.open(store, "w", components=[changed])
        there.spawn(changed(life=5.0, note=3, armor=7))
        await there.run(2)
        columns = changed.c
        for where in (
            columns.armor == 5,
            columns.armor > 6,
            columns.armor.is_null(),
            columns.armor.not_null() & (columns.life > 2),
            columns.life == 5.0,
            columns.note == 3,
            (columns.note < 3) | (columns.armor == 7),
        ):
            for missing in ("null", "default"):
                asked = there.query(changed, where=where, missing=missing)
                whole = there.query(changed, missing=missing).collect().where(where)
                order = ["tick", "entity_id"]
                assert asked.sort(order).to_pylist() == whole.sort(order).to_pylist(), where
        assert there.query(changed, where=columns.armor == 5, missing="default", ticks=0).count_rows() == 2
        assert there.query(changed, where=columns.armor == 5, ticks=0).count_rows() == 0
        assert (
            there.query(changed, where=columns.armor.is_null(), ticks=0).select("tick").to_pylist() == [{"tick": 0}] * 2
        )

    drive(scenario)


def test_missing_is_null_or_default() -> None:
    """`missing` takes no other value (M8)."""
    with pytest.raises(ValueError, match="'null' or 'default'"):
        World(MemoryStore()).query(New, missing="zero")  # type: ignore[arg-type]


def test_diff_matches_versions_by_name() -> None:
    """`diff` compares versions of a component by its name, as the wider type; only values that differ are rows (M8)."""
    one = version("Gauge", v=(INT32, 1), gone=(int, 7), odd=(str, "x"))
    evolution = Evolution(drop=("gone",), convert={"odd": each(len)})
    other = version("Gauge", evolution, v=(int, 1), odd=(int, 0), extra=(int | None, None))

    async def scenario() -> None:
        store = await stored((one(v=3),), (one(v=4),))
        there = await World.open(store, "w", components=[other])
        there.update(2, other(v=2**40))
        await there.step()
        rows = [
            (row["op"], row["entity_id"], row["column"], row["before"], row["after"])
            for row in there.diff(0, 1).to_pylist()
        ]
        assert rows == [
            ("changed", 1, "gauge__gone", "7", None),
            ("changed", 1, "gauge__odd", '"x"', "1"),
            ("changed", 2, "gauge__gone", "7", None),
            ("changed", 2, "gauge__odd", '"x"', "1"),
            ("changed", 2, "gauge__v", "4", str(2**40)),
        ]

    drive(scenario)


def test_older_class_reads_and_does_not_step() -> None:
    """A process with the older class reads newer rows as far as it knows them, and may not step (M8)."""

    async def scenario() -> None:
        store = await stored((New(hp=2**40, armor=1),))
        small = version("Health", hp=(INT32, 10), note=(str, "n"))
        reader = await World.open(store, "w")
        assert reader.get(1, small).hp == 2**40
        assert [row["health__hp"] for row in history(reader, small)] == [2**40]
        assert reader.snapshot(small).to_pydict()["health__hp"] == [2**40]
        with pytest.raises(SchemaMismatch, match="'armor' is not in the class"):
            reader.add_processor(heal(small))
        with pytest.raises(SchemaMismatch, match="'armor' is not in the class"):
            await World.open(store, "w", processors=[heal(Old)])

    drive(scenario)


def test_newer_class_of_an_evolved_world_cannot_be_stepped_over_by_an_old_process() -> None:
    """Two versions that processors of one world name side by side each keep their own rows (M8)."""

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
        there.add_hook(PreTick, lambda _: None)

    drive(scenario)


def test_silence_is_warned_about_once(caplog: pytest.LogCaptureFixture) -> None:
    """Tables without a class, processors without a table and a world that lost its processors are logged once (M8)."""

    async def scenario() -> None:
        lost = version("Lost", v=(int, 1))
        store = await stored((lost(),), (Old(),))
        # A class that is stored like the table is known wherever it is defined, so the test defines away from it.
        there = await World.open(store, "w", processors=[heal(Old, Position), heal(Old)])
        await there.run(3)
        there.remove_processor(Heal)
        await there.run(2)
        assert [record.getMessage() for record in caplog.records] == [
            "processor Heal of world 'w' matches no table: no entity has all its components",
            "world 'w' steps without processors; it had Heal, Heal#2",
        ]

    with caplog.at_level(logging.WARNING, "archetype"):
        drive(scenario)


def test_declaration_is_checked_with_its_class() -> None:
    """An `Evolution` that names no field of its class, or contradicts itself, is refused with the class (M8, M2)."""
    for evolution, text in (
        (Evolution(rename={"x": "y"}), "rename names 'x', which is not one of its fields"),
        (Evolution(convert={"x": each(int)}), "convert names 'x', which is not one of its fields"),
        (Evolution(drop=("hp",)), "drop names 'hp', which is one of its fields"),
        (Evolution(rename={"hp": "a", "mp": "a"}), "two fields are renamed from 'a'"),
        (Evolution(rename={"hp": "mp", "mp": "hp"}), "is renamed, and is renamed to or dropped"),
        (Evolution(previous="Bad"), "its own name"),
    ):
        with pytest.raises(ComponentTypeError, match=text):
            version("Bad", evolution, hp=(int, 0), mp=(int, 0))
    with (
        pytest.warns(UserWarning, match="shadows"),
        pytest.raises(ComponentTypeError, match="write evolution = Evolution"),
    ):
        version("Bad", evolution=(Evolution, Evolution()))
    for wrong in ({"drop": "hp"}, {"rename": ("a", "b")}, {"convert": {"a": 1}}, {"refuse": ("a",)}):
        with pytest.raises(TypeError):
            Evolution(**wrong)  # type: ignore[arg-type]


def test_subclass_inherits_what_became_of_fields_and_no_names() -> None:
    """A subclass inherits renames, drops and conversions, but neither previous names nor refusals (M8)."""
    base = version("Base", Evolution(rename={"b": "a"}, previous="Basis"), b=(int, 0))
    child = type("Child", (base,), {"__module__": __name__})
    old = version("Child", a=(int, 0))
    basis = version("Basis", b=(int, 0))

    async def scenario() -> None:
        store = await stored((old(a=3),), (basis(b=4),))
        there = await World.open(store, "w", components=[child])
        assert there.get(1, child).b == 3  # type: ignore[attr-defined]
        assert there.entity_ids(child).to_pylist() == [1]
        assert there.entity_ids(base).to_pylist() == [2]

    drive(scenario)
