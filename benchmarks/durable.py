"""A durable tick: its time against the machine's own write, its phases, its bytes on disk, and whether it stays as it is.

The floor is one ``write`` to the end of a file in the same directory and one ``fsync`` (``fdatasync`` as a second figure), in
the same rounds as the ticks. It writes as many bytes as a tick adds to the journal for good: the growth of the closed
directory per tick, which is the two columns that changed and whatever the journal needs to find them again. What a journal
writes on the way and drops again, a log that is folded into a database, say, is its own affair and part of the ratio.

A tick through memory alone runs in the same rounds. Phases come from the engine's spans, in rounds of their own at the end:
once a tracer is there, it stays, and costs. ``hop`` is what lies around the engine: the way to a thread and back.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from array import array
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import _journal
import _measure
import _movement
from daft import DataFrame, col
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider

from archetype_core import AsyncProcessor, Component, MemoryStore, TickCommit, World
from archetype_journal import JournalStore

SIZES = {1: 100, 1_000: 100, 100_000: 50, 1_000_000: 20}
"""Entities, and rounds of a full run."""

BURSTS = {1: 10, 1_000: 10, 100_000: 2, 1_000_000: 1}
"""How many ticks a round runs, one after the other, as simulations do; the floor writes and syncs as often."""


class Nowhere(MemoryStore):
    """Keeps no tick, so that a world can run for as long as it likes in the same memory."""

    def commit(self, ticks: Sequence[TickCommit]) -> None:
        """Take the ticks and let them go."""


async def ticked(place: Path, entities: int, ticks: int) -> int:
    """The size of a journal, closed, whose movement world made so many ticks after its first."""
    store = JournalStore(place)
    world = await _movement.moving(entities, store)
    await world.run(ticks)
    _movement.check(world, entities)
    await world.close()
    store.close()
    return _journal.bytes_on_disk(place)


async def bytes_added(place: Path, entities: int, quick: bool) -> int:
    """The bytes that one more tick adds to a closed journal; never less than the two columns that it changes."""
    ticks = max(4, min(50 if quick else 200, 4_000_000 // entities))
    short = await ticked(place / f"short-{entities}", entities, 2)
    long = await ticked(place / f"long-{entities}", entities, 2 + ticks)
    return max((long - short) // ticks, 2 * 8 * entities)


async def times(place: Path, quick: bool) -> dict[str, float]:
    """Milliseconds per durable tick, in memory, and of the floor, interleaved; then of the modes that do not wait.

    Those have rounds of their own: what they leave unwritten is paid for by whoever syncs next on the same disk.
    """
    found: dict[str, float] = {}
    for entities, full in SIZES.items():
        rounds = max(3, full // 20) if quick else full
        floor = _journal.Floor(place, await bytes_added(place, entities, quick))
        taken, closing = await together(
            place / f"tick-{entities}",
            entities,
            rounds,
            "tick",
            floor=floor.work(os.fsync),
            fdatasync=floor.work(os.fdatasync),
        )
        floor.close()
        found.update(closing)
        median = {name: statistics.median(values) for name, values in taken.items()}
        for name, value in median.items():
            found[f"{name}_ms_{entities}"] = value * 1e3
        found[f"floor_bytes_{entities}"] = floor.size
        found[f"tick_over_floor_{entities}"] = median["tick"] / median["floor"]
        found[f"tick_over_fdatasync_{entities}"] = median["tick"] / median["fdatasync"]
        found[f"tick_over_floor_means_{entities}"] = statistics.mean(taken["tick"]) / statistics.mean(taken["floor"])
        found[f"step_over_floor_{entities}"] = median["step"] / median["floor"]
        found[f"tick_over_memory_{entities}"] = median["tick"] / median["memory"]
        for name in ("tick", "floor"):
            spread = _measure.percentile(taken[name], 90) / _measure.percentile(taken[name], 10)
            found[f"{name}_p90_over_p10_{entities}"] = spread
        for mode in ("interval", "exit"):
            taken, closing = await together(place / f"{mode}-{entities}", entities, rounds, mode)
            found.update(closing)
            median = {name: statistics.median(values) for name, values in taken.items()}
            found[f"{mode}_ms_{entities}"] = median[mode] * 1e3
            found[f"{mode}_over_memory_{entities}"] = median[mode] / median["memory"]
    return found


async def together(
    place: Path, entities: int, rounds: int, mode: str, **beside: Callable[[], Awaitable[None]]
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """The seconds per tick in a mode, in memory and of other work, interleaved; and the milliseconds of closing.

    Both worlds have moved as they should, and the journal, opened again, still says so.
    """
    store = JournalStore(place, durability=mode)
    stored = await _movement.moving(entities, store)
    memory = await _movement.moving(entities)
    # The first ticks meet new files and cold code.
    await stored.run(2)
    await memory.run(2)
    burst = BURSTS[entities]

    def often(work: Callable[[], Awaitable[Any]]) -> Callable[[], Awaitable[None]]:
        async def repeated() -> None:
            for _ in range(burst):
                await work()

        return repeated

    works = {
        mode: lambda: stored.run(burst),
        "memory": lambda: memory.run(burst),
        **{name: often(work) for name, work in beside.items()},
    }
    taken = {
        name: [seconds / burst for seconds in found]
        for name, found in (await _measure.samples(rounds, **works)).items()
    }
    if mode == "tick":
        # Ticks that are waited for one by one, in a round of their own.
        alone = await _measure.samples(rounds, step=often(stored.step), step_in_memory=often(memory.step))
        taken.update({name: [seconds / burst for seconds in found] for name, found in alone.items()})
    _movement.check(memory, entities)
    _movement.check(stored, entities)
    await stored.close()
    closing, _ = _measure.timed(store.close)

    again = JournalStore(place, durability=mode)
    opened = await World.open(again, stored.world_id)
    assert opened.tick == memory.tick
    assert opened.digest() == memory.digest()
    _movement.check(opened, entities)
    await opened.close()
    again.close()
    return taken, {f"{mode}_close_ms_{entities}": closing * 1e3}


async def disk(place: Path, quick: bool) -> dict[str, float]:
    """Bytes on disk, after closing, per entity and tick; and what a tick costs when one column of ten moves."""
    found: dict[str, float] = {}
    ticks = 20 if quick else 300
    for entities in (1_000, 100_000):
        size = await ticked(place / f"disk-{entities}", entities, ticks - 1)
        found[f"bytes_per_entity_tick_{entities}"] = size / (entities * ticks)
    entities = 10_000
    sizes = []
    for count in (2, 2 + ticks):
        path = place / f"ten-{count}"
        store = JournalStore(path)
        world = World(store, seed=1, processors=[OneOfTen()])
        world.spawn_table({f"f{number}": [0.0] * entities for number in range(10)}, Ten)
        await world.run(1 + count)
        (rows,) = world.tables().values()
        assert rows.columns["ten__f0"].arrow.to_numpy().sum() == entities * count
        store.close()
        sizes.append(_journal.bytes_on_disk(path))
    added = (sizes[1] - sizes[0]) / ticks
    found["one_of_ten_bytes_per_entity_tick"] = added / entities
    found["one_of_ten_over_all_ten"] = added / (entities * 10 * 8)
    found["one_of_ten_over_that_one"] = added / (entities * 8)
    return found


class Ten(Component):
    """Ten columns, one of which moves."""

    f0: float = 0.0
    f1: float = 0.0
    f2: float = 0.0
    f3: float = 0.0
    f4: float = 0.0
    f5: float = 0.0
    f6: float = 0.0
    f7: float = 0.0
    f8: float = 0.0
    f9: float = 0.0


class OneOfTen(AsyncProcessor):
    """Moves one column."""

    components = (Ten,)

    async def process(self, df: DataFrame) -> DataFrame:
        """The frame with one column that is new."""
        return df.with_column("ten__f0", col("ten__f0") + 1.0)


async def flat(place: Path, quick: bool) -> dict[str, Any]:
    """Whether a tick's time and the process's memory depend on how many ticks there were, tenth by tenth.

    A tick that is not stored and the floor run beside it: one is all processor, the other nearly all disk, a durable tick is
    both. Their own last tenth over first is the machine's drift; the normalised ratio is the durable tick's with that of their
    sum taken out. The floor's alone is there too.
    """
    entities = 1_000
    burst = BURSTS[entities]
    bursts = (200 if quick else 10_000) // burst
    tenth = bursts // 10
    store = JournalStore(place / "flat")
    stored = await _movement.moving(entities, store)
    unstored = await _movement.moving(entities, Nowhere())
    floor = _journal.Floor(place, 2 * 8 * entities)
    taken = {name: array("d", bytes(8 * bursts)) for name in ("tick", "unstored", "floor")}
    resident = array("d", bytes(8 * bursts))
    for index in range(bursts):
        begins = time.perf_counter()
        await stored.run(burst)
        between = time.perf_counter()
        await unstored.run(burst)
        then = time.perf_counter()
        for _ in range(burst):
            floor.write(os.fsync)
        ends = time.perf_counter()
        taken["tick"][index] = between - begins
        taken["unstored"][index] = then - between
        taken["floor"][index] = ends - then
        resident[index] = _journal.resident_bytes()
    _movement.check(stored, entities)
    _movement.check(unstored, entities)
    floor.close()
    store.close()

    found: dict[str, Any] = {"flat_ticks": bursts * burst}
    for name, values in taken.items():
        means = [statistics.mean(values[at : at + tenth]) * 1e3 / burst for at in range(0, bursts, tenth)]
        found[f"{name}_ms_by_tenth"] = [round(mean, 3) for mean in means]
        found[f"{name}_last_tenth_over_first"] = means[-1] / means[0]
        medians = [statistics.median(values[start : start + tenth]) for start in (0, bursts - tenth)]
        found[f"{name}_last_tenth_over_first_medians"] = medians[1] / medians[0]
    beside = [
        statistics.mean(taken["unstored"][start : start + tenth])
        + statistics.mean(taken["floor"][start : start + tenth])
        for start in (0, bursts - tenth)
    ]
    drift = found["tick_last_tenth_over_first"]
    found["tick_last_tenth_over_first_normalised"] = drift * beside[0] / beside[1]
    found["tick_last_tenth_over_first_by_floor"] = drift / found["floor_last_tenth_over_first"]
    first, last = (statistics.mean(resident[start : start + tenth]) for start in (0, bursts - tenth))
    found["resident_mb_first_tenth"] = first / 1e6
    found["resident_mb_last_tenth"] = last / 1e6
    found["resident_bytes_per_tick"] = (last - first) / (burst * (bursts - tenth))
    return found


class Spans(SpanProcessor):
    """Keeps the milliseconds of spans by their short names, and nothing else, so that tracing costs little."""

    def __init__(self) -> None:
        self.taken: dict[str, list[float]] = {}

    def on_end(self, span: ReadableSpan) -> None:
        """Take a span's time."""
        assert span.start_time is not None
        assert span.end_time is not None
        name = span.name.removeprefix("archetype.").removeprefix("phase.")
        self.taken.setdefault(name, []).append((span.end_time - span.start_time) / 1e6)


async def phases(place: Path, quick: bool) -> dict[str, float]:
    """Where a durable tick's time goes, by the engine's spans, and the bytes that it writes on the way."""
    spans = Spans()
    provider = TracerProvider()
    provider.add_span_processor(spans)
    trace.set_tracer_provider(provider)
    found: dict[str, float] = {}
    for entities, full in SIZES.items():
        rounds = max(3, full // 40) if quick else full
        store = JournalStore(place / f"phases-{entities}")
        world = await _movement.moving(entities, store)
        await world.run(2)
        spans.taken.clear()
        written = _journal.written_bytes()
        taken = await _measure.samples(rounds, step=world.step)
        found[f"phase_written_bytes_{entities}"] = (_journal.written_bytes() - written) / rounds
        _movement.check(world, entities)
        store.close()
        assert {len(values) for values in spans.taken.values()} == {rounds}, list(spans.taken)
        for name in ("execute", "materialize", "commit"):
            found[f"phase_{name}_ms_{entities}"] = statistics.median(spans.taken[name])
        hops = [outer * 1e3 - inner for outer, inner in zip(taken["step"], spans.taken["step"], strict=True)]
        found[f"phase_hop_ms_{entities}"] = statistics.median(hops)
        found[f"phase_whole_ms_{entities}"] = statistics.median(taken["step"]) * 1e3
    return found


async def figures(place: Path, quick: bool) -> dict[str, Any]:
    """All figures by name."""
    found: dict[str, Any] = {}
    # Memory is judged first, before larger worlds leave the allocator with room to spare; the tracer comes last.
    for part in (flat, times, disk, phases):
        found.update(await part(place, quick))
    return found


BOUNDS: dict[str, _measure.Bound] = {
    "tick_over_floor_1": ("<=", 5.0),
    "tick_over_floor_1000": ("<=", 4.0),
    "tick_over_floor_100000": ("<=", 2.5),
    "tick_over_floor_1000000": ("<=", 2.5),
    "bytes_per_entity_tick_1000": ("<=", 45.0),
    "bytes_per_entity_tick_100000": ("<=", 45.0),
    "tick_last_tenth_over_first": ("<=", 1.1),
    "tick_last_tenth_over_first_normalised": ("<=", 1.1),
}

if __name__ == "__main__":
    options = _measure.arguments(__doc__)
    with _journal.place(options.dir) as directory:
        _measure.report("durable", asyncio.run(figures(directory, options.quick)), BOUNDS, options.out)
