"""Damage to a journal raises and is reported by ``verify``; no reader gets other values than were written."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from journal_worlds import Drift, Label, Place, Speed

from archetype_core import RunConfig, Scan, Store, World
from archetype_core.errors import ArchetypeError, CommitError, CorruptStore
from archetype_core.store import BASE_FIELDS
from archetype_journal import JournalStore, repair, verify

# Damage to the format's version looks like another version, which is a CommitError.
REFUSED = (CorruptStore, CommitError)
FLIPS = int(os.environ.get("ARCHETYPE_FLIPS", "400"))


async def varied_worlds(store: JournalStore) -> None:
    """A world and its fork: three tables, spawns, moves, despawns, a second run, a large column."""
    world = World(store, "w", seed=1, processors=[Drift()])
    world.spawn_many([(Place(x=float(n)), Speed()) for n in range(20)])
    label = world.spawn(Label(text="still"))
    await world.run(3)
    world.despawn(2)
    world.add_components(3, Label(text="both"))
    await world.step(applied=("one", "two"))
    fork = await world.fork("fork", rng=7)
    fork.update(label, Label(text="moved"))
    await fork.run(2)
    await world.run(2, config=RunConfig(run_id="second"))
    fork.spawn_table({"x": [0.5] * 40_000}, Place)
    await fork.run(2)


def contents(store: Store) -> dict[Any, Any]:
    """Everything that a store holds, table by table and tick by tick."""
    found: dict[Any, Any] = {}
    for record in store.worlds():
        timeline = store.timeline(record.world_id)
        found[record] = (timeline.spans, store.head(record.world_id))
        for span in timeline.spans:
            for name, schema in timeline.tables.items():
                columns = (*BASE_FIELDS, *(one for one in schema.names if one not in BASE_FIELDS))
                table = store.scan(Scan(name, span.segment, span.first, span.last, columns)).read_all()
                found[record.world_id, span, name] = table
    return found


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A journal that was closed."""
    path = tmp_path_factory.mktemp("journal") / "closed"
    store = JournalStore(path)
    asyncio.run(varied_worlds(store))
    store.close()
    return path


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A journal as a killed process leaves it."""
    path = tmp_path_factory.mktemp("journal") / "left"
    store = JournalStore(path.with_name("live"))
    asyncio.run(varied_worlds(store))
    shutil.copytree(path.with_name("live"), path)
    yield path
    store.close()


def flip(data: bytearray, chance: random.Random) -> None:
    """Change one byte."""
    data[chance.randrange(len(data))] ^= chance.randrange(1, 256)


def cut(data: bytearray, chance: random.Random) -> None:
    """Remove the end."""
    del data[chance.randrange(len(data)) :]


def blank(data: bytearray, chance: random.Random) -> None:
    """Fill a stretch with zeros."""
    begin = chance.randrange(len(data))
    end = min(len(data), begin + chance.choice((1, 16, 512, 4096)))
    data[begin:end] = bytes(end - begin)


def gap(data: bytearray, chance: random.Random) -> None:
    """Fill a sector with zeros."""
    begin = 512 * chance.randrange(-(-len(data) // 512))
    end = min(len(data), begin + 512)
    data[begin:end] = bytes(end - begin)


def read(path: Path) -> dict[Any, Any]:
    """What a journal holds when it is opened."""
    store = JournalStore(path)
    try:
        return contents(store)
    finally:
        store.close()


@pytest.mark.thorough
@pytest.mark.parametrize("damage", [flip, cut, blank])
def test_damage_raises_or_is_harmless(closed: Path, tmp_path: Path, damage: Callable[..., None]) -> None:
    """Whatever happens to a byte of a closed journal, a reader gets the right values or an error. (S4)"""
    expected = contents_of(closed, tmp_path)
    chance = random.Random(1)
    for index in range(FLIPS if damage is flip else FLIPS // 4):
        _damaged(closed, tmp_path / "it", chance, damage)
        try:
            found = read(tmp_path / "it")
        except REFUSED:
            pass
        else:
            assert found == expected, f"damage {index} was served"
        shutil.rmtree(tmp_path / "it")


@pytest.mark.thorough
def test_damage_to_the_log_raises_or_is_a_torn_tail(left: Path, tmp_path: Path) -> None:
    """The same after a crash, but a log's last transaction may be lost: damage there looks like a torn tail. (S4)"""
    expected = contents_of(left, tmp_path)
    chance = random.Random(2)
    for index in range(FLIPS // 2):
        damage = chance.choice((flip, flip, gap))
        where = _damaged(left, tmp_path / "it", chance, damage)
        try:
            found = read(tmp_path / "it")
        except REFUSED:
            continue
        finally:
            shutil.rmtree(tmp_path / "it")
        if found != expected:
            assert where.suffix == ".sqlite-wal", f"damage {index} in {where} was served"
            # A gap may be in two transactions.
            assert 1 <= _ticks_less(found, expected) <= (2 if damage is gap else 1)


def contents_of(path: Path, place: Path) -> dict[Any, Any]:
    """What a copy of a journal holds."""
    shutil.copytree(path, place / "copy")
    return read(place / "copy")


def _damaged(source: Path, target: Path, chance: random.Random, damage: Callable[..., None]) -> Path:
    shutil.copytree(source, target)
    files = [
        one for one in sorted(target.iterdir()) if one.stat().st_size and one.suffix not in (".sqlite-shm", ".owner")
    ]
    where = chance.choices(files, weights=[8 if "sqlite" in one.name else 1 for one in files])[0]
    data = bytearray(where.read_bytes())
    damage(data, chance)
    where.write_bytes(data)
    return where


def _ticks_less(found: dict[Any, Any], expected: dict[Any, Any]) -> int:
    before, after = heads_of(expected), heads_of(found)
    assert before.keys() == after.keys()
    return sum(before[world] - after[world] for world in before)


def is_part(found: dict[Any, Any], expected: dict[Any, Any]) -> bool:
    """Whether every world that is left has at each of its ticks what it had before."""
    known = {(world, name, tick): rows for (world, _, name), table in _tables(expected) for tick, rows in _ticks(table)}
    return all(
        known.get((world, name, tick)) == rows
        for (world, _, name), table in _tables(found)
        for tick, rows in _ticks(table)
    )


def _tables(contents: dict[Any, Any]) -> Iterator[tuple[tuple[str, Any, str], pa.Table]]:
    return ((key, value) for key, value in contents.items() if isinstance(key, tuple))


def _ticks(table: pa.Table) -> Iterator[tuple[int, pa.Table]]:
    for tick in table.column("tick").unique().to_pylist() if "tick" in table.column_names else ():
        yield tick, table.filter(pc.equal(table.column("tick"), tick)).combine_chunks()


@pytest.mark.thorough
@pytest.mark.parametrize("damage", [flip, cut, blank])
def test_repair_keeps_what_can_be_read(closed: Path, tmp_path: Path, damage: Callable[..., None]) -> None:
    """Verify finds all that fails a reader; repair brings back worlds with their values, and names what it removed. (S4)"""
    expected = contents_of(closed, tmp_path)
    chance = random.Random(3)
    for index in range(FLIPS // 8):
        place = tmp_path / "it"
        _damaged(closed, place, chance, damage)
        before = verify(place)
        try:
            readable = read(place) == expected
        except ArchetypeError:
            readable = False
            assert not before.is_sound, f"damage {index} fails a reader, and verify finds nothing"
        if before.is_sound:
            assert readable, f"damage {index}"
            assert repair(place).kept_in is None
            shutil.rmtree(place)
            continue
        try:
            done = repair(place, roll_back=True)
        except CorruptStore:
            # Nothing can be rebuilt: the database stays as it is.
            assert any(place.rglob("journal.sqlite"))
        else:
            store = JournalStore(place)
            found = heads(store)
            for world in found:
                asyncio.run(World.open(store, world))
            gone = heads_of(expected).keys() - found.keys()
            assert bool(done.removed) == (found != heads_of(expected)), (index, done.removed, gone)
            assert is_part(_readable(store), expected), f"damage {index}"
            store.close()
            assert done.kept_in is None or (done.kept_in / "journal.sqlite").exists()
        shutil.rmtree(place)


def heads(store: Store) -> dict[str, int]:
    """The last tick of every world."""
    return {one.world_id: one.tick for one in store.worlds()}


def heads_of(contents: dict[Any, Any]) -> dict[str, int]:
    """The last tick of every world, as ``contents`` returned them."""
    return {key.world_id: key.tick for key in contents if not isinstance(key, tuple)}


def _readable(store: Store) -> dict[Any, Any]:
    """What of a store can be read, tick by tick."""
    found: dict[Any, Any] = {}
    for record in store.worlds():
        timeline = store.timeline(record.world_id)
        for span in timeline.spans:
            for name, schema in timeline.tables.items():
                columns = (*BASE_FIELDS, *(one for one in schema.names if one not in BASE_FIELDS))
                for tick in range(span.first, span.last + 1):
                    try:
                        table = store.scan(Scan(name, span.segment, tick, tick, columns)).read_all()
                    except CorruptStore:
                        continue
                    found[record.world_id, (span, tick), name] = table
    return found
