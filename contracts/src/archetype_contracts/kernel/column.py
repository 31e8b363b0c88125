"""Clauses on columns: every type keeps its bits on every path, and unchanged columns are not copied."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa

from archetype_contracts.assertion import ClauseFailed, require_equal
from archetype_contracts.exact import difference
from archetype_contracts.kernel.registry import clause
from archetype_contracts.kernel.subject import KernelSubject, both, plain_rows, require_rows, row, staged
from archetype_contracts.sample import MARKED, snapshot
from archetype_contracts.sample_columns import SampleColumn, every_sample
from archetype_core.engine import Arrival, Patch, Staged
from archetype_core.schema import Archetype, Column, Snapshot
from archetype_core.store import Rows


def _require_column(sample: SampleColumn, part: Snapshot | None, ids: list[int], values: pa.Array) -> None:
    if part is None:
        raise ClauseFailed(f"rows of {sample.kind}\n  expected: {len(ids)} rows\n  actual:   None")
    require_equal(ids, part.entity_ids.to_pylist(), f"{sample.kind}: entity ids")
    found = difference(values, part.columns[sample.name].arrow, sample.kind)
    if found:
        raise ClauseFailed(found)


@clause("K-201", "Rows that stay, and tombstones, keep every bit in every type of column.")
def survivors_keep_their_bits(subject: KernelSubject) -> None:
    for sample in every_sample():
        prior = sample.snapshot()
        size = prior.num_rows
        ids = list(range(1, size + 1))
        for leaving in ([1], [size], ids[::2], ids):
            result = subject.fold(prior, None, Staged(leaving=pa.array(leaving, pa.int64())))
            stay = [entity for entity in ids if entity not in leaving]
            _require_column(sample, result.live, stay, _at(sample, stay))
            _require_column(sample, result.tombstones, leaving, _at(sample, leaving))


@clause("K-202", "Entering rows keep every bit in every type of column.")
def entering_rows_keep_their_bits(subject: KernelSubject) -> None:
    for sample in every_sample():
        size = len(sample.column)
        ids = list(range(1, size + 1))
        new = sample.snapshot(first_id=size + 1)
        everything = pa.concat_arrays([sample.column, sample.column])
        result = subject.fold(sample.snapshot(), None, Staged(entering=new))
        _require_column(sample, result.live, [*ids, *range(size + 1, 2 * size + 1)], everything)
        result = subject.fold(sample.snapshot().slice(0, 0), None, Staged(entering=sample.snapshot()))
        _require_column(sample, result.live, ids, sample.column)


@clause("K-203", "Patched rows get every bit of the patch, including nulls, in every type of column.")
def patches_keep_their_bits(subject: KernelSubject) -> None:
    for sample in every_sample():
        prior = sample.snapshot()
        size = prior.num_rows
        ids = list(range(1, size + 1))
        backwards = sample.column.take(pa.array(range(size - 1, -1, -1)))
        whole = Patch(prior.entity_ids, {sample.name: backwards})
        _require_column(sample, subject.fold(prior, None, Staged(patches=[whole])).live, ids, backwards)
        one = Patch(pa.array([1], pa.int64()), {sample.name: sample.column.slice(size - 1, 1)})
        mixed = pa.concat_arrays([sample.column.slice(size - 1, 1), sample.column.slice(1)])
        _require_column(sample, subject.fold(prior, None, Staged(patches=[one])).live, ids, mixed)
        new = sample.snapshot(first_id=1)
        result = subject.fold(prior.slice(0, 0), None, Staged(entering=new, patches=[whole]))
        _require_column(sample, result.live, ids, backwards)


@clause("K-204", "A patched row keeps the exact processed bits in columns that the patch does not name, in every type.")
def processed_keeps_its_bits(subject: KernelSubject) -> None:
    for sample in every_sample():
        prior = sample.snapshot()
        size = prior.num_rows
        ids = list(range(1, size + 1))
        backwards = sample.column.take(pa.array(range(size - 1, -1, -1)))
        processed = prior.with_columns({sample.name: Column(backwards)})
        untouched = Patch(pa.array(ids[1:], pa.int64()), {})
        _require_column(sample, subject.fold(prior, processed, Staged(patches=[untouched])).live, ids, backwards)


@clause("K-205", "Inputs that are slices of larger arrays fold like whole arrays, in every type of column.")
def sliced_inputs(subject: KernelSubject) -> None:
    for sample in every_sample():
        size = len(sample.column)
        doubled = pa.concat_arrays([sample.column, sample.column])
        ids = pa.array(range(2 * size), pa.int64())
        wide = Snapshot(sample.archetype, {"entity_id": Column(ids), sample.name: Column(doubled)}, 2 * size)
        prior, new = wide.slice(1, size - 1), wide.slice(size + 1, size - 1)
        tail = Patch(ids.slice(1, 1), {sample.name: doubled.slice(size - 1, 1)})
        leaving = ids.slice(size - 1, 1)
        result = subject.fold(prior, None, Staged(new, patches=[tail], leaving=leaving))
        kept = [*range(1, size - 1), *range(size + 1, 2 * size)]
        expected = [doubled.slice(size - 1, 1), doubled.slice(2, size - 3), doubled.slice(size + 1)] if size > 2 else []
        live = pa.concat_arrays(expected) if expected else doubled.slice(size + 1)
        _require_column(sample, result.live, kept, live)
        _require_column(
            sample, result.tombstones, [size - 1] if size > 1 else [], doubled.slice(size - 1, min(1, size - 1))
        )


@clause("K-206", "If nothing is staged, nothing is copied.")
def nothing_is_copied(subject: KernelSubject) -> None:
    prior = both({entity: row(entity) for entity in range(1, 100)})
    processed = prior.with_columns({"spot__x": Column(pa.array([0.5] * 99))})
    _require_shared(subject.fold(prior, processed), processed, processed.columns)


@clause("K-207", "A column that neither a processor nor a patch changed is not copied.")
def untouched_columns_are_shared(subject: KernelSubject) -> None:
    prior = both({entity: row(entity) for entity in range(1, 100)})
    processed = prior.with_columns({"spot__x": Column(pa.array([0.5] * 99))})
    patches = staged(patches=[[(3, {"motto__rank": 1}), (4, {"motto__rank": 2})]])
    _require_shared(subject.fold(prior, processed, patches), processed, ["entity_id", "motto__text", "motto__data"])
    _require_shared(subject.fold(prior, prior, patches), prior, ["entity_id", "motto__text", "motto__data", "spot__x"])
    unknown = staged(patches=[[(1000, {"motto__rank": 1})]], leaving=[2000])
    _require_shared(subject.fold(prior, processed, unknown), processed, processed.columns)


@clause("K-208", "Threads that use one kernel at the same time get the same results as one thread.")
def threads(subject: KernelSubject) -> None:
    prior = both({entity: row(entity) for entity in range(2000)})
    tasks = [staged([(9000 + n, row(n))], [[(n, {"spot__x": float(n)})]], range(n, 2000, 97)) for n in range(1, 9)]
    alone = [subject.fold(prior, None, task) for task in tasks]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda task: subject.fold(prior, None, task), tasks * 4))
    for index, result in enumerate(together):
        expected = alone[index % len(tasks)]
        require_equal(plain_rows(expected.live), plain_rows(result.live), "active rows")
        require_equal(plain_rows(expected.tombstones), plain_rows(result.tombstones), "tombstones")
    require_rows(subject.fold(prior.slice(0, 1), None, staged(leaving=[0])), {}, {0: row(0)})


@clause("K-209", "What a moving entity brings and gains keeps every bit, in every type of column.")
def arrivals_keep_their_bits(subject: KernelSubject) -> None:
    for sample in every_sample():
        size = len(sample.column)
        ids = pa.array(range(1, size + 1), pa.int64())
        backwards = pa.array(range(size - 1, -1, -1))
        tags, table = snapshot(MARKED, list(range(1, size + 1))), sample.archetype
        gained = Arrival(MARKED, ids.take(backwards), {sample.name: sample.column.take(backwards)})
        mutations = {MARKED: Staged(leaving=ids), table: Staged(arriving=[gained])}
        result = subject.fold_all({MARKED: tags}, {}, mutations)[table]
        _require_column(sample, result.live, list(range(size, 0, -1)), sample.column.take(backwards))
        wide = Archetype.of(*sample.archetype.components, *MARKED.components)
        brought = Arrival(table, ids.take(backwards), {})
        mutations = {table: Staged(leaving=ids), wide: Staged(arriving=[brought])}
        result = subject.fold_all({table: sample.snapshot()}, {}, mutations)[wide]
        _require_column(sample, result.live, list(range(size, 0, -1)), sample.column.take(backwards))


def _at(sample: SampleColumn, ids: list[int]) -> pa.Array:
    return sample.column.take(pa.array([entity - 1 for entity in ids], pa.int64()))


def _require_shared(result: Rows, source: Snapshot, names: object) -> None:
    for name in names if isinstance(names, list) else source.columns:
        before, after = (_addresses(part.columns[name].arrow) for part in (source, result.live))
        if before != after:
            raise ClauseFailed(
                f"buffers of {name}, which must not be copied\n  expected: {before}\n  actual:   {after}"
            )


def _addresses(array: pa.Array) -> tuple[object, ...]:
    return (array.offset, *(buffer and buffer.address for buffer in array.buffers()))
