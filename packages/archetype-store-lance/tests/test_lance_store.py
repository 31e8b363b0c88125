"""What the Lance store adds to the contract: costs, reads, processes and searches."""

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
from daft import DataFrame, col, lit

from archetype_contracts.sample import SPOT, mottos, spots
from archetype_contracts.script import Script
from archetype_core import AsyncProcessor, CacheConfig, Component, Vector, World
from archetype_core.errors import TickConflict
from archetype_core.store import IS_ACTIVE, Scan
from archetype_store_lance import LanceStore, open_lance, verify


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
    """Run a scenario."""
    return asyncio.run(work)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return a directory for a store."""
    return tmp_path / "store"


def test_conditions_are_pushed_down(place: Path) -> None:
    """A scan leaves out rows that fail its condition, unless the condition needs columns that are not stored (Q2)"""
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


@pytest.mark.parametrize("commits", [[(0, 200)], [(0, 1), (1, 70), (70, 71), (71, 200)]])
@pytest.mark.parametrize("compacted", [False, True])
def test_every_way_to_read_gives_the_same(place: Path, commits: list[tuple[int, int]], compacted: bool) -> None:
    """One tick, many ticks, some entities and some columns are parts of the same rows, however they were written."""
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
    assert repr(whole) == repr(script.expected(SPOT, 0, 199, columns).to_pylist())
    for first, last in ((0, 0), (29, 31), (59, 60), (5, 150), (199, 199)):
        part = [row for row in whole if first <= row["tick"] <= last]
        assert repr(read(first, last).to_pylist()) == repr(part)
        for ids in ([1], [3, 2], [77], []):
            wanted = [row for row in part if row["entity_id"] in ids]
            assert repr(read(first, last, ids).to_pylist()) == repr(wanted)
        assert read(first, last, names=()).num_rows == len(part)
        assert read(first, last, names=("tick",)).column(0).to_pylist() == [row["tick"] for row in part]
    store.close()


def test_tables_can_be_read_by_other_tools(place: Path) -> None:
    """Each archetype is an ordinary Lance table with all base columns."""
    import lance

    store, script = LanceStore(place), Script()
    store.commit([script.tick(spots({1: 1.0, 2: 2.0})) for _ in range(3)])
    store.close()
    table = lance.dataset(str(place / f"{SPOT.name}.lance")).to_table(filter="entity_id = 2 AND tick = 1").to_pylist()
    segment = script.segment
    base = {"world_id": segment.world_id, "run_id": segment.run_id, "entity_id": 2, "tick": 1, "is_active": True}
    assert table == [{**base, "spot__x": 2.0}]


def size(path: Path) -> int:
    """Count the bytes in a directory."""
    return sum(one.stat().st_size for one in path.rglob("*") if one.is_file())


def test_idle_tables_cost_nothing(place: Path) -> None:
    """A table that no tick writes gets no rows, however many ticks pass."""
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
    """Rows that are written again with the same values take room for little but the tick."""
    store, script = LanceStore(place), Script()
    values = dict(enumerate(np.random.default_rng(1).normal(size=200).tolist(), start=1))
    store.commit([script.tick(spots(values)) for _ in range(1_000)])
    assert size(place) / (200 * 1_000) < 3
    store.close()


@pytest.mark.thorough
def test_the_past_stays_as_it_was(place: Path) -> None:
    """Digests of past ticks stay the same after thousands more, forks, sealing and compaction."""

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


@pytest.mark.parametrize("sealed", [False, True])
def test_memories_are_found_wherever_they_are(place: Path, sealed: bool) -> None:
    """A search finds live, unsealed and sealed rows, now and in the past."""

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
        allowed = world.search(Memory.embedding, [1.0, 0.0], at=0, where=col("memory__text") != lit("the red fox"))
        assert allowed.to_pydict()["entity_id"] == [2]
        changed = world.diff(0, 2, Memory.c.text, where=col("op") == lit("changed")).to_pydict()
        assert (changed["entity_id"], changed["before"], changed["after"]) == ([1], ["the red fox"], ["forgotten"])
        await world.close()
        store.close()

    run(live())


def test_a_conflict_names_the_winner(place: Path) -> None:
    """``TickConflict`` names the process and host that won the tick, also without a journal."""
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
    """Another process reads sealed ticks and those that are only in the journal."""
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


def test_a_copy_made_by_fork_is_closed(place: Path) -> None:
    """Lance does not survive fork, so the copy of a handle in a forked child refuses every method."""
    program = (
        "import os, sys, warnings\n"
        "from archetype_core.errors import StoreClosed\n"
        "from archetype_store_lance import LanceStore\n"
        "warnings.simplefilter('ignore')\n"
        "store = LanceStore(sys.argv[1])\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    try:\n"
        "        store.worlds()\n"
        "    except StoreClosed as failure:\n"
        "        store.close()\n"
        "        os._exit(7 if 'fork' in str(failure) else 1)\n"
        "    os._exit(2)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), store.worlds())\n"
        "store.close()\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(place)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "7 ()"
