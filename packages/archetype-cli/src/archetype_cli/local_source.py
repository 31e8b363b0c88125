"""Reads a local store directly, without a gate and without changing anything; ``docs/decisions/0023`` says why."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from archetype_cli.answer import Answer, rows_of
from archetype_cli.column import unknown_column
from archetype_cli.condition import check_condition, expression
from archetype_cli.exit_code import ExitCode
from archetype_cli.failure import Failure, meant
from archetype_cli.settings import is_address
from archetype_cli.source import (
    DIFF_COLUMNS,
    HIDDEN_COLUMNS,
    WORLD_FACTS,
    AuditQuery,
    Axis,
    Grid,
    Likeness,
    Moment,
    Plane,
    Selection,
    Summary,
)
from archetype_cli.stored_rows import StoredRows, component_names
from archetype_core.command import AuditFilter, AuditRow
from archetype_core.errors import ArchetypeError, StorageNotFound
from archetype_core.read import (
    AggregateQuery,
    DensityQuery,
    SearchQuery,
    aggregate_stored,
    asked,
    checked_bins,
    density_stored,
    diff,
    is_number,
    search_stored,
    tables_at,
)
from archetype_core.schema import Archetype, stored_payload
from archetype_core.store import IS_ACTIVE, Scan, Store, Timeline, WorldRecord, open_store

_POLL_S = 0.2
_AUDIT_POLL_S = 0.5
_ALL = 2**63 - 1
_READS = ("query_", "get_", "list_")
"""Commands of these types change nothing."""
_DIFFERENCES = pa.schema([(name, pa.int64() if name == "entity_id" else pa.large_string()) for name in DIFF_COLUMNS])


class LocalSource:
    """A store on this machine, opened to read."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.address = address_of(place)
        self._store: Store = open_store(self.address, create=False)

    def close(self) -> None:
        self._store.close()

    def worlds(self) -> Sequence[Mapping[str, Any]]:
        return [self._described(one) for one in self._records()]

    def world(self, name: str) -> Mapping[str, Any]:
        return self._described(self._record(name))

    def entity(self, world: str, entity_id: int, tick: int | None) -> Mapping[str, Any]:
        record = self._record(world)
        timeline = self._store.timeline(record.world_id)
        span = timeline.at(timeline.last if tick is None else _known(tick, timeline, record))
        assert span is not None
        ids = pa.array([entity_id], pa.int64())
        for table, schema in timeline.tables.items():
            archetype = Archetype.from_schema(schema)
            scan = Scan(table, span.segment, span.first, span.last, (*archetype.schema.names, IS_ACTIVE), ids)
            rows = pa.Table.from_batches(list(self._store.scan(scan)), scan.schema(schema)).filter(pc.field(IS_ACTIVE))
            if rows.num_rows:
                (values,) = rows.to_pylist()
                return {
                    "entity_id": entity_id,
                    "tick": span.first,
                    "components": [stored_payload(kind, values) for kind in archetype.components],
                }
        raise Failure(
            f"entity {entity_id} is not alive in world {record.name!r} at tick {span.first}",
            f"its history: archetype query {self.place} {record.name} --entity {entity_id} --ticks all",
            ExitCode.NOT_FOUND,
        )

    def rows(self, world: str, selection: Selection) -> Answer:
        record = self._record(world)
        timeline = self._store.timeline(record.world_id)
        ticks = selection.ticks
        if ticks is not None and ticks[0] is not None and ticks[0] == ticks[1]:
            _known(ticks[0], timeline, record)
        found = StoredRows.of(self._store, timeline, selection)
        hidden = HIDDEN_COLUMNS - frozenset(selection.columns)
        return Answer("rows", found.schema.names, _lazily(found), hidden, found.reader)

    def diff(self, before: Moment, after: Moment, components: tuple[str, ...], where: str | None) -> Answer:
        columns = [column for name in components for column in self._columns_of(name, before.world, after.world)]
        if where is not None:
            check_condition(where, _DIFFERENCES)
        frame = diff(self._moment(before), self._moment(after), where=None if where is None else expression(where))
        table = frame.to_arrow()
        if components:
            # The rows of an entity that came, went or moved have no column; they belong to every component.
            wanted = pc.is_in(table.column("column"), value_set=pa.array([*columns, None], pa.large_string()))
            table = table.filter(wanted)
        return Answer("differences", table.column_names, rows_of(table.to_reader()), frozenset(), table.to_reader)

    def search(self, world: str, likeness: Likeness) -> Answer:
        record = self._record(world)
        timeline = self._store.timeline(record.world_id)
        tick = timeline.last if likeness.tick is None else _known(likeness.tick, timeline, record)
        known = dict.fromkeys(name for schema in timeline.tables.values() for name in schema.names)
        if likeness.column not in known:
            raise unknown_column(likeness.column, list(known))
        with _as_usage():
            request = SearchQuery(likeness.column, asked(likeness.query), likeness.k, tick, metric=likeness.metric)
            table = search_stored(self._store, timeline, request).to_arrow()
        return Answer("found", table.column_names, rows_of(table.to_reader()), frozenset(), table.to_reader)

    def summary(self, world: str, wanted: Summary) -> Answer:
        names = (world, *wanted.others)
        timelines = {one.world_id: self._store.timeline(one.world_id) for one in map(self._record, names)}
        columns: dict[str, None] = {}
        for name in wanted.columns:
            own = [name] if "__" in name else _numeric(self._columns_of(name, *names))
            columns.update(dict.fromkeys(own))
        request = AggregateQuery(
            tuple(columns), _span(wanted), wanted.by_archetype, wanted.quantiles, checked_bins(wanted.bins)
        )
        with _as_usage():
            table = aggregate_stored(self._store, timelines, request)
        return Answer("numbers", table.column_names, rows_of(table.to_reader()), batches=table.to_reader)

    def grid(self, world: str, plane: Plane) -> Grid:
        timeline = self._store.timeline(self._record(world).world_id)
        request = DensityQuery(plane.x, plane.y, plane.tick, plane.bins, plane.x_range, plane.y_range)
        with _as_usage():
            found = density_stored(self._store, timeline, request)
        x, y = (
            Axis(name, float(edges[0]), float(edges[-1]), len(edges) - 1)
            for name, edges in ((found.x, found.x_edges), (found.y, found.y_edges))
        )
        counts = found.counts.tolist()
        return Grid(found.tick, x, y, int(found.counts.sum()), found.outside, found.missing, counts)

    def branches(self) -> Sequence[Mapping[str, Any]]:
        records = self._records()
        found: dict[str, dict[str, Any]] = {}
        for record in records:
            parent = self._parent(record)
            found[record.world_id] = {
                "name": record.name,
                "world_id": record.world_id,
                "parent": None if parent is None else parent.world_id,
                "forked_at": None if parent is None else parent.tick,
                "last_tick": record.tick,
            }
        return list(found.values())

    def history(self, query: AuditQuery) -> Iterator[Mapping[str, Any]]:
        from archetype_gate import read_audit

        since, until = (None if one is None else _moment_of(one) for one in (query.since, query.until))
        world_id = None if query.world is None else self._record(query.world).world_id
        which = AuditFilter(
            world_id,
            query.actor,
            query.type,
            query.status,
            since,
            until,
            None,
            query.limit,
            query.oldest_first,
        )
        yield from map(_audited, read_audit(self.address, which))

    def new_ticks(self, world: str) -> Iterator[Mapping[str, Any]]:
        world_id = self._record(world).world_id
        seen = -1
        while True:
            head = self._store.head(world_id)
            for tick in range(head.tick if seen < 0 else seen + 1, head.tick + 1):
                yield {"world_id": world_id, "tick": tick}
            seen = head.tick
            time.sleep(_POLL_S)

    def new_commands(self, world: str | None, types: Sequence[str]) -> Iterator[Mapping[str, Any]]:
        from archetype_gate import read_audit

        which = AuditFilter(None if world is None else self._record(world).world_id, limit=1, by_settlement=True)
        newest = read_audit(self.address, which)
        seen = newest[0].seq if newest else 0
        while True:
            time.sleep(_AUDIT_POLL_S)
            which = replace(which, after=seen, limit=1000, oldest_first=True)
            for row in read_audit(self.address, which):
                seen = row.seq
                if row.type in types if types else not row.type.startswith(_READS):
                    yield _audited(row)

    def _records(self) -> tuple[WorldRecord, ...]:
        return tuple(sorted(self._store.worlds(), key=lambda one: one.world_id))

    def _record(self, name: str) -> WorldRecord:
        records = self._records()
        named = [one for one in records if one.name == name]
        found = [one for one in records if one.world_id == name] or named
        if len(found) == 1:
            return found[0]
        if found:
            ids = ", ".join(one.world_id for one in found)
            raise Failure(
                f"{len(found)} worlds in {self.place} are named {name!r}", f"give an id: {ids}", ExitCode.NOT_FOUND
            )
        known = [one.name for one in records]
        otherwise = (
            f"its worlds: {', '.join(known[:8])}{' …' if len(known) > 8 else ''}" if known else "it has none yet"
        )
        raise Failure(f"{self.place} has no world {name!r}", meant(name, known, otherwise), ExitCode.NOT_FOUND)

    def _described(self, record: WorldRecord) -> Mapping[str, Any]:
        head, parent = self._store.head(record.world_id), self._parent(record)
        tables = self._store.timeline(record.world_id).tables
        counts: dict[str, int] = {}
        for table, count in head.live.items():
            name = " + ".join(sorted(component_names(Archetype.from_schema(tables[table]))))
            counts[name] = counts.get(name, 0) + count
        facts = {
            "name": record.name,
            "world_id": record.world_id,
            "tick": record.tick + 1,
            "entities": sum(head.live.values()),
            "parent": None if parent is None else parent.world_id,
            "run_id": record.run_id,
            "seed": head.segment.seed,
            "archetypes": counts,
        }
        return {name: facts[name] for name in WORLD_FACTS}

    def _parent(self, record: WorldRecord) -> Any:
        own = self._store.timeline(record.world_id).own(record.world_id)
        return own.spans[0].segment.parent if own.spans else None

    def _columns_of(self, component: str, *worlds: str) -> Mapping[str, pa.DataType]:
        found: dict[str, pa.DataType] = {}
        known: dict[str, None] = {}
        for world in worlds:
            for schema in self._store.timeline(self._record(world).world_id).tables.values():
                for kind in Archetype.from_schema(schema).components:
                    known[kind.name] = None
                    if kind.name == component:
                        found.update((field.name, field.type) for field in kind.fields)
        if component not in known:
            raise Failure(
                f"no entity ever had a component {component!r}",
                meant(component, known, f"the components are {', '.join(known)}"),
                ExitCode.NOT_FOUND,
            )
        return found

    def _moment(self, moment: Moment) -> Any:
        """What reads columns of each live table at a moment."""
        record = self._record(moment.world)
        timeline = self._store.timeline(record.world_id)
        tick = timeline.last if moment.tick is None else _known(moment.tick, timeline, record)
        return tables_at(self._store, timeline, tick)


def address_of(place: str) -> str:
    """Return the address of a store: a directory with a journal alone is a ``journal:`` store, whoever writes its path."""
    if is_address(place):
        return place
    path = Path(place).expanduser()
    if not path.exists():
        raise Failure(
            f"there is no directory {place}",
            "check the path; `archetype demo` makes a small history to try commands on",
            ExitCode.NOT_FOUND,
        )
    if (path / "journal.sqlite").is_file():
        return f"journal:{path}"
    if _is_empty(path):
        # Of whichever kind: the package of a store is not needed to see that.
        raise StorageNotFound(str(path.absolute()))
    return str(path)


def _is_empty(path: Path) -> bool:
    try:
        return path.is_dir() and next(path.iterdir(), None) is None
    except PermissionError:
        return False


def _numeric(columns: Mapping[str, pa.DataType]) -> list[str]:
    return [name for name, kind in columns.items() if is_number(kind)]


def _span(wanted: Summary) -> int | range | None:
    """The ticks of a summary as a store is asked for them."""
    if wanted.ticks is None:
        return None
    first, last = wanted.ticks
    if first is not None and first == last:
        return first
    return range(first or 0, _ALL if last is None else last + 1, wanted.every)


@contextmanager
def _as_usage() -> Iterator[None]:
    """Turn a request that cannot be into the error of a command; errors of ours have their own codes."""
    try:
        yield
    except ArchetypeError:
        raise
    except (TypeError, ValueError) as failure:
        raise Failure(str(failure), "", ExitCode.USAGE) from failure


def _audited(row: AuditRow) -> Mapping[str, Any]:
    facts = {field.name: getattr(row, field.name) for field in fields(row)}
    return {**facts, "payload": _decoded(row.payload)}


def _lazily(found: StoredRows) -> Iterator[Mapping[str, Any]]:
    yield from rows_of(found.reader())


def _known(tick: int, timeline: Timeline, record: WorldRecord) -> int:
    if timeline.at(tick) is None:
        raise Failure(
            f"world {record.name!r} has no tick {tick}",
            f"its history goes from tick {timeline.first} to {timeline.last}",
            ExitCode.NOT_FOUND,
        )
    return tick


def _decoded(payload: str) -> Any:
    """A payload as the object that it is; the text itself where a refused command had none."""
    try:
        return json.loads(payload)
    except ValueError:
        return payload


def _moment_of(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.astimezone()
