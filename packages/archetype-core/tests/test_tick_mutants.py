"""The model of the tick notices when the engine breaks a promise."""

from __future__ import annotations

import logging

import pytest
from tick_model import Add, Assign, Despawn, Held, Op, Remove, Send, Spawn, Update
from tick_mutants import MUTANTS
from tick_program import Acts, Attempt, Fork, Line, Reopen, Stage, Step
from tick_replay import played


def _busy(number: int) -> Acts:
    """What the processors of one table stage with ``commands``."""
    spawned: Held = {"Body": {"x": number}, "Drive": {}}
    return (
        ("commands", Update((1, 2), {"Body": {"x": number}})),
        ("commands", Spawn((spawned,))),
        ("messages", Send(number, number)),
    )


_FULL = Attempt(
    hook=(Spawn(({"Body": {}}, {"Purse": {}})), Send(1, 1), Update((3,), {"Purse": {"note": "hook"}})),
    acts=tuple((number, _busy(number)) for number in range(12)),
    solo=(0, (("handle", Update((2,), {"Body": {"y": 1}})), ("to_thread", Send(2, 2)))),
    skips=(0,),
    watches=True,
)
_CHANGES: Acts = (
    ("handle", Spawn(({"Body": {}}, {"Body": {}, "Drive": {"dx": 6}}))),
    ("handle", Spawn(({"Purse": {"note": "b"}},) * 2, "table")),
    ("handle", Update((2,), {"Body": {"x": 30}})),
    ("task", Add((1,), {"Purse": {"note": "c"}})),
    ("handle", Update((2,), {"Body": {"x": 31}, "Drive": {"dx": 9}})),
    ("to_thread", Remove((2,), ("Drive",))),
    ("handle", Remove((8,), ("Purse",))),
    ("handle", Add((8,), {"Purse": {"gold": None}, "Marked": {}})),
    ("handle", Despawn((5,))),
    ("handle", Send(2, 4)),
)
_FAILED = Attempt(
    hook=_FULL.hook, acts=_FULL.acts, solo=_FULL.solo, late=(Update((1,), {"Body": {"x": 77}}),), fails=(1, "after")
)


def _staged(branch: int, *ops: Op) -> tuple[Line, ...]:
    return tuple(Stage(branch, op) for op in ops)


PROGRAM: tuple[Line, ...] = (
    *_staged(
        0,
        Spawn(
            (
                {"Body": {"x": 1}},
                {"Body": {"x": 2}, "Drive": {}},
                {"Body": {"x": 3}, "Drive": {"dx": 3}, "Purse": {}},
                {"Body": {}, "Purse": {"gold": None}},
                {"Body": {}, "Drive": {}, "Marked": {}},
            )
        ),
    ),
    Step(0),
    # Fields that are written while processors write others; a spawn that ends at once; a despawn.
    *_staged(
        0,
        Update((2,), {"Body": {"x": 50}}),
        Update((2,), {"Body": {"x": 60}}),
        Assign(3, "Body", {"y": 7}),
        Update((5,), {"Body": {"y": 8}}),
        Spawn(({"Body": {}},)),
        Despawn((6, 4)),
        Update((4,), {"Body": {"x": 1}}),
        Send(3, 3),
    ),
    Step(0, Attempt(watches=True)),
    # Moves, among them one that comes back, and new rows that are not in the order of their ids.
    *_staged(
        0,
        Spawn(({"Body": {}, "Drive": {}},)),
        Add((1,), {"Drive": {"dx": 4}}),
        Remove((3,), ("Purse",)),
        Remove((5,), ("Body",)),
        Add((5,), {"Body": {"x": 5}}),
        Spawn(({"Purse": {}},)),
    ),
    Step(0, Attempt(watches=True)),
    *_staged(0, Add((3,), {"Purse": {"note": "again"}}), Update((8,), {"Purse": {"gold": 1}})),
    Step(0, _FAILED),
    *_staged(0, Update((8,), {"Purse": {"gold": 2}}), Update((2,), {"Drive": {"dx": 2}})),
    Step(0, Attempt(hook=_FULL.hook, acts=_FULL.acts, fault="conflict")),
    Step(0, Attempt(hook=_FULL.hook, acts=_FULL.acts, fault="lost")),
    Step(0, _FULL),
    Step(0, Attempt(watches=True)),
    Reopen(0),
    *_staged(0, Spawn(({"Body": {}},)), Despawn((9,))),
    Step(0, Attempt(acts=_FULL.acts, fault="stored")),
    Step(0),
    *_staged(0, Send(1, 5)),
    Step(0, Attempt(acts=_FULL.acts)),
    Fork(0, None, "copy"),
    Step(1, Attempt(watches=True)),
    Step(0, Attempt(watches=True, late=(Update((1,), {"Body": {"x": 5}}),))),
    # Two worlds: what is staged for the other one, and what comes from outside while a tick runs.
    Step(0, Attempt(solo=(0, (("foreign", Send(1, 6)), ("foreign", Spawn(({"Body": {}},))))), fails=(0, "after"))),
    Step(1, Attempt(watches=True)),
    Step(0, Attempt(solo=(0, (("foreign", Send(1, 7)), ("foreign", Update((2,), {"Body": {"x": 9}})))))),
    Step(1, Attempt(watches=True)),
    Step(1, Attempt(watches=True)),
    Step(0, Attempt(solo=(0, (("outside", Remove((2,), ("Drive",))), ("handle", Update((2,), {"Drive": {"dx": 8}})))))),
    *_staged(0, Spawn(({"Drive": {}},))),
    Fork(0, 2),
    Step(0, Attempt(acts=_FULL.acts, fault="lost")),
    Fork(0, 2),
    Step(0),
    Fork(0, 2),
    Step(0),
    Fork(0, 2),
    *_staged(2, Despawn((1,)), Spawn(({"Body": {}},))),
    Step(2, Attempt(acts=_FULL.acts, watches=True)),
    Reopen(2),
    *_staged(1, Send(1, 8)),
    Step(1),
    Reopen(1),
    Step(1, Attempt(watches=True)),
    # What comes from outside while an attempt fails is later than what was staged; only a message waits in a tick in doubt.
    *_staged(1, Update((2,), {"Body": {"x": 1}})),
    Step(1, Attempt(solo=(0, (("outside", Update((2,), {"Body": {"x": 2}})),)), fails=(0, "after"))),
    Step(1),
    *_staged(1, Send(1, 9)),
    Step(1, Attempt(fault="lost")),
    Step(1),
)

# What processors stage is part of their tick: it is there after a restart, and in a fork of that tick.
_INSIDE = Attempt(acts=tuple((number, _busy(number)) for number in (2, 3, 4)), solo=(0, _CHANGES))
RESTARTS: tuple[Line, ...] = (
    *PROGRAM[:2],
    Step(0, Attempt(acts=_FULL.acts[1:2], solo=(0, _CHANGES))),
    Fork(0),
    Reopen(0),
    *_staged(0, Send(2, 1)),
    Step(0, Attempt(watches=True)),
    Step(0, Attempt(watches=True)),
    Step(1, Attempt(watches=True)),
    Step(0, _INSIDE),
    Step(0),
    Fork(0, 1, "copy"),
    *_staged(0, Update((2,), {"Body": {"x": 1}})),
    Fork(0, None),
    Fork(0, 1),
    Step(2, Attempt(watches=True)),
)
PROGRAMS = (PROGRAM, RESTARTS)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """What fails on purpose is logged with its traceback, which takes longer than the program."""
    caplog.set_level(logging.CRITICAL, logger="archetype")


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_is_right(program: tuple[Line, ...]) -> None:
    """Unbroken, the engine does what the model says."""
    played(program)


@pytest.mark.parametrize("name", MUTANTS)
def test_a_program_finds_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of the programs notices it."""
    MUTANTS[name](monkeypatch)
    with pytest.raises(Exception):  # noqa: B017, PT011  # reason: a broken engine may fail anyhow
        _play_all()


def _play_all() -> None:
    for program in PROGRAMS:
        played(program)
