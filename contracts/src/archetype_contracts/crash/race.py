"""One of two processes that open the same world at the same tick and both step it."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa

from archetype_contracts.crash.program import Notice
from archetype_contracts.crash.stepping import Opener, Tell
from archetype_contracts.script import identifier
from archetype_core import World
from archetype_core.errors import TickConflict
from archetype_core.schema import Archetype
from archetype_core.store import TICK, Scan

NAME = "raced"


async def run(opener: Opener, place: Path, rounds: int, gate: int, tell: Tell) -> None:
    """Race for so many ticks, from opening the place on; tell what was won and what was lost to whom."""
    tell(ready="open")
    os.read(gate, 1)
    store = opener(place)
    for number in range(rounds):
        known = [record for record in store.worlds() if record.name == NAME]
        if known:
            world = await World.open(store, NAME)
        else:
            world = World(store, NAME, seed=1, world_id=identifier(NAME), run_id=identifier(f"{NAME} run"))
        tell(ready=number, at=world.tick)
        os.read(gate, 1)
        for _ in range(2):
            world.spawn(Notice(text=f"{os.getpid()} at {world.tick}"))
        tick = world.tick
        try:
            await world.step()
        except TickConflict as conflict:
            tell(lost=tick, owner=conflict.owner, expected=conflict.expected, got=conflict.got)
        else:
            tell(won=tick)
    store.close()


def read(opener: Opener, place: Path, tell: Tell) -> None:
    """Tell what every tick of the raced world shows: the texts of its rows, in order."""
    store = opener(place)
    (record,) = [record for record in store.worlds() if record.name == NAME]
    table = Archetype.of(Notice)
    tell(worlds=len(store.worlds()), head=record.tick)
    for span in store.timeline(record.world_id).between():
        scan = Scan(table.name, span.segment, span.first, span.last, ("entity_id", TICK, "notice__text"))
        rows = pa.Table.from_batches(list(store.scan(scan)), scan.schema(table.schema))
        for row in rows.to_pylist():
            tell(row=[row[TICK], row["entity_id"], row["notice__text"]])
    store.close()
