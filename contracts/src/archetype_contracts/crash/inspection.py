"""What a store holds after its process died, against what the process was told and what the program must have done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from archetype_contracts.crash.program import FORK, WORLDS, Schedule, schedule_of
from archetype_contracts.crash.stepping import Opener, Play
from archetype_core.store import IS_ACTIVE, TICK, Capability, Scan, Span, Store, Timeline, digest

Digests = Mapping[str, Mapping[int, str]]
"""The digest of every tick of every world."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """A place to look at. Of every world ``required`` is the tick that must be there, ``known`` the last acknowledged."""

    place: str
    opener: str
    seed: int
    until: int
    required: dict[str, int]
    known: dict[str, int]
    onward: int = 1
    """Rounds to step after looking."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Inspection:
        """What ``dataclasses.asdict`` was given."""
        return cls(**data)


@dataclass(slots=True)
class Inspector:
    """Opens the place, reads everything, steps on, and reads that too over another handle."""

    inspection: Inspection
    opener: Opener
    expected: Digests
    faults: list[str] = field(default_factory=list)
    lines: list[dict[str, Any]] = field(default_factory=list)

    async def run(self) -> None:
        """Fill ``faults`` with what is wrong, and ``lines`` with what stepping on told."""
        place = Path(self.inspection.place)
        store = self.opener(place)
        heads = self._look(store, {})
        if self.faults or not self.inspection.onward:
            store.close()
            return
        play = Play(self.opener, place, self.inspection.seed, self.inspection.until + 2, self._hear, together=False)
        play.rounds = self.inspection.onward
        await play.over(store)
        store.close()
        self.faults += [f"stepping on: {line}" for line in self.lines if not line.keys() & {"ack", "found"}]
        store = self.opener(place)
        later = self._look(store, heads)
        store.close()
        for world, head in heads.items():
            told = [line["ack"][1] for line in self.lines if line.get("ack", [""])[0] == world]
            if told and told[0] != head + 1:
                self.faults.append(f"{world}: stepped on to tick {told[0]}, its head was {head}")
            if told and later.get(world) != told[-1]:
                self.faults.append(f"{world}: head {later.get(world)} after stepping on to tick {told[-1]}")

    def _hear(self, **line: Any) -> None:
        self.lines.append(line)

    def _look(self, store: Store, seen: Mapping[str, int]) -> dict[str, int]:
        """The heads of all worlds, once all of their ticks after those that were seen are as they must be."""
        heads: dict[str, int] = {}
        for record in store.worlds():
            if record.name in heads or record.name not in (*WORLDS, FORK):
                self.faults.append(f"a world {record.name!r} ({record.world_id}) that there should not be")
                continue
            heads[record.name] = record.tick
            self._world(store, record.name, record.tick, seen.get(record.name, -1) + 1)
        if seen:
            return heads
        for world, tick in self.inspection.required.items():
            if heads.get(world, -1) < tick:
                there = f"its head is {heads[world]}" if world in heads else "the world is gone"
                self.faults.append(f"{world}: tick {tick} was acknowledged, {there}")
        for world, tick in heads.items():
            first = schedule_of(self.inspection.seed, world).first
            known = self.inspection.known.get(world, first - 1)
            if tick > known + 1:
                self.faults.append(f"{world}: holds tick {tick}, but only {known} was acknowledged and one more begun")
        return heads

    def _world(self, store: Store, name: str, head: int, first: int) -> None:
        schedule = schedule_of(self.inspection.seed, name)
        timeline = store.timeline(schedule.world_id)
        travels = Capability.TIME_TRAVEL in store.capabilities
        self._spans(name, schedule, timeline, head)
        # Of a fork's ancestors the last tick is enough: they are looked at themselves.
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
                self.faults.append(f"{name}: tick {tick} is not what it was: digest {actual[:12]}, rows {rows}")
            self._head(store, schedule, tick, None if tick == head else tick)

    def _spans(self, name: str, schedule: Schedule, timeline: Timeline, head: int) -> None:
        ticks = [tick for span in timeline.spans for tick in range(span.first, span.last + 1)]
        if ticks != list(range(head + 1)):
            self.faults.append(f"{name}: its timeline has ticks {ticks}, its head is {head}")
        for span in timeline.spans:
            for tick in (span.first, span.last):
                if (span.segment.world_id, span.segment.run_id) != schedule.run_at(tick):
                    self.faults.append(f"{name}: tick {tick} is in run {span.segment.run_id!r}")

    def _ticks(self, store: Store, world: str, table: str, schema: pa.Schema, span: Span) -> list[tuple[int, pa.Table]]:
        """The rows of one table by tick; ticks come in order, each in one piece."""
        scan = Scan(table, span.segment, span.first, span.last, (*schema.names, IS_ACTIVE, TICK))
        rows = pa.Table.from_batches(list(store.scan(scan)), scan.schema(schema))
        ticks = rows.column(TICK).to_numpy()
        if np.any(ticks[1:] < ticks[:-1]):
            self.faults.append(f"{world}: a scan of {table} over {span.first} to {span.last} repeats or reorders ticks")
        values, starts = np.unique(ticks, return_index=True)
        ends = [*starts[1:], len(ticks)][: len(values)]
        bare = rows.drop_columns([TICK])
        return [
            (int(tick), bare.slice(start, end - start)) for tick, start, end in zip(values, starts, ends, strict=True)
        ]

    def _head(self, store: Store, schedule: Schedule, tick: int, at: int | None) -> None:
        head, turn = store.head(schedule.world_id, at=at), schedule.turn(tick)
        expected = (tick, turn.next_entity_id, turn.applied)
        actual = (head.tick, head.next_entity_id, head.applied)
        if expected != actual:
            self.faults.append(
                f"{schedule.name}: head at tick {tick} says tick, next id and applied are {actual}, not {expected}"
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
