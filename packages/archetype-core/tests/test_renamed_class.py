"""A renamed class whose rows have no class of their own is found out, and a world without one is left in peace (M8)."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pyarrow as pa
import pytest
from daft import DataFrame
from hypothesis import given
from hypothesis import strategies as st
from scene import Position, drive
from versions import INT32, stored, version

from archetype_core.engine import Processor, World
from archetype_core.errors import SchemaMismatch
from archetype_core.schema import Archetype, Component, ComponentType, Evolution, Snapshot
from archetype_core.store import MemoryStore, Rows, TickCommit

_number = itertools.count()


class Idle(Processor):
    """Names a component and changes nothing."""

    def __init__(self, kind: Any) -> None:
        self.components = (kind,)  # type: ignore[misc]  # reason: the class of each test

    def process(self, df: DataFrame) -> DataFrame:
        return df


def unknown_name() -> str:
    """A component name that no class of this process has."""
    return f"Gone{next(_number)}"


async def left_behind(name: str, *entities: tuple[Component, ...], **columns: pa.Array) -> MemoryStore:
    """A store as another process left it: entities of classes, and two of a component that no class here is named like."""
    store = await stored(*entities) if entities else await stored((Position(),))
    fields = [pa.field(f"{name.lower()}__{one}", array.type, nullable=False) for one, array in columns.items()]
    gone = Archetype.of(ComponentType.of(name, fields))
    table = pa.table([pa.array([100, 101]), *columns.values()], gone.schema)
    live = (await World.open(store, "w")).tables()
    segment = store.head(store.worlds()[0].world_id).segment
    carried = {archetype.name: rows for archetype, rows in live.items()}
    rows = {gone.name: Rows(Snapshot.from_arrow(gone, table))}
    store.commit((TickCommit(segment, 1, rows, next_entity_id=200, carried=carried),))
    return store


HP = pa.array([7, 8])
NOTE = pa.array(["a", "b"], pa.large_string())


def test_a_renamed_class_without_its_previous_name_is_refused() -> None:
    """Rows without a class and a new class with exactly their fields: `SchemaMismatch` with both forms and the line (M8)."""

    async def scenario() -> None:
        name = unknown_name()
        store = await left_behind(name, hp=HP, note=NOTE)
        heir = version("Heir", note=(str, "n"), hp=(int, 10))
        line = f'    evolution = Evolution(previous="{name}")'
        for named in ({"components": [heir]}, {"processors": [Idle(heir)]}):
            with pytest.raises(SchemaMismatch, match=f"this process has no class {name}") as caught:
                await World.open(store, "w", **named)  # type: ignore[arg-type]  # reason: either
            remedy = caught.value.remedy.splitlines()
            assert line in remedy
            assert ["stored", name, "class", "Heir"] in [one.split() for one in remedy]
            assert ["hp:", "int64", "hp:", "int64,", "default"] in [one.split() for one in remedy]
        reader = await World.open(store, "w")
        with pytest.raises(SchemaMismatch):
            reader.add_processor(Idle(heir))
        assert reader.system.slots == ()
        await reader.step()
        declared = version("Heir", Evolution(previous=name), note=(str, "n"), hp=(int, 10))
        there = await World.open(store, "w", components=[declared])
        await there.step()
        assert [there.get(one, declared).hp for one in (100, 101)] == [7, 8]

    drive(scenario)


def test_a_chain_of_class_names_without_one_is_refused() -> None:
    """The line to write keeps the previous names that the class declares (M8)."""

    async def scenario() -> None:
        name = unknown_name()
        store = await left_behind(name, hp=HP)
        heir = version("Heir", Evolution(previous="Between", rename={"hp": "life"}), hp=(int, 10))
        with pytest.raises(SchemaMismatch) as caught:
            await World.open(store, "w", components=[heir])
        line = f'    evolution = Evolution(rename={{"hp": "life"}}, previous=("Between", "{name}"))'
        assert line in caught.value.remedy.splitlines()

    drive(scenario)


def test_still_earlier_names_are_proposed_too() -> None:
    """History under a name that has no class either is in the line to write, so that reads do not leave it out (M8)."""

    async def scenario() -> None:
        first, second = unknown_name(), unknown_name()
        store = await left_behind(first, hp=HP)
        # Another process named the class anew, and declared it.
        old, new = (
            Archetype.of(ComponentType.of(one, [pa.field(f"{one.lower()}__hp", pa.int64(), nullable=False)]))
            for one in (first, second)
        )
        head = store.head(store.worlds()[0].world_id)
        written = {
            table.name: Rows(Snapshot.empty(table), rows) if table is old else Rows(rows)
            for table in (old, new)
            for rows in [Snapshot.from_arrow(table, pa.table([pa.array([100, 101]), HP], table.schema))]
        }
        carried = (await World.open(store, "w")).tables()
        others = {table.name: rows for table, rows in carried.items() if table is not old}
        store.commit((TickCommit(head.segment, 2, written, next_entity_id=200, carried=others),))
        with pytest.raises(SchemaMismatch) as caught:
            await World.open(store, "w", components=[version("Heir", hp=(int, 10))])
        assert f'    evolution = Evolution(previous=("{second}", "{first}"))' in caught.value.remedy.splitlines()
        heir = version("Heir", Evolution(previous=(second, first)), hp=(int, 10))
        there = await World.open(store, "w", components=[heir])
        await there.step()
        assert {row["tick"] for row in there.query(heir).to_pylist()} == {1, 2, 3}

    drive(scenario)


def test_a_class_that_the_world_knows_is_no_new_name() -> None:
    """A class whose rows the world has, or once had, is not taken for the new name of another component (M8)."""

    async def scenario(ended: bool) -> None:
        name = unknown_name()
        twin = version("Twin", hp=(int, 10))
        store = await left_behind(name, (twin(hp=1),), hp=HP)
        if ended:
            there = await World.open(store, "w")
            there.despawn(1)
            await there.step()
        for named in ({"components": [twin]}, {"processors": [Idle(twin)]}):
            there = await World.open(store, "w", **named)  # type: ignore[arg-type]  # reason: either
            await there.step()
            fork = await there.fork()
            fork.add_processor(Idle(twin))
            await fork.step()

    drive(lambda: scenario(ended=False))
    drive(lambda: scenario(ended=True))


def test_a_class_that_came_and_went_is_no_new_name() -> None:
    """A class that this process spawned before it named it is the world's own (M8)."""

    async def scenario() -> None:
        twin = version("Twin", hp=(int, 10))
        there = await World.open(await left_behind(unknown_name(), hp=HP), "w")
        entity = there.spawn(twin())
        await there.run(2)
        there.despawn(entity)
        await there.run(2)
        there.add_processor(Idle(twin))
        await there.step()

    drive(scenario)


def test_a_component_that_has_a_class_is_not_renamed() -> None:
    """Where any class has the old name, in whatever form, rows of that name are not asked about (M8)."""

    async def scenario() -> None:
        name = unknown_name()
        store = await left_behind(name, hp=HP)
        heir = version("Heir", hp=(int, 10))
        with pytest.raises(SchemaMismatch, match="import the module that defines its class"):
            await World.open(store, "w", components=[heir])
        version(name, other=(str, ""))
        await (await World.open(store, "w", components=[heir])).step()

    drive(scenario)


KINDS: dict[str, tuple[Any, pa.DataType]] = {
    "int": (int, pa.int64()),
    "int32": (INT32, pa.int32()),
    "text": (str, pa.large_string()),
}
FORMS = st.dictionaries(st.sampled_from(["x", "y", "value"]), st.sampled_from(sorted(KINDS)), max_size=3)


@given(FORMS, FORMS)
def test_only_a_class_of_exactly_the_same_fields_is_asked_about(gone: dict[str, str], new: dict[str, str]) -> None:
    """A world whose process does not import an unrelated class opens and steps, whatever that class had (M8)."""

    async def scenario() -> None:
        columns = {one: pa.array([1, 2]).cast(KINDS[kind][1]) for one, kind in gone.items()}
        store = await left_behind(unknown_name(), **columns)
        heir = version("Heir", **{one: (KINDS[kind][0], "" if kind == "text" else 0) for one, kind in new.items()})
        if gone == new and gone:
            with pytest.raises(SchemaMismatch):
                await World.open(store, "w", components=[heir])
        else:
            there = await World.open(store, "w", components=[heir, Position])
            there.spawn(heir())
            await there.step()
            assert len(there) == 4

    asyncio.run(scenario())
