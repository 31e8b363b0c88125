"""Clauses on closing, reopening and abandoning a store."""

from __future__ import annotations

from collections.abc import Callable

from archetype_contracts.assertion import require_refusal
from archetype_contracts.sample import MARKED, SPOT, mottos, rows, spots
from archetype_contracts.script import Script
from archetype_contracts.store.observation import (
    require_head,
    require_history,
    require_nothing,
    require_worlds,
    scan_of,
)
from archetype_contracts.store.registry import clause
from archetype_contracts.store.subject import StoreSubject
from archetype_core.errors import StoreClosed, TickConflict
from archetype_core.store import Capability

_PERSISTENT = [Capability.PERSISTENCE]


@clause("S-701", "A store may be closed more than once.")
def close_twice(subject: StoreSubject) -> None:
    script = Script()
    subject.store.commit([script.tick(spots({1: 1.0}))])
    for _ in range(3):
        subject.store.close()
    with subject.another() as untouched:
        untouched.store.close()
        untouched.store.close()


@clause("S-702", "After close every verb is refused.")
def use_after_close(subject: StoreSubject) -> None:
    store, script = subject.store, Script()
    store.commit([script.tick(spots({1: 1.0}))])
    scan, world = scan_of(SPOT, script.segment, 0), script.segment.world_id
    store.close()
    verbs: dict[str, Callable[[], object]] = {
        "commit": lambda: store.commit([script.draft(spots({1: 2.0}))]),
        "commit of nothing": lambda: store.commit([]),
        "scan": lambda: store.scan(scan),
        "head": lambda: store.head(world),
        "head of nobody": lambda: store.head("nobody"),
        "head at a tick": lambda: store.head(world, at=0),
        "timeline": lambda: store.timeline(world),
        "worlds": store.worlds,
        "files": lambda: store.files(scan),
    }
    for name, verb in verbs.items():
        subject.transcript.add(f"# {name} after close")
        require_refusal(StoreClosed, verb)


@clause("S-703", "Closing one handle leaves the others open.", needs=[Capability.SHARED])
def close_one_of_two(subject: StoreSubject) -> None:
    script, second = Script(), subject.open()
    subject.store.commit([script.tick(spots({1: 1.0}))])
    subject.store.close()
    require_history(subject, script, second)
    second.commit([script.tick(spots({1: 2.0}))])
    require_history(subject, script, second)
    require_refusal(StoreClosed, subject.store.worlds)


def _forest(subject: StoreSubject) -> list[Script]:
    """Commit a world with carried tables and tombstones, its next run, a fork of it, and an unrelated world."""
    script, other = Script(), Script("b", first_tick=3)
    store = subject.store
    store.commit([script.tick(spots({1: 1.0, 2: float("nan")}), rows(MARKED, [3]), applied=("one",))])
    store.commit([script.tick(spots({1: -0.0}, gone={2: 2.0}), next_entity_id=50), script.tick()])
    run, fork = script.new_run(), script.fork("fork", seed=5)
    store.commit([run.tick(mottos({50: ("", b"", None)}), applied=("two", "three"))])
    if subject.claimed(Capability.TIME_TRAVEL):
        store.commit([fork.tick(rows(MARKED, [], gone=[3])), fork.tick()])
    store.commit([other.tick(spots({})), other.tick(mottos({9: ("x", b"y", 1)}))])
    return [run, other, *([fork] if fork.ticks else [])]


@clause("S-704", "A place that was closed and opened again shows everything.", needs=_PERSISTENT)
def reopening(subject: StoreSubject) -> None:
    scripts = _forest(subject)
    for _ in range(2):
        subject.reopen()
        require_worlds(subject.store, *scripts)
        for script in scripts:
            require_history(subject, script)


@clause(
    "S-705",
    "A place that was abandoned without close shows every acknowledged tick when it is opened again.",
    needs=_PERSISTENT,
)
def abandoning(subject: StoreSubject) -> None:
    scripts = _forest(subject)
    subject.abandon()
    require_worlds(subject.store, *scripts)
    for script in scripts:
        require_history(subject, script)


@clause(
    "S-706",
    "After reopening, a world accepts its next tick and no other, and tables that it does not write are carried.",
    needs=_PERSISTENT,
)
def continuing(subject: StoreSubject) -> None:
    scripts = _forest(subject)
    for act in (subject.reopen, subject.abandon, subject.reopen):
        act()
        for script in scripts:
            stale = script.draft(spots({1: 9.0}), tick=script.last)
            require_refusal(TickConflict, subject.store.commit, [stale], expected=script.last + 1)
            subject.store.commit([script.tick(), script.tick(spots({60 + script.last: 1.0}))])
            require_history(subject, script)


@clause("S-707", "After reopening, a run that ended stays ended, and a fork of it can be committed.", needs=_PERSISTENT)
def lineage_after_reopening(subject: StoreSubject) -> None:
    script = Script()
    subject.store.commit([script.tick(spots({1: 1.0}), mottos({2: ("a", b"", 1)}))])
    run = script.new_run()
    subject.store.commit([run.tick(spots({1: 2.0}))])
    subject.reopen()
    again = script.draft(spots({1: 9.0}), tick=2)
    require_refusal(TickConflict, lambda: subject.store.commit([again]), got=2)
    fork = run.fork("fork")
    subject.store.commit([fork.tick()])
    for each in (run, fork):
        require_history(subject, each)
        require_head(subject.store, each)


@clause("S-708", "A place that was opened and closed without a commit is empty and can be used.", needs=_PERSISTENT)
def reopening_an_empty_place(subject: StoreSubject) -> None:
    for act in (subject.reopen, subject.abandon):
        act()
        require_nothing(subject.store)
    script = Script()
    subject.store.commit([script.tick(spots({1: 1.0}))])
    require_history(subject, script)
