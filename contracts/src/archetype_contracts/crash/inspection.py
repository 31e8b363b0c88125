"""Compares what a store holds after its process died with the acknowledged ticks and with the program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from archetype_contracts.crash.attempts import Attempts
from archetype_contracts.crash.continuation import shortened
from archetype_contracts.crash.program import FORK, FORKED, WORLDS, Schedule, schedule_of
from archetype_contracts.crash.session import CheckedStore, Opener, Session
from archetype_core.store import IS_ACTIVE, TICK, Capability, Scan, Span, Store, Timeline, digest

Digests = Mapping[str, Mapping[int, str]]
"""The digest of every tick of every world."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """A place to inspect. Per world, ``required`` is the tick that must exist, ``known`` the last acknowledged one."""

    place: str
    opener: str
    seed: int
    until: int
    required: dict[str, int]
    known: dict[str, int]
    attempts: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    """The attempts that may have committed each tick, from ``Attempts.to_json``."""
    onward: int = 1
    """The number of rounds to step after reading."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Inspection:
        """The inspection that ``dataclasses.asdict`` turned into data."""
        return cls(**data)


@dataclass(slots=True)
class Inspector:
    """Opens the place, reads everything, steps the worlds, and reads the new ticks through another handle."""

    inspection: Inspection
    opener: Opener
    expected: Digests
    problems: list[str] = field(default_factory=list)
    lines: list[dict[str, Any]] = field(default_factory=list)
    attempts: Attempts = field(init=False)

    def __post_init__(self) -> None:
        self.attempts = Attempts.from_json(self.inspection.attempts)

    async def run(self) -> None:
        """Fill ``problems`` with what is wrong, and ``lines`` with the reports of the new steps."""
        place = Path(self.inspection.place)
        store = self.opener(place)
        heads = self._read_worlds(store, {})
        if self.problems or not self.inspection.onward:
            store.close()
            return
        session = Session(
            self.opener, place, self.inspection.seed, self.inspection.until + 2, self._receive, together=False
        )
        session.rounds = self.inspection.onward
        await session.step_worlds(CheckedStore(store, self._receive))
        store.close()
        self.problems += [
            f"stepping after reopening: expected acknowledged ticks only, got {line}"
            for line in self.lines
            if not line.keys() & {"ack", "found", "tried", "read"}
        ]
        store = self.opener(place)
        later = self._read_worlds(store, heads)
        store.close()
        for world, head in heads.items():
            acknowledged = [line["ack"][1] for line in self.lines if line.get("ack", [""])[0] == world]
            if acknowledged and acknowledged[0] != head + 1:
                self.problems.append(
                    f"{world}: expected to step tick {head + 1} after head {head}, but it stepped tick {acknowledged[0]}"
                )
            if acknowledged and later.get(world) != acknowledged[-1]:
                self.problems.append(
                    f"{world}: expected head {acknowledged[-1]} after stepping it, but the head is {later.get(world)}"
                )

    def _receive(self, **line: Any) -> None:
        self.lines.append(line)
        self.attempts.note([line])

    def _read_worlds(self, store: Store, seen: Mapping[str, int]) -> dict[str, int]:
        """Compare all ticks after those in ``seen``; return the head of every world."""
        heads: dict[str, int] = {}
        for record in store.worlds():
            if record.name in heads or record.name not in (*WORLDS, FORK):
                self.problems.append(f"an unexpected or repeated world {record.name!r} ({record.world_id})")
                continue
            heads[record.name] = record.tick
            self._world(store, record.name, record.tick, seen.get(record.name, -1) + 1)
        if seen:
            return heads
        for world, tick in self.inspection.required.items():
            if heads.get(world, -1) < tick:
                actual = f"its head is {heads[world]}" if world in heads else "the world is missing"
                self.problems.append(f"{world}: expected tick {tick}, which was acknowledged, but {actual}")
        for world, tick in heads.items():
            first = schedule_of(self.inspection.seed, world).first
            known = self.inspection.known.get(world, first - 1)
            if tick > known + 1:
                self.problems.append(
                    f"{world}: expected at most tick {known + 1} ({known} was acknowledged), but it holds tick {tick}"
                )
        return heads

    def _world(self, store: Store, name: str, head: int, first: int) -> None:
        schedule = schedule_of(self.inspection.seed, name)
        timeline = store.timeline(schedule.world_id)
        travels = Capability.TIME_TRAVEL in store.capabilities
        self._spans(name, schedule, timeline, head)
        # Of the ancestors one tick is enough: they are worlds of their own and are compared themselves.
        first = max(first, schedule.first - 1)
        found: dict[int, list[tuple[str, pa.Table]]] = {}
        for span in timeline.between(first if travels else head, head):
            for table, schema in timeline.tables.items():
                for tick, rows in self._ticks(store, name, table, schema, span):
                    found.setdefault(tick, []).append((table, rows))
        for tick in range(first if travels else head, head + 1):
            expected, actual = self.expected[name].get(tick), digest(found.get(tick, []))
            if expected != actual:
                rows = {table: rows.num_rows for table, rows in found.get(tick, [])}
                self.problems.append(
                    f"{name}: expected digest {str(expected)[:12]} of tick {tick}, got {actual[:12]} with rows {rows}"
                )
            self._head(store, schedule, tick, None if tick == head else tick)

    def _spans(self, name: str, schedule: Schedule, timeline: Timeline, head: int) -> None:
        ticks = [tick for span in timeline.spans for tick in range(span.first, span.last + 1)]
        if ticks != list(range(head + 1)):
            self.problems.append(f"{name}: expected a timeline of ticks 0 to {head}, got {ticks}")
        for span in timeline.spans:
            for tick in (span.first, span.last):
                if (span.segment.world_id, span.segment.run_id) != schedule.run_at(tick):
                    self.problems.append(
                        f"{name}: expected world and run {schedule.run_at(tick)} of tick {tick}, got run {span.segment.run_id!r}"
                    )

    def _ticks(self, store: Store, world: str, table: str, schema: pa.Schema, span: Span) -> list[tuple[int, pa.Table]]:
        """The rows of one table by tick; a scan must return ticks in ascending order."""
        scan = Scan(table, span.segment, span.first, span.last, (*schema.names, IS_ACTIVE, TICK))
        rows = pa.Table.from_batches(list(store.scan(scan)), scan.schema(schema))
        ticks = rows.column(TICK).to_numpy()
        if np.any(ticks[1:] < ticks[:-1]):
            self.problems.append(
                f"{world}: expected ascending ticks from a scan of {table} over {span.first} to {span.last}, got another order"
            )
        values, starts = np.unique(ticks, return_index=True)
        ends = [*starts[1:], len(ticks)][: len(values)]
        bare = rows.drop_columns([TICK])
        return [
            (int(tick), bare.slice(start, end - start)) for tick, start, end in zip(values, starts, ends, strict=True)
        ]

    def _head(self, store: Store, schedule: Schedule, tick: int, at: int | None) -> None:
        head, plan = store.head(schedule.world_id, at=at), schedule.plan(tick)
        owner = FORKED if tick < schedule.first else schedule.name
        possible = self.attempts.of(owner, tick)
        if head.attempt not in possible:
            self.problems.append(
                f"{schedule.name}: expected one of the attempts {possible} at tick {tick}, got {head.attempt!r}"
            )
        self._receive(read=[owner, tick, head.attempt])
        if shortened(head) is None:
            self.problems.append(
                f"{schedule.name}: expected the continuation of attempt {head.attempt!r} at tick {tick}, "
                f"got another one of {len(head.continuation)} bytes"
            )
        expected = (tick, plan.next_entity_id, plan.applied)
        actual = (head.tick, head.next_entity_id, head.applied)
        if expected != actual:
            self.problems.append(
                f"{schedule.name}: expected tick, next id and applied {expected} of the head at tick {tick}, got {actual}"
            )


def digests(store: Store, seed: int) -> dict[str, dict[int, str]]:
    """The digest of every tick that a store holds."""
    found: dict[str, dict[int, str]] = {}
    reader = Inspector(Inspection("", "", seed, 0, {}, {}), lambda _: store, {})
    for record in store.worlds():
        timeline = store.timeline(record.world_id)
        tables: dict[int, list[tuple[str, pa.Table]]] = {tick: [] for tick in range(record.tick + 1)}
        for span in timeline.between():
            for table, schema in timeline.tables.items():
                for tick, rows in reader._ticks(store, record.name, table, schema, span):  # noqa: SLF001  # reason: same module
                    tables[tick].append((table, rows))
        found[record.name] = {tick: digest(rows) for tick, rows in tables.items()}
    return found
