"""What a journal takes up from the store beneath: worlds, and ticks, that it has not heard of enter its catalog as sealed."""

from __future__ import annotations

from collections.abc import Iterator

from archetype_core.errors import CorruptStore, WorldNotFound
from archetype_core.store import Span, Store
from archetype_journal.catalog import Entry, SegmentEntry
from archetype_journal.open_journal import OpenJournal
from archetype_journal.reader import View
from archetype_journal.record import TickRecord, pack, row_id


def adopt(handle: OpenJournal, store: Store, world_id: str) -> None:
    """Make a world of the store beneath known, so that it can be gone on with; nothing if there is no such world."""
    try:
        timeline = store.timeline(world_id)
    except WorldNotFound:
        return
    heads = [store.head(span.segment.world_id, at=span.last) for span in timeline.spans]
    database = handle.database
    with database.told(), database.writing, database.transaction() as connection:
        entry = Entry(handle.catalog, connection)
        tenure = entry.tenure(world_id)
        if tenure is not None:
            active = entry.branch(tenure.segment)
            if active.sealed < active.last:
                # Somebody has gone on with it meanwhile.
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
            record = TickRecord(head.next_entity_id, head.applied, last - branch.first, {}, entries)
            entry.write(number, pack(number, record), None)
        assert branch is not None
        owner = (tenure.owner, tenure.token) if tenure else (handle.presence.name, handle.presence.token)
        entry.hold(tenure, world_id, branch.id, *owner)
        entry.finish()


def agree(handle: OpenJournal, store: Store) -> None:
    """See to it that a journal and the store beneath are of one moment; ``CorruptStore`` where one of them is an older copy.

    What the store has and the journal has not heard of is taken up, unless ticks that wait in the journal contradict it.
    """
    with handle.reader.read() as view:
        active = {world_id: view.active(world_id) for world_id in view.worlds}
        told = {world_id: list(_handed_over(view, branch)) for world_id, branch in active.items() if branch is not None}
    # What the journal says it handed over was handed over before it said so, and what the store has was in the journal
    # before: so one is read before the store is looked at, and the other after.
    spans = {world_id: _spans(store, world_id) for world_id in told}
    for world_id, found in spans.items():
        for one, last in told[world_id]:
            there = max((span.last for span in found if span.segment == one.segment), default=one.first - 1)
            if there < last:
                raise _apart(handle, store, one, there)
        tip = found[-1] if found else None
        with handle.reader.read() as view:
            branch = view.active(world_id)
            assert branch is not None
            known = None if tip is None else view.find(tip.segment.world_id, tip.segment.run_id)
        if tip is None or (known is not None and known.last >= tip.last):
            continue
        if branch.sealed < branch.last:
            raise _apart(handle, store, branch, tip.last)
        adopt(handle, store, world_id)


def _handed_over(view: View, active: SegmentEntry) -> Iterator[tuple[SegmentEntry, int]]:
    """A world's own segments, newest first, and to which tick of each it has what the store got."""
    branch, last = active, active.last
    while True:
        yield branch, min(branch.sealed, last)
        above = view.parent(branch)
        if above is None or above[0].segment.world_id != active.segment.world_id:
            return
        branch, last = above


def _spans(store: Store, world_id: str) -> tuple[Span, ...]:
    """A world's history in a store."""
    try:
        return store.timeline(world_id).spans
    except WorldNotFound:
        return ()


def _apart(handle: OpenJournal, store: Store, branch: SegmentEntry, last: int) -> CorruptStore:
    name = branch.segment.name
    told = f"the journal has world {name!r} to tick {branch.last} and handed over those to {branch.sealed}"
    remedy = (
        "one is an older copy than the other, or the world was gone on with from another journal: "
        "put back both from the same backup, or open the other journal"
    )
    return CorruptStore(str(handle.database.path), f"{told}, and {store!r} has it to {last}; {remedy}")
