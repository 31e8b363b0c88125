"""Folds a tick's staged mutations to the kernel's form: one operation per entity, and columns for many (T4)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from archetype_core.engine.entity_index import EntityIndex
from archetype_core.engine.materialize import Arrival, Patch, Staged
from archetype_core.engine.mutation_log import (
    Despawned,
    DespawnedTable,
    Moved,
    MutationLog,
    SpawnedRows,
    SpawnedTable,
    Updated,
    UpdatedTable,
    Values,
    column_array,
    column_arrays,
    from_rows,
)
from archetype_core.engine.selection import Places
from archetype_core.schema.archetype import Archetype
from archetype_core.schema.component import ComponentType
from archetype_core.schema.snapshot import ENTITY_ID, Column, Snapshot, stack


@dataclass(frozen=True, slots=True)
class Change:
    """Entities that a tick moved between archetypes; ``None`` as origin is a spawn, as target a despawn."""

    entity_ids: pa.Array
    origin: Archetype | None
    target: Archetype | None


@dataclass(frozen=True, slots=True)
class Folded:
    """A log in the kernel's form: what happens to each table, and which entities changed archetype."""

    tables: Mapping[Archetype, Staged]
    changes: Sequence[Change]


@dataclass(slots=True)
class _Entity:
    """What the log does to one entity, apart from spawning it."""

    origin: Archetype | None
    """Its archetype in the live tables; ``None`` if this log spawns it."""
    birth: Archetype | None
    """The archetype that this log spawns it into."""
    place: Archetype | None
    """The archetype that it ends in."""
    values: Values = field(default_factory=dict)

    @property
    def source(self) -> Archetype | None:
        return self.origin or self.birth

    def lay(self, values: Values) -> None:
        """Overwrite with later values, column by column (T4)."""
        for kind, columns in values.items():
            self.values.setdefault(kind, {}).update(columns)

    def lay_under(self, values: Values) -> None:
        """Add earlier values, for the columns that have none yet."""
        for kind, columns in values.items():
            self.values[kind] = {**columns, **self.values.get(kind, {})}


def fold(log: MutationLog, index: EntityIndex) -> Folded:
    """Fold a log; ``index`` has the live archetypes of entities."""
    return _Fold(index).run(log)


class _Fold:
    def __init__(self, index: EntityIndex) -> None:
        self.index = index
        self.entities: dict[int, _Entity] = {}
        self.tables: list[UpdatedTable] = []
        """Updates of many entities, without those that earlier operations touched one by one."""
        self.ended: dict[Archetype, list[pa.Array]] = {}
        """Live entities that are despawned together, by table."""
        self.gone: set[int] = set()
        """The same, by id."""
        self.targets: dict[tuple[Archetype, frozenset[ComponentType], tuple[ComponentType, ...]], Archetype] = {}
        self.chunks: dict[Archetype, list[Snapshot | list[int]]] = {}
        """What comes into each table, in first-seen order: spawned rows, or ids of entities that move in."""

    def run(self, log: MutationLog) -> Folded:
        spawns = MutationLog()
        for operation in log.operations:
            match operation:
                case SpawnedRows(archetype=archetype, ids=ids, rows=rows):
                    spawns.places.update(dict.fromkeys(ids, archetype))
                    self.chunks.setdefault(archetype, []).append(from_rows(archetype, ids, rows))
                case SpawnedTable(snapshot=snapshot):
                    spawns.bulk.append(operation)
                    self.chunks.setdefault(snapshot.archetype, []).append(snapshot)
                case Updated(entity_id=entity_id, values=values):
                    self._entity(entity_id, spawns).lay(values)
                case UpdatedTable():
                    self._update_table(operation)
                case Moved(entity_id=entity_id):
                    self._move(operation, self._entity(entity_id, spawns))
                case Despawned(entity_id=entity_id):
                    self._entity(entity_id, spawns).place = None
                case DespawnedTable(entity_ids=ids):
                    self._despawn_table(ids, spawns)
        patches = self._table_patches(spawns)
        return self._folded(patches)

    def _update_table(self, updated: UpdatedTable) -> None:
        touched = self._touched(updated.entity_ids, self.entities)
        # Laid over what was staged for them before, in order.
        for entity_id, values in updated.rows(np.flatnonzero(touched).tolist()):
            self.entities[entity_id].lay(values)
        if not touched.all():
            self.tables.append(updated.take(np.flatnonzero(~touched)))

    def _despawn_table(self, ids: pa.Array, spawns: MutationLog) -> None:
        places = self.index.places(ids.to_numpy(zero_copy_only=False))
        single = self._touched(ids, self.entities) | (places.codes < 0)
        for entity_id in places.ids[single].tolist():
            self._entity(entity_id, spawns).place = None
        for archetype, positions in places.groups():
            ended = positions[~single[positions]]
            if len(ended):
                self.ended.setdefault(archetype, []).append(pa.array(places.ids[ended]))
        self.gone.update(places.ids[~single].tolist())

    def _table_patches(self, spawns: MutationLog) -> dict[Archetype, list[Patch]]:
        """The updates of many entities as patches of the tables that these end in; they apply before those of single ones."""
        moved = [one for one, entity in self.entities.items() if entity.place != entity.source]
        patches: dict[Archetype, list[Patch]] = {}
        kept: list[tuple[UpdatedTable, Places]] = []
        for updated in reversed(self.tables):
            gone = self._touched(updated.entity_ids, moved)
            for entity_id, values in reversed([*updated.rows(np.flatnonzero(gone).tolist())]):
                self.entities[entity_id].lay_under(values)
            rest = updated.take(np.flatnonzero(~gone))
            ids = rest.entity_ids.to_numpy(zero_copy_only=False)
            kept.append((rest, spawns.overlaid(self.index.places(ids))))
        for updated, places in reversed(kept):
            for archetype, positions in places.groups():
                part = updated.take(positions)
                columns = [given for kind, given in part.values.items() if kind in archetype]
                patch = Patch(part.entity_ids, {name: array for given in columns for name, array in given.items()})
                patches.setdefault(archetype, []).append(patch)
        return patches

    @staticmethod
    def _touched(ids: pa.Array, entities: Collection[int]) -> np.ndarray[Any, np.dtype[np.bool_]]:
        given = ids.to_numpy(zero_copy_only=False)
        if not entities:
            return np.zeros(len(given), bool)
        return np.isin(given, np.fromiter(entities, np.int64, len(entities)))

    def _entity(self, entity_id: int, spawns: MutationLog) -> _Entity:
        found = self.entities.get(entity_id)
        if found is None:
            if entity_id in self.gone:
                return _Entity(None, None, None)  # another log of the same tick despawned it
            origin = self.index.get(entity_id)
            birth = None if origin else spawns.place(entity_id, lambda _: None)
            found = self.entities[entity_id] = _Entity(origin, birth, origin or birth)
        return found

    def _move(self, moved: Moved, entity: _Entity) -> None:
        if entity.place is None:
            return  # another log of the same tick despawned it
        lay = {kind: values for kind, values in moved.gained.items() if kind not in entity.place}
        key = (entity.place, frozenset(lay), moved.lost)
        place = self.targets.get(key)
        if place is None:
            place = self.targets[key] = moved.target(entity.place)
        entity.place = place
        entity.lay(lay)
        chunks = self.chunks.setdefault(place, [])
        if not chunks or not isinstance(chunks[-1], list):
            chunks.append([])
        migrants = chunks[-1]
        assert isinstance(migrants, list)
        migrants.append(moved.entity_id)

    def _folded(self, patches: dict[Archetype, list[Patch]]) -> Folded:
        moving: dict[Archetype, list[int]] = {}
        unborn: dict[Archetype, list[int]] = {}
        for entity_id, entity in self.entities.items():
            if entity.origin is not None and entity.place != entity.origin:
                moving.setdefault(entity.origin, []).append(entity_id)
            if entity.birth is not None and entity.place != entity.birth:
                unborn.setdefault(entity.birth, []).append(entity_id)
        changes: list[Change] = []
        coming = {archetype: self._coming(archetype, unborn, changes) for archetype in self.chunks}
        self._add_patches(patches)
        for archetype, ids in moving.items():
            ended = [entity_id for entity_id in ids if self.entities[entity_id].place is None]
            if ended:
                changes.append(Change(pa.array(ended, pa.int64()), archetype, None))
        leaving = {archetype: [pa.array(ids, pa.int64())] for archetype, ids in moving.items()}
        for archetype, arrays in self.ended.items():
            leaving.setdefault(archetype, []).extend(arrays)
            changes += [Change(array, archetype, None) for array in arrays]
        tables = {}
        for archetype in dict.fromkeys([*coming, *patches, *leaving]):
            gone = pa.concat_arrays(leaving[archetype]) if archetype in leaving else None
            entering, arriving, order = coming.get(archetype, (None, (), None))
            staged = Staged(entering, arriving, tuple(patches.get(archetype, ())), gone, order)
            if staged:
                tables[archetype] = staged
        return Folded(tables, _joined(changes))

    def _coming(
        self, archetype: Archetype, unborn: Mapping[Archetype, list[int]], changes: list[Change]
    ) -> tuple[Snapshot | None, tuple[Arrival, ...], pa.Array | None]:
        """The rows that come into a table: those known now, those that move there from live tables, and their order."""
        known: list[Snapshot] = []
        moving: dict[Archetype, list[int]] = {}
        order: list[pa.Array] = []
        seen: set[int] = set()
        cancelled = pa.array(unborn[archetype], pa.int64()) if archetype in unborn else None
        for chunk in self.chunks[archetype]:
            if isinstance(chunk, Snapshot):
                part = chunk
                if cancelled is not None:
                    keep = pc.invert(pc.is_in(part.entity_ids, value_set=cancelled))
                    part = part.take(pc.indices_nonzero(keep).cast(pa.int64()))
                if part.num_rows:
                    known.append(part)
                    order.append(part.entity_ids)
                    changes.append(Change(part.entity_ids, None, archetype))
                continue
            ids = [
                one
                for one in dict.fromkeys(chunk)
                if one not in seen and self.entities[one].place == archetype != self.entities[one].source
            ]
            if not ids:
                continue
            seen.update(ids)
            order.append(pa.array(ids, pa.int64()))
            born: dict[Archetype, list[int]] = {}
            for one in ids:
                entity = self.entities[one]
                source = entity.source
                assert source is not None
                (born if entity.origin is None else moving).setdefault(source, []).append(one)
            known += [self._born_elsewhere(archetype, source, group, changes) for source, group in born.items()]
        arriving = tuple(self._arrival(archetype, source, group, changes) for source, group in moving.items())
        entering = stack(archetype, known)
        # A single part is in order already.
        is_mixed = len(known) + len(arriving) > 1
        return entering or None, arriving, pa.concat_arrays(order) if is_mixed else None

    def _arrival(self, archetype: Archetype, source: Archetype, group: Sequence[int], changes: list[Change]) -> Arrival:
        """Entities that move in from a live table, with the components that they gain."""
        ids = pa.array(group, pa.int64())
        changes.append(Change(ids, source, archetype))
        return Arrival(source, ids, self._gained(archetype, source, group))

    def _born_elsewhere(
        self, archetype: Archetype, source: Archetype, group: Sequence[int], changes: list[Change]
    ) -> Snapshot:
        """The rows of entities that this log spawned into another table and then moved here."""
        ids = pa.array(group, pa.int64())
        changes.append(Change(ids, None, archetype))
        spawned = stack(source, self._spawned(source))
        positions = pc.index_in(ids, value_set=spawned.entity_ids)
        columns = {ENTITY_ID: Column(ids)}
        for kind in archetype.components:
            if kind in source:
                columns.update({one.name: spawned.columns[one.name].take(positions) for one in kind.fields})
        columns.update({name: Column(array) for name, array in self._gained(archetype, source, group).items()})
        return Snapshot(archetype, columns, len(group))

    def _gained(self, archetype: Archetype, source: Archetype, group: Sequence[int]) -> dict[str, pa.Array]:
        """The columns of the components that entities of another table gain here."""
        columns: dict[str, pa.Array] = {}
        for kind in archetype.components:
            if kind not in source:
                given = [self.entities[one].values[kind] for one in group]
                columns.update({one.name: column_array(one, given) for one in kind.fields})
        return columns

    def _spawned(self, archetype: Archetype) -> Iterable[Snapshot]:
        return (chunk for chunk in self.chunks[archetype] if isinstance(chunk, Snapshot))

    def _add_patches(self, patches: dict[Archetype, list[Patch]]) -> None:
        # Entities with new values for the same columns share a patch.
        alike: dict[tuple[Archetype, ComponentType, tuple[str, ...]], dict[int, dict[str, Any]]] = {}
        for entity_id, entity in self.entities.items():
            place, source = entity.place, entity.source
            if place is None or source is None:
                continue
            for kind, columns in entity.values.items():
                # Components gained by a move are already in the row that enters.
                if columns and kind in place and (place == source or kind in source):
                    alike.setdefault((place, kind, tuple(sorted(columns))), {})[entity_id] = columns
        for (archetype, kind, _), by_entity in alike.items():
            arrays = column_arrays(kind, list(by_entity.values()))
            patches.setdefault(archetype, []).append(Patch(pa.array(list(by_entity), pa.int64()), arrays))


def _joined(changes: Sequence[Change]) -> list[Change]:
    """The changes, merged where origin and target are the same."""
    together: dict[tuple[Archetype | None, Archetype | None], list[pa.Array]] = {}
    for change in changes:
        together.setdefault((change.origin, change.target), []).append(change.entity_ids)
    return [Change(pa.concat_arrays(parts), *between) for between, parts in together.items()]
