"""Functions that read a store and compare the answer with a script."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from archetype_contracts.assertion import ClauseFailed, require, require_equal
from archetype_contracts.exact import table_difference
from archetype_contracts.script import Script, columns_of, field_of
from archetype_contracts.store.subject import StoreSubject
from archetype_core.schema import Archetype
from archetype_core.store import Capability, Head, Scan, Segment, Store


def scan_of(
    archetype: Archetype,
    segment: Segment,
    first: int,
    last: int | None = None,
    columns: Iterable[str] | None = None,
    *,
    entity_ids: Iterable[int] | None = None,
    where: object | None = None,
) -> Scan:
    """A scan; by default of one tick and all columns."""
    wanted = columns_of(archetype) if columns is None else tuple(columns)
    ids = None if entity_ids is None else pa.array(entity_ids, pa.int64())
    return Scan(archetype.name, segment, first, first if last is None else last, wanted, ids, where)


def read(store: Store, scan: Scan) -> pa.Table:
    """Read the whole stream of a scan."""
    reader = store.scan(scan)
    require(
        isinstance(reader, pa.RecordBatchReader), f"expected a RecordBatchReader from scan, got {type(reader).__name__}"
    )
    return reader.read_all()


def require_scan(store: Store, script: Script, archetype: Archetype, scan: Scan) -> None:
    """Compare a scan of one segment with the script: schema, rows, order and every bit."""
    actual = read(store, scan)
    if actual.num_rows == 0 and archetype.name not in script.archetypes():
        return  # the segment never wrote this table, so its stream may have no columns
    expected = script.expected(archetype, scan.first, scan.last, scan.columns, scan.entity_ids)
    _require_table(expected, actual, archetype, scan, str(script))


def require_tick(store: Store, script: Script, tick: int, archetypes: Iterable[Archetype] | None = None) -> None:
    """Compare one tick of a world's history with the script, by default in every table."""
    segment = script.at(tick).segment
    for archetype in script.archetypes().values() if archetypes is None else archetypes:
        require_scan(store, script.at(tick), archetype, scan_of(archetype, segment, tick))


def require_head(store: Store, script: Script, at: int | None = None) -> None:
    """Compare the head of a world, or its state at an older tick, with the script."""
    tick = script.last if at is None else at
    written, segment = script.tick_at(tick), script.at(tick).segment
    head = store.head(segment.world_id if at is None else script.segment.world_id, at=at)
    require_equal((segment, tick), (head.segment, head.tick), f"segment and tick of the head of {script}")
    require_equal(written.commit.next_entity_id, head.next_entity_id, f"next_entity_id at tick {tick}")
    require_equal(written.commit.applied, tuple(head.applied), f"applied command ids at tick {tick}")
    require_equal(written.commit.attempt, head.attempt, f"attempt that committed tick {tick}")
    require_continuation(written.commit.continuation, head)
    live = {name: rows.live.num_rows for name, rows in written.shown.items() if rows.live.num_rows}
    require_equal(live, dict(head.live), f"live rows per table at tick {tick}")


def require_continuation(expected: bytes, head: Head) -> None:
    """Compare the continuation of a head byte for byte; a failure shows where they begin to differ."""
    actual, what = head.continuation, f"continuation of tick {head.tick}"
    require_equal("bytes", type(actual).__name__, f"type of the {what}")
    if actual == expected:
        return
    differs = (index for index, pair in enumerate(zip(expected, actual, strict=False)) if pair[0] != pair[1])
    begin = next(differs, min(len(expected), len(actual)))
    here, there = (f"{len(one)} bytes, from byte {begin} on {one[begin : begin + 40]!r}" for one in (expected, actual))
    raise ClauseFailed(f"{what}\n  expected: {here}\n  actual:   {there}")


def require_timeline(store: Store, script: Script) -> None:
    """Compare the spans and tables of a world's timeline with the script."""
    timeline = store.timeline(script.segment.world_id)
    actual = [(span.segment, span.first, span.last) for span in timeline.spans]
    require_equal(script.spans(), actual, f"spans of {script}")
    require_equal(set(script.archetypes()), set(timeline.tables), f"tables in the timeline of {script}")


def require_history(subject: StoreSubject, script: Script, store: Store | None = None) -> None:
    """Compare everything that a world shows with the script: all ticks if the store claims time travel, else the newest."""
    store = store or subject.store
    require_timeline(store, script)
    require_head(store, script)
    travels = subject.claimed(Capability.TIME_TRAVEL)
    for tick in range(script.first if travels else script.last, script.last + 1):
        require_tick(store, script, tick)
        if travels:
            require_head(store, script, at=tick)


def require_worlds(store: Store, *scripts: Script) -> None:
    """Compare the list of worlds with the scripts, each given by its newest run."""
    expected = {(script.segment.world_id, script.name, script.segment.run_id, script.last) for script in scripts}
    records = store.worlds()
    actual = {(record.world_id, record.name, record.run_id, record.tick) for record in records}
    require_equal(expected, actual, "worlds of the store (id, name, run, tick)")
    require_equal(len(expected), len(records), "number of worlds")


def require_nothing(store: Store) -> None:
    """Require that a store has no worlds."""
    require_equal((), tuple(store.worlds()), "worlds of an empty store")


def _require_table(expected: pa.Table, actual: pa.Table, archetype: Archetype, scan: Scan, world: str) -> None:
    ticks = f"tick {scan.first}" if scan.first == scan.last else f"ticks {scan.first} to {scan.last}"
    what = f"{archetype.name} at {ticks} of {world}"
    for name in actual.column_names if expected.column_names == actual.column_names else ():
        require_equal(field_of(archetype, name).type, actual.schema.field(name).type, f"type of {name}, {what}")
    found = table_difference(expected, actual)
    if found:
        raise ClauseFailed(f"{what}: {found}")
