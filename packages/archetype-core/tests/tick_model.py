"""What a tick means, in plain dictionaries: a model of worlds that is written from the promises T1 to T9 alone.

It knows no engine. What only the engine can know, such as an entity id or a random number, is told to it, and it says
whether that was allowed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Literal

Held = dict[str, dict[str, Any]]
"""Components by name, each a mapping of its fields."""
Table = frozenset[str]
"""An archetype: the names of its components."""
Live = dict[Table, dict[int, Held]]
Rows = list[tuple[str, Table, int, bool, Held]]
"""What a tick writes: world id, table, entity, whether it is active, and its values."""
Letter = tuple[int, Any]


@dataclass(frozen=True)
class Spawn:
    """Entities, one per bundle; a table takes its columns from the first bundle."""

    bundles: tuple[Held, ...]
    how: Literal["one", "many", "table"] = "many"


@dataclass(frozen=True)
class Update:
    entities: tuple[int, ...]
    parts: Held


@dataclass(frozen=True)
class Assign:
    """An update with a component that is read from the world, after some of its fields were assigned."""

    entity: int
    part: str
    values: dict[str, Any]


@dataclass(frozen=True)
class Add:
    entities: tuple[int, ...]
    parts: Held


@dataclass(frozen=True)
class Remove:
    entities: tuple[int, ...]
    parts: tuple[str, ...]


@dataclass(frozen=True)
class Despawn:
    entities: tuple[int, ...]


@dataclass(frozen=True)
class Send:
    to: int
    body: Any


Op = Spawn | Update | Assign | Add | Remove | Despawn | Send

Mutation = tuple[str, int, Any]
"""A checked operation on one entity: what, to whom, with what."""
Where = Mapping[int, Table]
"""The tables of live entities."""


class Refused(Exception):
    """The operation is an error, and nothing of it is staged; ``kind`` names the error if the promises do."""

    def __init__(self, kind: str = "") -> None:
        self.kind = kind


@dataclass
class Fate:
    """What a tick's mutations make of one entity; ``entered`` has the tables that it came into, in order of all entries."""

    origin: Table | None
    now: Table | None
    written: Held = field(default_factory=dict)
    entered: dict[Table, int] = field(default_factory=dict)


def fold(where: Where, mutations: Iterable[Mutation]) -> dict[int, Fate]:  # noqa: PLR0912  # reason: a case per mutation
    """The fate of every entity that is mutated (T4).

    Commands of tables that ran side by side were checked apart, so one may no longer apply; it has no effect then.
    """
    fates: dict[int, Fate] = {}
    for count, (kind, entity, what) in enumerate(mutations):
        if kind in ("send", "sent"):
            continue
        if kind == "spawn":
            table = frozenset(what)
            fates[entity] = Fate(None, table, deepcopy(what), {table: count})
            continue
        if entity not in fates:
            if entity not in where:
                continue
            fates[entity] = Fate(where[entity], where[entity])
        fate = fates[entity]
        if fate.now is None:
            continue
        if kind == "despawn":
            fate.now = None
        elif kind == "update":
            for name in fate.now & what.keys():
                fate.written.setdefault(name, {}).update(what[name])
        elif kind == "add":
            for name in what.keys() - fate.now:
                fate.written[name] = dict(what[name])
            fate.now = frozenset(fate.now | what.keys())
        elif kind == "remove" and fate.now - what:
            fate.now -= what
            for name in what:
                fate.written.pop(name, None)
        if fate.now is not None:
            fate.entered.setdefault(fate.now, count)
    return fates


def placed(where: Where, mutations: Iterable[Mutation]) -> dict[int, Table]:
    """Where entities are once the mutations are applied."""
    after = dict(where)
    for entity, fate in fold(where, mutations).items():
        after.pop(entity, None)
        if fate.now is not None:
            after[entity] = fate.now
    return after


def checked(
    op: Spawn | Update | Assign | Add | Remove | Despawn,
    where: Where,
    ids: tuple[int, ...],
    whole: Callable[[Held], Held],
) -> list[Mutation]:
    """The mutations of an operation; ``Refused`` if it is an error, with nothing of it staged (T4, T5, T6)."""
    match op:
        case Spawn(bundles):
            return [("spawn", entity, whole(bundle)) for entity, bundle in zip(ids, bundles, strict=True)]
        case Despawn(entities):
            return [("despawn", entity, None) for entity in dict.fromkeys(entities) if entity in where]
        case Assign(entity, part, values):
            return checked(Update((entity,), {part: values}), where, ids, whole)
        case Update() | Add() | Remove():
            if isinstance(op, Update) and any(
                not given and whole({name: {}})[name] for name, given in op.parts.items()
            ):
                raise Refused("ValueRejected")
            made: list[Mutation] = []
            for entity in op.entities:
                made += _checked(op, entity, placed(where, made), whole)
            return made


def _checked(op: Update | Add | Remove, entity: int, where: Where, whole: Callable[[Held], Held]) -> list[Mutation]:
    if entity not in where:
        raise Refused("EntityNotFound")
    table = where[entity]
    match op:
        case Update(_, parts):
            if parts.keys() - table:
                raise Refused
            return [("update", entity, parts)]
        case Add(_, parts):
            added = {name: values for name, values in whole(parts).items() if name not in table}
            return [("add", entity, added)] if added else []
        case Remove(_, parts):
            gone = table & set(parts)
            if gone == table:
                raise Refused("SignatureError")
            return [("remove", entity, gone)] if gone else []


@dataclass
class Past:
    """A world as it was after a tick."""

    live: Live
    mail: list[Letter]
    left: list[Mutation]
    taken: set[int]
    is_exact: bool


@dataclass
class ModelWorld:
    """One world: its live tables, its history and what is staged.

    ``tick`` is the next tick. ``mail`` is what its processors are told. The first ``left`` of the staged mutations are what the
    processors of the last tick staged, and part of that tick. ``writers`` are the worlds that committed its ticks.
    ``is_exact`` says that ids were only given out one after the other, because no committed tick has used blocks of ids.
    """

    world_id: str
    tick: int = 0
    live: Live = field(default_factory=dict)
    mail: list[Letter] = field(default_factory=list)
    staged: list[Mutation] = field(default_factory=list)
    left: int = 0
    rows: list[Rows] = field(default_factory=list)
    writers: list[str] = field(default_factory=list)
    past: list[Past] = field(default_factory=list)
    taken: set[int] = field(default_factory=set)
    is_exact: bool = True

    @property
    def where(self) -> dict[int, Table]:
        return {entity: table for table, rows in self.live.items() for entity in rows}

    @property
    def expected(self) -> dict[int, Table]:
        """Where entities will be after the mutations that are staged now."""
        return placed(self.where, self.staged)

    def take(self, ids: Iterable[int], *, in_order: bool) -> None:
        """Accept ids that were given out: from 1, never twice, one after the other where nothing skips any (M5, T7)."""
        for entity in ids:
            assert entity > 0, f"entity id {entity}"
            assert entity not in self.taken, f"entity id {entity} is given out again"
            if in_order and self.is_exact:
                assert entity == max(self.taken, default=0) + 1, f"entity id {entity} is not the next one"
            self.taken.add(entity)

    def commit(
        self, processed: Mapping[int, Held], mutations: list[Mutation], letters: list[Letter], left: list[Mutation]
    ) -> None:
        """Lay mutations over what processors made, and end the tick; ``left`` is staged by then (T2, T3, T4)."""
        fates = fold(self.where, mutations)
        live: Live = {}
        written: Rows = []
        for table, rows in self.live.items():
            for entity, before in rows.items():
                fate = fates.get(entity) or Fate(table, table)
                if fate.now == table:
                    live.setdefault(table, {})[entity] = _overlaid(processed[entity], table, fate.written)
                else:
                    written.append((self.world_id, table, entity, False, before))
        coming = [
            (fate.entered[fate.now], entity, fate.now, fate)
            for entity, fate in fates.items()
            if fate.now is not None and fate.now != fate.origin
        ]
        for _, entity, table, fate in sorted(coming, key=lambda one: one[0]):
            base = processed[entity] if fate.origin is not None else {}
            live.setdefault(table, {})[entity] = _overlaid(base, table, fate.written)
        written += [
            (self.world_id, table, entity, True, held) for table, rows in live.items() for entity, held in rows.items()
        ]
        self.live, self.mail = live, letters
        self.rows.append(written)
        self.writers.append(self.world_id)
        self.past.append(Past(live, letters, left, set(self.taken), self.is_exact))
        self.left = len(left)
        self.tick += 1

    def forked(self, world_id: str, at: int | None) -> ModelWorld:
        """A world that continues from here with what is staged, or from the end of an earlier tick as that left it (R3)."""
        fork = deepcopy(self)
        fork.world_id = world_id
        if at is not None:
            fork.back_to(at)
        return fork

    def back_to(self, at: int) -> None:
        """Become what the world was after a tick, as one that is opened again does: what others staged is lost (T9)."""
        past = deepcopy(self.past[at])
        self.live, self.mail, self.taken, self.is_exact = past.live, past.mail, past.taken, past.is_exact
        self.tick, self.staged, self.left = at + 1, past.left, len(past.left)
        del self.rows[at + 1 :], self.past[at + 1 :], self.writers[at + 1 :]


def _overlaid(base: Held, table: Table, written: Held) -> Held:
    """The values of an entity in a table: what processors made, under what was written."""
    return {name: {**base.get(name, {}), **written.get(name, {})} for name in sorted(table)}


@dataclass(frozen=True)
class Rule:
    """A processor as the model knows it: what it needs, when it runs, and what it makes of one entity."""

    name: str
    needs: Table
    priority: int
    apply: Callable[[Held, int, int], None] = lambda held, tick, draw: None
    draws: bool = False
    skips: bool = False
    acts: bool = False


@dataclass
class Processing:
    """What processors made of the live rows: the last frames, and the frame that each of the acting ones saw."""

    made: dict[int, Held]
    seen: dict[tuple[str, Table], dict[int, Held]]


def process(
    world: ModelWorld,
    rules: Iterable[Rule],
    draw: Callable[[str, Table], int],
    fails: Callable[[str, Table], bool],
) -> Processing:
    """Run the processors of all tables on the rows of the tick before, by priority; a skipped one leaves no trace (T7)."""
    done = Processing({}, {})
    for table, rows in world.live.items():
        frame = deepcopy(rows)
        for rule in sorted(rules, key=lambda one: one.priority):
            if not rule.needs <= table:
                continue
            if rule.acts:
                done.seen[rule.name, table] = deepcopy(frame)
            if rule.skips and fails(rule.name, table):
                continue
            number = draw(rule.name, table) if rule.draws else 0
            for held in frame.values():
                rule.apply(held, world.tick, number)
        done.made |= frame
    return done
