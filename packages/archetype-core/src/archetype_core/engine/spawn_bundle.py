"""Entities that are spawned as bundles of components: checked, then kept as rows if they are few, else as columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

import pyarrow as pa

from archetype_core.argument import listed
from archetype_core.engine import mutation_log
from archetype_core.engine.mutation_log import MutationLog, Row
from archetype_core.engine.spawn_table import spawned_part, storable
from archetype_core.schema.archetype import Archetype, type_of
from archetype_core.schema.component import Component, no_component
from archetype_core.schema.snapshot import Column

Bundle = Component | Sequence[Component]

_AT_ONCE = 4096
"""How many bundles become columns at once: other threads wait for the GIL that long."""


@dataclass(frozen=True, slots=True)
class SpawnRun:
    """Consecutive new entities of one archetype, without their ids."""

    archetype: Archetype
    count: int
    rows: Sequence[Row] = ()
    columns: Mapping[str, Column] | None = None
    """Instead of rows."""

    def stage(self, log: MutationLog, begin: int, ids: range) -> None:
        """Stage the entities from position ``begin`` on, one for each id."""
        if self.columns is None:
            log.spawn(self.archetype, ids, self.rows[begin : begin + len(ids)])
            return
        part = self.columns
        if len(ids) < self.count:
            part = {name: column.slice(begin, len(ids)) for name, column in part.items()}
        log.spawn_table(spawned_part(self.archetype, part, ids), ids.start)


def stage_runs(log: MutationLog, runs: Iterable[SpawnRun], pieces: Sequence[range]) -> None:
    """Stage all entities of some runs, with the ids of some ranges in order."""
    waiting = [ids for ids in reversed(pieces) if ids]
    for run in runs:
        begin = 0
        while begin < run.count:
            ids = waiting.pop()
            wanted = run.count - begin
            if len(ids) > wanted:
                waiting.append(ids[wanted:])
                ids = ids[:wanted]
            run.stage(log, begin, ids)
            begin += len(ids)


class Bundles:
    """Checks bundles of components; it keeps the archetype of every combination of classes that it has seen."""

    def __init__(self) -> None:
        self._archetypes: dict[tuple[type, ...], tuple[Archetype, tuple[int, ...]]] = {}

    def row(self, components: Sequence[Component]) -> tuple[Archetype, Row]:
        """The archetype of some components, and their checked values in its order."""
        kinds = tuple(map(type, components))
        archetype, places = self._archetypes.get(kinds) or self._archetype(kinds, components)
        return archetype, tuple(
            [kind.values(components[place]) for kind, place in zip(archetype.components, places, strict=True)]
        )

    def runs(self, bundles: Iterable[Bundle]) -> list[SpawnRun]:
        """The checked rows or columns of some bundles, grouped where the classes stay the same."""
        made = [bundled(one) for one in listed("bundles", bundles)]
        if (run := self.only_run(made)) is not None:
            return [run]
        return [self._run(kinds, list(group)) for kinds, group in groupby(made, lambda one: tuple(map(type, one)))]

    def only_run(self, bundles: Sequence[tuple[Component, ...]]) -> SpawnRun | None:
        """The checked columns of bundles that all have the same classes in the same order, if they are many."""
        if len(bundles) <= mutation_log.FEW:
            return None
        found = set()
        for begin in range(0, len(bundles), _AT_ONCE):
            part = bundles[begin : begin + _AT_ONCE]
            if len(set(map(len, part))) != 1:
                return None
            kinds = [set(map(type, _nth(part, place))) for place in range(len(part[0]))]
            if any(len(one) != 1 for one in kinds):
                return None
            found.add(tuple(one.pop() for one in kinds))
        return self._columns(found.pop(), bundles) if len(found) == 1 else None

    def _run(self, kinds: tuple[type, ...], group: Sequence[tuple[Component, ...]]) -> SpawnRun:
        if len(group) > mutation_log.FEW:
            return self._columns(kinds, group)
        rows = [self.row(components) for components in group]
        return SpawnRun(rows[0][0], len(rows), [row for _, row in rows])

    def _columns(self, kinds: tuple[type, ...], group: Sequence[tuple[Component, ...]]) -> SpawnRun:
        archetype, places = self._archetypes.get(kinds) or self._archetype(kinds, group[0])
        pieces: dict[str, list[pa.Array]] = {name: [] for name in archetype.column_names}
        for begin in range(0, len(group), _AT_ONCE):
            part = group[begin : begin + _AT_ONCE]
            for kind, place in zip(archetype.components, places, strict=True):
                for field, array in zip(kind.fields, kind.columns(_nth(part, place)), strict=True):
                    pieces[field.name].append(array)
        columns = {name: Column(pa.concat_arrays(arrays)) for name, arrays in pieces.items()}
        return SpawnRun(archetype, len(group), columns=columns)

    def _archetype(self, kinds: tuple[type, ...], components: Sequence[object]) -> tuple[Archetype, tuple[int, ...]]:
        given = [one for one in components if isinstance(one, Component)]
        if len(given) < len(components):
            odd = next(one for one in components if not isinstance(one, Component))
            raise no_component(odd)
        archetype = storable(Archetype.of(*given))
        order = {type_of(one): index for index, one in enumerate(given)}
        found = self._archetypes[kinds] = archetype, tuple(order[kind] for kind in archetype.components)
        return found


def _nth(bundles: Sequence[tuple[Component, ...]], place: int) -> list[Component]:
    """A component of each bundle. Not by ``zip(*…)``, whose iterators are so many that full garbage collections follow."""
    return list(map(itemgetter(place), bundles))


def bundles_as_table(bundles: Sequence[tuple[Component, ...]]) -> tuple[pa.Table, Archetype] | None:
    """Bundles of the same classes as a checked table of their own memory, if they are many; raises as a spawn of them does."""
    run = Bundles().only_run([bundled(one) for one in bundles])
    if run is None:
        return None
    assert run.columns is not None
    arrays = [run.columns[name].arrow for name in run.archetype.column_names]
    return pa.Table.from_arrays(arrays, names=list(run.archetype.column_names)), run.archetype


def bundled(given: Any) -> tuple[Component, ...]:
    """The components of one entity, given as a sequence or as a single one."""
    if type(given) is tuple:
        return given
    return tuple(given) if isinstance(given, Sequence) and not isinstance(given, str) else (given,)
