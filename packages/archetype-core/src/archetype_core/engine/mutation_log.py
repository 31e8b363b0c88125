"""Staged mutations: a log while they wait, folded to one operation per entity when a tick applies them.

Values are checked before they enter the log, so everything in it can be applied (M7). The log keeps submission order. Two
logs can be joined: that is how a failed tick puts its mutations back (T7).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from archetype_core import telemetry
from archetype_core.engine.selection import Ids, Places
from archetype_core.errors import SignatureError
from archetype_core.schema.archetype import Archetype
from archetype_core.schema.component import ComponentType
from archetype_core.schema.snapshot import ENTITY_ID, Column, Snapshot

Values = dict[ComponentType, dict[str, Any]]
"""Column values by component; an update has only the given ones."""
ColumnValues = dict[ComponentType, dict[str, pa.Array]]
"""Columns by component, all of one length."""
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
class UpdatedTable:
    """Values that overwrite columns of many entities: a row for each id; the last row of an entity wins."""

    entity_ids: pa.Array
    values: ColumnValues

    def rows(self, positions: Sequence[int]) -> Iterator[tuple[int, Values]]:
        """The updates of single entities at some positions."""
        wanted = pa.array(positions, pa.int64())
        columns = {
            kind: {name: array.take(wanted).to_pylist() for name, array in given.items()}
            for kind, given in self.values.items()
        }
        for row, entity_id in enumerate(self.entity_ids.take(wanted).to_pylist()):
            yield (
                entity_id,
                {kind: {name: values[row] for name, values in given.items()} for kind, given in columns.items()},
            )

    def take(self, positions: np.ndarray[Any, Any]) -> UpdatedTable:
        """The updates at some positions."""
        if len(positions) == len(self.entity_ids):
            return self
        wanted = pa.array(positions)
        values = {
            kind: {name: array.take(wanted) for name, array in given.items()} for kind, given in self.values.items()
        }
        return UpdatedTable(self.entity_ids.take(wanted), values)


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


@dataclass(frozen=True, slots=True)
class DespawnedTable:
    """The end of many entities, each of them once."""

    entity_ids: pa.Array


Operation = SpawnedRows | SpawnedTable | Updated | UpdatedTable | Moved | Despawned | DespawnedTable

FEW = 32
"""Up to so many updates or despawns are staged one by one: arrays cost more."""


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

    def overlaid(self, below: Places) -> Places:
        """The archetypes that many entities will have; ``below`` has those of entities without mutations here."""
        for spawn in self.bulk:
            last = spawn.first + spawn.snapshot.num_rows
            below.put((below.ids >= spawn.first) & (below.ids < last), spawn.snapshot.archetype)
        below.overlay(self.places)
        return below

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

    def update_table(self, updated: UpdatedTable) -> None:
        """Stage new values for many entities."""
        if len(updated.entity_ids) <= FEW:
            for entity_id, values in updated.rows(range(len(updated.entity_ids))):
                self.update(entity_id, values)
            return
        self.operations.append(updated)
        self.count += len(updated.entity_ids)

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

    def despawn_table(self, ids: Ids) -> None:
        """Stage the despawn of many entities, each of them given once."""
        if len(ids) <= FEW:
            for entity_id in ids.tolist():
                self.despawn(entity_id)
            return
        self.operations.append(DespawnedTable(pa.array(ids)))
        self.places.update(dict.fromkeys(ids.tolist()))
        self.count += len(ids)

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
                elif isinstance(operation, DespawnedTable):
                    places.update(dict.fromkeys(operation.entity_ids.to_pylist()))
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


def column_array(field: pa.Field, rows: Sequence[Mapping[str, Any]]) -> pa.Array:
    """One column of rows that all have a value for it."""
    return pa.array([row[field.name] for row in rows], field.type)


def column_arrays(kind: ComponentType, rows: Sequence[Mapping[str, Any]]) -> dict[str, pa.Array]:
    """The columns of a component for which rows have values, all of them for the same ones."""
    return {one.name: column_array(one, rows) for one in kind.fields if one.name in rows[0]}


def from_rows(archetype: Archetype, ids: Sequence[int], rows: Sequence[Row]) -> Snapshot:
    """The rows of entities that were spawned one by one."""
    columns = {ENTITY_ID: Column(pa.array(ids, pa.int64()))}
    for index, kind in enumerate(archetype.components):
        arrays = kind.arrays([row[index] for row in rows])
        columns.update({one.name: Column(array) for one, array in zip(kind.fields, arrays, strict=True)})
    return Snapshot(archetype, columns, len(ids))
