"""The state of a world at a tick: all entities with all their components."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from archetype_core.command import TickTables
from archetype_core.schema import Snapshot
from archetype_server.answer import EntityState
from archetype_server.problem import Unprocessable


def entity(found: TickTables, entity_id: int) -> list[dict[str, Any]] | None:
    """Return the payloads of one entity's components; ``None`` if it is not alive at that tick."""
    for snapshot in found.tables.values():
        place = pc.index(snapshot.entity_ids, entity_id).as_py()
        if place >= 0:
            ((_, payloads),) = decoded(snapshot.slice(place, 1))
            return payloads
    return None


def decoded(snapshot: Snapshot) -> list[tuple[int, list[dict[str, Any]]]]:
    """Return the entities of a table with the payloads of their components."""
    found = []
    for row in snapshot.to_arrow().to_pylist(maps_as_pydicts="strict"):
        payloads = [kind.decode(row).to_payload() for kind in snapshot.archetype.components]
        found.append((row["entity_id"], payloads))
    return found


def page(found: TickTables, after: int, limit: int) -> tuple[list[EntityState], bool]:
    """Return the next entities of a state by id, those above one, and whether none follows them."""
    least: list[np.ndarray[Any, np.dtype[np.int64]]] = [np.empty(0, np.int64)]
    for snapshot in found.tables.values():
        ids = np.asarray(snapshot.entity_ids)
        ids = ids[ids > after]
        # One more than the page, which tells whether it is the last.
        least.append(ids if len(ids) <= limit else np.partition(ids, limit)[: limit + 1])
    ids = np.sort(np.concatenate(least))
    chosen = ids[:limit]
    wanted = pa.array(chosen)
    items: dict[int, list[dict[str, Any]]] = {}
    for snapshot in found.tables.values():
        has = np.asarray(snapshot.entity_ids)
        places = np.isin(has, chosen).nonzero()[0]
        if len(places):
            items.update(decoded(snapshot.take(pa.array(places))))
    return [EntityState(one, items[one]) for one in wanted.to_pylist()], len(ids) <= limit


def wide(found: TickTables, limit: int) -> pa.Table:
    """Return a state as one table; what an entity does not have is null."""
    if sum(one.num_rows for one in found.tables.values()) > limit:
        raise Unprocessable(f"the state has more than {limit} rows: ask for some components at a time")
    tables = [one.to_arrow() for one in found.tables.values()]
    if not tables:
        return pa.table({"entity_id": pa.array([], pa.int64())})
    whole = pa.concat_tables([one.replace_schema_metadata(None) for one in tables], promote_options="permissive")
    return whole.append_column("tick", pa.repeat(pa.scalar(found.tick, pa.int64()), whole.num_rows)).sort_by(
        "entity_id"
    )
