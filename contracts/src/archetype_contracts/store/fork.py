"""Clauses on lineage: worlds, forks and runs in one store."""

from __future__ import annotations

from functools import partial

from archetype_contracts.assertion import require, require_equal, require_refusal
from archetype_contracts.sample import FROZEN, MARKED, MOTTO, SPOT, mottos, rows, spots
from archetype_contracts.script import Script
from archetype_contracts.store.observation import (
    read,
    require_head,
    require_history,
    require_tick,
    require_timeline,
    require_worlds,
    scan_of,
)
from archetype_contracts.store.registry import clause
from archetype_contracts.store.subject import StoreSubject
from archetype_core.errors import TickNotFound, WorldNotFound
from archetype_core.store import Capability

_TRAVEL = [Capability.TIME_TRAVEL]


def _parent(subject: StoreSubject, ticks: int = 3) -> Script:
    script = Script()
    for tick in range(ticks):
        subject.store.commit([script.tick(spots({1: float(tick), 2: 2.0}))])
    return script


@clause("S-501", "Worlds are separate: no world shows the rows, tables or ticks of another.")
def worlds_are_separate(subject: StoreSubject) -> None:
    one, two = Script("one"), Script("two")
    subject.store.commit([one.tick(spots({1: 1.0}), rows(MARKED, [2]))])
    subject.store.commit([two.tick(spots({1: -1.0}), rows(FROZEN, [2])), two.tick(spots({1: -2.0}))])
    subject.store.commit([one.tick(spots({1: 2.0}))])
    for script in (one, two):
        require_history(subject, script)
    require_worlds(subject.store, one, two)


@clause("S-502", "Two worlds with the same name are separate worlds.")
def same_name(subject: StoreSubject) -> None:
    one, two = Script("twin", world_id="0190-1"), Script("twin", world_id="0190-2")
    for index, script in enumerate((one, two)):
        subject.store.commit([script.tick(spots({1: float(index)}))])
    for script in (one, two):
        require_history(subject, script)
    require_worlds(subject.store, one, two)


@clause("S-503", "A fork's timeline is its ancestors' up to the fork point, followed by its own.")
def fork_timeline(subject: StoreSubject) -> None:
    script = _parent(subject)
    fork = script.fork("fork", seed=7)
    subject.store.commit([fork.tick(mottos({3: ("a", b"", 1)}))])
    subject.store.commit([script.tick(rows(MARKED, [3]))])
    for each in (fork, script):
        require_timeline(subject.store, each)
        require_head(subject.store, each)
    require_worlds(subject.store, script, fork)


@clause(
    "S-504", "The first tick of a fork shows tables that it did not write as its parent left them at the fork point."
)
def fork_carries(subject: StoreSubject) -> None:
    script = Script()
    subject.store.commit([script.tick(spots({1: 1.0, 2: 2.0}), mottos({3: ("a", b"", 1)}))])
    subject.store.commit([script.tick(spots({1: 1.5}, gone={2: 2.0}))])
    fork = script.fork("fork")
    subject.store.commit([fork.tick(mottos({3: ("b", b"", 2)}))])
    require_tick(subject.store, fork, 2)
    subject.store.commit([fork.tick(), fork.tick()])
    require_tick(subject.store, fork, 4)


@clause("S-505", "A fork does not show what its parent commits after the fork point.")
def parent_goes_on(subject: StoreSubject) -> None:
    script = _parent(subject)
    fork = script.fork("fork")
    subject.store.commit([fork.tick(mottos({3: ("a", b"", 1)}))])
    subject.store.commit(
        [script.tick(spots({1: 99.0}, gone={2: 2.0}), rows(MARKED, [3])), script.tick(spots({1: 100.0}))]
    )
    require_timeline(subject.store, fork)
    require_head(subject.store, fork)
    require_tick(subject.store, fork, fork.last)
    found = read(subject.store, scan_of(MARKED, fork.segment, fork.last))
    require_equal(
        0, found.num_rows, "number of rows, in the fork, of a table that the parent wrote after the fork point"
    )
    subject.store.commit([fork.tick()])
    require_tick(subject.store, fork, fork.last)


@clause("S-506", "A parent does not show what its fork commits.")
def fork_goes_on(subject: StoreSubject) -> None:
    script = _parent(subject)
    fork = script.fork("fork")
    subject.store.commit([fork.tick(spots({1: 99.0}, gone={2: 2.0}), rows(MARKED, [3])), fork.tick(spots({}))])
    require_history(subject, script)
    subject.store.commit([script.tick()])
    require_history(subject, script)


@clause("S-507", "Forks of one parent do not show each other's ticks.")
def siblings(subject: StoreSubject) -> None:
    script = _parent(subject)
    forks = [script.fork(f"fork {index}") for index in range(3)]
    for index, fork in enumerate(forks):
        table = (rows(MARKED, [3]), rows(FROZEN, [3]), mottos({3: ("a", b"", 1)}))[index]
        subject.store.commit([fork.tick(spots({1: -float(index)}), table)])
    for fork in forks:
        subject.store.commit([fork.tick()])
    for fork in [*forks, script]:
        require_timeline(subject.store, fork)
        require_tick(subject.store, fork, fork.last)
        for archetype in (SPOT, MARKED, FROZEN, MOTTO):
            found = read(subject.store, scan_of(archetype, fork.segment, fork.last))
            known = archetype.name in fork.archetypes()
            require(
                known or found.num_rows == 0,
                f"expected no rows of {archetype.name} in {fork}, but it shows {found.num_rows} of a sibling",
            )


@clause("S-508", "A fork of a fork has the history of all its ancestors.")
def fork_of_a_fork(subject: StoreSubject) -> None:
    script = Script()
    subject.store.commit([script.tick(spots({1: 1.0}), mottos({2: ("a", b"", 1)}))])
    line = [script]
    for depth in range(1, 4):
        fork = line[-1].fork(f"depth {depth}")
        subject.store.commit([fork.tick(*([spots({1: float(depth)})] if depth == 2 else [])), fork.tick()])
        line.append(fork)
    for each in line:
        require_history(subject, each)


@clause("S-509", "A fork of an older tick has the history up to that tick and nothing after it.", needs=_TRAVEL)
def fork_in_the_past(subject: StoreSubject) -> None:
    script = Script()
    subject.store.commit([script.tick(spots({1: 0.0}), mottos({2: ("a", b"", 1)})), script.tick(spots({1: 1.0}))])
    subject.store.commit([script.tick(spots({1: 2.0}, gone={}), rows(MARKED, [3])), script.tick(mottos({}))])
    for at in range(3):
        fork = script.fork(f"from {at}", at=at)
        subject.store.commit([fork.tick()])
        require_history(subject, fork)
        subject.store.commit([fork.tick(spots({1: -1.0}))])
        require_history(subject, fork)
    require_history(subject, script)


@clause("S-510", "A fork of a fork may start from a tick before the first fork.", needs=_TRAVEL)
def fork_before_a_fork(subject: StoreSubject) -> None:
    script = _parent(subject, ticks=4)
    fork = script.fork("fork")
    subject.store.commit([fork.tick(mottos({3: ("a", b"", 1)}))])
    second = fork.fork("second", at=1)
    subject.store.commit([second.tick(), second.tick(spots({1: -1.0}))])
    for each in (script, fork, second):
        require_history(subject, each)


@clause("S-511", "A new run continues where the last run ended, with its tables and ids.")
def new_run(subject: StoreSubject) -> None:
    script = Script()
    subject.store.commit([script.tick(spots({1: 1.0, 2: 2.0}), mottos({3: ("a", b"", 1)}), next_entity_id=10)])
    runs = [script]
    for number in range(2, 5):
        run = runs[-1].new_run()
        subject.store.commit([run.tick(), run.tick(spots({1: float(number)}))])
        runs.append(run)
        require_history(subject, run)
        require_worlds(subject.store, run)


@clause(
    "S-512",
    "The segment of a fork holds only the fork's own ticks; older ticks are read from the ancestors' segments.",
    needs=_TRAVEL,
)
def segments_hold_their_own(subject: StoreSubject) -> None:
    script = _parent(subject)
    fork = script.fork("fork", at=1)
    subject.store.commit([fork.tick(spots({1: 9.0}))])
    scan = scan_of(SPOT, fork.segment, 1)
    require_refusal(TickNotFound, lambda: read(subject.store, scan), tick=1)
    require_tick(subject.store, fork, 1)


@clause("S-513", "Forks of several worlds that are committed alternately stay separate.", needs=_TRAVEL)
def forest(subject: StoreSubject) -> None:
    roots = [Script(f"root {index}") for index in range(2)]
    for index, root in enumerate(roots):
        subject.store.commit([root.tick(spots({1: float(index)}))])
    scripts = list(roots)
    for round_ in range(3):
        for script in list(scripts):
            fork = script.fork(f"{script.name}.{round_}", at=script.first)
            subject.store.commit([fork.tick(spots({1: float(len(scripts))}))])
            scripts.append(fork)
    require_worlds(subject.store, *scripts)
    for script in scripts:
        require_history(subject, script)


@clause("S-514", "A world that was never committed is not found.")
def unknown_world(subject: StoreSubject) -> None:
    script = _parent(subject)
    fork = script.fork("fork")
    for world_id in ("nobody", "", script.segment.run_id, fork.segment.world_id):
        require_refusal(WorldNotFound, subject.store.timeline, world_id, world=world_id)
        require_refusal(WorldNotFound, subject.store.head, world_id, world=world_id)
        require_refusal(WorldNotFound, partial(subject.store.head, world_id, at=0), world=world_id)
