"""The state machine of the tick: it draws a program line by line, and plays it again in other ways when it ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from tick_model import Add, Assign, Despawn, Held, Op, Remove, Send, Spawn, Update
from tick_player import Player
from tick_program import Attempt, Fork, Line, Reopen, Stage, Step
from tick_replay import compare_replays
from tick_scene import Place

# Most of the first entities are alive; the others may be, and nobody has ever heard of the last one.
ENTITIES = st.sampled_from([1, 2, 3, 4, 1, 2, 3, 4, 5, 6, 7])
_SOME = st.lists(ENTITIES, min_size=1, max_size=3).map(tuple)
_NOON = datetime(2026, 6, 1, 12)
_TIMES = st.sampled_from(
    [
        None,
        _NOON,
        _NOON.replace(tzinfo=UTC),
        _NOON.replace(tzinfo=ZoneInfo("Europe/Berlin")),
        _NOON.replace(tzinfo=timezone(timedelta(hours=5))),
    ]
)
_NUMBERS = st.integers(0, 9)
_FIELDS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "Body": {"x": _NUMBERS, "y": _NUMBERS},
    "Drive": {"dx": _NUMBERS},
    "Purse": {"gold": st.none() | _NUMBERS, "note": st.sampled_from(["", "a", "b"]), "due": _TIMES},
    "Marked": {},
}
_NAMES = tuple(_FIELDS)


def values(name: str) -> st.SearchStrategy[dict[str, Any]]:
    """Some fields of a component, with values."""
    return st.fixed_dictionaries({}, optional=_FIELDS[name])


BUNDLES: st.SearchStrategy[Held] = st.fixed_dictionaries({}, optional={name: values(name) for name in _NAMES}).filter(
    bool
)
_FIRST = st.fixed_dictionaries(
    {"Body": values("Body")}, optional={name: values(name) for name in ("Drive", "Purse", "Marked")}
)
_SPAWN = st.builds(
    Spawn, st.lists(BUNDLES, min_size=1, max_size=2).map(tuple), st.sampled_from(["one", "many"])
) | st.builds(
    lambda bundle, count: Spawn((bundle,) * count, "table"),
    BUNDLES.filter(lambda one: one.keys() != {"Marked"}),
    st.integers(1, 3),
)
_UPDATE = st.builds(
    Update,
    _SOME,
    st.sampled_from(["Body", "Drive", "Purse"]).flatmap(lambda name: st.fixed_dictionaries({name: values(name)})),
) | st.builds(Update, _SOME, BUNDLES)
_ASSIGN = st.sampled_from(["Body", "Drive", "Purse"]).flatmap(
    lambda name: st.builds(Assign, ENTITIES, st.just(name), values(name))
)
_ADD = st.builds(Add, _SOME, BUNDLES)
_REMOVE = st.builds(Remove, _SOME, st.lists(st.sampled_from(_NAMES), min_size=1, max_size=2, unique=True).map(tuple))
_DESPAWN = st.builds(Despawn, _SOME)
_SEND = st.builds(Send, ENTITIES, st.integers(0, 99))
_MANY: st.SearchStrategy[Op] = _UPDATE | _ADD | _REMOVE | _SPAWN | _ASSIGN | _DESPAWN | _SEND
# A handle takes one entity where commands take many.
OPS = _MANY.map(lambda op: replace(op, entities=op.entities[:1]) if isinstance(op, Update | Add | Remove) else op)
_ONE: st.SearchStrategy[Any] = _UPDATE | _ADD | _REMOVE | _DESPAWN
_FEW_OPS = st.lists(OPS, max_size=2).map(tuple)

_PICK = st.integers(0, 11)
_ROUTES = st.sampled_from(["commands", "commands", "messages", "thread"])
_SOLO = st.sampled_from(["handle", "task", "to_thread", "foreign", "outside"])
_ATTEMPT = st.builds(
    Attempt,
    hook=_FEW_OPS,
    acts=st.lists(
        st.tuples(_PICK, st.lists(st.tuples(_ROUTES, _MANY), min_size=1, max_size=2).map(tuple)), max_size=3
    ).map(tuple),
    solo=st.none() | st.tuples(_PICK, st.lists(st.tuples(_SOLO, OPS), min_size=1, max_size=2).map(tuple)),
    late=st.just(()) | _FEW_OPS,
    skips=st.just(()) | st.lists(_PICK, max_size=2).map(tuple),
    fails=st.none() | st.tuples(_PICK, st.sampled_from(["before", "after"])),
    fault=st.none() | st.sampled_from(["conflict", "refused", "lost", "stored"]),
    watches=st.sampled_from([False, False, True]),
)
_BRANCH = st.sampled_from([0, 0, 1, 2])


class TickMachine(RuleBasedStateMachine):
    """Draws a program and plays it on a real world and on the model; then without its failures, and with other threads."""

    make: ClassVar[Callable[[], Place]] = Place

    def __init__(self) -> None:
        super().__init__()
        self.player = Player(type(self).make)
        self.lines: list[Line] = []
        self.is_well = True

    def play(self, line: Line) -> None:
        self.lines.append(line)
        self.is_well = False
        self.player.play(line)
        self.is_well = True

    @initialize(bundles=st.lists(_FIRST, min_size=3, max_size=4))
    def begin(self, bundles: list[Held]) -> None:
        self.play(Stage(0, Spawn(tuple(bundles))))
        self.play(Step(0))

    @rule(branch=_BRANCH, ops=st.lists(OPS, min_size=1, max_size=4))
    def tick(self, branch: int, ops: list[Op]) -> None:
        for op in ops:
            self.play(Stage(branch, op))
        self.play(Step(branch))

    @rule(branch=_BRANCH, ops=_FEW_OPS, attempt=_ATTEMPT, again=st.booleans())
    def attempt(self, branch: int, ops: tuple[Op, ...], attempt: Attempt, again: bool) -> None:
        for op in ops:
            self.play(Stage(branch, op))
        self.play(Step(branch, attempt))
        if attempt.fails or attempt.fault:
            self.play(Step(branch, replace(attempt, fails=None, fault=None) if again else Attempt()))

    @rule(branch=_BRANCH, entity=ENTITIES, ops=st.lists(_ONE, min_size=2, max_size=4))
    def write_often(self, branch: int, entity: int, ops: list[Any]) -> None:
        for op in ops:
            self.play(Stage(branch, replace(op, entities=(entity,))))
        self.play(Step(branch))

    @rule(branch=_BRANCH, bundle=BUNDLES, ops=st.lists(_ONE, min_size=1, max_size=3))
    def write_to_new(self, branch: int, bundle: Held, ops: list[Any]) -> None:
        self.play(Stage(branch, Spawn((bundle,))))
        entity = max(self.player.branches[branch % len(self.player.branches)].model.taken)
        for op in ops:
            self.play(Stage(branch, replace(op, entities=(entity,))))
        self.play(Step(branch))

    @rule(branch=_BRANCH, op=OPS)
    def stage(self, branch: int, op: Op) -> None:
        self.play(Stage(branch, op))

    @rule(branch=_BRANCH, attempt=_ATTEMPT)
    def fail(self, branch: int, attempt: Attempt) -> None:
        self.play(Step(branch, attempt))

    @rule(branch=_BRANCH, at=st.none() | st.integers(0, 9), pending=st.sampled_from(["refuse", "copy"]))
    def fork(self, branch: int, at: int | None, pending: Any) -> None:
        self.play(Fork(branch, at, pending))

    @rule(branch=_BRANCH)
    def reopen(self, branch: int) -> None:
        self.play(Reopen(branch))

    def teardown(self) -> None:
        try:
            if self.is_well:
                self.player.finish()
        finally:
            self.player.close()
        if self.is_well:
            compare_replays(self.player, self.lines)
