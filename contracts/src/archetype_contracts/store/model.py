"""What a store must show, in plain Python: the oracle of the state machine.

Every tick holds every row of every table, copied. Nothing here looks back, so there is nothing to get wrong.
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
    """A new entity."""

    table: str
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Update:
    """New values for the nth live entity."""

    table: str
    nth: int
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Despawn:
    """The end of the nth live entity."""

    table: str
    nth: int


@dataclass(frozen=True, slots=True)
class Touch:
    """A write of the same rows again."""

    table: str


Edit = Spawn | Update | Despawn | Touch


@dataclass(frozen=True, slots=True)
class Page:
    """One tick: all rows of all tables."""

    segment: Segment
    tick: int
    tables: Mapping[str, tuple[Row, ...]]
    next_entity_id: int
    applied: tuple[str, ...]

    def live(self, table: str) -> dict[int, tuple[Any, ...]]:
        """The active rows of a table."""
        return {entity: values for entity, is_active, values in self.tables.get(table, ()) if is_active}


@dataclass(slots=True)
class World:
    """A world's pages, those of its ancestors copied."""

    name: str
    pages: list[Page] = field(default_factory=list)
    known: set[str] = field(default_factory=set)
    """Tables that were ever written."""
    known_at: list[frozenset[str]] = field(default_factory=list)
    ended: list[Segment] = field(default_factory=list)
    fresh: Segment | None = None
    """The segment that the next tick opens."""

    def __repr__(self) -> str:
        return self.name

    @property
    def segment(self) -> Segment:
        return self.fresh or self.pages[-1].segment

    @property
    def world_id(self) -> str:
        return self.segment.world_id

    @property
    def due(self) -> int:
        """The tick that comes next."""
        return self.pages[-1].tick + 1 if self.pages else self.segment.first_tick

    def page(self, tick: int) -> Page:
        return self.pages[tick - self.pages[0].tick]

    def draft(self, edits: Sequence[Edit], applied: tuple[str, ...] = ()) -> tuple[TickCommit, Page, frozenset[str]]:
        """The next tick as a commit and as a page, and the tables known after it; nothing is remembered yet."""
        before = self.pages[-1] if self.pages else Page(self.segment, self.due - 1, {}, 1, ())
        live = {table: before.live(table) for table in TABLES}
        gone: dict[str, dict[int, tuple[Any, ...]]] = {table: {} for table in TABLES}
        touched: dict[str, None] = {}
        next_id = before.next_entity_id
        for edit in edits:
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
            touched[table] = None
        written = {TABLES[table].name: rows(TABLES[table], live[table], gone[table]) for table in touched}
        idle = [table for table in TABLES if table not in touched and live[table]]
        carried = {TABLES[table].name: snapshot(TABLES[table], live[table]) for table in idle}
        tables = {
            table: tuple(
                [(entity, True, values) for entity, values in live[table].items()]
                + [(entity, False, values) for entity, values in gone[table].items()]
            )
            for table in [*touched, *idle]
        }
        commit = TickCommit(self.segment, self.due, written, next_id, carried, applied)
        return commit, Page(self.segment, self.due, tables, next_id, applied), frozenset(self.known | set(touched))

    def remember(self, page: Page, known: frozenset[str]) -> None:
        """Take a committed tick into the history."""
        self.pages.append(page)
        self.known = set(known)
        self.known_at.append(known)
        self.fresh = None

    def fork(self, name: str, tick: int) -> World:
        """A world that begins with copies of this one's pages up to a tick."""
        count = tick - self.pages[0].tick + 1
        child = World(name, self.pages[:count], set(self.known_at[count - 1]), self.known_at[:count])
        child.fresh = segment_of(name, 1, tick + 1, _end(child.pages[-1]), seed=count)
        return child

    def renewed(self, run: int) -> Segment:
        """The segment of this world's next run."""
        last = self.pages[-1]
        old = last.segment
        return Segment(
            old.world_id, identifier(f"{old.world_id} run {run}"), last.tick + 1, _end(last), old.name, old.seed
        )


def segment_of(name: str, run: int, first_tick: int, parent: Point | None = None, seed: int = 0) -> Segment:
    """A segment with ids made from its world's name."""
    return Segment(identifier(name), identifier(f"{name} run {run}"), first_tick, parent, name, seed)


def exact(value: Any) -> Any:
    """A value that equals another only if it has the same bits."""
    return struct.pack("<d", value) if isinstance(value, float) else value


def _end(page: Page) -> Point:
    return Point(page.segment.world_id, page.segment.run_id, page.tick)
