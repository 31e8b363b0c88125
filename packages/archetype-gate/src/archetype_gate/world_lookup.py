"""Finds a world in a backend by id or name, and checks ids, names and that store and ledger belong together."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from archetype_core.command import WorldInfo
from archetype_core.errors import AmbiguousWorld, CorruptStore, WorldExists, WorldNotFound
from archetype_core.store import Segment, WorldRecord
from archetype_gate.ledger import LedgerWorld
from archetype_gate.live_world import LiveWorld
from archetype_gate.storage import Backend


def find_stored(backend: Backend, id_or_name: str) -> tuple[str, LedgerWorld | None, WorldRecord | None]:
    """Return a world's id, with its ledger entry and its store record where these exist.

    An id goes before a name. ``WorldNotFound`` lists the worlds that exist; ``AmbiguousWorld`` if several worlds that
    were run without a gate have that name.
    """
    records = {one.world_id: one for one in backend.store.worlds()}
    entry = backend.ledger.find_world(id_or_name)
    if entry is not None:
        return entry.segment.world_id, entry, records.get(entry.segment.world_id)
    if id_or_name in records:
        return id_or_name, None, records[id_or_name]
    # Worlds that were run without a gate are not in the ledger.
    named = [
        one for one in records.values() if one.name == id_or_name and backend.ledger.find_world(one.world_id) is None
    ]
    if len(named) > 1:
        raise AmbiguousWorld(id_or_name, sorted(one.world_id for one in named))
    if not named:
        destroyed = {one.segment.world_id for one in backend.ledger.worlds() if not one.is_open}
        present = sorted(f"{one.name} ({one.world_id})" for one in records.values() if one.world_id not in destroyed)
        raise WorldNotFound(id_or_name, present)
    return named[0].world_id, None, named[0]


def world_exists(backend: Backend, world_id: str | None) -> bool:
    """Whether the ledger or the store has a world with that id."""
    if world_id is None:
        return False
    entry = backend.ledger.find_world(world_id)
    if entry is not None and entry.segment.world_id == world_id:
        return True
    return any(one.world_id == world_id for one in backend.store.worlds())


def check_name(backend: Backend, name: str | None) -> None:
    """Raise ``WorldExists`` if a world that is not destroyed has the name."""
    if name is None:
        return
    entry = backend.ledger.find_world(name)
    if entry is not None and entry.segment.name == name and entry.is_open:
        raise WorldExists(name, entry.segment.world_id)
    for record in backend.store.worlds():
        if record.name == name and backend.ledger.find_world(record.world_id) is None:
            raise WorldExists(name, record.world_id)


def check_no_ticks_lost(backend: Backend, entry: LedgerWorld, record: WorldRecord | None) -> None:
    """Raise ``CorruptStore`` if the ledger settled ticks that the store does not have."""
    before_first = entry.segment.first_tick - 1
    last = before_first if record is None else record.tick
    if entry.settled_tick > max(last, before_first):
        raise CorruptStore(
            repr(backend.store),
            f"its ledger has world {entry.segment.name!r} up to tick {entry.settled_tick}, "
            f"the store {f'only up to tick {last}' if record else 'does not have it'}: restore store and ledger together",
        )


def world_infos(backend: Backend, find_live: Callable[[str], LiveWorld | None]) -> Iterator[WorldInfo]:
    """Describe every world of a backend that is not destroyed, by id."""
    entries = {one.segment.world_id: one for one in backend.ledger.worlds()}
    records = {one.world_id: one for one in backend.store.worlds()}
    for world_id in sorted(entries.keys() | records.keys()):
        live, entry, record = find_live(world_id), entries.get(world_id), records.get(world_id)
        if live is not None:
            yield live.info()
            continue
        if entry is not None and not entry.is_open:
            continue
        segment = entry.segment if entry else None
        named: Segment | WorldRecord | None = record or segment
        assert named is not None
        yield WorldInfo(
            world_id=world_id,
            name=named.name,
            run_id=named.run_id,
            seed=segment.seed if segment else None,
            tick=record.tick + 1 if record else (segment.first_tick if segment else 0),
            storage=backend.config.uri,
            is_live=False,
            parent=segment.parent.world_id if segment and segment.parent else None,
        )
