"""Naive datetimes that are the second of two equal wall times keep that through everything (M2)."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scene import drive, world

from archetype_core.engine import Processor, World
from archetype_core.errors import ProcessorError
from archetype_core.schema import Component
from archetype_core.store import MemoryStore

WALL = dt.datetime(2026, 10, 25, 2, 30)
FIRST, LAST = dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31, 23, 59, 59, 999999)
FOLDED = st.builds(lambda at, fold: at.replace(fold=fold), st.datetimes(), st.integers(0, 1))


class Slot(pydantic.BaseModel):
    at: dt.datetime


class Appointment(Component):
    at: dt.datetime = WALL
    others: list[dt.datetime] = []
    slot: Slot | None = None


class Sets(Processor):
    """Writes datetimes."""

    components = (Appointment,)

    def __init__(self, values: Any) -> None:
        self.values = values

    def process(self, arrays: Any) -> Any:
        return {Appointment.c.at: self.values}


def exact(value: dt.datetime | None) -> Any:
    """A form in which equal means the same fold too."""
    return None if value is None else (value, value.fold)


@given(FOLDED, st.lists(FOLDED, max_size=2), FOLDED)
def test_fold_is_kept(at: dt.datetime, others: list[dt.datetime], nested: dt.datetime) -> None:
    """A naive datetime keeps ``fold`` through spawn, ticks, the store, reopening and payloads, nested too (M2, R5)."""

    async def scenario() -> None:
        made, store = Appointment(at=at, others=others, slot=Slot(at=nested)), MemoryStore()
        again = Appointment.from_payload(json.loads(json.dumps(made.to_payload())))
        there = world(store=store)
        there.spawn(made)
        await there.run(2)
        opened = await World.open(store, there.world_id, components=[Appointment])
        for one in (again, there.get(1, Appointment), opened.get(1, Appointment)):
            assert exact(one.at) == exact(at)
            assert list(map(exact, one.others)) == list(map(exact, others))
            assert one.slot is not None
            assert exact(one.slot.at) == exact(nested)

    drive(scenario)


def test_processors_return_both_readings() -> None:
    """A processor's datetimes keep ``fold``, at the ends of time too (T8)."""

    async def scenario() -> None:
        sets = Sets(None)
        there = world(sets)
        there.spawn_many([Appointment(), Appointment()])
        await there.step()
        for values in (
            [WALL.replace(fold=1), WALL],
            [LAST.replace(fold=1), FIRST.replace(fold=1)],
        ):
            sets.values = values
            await there.step()
            assert [exact(there.get(one, Appointment).at) for one in (1, 2)] == list(map(exact, values))
        digest = there.digest()
        sets.values = [LAST, FIRST]
        await there.step()
        assert there.get(1, Appointment).at.fold == 0
        assert there.digest() != digest
        sets.values = ["soon", "later"]
        with pytest.raises(ProcessorError, match="appointment__at"):
            await there.step()

    drive(scenario)


def test_conditions_see_wall_times() -> None:
    """A condition on a naive datetime compares wall times, whatever their ``fold``, as Python does (Q2)."""

    async def scenario() -> None:
        there = world()
        there.spawn_many(
            [Appointment(at=WALL), Appointment(at=WALL.replace(fold=1)), Appointment(at=WALL.replace(hour=3))]
        )
        await there.step()
        found = there.query(Appointment, where=Appointment.c.at == WALL).to_pydict()
        assert sorted(found["entity_id"]) == [1, 2]
        there.update(1, Appointment(at=WALL.replace(fold=1)))
        await there.step()
        changed = there.diff(0, 1).to_pydict()
        assert set(changed["entity_id"]) == {1}

    drive(scenario)
