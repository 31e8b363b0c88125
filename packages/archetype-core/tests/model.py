"""The model of a world: dictionaries and lists, one entity at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from archetype_core.schema import Component

Kinds = tuple[str, ...]
"""Names of an archetype's components, sorted."""
Values = dict[str, Any]
"""Column values of one entity."""
Row = tuple[int, Values]
Rule = Callable[[Kinds, list[Values], int], None]
"""What the processors do to the rows of one table at a tick, in place."""


class Lost(Exception):
    """The entity is not there."""


@dataclass(frozen=True)
class Record:
    """One tick of history: live rows and tombstones of each table."""

    world_id: str
    live: Mapping[Kinds, list[Row]]
    tombstones: Mapping[Kinds, list[Row]]


@dataclass
class _Life:
    """An entity while a tick's mutations are applied to it one by one."""

    origin: Kinds | None
    kinds: Kinds | None
    values: Values
    laid: set[str] = field(default_factory=set)
    """Columns that mutations wrote."""
    entered: dict[Kinds, int] = field(default_factory=dict)
    """When it first came into each archetype, by number of mutation."""


def kinds_of(components: Iterable[Component | type[Component]]) -> Kinds:
    """The names of components, sorted."""
    return tuple(sorted((one if isinstance(one, type) else type(one)).__name__ for one in components))


def columns_of(component: Component, *, given_only: bool = False) -> Values:
    """A component's column values."""
    prefix = type(component).__name__.lower()
    names = component.model_fields_set if given_only else type(component).model_fields
    return {f"{prefix}__{name}": getattr(component, name) for name in names}


def owner(column: str, kinds: Kinds) -> bool:
    """Whether a column belongs to one of the components."""
    return any(column.startswith(f"{kind.lower()}__") for kind in kinds)


@dataclass
class Model:
    """One world."""

    world_id: str
    rule: Rule
    records: list[Record] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)
    pending: list[tuple[Any, ...]] = field(default_factory=list)
    next_id: int = 1
    committed_ids: list[int] = field(default_factory=list)
    """The next entity id as every tick left it."""

    @property
    def tick(self) -> int:
        return len(self.records)

    @property
    def live(self) -> Mapping[Kinds, list[Row]]:
        return self.records[-1].live if self.records else {}

    def alive(self) -> set[int]:
        """Live entities."""
        return {entity for rows in self.live.values() for entity, _ in rows}

    def place(self, entity: int) -> Kinds:
        """The archetype that an entity will have."""
        life = self._applied().get(entity)
        if life is None or life.kinds is None:
            raise Lost
        return life.kinds

    def is_placed(self, entity: int) -> bool:
        """Whether an entity will be there."""
        try:
            self.place(entity)
        except Lost:
            return False
        return True

    def spawn(self, *components: Component) -> int:
        entity, self.next_id = self.next_id, self.next_id + 1
        values: Values = {}
        for one in components:
            values.update(columns_of(one))
        self.pending.append(("spawn", entity, kinds_of(components), values))
        return entity

    def despawn(self, entity: int) -> None:
        if self.is_placed(entity):
            self.pending.append(("despawn", entity))

    def update(self, entity: int, *components: Component) -> None:
        place = self.place(entity)
        if not set(kinds_of(components)) <= set(place):
            raise TypeError
        for one in components:
            self.pending.append(("lay", entity, columns_of(one, given_only=True)))

    def add(self, entity: int, *components: Component) -> None:
        place = self.place(entity)
        new = [one for one in components if type(one).__name__ not in place]
        values: Values = {}
        for one in new:
            values.update(columns_of(one))
        if new:
            self.pending.append(("move", entity, tuple(sorted({*place, *kinds_of(new)})), values))

    def remove(self, entity: int, *components: type[Component]) -> None:
        place = self.place(entity)
        kept = tuple(kind for kind in place if kind not in kinds_of(components))
        if not kept:
            raise TypeError
        if kept != place:
            self.pending.append(("move", entity, kept, {}))

    def step(self) -> None:
        """The next tick, from processors and mutations."""
        lives = self._applied()
        live: dict[Kinds, list[Row]] = {}
        tombstones: dict[Kinds, list[Row]] = {}
        for kinds, rows in self.live.items():
            processed = [dict(values) for _, values in rows]
            self.rule(kinds, processed, self.tick)
            for (entity, before), after in zip(rows, processed, strict=True):
                life = lives[entity]
                life.values = {name: value if name in life.laid else after[name] for name, value in life.values.items()}
                if life.kinds != kinds:
                    tombstones.setdefault(kinds, []).append((entity, before))
                else:
                    live.setdefault(kinds, []).append((entity, life.values))
        arriving = [
            (life.entered[life.kinds], entity, life)
            for entity, life in lives.items()
            if life.kinds is not None and life.kinds != life.origin
        ]
        for _, entity, life in sorted(arriving, key=lambda one: one[0]):
            assert life.kinds is not None
            live.setdefault(life.kinds, []).append((entity, life.values))
        self.records.append(Record(self.world_id, live, tombstones))
        self.committed_ids.append(self.next_id)
        self.pending = []

    def _applied(self) -> dict[int, _Life]:
        lives = {
            entity: _Life(kinds, kinds, dict(values)) for kinds, rows in self.live.items() for entity, values in rows
        }
        for number, (what, entity, *given) in enumerate(self.pending):
            if what == "spawn":
                kinds, values = given
                lives[entity] = _Life(None, kinds, dict(values), entered={kinds: number})
                continue
            life = lives[entity]
            if what == "despawn":
                life.kinds = None
            elif what == "lay":
                life.values.update(given[0])
                life.laid |= given[0].keys()
            else:
                kinds, values = given
                life.kinds = kinds
                life.values = {name: value for name, value in life.values.items() if owner(name, kinds)} | values
                life.laid |= values.keys()
                life.entered.setdefault(kinds, number)
        return lives

    def fork(self, world_id: str, at: int | None = None, *, with_pending: bool = False) -> Model:
        """A copy of the model, with the same history."""
        count = self.tick if at is None else at + 1
        other = Model(world_id, self.rule, self.records[:count], self.digests[:count])
        other.committed_ids = self.committed_ids[:count]
        other.next_id = self.next_id if at is None or at == self.tick - 1 else self.committed_ids[at]
        other.pending = list(self.pending) if with_pending else []
        return other

    def reopened(self) -> None:
        """Drop what is staged and keep what is committed."""
        self.pending = []
        self.next_id = self.committed_ids[-1]

    def rows(self, components: Kinds, ticks: Iterable[int], *, inactive: bool, lineage: bool) -> list[tuple[Any, ...]]:
        """The rows of a query: tick, entity, activity, and the values of the components' columns."""
        found = []
        for tick in ticks:
            if not 0 <= tick < self.tick:
                continue
            record = self.records[tick]
            if not lineage and record.world_id != self.world_id:
                continue
            sides = [(True, record.live)] + ([(False, record.tombstones)] if inactive else [])
            for is_active, tables in sides:
                for kinds, rows in tables.items():
                    if set(components) <= set(kinds):
                        for entity, values in rows:
                            own = {name: value for name, value in values.items() if owner(name, components)}
                            found.append((tick, entity, is_active, spelled(own)))
        return sorted(found)


def spelled(values: Mapping[str, Any]) -> str:
    """Values as text, so that NaN equals itself and -0.0 is not 0.0."""
    return repr(sorted(values.items()))


def difference(before: Mapping[Kinds, list[Row]], after: Mapping[Kinds, list[Row]]) -> set[tuple[Any, ...]]:
    """The differences between two ticks, as rows of ``diff``."""
    was = {entity: (kinds, values) for kinds, rows in before.items() for entity, values in rows}
    now = {entity: (kinds, values) for kinds, rows in after.items() for entity, values in rows}
    found: set[tuple[Any, ...]] = set()
    for entity in was.keys() | now.keys():
        old_kinds, old = was.get(entity, (None, {}))
        new_kinds, new = now.get(entity, (None, {}))
        op = "added" if old_kinds is None else "removed" if new_kinds is None else "changed"
        if old_kinds != new_kinds:
            found.add((op, entity, None, _text(old_kinds), _text(new_kinds)))
        for name in old.keys() | new.keys():
            # A column that is not there and one that holds null are told apart.
            if repr(old.get(name, ...)) != repr(new.get(name, ...)):
                found.add((op, entity, name, _text(old.get(name)), _text(new.get(name))))
    return found


def _text(value: Any) -> str | None:
    return None if value is None else json.dumps(value)
