"""A durable store in as few ideas as possible: a folder of files, all of it read when the folder is opened."""

from __future__ import annotations

import fcntl
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from archetype_core.errors import (
    CommitError,
    StoreClosed,
    TickConflict,
    TickNotFound,
    UnsupportedCapability,
    WorldNotFound,
)
from archetype_core.store import (
    BASE_FIELDS,
    Capability,
    Head,
    Point,
    Scan,
    Segment,
    Span,
    TickCommit,
    Timeline,
    WorldRecord,
)
from toy_archetype_store.page import Page, page_of, read_pages, write_pages


class ToyStore:
    """One file per commit; every tick holds every table, so no read ever looks back. One process, one handle."""

    capabilities: frozenset[Capability] = frozenset({Capability.TIME_TRAVEL, Capability.PERSISTENCE})

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._changing = threading.Lock()
        self._runs: dict[tuple[str, str], list[Page]] = {}
        self._newest: dict[str, Page] = {}
        self._files = 0
        folder.mkdir(parents=True, exist_ok=True)
        self._mark = (folder / "lock").open("w")
        try:
            fcntl.flock(self._mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._mark.close()
            raise UnsupportedCapability(repr(self), Capability.SHARED) from None
        for path in sorted(folder.glob("*.arrow")):
            self._remember(list(read_pages(path)))
            self._files += 1

    def __repr__(self) -> str:
        return f"ToyStore({str(self._folder)!r})"

    def commit(self, ticks: Sequence[TickCommit]) -> None:
        self._require_open()
        if not ticks:
            return
        pages = [page_of(commit) for commit in ticks]
        with self._changing:
            self._require_successors(pages)
            write_pages(self._folder / f"{self._files:09}.arrow", pages)
            self._files += 1
            self._remember(pages)

    def scan(self, scan: Scan) -> pa.RecordBatchReader:
        self._require_open()
        with self._changing:
            pages = list(self._runs.get((scan.segment.world_id, scan.segment.run_id), ()))
        first, last = (pages[0].tick, pages[-1].tick) if pages else (None, None)
        for tick in (scan.first, scan.last):
            if first is None or last is None or not first <= tick <= last:
                raise TickNotFound(scan.segment.name, tick, first, last)
        schema = self.timeline(scan.segment.world_id).tables.get(scan.table)
        if schema is None:
            return pa.RecordBatchReader.from_batches(pa.schema([]), [])
        wanted = scan.schema(schema)

        def batches() -> Iterator[pa.RecordBatch]:
            for page in pages[scan.first - pages[0].tick : scan.last - pages[0].tick + 1]:
                if scan.table in page.tables:
                    yield from _answer(page, scan, wanted)

        return pa.RecordBatchReader.from_batches(wanted, batches())

    def head(self, world_id: str, *, at: int | None = None) -> Head:
        timeline = self.timeline(world_id)
        tick = timeline.last if at is None else at
        span = timeline.at(tick)
        if span is None:
            raise TickNotFound(timeline.spans[-1].segment.name, tick, timeline.first, timeline.last)
        page = self._runs[span.segment.world_id, span.segment.run_id][tick - span.segment.first_tick]
        live = {name: pc.sum(table.column("is_active")).as_py() or 0 for name, table in page.tables.items()}
        counts = {name: count for name, count in live.items() if count}
        return Head(page.segment, tick, page.next_entity_id, page.applied, counts)

    def timeline(self, world_id: str) -> Timeline:
        self._require_open()
        with self._changing:
            if world_id not in self._newest:
                raise WorldNotFound(world_id, sorted(self._newest))
            newest = self._newest[world_id]
            segment: Segment | None = newest.segment
            last = newest.tick
            spans: list[Span] = []
            tables: dict[str, pa.Schema] = {}
            while segment is not None:
                spans.append(Span(segment, segment.first_tick, last))
                pages = self._runs[segment.world_id, segment.run_id]
                for page in pages[: last - segment.first_tick + 1]:
                    for name in page.written:
                        schema = page.tables[name].schema
                        tables[name] = schema.remove(schema.get_field_index("is_active"))
                parent = segment.parent
                segment = self._runs[parent.world_id, parent.run_id][0].segment if parent else None
                last = parent.tick if parent else last
        return Timeline(tuple(reversed(spans)), tables)

    def worlds(self) -> tuple[WorldRecord, ...]:
        self._require_open()
        with self._changing:
            newest = self._newest.items()
            return tuple(WorldRecord(id_, page.segment.name, page.segment.run_id, page.tick) for id_, page in newest)

    def files(self, scan: Scan) -> tuple[str, ...]:
        self._require_open()
        raise UnsupportedCapability(repr(self), Capability.FILES)

    def close(self) -> None:
        self._mark.close()

    def _require_open(self) -> None:
        if self._mark.closed:
            raise StoreClosed(repr(self))

    def _remember(self, pages: Sequence[Page]) -> None:
        segment = pages[0].segment
        self._runs.setdefault((segment.world_id, segment.run_id), []).extend(pages)
        self._newest[segment.world_id] = pages[-1]

    def _require_successors(self, pages: Sequence[Page]) -> None:
        segment, first = pages[0].segment, pages[0].tick
        if any(page.segment != segment or page.tick != first + index for index, page in enumerate(pages)):
            raise CommitError("a commit holds consecutive ticks of one segment")
        parent = segment.parent
        if first < segment.first_tick or (parent is not None and segment.first_tick != parent.tick + 1):
            raise CommitError(
                f"tick {first} does not belong to a segment that begins at {segment.first_tick} after {parent}"
            )
        newest = self._newest.get(segment.world_id)
        due = newest.tick + 1 if newest else segment.first_tick
        if first != due:
            raise TickConflict(segment.world_id, due, first)
        if newest is None:
            if parent is not None and not self._holds(parent):
                raise CommitError(f"{parent}, which a segment grows from, is not in {self!r}")
        elif newest.segment != segment:
            end = Point(segment.world_id, newest.segment.run_id, newest.tick)
            if parent != end or (segment.world_id, segment.run_id) in self._runs:
                raise TickConflict(segment.world_id, due, first)

    def _holds(self, point: Point) -> bool:
        pages = self._runs.get((point.world_id, point.run_id))
        return pages is not None and pages[0].tick <= point.tick <= pages[-1].tick


def _answer(page: Page, scan: Scan, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    table = page.tables[scan.table]
    if scan.entity_ids is not None:
        table = table.filter(pc.is_in(table.column("entity_id"), value_set=scan.entity_ids))
    for name, value in (("tick", page.tick), ("world_id", page.segment.world_id), ("run_id", page.segment.run_id)):
        table = table.append_column(BASE_FIELDS[name], pa.array([value] * table.num_rows, BASE_FIELDS[name].type))
    chosen = table.select(list(scan.columns))
    for batch in chosen.to_batches():
        yield pa.RecordBatch.from_arrays(batch.columns, schema=schema) if scan.columns else batch


def open_toy(uri: str) -> ToyStore:
    """Open the store behind ``toy:folder``."""
    return ToyStore(Path(uri.partition(":")[2]))
