"""Clauses on capabilities: a store does what it claims and refuses what it does not claim."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from archetype_contracts.assertion import ClauseFailed, require, require_equal, require_refusal
from archetype_contracts.sample import MOTTO, SPOT, mottos, spots
from archetype_contracts.script import Script
from archetype_contracts.store.observation import (
    read,
    require_head,
    require_history,
    require_nothing,
    require_scan,
    require_worlds,
    scan_of,
)
from archetype_contracts.store.registry import clause
from archetype_contracts.store.subject import StoreSubject
from archetype_core.errors import UnsupportedCapability
from archetype_core.store import Capability


@clause("S-901", "The store claims exactly the capabilities that the contract class declares.")
def claims(subject: StoreSubject) -> None:
    actual = subject.store.capabilities
    require(isinstance(actual, frozenset), f"expected capabilities to be a frozenset, got {type(actual).__name__}")
    require_equal(sorted(subject.claims), sorted(actual), "capabilities that the store claims")


@clause(
    "S-902",
    "A store without time travel refuses to scan, read the head of, or fork from any tick but the newest.",
    lacks=Capability.TIME_TRAVEL,
)
def no_time_travel(subject: StoreSubject) -> None:
    store, script = subject.store, Script()
    store.commit([script.tick(spots({1: float(tick)})) for tick in range(3)])
    lacking = {"capability": Capability.TIME_TRAVEL}
    for first, last in ((1, 1), (0, 0), (0, 2), (1, 2)):
        scan = scan_of(SPOT, script.segment, first, last)
        require_refusal(UnsupportedCapability, read, store, scan, **lacking)
    require_refusal(UnsupportedCapability, lambda: store.head(script.segment.world_id, at=1), **lacking)
    fork = script.fork("fork", at=1)
    require_refusal(UnsupportedCapability, lambda: store.commit([fork.draft(spots({1: 9.0}))]), **lacking)
    require_worlds(store, script)
    require_head(store, script, at=2)
    require_history(subject, script)


@clause(
    "S-903",
    "A store without persistence opens a closed place as an empty store, or refuses to open it.",
    lacks=Capability.PERSISTENCE,
)
def no_persistence(subject: StoreSubject) -> None:
    script = Script()
    subject.store.commit([script.tick(spots({1: 1.0}))])
    try:
        store = subject.reopen()
    except UnsupportedCapability as exc:
        require_equal(Capability.PERSISTENCE, exc.capability, "capability named by the error of reopening")
        return
    require_nothing(store)
    store.commit([script.draft(spots({1: 2.0}), tick=0)])


@clause(
    "S-904",
    "A store that is not shared refuses a second handle, or opens an unrelated store if it does not persist either.",
    lacks=Capability.SHARED,
)
def not_shared(subject: StoreSubject) -> None:
    first, script = subject.store, Script()
    first.commit([script.tick(spots({1: 1.0}))])
    try:
        second = subject.open()
    except UnsupportedCapability as exc:
        require_equal(Capability.SHARED, exc.capability, "capability named by the error of a second handle")
    else:
        if subject.claimed(Capability.PERSISTENCE):
            raise ClauseFailed(
                "a second handle of a store that persists and does not claim SHARED\n"
                "  expected: UnsupportedCapability\n  actual:   it was opened"
            )
        require_nothing(second)
        second.commit([Script("b").tick(spots({1: 2.0}))])
    first.commit([script.tick(spots({1: 3.0}))])
    require_worlds(first, script)
    require_history(subject, script)


@clause("S-905", "A store that offers no files refuses the verb files.", lacks=Capability.FILES)
def no_files(subject: StoreSubject) -> None:
    script = Script()
    subject.store.commit([script.tick(spots({1: 1.0}))])
    scan = scan_of(SPOT, script.segment, 0)
    require_refusal(UnsupportedCapability, lambda: subject.store.files(scan), capability=Capability.FILES)


@clause("S-906", "The files that a store returns hold exactly the rows of the scan.", needs=[Capability.FILES])
def files(subject: StoreSubject) -> None:
    script = Script()
    subject.store.commit([script.tick(spots({1: 1.0, 2: None}), mottos({3: ("a", b"b", 3)}))])
    subject.store.commit([script.tick(spots({1: -0.0}, gone={2: float("nan")}))])
    travels = subject.claimed(Capability.TIME_TRAVEL)
    for archetype in (SPOT, MOTTO):
        for first in (0, 1) if travels else (1,):
            scan = scan_of(archetype, script.segment, first, 1)
            require_scan(subject.store, script, archetype, scan)
            tables = [
                pq.read_table(path, columns=list(scan.columns), partitioning=None) for path in subject.store.files(scan)
            ]
            expected = script.expected(archetype, first, 1)
            found = pa.concat_tables(tables).select(expected.column_names) if tables else expected.schema.empty_table()
            order = [("tick", "ascending"), ("entity_id", "ascending")]
            left, right = expected.sort_by(order).to_pylist(), found.sort_by(order).to_pylist()
            require_equal(repr(left), repr(right), f"rows in the files of {archetype.name} at ticks {first} to 1")
