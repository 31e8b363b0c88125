"""Clauses that a kernel must keep before it may replace another, written as a world would call it."""

from __future__ import annotations

from archetype_contracts.assertion import require_equal
from archetype_contracts.kernel.registry import clause
from archetype_contracts.kernel.subject import KernelSubject, both, require_rows, row, staged
from archetype_contracts.sample import BOTH, SPOT, snapshot, spots
from archetype_core.schema import Snapshot
from archetype_core.store import IS_ACTIVE


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


@clause("K-006", "An update is stored as written at its tick; processors act on it from the next tick.")
def update(subject: KernelSubject) -> None:
    prior = snapshot(SPOT, {1: 1.0, 2: 2.0})
    changed = staged(patches=[[(2, {"spot__x": 7.0})]], archetype=SPOT)
    first = subject.fold(prior, doubled(prior), changed)
    require_rows(first, {1: (2.0,), 2: (7.0,)})
    require_rows(subject.fold(first.live, doubled(first.live)), {1: (4.0,), 2: (14.0,)})


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
    left = subject.fold(old, doubled(old), staged(leaving=[2], archetype=SPOT))
    require_rows(left, {1: (2.0,)}, {2: (2.0,)})
    arrived = subject.fold(both({7: row(7)}), None, staged([(2, ("new", b"", 0, 2.0))]))
    require_rows(arrived, {7: row(7), 2: ("new", b"", 0, 2.0)})


@clause("K-009", "If nothing is staged, the processed rows are stored unchanged.")
def nothing_staged(subject: KernelSubject) -> None:
    prior = spots({1: 1.0, 2: -0.0}).live
    require_rows(subject.fold(prior, doubled(prior)), {1: (2.0,), 2: (-0.0,)})
