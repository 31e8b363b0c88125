"""Brings a world's live tables to the component classes that it names (M8).

Rows evolve in memory as soon as a class is named, so live reads show them as the class has them. The next tick writes them:
tombstones in the old tables, rows in the new ones. Until then `WorldState.committed` has the tables as the store has them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from archetype_core import telemetry
from archetype_core.engine.entity_index import EntityIndex
from archetype_core.engine.mutation_log import Moved, MutationLog, Operation, Updated, Values
from archetype_core.engine.processor import Processor, System
from archetype_core.engine.state import WorldState
from archetype_core.errors import SchemaMismatch, SignatureError
from archetype_core.schema.archetype import Archetype
from archetype_core.schema.component import Component, ComponentType, evolution_of, is_defined, is_known
from archetype_core.schema.snapshot import ENTITY_ID, Column, Snapshot, contiguous, stack
from archetype_core.schema.version import Transition, changed_columns, claims, is_alike, transition
from archetype_core.schema.version_report import renamed
from archetype_core.store.commit import Rows

Live = Mapping[Archetype, Snapshot]


def evolve(state: WorldState, system: System, *logs: MutationLog) -> None:
    """Bring the live tables to the classes that the world's processors and its declaration name.

    Costs nothing while these and the set of live tables stay the same; a running tick is left alone, and the next one
    looks again. What is staged, in the world and in ``logs``, follows. `SchemaMismatch` changes nothing.
    """
    with state.lock:
        if state.evolved_for is system.slots or state.frozen is not None:
            return
        classes = {one.component_type(): one for one in _named(state, system)}
        evolved = _Evolved()
        ways: dict[ComponentType, Transition | None] = {}
        for archetype, rows in state.live.items() if classes else ():
            for kind in archetype.components:
                if kind not in ways:
                    ways[kind] = _way(kind, classes, state.checked)
                    if ways[kind] is None and kind not in classes:
                        _refuse_namesake(kind, state, classes.values())
            if any(ways[kind] is not None for kind in archetype.components):
                evolved.add(archetype, rows, ways)
            else:
                evolved.same[archetype] = rows
        if evolved.moved:
            translated = [(log, _translated(log, state.index, evolved.moved, ways)) for log in (state.pending, *logs)]
            for log, made in translated:
                log.reset(made)
        if evolved.is_changed:
            state.replace_live(evolved.tables())
            state.evolutions += evolved.notes()
        state.named = tuple(classes.values())
        state.checked |= set(classes.values())
        state.known |= {kind.name for archetype in state.live for kind in archetype.components}
        state.evolved_for = system.slots


def admit(state: WorldState, system: System, processor: Processor, *, is_stepping: bool) -> None:
    """Add a processor and evolve rows to its components; a processor whose components do not fit the rows is not added.

    During a step the rows evolve with the next tick, together with what pre-tick hooks have staged by then.
    """
    system.add(processor)
    if is_stepping:
        return
    try:
        evolve(state, system)
    except BaseException:
        system.remove(processor)
        raise


def with_evolved(written: Mapping[Archetype, Rows], state: WorldState) -> dict[Archetype, Rows]:
    """Add to what a tick writes the rows that evolved since the last one, and their tombstones with their old values."""
    committed, found = state.committed, dict(written)
    if committed is None:
        return found
    for archetype in {**committed, **state.live}:
        old, new = committed.get(archetype), state.live.get(archetype)
        if old is new:
            continue
        rows = found.get(archetype) or Rows(new or Snapshot.empty(archetype))
        gone = None
        if old is not None:
            # An entity that evolved out of the table, or left it in this tick, was here with these values.
            stays = pc.is_in(old.entity_ids, value_set=rows.live.entity_ids)
            gone = old.take(pc.indices_nonzero(pc.invert(stays)).cast(pa.int64()))
        found[archetype] = Rows(rows.live, gone or None)
    return found


def announce(state: WorldState, tick: int) -> None:
    """Log what evolved, once its rows are committed."""
    for note in state.evolutions:
        telemetry.log.info("world %r, tick %s: %s", state.segment.name, tick, note)
    state.evolutions = []


def warn(state: WorldState, system: System) -> None:
    """Log, once each, what a tick passes over in silence: tables without a class, and processors without a table."""
    if state.warned_for is system.slots:
        return
    world, state.warned_for = state.segment.name, system.slots
    missing, state.expected = _missing(state.expected, system.names), ()
    if missing:
        _warn_once(
            state,
            f"world {world!r} steps without {', '.join(missing)}, which ran in its last tick: processors are code, so a world "
            "that is opened again has to be given them",
        )
    unknown: dict[str, int] = {}
    for archetype, rows in state.live.items():
        for kind in archetype.components:
            if not is_known(kind):
                unknown[kind.name] = unknown.get(kind.name, 0) + rows.num_rows
    for name, count in unknown.items():
        _warn_once(
            state,
            f"world {world!r}: no class of this process is stored like the {name} of {count} entities, which stay as they "
            f"are: name it in components=[{name}] or in a processor, or name it as previous of the class that it became",
        )
    idle = [slot.name for slot in system.slots if not any(slot in system.matching(one) for one in state.live)]
    for name in idle if state.live else ():
        _warn_once(state, f"processor {name} of world {world!r} matches no table: no entity has all its components")


def _missing(expected: Iterable[str], names: Iterable[str]) -> list[str]:
    """The classes of the processors that are expected and not there; a class may have several."""
    # Slots of one class have numbers, which depend on the order in which they came and went.
    missing = Counter(name.partition("#")[0] for name in expected)
    missing.subtract(name.partition("#")[0] for name in names)
    return sorted(name for name, count in missing.items() if count > 0)


def _warn_once(state: WorldState, text: str) -> None:
    if text not in state.warned:
        state.warned.add(text)
        telemetry.log.warning("%s", text)


def _named(state: WorldState, system: System) -> Iterable[type[Component]]:
    yield from state.components
    for slot in system.slots:
        yield from slot.components


def _way(
    kind: ComponentType, classes: Mapping[ComponentType, type[Component]], checked: set[type[Component]]
) -> Transition | None:
    """The way of a stored form to the class that claims it; `None` if its rows stay as they are."""
    if (own := classes.get(kind)) is not None:
        # Stored like this, but perhaps by a class with other enum members.
        return None if own in checked else transition(kind, own, strict=True)
    claimants = [cls for cls in classes.values() if claims(cls, kind)]
    if len(claimants) > 1:
        names = " and ".join(f"{cls.__module__}.{cls.__qualname__}" for cls in claimants)
        raise SchemaMismatch(
            kind.name,
            [f"{names} both claim its rows"],
            remedy="Let all but one refuse them: evolution = Evolution(refuse=((...),)) with the stored field names, "
            f"of {', '.join(column.name for column in kind.fields) or 'no columns'}.",
        )
    return transition(kind, claimants[0], strict=True) if claimants else None


def _refuse_namesake(kind: ComponentType, state: WorldState, classes: Iterable[type[Component]]) -> None:
    """Raise `SchemaMismatch` if a live component without a class is most likely an earlier name of a named class.

    That is a class new to the world, with exactly the fields of a component whose name no class of the process has.
    """
    if is_defined(kind.name):
        return
    new = [one for one in classes if state.known.isdisjoint([one.__name__, *evolution_of(one).previous_names])]
    if heirs := [one for one in new if is_alike(kind, one)]:
        others = sorted(name for name in state.known if name != kind.name and not is_defined(name))
        raise renamed(kind, heirs, others)


@dataclass(slots=True)
class _Evolved:
    """Live tables on their way to the named classes."""

    same: dict[Archetype, Snapshot] = field(default_factory=dict)
    arrived: dict[Archetype, list[Snapshot]] = field(default_factory=dict)
    moved: dict[Archetype, Archetype] = field(default_factory=dict)
    """Where the rows of a table went."""
    counts: dict[Transition, int] = field(default_factory=dict)
    is_changed: bool = False

    def add(self, archetype: Archetype, rows: Snapshot, ways: Mapping[ComponentType, Transition | None]) -> None:
        """Add a live table, evolved if one of its components has a way to go."""
        columns: dict[str, Column] = {ENTITY_ID: rows.columns[ENTITY_ID]}
        kinds: list[ComponentType] = []
        has_changed = False
        for kind in archetype.components:
            way = ways[kind]
            target = kind if way is None else way.kind
            made: Mapping[str, Any] = {}
            if way is not None:
                made = changed_columns(way, rows.to_arrow(), rows.entity_ids)
                if made or target != kind:
                    has_changed = True
                    self.counts[way] = self.counts.get(way, 0) + rows.num_rows
            for column in target.fields:
                array = made.get(column.name)
                columns[column.name] = rows.columns[column.name] if array is None else Column(contiguous(array))
            kinds.append(target)
        if not has_changed:
            self.same[archetype] = rows
            return
        try:
            place = Archetype.of(*kinds)
        except SignatureError as clash:
            raise SchemaMismatch(archetype.name, [f"its rows cannot evolve: {clash}"]) from clash
        self.is_changed = True
        if place != archetype:
            self.moved[archetype] = place
        self.arrived.setdefault(place, []).append(Snapshot(place, columns, rows.num_rows))

    def tables(self) -> dict[Archetype, Snapshot]:
        """The live tables: those that stayed, then those that rows came to, by name."""
        live = dict(self.same)
        for place in sorted(self.arrived, key=lambda one: one.name):
            here = [live[place]] if place in live else []
            live[place] = stack(place, [*here, *self.arrived[place]])
        return live

    def notes(self) -> list[str]:
        """What evolved, in words, for a log."""
        return [
            f"{way.stored.name} evolved to {way.kind.name} in {count} entities: {', '.join(way.changes)}"
            for way, count in self.counts.items()
        ]


def _translated(
    log: MutationLog,
    index: EntityIndex,
    moved: Mapping[Archetype, Archetype],
    ways: Mapping[ComponentType, Transition | None],
) -> MutationLog:
    """Staged mutations of entities that evolve, in their new form. Entities that are only staged evolve once they live."""

    def form_of(kind: ComponentType) -> ComponentType:
        way = ways.get(kind)
        return kind if way is None else way.kind

    def values_of(values: Values) -> Values:
        known = ((kind, ways.get(kind), given) for kind, given in values.items())
        return {form_of(kind): given if way is None else _carried(way, given) for kind, way, given in known}

    def of(operation: Operation) -> Operation:
        if not isinstance(operation, Updated | Moved) or index.get(operation.entity_id) not in moved:
            return operation
        if isinstance(operation, Moved):
            return replace(operation, gained=values_of(operation.gained), lost=tuple(map(form_of, operation.lost)))
        return replace(operation, values=values_of(operation.values))

    places = {
        one: place if place is None or index.get(one) not in moved else Archetype.of(*map(form_of, place.components))
        for one, place in log.places.items()
    }
    return replace(log, operations=[of(one) for one in log.operations], places=places)


def _carried(way: Transition, given: Mapping[str, Any]) -> dict[str, Any]:
    """Column values of a stored form in a class's form: those of the fields that were given."""
    columns = [column for column in way.stored.fields if column.name in given]
    row = pa.Table.from_arrays([pa.array([given[one.name]], one.type) for one in columns], schema=pa.schema(columns))
    names = set(row.column_names)
    sources = tuple(
        one for one in way.sources if one.stored is not None and {column.name for column in one.stored.columns} <= names
    )
    made = replace(way, sources=sources).arrays(row)
    return {name: array[0].as_py() for name, array in made.items()}
