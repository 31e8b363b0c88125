"""What a committed tick leaves for the next one beside rows: what was staged inside it, and the names of its processors.

A store keeps it as bytes, so that a world that is opened or forked at the end of a tick goes on as if it had never stopped.
The bytes are a JSON header, and an Arrow stream for all mutations that are alike; a column has their place in the order.
"""

from __future__ import annotations

import json
from bisect import insort
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from archetype_core.engine.mutation_log import (
    Despawned,
    DespawnedTable,
    Moved,
    MutationLog,
    Operation,
    SpawnedRows,
    SpawnedTable,
    StagedLetter,
    Updated,
    UpdatedTable,
    Values,
    column_arrays,
    from_rows,
)
from archetype_core.errors import ArchetypeError, CorruptStore
from archetype_core.schema import message
from archetype_core.schema.archetype import Archetype
from archetype_core.schema.component import ComponentType
from archetype_core.schema.snapshot import ENTITY_ID, Snapshot, contiguous

_FORMAT = 1
_ORDER = "order"
_LOST = b"lost"

Where = Callable[[int], Archetype | None]


@dataclass(frozen=True, slots=True)
class Continuation:
    """What a tick leaves for the next one, as a store keeps it, and what of it can be told without reading it."""

    data: bytes = b""
    count: int = 0
    """How many mutations and messages it has."""
    commands: tuple[str, ...] = ()
    """The commands that staged some of these."""
    processors: tuple[str, ...] = ()
    """The names of the processors that the tick had, in order."""

    @classmethod
    def of(cls, processors: tuple[str, ...], staged: MutationLog | None = None) -> Continuation:
        """What a tick with these processors leaves, if they staged this."""
        if staged is None:
            return _of_names(processors)
        streams = [pa.py_buffer(_stream(kind, table)) for kind, table in _tables(staged)]
        header = {"format": _FORMAT, "processors": processors, "commands": staged.commands, "streams": len(streams)}
        encoded = json.dumps(header, separators=(",", ":")).encode()
        data = b"".join([len(encoded).to_bytes(4, "little"), encoded, *streams])
        return cls(data, staged.count, tuple(staged.commands), processors)

    def for_another_world(self) -> Continuation:
        """The same for a fork: a command applies once, in the world that it was sent to."""
        return replace(self, commands=())

    @classmethod
    def read(cls, data: bytes, where: Where, world: str) -> tuple[Continuation, MutationLog]:
        """What a store gave back, and the mutations in it; ``where`` returns the live archetype of an entity."""
        log = MutationLog()
        if not data:
            return cls(), log
        try:
            size = int.from_bytes(data[:4], "little")
            header = json.loads(data[4 : 4 + size])
            if header["format"] == _FORMAT:
                source = pa.BufferReader(pa.py_buffer(data)[4 + size :])
                tables = [pa.ipc.open_stream(source).read_all() for _ in range(header["streams"])]
                _fill(log, tables, where)
                log.commands = list(header["commands"])
                return cls(data, log.count, tuple(log.commands), tuple(header["processors"])), log
        except (ValueError, KeyError, TypeError, OSError, ArchetypeError) as failure:
            raise CorruptStore(world, f"what its last tick staged cannot be read: {failure}") from failure
        raise CorruptStore(
            world, f"what its last tick staged has format {header['format']}, and this version reads {_FORMAT}"
        )


@lru_cache(maxsize=256)
def _of_names(processors: tuple[str, ...]) -> Continuation:
    if not processors:
        return Continuation()
    return Continuation(Continuation.of(processors, MutationLog()).data, processors=processors)


def _stream(kind: str, table: pa.Table) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    schema = table.schema.with_metadata({**(table.schema.metadata or {}), b"kind": kind.encode()})
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_table(table.replace_schema_metadata(schema.metadata))
    return sink.getvalue()


def _tables(log: MutationLog) -> Iterator[tuple[str, pa.Table]]:
    """All mutations of a log, those that are alike in one table, each with its place in the order."""
    spawned: dict[Archetype, list[tuple[int, Snapshot]]] = {}
    written: dict[Hashable, _Alike] = {}
    despawned: list[tuple[int, int]] = []
    for order, one in enumerate(log.operations):
        match one:
            case SpawnedRows(archetype=archetype, ids=ids, rows=rows):
                spawned.setdefault(archetype, []).append((order, from_rows(archetype, ids, rows)))
            case SpawnedTable(snapshot=snapshot):
                spawned.setdefault(snapshot.archetype, []).append((order, snapshot))
            case Updated(entity_id=entity_id, values=values):
                columns = frozenset((kind, frozenset(given)) for kind, given in values.items())
                written.setdefault(columns, _Alike("update")).rows.append((order, entity_id, values))
            case Moved(entity_id=entity_id, gained=gained, lost=lost):
                between = (frozenset(gained), lost)
                written.setdefault(between, _Alike("move", lost)).rows.append((order, entity_id, gained))
            case Despawned(entity_id=entity_id):
                despawned.append((order, entity_id))
            case UpdatedTable() | DespawnedTable():
                yield _of_many(order, one)
    for archetype, parts in spawned.items():
        orders = np.concatenate([np.full(part.num_rows, order, np.int64) for order, part in parts])
        rows = pa.concat_tables([part.to_arrow() for _, part in parts])
        yield "spawn", rows.append_column(_ORDER, pa.array(orders)).replace_schema_metadata(archetype.schema.metadata)
    for group in written.values():
        yield group.kind, _written(group)
    if despawned:
        yield "despawn", pa.table(dict(zip((_ORDER, ENTITY_ID), zip(*despawned, strict=True), strict=True)))
    if log.letters:
        yield "send", message.rows(log.letters).to_arrow()


@dataclass(slots=True)
class _Alike:
    """Updates of the same columns, or moves that gain and lose the same components: order, entity and values of each."""

    kind: str
    lost: tuple[ComponentType, ...] = ()
    rows: list[tuple[int, int, Values]] = field(default_factory=list)


def _written(group: _Alike) -> pa.Table:
    orders, entities, values = zip(*group.rows, strict=True)
    columns: dict[str, Any] = {_ORDER: pa.array(orders), ENTITY_ID: pa.array(entities, pa.int64())}
    metadata: dict[bytes, bytes] = {}
    kinds = list(values[0])
    if kinds:
        metadata |= Archetype.of(*kinds).schema.metadata
    for kind in kinds:
        columns |= column_arrays(kind, [one[kind] for one in values])
    if group.lost:
        metadata[_LOST] = Archetype.of(*group.lost).schema.serialize().to_pybytes()
    return pa.table(columns).replace_schema_metadata(metadata)


def _of_many(order: int, one: UpdatedTable | DespawnedTable) -> tuple[str, pa.Table]:
    columns = {_ORDER: pa.array(np.full(len(one.entity_ids), order, np.int64)), ENTITY_ID: one.entity_ids}
    if isinstance(one, DespawnedTable):
        return "despawn_table", pa.table(columns)
    for given in one.values.values():
        columns |= given
    return "update_table", pa.table(columns).replace_schema_metadata(Archetype.of(*one.values).schema.metadata)


def _updates(table: pa.Table) -> tuple[int, UpdatedTable]:
    columns = {name: contiguous(table.column(name)) for name in table.column_names}
    kinds = Archetype.from_schema(table.schema).components
    values = {kind: {one.name: columns[one.name] for one in kind.fields if one.name in columns} for kind in kinds}
    return columns[_ORDER][0].as_py(), UpdatedTable(columns[ENTITY_ID], values)


def _fill(log: MutationLog, tables: Iterable[pa.Table], where: Where) -> None:
    """Stage the mutations of some tables again, in their order."""
    found: list[tuple[int, Operation]] = []
    for table in tables:
        kind = table.schema.metadata[b"kind"]
        if kind == b"spawn":
            found += _spawns(table)
        elif kind == b"send":
            log.letters += _letters(table)
        elif kind == b"update_table":
            found.append(_updates(table))
        elif kind == b"despawn_table":
            found.append((table.column(_ORDER)[0].as_py(), DespawnedTable(contiguous(table.column(ENTITY_ID)))))
        else:
            found += _writes(kind, table)
    for _, operation in sorted(found, key=lambda one: one[0]):
        _stage(log, operation, where)
    log.count += len(log.letters)


def _stage(log: MutationLog, operation: Operation, where: Where) -> None:
    match operation:
        case SpawnedTable(snapshot=snapshot):
            log.operations.append(operation)
            insort(log.bulk, operation, key=lambda spawn: spawn.first)
            log.count += snapshot.num_rows
        case Updated(entity_id=entity_id, values=values):
            log.update(entity_id, values)
        case UpdatedTable():
            log.update_table(operation)
        case Moved(entity_id=entity_id):
            place = log.place(entity_id, where)
            # An entity that was despawned by another table's processor stays so.
            target = None if place is None else operation.target(place)
            log.move(operation, target)
        case Despawned(entity_id=entity_id):
            log.despawn(entity_id)
        case DespawnedTable(entity_ids=ids):
            log.despawn_table(ids.to_numpy(zero_copy_only=False))


def _spawns(table: pa.Table) -> Iterator[tuple[int, SpawnedTable]]:
    """Spawned entities, each run of consecutive ids as a table of its own."""
    archetype = Archetype.from_schema(table.schema)
    orders, ids = table.column(_ORDER).to_numpy(), table.column(ENTITY_ID).to_numpy()
    rows = Snapshot.from_arrow(archetype, table)
    ends = [*(np.flatnonzero((np.diff(ids) != 1) | (np.diff(orders) != 0)) + 1).tolist(), len(ids)]
    begin = 0
    for end in ends:
        yield int(orders[begin]), SpawnedTable(rows.slice(begin, end - begin), int(ids[begin]))
        begin = end


def _writes(kind: bytes, table: pa.Table) -> Iterator[tuple[int, Updated | Moved | Despawned]]:
    metadata, names = table.schema.metadata, set(table.column_names)
    kinds = Archetype.from_schema(table.schema).components if b"archetype" in metadata else ()
    columns = {one: [column.name for column in one.fields if column.name in names] for one in kinds}
    lost: tuple[ComponentType, ...] = ()
    if _LOST in metadata:
        lost = Archetype.from_schema(pa.ipc.read_schema(pa.py_buffer(metadata[_LOST]))).components
    for row in table.to_pylist():
        entity_id = row[ENTITY_ID]
        if kind == b"despawn":
            yield row[_ORDER], Despawned(entity_id)
            continue
        values = {one: {name: row[name] for name in given} for one, given in columns.items()}
        yield row[_ORDER], Updated(entity_id, values) if kind == b"update" else Moved(entity_id, values, lost)


def _letters(table: pa.Table) -> Iterator[StagedLetter]:
    names = [column.name for column in message.Message.component_type().fields]
    for row in table.to_pylist():
        yield row[ENTITY_ID], tuple(row[name] for name in names)
