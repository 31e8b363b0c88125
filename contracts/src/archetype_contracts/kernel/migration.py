"""Clauses that a kernel must keep before it may replace another, written as a world would call it."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from archetype_contracts.assertion import require_equal
from archetype_contracts.kernel.registry import clause
from archetype_contracts.kernel.subject import KernelSubject, both, require_rows, row, staged
from archetype_contracts.sample import BOTH, SPOT, snapshot, spots
from archetype_core.engine import Arrival, Staged
from archetype_core.schema import Column, Snapshot
from archetype_core.store import IS_ACTIVE, Rows


def doubled(prior: Snapshot) -> Snapshot:
    """The rows after a processor that doubles the number."""
    ids, values = (prior.columns[name].arrow.to_pylist() for name in prior.archetype.schema.names)
    return snapshot(SPOT, {entity: value * 2 for entity, value in zip(ids, values, strict=True)})


@clause("K-001", "A spawned row is stored as written at its tick; processors act on it from the next tick.")
def first_spawn_is_raw(subject: KernelSubject) -> None:
    empty = snapshot(SPOT)
    entering = staged([(1, (1.5,)), (2, (2.5,))], archetype=SPOT)
    first = subject.fold(empty, doubled(empty), entering)
    require_rows(first, {1: (1.5,), 2: (2.5,)}, what="rows at the spawn tick")
    second = subject.fold(first.live, doubled(first.live))
    require_rows(second, {1: (3.0,), 2: (5.0,)}, what="rows one tick later")


@clause("K-002", "A row that is spawned later is stored as written, and older rows are processed as usual.")
def later_spawn_is_raw(subject: KernelSubject) -> None:
    prior = snapshot(SPOT, {1: 1.0})
    first = subject.fold(prior, doubled(prior), staged([(2, (10.0,))], archetype=SPOT))
    require_rows(first, {1: (2.0,), 2: (10.0,)})
    second = subject.fold(first.live, doubled(first.live))
    require_rows(second, {1: (4.0,), 2: (20.0,)})


@clause("K-003", "An entity that enters and leaves in one tick leaves no row and no tombstone.")
def spawn_and_cancel(subject: KernelSubject) -> None:
    prior = both({1: row(1)})
    result = subject.fold(prior, prior, staged([(2, row(2)), (3, row(3))], leaving=[2]))
    require_rows(result, {1: row(1), 3: row(3)})
    result = subject.fold(both(), both(), staged([(2, row(2))], leaving=[2]))
    require_rows(result, {})


@clause("K-004", "An entity that enters several times has the position of its first entry and the values of its last.")
def first_place_last_values(subject: KernelSubject) -> None:
    entering = [(5, row(1)), (3, row(2)), (9, row(3)), (3, row(4)), (5, row(5)), (4, row(6)), (3, row(7))]
    result = subject.fold(both({1: row(0)}), None, staged(entering))
    require_rows(result, {1: row(0), 5: row(5), 3: row(7), 9: row(3), 4: row(6)})


@clause("K-005", "A despawned entity has one tombstone at this tick and no active row.")
def despawn(subject: KernelSubject) -> None:
    prior = both({entity: row(entity) for entity in (1, 2, 3)})
    result = subject.fold(prior, None, staged(leaving=[2]))
    require_rows(result, {1: row(1), 3: row(3)}, {2: row(2)})
    later = subject.fold(result.live)
    require_rows(later, {1: row(1), 3: row(3)}, what="rows one tick later")


@clause(
    "K-006",
    "An update is stored as written at its tick, over what processors made; they act on it from the next tick.",
)
def update(subject: KernelSubject) -> None:
    prior = snapshot(SPOT, {1: 1.0, 2: 2.0})
    changed = staged(patches=[[(2, {"spot__x": 7.0})]], archetype=SPOT)
    first = subject.fold(prior, doubled(prior), changed)
    require_rows(first, {1: (2.0,), 2: (7.0,)})
    require_rows(subject.fold(first.live, doubled(first.live)), {1: (4.0,), 2: (14.0,)})
    controlled = both({1: row(1)})
    for tick in range(1, 4):
        spot = "spot__x"
        moved = controlled.with_columns({spot: Column(pc.add(controlled.columns[spot].arrow, 1.0))})
        controlled = subject.fold(controlled, moved, staged(patches=[[(1, {"motto__rank": tick})]])).live
        require_rows(
            Rows(controlled), {1: (*row(1)[:2], tick, 1.0 + tick)}, what="rows of an entity updated every tick"
        )


@clause("K-007", "Every row has the columns of its table, its id, and whether it is active.")
def stamps(subject: KernelSubject) -> None:
    prior = both({entity: row(entity) for entity in (1, 2)})
    table = subject.fold(prior, None, staged([(3, row(3))], leaving=[1])).to_arrow()
    require_equal([*BOTH.schema.names, IS_ACTIVE], table.column_names, "columns of a tick's rows")
    found = list(zip(table.column("entity_id").to_pylist(), table.column(IS_ACTIVE).to_pylist(), strict=True))
    require_equal([(2, True), (3, True), (1, False)], found, "ids and activity")


@clause("K-008", "A migration writes a tombstone to the old table and a row with the same id to the new one.")
def migration(subject: KernelSubject) -> None:
    old = snapshot(SPOT, {1: 1.0, 2: 2.0})
    gained = {"motto__text": pa.array(["new"], pa.large_string()), "motto__data": pa.array([b""], pa.large_binary())}
    gained["motto__rank"] = pa.array([0], pa.int16())
    arrival = Arrival(SPOT, pa.array([2], pa.int64()), gained)
    mutations = {SPOT: staged(leaving=[2], archetype=SPOT), BOTH: Staged(arriving=[arrival])}
    found = subject.fold_all({SPOT: old, BOTH: both({7: row(7)})}, {SPOT: doubled(old)}, mutations)
    require_rows(found[SPOT], {1: (2.0,)}, {2: (2.0,)}, "rows of the old table")
    require_rows(found[BOTH], {7: row(7), 2: ("new", b"", 0, 4.0)}, what="rows of the new table")


@clause("K-009", "If nothing is staged, the processed rows are stored unchanged.")
def nothing_staged(subject: KernelSubject) -> None:
    prior = spots({1: 1.0, 2: -0.0}).live
    require_rows(subject.fold(prior, doubled(prior)), {1: (2.0,), 2: (-0.0,)})
