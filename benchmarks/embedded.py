"""The Lance store behind its journal: the cost of a tick after thousands, bytes on disk, and speed of reads.

Velocities are random, so positions do not compress to nothing. The full form runs 10 000 ticks of 1 000 entities. Reads use a
new handle, without the writer's caches; files are in the kernel's cache.
"""

from __future__ import annotations

import asyncio
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import _measure
import _movement
import numpy as np
import pyarrow as pa

from archetype_core import Scan, World
from archetype_core.config import CacheConfig
from archetype_core.store import BASE_FIELDS
from archetype_journal import JournaledStore
from archetype_store_lance import open_lance

COLUMNS = (*BASE_FIELDS, "position__x", "position__y", "velocity__dx", "velocity__dy")


def resident() -> int:
    """Return the resident memory of this process in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


async def fill(path: Path, entities: int, ticks: int) -> list[tuple[float, int]]:
    """Fill and close a store, sealing in small parts; for each tenth of the ticks its seconds and the memory after it.

    A few ticks come before the first tenth, so that sealing runs beside it as beside all others.
    """
    store = open_lance(str(path), CacheConfig(rows=max(400, ticks // 20) * entities))
    world = World(store, "moving", seed=1, processors=[_movement.Movement()])
    random = np.random.default_rng(1)
    drawn = {name: random.normal(size=entities) for name in _movement.columns(entities)}
    world.spawn_table(drawn, _movement.Position, _movement.Velocity)
    early = ticks // 20
    await world.run(early)
    tenths = []
    for _ in range(10):
        began = time.perf_counter()
        await world.run((ticks - early) // 10)
        tenths.append((time.perf_counter() - began, resident()))
    expected = drawn["position__x"].copy()
    for _ in range(world.tick - 1):
        expected = expected + drawn["velocity__dx"]
    (rows,) = world.tables().values()
    assert np.array_equal(rows.columns["position__x"].arrow.to_numpy(), expected)
    await world.close()
    store.close()
    return tenths


class Opened:
    """The only world of a store, opened again."""

    def __init__(self, store: JournaledStore, world: World) -> None:
        self.store, self.world = store, world
        timeline = world.timeline()
        assert timeline is not None
        (self.table,) = timeline.tables
        self.span = timeline.spans[-1]

    @classmethod
    async def of(cls, path: Path) -> Opened:
        """Open the world of a directory."""
        store = open_lance(str(path))
        (record,) = store.worlds()
        return cls(store, await World.open(store, record.world_id))

    def scan(self, first: int, last: int, entity_id: int | None = None) -> pa.Table:
        """Read rows from the store."""
        ids = None if entity_id is None else pa.array([entity_id], pa.int64())
        return self.store.scan(Scan(self.table, self.span.segment, first, last, COLUMNS, ids)).read_all()

    async def close(self) -> None:
        """Close both."""
        await self.world.close()
        self.store.close()


def on_disk(path: Path) -> tuple[int, int]:
    """Count files and bytes of a directory."""
    files = [one.stat().st_size for one in path.rglob("*") if one.is_file()]
    return len(files), sum(files)


async def idle(path: Path, entities: int, ticks: int) -> float:
    """Return the bytes on disk per entity and tick while nothing changes."""
    store = open_lance(str(path))
    world = World(store, "idle", seed=1)
    world.spawn_table(_movement.columns(entities), _movement.Position, _movement.Velocity)
    await world.step()
    # The first tick writes rows, and an empty journal has a size of its own.
    store.seal()
    before = on_disk(path)[1]
    await world.run(ticks)
    await world.close()
    store.close()
    return max(0.0, (on_disk(path)[1] - before) / (entities * ticks))


async def reads(path: Path, figures: dict[str, Any], entities: int, ticks: int, rounds: int) -> None:
    """Time reads of one tick and of one entity's history with a new handle."""
    opened = await Opened.of(path)
    draw = np.random.default_rng(2)

    async def one_tick() -> None:
        assert opened.scan(tick := int(draw.integers(ticks)), tick).num_rows == entities

    async def history() -> None:
        span = min(ticks, 1_000)
        first = int(draw.integers(ticks - span + 1))
        rows = opened.scan(first, first + span - 1, int(draw.integers(1, entities + 1)))
        assert rows.num_rows == span

    async def lazily() -> None:
        span = min(ticks, 1_000)
        frame = opened.world.query(
            _movement.Position, _movement.Velocity, ticks=range(span), entity_ids=int(draw.integers(1, entities + 1))
        )
        assert frame.to_arrow().num_rows == span

    began = time.perf_counter()
    await one_tick()
    figures["first read of a handle, ms"] = 1_000 * (time.perf_counter() - began)
    await lazily()
    medians = await _measure.rounds(rounds, one_tick=one_tick, history=history, lazily=lazily)
    figures["one tick, ms"] = 1_000 * medians["one_tick"]
    figures["one entity over 1 000 ticks, scan, ms"] = 1_000 * medians["history"]
    figures["one entity over 1 000 ticks, query, ms"] = 1_000 * medians["lazily"]
    await opened.close()


def resume(path: Path) -> float:
    """Return the seconds from opening a store to its world's live state, in a new process, without imports."""
    script = (
        "import asyncio, json, sys, time\n"
        "import lance, archetype_journal, archetype_store_lance.store\n"
        "from archetype_core import World, open_store\n"
        "async def main():\n"
        "    began = time.perf_counter()\n"
        "    store = open_store(sys.argv[1])\n"
        "    world = await World.open(store, store.worlds()[0].world_id)\n"
        "    rows = sum(one.num_rows for one in world.tables().values())\n"
        "    print(json.dumps([time.perf_counter() - began, rows]))\n"
        "    await world.close()\n"
        "    store.close()\n"
        "asyncio.run(main())\n"
    )
    run = subprocess.run([sys.executable, "-c", script, str(path)], check=True, capture_output=True, text=True)
    return float(json.loads(run.stdout.splitlines()[-1])[0])


async def main() -> None:
    """Measure, check, report."""
    options = _measure.arguments(__doc__ or "")
    entities, ticks = (100, 400) if options.quick else (1_000, 10_000)
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=options.dir) as directory:
        path = Path(directory) / "moving"
        tenths = await fill(path, entities, ticks)
        figures["ticks"], figures["entities"] = ticks, entities
        figures["ms per tick"] = 1_000 * sum(seconds for seconds, _ in tenths) / (ticks * 0.95)
        figures["tenths, s"] = [round(seconds, 3) for seconds, _ in tenths]
        figures["last tenth / first tenth"] = tenths[-1][0] / tenths[0][0]
        # The allocators settle in the first half.
        figures["memory grown in the second half, MB"] = (tenths[-1][1] - tenths[4][1]) / 1e6
        files, size = on_disk(path)
        figures["files"] = files
        figures["bytes per entity-tick"] = size / (entities * ticks)
        await reads(path, figures, entities, ticks, 5 if options.quick else 40)
        shutil.rmtree(path)
        figures["bytes per entity-tick, nothing changes"] = await idle(Path(directory) / "idle", entities, ticks // 4)
        if not options.quick:
            large = Path(directory) / "large"
            await fill(large, 100_000, 10)
            figures["resume of 1 M stored rows, s"] = resume(large)
    bounds: dict[str, _measure.Bound] = (
        {}
        if options.quick
        else {
            "last tenth / first tenth": ("<=", 1.15),
            "memory grown in the second half, MB": ("<=", 100),
            "files": ("<=", 999),
            "bytes per entity-tick": ("<=", 30),
            "bytes per entity-tick, nothing changes": ("<=", 3),
            "one entity over 1 000 ticks, scan, ms": ("<=", 25),
        }
    )
    _measure.report("embedded", figures, bounds, options.out)


if __name__ == "__main__":
    asyncio.run(main())
