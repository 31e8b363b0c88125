"""A state machine that compares a store with the model, with conflicts, crashes, reopening and forks among its rules."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

from archetype_contracts.assertion import require_equal, require_failure, require_refusal
from archetype_contracts.script import columns_of
from archetype_contracts.store.commit import torn
from archetype_contracts.store.model import (
    TABLES,
    Despawn,
    Edit,
    Rewrite,
    Spawn,
    Step,
    TickState,
    Update,
    World,
    bits_of,
    segment_of,
)
from archetype_contracts.store.observation import read, require_continuation, scan_of
from archetype_contracts.store.subject import StoreSubject
from archetype_contracts.store.transcript import RecordingStore
from archetype_core.errors import CommitError, TickConflict, TickNotFound
from archetype_core.store import Capability

_NUMBERS = st.sampled_from([None, 0.0, -0.0, 1.5, float("nan"), -float("nan"), float("inf"), 5e-324])
_TEXTS = st.sampled_from([None, "", "a", "\0", "é🌍"])
_BYTES = st.sampled_from([None, b"", b"\0", b"\xff"])
_VALUES: dict[str, st.SearchStrategy[tuple[Any, ...]]] = {
    "spot": st.tuples(_NUMBERS),
    "motto": st.tuples(_TEXTS, _BYTES, st.sampled_from([None, 0, -(2**15)])),
    "marked": st.just(()),
}
_NTH = st.integers(0, 3)


def _edits_of(table: str) -> st.SearchStrategy[Edit]:
    spawn = st.builds(Spawn, st.just(table), _VALUES[table])
    return st.one_of(
        spawn,
        spawn,
        st.builds(Update, st.just(table), _NTH, _VALUES[table]),
        st.builds(Despawn, st.just(table), _NTH),
        st.builds(Rewrite, st.just(table)),
    )


EDITS: st.SearchStrategy[list[Edit]] = st.lists(st.one_of(*map(_edits_of, TABLES)), max_size=5)
SPAWNS: st.SearchStrategy[list[Edit]] = st.lists(
    st.one_of(*(st.builds(Spawn, st.just(table), _VALUES[table]) for table in TABLES)), min_size=2, max_size=6
)
ATTEMPTS: st.SearchStrategy[str] = st.one_of(st.uuids().map(str), st.just(""), st.text(max_size=20))
CONTINUATIONS: st.SearchStrategy[bytes] = st.one_of(
    st.just(b""), st.binary(max_size=20), st.sampled_from([b"\0", b"a\0b", bytes(range(256)) * 5])
)


def _steps(edits: st.SearchStrategy[list[Edit]]) -> st.SearchStrategy[Step]:
    return st.builds(Step, edits, ATTEMPTS, CONTINUATIONS)


STEPS = _steps(EDITS)
NAMES = st.sampled_from(["spot", "motto", "marked"])
BACK = st.integers(0, 6)
"""How many ticks before the newest; limited to the history."""


@dataclass(slots=True, eq=False)
class Handle:
    """A variable of the program that holds an open store; reopening replaces the store."""

    store: RecordingStore


F = TypeVar("F", bound=Callable[..., Any])


def _claimed(capability: Capability) -> Callable[[F], F]:
    return precondition(lambda machine: machine.subject.claimed(capability))


class StoreMachine(RuleBasedStateMachine):
    """Programs of commits, forks, conflicts, crashes and reads over one place with up to three handles."""

    handles: Bundle[Handle] = Bundle("handles")
    worlds: Bundle[World] = Bundle("worlds")

    def __init__(self, subject: StoreSubject) -> None:
        super().__init__()
        self.subject = subject
        self.open_handles: list[Handle] = []
        self.model: list[World] = []
        self.names = 0
        self.runs = 1
        subject.__enter__()

    # Writing

    @initialize(target=handles)
    def open(self) -> Handle:
        self.open_handles.append(Handle(self.subject.store))
        return self.open_handles[0]

    @initialize(target=worlds, handle=handles, step=_steps(SPAWNS))
    def make_first_world(self, handle: Handle, step: Step) -> World:
        # Hypothesis switches rules off at random; without this world most programs would have none.
        return self._make_world(handle, step, 0)

    @_claimed(Capability.SHARED)
    @precondition(lambda machine: len(machine.open_handles) < 3)
    @rule(target=handles)
    def open_another(self) -> Handle:
        handle = Handle(self.subject.open())
        self.open_handles.append(handle)
        return handle

    @rule(target=worlds, handle=handles, step=STEPS, first_tick=st.sampled_from([0, 0, 5]))
    def make_world(self, handle: Handle, step: Step, first_tick: int) -> World:
        return self._make_world(handle, step, first_tick)

    @rule(handle=handles, world=worlds, step=STEPS)
    def tick(self, handle: Handle, world: World, step: Step) -> None:
        self._commit(handle, world, [step])

    @rule(handle=handles, world=worlds, steps=st.lists(STEPS, min_size=2, max_size=4))
    def several_ticks(self, handle: Handle, world: World, steps: list[Step]) -> None:
        self._commit(handle, world, steps)

    @rule(target=worlds, handle=handles, world=worlds, back=BACK, step=STEPS)
    def fork(self, handle: Handle, world: World, back: int, step: Step) -> World:
        child = world.fork(self._name(), self._past(world, back).tick)
        self._commit(handle, child, [step])
        self.model.append(child)
        return child

    @rule(handle=handles, world=worlds, step=STEPS)
    def new_run(self, handle: Handle, world: World, step: Step) -> None:
        self.runs += 1
        world.ended.append(world.segment)
        world.next_segment = world.renewed(self.runs)
        self._commit(handle, world, [step])

    # Calls that must fail

    @rule(handle=handles, world=worlds, edits=EDITS, off=st.sampled_from([-1, 1, -2, 2]))
    def commit_another_tick(self, handle: Handle, world: World, edits: list[Edit], off: int) -> None:
        # Also under the attempt that committed the newest tick, which is no excuse.
        commit, _, _ = world.draft(Step(edits, world.states[-1].attempt))
        wrong = replace(commit, tick=world.next_tick + off)
        error = TickConflict if wrong.tick >= world.segment.first_tick else CommitError
        require_refusal(error, lambda: handle.store.commit([wrong]))

    @rule(handle=handles, world=worlds, edits=EDITS)
    def commit_to_an_ended_run(self, handle: Handle, world: World, edits: list[Edit]) -> None:
        for segment in world.ended[-2:]:
            stale = replace(world.draft(Step(edits, world.states[-1].attempt))[0], segment=segment)
            require_refusal(TickConflict, handle.store.commit, [stale])

    @rule(handle=handles, world=worlds, edits=EDITS, before=st.lists(EDITS, max_size=2))
    def crash_between_writes(self, handle: Handle, world: World, edits: list[Edit], before: list[list[Edit]]) -> None:
        tables = [Spawn("spot", (1.0,)), Spawn("marked", ())]
        drafts = self._drafts(world, [Step(each, "broken", b"broken") for each in [*before, [*edits, *tables]]])
        commits = [commit for commit, _, _ in drafts]
        require_failure(lambda: handle.store.commit([*commits[:-1], torn(commits[-1])]))

    @_claimed(Capability.PERSISTENCE)
    @rule()
    def reopen(self) -> None:
        self._replace(self.subject.reopen())

    @_claimed(Capability.PERSISTENCE)
    @rule()
    def abandon_without_close(self) -> None:
        self._replace(self.subject.abandon())

    # Reading

    @rule(handle=handles, world=worlds, back=BACK, table=NAMES)
    def read_tick(self, handle: Handle, world: World, back: int, table: str) -> None:
        state = self._past(world, back)
        self._require_rows(handle, world, table, (state.tick, state.tick))

    @_claimed(Capability.TIME_TRAVEL)
    @rule(
        handle=handles,
        world=worlds,
        first=BACK,
        last=BACK,
        table=NAMES,
        ids=st.none() | st.sets(st.integers(1, 6), max_size=3),
    )
    def read_ticks(
        self, *, handle: Handle, world: World, first: int, last: int, table: str, ids: set[int] | None
    ) -> None:
        low, high = sorted((self._past(world, first).tick, self._past(world, last).tick))
        low = max(low, world.state_at(high).segment.first_tick)
        self._require_rows(handle, world, table, (low, high), ids)

    @rule(handle=handles, world=worlds, beyond=st.integers(0, 2), table=NAMES)
    def read_the_future(self, handle: Handle, world: World, beyond: int, table: str) -> None:
        scan = scan_of(TABLES[table], world.segment, world.next_tick + beyond)
        require_refusal(TickNotFound, lambda: read(handle.store, scan))
        require_refusal(TickNotFound, lambda: handle.store.head(world.world_id, at=world.next_tick + beyond))

    @rule(handle=handles, world=worlds, back=BACK)
    def read_head(self, handle: Handle, world: World, back: int) -> None:
        state = self._past(world, back)
        _require_head(state, handle.store.head(world.world_id, at=state.tick), f"{world} at tick {state.tick}")
        _require_head(world.states[-1], handle.store.head(world.world_id), f"head of {world}")

    @rule(handle=handles, world=worlds)
    def read_timeline(self, handle: Handle, world: World) -> None:
        timeline = handle.store.timeline(world.world_id)
        spans: list[tuple[Any, int, int]] = []
        for state in world.states:
            if spans and spans[-1][0] == state.segment:
                spans[-1] = (state.segment, spans[-1][1], state.tick)
            else:
                spans.append((state.segment, state.tick, state.tick))
        require_equal(spans, [(span.segment, span.first, span.last) for span in timeline.spans], f"spans of {world}")
        require_equal({TABLES[table].name for table in world.known}, set(timeline.tables), f"tables of {world}")

    @invariant()
    def every_handle_knows_every_world(self) -> None:
        expected = sorted(
            (world.world_id, world.name, world.segment.run_id, world.next_tick - 1) for world in self.model
        )
        for handle in self.open_handles:
            records = handle.store.worlds()
            actual = sorted((record.world_id, record.name, record.run_id, record.tick) for record in records)
            require_equal(expected, actual, "worlds")

    def teardown(self) -> None:
        """Compare everything, unless the program failed already, and close."""
        error = sys.exception()
        try:
            if error is None:
                self._require_everything()
        except BaseException as exc:
            error = exc
            raise
        finally:
            self.subject.__exit__(type(error) if error else None, error, None)

    # Helpers of the rules

    def _name(self) -> str:
        self.names += 1
        return f"w{self.names}"

    def _make_world(self, handle: Handle, step: Step, first_tick: int) -> World:
        world = World(self._name())
        world.next_segment = segment_of(world.name, 1, first_tick)
        self._commit(handle, world, [step])
        self.model.append(world)
        return world

    def _past(self, world: World, back: int) -> TickState:
        steps = back if self.subject.claimed(Capability.TIME_TRAVEL) else 0
        return world.states[max(len(world.states) - 1 - steps, 0)]

    def _drafts(self, world: World, steps: Sequence[Step]) -> list[tuple[Any, TickState, frozenset[str]]]:
        ahead = replace(world, states=list(world.states), known_at=list(world.known_at), known=set(world.known))
        drafts = []
        for step in steps:
            applied = tuple(f"{world} {ahead.next_tick} {index}" for index in range(len(step.edits)))
            drafts.append(ahead.draft(step, applied))
            ahead.remember(*drafts[-1][1:])
        return drafts

    def _commit(self, handle: Handle, world: World, steps: Sequence[Step]) -> None:
        drafts = self._drafts(world, steps)
        handle.store.commit([commit for commit, _, _ in drafts])
        for _, state, known in drafts:
            world.remember(state, known)

    def _replace(self, first: RecordingStore) -> None:
        self.open_handles[0].store = first
        for handle in self.open_handles[1:]:
            handle.store = self.subject.open()

    def _require_rows(
        self, handle: Handle, world: World, table: str, ticks: tuple[int, int], ids: set[int] | None = None
    ) -> None:
        first, last = ticks
        segment = world.state_at(last).segment
        expected = [
            (segment.world_id, segment.run_id, entity, tick, is_active, *map(bits_of, values))
            for tick in range(first, last + 1)
            for entity, is_active, values in world.state_at(tick).tables.get(table, ())
            if ids is None or entity in ids
        ]
        scan = scan_of(TABLES[table], segment, first, last, entity_ids=ids)
        found = read(handle.store, scan)
        columns = [found.column(name).to_pylist() for name in columns_of(TABLES[table])] if found.num_rows else []
        actual = [tuple(map(bits_of, row)) for row in zip(*columns, strict=True)]
        require_equal(expected, actual, f"{table} of {world} at ticks {first} to {last}")

    def _require_everything(self) -> None:
        for handle in self.open_handles:
            for world in self.model:
                self.read_timeline_of(handle, world)
                _require_head(world.states[-1], handle.store.head(world.world_id), f"head of {world}")
                travels = self.subject.claimed(Capability.TIME_TRAVEL)
                for state in world.states if travels else world.states[-1:]:
                    for table in TABLES:
                        self._require_rows(handle, world, table, (state.tick, state.tick))

    def read_timeline_of(self, handle: Handle, world: World) -> None:
        """Compare a timeline outside a rule."""
        cast("Any", StoreMachine.read_timeline)(self, handle=handle, world=world)


def _require_head(state: TickState, head: Any, what: str) -> None:
    live = {TABLES[table].name: len(state.live(table)) for table in state.tables if state.live(table)}
    expected = (state.segment, state.tick, state.attempt, state.next_entity_id, state.applied, live)
    actual = (head.segment, head.tick, head.attempt, head.next_entity_id, tuple(head.applied), dict(head.live))
    require_equal(expected, actual, what)
    require_continuation(state.continuation, head)
