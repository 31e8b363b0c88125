"""The state machine of the door: it draws a program line by line, plays it on a runtime and on the model, and audits it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from door_player import Player
from door_program import (
    Ask,
    Below,
    Call,
    Compare,
    Declare,
    End,
    Fork,
    Give,
    Ids,
    Line,
    Look,
    Reopen,
    Roll,
    Run,
    Seal,
    Submit,
    Take,
    Tick,
    Write,
    WriteTable,
    WriteWhere,
)
from door_scene import SETS, Memory
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from tick_machine import BUNDLES, ENTITIES, values
from tick_model import Held, Send, Spawn

PARTS = ("Body", "Drive", "Purse", "Marked")
NUMBERS = {"Body": ("x", "y"), "Drive": ("dx",), "Purse": ("gold",)}
"""The fields that are numbers."""
_NUMBER = st.integers(0, 9)
_FIELD = st.sampled_from([(part, name) for part, names in NUMBERS.items() for name in names])
_SOME = st.lists(ENTITIES, max_size=3).map(tuple)
_IDS = st.builds(Ids, _SOME, st.sampled_from(["one", "one", "list", "tuple", "numpy", "arrow"]))
BELOW = st.builds(lambda field, bound: Below(field[0], field[1], bound), _FIELD, st.integers(0, 12))
_WHOM = _IDS | BELOW
_SPAWN = st.builds(Spawn, st.lists(BUNDLES, max_size=2).map(tuple), st.sampled_from(["one", "many"])) | st.builds(
    lambda bundle, count: Spawn((bundle,) * count, "table"),
    BUNDLES.filter(lambda one: one.keys() != {"Marked"}),
    st.integers(1, 3),
)


@st.composite
def _tables(draw: Any) -> WriteTable:
    entities = draw(_SOME)
    columns = draw(st.lists(_FIELD, max_size=3, unique=True))
    rows = st.lists(_NUMBER, min_size=len(entities), max_size=len(entities)).map(tuple)
    filled = tuple((part, name, draw(_NUMBER | rows)) for part, name in columns)
    return WriteTable(entities, filled, draw(st.sampled_from(["mapping", "keys", "arrow", "entities"])))


_PARTS = st.lists(st.sampled_from(PARTS), min_size=1, max_size=2, unique=True).map(tuple)
_ONE_PART = st.sampled_from(PARTS).flatmap(lambda name: st.fixed_dictionaries({name: values(name)}))
ASKS: st.SearchStrategy[Ask] = st.one_of(
    _SPAWN,
    st.builds(Write, _WHOM, _ONE_PART | BUNDLES),
    _tables(),
    st.builds(
        lambda where, field, number, more: WriteWhere(where, field[0], field[1], number, more),
        BELOW,
        _FIELD,
        _NUMBER,
        st.booleans(),
    ),
    st.builds(Give, _WHOM, BUNDLES),
    st.builds(Take, _WHOM, _PARTS),
    st.builds(End, _WHOM),
    st.builds(Send, ENTITIES, st.integers(0, 99)),
)
_BRANCH = st.sampled_from([0, 0, 1, 2])
_LATER = st.none() | st.integers(0, 2)


class DoorMachine(RuleBasedStateMachine):
    """Draws a program over everything that a runtime offers."""

    make: ClassVar[Callable[[], Memory]] = Memory

    def __init__(self) -> None:
        super().__init__()
        self.player = Player(type(self).make)
        self.is_well = True

    def play(self, line: Line) -> None:
        self.is_well = False
        self.player.play(line)
        self.is_well = True

    @initialize(
        bundles=st.lists(
            st.fixed_dictionaries({"Body": values("Body")}, optional={name: values(name) for name in PARTS[1:]}),
            min_size=3,
            max_size=4,
        )
    )
    def begin(self, bundles: list[Held]) -> None:
        self.play(Call(0, Spawn(tuple(bundles))))
        self.play(Tick(0))

    @rule(branch=_BRANCH, asks=st.lists(ASKS, min_size=1, max_size=4))
    def call(self, branch: int, asks: list[Ask]) -> None:
        for ask in asks:
            self.play(Call(branch, ask))

    @rule(
        branch=_BRANCH,
        asks=st.lists(ASKS, min_size=1, max_size=3),
        later=_LATER,
        priority=st.integers(-1, 1),
        together=st.booleans(),
    )
    def submit(self, branch: int, asks: list[Ask], later: int | None, priority: int, together: bool) -> None:
        for some in [tuple(asks)] if together else [(ask,) for ask in asks]:
            self.play(Submit(branch, some, later, priority))

    @rule(
        asks=st.lists(ASKS, max_size=3),
        tick=st.builds(
            Tick, _BRANCH, st.sampled_from([0, 0, 1, 2]), st.booleans(), st.lists(ASKS, max_size=2).map(tuple)
        ),
    )
    def tick(self, asks: list[Ask], tick: Tick) -> None:
        for ask in asks:
            self.play(Call(tick.branch, ask))
        self.play(tick)

    @rule(branch=_BRANCH, steps=st.integers(1, 3))
    def run(self, branch: int, steps: int) -> None:
        self.play(Run(branch, steps))

    @rule(branch=_BRANCH, at=st.none() | st.integers(0, 9), pending=st.sampled_from(["refuse", "copy"]))
    def fork(self, branch: int, at: int | None, pending: Any) -> None:
        self.play(Fork(branch, at, pending))

    @rule(branch=_BRANCH, rules=st.sampled_from(sorted(SETS)), is_shut_down=st.booleans())
    def declare(self, branch: int, rules: str, is_shut_down: bool) -> None:
        self.play(Declare(branch, rules, is_shut_down))

    @rule(branch=_BRANCH, name=st.sampled_from(["r1", "r2"]))
    def roll(self, branch: int, name: str) -> None:
        self.play(Roll(branch, name))

    @rule(
        line=st.builds(
            Look, _BRANCH, st.sampled_from(PARTS), st.integers(0, 7), st.integers(0, 4), BELOW, st.booleans()
        )
    )
    def look(self, line: Look) -> None:
        self.play(line)

    @rule(branch=_BRANCH, other=_BRANCH, before=st.integers(0, 9), after=st.integers(0, 9), field=_FIELD)
    def compare(self, branch: int, other: int, before: int, after: int, field: tuple[str, str]) -> None:
        self.play(Compare(branch, other, before, after, *field))

    @rule()
    def seal(self) -> None:
        self.play(Seal())

    @rule()
    def reopen(self) -> None:
        self.play(Reopen())

    def teardown(self) -> None:
        try:
            if self.is_well:
                self.player.finish()
        finally:
            self.player.close()
