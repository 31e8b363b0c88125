"""Clauses on scans: rows, columns and order."""

from __future__ import annotations

import itertools

import pyarrow as pa
import pyarrow.compute as pc

from archetype_contracts.assertion import require, require_equal, require_refusal
from archetype_contracts.sample import BOTH, FROZEN, MARKED, MOTTO, SPOT, mottos, rows, spots
from archetype_contracts.script import BASE_COLUMNS, Script, columns_of
from archetype_contracts.store.observation import read, require_scan, require_tick, scan_of
from archetype_contracts.store.registry import clause
from archetype_contracts.store.subject import StoreSubject
from archetype_core.errors import TickNotFound
from archetype_core.store import Capability

_TRAVEL = [Capability.TIME_TRAVEL]


def _six_ticks() -> Script:
    """Six ticks of two tables: updates, a despawn, a carried table, an empty table, a table with rows again."""
    script = Script()
    script.tick(spots({1: 1.0, 2: 2.0, 3: 3.0}), mottos({4: ("a", b"", 1)}))
    script.tick(spots({1: 1.5, 3: 3.5}, gone={2: 2.0}))
    script.tick(mottos({4: ("b", b"", 2), 5: ("c", None, 3)}))
    script.tick(spots({}, gone={1: 1.5, 3: 3.5}))
    script.tick()
    script.tick(spots({6: 6.0}), mottos({5: ("c", None, 3)}, gone={4: ("b", b"", 2)}))
    return script


def _commit(subject: StoreSubject, script: Script) -> None:
    subject.store.commit([written.commit for written in script.ticks])


@clause("S-401", "A scan returns the requested columns, any of them and in any order.")
def projection(subject: StoreSubject) -> None:
    script = Script()
    subject.store.commit([script.tick(rows(BOTH, {1: ("a", b"b", 3, 1.0), 2: (None, None, None, None)}))])
    every = columns_of(BOTH)
    picks = [every, every[::-1], *((name,) for name in every), *itertools.permutations(every[2:6:2] + every[5:7], 3)]
    for columns in picks:
        require_scan(subject.store, script, BOTH, scan_of(BOTH, script.segment, 0, columns=columns))


@clause("S-402", "A scan without columns returns the number of rows.")
def no_columns(subject: StoreSubject) -> None:
    script = Script()
    subject.store.commit([script.tick(spots({1: 1.0, 2: 2.0}, gone={3: 3.0}), rows(MARKED, [4]))])
    for archetype, count in ((SPOT, 3), (MARKED, 1)):
        batches = list(subject.store.scan(scan_of(archetype, script.segment, 0, columns=())))
        require_equal(count, sum(batch.num_rows for batch in batches), "number of rows of a scan without columns")
        require(
            all(batch.num_columns == 0 for batch in batches), "expected batches without columns, but some have columns"
        )


@clause(
    "S-403", "Base columns have the tick and segment that were scanned, also for a table that the tick did not write."
)
def base_columns(subject: StoreSubject) -> None:
    script = Script()
    subject.store.commit([script.tick(spots({1: 1.0, 2: 2.0}))])
    run = script.new_run()
    subject.store.commit([run.tick(), run.tick(mottos({3: ("a", b"", 1)}))])
    found = read(subject.store, scan_of(SPOT, run.segment, 2, columns=BASE_COLUMNS))
    expected = {
        "world_id": [run.segment.world_id] * 2,
        "run_id": [run.segment.run_id] * 2,
        "entity_id": [1, 2],
        "tick": [2, 2],
        "is_active": [True, True],
    }
    require_equal(expected, found.to_pydict(), "base columns of a table that the tick did not write")


@clause("S-404", "A scan of several ticks returns them in ascending order.", needs=_TRAVEL)
def tick_range(subject: StoreSubject) -> None:
    script = _six_ticks()
    _commit(subject, script)
    for first, last in itertools.combinations_with_replacement(range(6), 2):
        for archetype in (SPOT, MOTTO):
            require_scan(subject.store, script, archetype, scan_of(archetype, script.segment, first, last))


@clause("S-405", "A scan of a tick returns the values of that tick, not of an earlier or later one.", needs=_TRAVEL)
def as_of(subject: StoreSubject) -> None:
    script = Script()
    for tick in range(5):
        subject.store.commit([script.tick(spots({1: float(tick)}))])
    for tick in range(5):
        found = read(subject.store, scan_of(SPOT, script.segment, tick, columns=("spot__x",)))
        require_equal([float(tick)], found.column(0).to_pylist(), f"the value written at tick {tick}")


@clause("S-406", "Rows of a tick are returned in the order in which they were committed.")
def committed_order(subject: StoreSubject) -> None:
    script = Script()
    shuffled = {entity: float(entity) for entity in (5, 1, 9, 3, 2**40, 7, 2)}
    gone = {entity: float(entity) for entity in (8, 4, 6)}
    subject.store.commit([script.tick(spots(shuffled, gone))])
    found = read(subject.store, scan_of(SPOT, script.segment, 0, columns=("entity_id",)))
    require_equal([*shuffled, *gone], found.column(0).to_pylist(), "order of rows")
    subject.store.commit([script.tick(mottos({10: ("a", b"", 1)}))])
    found = read(subject.store, scan_of(SPOT, script.segment, 1, columns=("entity_id",)))
    require_equal([*shuffled], found.column(0).to_pylist(), "order of carried rows")


@clause("S-407", "A scan returns tombstones at the tick that wrote them: a store does not filter rows by itself.")
def tombstones(subject: StoreSubject) -> None:
    script = Script()
    subject.store.commit([script.tick(spots({1: 1.0, 2: 2.0}))])
    subject.store.commit([script.tick(spots({1: 1.0}, gone={2: 2.5}))])
    found = read(subject.store, scan_of(SPOT, script.segment, 1, columns=("entity_id", "is_active", "spot__x")))
    rows_found = list(zip(*found.to_pydict().values(), strict=True))
    require_equal([(1, True, 1.0), (2, False, 2.5)], rows_found, "rows of a tick with a tombstone")
    subject.store.commit([script.tick(spots({}, gone={1: 1.0}))])
    found = read(subject.store, scan_of(SPOT, script.segment, 2, columns=("entity_id", "is_active")))
    require_equal([{"entity_id": 1, "is_active": False}], found.to_pylist(), "rows of a tick with only tombstones")


@clause("S-408", "Tombstones are not carried to later ticks.")
def tombstones_are_not_carried(subject: StoreSubject) -> None:
    script = Script()
    subject.store.commit([script.tick(spots({1: 1.0, 2: 2.0}), rows(MARKED, [3]))])
    subject.store.commit([script.tick(spots({1: 1.0}, gone={2: 2.0}), rows(MARKED, [], gone=[3]))])
    subject.store.commit([script.tick(mottos({4: ("a", b"", 1)})), script.tick()])
    found = read(subject.store, scan_of(SPOT, script.segment, 3, columns=("entity_id", "is_active")))
    require_equal([{"entity_id": 1, "is_active": True}], found.to_pylist(), "rows two ticks after a despawn")
    require_equal(
        0,
        read(subject.store, scan_of(MARKED, script.segment, 3)).num_rows,
        "number of rows of a table whose entities are all despawned",
    )


@clause("S-409", "A table that a tick did not write shows its active rows at that tick.")
def carried_table(subject: StoreSubject) -> None:
    script = Script()
    subject.store.commit([script.tick(spots({1: 1.0, 2: -0.0}), mottos({3: ("a", b"", 1)}))])
    for tick in range(1, 4):
        subject.store.commit([script.tick(mottos({3: ("b", b"", tick)}))])
        require_tick(subject.store, script, tick)
    subject.store.commit([script.tick(), script.tick(), script.tick(spots({1: 2.0, 2: 0.0}))])
    require_tick(subject.store, script, script.last)
    if subject.claimed(Capability.TIME_TRAVEL):
        for tick in range(script.last):
            require_tick(subject.store, script, tick)


@clause("S-410", "A scan for entity ids returns those entities and no others.")
def entity_ids(subject: StoreSubject) -> None:
    script = _six_ticks()
    _commit(subject, script)
    for ids in ([], [6], [4, 5], [5, 4, 5], [1, 2, 3], [99], [6, 99, -1]):
        for archetype in (SPOT, MOTTO):
            require_scan(subject.store, script, archetype, scan_of(archetype, script.segment, 5, entity_ids=ids))
    without = scan_of(SPOT, script.segment, 5, columns=("spot__x",), entity_ids=[6])
    require_scan(subject.store, script, SPOT, without)


@clause(
    "S-411",
    "A scan for entity ids covers every scanned tick, with tombstones and with ticks that did not write the table.",
    needs=_TRAVEL,
)
def entity_ids_over_ticks(subject: StoreSubject) -> None:
    script = _six_ticks()
    _commit(subject, script)
    for ids in ([2], [1, 3], [4], [5], [2, 6]):
        for archetype in (SPOT, MOTTO):
            require_scan(subject.store, script, archetype, scan_of(archetype, script.segment, 0, 5, entity_ids=ids))


@clause(
    "S-412",
    "A where expression is a hint: a scan returns every row that matches, and may return other rows of the table.",
)
def where_is_a_hint(subject: StoreSubject) -> None:
    script = Script()
    subject.store.commit(
        [script.tick(spots({n: float(n) for n in range(10)} | {10: None, 11: float("nan")}, gone={12: 8.5}))]
    )
    everything = script.expected(SPOT, 0, 0)
    hints = [
        pc.field("spot__x") > 7,
        pc.field("spot__x").is_null(),
        ~pc.field("is_active"),
        (pc.field("tick") == 0) & (pc.field("entity_id") < 3),
        pc.field("spot__x") > 1e9,
    ]
    for hint in hints:
        for columns in (columns_of(SPOT), ("entity_id",)):
            found = read(subject.store, scan_of(SPOT, script.segment, 0, columns=columns, where=hint))
            require_equal(list(columns), found.column_names, "columns of a scan with a where expression")
            ids = found.column("entity_id").to_pylist()
            least = everything.filter(hint).column("entity_id").to_pylist()
            require(
                [entity for entity in ids if entity in least] == least,
                f"expected where={hint} to return at least entities {least}, but it returned {ids}",
            )
            every = everything.column("entity_id").to_pylist()
            require(
                [entity for entity in every if entity in ids] == ids,
                f"expected where={hint} to return rows of {every} in this order, but it returned {ids}",
            )


@clause("S-413", "A scan outside the ticks of its segment is refused, and the error names a tick that does not exist.")
def outside_history(subject: StoreSubject) -> None:
    script = Script(first_tick=3)
    subject.store.commit([script.tick(spots({1: 1.0})), script.tick(spots({1: 2.0}))])
    for first, last in ((5, 5), (4, 5), (2, 2), (0, 1), (2, 9), (100, 200), (2, 4), (2, 3)):
        scan = scan_of(SPOT, script.segment, first, last)
        error = require_refusal(TickNotFound, read, subject.store, scan, world=script.name, first=3, last=4)
        named = first <= error.tick <= last and not 3 <= error.tick <= 4
        require(
            named,
            f"expected TickNotFound.tick to be a missing tick of {first} to {last} (3 and 4 exist), but it is {error.tick}",
        )


@clause("S-414", "A scan of a segment that was never committed is refused.")
def unknown_segment(subject: StoreSubject) -> None:
    script = Script()
    subject.store.commit([script.tick(spots({1: 1.0}))])
    for unknown in (Script("unknown"), script.fork("fork"), script.new_run()):
        tick = unknown.segment.first_tick
        scan = scan_of(SPOT, unknown.segment, tick)
        require_refusal(TickNotFound, read, subject.store, scan, tick=tick)


@clause("S-415", "A scan of a table that the world never wrote is an empty stream.")
def unknown_table(subject: StoreSubject) -> None:
    script, other = Script(), Script("b")
    subject.store.commit([script.tick(spots({1: 1.0}))])
    subject.store.commit([other.tick(rows(FROZEN, [1]))])
    for archetype in (MOTTO, FROZEN):
        for columns in (("entity_id",), columns_of(archetype)):
            found = read(subject.store, scan_of(archetype, script.segment, 0, columns=columns))
            require_equal(0, found.num_rows, f"number of rows of {archetype.name}, which the world never wrote")


@clause("S-416", "A scan of a table before its first write is an empty stream with the table's columns.", needs=_TRAVEL)
def before_the_first_write(subject: StoreSubject) -> None:
    script = Script()
    subject.store.commit([script.tick(spots({1: 1.0})), script.tick(mottos({2: ("a", b"", 1)}))])
    require_scan(subject.store, script, MOTTO, scan_of(MOTTO, script.segment, 0))
    require_scan(subject.store, script, MOTTO, scan_of(MOTTO, script.segment, 0, 1))


@clause("S-417", "A scan is not changed by commits that happen after it was opened.")
def scan_is_stable(subject: StoreSubject) -> None:
    store, script = subject.store, Script()
    many = {entity: float(entity) for entity in range(1, 5000)}
    store.commit([script.tick(spots(many), mottos({5000: ("a", b"", 1)}))])
    readers = {archetype: store.scan(scan_of(archetype, script.segment, 0)) for archetype in (SPOT, MOTTO)}
    begun = [next(iter(readers[SPOT]))]
    store.commit([script.tick(spots({1: -1.0}, gone={2: 2.0})), script.tick()])
    store.commit([script.fork("fork").tick(spots({1: -2.0}))])
    found = {SPOT: pa.Table.from_batches([*begun, *readers[SPOT]]), MOTTO: readers[MOTTO].read_all()}
    for archetype, table in found.items():
        expected = script.expected(archetype, 0, 0)
        require(
            expected.equals(table.cast(expected.schema)),
            f"expected the rows of {archetype.name} from before the later commits, but the open scan returned other rows",
        )


@clause("S-418", "All batches of one stream have one schema.", needs=_TRAVEL)
def one_schema(subject: StoreSubject) -> None:
    script = _six_ticks()
    _commit(subject, script)
    reader = subject.store.scan(scan_of(SPOT, script.segment, 0, 5))
    for batch in reader:
        require(
            batch.schema.equals(reader.schema),
            f"expected every batch to have the stream's schema {reader.schema}, but one has {batch.schema}",
        )
