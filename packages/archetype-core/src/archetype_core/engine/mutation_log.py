"""Staged mutations: a log while they wait, folded to one operation per entity when a tick applies them.

Values are checked before they enter the log, so everything in it can be applied (M7). The log keeps submission order. Two
logs can be joined: that is how a failed tick puts its mutations back (T7).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from archetype_core import telemetry
from archetype_core.engine.materialize import Arrival, Patch, Staged
from archetype_core.errors import SignatureError
from archetype_core.schema.archetype import Archetype
from archetype_core.schema.component import ComponentType
from archetype_core.schema.snapshot import ENTITY_ID, Column, Snapshot, stack

Values = dict[ComponentType, dict[str, Any]]
"""Column values by component; an update has only the given ones."""
Row = tuple[Any, ...]
StagedLetter = tuple[int, Row]
"""A message's recipient and its stored values."""


@dataclass(slots=True)
class SpawnedRows:
    """Entities spawned one by one into one archetype: per entity, the column values of each component in order."""

    archetype: Archetype
    ids: list[int]
    rows: list[Row]


@dataclass(slots=True)
class SpawnedTable:
    """Entities spawned as columns; their ids are consecutive from ``first``."""

    snapshot: Snapshot
    first: int


@dataclass(frozen=True, slots=True)
class Updated:
    """Values that overwrite columns of an entity."""

    entity_id: int
    values: Values


@dataclass(frozen=True, slots=True)
class Moved:
    """The components that an entity gains, with their values, and those that it loses."""

    entity_id: int
    gained: Values
    lost: tuple[ComponentType, ...]

    def target(self, archetype: Archetype) -> Archetype:
        """The archetype of an entity that has ``archetype`` before.

        Staging checked the move against what it saw. If a log that was staged beside it makes it impossible, it changes nothing.
        """
        kinds = [kind for kind in archetype.components if kind not in self.lost]
        kinds += [kind for kind in self.gained if kind not in archetype]
        if set(kinds) == set(archetype.components):
            return archetype
        try:
            return Archetype.of(*kinds)
        except SignatureError as failure:
            telemetry.log.warning("a change of the components of entity %s is skipped: %s", self.entity_id, failure)
            return archetype


@dataclass(frozen=True, slots=True)
class Despawned:
    """The end of an entity."""

    entity_id: int


Operation = SpawnedRows | SpawnedTable | Updated | Moved | Despawned


@dataclass(slots=True)
class MutationLog:
    """Mutations in submission order, and the archetype that each entity will have once they are applied."""

    operations: list[Operation] = field(default_factory=list)
    places: dict[int, Archetype | None] = field(default_factory=dict)
    """The archetype that single entities will have; ``None`` once despawned."""
    bulk: list[SpawnedTable] = field(default_factory=list)
    """Entities spawned as columns, by ascending id; ``places`` overrides."""
    letters: list[StagedLetter] = field(default_factory=list)
    """Messages."""
    count: int = 0
    commands: list[str] = field(default_factory=list)
    """Ids of the commands staged here; they become part of the tick's commit."""

    def __bool__(self) -> bool:
        return bool(self.operations)

    def place(self, entity_id: int, otherwise: Callable[[int], Archetype | None]) -> Archetype | None:
        """The archetype that an entity will have; ``otherwise`` answers for an entity without mutations here."""
        if entity_id in self.places:
            return self.places[entity_id]
        if self.bulk:
            index = bisect_right(self.bulk, entity_id, key=lambda spawn: spawn.first) - 1
            if index >= 0:
                spawn = self.bulk[index]
                if entity_id < spawn.first + spawn.snapshot.num_rows:
                    return spawn.snapshot.archetype
        return otherwise(entity_id)

    def spawn(self, archetype: Archetype, ids: Sequence[int], rows: Sequence[Row]) -> None:
        """Stage new entities, one row of values each."""
        last = self.operations[-1] if self.operations else None
        if isinstance(last, SpawnedRows) and last.archetype == archetype:
            last.ids.extend(ids)
            last.rows.extend(rows)
        else:
            self.operations.append(SpawnedRows(archetype, list(ids), list(rows)))
        self.places.update(dict.fromkeys(ids, archetype))
        self.count += len(rows)

    def spawn_table(self, snapshot: Snapshot, first: int) -> None:
        """Stage new entities as columns."""
        spawn = SpawnedTable(snapshot, first)
        self.operations.append(spawn)
        self.bulk.append(spawn)
        self.count += snapshot.num_rows

    def update(self, entity_id: int, values: Values) -> None:
        """Stage new values for an entity."""
        self.operations.append(Updated(entity_id, values))
        self.count += 1

    def move(self, moved: Moved, archetype: Archetype | None) -> None:
        """Stage a migration to an archetype; ``None`` if the entity is gone by then."""
        self.operations.append(moved)
        self.places[moved.entity_id] = archetype
        self.count += 1

    def despawn(self, entity_id: int) -> None:
        """Stage a despawn."""
        self.operations.append(Despawned(entity_id))
        self.places[entity_id] = None
        self.count += 1

    def send(self, letter: StagedLetter) -> None:
        """Stage a message."""
        self.letters.append(letter)
        self.count += 1

    def extend(self, later: MutationLog) -> None:
        """Append the mutations of a log that was staged beside or after this one."""
        both = self.places.keys() & later.places.keys()
        places = {**self.places, **later.places}
        if both:
            # The later log may have been staged without this one in sight, so its moves are applied to this one's results.
            places.update((entity_id, self.places[entity_id]) for entity_id in both)
            for operation in later.operations:
                if isinstance(operation, Moved) and (place := places.get(operation.entity_id)) is not None:
                    if operation.entity_id in both:
                        places[operation.entity_id] = operation.target(place)
                elif isinstance(operation, Despawned):
                    places[operation.entity_id] = None
        self.places = places
        self.operations += later.operations
        self.bulk = sorted([*self.bulk, *later.bulk], key=lambda spawn: spawn.first)
        self.letters += later.letters
        self.count += later.count
        self.commands += later.commands

    def then(self, later: MutationLog) -> MutationLog:
        """The log that has this one's mutations, then those of a later one."""
        joined = MutationLog(
            list(self.operations), self.places, self.bulk, list(self.letters), self.count, list(self.commands)
        )
        joined.extend(later)
        return joined

    def reset(self, earlier: MutationLog) -> None:
        """Become an earlier copy of this log again."""
        self.operations, self.places, self.bulk = earlier.operations, earlier.places, earlier.bulk
        self.letters, self.count, self.commands = earlier.letters, earlier.count, earlier.commands

    def copy(self) -> MutationLog:
        """An independent copy."""
        copied = [
            SpawnedRows(one.archetype, list(one.ids), list(one.rows)) if isinstance(one, SpawnedRows) else one
            for one in self.operations
        ]
        return MutationLog(
            copied, dict(self.places), list(self.bulk), list(self.letters), self.count, list(self.commands)
        )


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


def fold(log: MutationLog, where: Callable[[int], Archetype | None]) -> Folded:
    """Fold a log; ``where`` returns the live archetype of an entity."""
    return _Fold(where).run(log)


class _Fold:
    def __init__(self, where: Callable[[int], Archetype | None]) -> None:
        self.where = where
        self.entities: dict[int, _Entity] = {}
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
                case Moved(entity_id=entity_id):
                    self._move(operation, self._entity(entity_id, spawns))
                case Despawned(entity_id=entity_id):
                    self._entity(entity_id, spawns).place = None
        return self._folded()

    def _entity(self, entity_id: int, spawns: MutationLog) -> _Entity:
        found = self.entities.get(entity_id)
        if found is None:
            origin = self.where(entity_id)
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

    def _folded(self) -> Folded:
        leaving: dict[Archetype, list[int]] = {}
        unborn: dict[Archetype, list[int]] = {}
        for entity_id, entity in self.entities.items():
            if entity.origin is not None and entity.place != entity.origin:
                leaving.setdefault(entity.origin, []).append(entity_id)
            if entity.birth is not None and entity.place != entity.birth:
                unborn.setdefault(entity.birth, []).append(entity_id)
        changes: list[Change] = []
        coming = {archetype: self._coming(archetype, unborn, changes) for archetype in self.chunks}
        patches = self._patches()
        for archetype, ids in leaving.items():
            ended = [entity_id for entity_id in ids if self.entities[entity_id].place is None]
            if ended:
                changes.append(Change(pa.array(ended, pa.int64()), archetype, None))
        tables = {}
        for archetype in dict.fromkeys([*coming, *patches, *leaving]):
            gone = pa.array(leaving[archetype], pa.int64()) if archetype in leaving else None
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
                columns.update({one.name: _array(one, given) for one in kind.fields})
        return columns

    def _spawned(self, archetype: Archetype) -> Iterable[Snapshot]:
        return (chunk for chunk in self.chunks[archetype] if isinstance(chunk, Snapshot))

    def _patches(self) -> dict[Archetype, list[Patch]]:
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
        patches: dict[Archetype, list[Patch]] = {}
        for (archetype, kind, _), by_entity in alike.items():
            arrays = column_arrays(kind, list(by_entity.values()))
            patches.setdefault(archetype, []).append(Patch(pa.array(list(by_entity), pa.int64()), arrays))
        return patches


def _joined(changes: Sequence[Change]) -> list[Change]:
    """The changes, merged where origin and target are the same."""
    together: dict[tuple[Archetype | None, Archetype | None], list[pa.Array]] = {}
    for change in changes:
        together.setdefault((change.origin, change.target), []).append(change.entity_ids)
    return [Change(pa.concat_arrays(parts), *between) for between, parts in together.items()]


def _array(field: pa.Field, rows: Sequence[Mapping[str, Any]]) -> pa.Array:
    return pa.array([row[field.name] for row in rows], field.type)


def column_arrays(kind: ComponentType, rows: Sequence[Mapping[str, Any]]) -> dict[str, pa.Array]:
    """The columns of a component for which rows have values, all of them for the same ones."""
    return {one.name: _array(one, rows) for one in kind.fields if one.name in rows[0]}


def from_rows(archetype: Archetype, ids: Sequence[int], rows: Sequence[Row]) -> Snapshot:
    """The rows of entities that were spawned one by one."""
    columns = {ENTITY_ID: Column(pa.array(ids, pa.int64()))}
    for index, kind in enumerate(archetype.components):
        arrays = kind.arrays([row[index] for row in rows])
        columns.update({one.name: Column(array) for one, array in zip(kind.fields, arrays, strict=True)})
    return Snapshot(archetype, columns, len(ids))
