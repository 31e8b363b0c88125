"""Clauses on folding: which mutation wins, and the order of the resulting rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from archetype_contracts.assertion import require_equal
from archetype_contracts.kernel.registry import clause
from archetype_contracts.kernel.subject import KernelSubject, PatchRows, both, patch, require_rows, row, rows_of, staged
from archetype_contracts.sample import BOTH, MARKED, SPOT, snapshot
from archetype_core.engine import Arrival, Patch, Staged
from archetype_core.schema import Archetype, Snapshot

TEXT, DATA, RANK, X = "motto__text", "motto__data", "motto__rank", "spot__x"


def _prior(*entities: int) -> Snapshot:
    return both({entity: row(entity) for entity in entities})


def _processed(*entities: int) -> Snapshot:
    return both({entity: row(entity + 100) for entity in entities})


@clause("K-101", "A tombstone has the values from before the processors.")
def tombstones_are_prior(subject: KernelSubject) -> None:
    result = subject.fold(_prior(1, 2), _processed(1, 2), staged(leaving=[1]))
    require_rows(result, {2: row(102)}, {1: row(1)})


@clause("K-102", "A patched row keeps what the processors made of the fields that the patch does not name.")
def patches_are_over_processed(subject: KernelSubject) -> None:
    result = subject.fold(_prior(1, 2, 3), _processed(1, 2, 3), staged(patches=[[(2, {X: -1.0})]]))
    require_rows(result, {1: row(101), 2: (*row(102)[:3], -1.0), 3: row(103)})


@clause("K-103", "Patches apply in order: for each field the last patch wins.")
def order_of_patches(subject: KernelSubject) -> None:
    patches: list[PatchRows] = [
        [(1, {TEXT: "a", X: 1.0}), (2, {TEXT: "b", X: 2.0})],
        [(1, {TEXT: "c"})],
        [(2, {X: None})],
        [(1, {RANK: 5})],
    ]
    result = subject.fold(_prior(1, 2), _processed(1, 2), staged(patches=patches))
    require_rows(result, {1: ("c", row(101)[1], 5, 1.0), 2: ("b", *row(102)[1:3], None)})


@clause("K-104", "If one patch has several rows for one entity, the last row wins.")
def repeats_in_a_patch(subject: KernelSubject) -> None:
    rows: PatchRows = [(2, {X: 1.0}), (1, {X: 2.0}), (2, {X: 3.0}), (9, {X: 4.0}), (2, {X: None}), (1, {X: 5.0})]
    result = subject.fold(_prior(1, 2), _processed(1, 2), staged([(9, row(9))], patches=[rows]))
    require_rows(result, {1: (*row(101)[:3], 5.0), 2: (*row(102)[:3], None), 9: (*row(9)[:3], 4.0)})


@clause("K-105", "Patches also apply to entering rows.")
def patches_on_entering_rows(subject: KernelSubject) -> None:
    patches: list[PatchRows] = [[(3, {TEXT: "a"}), (1, {TEXT: "b"})], [(3, {TEXT: None, X: -0.0})]]
    result = subject.fold(_prior(1), _processed(1), staged([(3, row(3)), (4, row(4)), (3, row(5))], patches=patches))
    require_rows(result, {1: ("b", *row(101)[1:]), 3: (None, *row(5)[1:3], -0.0), 4: row(4)})


@clause("K-106", "Leaving wins over entering and over patches.")
def leaving_wins(subject: KernelSubject) -> None:
    mutations = staged(
        [(1, row(50)), (4, row(4)), (5, row(5))], [[(1, {X: 9.0}), (2, {X: 9.0}), (4, {X: 9.0})]], [4, 2, 1]
    )
    result = subject.fold(_prior(1, 2, 3), _processed(1, 2, 3), mutations)
    require_rows(result, {3: row(103), 5: row(5)}, {1: row(1), 2: row(2)})


@clause("K-107", "An entering row for an existing entity replaces its values and keeps its position.")
def entering_what_is_there(subject: KernelSubject) -> None:
    mutations = staged([(7, row(7)), (2, row(50)), (2, row(60))], patches=[[(2, {RANK: 1})]])
    result = subject.fold(_prior(1, 2, 3), _processed(1, 2, 3), mutations)
    require_rows(result, {1: row(101), 2: (*row(60)[:2], 1, 60.0), 3: row(103), 7: row(7)})


@clause("K-108", "An entity that leaves several times in one tick has one tombstone.")
def repeated_leaving(subject: KernelSubject) -> None:
    result = subject.fold(_prior(1, 2), None, staged(leaving=[2, 2, 2]))
    require_rows(result, {1: row(1)}, {2: row(2)})


@clause(
    "K-109", "Surviving rows keep their order, new rows follow in entry order, and tombstones keep their order as rows."
)
def order_of_rows(subject: KernelSubject) -> None:
    entities = (9, 2, 7, 1, 8, 3)
    mutations = staged([(20, row(20)), (5, row(5)), (11, row(11))], [[(3, {X: 0.0}), (9, {X: 0.0})]], [1, 8, 2])
    result = subject.fold(_prior(*entities), _processed(*entities), mutations)
    live = {9: (*row(109)[:3], 0.0), 7: row(107), 3: (*row(103)[:3], 0.0), 20: row(20), 5: row(5), 11: row(11)}
    require_rows(result, live, {2: row(2), 1: row(1), 8: row(8)})


@clause("K-110", "Mutations of entities that the table does not hold are ignored.")
def unknown_entities(subject: KernelSubject) -> None:
    result = subject.fold(_prior(1), _processed(1), staged(patches=[[(8, {X: 0.0})]], leaving=[9]))
    require_rows(result, {1: row(101)})
    result = subject.fold(_prior(1), _processed(1), staged([(2, row(2))], [[(8, {X: 0.0})]], [9]))
    require_rows(result, {1: row(101), 2: row(2)})


@clause("K-111", "An empty table accepts every kind of mutation.")
def empty_prior(subject: KernelSubject) -> None:
    require_rows(subject.fold(both(), None, staged(leaving=[1])), {})
    require_rows(subject.fold(both(), None, staged(patches=[[(1, {X: 0.0})]])), {})
    mutations = staged([(2, row(2)), (1, row(1)), (3, row(3))], [[(1, {X: 0.0})]], [3])
    require_rows(subject.fold(both(), None, mutations), {2: row(2), 1: (*row(1)[:3], 0.0)})


@clause("K-112", "Mutations without rows change nothing, in every form.")
def empty_mutations(subject: KernelSubject) -> None:
    none = pa.array([], pa.int64())
    empty_patch = Patch(none, {X: pa.array([], pa.float64())})
    shapes = [
        Staged(),
        Staged(both(), leaving=none),
        Staged(patches=[empty_patch]),
        Staged(both(), [moved([], _mottos())], [empty_patch, Patch(none, {})], none, none),
        Staged(patches=[Patch(pa.array([8], pa.int64()), {X: pa.array([1.0])})], leaving=none),
    ]
    for shape in shapes:
        require_rows(subject.fold(both(), None, shape), {}, what="rows of an empty table")
        require_rows(subject.fold(_prior(1, 2), _processed(1, 2), shape), {1: row(101), 2: row(102)})


@clause("K-113", "A patch that names no field changes nothing.")
def patch_without_fields(subject: KernelSubject) -> None:
    shape = Staged(patches=[Patch(pa.array([2], pa.int64()), {})])
    require_rows(subject.fold(_prior(1, 2), _processed(1, 2), shape), {1: row(101), 2: row(102)})


@clause("K-114", "If all rows leave, the result is their tombstones and rows that enter.")
def all_leave(subject: KernelSubject) -> None:
    result = subject.fold(_prior(3, 1, 2), _processed(3, 1, 2), staged(leaving=[1, 2, 3]))
    require_rows(result, {}, {3: row(3), 1: row(1), 2: row(2)})
    result = subject.fold(_prior(3), None, staged([(4, row(4))], leaving=[3]))
    require_rows(result, {4: row(4)}, {3: row(3)})


@clause("K-115", "A table of a tag without fields folds like any other table.")
def tags(subject: KernelSubject) -> None:
    prior = snapshot(MARKED, [5, 1, 3])
    mutations = staged([(9, ()), (2, ()), (9, ()), (4, ())], leaving=[1, 4], archetype=MARKED)
    require_rows(subject.fold(prior, None, mutations), {5: (), 3: (), 9: (), 2: ()}, {1: ()})
    require_rows(subject.fold(snapshot(MARKED), None, staged([(1, ())], archetype=MARKED)), {1: ()})


@clause("K-116", "Entity ids are 64 bits wide and may come in any order.")
def wide_ids(subject: KernelSubject) -> None:
    top = 2**63 - 1
    near = [top, 1, 2**53, 2**53 + 1, 2**32, 2**31, 2**31 - 1, top - 1]
    prior = both({entity: row(index) for index, entity in enumerate(near)})
    mutations = staged([(2**53 + 2, row(50))], [[(2**53 + 1, {X: 0.5}), (top, {X: 1.5})]], [2**53, top - 1])
    kept = {entity: row(index) for index, entity in enumerate(near) if entity not in (2**53, top - 1)}
    kept[2**53 + 1], kept[top] = (*row(3)[:3], 0.5), (*row(0)[:3], 1.5)
    require_rows(subject.fold(prior, None, mutations), {**kept, 2**53 + 2: row(50)}, {2**53: row(2), top - 1: row(7)})


@clause("K-117", "Twenty thousand rows fold like a few.")
def many_rows(subject: KernelSubject) -> None:
    size = 20_000
    prior, processed = _prior(*range(size)), _processed(*range(size))
    leaving, patched = range(0, size, 7), range(1, size, 5)
    entering = [(entity, row(1)) for entity in range(size + 500, size, -1)]
    result = subject.fold(prior, processed, staged(entering, [[(entity, {X: 0.0}) for entity in patched]], leaving))
    gone, written = set(leaving), set(patched)
    live = {
        entity: (*row(entity + 100)[:3], 0.0) if entity in written else row(entity + 100)
        for entity in range(size)
        if entity not in gone
    }
    require_rows(result, {**live, **dict(entering)}, {entity: row(entity) for entity in leaving})


@clause("K-118", "Folding does not change its inputs.")
def inputs_are_unchanged(subject: KernelSubject) -> None:
    prior, processed = _prior(1, 2, 3), _processed(1, 2, 3)
    mutations = staged([(4, row(4)), (2, row(50))], [[(1, {X: 0.0})], [(4, {X: 0.0})]], [3])
    leaving: Any = mutations.leaving
    parts = [prior, processed, mutations.entering or prior]
    before = [part.to_arrow().to_pylist() for part in parts]
    staged_before = len(mutations.patches), leaving.to_pylist()
    first = subject.fold(prior, processed, mutations)
    second = subject.fold(prior, processed, mutations)
    expected = {1: (*row(101)[:3], 0.0), 2: row(50), 4: (*row(4)[:3], 0.0)}
    for result in (first, second):
        require_rows(result, expected, {3: row(3)})
    for part, rows in zip(parts, before, strict=True):
        require_equal(
            rows,
            Snapshot(part.archetype, part.columns, part.num_rows).to_arrow().to_pylist(),
            "rows of an input after folding",
        )
    require_equal(
        staged_before,
        (len(mutations.patches), leaving.to_pylist()),
        "number of patches, and leaving ids, after folding",
    )


def moved(entities: Iterable[int], gained: Mapping[str, Sequence[Any]], source: Archetype = SPOT) -> Arrival:
    """Entities that move in from another table, with the columns that they gain."""
    columns = {name: pa.array(values, BOTH.schema.field(name).type) for name, values in gained.items()}
    return Arrival(source, pa.array(list(entities), pa.int64()), columns)


def _mottos(*numbers: int) -> dict[str, Sequence[Any]]:
    """What an entity of the spot table gains when it moves to the table that has a motto too."""
    rows = [row(number) for number in numbers]
    return {name: [values[place] for values in rows] for place, name in enumerate((TEXT, DATA, RANK))}


@clause(
    "K-119", "An entity that moves takes what the processors of its old table made of it, and gains what it was given."
)
def arrivals_are_processed(subject: KernelSubject) -> None:
    prior, processed = snapshot(SPOT, {1: 1.0, 2: 2.0}), snapshot(SPOT, {1: 10.0, 2: 20.0})
    staged_tables = {SPOT: Staged(leaving=pa.array([2], pa.int64())), BOTH: Staged(arriving=[moved([2], _mottos(7))])}
    found = subject.fold_all({SPOT: prior}, {SPOT: processed}, staged_tables)
    require_rows(found[SPOT], {1: (10.0,)}, {2: (2.0,)}, "rows of the old table")
    require_rows(found[BOTH], {2: (*row(7)[:3], 20.0)}, what="rows of the new table")


@clause("K-120", "An entity that moves from a table without processors takes its values along.")
def arrivals_of_an_idle_table(subject: KernelSubject) -> None:
    prior = {SPOT: snapshot(SPOT, {1: 1.0, 2: 2.0}), BOTH: _prior(5)}
    staged_tables = {SPOT: Staged(leaving=pa.array([1], pa.int64())), BOTH: Staged(arriving=[moved([1], _mottos(7))])}
    found = subject.fold_all(prior, {BOTH: _processed(5)}, staged_tables)
    require_rows(found[SPOT], {2: (2.0,)}, {1: (1.0,)}, "rows of the old table")
    require_rows(found[BOTH], {5: row(105), 1: (*row(7)[:3], 1.0)}, what="rows of the new table")


@clause("K-121", "Patches are laid over what a moving entity brings and gains.")
def patches_on_arrivals(subject: KernelSubject) -> None:
    tables = {SPOT: snapshot(SPOT, {1: 1.0, 2: 2.0})}
    mutations = Staged(
        arriving=[moved([2, 1], _mottos(7, 8))],
        patches=[patch([(1, {X: -1.0, RANK: None})]), patch([(2, {TEXT: "b"})])],
    )
    found = subject.fold_all(tables, {}, {SPOT: staged(leaving=[1, 2], archetype=SPOT), BOTH: mutations})
    require_rows(found[BOTH], {2: ("b", *row(7)[1:3], 2.0), 1: (*row(8)[:2], None, -1.0)})


@clause("K-122", "New rows have the order that the mutations name, whether they were spawned or moved in.")
def order_of_arrivals(subject: KernelSubject) -> None:
    tables = {SPOT: snapshot(SPOT, {1: 1.0, 2: 2.0}), MARKED: snapshot(MARKED, [4]), BOTH: _prior(9)}
    whole = {**_mottos(8), X: [0.5]}
    mutations = Staged(
        rows_of([(7, row(7)), (3, row(3))]),
        [moved([2, 1], _mottos(20, 10)), moved([4], whole, MARKED)],
        order=pa.array([2, 7, 4, 1, 3], pa.int64()),
    )
    gone = {SPOT: staged(leaving=[1, 2], archetype=SPOT), MARKED: staged(leaving=[4], archetype=MARKED)}
    found = subject.fold_all(tables, {}, {**gone, BOTH: mutations})
    expected = {9: row(9), 2: (*row(20)[:3], 2.0), 7: row(7), 4: (*row(8)[:3], 0.5), 1: (*row(10)[:3], 1.0), 3: row(3)}
    require_rows(found[BOTH], expected)
    require_rows(found[MARKED], {}, {4: ()}, "rows of a tag's table")


@clause("K-123", "Entities may change places between two tables in one tick.")
def tables_that_swap(subject: KernelSubject) -> None:
    prior = {SPOT: snapshot(SPOT, {1: 1.0, 2: 2.0}), BOTH: _prior(5, 6)}
    processed = {SPOT: snapshot(SPOT, {1: 10.0, 2: 20.0}), BOTH: _processed(5, 6)}
    back = Arrival(BOTH, pa.array([6], pa.int64()), {})
    mutations = {
        SPOT: Staged(arriving=[back], leaving=pa.array([1], pa.int64())),
        BOTH: Staged(arriving=[moved([1], _mottos(7))], leaving=pa.array([6], pa.int64())),
    }
    found = subject.fold_all(prior, processed, mutations)
    require_rows(found[SPOT], {2: (20.0,), 6: (106.0,)}, {1: (1.0,)}, "rows of the first table")
    require_rows(found[BOTH], {5: row(105), 1: (*row(7)[:3], 10.0)}, {6: row(6)}, "rows of the second table")


@clause("K-124", "The answer has one entry for each table that was processed or mutated, and no other.")
def tables_of_the_answer(subject: KernelSubject) -> None:
    prior = {SPOT: snapshot(SPOT, {1: 1.0}), BOTH: _prior(5), MARKED: snapshot(MARKED, [4])}
    found = subject.fold_all(prior, {BOTH: _processed(5)}, {MARKED: staged(leaving=[4], archetype=MARKED)})
    require_rows(found[BOTH], {5: row(105)})
    require_rows(found[MARKED], {}, {4: ()})
    require_equal({}, subject.fold_all(prior, {}, {}), "answer when nothing happened")
