"""Clauses on heads: what a world needs to continue."""

from __future__ import annotations

import random
from functools import partial

from archetype_contracts.assertion import require_equal, require_refusal
from archetype_contracts.sample import MARKED, mottos, rows, spots
from archetype_contracts.script import Script, identifier
from archetype_contracts.store.observation import require_continuation, require_head, require_history, require_worlds
from archetype_contracts.store.registry import clause
from archetype_contracts.store.subject import StoreSubject
from archetype_core.errors import TickNotFound
from archetype_core.store import Capability

_TRAVEL = [Capability.TIME_TRAVEL]
_SHARED = [Capability.SHARED]
_PERSISTENT = [Capability.PERSISTENCE]

_UUID = identifier("an attempt")
_ATTEMPTS = (
    *("", _UUID, _UUID.upper(), _UUID.replace("-", ""), f"{{{_UUID}}}"),
    *("a", "sixteen letters:", "u" + "seventeen bytes:", "0" * 15, "é🌍", 'a\0"b', "long " * 400),
)
"""The engine names attempts by UUIDs, but the port takes any text."""
_MEGABYTE = random.Random(612).randbytes(2**20 + 1)  # noqa: S311  # reason: repeatable by its seed
_CONTINUATIONS = (
    *(b"", b"a", b"\0", b"a\0b\0", b"\0" * 70, bytes(range(256)), "é🌍".encode(), b'{"looks": "like text"}'),
    *(b"\xff\xfe not UTF-8", b"p" * 34, b"long " * 20_000, _MEGABYTE, b"\0" * 2**20),
)
"""Engines write a few bytes as a rule, and sometimes as many as the world's next mutations take."""


def _script() -> Script:
    script = Script()
    script.tick(spots({1: 1.0, 2: 2.0}), rows(MARKED, [3]), applied=("first", "second"))
    script.tick(spots({1: 1.0}, gone={2: 2.0}), next_entity_id=1000)
    script.tick(mottos({1000: ("a", b"", 1)}), rows(MARKED, [], gone=[3]), applied=("third",))
    script.tick(next_entity_id=2000)
    return script


@clause("S-601", "The head is the newest tick, with its segment.")
def newest_tick(subject: StoreSubject) -> None:
    script, again = _script(), Script()
    for written in script.ticks:
        again.tick(
            *written.commit.written.values(),
            applied=written.commit.applied,
            next_entity_id=written.commit.next_entity_id,
        )
        subject.store.commit([written.commit])
        head = subject.store.head(script.segment.world_id)
        require_equal((script.segment, again.last), (head.segment, head.tick), "segment and tick of the head")
        require_worlds(subject.store, again)


@clause("S-602", "The head has the next_entity_id that its tick was committed with.")
def next_entity_id(subject: StoreSubject) -> None:
    for written in _script().ticks:
        subject.store.commit([written.commit])
        head = subject.store.head(written.commit.segment.world_id)
        require_equal(written.commit.next_entity_id, head.next_entity_id, f"next_entity_id at tick {head.tick}")


@clause("S-603", "The head has the ids of the commands that its tick applied, in order, and no others.")
def applied_commands(subject: StoreSubject) -> None:
    for written in _script().ticks:
        subject.store.commit([written.commit])
        head = subject.store.head(written.commit.segment.world_id)
        require_equal(written.commit.applied, tuple(head.applied), f"commands applied by tick {head.tick}")
    many = Script("b")
    subject.store.commit([many.tick(applied=tuple(f"command {index}" for index in range(2000)))])
    require_head(subject.store, many)


@clause(
    "S-604", "The head counts the active rows of every table that has any, also of tables that its tick did not write."
)
def live_rows(subject: StoreSubject) -> None:
    for written in _script().ticks:
        subject.store.commit([written.commit])
        live = {name: shown.live.num_rows for name, shown in written.shown.items() if shown.live.num_rows}
        require_equal(
            live,
            dict(subject.store.head(written.commit.segment.world_id).live),
            f"live rows per table at tick {written.commit.tick}",
        )


@clause("S-605", "The head at an older tick is what the head was at that time.", needs=_TRAVEL)
def older_state(subject: StoreSubject) -> None:
    script = _script()
    subject.store.commit([written.commit for written in script.ticks])
    for tick in range(4):
        require_head(subject.store, script, at=tick)


@clause("S-606", "The head at a tick of an ancestor is the ancestor's head at that tick.", needs=_TRAVEL)
def ancestor_state(subject: StoreSubject) -> None:
    script = _script()
    subject.store.commit([written.commit for written in script.ticks])
    fork = script.fork("fork", at=2)
    subject.store.commit([fork.tick(spots({1: 5.0}), applied=("own",)), fork.tick()])
    for tick in range(5):
        require_head(subject.store, fork, at=tick)
    require_head(subject.store, fork)


@clause("S-607", "The head at a tick outside the history is not found, and the error names the first and last tick.")
def state_outside_history(subject: StoreSubject) -> None:
    script = Script(first_tick=5)
    subject.store.commit([script.tick(spots({1: 1.0})), script.tick()])
    world = script.segment.world_id
    for tick in (4, 7, 0, -1, 2**40):
        state = partial(subject.store.head, world, at=tick)
        require_refusal(TickNotFound, state, world=script.name, tick=tick, first=5, last=6)
    require_head(subject.store, script, at=6)


@clause(
    "S-608",
    "The head names the attempt that its tick was committed with, whatever its text; in a batch the last tick's.",
)
def attempts(subject: StoreSubject) -> None:
    store, script, batch = subject.store, Script(), Script("b")
    for attempt in _ATTEMPTS:
        store.commit([script.tick(spots({1: 1.0}), attempt=attempt)])
        require_equal(attempt, store.head(script.segment.world_id).attempt, "attempt of the head")
    store.commit([batch.tick(spots({1: 1.0}), attempt=attempt) for attempt in _ATTEMPTS])
    require_equal(_ATTEMPTS[-1], store.head(batch.segment.world_id).attempt, "attempt of the last tick of a batch")
    require_history(subject, script)


@clause(
    "S-609",
    "The head at an older tick names the attempt of that tick, also within a batch and in an ancestor.",
    needs=_TRAVEL,
)
def older_attempts(subject: StoreSubject) -> None:
    store, script = subject.store, Script()
    repeated = [attempt for attempt in ("", *_ATTEMPTS, _UUID, _UUID) for _ in range(2)]
    for attempt in repeated:
        # Some stores keep only what differs from the tick before.
        store.commit([script.tick(attempt=attempt)])
    store.commit([script.tick(attempt=attempt) for attempt in repeated])
    fork = script.fork("fork")
    store.commit([fork.tick(attempt="own"), fork.tick(attempt="")])
    for tick, attempt in enumerate([*repeated, *repeated, "own", ""]):
        require_equal(
            attempt, store.head(fork.segment.world_id, at=tick).attempt, f"attempt that committed tick {tick}"
        )


@clause("S-610", "Another handle names the same attempts.", needs=_SHARED)
def attempts_for_another_handle(subject: StoreSubject) -> None:
    other, script = subject.open(), Script()
    for attempt in _ATTEMPTS:
        subject.store.commit([script.tick(spots({1: 1.0}), attempt=attempt), script.tick(attempt=f"{attempt} again")])
        require_history(subject, script, other)
    require_history(subject, script, subject.open())


@clause("S-611", "A place that was opened again, after closing or not, names the same attempts.", needs=_PERSISTENT)
def attempts_after_reopening(subject: StoreSubject) -> None:
    script = Script()
    for act in (subject.reopen, subject.abandon, subject.reopen):
        subject.store.commit([script.tick(spots({1: 1.0}), attempt=attempt) for attempt in _ATTEMPTS])
        act()
        require_history(subject, script)


@clause(
    "S-612",
    "The head has the continuation that its tick was committed with, byte for byte and of any length; in a batch the last's.",
)
def continuations(subject: StoreSubject) -> None:
    store, script, batch = subject.store, Script(), Script("b")
    for continuation in _CONTINUATIONS:
        store.commit([script.tick(spots({1: 1.0}), continuation=continuation)])
        require_continuation(continuation, store.head(script.segment.world_id))
    store.commit([batch.tick(spots({1: 1.0}), continuation=continuation) for continuation in _CONTINUATIONS])
    require_continuation(_CONTINUATIONS[-1], store.head(batch.segment.world_id))
    require_history(subject, script)


@clause(
    "S-613",
    "The head at an older tick has the continuation of that tick, also within a batch and in an ancestor.",
    needs=_TRAVEL,
)
def older_continuations(subject: StoreSubject) -> None:
    store, script = subject.store, Script()
    repeated = [continuation for continuation in (b"", *_CONTINUATIONS) for _ in range(2)]
    for continuation in repeated:
        # Some stores keep only what differs from the tick before, and here that is the continuation alone.
        store.commit([script.tick(attempt="same", continuation=continuation)])
    store.commit([script.tick(attempt="same", continuation=continuation) for continuation in repeated])
    fork = script.fork("fork")
    store.commit([fork.tick(continuation=b"own"), fork.tick(continuation=b"")])
    for tick, continuation in enumerate([*repeated, *repeated, b"own", b""]):
        require_continuation(continuation, store.head(fork.segment.world_id, at=tick))


@clause("S-614", "Another handle has the same continuations.", needs=_SHARED)
def continuations_for_another_handle(subject: StoreSubject) -> None:
    other, script = subject.open(), Script()
    for continuation in _CONTINUATIONS:
        ticks = [script.tick(spots({1: 1.0}), continuation=one) for one in (continuation, continuation + b" again")]
        subject.store.commit(ticks)
        require_head(other, script)
    require_history(subject, script, other)
    require_history(subject, script, subject.open())


@clause("S-615", "A place that was opened again, after closing or not, has the same continuations.", needs=_PERSISTENT)
def continuations_after_reopening(subject: StoreSubject) -> None:
    script = Script()
    for act in (subject.reopen, subject.abandon, subject.reopen):
        subject.store.commit([script.tick(spots({1: 1.0}), continuation=one) for one in _CONTINUATIONS])
        act()
        require_history(subject, script)
