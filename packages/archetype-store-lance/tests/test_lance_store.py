"""What the Lance store adds to the contract: where rows lie, what idle tables cost, and that nothing piles up."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from cramped import cramped
from daft import DataFrame, col
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archetype_contracts.sample import SPOT, mottos, spots
from archetype_contracts.script import Script
from archetype_core import AsyncProcessor, CacheConfig, Component, StorageConfig, Vector, World, open_store
from archetype_core.errors import CommitError, StoreClosed, TickConflict
from archetype_core.store import IS_ACTIVE, Scan
from archetype_journal import JournaledStore
from archetype_store_lance import LanceStore, open_lance, verify
from archetype_store_lance.record import CommitRecord, decode, encode
from archetype_store_lance.row_layout import MOST_ROWS, MOST_TICKS, Write, tiles


class Position(Component):
    x: float = 0.0
    y: float = 0.0


class Memory(Component):
    text: str = ""
    embedding: Vector(2) | None = None  # type: ignore[valid-type]  # reason: pydantic reads it, a type checker cannot


class Drift(AsyncProcessor):
    components = (Position,)

    async def process(self, df: DataFrame) -> DataFrame:
        return df.with_columns({"position__x": col("position__x") + 0.1})


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """Run to the end."""
    return asyncio.run(work)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return a directory for a store."""
    return tmp_path / "store"


# Addresses.


@pytest.mark.parametrize("spell", ["lance:{}", "LANCE:{}", "{}", "lance:file://{}"])
def test_addresses_open_the_store_with_its_journal(place: Path, spell: str) -> None:
    """``lance:`` and a bare path are the same store, a journal in it."""
    store = open_store(spell.format(place))
    assert isinstance(store, JournaledStore)
    assert isinstance(store.beneath, LanceStore)
    assert store.path == place / "journal"
    store.close()


def test_what_a_store_is_opened_with_is_looked_at_first(place: Path) -> None:
    """Misspelt options, values of other types and files in the way are told by name, and nothing is made."""
    with pytest.raises(ValueError, match="'jornal'; its options are journal, storage_options"):
        open_store(StorageConfig(str(place), backend="lance", options={"jornal": "x"}))
    for options in ({"journal": 3}, {"storage_options": 3}):
        with pytest.raises(TypeError, match="3"):
            open_store(StorageConfig(str(place), backend="lance", options=options))
    assert not place.exists()
    place.write_text("a file")
    for path in (place, place / "below"):
        with pytest.raises(CommitError, match="a file is where a directory should be"):
            open_store(path)


def test_an_object_store_needs_a_place_for_its_journal() -> None:
    """Only a directory has room for a journal; elsewhere it has to be named."""
    with pytest.raises(ValueError, match="journal="):
        open_store("lance:s3://bucket/prefix")


def test_a_directory_takes_no_storage_options(place: Path) -> None:
    """Options that nobody would look at are refused."""
    options = {"storage_options": {"aws_region": "x"}}
    with pytest.raises(ValueError, match="storage options"):
        open_store(StorageConfig(str(place), options=options))
    with pytest.raises(ValueError, match="no place"):
        open_store("lance:")
    with pytest.raises(ValueError, match=r"lance:\./data"):
        open_store("lance://data")
    with pytest.raises(ValueError, match="printed"):
        open_store(f"lance:{place}\nb")


def test_a_journal_may_be_elsewhere(place: Path, tmp_path: Path) -> None:
    """``journal=`` names the journal's directory."""
    store = open_lance(str(place), journal=tmp_path / "fast")
    assert store.path == tmp_path / "fast"
    store.close()


def test_importing_the_package_does_not_import_the_engine() -> None:
    """The engine is brought along when a store is opened, and not before."""
    script = "import sys, archetype_store_lance; print('lance' in sys.modules, 'obstore' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


# Where rows lie.


def writes(*groups: tuple[int, dict[int, float | None]]) -> list[Write]:
    """Writes of ticks to one table."""
    return [Write(tick, spots(values)) for tick, values in groups]


def test_ticks_of_the_same_entities_share_a_tile() -> None:
    """Consecutive ticks with the same entities in the same order lie in one tile; others begin another."""
    same: dict[int, float | None] = {1: 1.0, 2: 2.0}
    found = tiles(writes((3, same), (4, same), (5, {2: 1.0, 1: 0.0}), (6, {}), (7, same), (9, same)), 10)
    assert [(one.first, one.ticks, one.start, one.live) for one, _ in found] == [
        (3, 2, 10, 2),
        (5, 1, 14, 2),
        (6, 1, 16, 0),
        (7, 1, 16, 2),
        (9, 1, 18, 2),
    ]


def test_conditions_leave_rows_out(place: Path) -> None:
    """Rows that a scan's condition does not hold for are not given; a condition on what is not stored is no help (Q2)."""
    store, script = LanceStore(place), Script()
    store.commit([script.tick(spots({1: 1.0, 2: 5.0, 3: None, 4: float("nan")}, gone={9: 7.0})) for _ in range(2)])

    def found(where: pc.Expression, columns: tuple[str, ...]) -> list[dict[str, Any]]:
        scan = Scan(SPOT.name, script.segment, 0, 1, columns, where=where)
        rows: list[dict[str, Any]] = store.scan(scan).read_all().to_pylist()
        return rows

    assert found(pc.field("spot__x") > 4, ("tick", "entity_id", IS_ACTIVE)) == [
        {"tick": tick, "entity_id": entity, IS_ACTIVE: entity != 9} for tick in (0, 1) for entity in (2, 9)
    ]
    assert found(pc.field("spot__x").is_null(), ("spot__x",)) == [{"spot__x": None}] * 2
    assert found(pc.field("spot__x") == 1, ("tick",)) == [{"tick": 0}, {"tick": 1}]
    assert found(pc.field("spot__x") > 100, ("spot__x", "entity_id")) == []
    assert len(found((pc.field("spot__x") > 4) & (pc.field("elsewhere") == 1), ("entity_id",))) == 10
    store.close()


def test_tombstones_lie_by_themselves() -> None:
    """A tick with tombstones is a tile of its own, the active rows before the others."""
    gone = Write(2, spots({1: 1.0}, gone={2: 2.0}))
    found = [one for one, _ in tiles([*writes((1, {1: 1.0})), gone, *writes((3, {1: 1.0}))], 0)]
    assert [(one.first, one.ticks, one.live, one.gone) for one in found] == [(1, 1, 1, 0), (2, 1, 1, 1), (3, 1, 1, 0)]
    assert found[1].live_at(2, 2).tolist() == [1]
    assert found[1].gone_at().tolist() == [2]


def test_tiles_are_bounded() -> None:
    """A tile has no more ticks, and no more rows, than are read at once."""
    small = list(tiles((Write(tick, spots({1: 0.0})) for tick in range(MOST_TICKS + 1)), 0))
    assert [one.ticks for one, _ in small] == [MOST_TICKS, 1]
    wide = spots(dict.fromkeys(range(1, MOST_ROWS // 2 + 1), 0.0))
    large = list(tiles((Write(tick, wide) for tick in range(3)), 0))
    assert [one.ticks for one, _ in large] == [2, 1]


@pytest.mark.parametrize("commits", [[(0, 200)], [(0, 1), (1, 70), (70, 71), (71, 200)]])
@pytest.mark.parametrize("compacted", [False, True])
def test_every_way_to_read_gives_the_same(place: Path, commits: list[tuple[int, int]], compacted: bool) -> None:
    """One tick, many, one entity, some entities and some columns are cuts of the same rows, however they were written."""
    store, script = LanceStore(place), Script()
    ticks = []
    for tick in range(200):
        if tick % 50 == 30:
            ticks.append(script.tick())
        elif tick % 60 == 59:
            ticks.append(script.tick(spots({1: float(tick), 3: None}, gone={2: -0.0})))
        else:
            ticks.append(script.tick(spots({2: float(tick), 1: float("nan"), 3: 0.5})))
    for first, last in commits:
        store.commit(ticks[first:last])
    if compacted:
        store.compact()
    columns = ("entity_id", "tick", IS_ACTIVE, "spot__x")

    def read(first: int, last: int, ids: list[int] | None = None, names: tuple[str, ...] = columns) -> pa.Table:
        array = None if ids is None else pa.array(ids, pa.int64())
        return store.scan(Scan(SPOT.name, script.segment, first, last, names, array)).read_all()

    whole = read(0, 199).to_pylist()
    assert len(whole) == sum(rows.num_rows for tick in script.ticks for rows in tick.shown.values())
    for first, last in ((0, 0), (29, 31), (59, 60), (5, 150), (199, 199)):
        part = [row for row in whole if first <= row["tick"] <= last]
        assert repr(read(first, last).to_pylist()) == repr(part)
        for ids in ([1], [3, 2], [77], []):
            wanted = [row for row in part if row["entity_id"] in ids]
            assert repr(read(first, last, ids).to_pylist()) == repr(wanted)
        assert read(first, last, names=()).num_rows == len(part)
        assert read(first, last, names=("tick",)).column(0).to_pylist() == [row["tick"] for row in part]
    store.close()


def test_tables_can_be_read_by_anybody(place: Path) -> None:
    """Each archetype is a Lance table with all base columns, for tools that know Lance and nothing of this."""
    import lance

    store, script = LanceStore(place), Script()
    store.commit([script.tick(spots({1: 1.0, 2: 2.0})) for _ in range(3)])
    store.close()
    table = lance.dataset(str(place / f"{SPOT.name}.lance")).to_table(filter="entity_id = 2 AND tick = 1").to_pylist()
    segment = script.segment
    base = {"world_id": segment.world_id, "run_id": segment.run_id, "entity_id": 2, "tick": 1, "is_active": True}
    assert table == [{**base, "spot__x": 2.0}]


# What it costs.


def size(path: Path) -> int:
    """Bytes of a directory."""
    return sum(one.stat().st_size for one in path.rglob("*") if one.is_file())


def count(path: Path) -> int:
    """Files of a directory."""
    return sum(one.is_file() for one in path.rglob("*"))


def test_idle_tables_cost_nothing(place: Path) -> None:
    """A table that no tick writes takes no rows, however many ticks it stands."""
    store, script = LanceStore(place), Script()
    store.commit([script.tick(spots(dict.fromkeys(range(1, 1_000), 1.5)), mottos({5_000: ("a", b"", 1)}))])
    before = size(place)
    for first in range(0, 2_000, 500):
        store.commit([script.tick(mottos({5_000: ("a", b"", tick % 100)})) for tick in range(first, first + 500)])
    assert size(place) - before < 200_000
    columns = ("entity_id", "spot__x")
    rows = store.scan(Scan(SPOT.name, script.segment, 1_990, 1_999, columns)).read_all()
    assert rows.num_rows == 10 * 999
    assert store.head(script.segment.world_id, at=1_234).live[SPOT.name] == 999
    store.close()


def test_columns_that_do_not_change_cost_next_to_nothing(place: Path) -> None:
    """Of rows that are written again and again as they were, only the tick's number takes room."""
    store, script = LanceStore(place), Script()
    values = dict(enumerate(np.random.default_rng(1).normal(size=200).tolist(), start=1))
    store.commit([script.tick(spots(values)) for _ in range(1_000)])
    assert size(place) / (200 * 1_000) < 3
    store.close()


@pytest.mark.thorough
def test_files_do_not_pile_up(place: Path) -> None:
    """Hundreds of commits leave a few files, and every tick can be read."""
    store, script = LanceStore(place), Script()
    most = 0
    for tick in range(300):
        store.commit([script.tick(spots({1: float(tick), 2: None}), mottos({3: ("a", b"", tick % 100)}))])
        if tick % 20 == 0:
            store._upkeep.run()
            most = max(most, count(place))
    store.close()
    assert most < 320
    reader = LanceStore(place)
    rows = reader.scan(Scan(SPOT.name, script.segment, 0, 299, ("tick", "spot__x"))).read_all()
    assert rows.column(1).to_pylist()[::2] == [float(tick) for tick in range(300)]
    reader.close()
    assert verify(place).is_sound


def check_rows(place: Path, script: Script, sizes: list[int]) -> None:
    """Every tick shows as many entities as it had, with the values that it gave them."""
    reader = LanceStore(place)
    rows = reader.scan(Scan(SPOT.name, script.segment, 0, len(sizes) - 1, ("tick", "entity_id", "spot__x"))).read_all()
    expected = [(tick, number, tick + number / 8) for tick, size in enumerate(sizes) for number in range(1, size + 1)]
    assert list(zip(*(column.to_pylist() for column in rows.columns), strict=True)) == expected
    reader.close()
    report = verify(place)
    assert report.is_sound, str(report)


def write(store: LanceStore, script: Script, tick: int, size: int) -> None:
    """One hand-over of one tick with so many entities."""
    store.commit([script.tick(spots({number: tick + number / 8 for number in range(1, size + 1)}))])


def test_rows_keep_their_places_where_small_and_large_hand_overs_take_turns(place: Path) -> None:
    """What lies between larger pieces is brought together where it lies."""
    store, script = LanceStore(place), Script()
    sizes = [3, *[2] * 20, 5_000, *[1] * 20, 6_000, 5, 4]
    for tick, size in enumerate(sizes):
        write(store, script, tick, size)
    before = count(place)
    store.compact()
    assert count(place) < before - 30
    store.close()
    check_rows(place, script, sizes)


@given(sizes=st.lists(st.one_of(st.integers(1, 5), st.integers(1, 40)), min_size=1, max_size=40), data=st.data())
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.thorough
def test_rows_keep_their_places_whatever_is_brought_together(
    sizes: list[int], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Hand-overs of any sizes, brought together by what is due or all there is, at any moments."""
    place = tmp_path_factory.mktemp("turns") / "store"
    with cramped():
        store, script = LanceStore(place), Script()
        for tick, size in enumerate(sizes):
            write(store, script, tick, size)
            if data.draw(st.booleans()):
                store._upkeep.run(whole=data.draw(st.booleans()))
        store.close()
        check_rows(place, script, sizes)


def test_a_log_of_the_first_format_is_gone_on_with(place: Path) -> None:
    """Its references have no checksums and its states name no records; what is added has them, and all is read."""
    store, script = LanceStore(place), Script()
    sizes = [3, 2, 5]
    for tick, size in enumerate(sizes):
        write(store, script, tick, size)
        store.compact()
    store.close()
    (path,) = (place / "_log").glob("*.state")
    header = dict(decode(path.read_bytes(), "").header) | {"format": 1}
    del header["recent"]
    header["blocks"] = [block[:3] for block in header["blocks"]]
    path.write_bytes(encode(CommitRecord.plain(header)))
    check_rows(place, script, sizes)
    store = LanceStore(place)
    write(store, script, 3, 4)
    store.compact()
    store.close()
    check_rows(place, script, [*sizes, 4])


@pytest.mark.parametrize("forked", [False, True])
def test_verify_names_rows_that_lie_elsewhere(place: Path, forked: bool) -> None:
    """Files that are whole each by itself, at places that the log does not know of, are no sound store."""
    store, script = LanceStore(place), Script()
    write(store, script, 0, 30)
    if forked:
        for one in (Script("b", first_tick=1, after=(script, 0)), script):
            write(store, one, 1, 30)
    else:
        for tick, size in enumerate([20, 10], 1):
            write(store, script, tick, size)
    table = store._log.state().tables[0]
    dataset = store.tables.at(table)
    parts = [one.metadata for one in dataset.get_fragments()]
    parts = [parts[0], parts[2], parts[1]]
    for one in parts:
        one.id = 0
    lance = pytest.importorskip("lance")
    operation = lance.LanceOperation.Overwrite(dataset.schema, parts)
    made = lance.LanceDataset.commit(dataset, operation, read_version=dataset.version)
    change = store.tables._written(table, made, [], dataset.version)
    assert (
        store._log.append(store._log.state(), {"tables": [[0, change.to_json()]]}, CommitRecord.plain({})) is not None
    )
    store.close()
    report = verify(place)
    assert not report.is_sound
    assert "not where the log says" in str(report)


@pytest.mark.thorough
def test_the_past_stays_as_it_was(place: Path) -> None:
    """Digests of past ticks are the same after thousands more, forks, hand-overs, compaction and cleaning."""

    async def live() -> None:
        store = open_lance(str(place), CacheConfig(rows=2_000, idle_s=0.01))
        world = World(store, "past", seed=1, processors=[Drift()])
        for number in range(20):
            world.spawn(Position(x=float(number)), *([Memory(text="ä", embedding=[0.0, -0.0])] if number % 3 else []))
        await world.run(40)
        world.despawn(7, 8)
        await world.run(10)
        ticks = (0, 1, 17, 39, 40, 41, 49)
        before = [world.digest(tick) for tick in ticks]
        fork = await world.fork("branch", at_tick=20)
        await fork.run(30)
        forked = fork.digest(45)
        for _ in range(5):
            await world.run(1_000)
            store.seal()
        beneath = store.beneath
        assert isinstance(beneath, LanceStore)
        beneath.compact()
        assert [world.digest(tick) for tick in ticks] == before
        assert [fork.digest(tick) for tick in ticks[:3]] == before[:3]
        await world.close()
        await fork.close()
        store.close()
        reopened = open_lance(str(place))
        again = await World.open(reopened, "past")
        assert [again.digest(tick) for tick in ticks] == before
        assert (await World.open(reopened, "branch")).digest(45) == forked
        reopened.close()

    run(live())
    assert verify(place).is_sound


# Worlds, processes, searches.


@pytest.mark.parametrize("sealed", [False, True])
def test_memories_are_found_wherever_they_are(place: Path, sealed: bool) -> None:
    """A search finds what is live, what is in the journal and what was handed over, now and in the past."""

    async def live() -> None:
        store = open_lance(str(place), CacheConfig(rows=10**6, idle_s=1e6))
        world = World(store, "agents", seed=1)
        world.spawn(Memory(text="the red fox", embedding=[1.0, 0.0]))
        world.spawn(Memory(text="a blue whale", embedding=[0.0, 1.0]), Position())
        await world.step()
        world.update(1, Memory(text="forgotten", embedding=[0.0, -1.0]))
        await world.run(3)
        if sealed:
            store.seal()
            await world.step()
        for at, best in ((None, 2), (0, 1), (1, 2), (3, 2)):
            found = world.search(Memory.embedding, [0.9, 0.1], k=1, at=at).to_pydict()
            assert found["entity_id"] == [best]
        assert world.search(Memory.text, "fox", at=0).to_pydict()["entity_id"] == [1]
        assert world.search(Memory.text, "fox").to_pydict()["entity_id"] == []
        allowed = world.search(Memory.embedding, [1.0, 0.0], at=0, where=col("memory__text") != "the red fox")
        assert allowed.to_pydict()["entity_id"] == [2]
        await world.close()
        store.close()

    run(live())


def test_a_second_writer_is_told_by_whom(place: Path) -> None:
    """Who lost a tick is told the process and host of the winner, by the store alone as well."""
    first, second, script = LanceStore(place), LanceStore(place), Script()
    first.commit([script.tick(spots({1: 1.0}))])
    lost = script.draft(spots({1: 9.0}))
    first.commit([script.tick(spots({1: 2.0}))])
    with pytest.raises(TickConflict) as caught:
        second.commit([lost])
    assert caught.value.owner == first.owner
    assert "process" in first.owner
    for store in (first, second):
        store.close()


def test_another_process_reads_every_acknowledged_tick(place: Path) -> None:
    """A reader in a process of its own sees what is sealed and what is still in the journal."""
    store, script = open_lance(str(place), CacheConfig(rows=10**6, idle_s=1e6)), Script()
    store.commit([script.tick(spots({1: 1.0})) for _ in range(5)])
    store.seal()
    store.commit([script.tick(spots({1: 2.0})) for _ in range(2)])
    program = (
        "import sys\n"
        "from archetype_core import open_store\n"
        "store = open_store(sys.argv[1])\n"
        "print(store.worlds()[0].tick)\n"
        "store.close()\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(place)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "6"
    store.close()


def test_a_copy_made_by_fork_is_closed(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine does not survive fork, so a handle's copy in a child refuses every verb."""
    import os

    store = LanceStore(place)
    here = os.getpid()
    monkeypatch.setattr("os.getpid", lambda: here + 1)
    with pytest.raises(StoreClosed, match="fork"):
        store.worlds()
    monkeypatch.undo()
    assert store.worlds() == ()
    store.close()
