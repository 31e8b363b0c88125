"""Checks mutations and stages them for a world's next tick.

A refused mutation is refused as a whole: nothing of it is staged (M7, T6).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pyarrow as pa

from archetype_core import telemetry
from archetype_core.argument import DESPAWN_SEVERAL, checked_id, is_count, listed
from archetype_core.engine.attempt import Draft, check_recipient, draft_of
from archetype_core.engine.entity_ids import Supply
from archetype_core.engine.mutation_log import Moved, Row
from archetype_core.engine.state import WorldState
from archetype_core.errors import EntityNotFound, SchemaMismatch, SignatureError, ValueRejected, WorldClosed
from archetype_core.schema import message
from archetype_core.schema.archetype import Archetype, type_of
from archetype_core.schema.component import Component, ComponentType, fields_of, type_of_class
from archetype_core.schema.snapshot import ENTITY_ID, Column, Snapshot, contiguous, owned

Bundle = Component | Sequence[Component]


class Staging:
    """The part of a world that takes mutations, checks them and stages them for the next tick. Thread-safe."""

    def __init__(self, state: WorldState) -> None:
        self._state = state
        self._is_open = True
        self._archetypes: dict[tuple[type, ...], tuple[Archetype, tuple[int, ...]]] = {}

    @property
    def pending(self) -> int:
        """The number of staged mutations and messages."""
        with self._state.lock:
            frozen = self._state.frozen
            return (0 if frozen is None else frozen.count) + self._state.pending.count

    @property
    def uncommitted(self) -> int:
        """How many of these are not part of the last commit, as what its processors staged is: a fork would lose them."""
        with self._state.lock:
            return self.pending - self._state.continuation.count

    @property
    def committed_commands(self) -> tuple[str, ...]:
        """The commands whose mutations the last commit has for the next tick, because its processors sent them."""
        return self._state.continuation.commands

    @property
    def lock(self) -> AbstractContextManager[Any]:
        """The lock that staging takes. Hold it to stage several mutations with nothing in between."""
        return self._state.lock

    @property
    def next_entity_id(self) -> int:
        """The id that the next new entity gets."""
        return self._state.ids.next

    def _check_open(self) -> None:
        if not self._is_open:
            raise WorldClosed(self._state.segment.name)

    def _draft(self) -> Draft:
        """Where a mutation is staged: in the attempt that the caller is part of, else in the world."""
        return draft_of(self._state)

    def reserve(self, count: int = 1) -> range:
        """Reserve entity ids, each for one later ``spawn(…, entity_id=…)``; they are never given out again."""
        self._check_open()
        if not is_count(count):
            raise ValueError(f"count is a number of ids, 0 or more, not {count!r}")
        with self._state.lock:
            return self._draft().reserve(count)

    def supply_ids(self, supply: Supply) -> None:
        """Take new ids only from what ``supply(first, count)`` returns, so that other processes do not use them too."""
        with self._state.lock:
            self._state.ids.supply = supply

    def claim(self, next_entity_id: int, reserved: Iterable[range] = ()) -> None:
        """Continue after ids that an earlier process gave out: none below ``next_entity_id`` is given out again.

        Ids in ``reserved`` wait for their entities, as if ``reserve`` had just returned them.
        """
        self._check_open()
        with self._state.lock:
            self._state.ids.resume(next_entity_id, reserved)

    @contextmanager
    def commanded(self, command_id: str, *, undo: bool = False) -> Iterator[None]:
        """Stage everything inside as one command: its id becomes part of the commit of the tick that applies it.

        Nothing else is staged meanwhile. With ``undo``, an exception removes what was staged inside; a single mutation needs
        no undo, because it is refused as a whole.
        """
        self._check_open()
        with self._state.lock:
            log = self._draft().log
            before = log.copy() if undo else None
            try:
                yield
            except BaseException:
                if before is not None:
                    log.reset(before)
                raise
            log.commands.append(command_id)

    def spawn(self, *components: Component, entity_id: int | None = None) -> int:
        """Stage an entity and return its id; ``entity_id`` uses a reserved one."""
        self._check_open()
        archetype, row = self._row(components)
        with self._state.lock:
            draft = self._draft()
            if entity_id is None:
                entity_id = draft.take(1).start
            else:
                entity_id = checked_id(entity_id)
                draft.redeem(range(entity_id, entity_id + 1))
            draft.log.spawn(archetype, (entity_id,), (row,))
        return entity_id

    def spawn_many(self, bundles: Iterable[Bundle], *, entity_ids: range | None = None) -> range:
        """Stage one entity per bundle of components, all or none, and return their ids in order."""
        self._check_open()
        runs, count = self._runs(bundles)
        with self._state.lock:
            draft = self._draft()
            ids = _given(draft, count, entity_ids)
            first = ids.start
            for archetype, rows in runs:
                draft.log.spawn(archetype, range(first, first + len(rows)), rows)
                first += len(rows)
        return ids

    def _runs(self, bundles: Iterable[Bundle]) -> tuple[list[tuple[Archetype, list[Row]]], int]:
        """The rows of some bundles, grouped where the archetype stays the same, and how many there are."""
        runs: list[tuple[Archetype, list[Row]]] = []
        count = 0
        for bundle in listed("bundles", bundles):
            archetype, row = self._row(bundled(bundle))
            if not runs or runs[-1][0] is not archetype:
                runs.append((archetype, []))
            runs[-1][1].append(row)
            count += 1
        return runs, count

    def spawn_table(
        self,
        data: Any,
        *components: type[Component] | ComponentType,
        entity_ids: range | None = None,
        copy: bool = True,
    ) -> range:
        """Stage one entity per row of a table, DataFrame or mapping of columns, and return their ids in order.

        Columns are named as stored (``position__x``) or, if only one component has that field, by the bare field (``x``).
        Values are copied, because Arrow may share memory with an array that the caller still changes; pass ``copy=False``
        if nothing does.
        """
        self._check_open()
        archetype, columns, count = spawned_columns(data, components, copy=copy)
        with self._state.lock:
            draft = self._draft()
            ids = _given(draft, count, entity_ids)
            if len(ids):
                draft.log.spawn_table(spawned_part(archetype, columns, ids), ids.start)
        return ids

    def despawn(self, *entity_ids: int) -> None:
        """Stage the end of entities; an entity that is not alive is logged and skipped."""
        self._check_open()
        # Check all before staging the first.
        ids = [checked_id(entity_id, DESPAWN_SEVERAL) for entity_id in entity_ids]
        with self._state.lock:
            draft = self._draft()
            for entity_id in ids:
                if draft.place(entity_id) is None:
                    telemetry.log.warning("despawn of entity %s skipped: it is not alive", entity_id)
                else:
                    draft.log.despawn(entity_id)

    def update(self, entity_id: int, *components: Component) -> None:
        """Stage new values for an entity: the fields that were passed or assigned (T2, T4).

        They land after the tick's processors; every other field is what the processors make of it.
        """
        self._check_open()
        entity_id = checked_id(entity_id)
        values = {
            kind: _given_values(kind, one, row)
            for one, (kind, row) in zip(components, _values(components).items(), strict=True)
        }
        with self._state.lock:
            draft = self._draft()
            archetype = self._placed(draft, entity_id)
            missing = [kind.name for kind in values if kind not in archetype]
            if missing:
                raise SignatureError(
                    f"entity {entity_id} has no {', '.join(missing)}: update changes components it has, "
                    "add_components adds new ones"
                )
            if values:
                draft.log.update(entity_id, values)

    def add_components(self, entity_id: int, *components: Component) -> None:
        """Stage new components for an entity; those it already has stay unchanged."""
        self._check_open()
        entity_id = checked_id(entity_id)
        values = _values(components)
        with self._state.lock:
            draft = self._draft()
            archetype = self._placed(draft, entity_id)
            new = {
                kind: dict(zip(_columns(kind), row, strict=True))
                for kind, row in values.items()
                if kind not in archetype
            }
            if new:
                draft.log.move(Moved(entity_id, new, ()), _storable(archetype.plus(*new)))

    def remove_components(self, entity_id: int, *components: type[Component]) -> None:
        """Stage the removal of components from an entity; ``SignatureError`` if it would lose its last one."""
        self._check_open()
        entity_id = checked_id(entity_id)
        kinds = [type_of_class(component) for component in components]
        with self._state.lock:
            draft = self._draft()
            archetype = self._placed(draft, entity_id)
            present = tuple(kind for kind in kinds if kind in archetype)
            if present:
                draft.log.move(Moved(entity_id, {}, present), archetype.minus(*present))

    def send(self, recipient: int, body: Any, *, sender: int | None = None, kind: str = "") -> None:
        """Stage a message: it is sent with the next tick and delivered to processors in the one after.

        ``UnknownRecipient`` unless the entity is alive, staged to be spawned, or its id reserved.
        """
        self._check_open()
        letter = message.encode(recipient, body, sender, kind)
        with self._state.lock:
            draft = self._draft()
            check_recipient(self._state, draft, letter[0])
            draft.log.send(letter)

    def _placed(self, draft: Draft, entity_id: int) -> Archetype:
        archetype = draft.place(entity_id)
        if archetype is None:
            raise EntityNotFound(entity_id, self._state.segment.name)
        return archetype

    def _row(self, components: Sequence[Component]) -> tuple[Archetype, Row]:
        """The archetype of some components, and their checked values in its order."""
        kinds = tuple(map(type, components))
        found = self._archetypes.get(kinds)
        if found is None:
            given: Sequence[object] = components
            if odd := [one for one in given if not isinstance(one, Component)]:
                hint = f": make one, {odd[0].__name__}(…)" if isinstance(odd[0], type) else ""
                raise SignatureError(f"an entity is made of component instances, not {odd[0]!r}{hint}")
            archetype = _storable(Archetype.of(*components))
            order = {type_of(one): index for index, one in enumerate(components)}
            found = self._archetypes[kinds] = archetype, tuple(order[kind] for kind in archetype.components)
        archetype, places = found
        return archetype, tuple(
            [kind.values(components[place]) for kind, place in zip(archetype.components, places, strict=True)]
        )


def bundled(given: Any) -> tuple[Component, ...]:
    """The components of one entity, given as a sequence or as a single one."""
    return tuple(given) if isinstance(given, Sequence) and not isinstance(given, str) else (given,)


def conformed(data: Any, archetype: Archetype) -> pa.Table:
    """A table, DataFrame or mapping as a table with exactly the archetype's columns; bare field names are completed."""
    given = _to_arrow(data)
    table = archetype.conform(_named(given, archetype))
    # A table of tag components has rows and no columns.
    return table if archetype.column_names else given.select([])


def _given(draft: Draft, count: int, reserved: range | None) -> range:
    """Ids for new entities: the given reserved ones, or fresh ones."""
    if reserved is None:
        return draft.take(count)
    if len(reserved) != count:
        raise ValueError(f"{len(reserved)} reserved ids for {count} entities: give one each")
    draft.redeem(reserved)
    return reserved


def spawned_columns(
    data: Any, components: Sequence[type[Component] | ComponentType], *, copy: bool
) -> tuple[Archetype, dict[str, Column], int]:
    """The checked columns of entities that are spawned as a table."""
    archetype = _storable(Archetype.of(*components))
    table = conformed(data, archetype)
    columns = {
        name: Column(owned(table.column(name)) if copy else contiguous(table.column(name)))
        for name in archetype.column_names
    }
    return archetype, columns, table.num_rows


def spawned_part(archetype: Archetype, columns: Mapping[str, Column], ids: range) -> Snapshot:
    """The rows of entities that are spawned as a table, with their ids."""
    return Snapshot(archetype, {ENTITY_ID: Column(_consecutive(ids)), **columns}, len(ids))


def _storable(archetype: Archetype) -> Archetype:
    if message.Message.component_type() in archetype:
        raise SignatureError("Message is the engine's own component and no entity can have it: use send()")
    return archetype


def _columns(kind: ComponentType) -> list[str]:
    return [field.name for field in kind.fields]


def _given_values(kind: ComponentType, component: Component, row: tuple[Any, ...]) -> dict[str, Any]:
    """The column values of the fields that were passed to an instance or assigned since."""
    given = component.model_fields_set
    wanted = {column.name for field in fields_of(kind) if field.name in given for column in field.columns}
    values = {name: value for name, value in zip(_columns(kind), row, strict=True) if name in wanted}
    if kind.fields and not values:
        raise ValueRejected(
            kind.name,
            "*",
            "no field was passed or assigned: pass the fields to change, such as Position(x=1.0), or assign to one; "
            "a list or model that is changed in place counts once it is assigned again",
        )
    return values


def _values(components: Sequence[Component]) -> dict[ComponentType, tuple[Any, ...]]:
    values: dict[ComponentType, tuple[Any, ...]] = {}
    for component in components:
        if not isinstance(component, Component):
            raise TypeError(f"components are instances, such as Position(x=1.0), not {component!r}")
        kind = type(component).component_type()
        if kind in values:
            raise SignatureError(f"component {kind.name} is given twice")
        values[kind] = kind.values(component)
    return values


def _consecutive(ids: range) -> pa.Array:
    import numpy as np

    return pa.array(np.arange(ids.start, ids.stop, dtype=np.int64))


def _to_arrow(data: Any) -> pa.Table:
    if isinstance(data, pa.Table):
        return data
    if isinstance(data, pa.RecordBatch):
        return pa.Table.from_batches([data])
    if isinstance(data, Mapping):
        try:
            if text := [name for name, values in data.items() if isinstance(values, str | bytes)]:
                raise TypeError(f"column {text[0]} is a single text, not a column: pass a list")
            return pa.table(dict(data))
        except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError, ValueError, OverflowError) as failure:
            raise SchemaMismatch("(given columns)", [str(failure)]) from failure
    if hasattr(data, "to_arrow"):
        return data.to_arrow()
    if hasattr(data, "__arrow_c_stream__"):
        return pa.table(data)
    raise TypeError(f"spawn_table takes an Arrow table, a DataFrame or a mapping of columns, not {type(data).__name__}")


def _named(table: pa.Table, archetype: Archetype) -> pa.Table:
    """The table with bare field names completed, where only one component has that field."""
    bare: dict[str, list[str]] = {}
    for kind in archetype.components:
        for name in _columns(kind):
            bare.setdefault(name[len(kind.prefix) + 2 :], []).append(name)
    for name in table.column_names:
        if len(known := bare.get(name, ())) > 1:
            raise SchemaMismatch(archetype.name, [f"column {name} could be {' or '.join(known)}: use the full name"])
    full = set(archetype.column_names)
    names = [name if name in full else bare.get(name, [name])[0] for name in table.column_names]
    return table.rename_columns(names)
