"""Reads of a long history: one tick out of many, the latest, one entity's life, and the first read of a process.

One tick of many is read against the only tick of another store, every column, in the same rounds: through ``store.scan`` and
through ``world.snapshot``, so that what Daft adds can be told from what the journal takes. Handles are fresh, so nothing that
the writer remembered helps. Files are in the kernel's cache. The full form reads worlds of a million rows where the disk has
room for a few times their size, and of a hundred thousand elsewhere; ``rows`` says which.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import _journal
import _measure
import _movement
import numpy as np
import pyarrow as pa

from archetype_core import Scan, World
from archetype_core.store import BASE_FIELDS
from archetype_journal import JournalStore

COLUMNS = (*BASE_FIELDS, "position__x", "position__y", "velocity__dx", "velocity__dy")


async def fill(path: Path, entities: int, ticks: int) -> None:
    """A closed journal whose movement world has so many ticks."""
    store = JournalStore(path)
    world = await _movement.moving(entities, store)
    await world.run(ticks - 1)
    _movement.check(world, entities)
    await world.close()
    store.close()


class Opened:
    """A world opened again from its journal, and its two ways to read."""

    def __init__(self, store: JournalStore, world: World) -> None:
        self.store = store
        self.world = world
        timeline = world.timeline()
        assert timeline is not None
        (self.table,) = timeline.tables
        self.span = timeline.spans[-1]
        self.last = self.span.last

    @classmethod
    async def of(cls, path: Path) -> Opened:
        """The only world of a journal."""
        store = JournalStore(path)
        (record,) = store.worlds()
        return cls(store, await World.open(store, record.world_id))

    def scan(self, first: int, last: int, entity_id: int | None = None) -> pa.Table:
        """Ticks straight from the store."""
        ids = None if entity_id is None else pa.array([entity_id], pa.int64())
        scan = Scan(self.table, self.span.segment, first, last, COLUMNS, ids)
        return self.store.scan(scan).read_all()

    def snapshot(self, at: int | None) -> pa.Table:
        """A tick through the world, as Daft gives it."""
        return self.world.snapshot(_movement.Position, _movement.Velocity, at=at).to_arrow()

    def history(self, **question: Any) -> pa.Table:
        """Ticks through the world, as Daft gives them."""
        return self.world.query(_movement.Position, _movement.Velocity, **question).to_arrow()


def work(read: Callable[[], pa.Table], check: Callable[[pa.Table], None]) -> Callable[[], Awaitable[None]]:
    """A read as a piece of work for the rounds, its answer checked once before."""
    check(read())

    async def again() -> None:
        read()

    return again


def shows(entities: int, tick: int) -> Callable[[pa.Table], None]:
    """A check that a table is a whole tick of the movement world, to the last value."""
    start = _movement.columns(entities)

    def check(table: pa.Table) -> None:
        assert table.num_rows == entities
        assert set(table.column_names) == set(COLUMNS)
        assert table.column("tick").unique().to_pylist() == [tick]
        assert np.array_equal(table.column("entity_id").to_numpy(), np.arange(1, entities + 1))
        for axis in ("x", "y"):
            step = start[f"velocity__d{axis}"]
            assert np.array_equal(
                table.column(f"position__{axis}").to_numpy(), start[f"position__{axis}"] + step * tick
            )
            assert np.array_equal(table.column(f"velocity__d{axis}").to_numpy(), step)

    return check


def lives(entity_id: int, ticks: int) -> Callable[[pa.Table], None]:
    """A check that a table is one entity's whole history."""

    def check(table: pa.Table) -> None:
        assert table.column("tick").to_pylist() == list(range(ticks))
        assert table.column("entity_id").unique().to_pylist() == [entity_id]
        step = (entity_id - 1) % 7 + 1.0
        assert table.column("position__x").to_pylist() == [step * tick for tick in range(ticks)]

    return check


async def one_of_many(place: Path, quick: bool) -> dict[str, float]:
    """The middle tick and the latest of a long history, against the only tick of a short one."""
    rows, ticks = (10_000, 50) if quick else (1_000_000, 500)
    if shutil.disk_usage(place).free < 4 * rows * ticks * 16:
        rows //= 10
    await fill(place / "many", rows, ticks)
    await fill(place / "one", rows, 1)
    many = await Opened.of(place / "many")
    one = await Opened.of(place / "one")
    middle = ticks // 2
    median = await _measure.rounds(
        5 if quick else 25,
        one_scan=work(lambda: one.scan(0, 0), shows(rows, 0)),
        middle_scan=work(lambda: many.scan(middle, middle), shows(rows, middle)),
        latest_scan=work(lambda: many.scan(many.last, many.last), shows(rows, many.last)),
        one_snapshot=work(lambda: one.snapshot(0), shows(rows, 0)),
        middle_snapshot=work(lambda: many.snapshot(middle), shows(rows, middle)),
        latest_snapshot=work(lambda: many.snapshot(many.last), shows(rows, many.last)),
        memory_snapshot=work(lambda: many.snapshot(None), shows(rows, many.last)),
    )
    found: dict[str, float] = {"rows": rows, "ticks": ticks}
    found.update({f"{name}_ms": value * 1e3 for name, value in median.items()})
    for way in ("scan", "snapshot"):
        found[f"middle_over_one_{way}"] = median[f"middle_{way}"] / median[f"one_{way}"]
        found[f"latest_over_one_{way}"] = median[f"latest_{way}"] / median[f"one_{way}"]
    found["snapshot_over_scan"] = median["middle_snapshot"] / median["middle_scan"]
    for opened in (many, one):
        await opened.world.close()
        opened.store.close()
    return found


async def small(place: Path, quick: bool) -> dict[str, float]:
    """A world of a thousand: one entity's life, and a tick, where finding it is most of the work."""
    entities, ticks = 1_000, 100 if quick else 1_000
    await fill(place / "life", entities, ticks)
    await fill(place / "short", entities, 1)
    long = await Opened.of(place / "life")
    short = await Opened.of(place / "short")
    middle = ticks // 2
    median = await _measure.rounds(
        5 if quick else 25,
        tick_scan=work(lambda: long.scan(middle, middle), shows(entities, middle)),
        one_tick_scan=work(lambda: short.scan(0, 0), shows(entities, 0)),
        tick_snapshot=work(lambda: long.snapshot(middle), shows(entities, middle)),
        one_tick_snapshot=work(lambda: short.snapshot(0), shows(entities, 0)),
        life_scan=work(lambda: long.scan(0, long.last, 7), lives(7, ticks)),
        life_query=work(lambda: long.history(entity_ids=7), lives(7, ticks)),
    )
    found = {f"small_{name}_ms": value * 1e3 for name, value in median.items()}
    for way in ("scan", "snapshot"):
        found[f"small_middle_over_one_{way}"] = median[f"tick_{way}"] / median[f"one_tick_{way}"]
    found["small_ticks"] = ticks
    found["life_scan_us_per_tick"] = median["life_scan"] / ticks * 1e6
    found["life_query_us_per_tick"] = median["life_query"] / ticks * 1e6
    for opened in (long, short):
        await opened.world.close()
        opened.store.close()
    return found


async def first(path: Path) -> dict[str, float]:
    """The first uses in this process: opening, a scan, a query through Daft, and the same query again."""
    taken = {}
    began = time.perf_counter()
    opened = await Opened.of(path)
    taken["open"] = time.perf_counter() - began
    for name, read in (
        ("scan", lambda: opened.scan(opened.last // 2, opened.last // 2)),
        ("snapshot", lambda: opened.snapshot(opened.last // 2)),
        ("second_snapshot", lambda: opened.snapshot(opened.last // 2)),
    ):
        taken[name], table = _measure.timed(read)
        shows(1_000, opened.last // 2)(table)
    opened.store.close()
    return taken


def first_uses(path: Path, quick: bool) -> dict[str, float]:
    """Seconds of the first uses in fresh processes, after the imports of this script."""
    taken: dict[str, list[float]] = {}
    for _ in range(2 if quick else 7):
        command: list[str | Path] = [sys.executable, __file__, "--first", path]
        run = subprocess.run(command, capture_output=True, check=True, text=True)
        for name, seconds in json.loads(run.stdout).items():
            taken.setdefault(name, []).append(seconds)
    return {f"first_{name}_ms": statistics.median(times) * 1e3 for name, times in taken.items()}


async def figures(place: Path, quick: bool) -> dict[str, float]:
    """All figures by name."""
    found = await small(place, quick)
    found.update(first_uses(place / "life", quick))
    found.update(await one_of_many(place, quick))
    return found


BOUNDS: dict[str, _measure.Bound] = {
    "middle_over_one_scan": (0.8, 1.2),
    "middle_over_one_snapshot": (0.8, 1.2),
    "latest_over_one_scan": (0.8, 1.2),
    "latest_over_one_snapshot": (0.8, 1.2),
    "small_middle_over_one_scan": (0.8, 1.2),
    "small_middle_over_one_snapshot": (0.8, 1.2),
}

if __name__ == "__main__":
    if sys.argv[1:2] == ["--first"]:
        print(json.dumps(asyncio.run(first(Path(sys.argv[2])))))
    else:
        options = _measure.arguments(__doc__)
        with _journal.place(options.dir) as directory:
            _measure.report("read", asyncio.run(figures(directory, options.quick)), BOUNDS, options.out)
