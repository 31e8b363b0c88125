"""Reads see the rows of every version of a component (M8, Q2)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scene import drive, history
from versions import INT32, New, Old, heal, stored, version

from archetype_core.engine import (
    World,
)
from archetype_core.errors import SchemaMismatch
from archetype_core.schema import Archetype, Evolution, each
from archetype_core.store import MemoryStore


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
                found, expected = (one.sort(["tick", "entity_id"]).to_pylist() for one in (asked, whole))
                assert found == expected, where
        assert there.query(changed, where=columns.armor == 5, missing="default", ticks=0).count_rows() == 2
        assert there.query(changed, where=columns.armor == 5, ticks=0).count_rows() == 0
        assert (
            there.query(changed, where=columns.armor.is_null(), ticks=0).select("tick").to_pylist() == [{"tick": 0}] * 2
        )

    drive(scenario)


def test_missing_is_null_or_default() -> None:
    """`missing` takes no other value (M8)."""
    there = World(MemoryStore())
    for read in (there.query, there.snapshot):
        with pytest.raises(ValueError, match="'null' or 'default'"):
            read(New, missing="zero")  # type: ignore[arg-type]  # reason: what is refused


@pytest.mark.parametrize("at", [None, 1, 0])
def test_snapshot_fills_what_is_missing_as_a_query_does(at: int | None) -> None:
    """`snapshot` gives null or the default for a field that a version lacks, live and at a tick, as `query` does (M8, Q2)."""

    async def scenario() -> None:
        reader = await World.open(await stored((Old(hp=1),), steps=2), "w")
        for missing, armor in (("null", None), ("default", 5)):
            found = reader.snapshot(New, at=at, missing=missing).to_pylist()  # type: ignore[arg-type]  # reason: the loop
            assert [row["health__armor"] for row in found] == [armor]
            assert found == reader.query(New, ticks=1 if at is None else at, missing=missing).to_pylist()  # type: ignore[arg-type]  # reason: as above

    drive(scenario)


def differences(view: World, before: int, after: int) -> list[tuple[Any, ...]]:
    """The rows of a diff, as tuples."""
    rows = view.diff(before, after).to_pylist()
    return [tuple(row[name] for name in ("op", "entity_id", "column", "before", "after")) for row in rows]


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
        gone = [("changed", entity, "gauge__gone", "7", None) for entity in (1, 2)]
        assert differences(there, 0, 1) == [*gone, ("changed", 2, "gauge__v", "4", str(2**40))]
        # A world that names no class compares what is stored.
        assert differences(await World.open(store, "w"), 0, 1) == [
            gone[0],
            ("changed", 1, "gauge__odd", '"x"', "1"),
            gone[1],
            ("changed", 2, "gauge__odd", '"x"', "1"),
            ("changed", 2, "gauge__v", "4", str(2**40)),
        ]

    drive(scenario)


@given(st.data())
def test_diff_follows_renames(data: st.DataObject) -> None:
    """In `diff`, a renamed field or class is what its class calls it, and does not differ by its name (M8, Q2)."""
    names = data.draw(st.lists(st.sampled_from(["a", "b", "d", "e"]), min_size=2, unique=True))
    fates = {name: data.draw(st.sampled_from(["stay", "rename", "widen", "drop"])) for name in names[1:]}
    fates[names[0]] = "rename"
    kept = {name: f"{name}_new" if fate == "rename" else name for name, fate in fates.items() if fate != "drop"}
    called = data.draw(st.sampled_from(["Gauge", "Meter"]))
    evolution = Evolution(
        rename={new: old for old, new in kept.items() if new != old},
        drop=tuple(name for name, fate in fates.items() if fate == "drop"),
        previous=() if called == "Gauge" else "Gauge",
    )
    one = version("Gauge", **dict.fromkeys(names, (INT32, ...)))
    fields = {new: (int if fates[old] == "widen" else INT32, ...) for old, new in kept.items()}
    other = version(called, evolution, **fields, added=(int, 5))

    async def scenario() -> None:
        store = await stored(*[(one(**dict.fromkeys(names, value)),) for value in (3, 4)])
        there = await World.open(store, "w", components=[other])
        held = there.get(2, other)
        setattr(held, kept[names[0]], 9)
        there.update(2, held)
        await there.step()
        prefix = called.lower()
        expected: list[tuple[Any, ...]] = [
            ("changed", entity, f"gauge__{name}", str(entity + 2), None) for entity in (1, 2) for name in evolution.drop
        ]
        expected += [("changed", entity, f"{prefix}__added", None, "5") for entity in (1, 2)]
        expected.append(("changed", 2, f"{prefix}__{kept[names[0]]}", "4", "9"))
        assert differences(there, 0, 1) == sorted(expected, key=lambda row: row[1:3])
        assert there.diff(1, (await there.fork(at_tick=0), 0)).count_rows() == len(expected)

    asyncio.run(scenario())


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
