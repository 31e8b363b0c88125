"""Reconciles a journal with the store beneath: registers what only the store has as sealed, refuses what contradicts."""

from __future__ import annotations

from collections.abc import Iterator

from archetype_core.errors import CorruptStore, WorldNotFound
from archetype_core.store import Span, Store
from archetype_journal.catalog import CatalogUpdate, SegmentEntry
from archetype_journal.handle import JournalHandle
from archetype_journal.reader import View
from archetype_journal.record import TickRecord, pack, row_id


def adopt_world(handle: JournalHandle, store: Store, world_id: str) -> None:
    """Register a world of the store beneath, its ticks as sealed. No effect if the store has no such world."""
    try:
        timeline = store.timeline(world_id)
    except WorldNotFound:
        return
    heads = [store.head(span.segment.world_id, at=span.last) for span in timeline.spans]
    database = handle.database
    with database.translated_errors(), database.write_lock, database.transaction() as connection:
        update = CatalogUpdate(handle.catalog, connection)
        world = update.world(world_id)
        if world is not None:
            active = update.segment(world.segment)
            if active.sealed < active.last:
                # Another handle has continued the world meanwhile.
                return
        tables = {update.table_id(name, schema) for name, schema in timeline.tables.items()}
        entry = None
        for span, head in zip(timeline.spans, heads, strict=True):
            segment, last = span.segment, span.last
            entry = update.find_segment(segment.world_id, segment.run_id)
            if entry is not None and entry.last >= last:
                continue
            if entry is None:
                entry = update.add_segment(segment, last, last)
            else:
                entry = update.advance_segment(entry, last=last, sealed=last)
            # Only the store knows when it wrote each table; the journal asks it at every tick of the segment.
            newest = last - entry.first
            spans = dict.fromkeys(tables, (0, newest))
            number = row_id(entry.id, newest)
            record = TickRecord(head.next_entity_id, head.applied, head.attempt, head.continuation, newest, {}, spans)
            update.add_tick(number, pack(number, record), None)
        assert entry is not None
        writer = (world.owner, world.token) if world else (handle.owner_file.name, handle.owner_file.token)
        update.set_writer(world, world_id, entry.id, *writer)
        update.finish()


def reconcile(handle: JournalHandle, store: Store) -> None:
    """Check that a journal and the store beneath belong together; ``CorruptStore`` if one is an older copy.

    Ticks that only the store has are registered as sealed, unless the journal holds unsealed ticks that contradict them.
    """
    with handle.reader.read() as view:
        active = {world_id: view.active_segment(world_id) for world_id in view.worlds}
        sealed = {world_id: list(_sealed_segments(view, one)) for world_id, one in active.items() if one is not None}
    # Other handles may seal meanwhile. The store commits a tick before the journal registers it as sealed, so the journal's
    # sealed ticks are read before the store; a tick is in the journal before it is in the store, so its last tick after.
    spans = {world_id: _spans(store, world_id) for world_id in sealed}
    for world_id, found in spans.items():
        for one, last in sealed[world_id]:
            stored = max((span.last for span in found if span.segment == one.segment), default=one.first - 1)
            if stored < last:
                raise _contradiction(handle, store, one, stored)
        newest = found[-1] if found else None
        with handle.reader.read() as view:
            entry = view.active_segment(world_id)
            assert entry is not None
            known = None if newest is None else view.find_segment(newest.segment.world_id, newest.segment.run_id)
        if newest is None or (known is not None and known.last >= newest.last):
            continue
        if entry.sealed < entry.last:
            raise _contradiction(handle, store, entry, newest.last)
        adopt_world(handle, store, world_id)


def _sealed_segments(view: View, active: SegmentEntry) -> Iterator[tuple[SegmentEntry, int]]:
    """A world's own segments, newest first, each with its last sealed tick that belongs to the world's history."""
    entry, last = active, active.last
    while True:
        yield entry, min(entry.sealed, last)
        parent = view.parent(entry)
        if parent is None or parent[0].segment.world_id != active.segment.world_id:
            return
        entry, last = parent


def _spans(store: Store, world_id: str) -> tuple[Span, ...]:
    """A world's history in a store."""
    try:
        return store.timeline(world_id).spans
    except WorldNotFound:
        return ()


def _contradiction(handle: JournalHandle, store: Store, entry: SegmentEntry, stored: int) -> CorruptStore:
    name = entry.segment.name
    journal = f"the journal has world {name!r} up to tick {entry.last}, sealed up to {entry.sealed}"
    remedy = (
        "one is an older copy than the other, or another journal continued the world: "
        "restore both from the same backup, or open the other journal"
    )
    return CorruptStore(str(handle.database.path), f"{journal}, and {store!r} has it up to {stored}; {remedy}")
