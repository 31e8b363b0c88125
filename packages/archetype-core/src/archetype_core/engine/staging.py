"""Checks mutations and stages them for a world's next tick.

A refused mutation is refused as a whole: nothing of it is staged (M7, T6).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa

from archetype_core import telemetry
from archetype_core.argument import checked_id, is_count
from archetype_core.engine.attempt import Draft, check_recipient, draft_of
from archetype_core.engine.commanded import Commanded
from archetype_core.engine.entity_ids import Supply
from archetype_core.engine.mutation_log import Moved, UpdatedTable, Values, column_arrays
from archetype_core.engine.rehearsal import Rehearsal
from archetype_core.engine.selection import Entities, Ids, Places, evaluated, ids_of, is_condition, matching
from archetype_core.engine.spawn_bundle import Bundle, Bundles, SpawnRun, stage_runs
from archetype_core.engine.spawn_table import spawned_columns, storable
from archetype_core.engine.state import WorldState
from archetype_core.engine.table_update import Changes, check_columns, grouped, named
from archetype_core.errors import EntityNotFound, SignatureError, ValueRejected, WorldClosed
from archetype_core.schema import message
from archetype_core.schema.archetype import Archetype
from archetype_core.schema.component import Component, ComponentType, fields_of, no_component, type_of_class
from archetype_core.schema.snapshot import ENTITY_ID

if TYPE_CHECKING:
    from daft.expressions import Expression

_NOBODY = pa.nulls(0, pa.int64())  # `pa.array` would import pandas where it is installed

Move = tuple[Sequence[int], Values, tuple[ComponentType, ...], Archetype]
"""Entities of one archetype that gain and lose the same components, and the archetype that they move to."""


class Staging:
    """The part of a world that takes mutations, checks them and stages them for the next tick. Thread-safe."""

    def __init__(self, state: WorldState) -> None:
        self._state = state
        self._is_open = True
        self._rehearsal: Rehearsal | None = None
        self._bundles = Bundles()

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
        return draft_of(self._state) if self._rehearsal is None else self._rehearsal

    @contextmanager
    def rehearsed(self) -> Iterator[None]:
        """Check every mutation inside as if it were staged after those before it, and stage none; no id is used up."""
        self._check_open()
        with self._state.lock:
            outer = self._rehearsal
            self._rehearsal = Rehearsal(self._draft(), self._state.ids.next)
            try:
                yield
            finally:
                self._rehearsal = outer

    def reserve(self, count: int = 1) -> range:
        """Reserve entity ids, each for one later ``spawn(…, entity_id=…)``; they are never given out again."""
        self._check_open()
        if not is_count(count):
            raise ValueError(f"count is a number of ids, 0 or more, not {count!r}")
        with self._state.lock:
            return self._draft().reserve(count)

    def supply_ids(self, supply: Supply, on_tell: Callable[[], None] | None = None) -> None:
        """Take new ids only from what ``supply(first, count)`` returns, so that other processes do not use them too.

        ``on_tell`` is called before code that is no part of a tick of this world gets ids. If it raises, none are given out.
        """
        with self._state.lock:
            self._state.ids.supply, self._state.ids.on_tell = supply, on_tell

    def claim(self, next_entity_id: int, reserved: Iterable[range] = ()) -> None:
        """Continue after ids that an earlier process gave out: none below ``next_entity_id`` is given out again.

        Ids in ``reserved`` wait for their entities, as if ``reserve`` had just returned them.
        """
        self._check_open()
        with self._state.lock:
            self._state.ids.resume(next_entity_id, reserved)

    def commanded(self, command_id: str, *, undo: bool = False, is_skippable: bool = False) -> Commanded:
        """Stage everything in the block as one command: its id becomes part of the commit of the tick that applies it.

        Nothing else is staged meanwhile. With ``undo``, an exception removes what was staged inside; a single mutation needs
        no undo, because it is refused as a whole. A command that staged nothing is part of no commit if ``is_skippable``.
        """
        self._check_open()
        return Commanded(self._state.lock, self._draft, command_id, undo, is_skippable)

    def spawn(self, *components: Component, entity_id: int | None = None) -> int:
        """Stage an entity and return its id; ``entity_id`` uses a reserved one."""
        self._check_open()
        archetype, row = self._bundles.row(components)
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
        return self._spawn(self._bundles.runs(bundles), entity_ids)

    def _spawn(self, runs: Sequence[SpawnRun], entity_ids: range | None) -> range:
        count = sum(run.count for run in runs)
        with self._state.lock:
            draft = self._draft()
            ids = _given(draft, count, entity_ids)
            stage_runs(draft.log, runs, [ids])
        return ids

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
        return self._spawn([SpawnRun(archetype, count, columns=columns)], entity_ids)

    def despawn(self, entities: Entities = (), *more: int) -> None:
        """Stage the end of one entity or many; one that is not alive is logged and skipped."""
        self._check_open()
        # Check all before staging the first.
        ids = self._selected(entities) if not _is_one(entities) else None
        singles = [checked_id(one) for one in (more if ids is not None else (entities, *more))]
        skipped: list[int] = []
        with self._state.lock:
            draft = self._draft()
            if ids is not None:
                places = draft.places(_distinct(ids))
                skipped = places.ids[places.codes < 0].tolist()
                draft.log.despawn_table(places.ids[places.codes >= 0])
            for entity_id in dict.fromkeys(singles):
                if draft.place(entity_id) is None:
                    skipped.append(entity_id)
                else:
                    draft.log.despawn(entity_id)
        if skipped and self._rehearsal is None:
            more_of_them = f" and {len(skipped) - 1} more" if len(skipped) > 1 else ""
            telemetry.log.warning("despawn of entity %s%s skipped: not alive", skipped[0], more_of_them)

    def update(self, entities: Entities, *components: Component) -> None:
        """Stage new values for one entity or many: the fields that were passed or assigned (T2, T4).

        They land after the tick's processors; every other field is what the processors make of it. A condition means the
        entities that meet it as of the last completed tick and have all the components.
        """
        self._check_open()
        values = {
            kind: _given_values(kind, one, row)
            for one, (kind, row) in zip(components, _values(components).items(), strict=True)
        }
        if _is_one(entities):
            entity_id = checked_id(entities)
            with self._state.lock:
                draft = self._draft()
                _check_has(values, self._placed(draft, entity_id), entity_id)
                if values:
                    draft.log.update(entity_id, values)
            return
        with self._state.lock:
            draft = self._draft()
            places = self._places(draft, entities, values)
            for archetype, positions in places.groups():
                _check_has(values, archetype, int(places.ids[positions[0]]))
            if values and len(places.ids):
                same = pa.array(np.zeros(len(places.ids), np.int64))
                columns = {
                    kind: {name: array.take(same) for name, array in column_arrays(kind, [given]).items()}
                    for kind, given in values.items()
                    if given
                }
                draft.log.update_table(UpdatedTable(pa.array(places.ids), columns))

    def update_table(self, data: Any, *, entities: Entities | None = None) -> None:
        """Stage new values for many entities, all or none: columns with a value for each of them, or one for all.

        Columns are named by ``Position.c.x`` or as stored, ``position__x``. ``entities`` are in the order of the rows; left
        out, the table has a column ``entity_id``. ``SignatureError`` for an entity that lacks a component.
        """
        with self._state.lock:
            self.stage_changes(self.changes(data, entities=entities))

    def stage_changes(self, changes: Changes) -> None:
        """Stage what ``changes`` returned. The caller has held ``lock`` since, so that they are not checked again."""
        draft = self._draft()
        for part in changes.parts:
            if any(part.values.values()):
                draft.log.update_table(part)

    def changes(self, data: Any, *, entities: Entities | None = None) -> Changes:
        """What ``update_table`` stages for these arguments, checked."""
        self._check_open()
        given = named(data)
        if entities is None:
            if ENTITY_ID not in given:
                raise TypeError("update_table needs entity ids: a column entity_id, or entities=…")
            entities = given.pop(ENTITY_ID)
        elif ENTITY_ID in given:
            raise TypeError("entity ids are given twice: leave out the column entity_id, or entities=…")
        with self._state.lock:
            places = self._places(self._draft(), entities)
        return grouped(given, places)

    def update_where(self, where: Expression, values: Mapping[Any, Any]) -> int:
        """Stage new values for all entities that meet a condition and have the columns; returns how many they are.

        Columns are named as in ``update_table``; a value is one for all, or an expression over the entity's columns. Both
        are evaluated on the last completed tick.
        """
        with self._state.lock:
            changes = self.changes_where(where, values)
            self.stage_changes(changes)
        return changes.num_rows

    def changes_where(self, where: Expression, values: Mapping[Any, Any]) -> Changes:
        """What ``update_where`` stages for these arguments, checked."""
        self._check_open()
        if not is_condition(where):
            raise TypeError(f"where is an expression, such as Health.c.hp <= 0, not {where!r}")
        given = named(values)
        check_columns(given)
        is_meant = _has_columns(given)
        with self._state.lock:
            # Those that are despawned or moved by now are not meant.
            places = self._draft().places(matching(where, self._state.live, is_meant)).among(is_meant)
            made = {name: self._evaluated(value, places) for name, value in given.items()}
            return self.changes(made, entities=places.ids)

    def chosen(self, entities: Entities, *components: type[Component]) -> int | pa.Array:
        """One id as an int, many as an array; of a condition, the ids of those that meet it and have the components."""
        self._check_open()
        if _is_one(entities):
            return checked_id(entities)
        with self._state.lock:
            is_meant = _has_all([type_of_class(one) for one in components])
            ids = self._selected(entities, is_meant)
            return pa.array(self._draft().places(ids).among(is_meant).ids if is_condition(entities) else ids)

    def _evaluated(self, value: Any, places: Places) -> Any:
        """The value of an expression for each of some live entities; any other value as it is."""
        if not is_condition(value):
            return value
        from archetype_core.read.condition import columns_of

        names = columns_of(value) - {ENTITY_ID}
        ids, parts = [], []
        for archetype, rows in self._state.live.items():
            chosen = np.isin(rows.entity_ids.to_numpy(zero_copy_only=False), places.ids)
            if chosen.any():
                if absent := sorted(names - set(archetype.column_names)):
                    owner = rows.entity_ids.filter(pa.array(chosen))[0].as_py()
                    raise SignatureError(f"entity {owner} has no {absent[0]}, which the value of a column names")
                some = rows.take(pa.array(np.flatnonzero(chosen)))
                ids.append(some.entity_ids.to_numpy(zero_copy_only=False))
                parts.append(evaluated(value, some, names))
        if not parts:
            return []
        order = np.argsort(np.concatenate(ids), kind="stable")
        wanted = order[np.searchsorted(np.concatenate(ids)[order], places.ids)]
        return pa.concat_arrays(parts).take(pa.array(wanted))

    def add_components(self, entities: Entities, *components: Component) -> None:
        """Stage new components for one entity or many; those that they have already stay unchanged."""
        self._check_open()
        values = _values(components)
        with self._state.lock:
            draft = self._draft()
            moves: list[Move] = []
            for archetype, ids in self._by_archetype(draft, entities):
                new = {
                    kind: dict(zip(_columns(kind), row, strict=True))
                    for kind, row in values.items()
                    if kind not in archetype
                }
                if new:
                    moves.append((ids, new, (), storable(archetype.plus(*new))))
            _stage_moves(draft, moves)

    def remove_components(self, entities: Entities, *components: type[Component]) -> None:
        """Stage the removal of components from one entity or many; ``SignatureError`` if one would lose its last one."""
        self._check_open()
        kinds = [type_of_class(component) for component in components]
        with self._state.lock:
            draft = self._draft()
            moves: list[Move] = []
            for archetype, ids in self._by_archetype(draft, entities):
                present = tuple(kind for kind in kinds if kind in archetype)
                if present:
                    moves.append((ids, {}, present, archetype.minus(*present)))
            _stage_moves(draft, moves)

    def _by_archetype(self, draft: Draft, entities: Entities) -> list[tuple[Archetype, Sequence[int]]]:
        """Each archetype that has some of the entities, with these, each of them once."""
        if _is_one(entities):
            entity_id = checked_id(entities)
            return [(self._placed(draft, entity_id), (entity_id,))]
        places = self._places(draft, entities)
        return [(archetype, _distinct(places.ids[positions]).tolist()) for archetype, positions in places.groups()]

    def _selected(self, entities: Entities, is_meant: Callable[[Archetype], bool] = lambda _: True) -> Ids:
        if is_condition(entities):
            with self._state.lock:
                live = dict(self._state.live)
            return matching(cast("Expression", entities), live, is_meant)
        return ids_of(entities, self._state.segment.name)

    def _places(self, draft: Draft, entities: Entities, kinds: Collection[ComponentType] = ()) -> Places:
        """The archetypes of some entities; ``EntityNotFound`` for an id that is not alive."""
        is_meant = _has_all(kinds)
        places = draft.places(self._selected(entities, is_meant))
        if is_condition(entities):
            # Those that are despawned or moved by now are not meant.
            return places.among(is_meant)
        if (missing := places.first_missing()) is not None:
            raise EntityNotFound(missing, self._state.segment.name)
        return places

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


def _is_one(entities: object) -> bool:
    return not isinstance(entities, Iterable) and not is_condition(entities)


def _distinct(ids: Ids) -> Ids:
    """Each id once, in the order given."""
    _, first = np.unique(ids, return_index=True)
    return ids if len(first) == len(ids) else ids[np.sort(first)]


def _has_all(kinds: Collection[ComponentType]) -> Callable[[Archetype], bool]:
    return lambda archetype: all(kind in archetype for kind in kinds)


def _has_columns(names: Collection[str]) -> Callable[[Archetype], bool]:
    return lambda archetype: set(archetype.column_names).issuperset(names)


def _check_has(values: Collection[ComponentType], archetype: Archetype, entity_id: int) -> None:
    if missing := [kind.name for kind in values if kind not in archetype]:
        raise SignatureError(
            f"entity {entity_id} has no {', '.join(missing)}: update changes components it has, add_components adds new ones"
        )


def _stage_moves(draft: Draft, moves: Iterable[Move]) -> None:
    for ids, gained, lost, target in moves:
        for entity_id in ids:
            draft.log.move(Moved(entity_id, gained, lost), target)


def _given(draft: Draft, count: int, reserved: range | None) -> range:
    """Ids for new entities: the given reserved ones, or fresh ones."""
    if reserved is None:
        return draft.take(count)
    if len(reserved) != count:
        raise ValueError(f"{len(reserved)} reserved ids for {count} entities: give one each")
    draft.redeem(reserved)
    return reserved


def _columns(kind: ComponentType) -> list[str]:
    return [field.name for field in kind.fields]


def _given_values(kind: ComponentType, component: Component, row: tuple[Any, ...]) -> dict[str, Any]:
    """The column values of the fields that were passed to an instance or assigned since."""
    values = {name: row[index] for index, name in _columns_of(kind, frozenset(component.model_fields_set))}
    if kind.fields and not values:
        raise ValueRejected(
            kind.name,
            "*",
            "no field was passed or assigned: pass the fields to change, such as Position(x=1.0), or assign to one; "
            "a list or model that is changed in place counts once it is assigned again",
        )
    return values


@lru_cache(maxsize=4096)
def _columns_of(kind: ComponentType, given: frozenset[str]) -> tuple[tuple[int, str], ...]:
    """The columns of some fields, with their places among all columns of a component."""
    wanted = {column.name for field in fields_of(kind) if field.name in given for column in field.columns}
    return tuple((index, name) for index, name in enumerate(_columns(kind)) if name in wanted)


def _values(components: Sequence[Component]) -> dict[ComponentType, tuple[Any, ...]]:
    values: dict[ComponentType, tuple[Any, ...]] = {}
    for component in components:
        if not isinstance(component, Component):
            raise no_component(component)
        kind = type(component).component_type()
        if kind in values:
            raise SignatureError(f"component {kind.name} is given twice")
        values[kind] = kind.values(component)
    return values
