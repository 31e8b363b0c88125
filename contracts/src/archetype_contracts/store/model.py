"""A model of a store in plain Python, which the state machine compares with the store.

Every tick holds a copy of every row of every table, so reading a tick never needs an earlier one.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from archetype_contracts.sample import MARKED, MOTTO, SPOT, rows, snapshot
from archetype_contracts.script import identifier
from archetype_core.schema import Archetype
from archetype_core.store import Point, Segment, TickCommit

TABLES: Mapping[str, Archetype] = {"spot": SPOT, "motto": MOTTO, "marked": MARKED}

Row = tuple[int, bool, tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Spawn:
    """Add an entity."""

    table: str
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Update:
    """Give the nth live entity new values."""

    table: str
    nth: int
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Despawn:
    """Remove the nth live entity."""

    table: str
    nth: int


@dataclass(frozen=True, slots=True)
class Rewrite:
    """Write a table again without a change."""

    table: str


Edit = Spawn | Update | Despawn | Rewrite


@dataclass(frozen=True, slots=True)
class Step:
    """What one tick does, and what it is committed with beside rows."""

    edits: Sequence[Edit]
    attempt: str
    continuation: bytes = b""


@dataclass(frozen=True, slots=True)
class TickState:
    """One tick: all rows of all tables."""

    segment: Segment
    tick: int
    tables: Mapping[str, tuple[Row, ...]]
    next_entity_id: int
    applied: tuple[str, ...]
    attempt: str
    continuation: bytes

    def live(self, table: str) -> dict[int, tuple[Any, ...]]:
        """The active rows of a table."""
        return {entity: values for entity, is_active, values in self.tables.get(table, ()) if is_active}


@dataclass(slots=True)
class World:
    """A world: its ticks, and copies of its ancestors' ticks."""

    name: str
    states: list[TickState] = field(default_factory=list)
    known: set[str] = field(default_factory=set)
    """Every table that was written so far."""
    known_at: list[frozenset[str]] = field(default_factory=list)
    ended: list[Segment] = field(default_factory=list)
    next_segment: Segment | None = None
    """The segment of the next tick, if that tick opens one."""

    def __repr__(self) -> str:
        return self.name

    @property
    def segment(self) -> Segment:
        return self.next_segment or self.states[-1].segment

    @property
    def world_id(self) -> str:
        return self.segment.world_id

    @property
    def next_tick(self) -> int:
        """The number of the next tick."""
        return self.states[-1].tick + 1 if self.states else self.segment.first_tick

    def state_at(self, tick: int) -> TickState:
        return self.states[tick - self.states[0].tick]

    def draft(self, step: Step, applied: tuple[str, ...] = ()) -> tuple[TickCommit, TickState, frozenset[str]]:
        """The next tick as a commit and as a state, and the tables known after it. The world does not change."""
        before = self.states[-1] if self.states else TickState(self.segment, self.next_tick - 1, {}, 1, (), "", b"")
        live = {table: before.live(table) for table in TABLES}
        gone: dict[str, dict[int, tuple[Any, ...]]] = {table: {} for table in TABLES}
        rewritten: dict[str, None] = {}
        next_id = before.next_entity_id
        for edit in step.edits:
            table = edit.table
            if isinstance(edit, Spawn):
                live[table][next_id] = edit.values
                next_id += 1
            elif isinstance(edit, Update | Despawn):
                if not live[table]:
                    continue
                entity = list(live[table])[edit.nth % len(live[table])]
                if isinstance(edit, Update):
                    live[table][entity] = edit.values
                else:
                    values = live[table].pop(entity)
                    if entity in before.live(table):
                        gone[table][entity] = values
            rewritten[table] = None
        written = {TABLES[table].name: rows(TABLES[table], live[table], gone[table]) for table in rewritten}
        idle = [table for table in TABLES if table not in rewritten and live[table]]
        carried = {TABLES[table].name: snapshot(TABLES[table], live[table]) for table in idle}
        tables = {
            table: tuple(
                [(entity, True, values) for entity, values in live[table].items()]
                + [(entity, False, values) for entity, values in gone[table].items()]
            )
            for table in [*rewritten, *idle]
        }
        beside = (applied, step.attempt, step.continuation)
        return (
            TickCommit(self.segment, self.next_tick, written, next_id, carried, *beside),
            TickState(self.segment, self.next_tick, tables, next_id, *beside),
            frozenset(self.known | set(rewritten)),
        )

    def remember(self, state: TickState, known: frozenset[str]) -> None:
        """Add a committed tick."""
        self.states.append(state)
        self.known = set(known)
        self.known_at.append(known)
        self.next_segment = None

    def fork(self, name: str, tick: int) -> World:
        """A new world with copies of this one's ticks up to a tick."""
        count = tick - self.states[0].tick + 1
        child = World(name, self.states[:count], set(self.known_at[count - 1]), self.known_at[:count])
        child.next_segment = segment_of(name, 1, tick + 1, _end(child.states[-1]), seed=count)
        return child

    def renewed(self, run: int) -> Segment:
        """The segment of this world's next run."""
        last = self.states[-1]
        old = last.segment
        return Segment(
            old.world_id, identifier(f"{old.world_id} run {run}"), last.tick + 1, _end(last), old.name, old.seed
        )


def segment_of(name: str, run: int, first_tick: int, parent: Point | None = None, seed: int = 0) -> Segment:
    """A segment whose ids follow from its world's name."""
    return Segment(identifier(name), identifier(f"{name} run {run}"), first_tick, parent, name, seed)


def bits_of(value: Any) -> Any:
    """The value, or the bytes of a float, so that equal means the same bits."""
    return struct.pack("<d", value) if isinstance(value, float) else value


def _end(state: TickState) -> Point:
    return Point(state.segment.world_id, state.segment.run_id, state.tick)
