"""Taking up a world that only the store beneath knows: its segments enter the catalog as sealed to their ends."""

from __future__ import annotations

from archetype_core.errors import WorldNotFound
from archetype_core.journal.catalog import Entry
from archetype_core.journal.handle import Handle
from archetype_core.journal.record import Record, pack, row_id
from archetype_core.ports import Store


def adopt(handle: Handle, store: Store, world_id: str) -> None:
    """Make a world of the store beneath known, so that it can be gone on with; nothing if there is no such world."""
    try:
        timeline = store.timeline(world_id)
    except WorldNotFound:
        return
    heads = [store.head(span.segment.world_id, at=span.last) for span in timeline.spans]
    database = handle.database
    with database.told(), database.writing, database.transaction() as connection:
        entry = Entry(handle.catalog, connection)
        if entry.tenure(world_id) is not None:
            return
        forms = {entry.form(name, schema) for name, schema in timeline.tables.items()}
        branch = None
        for span, head in zip(timeline.spans, heads, strict=True):
            segment, last = span.segment, span.last
            branch = entry.find(segment.world_id, segment.run_id)
            if branch is not None and branch.last >= last:
                continue
            branch = entry.advance(branch, last=last, sealed=last) if branch else entry.open(segment, last, last)
            # When each table was written is the store's to know; that it may be there is enough here.
            entries = dict.fromkeys(forms, (0, last - branch.first))
            number = row_id(branch.id, last - branch.first)
            record = Record(head.next_entity_id, head.applied, last - branch.first, {}, entries)
            entry.write(number, pack(number, record), None)
        assert branch is not None
        entry.hold(None, world_id, branch.id, handle.presence.name, handle.presence.token)
        entry.finish()
