"""Clauses on heads: what a world needs to go on."""

from __future__ import annotations

from functools import partial

from archetype_contracts.sample import MARKED, mottos, rows, spots
from archetype_contracts.script import Script
from archetype_contracts.store.book import clause
from archetype_contracts.store.observation import require_head, require_worlds
from archetype_contracts.store.subject import StoreSubject
from archetype_contracts.verdict import require_equal, require_refusal
from archetype_core.errors import TickNotFound
from archetype_core.store import Capability

_TRAVEL = [Capability.TIME_TRAVEL]


def _script() -> Script:
    script = Script()
    script.tick(spots({1: 1.0, 2: 2.0}), rows(MARKED, [3]), applied=("first", "second"))
    script.tick(spots({1: 1.0}, gone={2: 2.0}), next_entity_id=1000)
    script.tick(mottos({1000: ("a", b"", 1)}), rows(MARKED, [], gone=[3]), applied=("third",))
    script.tick(next_entity_id=2000)
    return script


@clause("S-601", "The head is the newest tick with its segment.")
def newest_tick(subject: StoreSubject) -> None:
    script, again = _script(), Script()
    for told in script.told:
        again.tick(
            *told.commit.written.values(), applied=told.commit.applied, next_entity_id=told.commit.next_entity_id
        )
        subject.store.commit([told.commit])
        head = subject.store.head(script.segment.world_id)
        require_equal((script.segment, again.last), (head.segment, head.tick), "segment and tick of the head")
        require_worlds(subject.store, again)


@clause("S-602", "The head says which entity id comes next, as the tick said.")
def next_entity_id(subject: StoreSubject) -> None:
    for told in _script().told:
        subject.store.commit([told.commit])
        head = subject.store.head(told.commit.segment.world_id)
        require_equal(told.commit.next_entity_id, head.next_entity_id, f"next_entity_id at tick {head.tick}")


@clause("S-603", "The head says which commands its tick applied, in their order, and no others.")
def applied_commands(subject: StoreSubject) -> None:
    for told in _script().told:
        subject.store.commit([told.commit])
        head = subject.store.head(told.commit.segment.world_id)
        require_equal(told.commit.applied, tuple(head.applied), f"commands applied by tick {head.tick}")
    many = Script("b")
    subject.store.commit([many.tick(applied=tuple(f"command {index}" for index in range(2000)))])
    require_head(subject.store, many)


@clause("S-604", "The head counts the active rows of every table that has any, idle tables too.")
def live_rows(subject: StoreSubject) -> None:
    for told in _script().told:
        subject.store.commit([told.commit])
        live = {name: shown.live.num_rows for name, shown in told.shown.items() if shown.live.num_rows}
        require_equal(
            live, dict(subject.store.head(told.commit.segment.world_id).live), f"live rows at {told.commit.tick}"
        )


@clause("S-605", "The state at an older tick is what the head was then.", needs=_TRAVEL)
def older_state(subject: StoreSubject) -> None:
    script = _script()
    subject.store.commit([told.commit for told in script.told])
    for tick in range(4):
        require_head(subject.store, script, at=tick)


@clause("S-606", "The state at a tick of an ancestor is the ancestor's.", needs=_TRAVEL)
def ancestor_state(subject: StoreSubject) -> None:
    script = _script()
    subject.store.commit([told.commit for told in script.told])
    fork = script.fork("fork", at=2)
    subject.store.commit([fork.tick(spots({1: 5.0}), applied=("own",)), fork.tick()])
    for tick in range(5):
        require_head(subject.store, fork, at=tick)
    require_head(subject.store, fork)


@clause("S-607", "The state at a tick outside history is not found, and the error says what there is.")
def state_outside_history(subject: StoreSubject) -> None:
    script = Script(first_tick=5)
    subject.store.commit([script.tick(spots({1: 1.0})), script.tick()])
    world = script.segment.world_id
    for tick in (4, 7, 0, -1, 2**40):
        state = partial(subject.store.head, world, at=tick)
        require_refusal(TickNotFound, state, world=script.name, tick=tick, first=5, last=6)
    require_head(subject.store, script, at=6)
