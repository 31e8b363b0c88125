"""The code of one of two processes that step the same world at the same tick, and of the process that reads it afterwards."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa

from archetype_contracts.crash.program import Notice
from archetype_contracts.crash.session import Opener, Report
from archetype_contracts.script import identifier
from archetype_core import World
from archetype_core.errors import TickConflict
from archetype_core.schema import Archetype
from archetype_core.store import TICK, Scan

NAME = "raced"


async def run(opener: Opener, place: Path, rounds: int, barrier: int, report: Report) -> None:
    """Open the place, race for ``rounds`` ticks, and report which ticks were won and lost."""
    report(ready="open")
    os.read(barrier, 1)
    store = opener(place)
    for number in range(rounds):
        known = [record for record in store.worlds() if record.name == NAME]
        if known:
            world = await World.open(store, NAME)
        else:
            world = World(store, NAME, seed=1, world_id=identifier(NAME), run_id=identifier(f"{NAME} run"))
        report(ready=number, at=world.tick)
        os.read(barrier, 1)
        for _ in range(2):
            world.spawn(Notice(text=f"{os.getpid()} at {world.tick}"))
        tick = world.tick
        try:
            await world.step()
        except TickConflict as conflict:
            report(lost=tick, owner=conflict.owner, expected=conflict.expected, got=conflict.got)
        else:
            report(won=tick)
    store.close()


def read(opener: Opener, place: Path, report: Report) -> None:
    """Report what every tick of the raced world shows: the texts of its rows, in order."""
    store = opener(place)
    (record,) = [record for record in store.worlds() if record.name == NAME]
    table = Archetype.of(Notice)
    report(worlds=len(store.worlds()), head=record.tick)
    for span in store.timeline(record.world_id).between():
        scan = Scan(table.name, span.segment, span.first, span.last, ("entity_id", TICK, "notice__text"))
        rows = pa.Table.from_batches(list(store.scan(scan)), scan.schema(table.schema))
        for row in rows.to_pylist():
            report(row=[row[TICK], row["entity_id"], row["notice__text"]])
    store.close()
