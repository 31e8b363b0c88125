"""Whatever is staged, fails, forks and restarts, worlds and the model of the tick agree (T1 to T7, T9, R3, R5)."""

from __future__ import annotations

import pytest
from hypothesis import settings
from tick_machine import TickMachine
from tick_model import Despawn, Send, Spawn
from tick_program import Attempt, Fork, Stage, Step
from tick_replay import played_once

_TWO_TABLES = (Stage(0, Spawn(({"Body": {}}, {"Body": {}, "Purse": {}}))), Step(0))


TestQuick = TickMachine.TestCase
TestQuick.settings = settings(max_examples=15, stateful_step_count=6)


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(
            (*_TWO_TABLES, Step(0, Attempt(hook=(Send(1, 0),), fault="lost")), Fork(0), Step(0)),
            id="a message that waits in a tick in doubt is pending",
        ),
        pytest.param(
            (
                *_TWO_TABLES,
                Step(0, Attempt(acts=((0, (("commands", Spawn(({"Body": {}},))),)),), fault="conflict")),
                Stage(0, Spawn(({"Body": {}},))),
            ),
            id="ids of a table's block are given back when the commit fails",
        ),
        pytest.param(
            (
                *_TWO_TABLES,
                Step(0, Attempt(acts=((0, (("commands", Spawn(({"Body": {}},))),)),), fault="lost")),
                Step(0),
                Stage(0, Spawn(({"Body": {}},))),
            ),
            id="ids of a table's block are given back when a tick in doubt is not stored",
        ),
        *(
            pytest.param(
                (
                    *_TWO_TABLES,
                    Fork(0),
                    Step(0, Attempt(solo=(0, (("foreign", Spawn(({"Body": {}},), "many")),)), fault=fault)),
                    Step(0, Attempt(solo=(0, (("foreign", Spawn(({"Body": {}},), "many")),)))),
                ),
                id=f"ids of another world are given back when the commit is a failure: {fault}",
            )
            for fault in ("conflict", "refused")
        ),
        *(
            pytest.param(
                (
                    *_TWO_TABLES,
                    Stage(0, Spawn(({"Purse": {}},))),
                    Step(0, Attempt(fault=fault)),
                    Stage(0, Despawn((3,))),
                    Stage(0, Send(3, 7)),
                    Step(0),
                    Step(0),
                ),
                id=f"an entity of a tick in doubt that leaves takes messages as long as it may be alive: {fault}",
            )
            for fault in ("refused", "lost", "stored")
        ),
    ],
)
def test_what_the_machine_found(lines: tuple[Stage | Step | Fork, ...]) -> None:
    """Programs that once told the engine from the model."""
    played_once(lines)
