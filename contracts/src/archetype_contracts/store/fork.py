"""Clauses on lineage: forks, runs and worlds that share a store."""

from __future__ import annotations

from functools import partial

from archetype_contracts.sample import FROZEN, MARKED, MOTTO, SPOT, mottos, rows, spots
from archetype_contracts.script import Script
from archetype_contracts.store.book import clause
from archetype_contracts.store.observation import (
    read,
    require_head,
    require_history,
    require_tick,
    require_timeline,
    require_worlds,
    scan_of,
)
from archetype_contracts.store.subject import StoreSubject
from archetype_contracts.verdict import require, require_equal, require_refusal
from archetype_core.errors import TickNotFound, WorldNotFound
from archetype_core.store import Capability

_TRAVEL = [Capability.TIME_TRAVEL]


def _parent(subject: StoreSubject, ticks: int = 3) -> Script:
    script = Script()
    for tick in range(ticks):
        subject.store.commit([script.tick(spots({1: float(tick), 2: 2.0}))])
    return script


@clause("S-501", "Worlds are separate: neither rows, nor tables, nor ticks of one show in another.")
def worlds_are_separate(subject: StoreSubject) -> None:
    one, two = Script("one"), Script("two")
    subject.store.commit([one.tick(spots({1: 1.0}), rows(MARKED, [2]))])
    subject.store.commit([two.tick(spots({1: -1.0}), rows(FROZEN, [2])), two.tick(spots({1: -2.0}))])
    subject.store.commit([one.tick(spots({1: 2.0}))])
    for script in (one, two):
        require_history(subject, script)
    require_worlds(subject.store, one, two)


@clause("S-502", "Two worlds of one name are two worlds.")
def same_name(subject: StoreSubject) -> None:
    one, two = Script("twin", world_id="0190-1"), Script("twin", world_id="0190-2")
    for index, script in enumerate((one, two)):
        subject.store.commit([script.tick(spots({1: float(index)}))])
    for script in (one, two):
        require_history(subject, script)
    require_worlds(subject.store, one, two)


@clause("S-503", "A fork's timeline is its ancestors' up to the fork point, then its own.")
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
    "S-504", "A fork's first tick shows the tables that it did not write as its parent left them at the fork point."
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


@clause("S-505", "What the parent does after the fork point does not show in the fork.")
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
    require_equal(0, found.num_rows, "rows of a table that the parent made after the fork point")
    subject.store.commit([fork.tick()])
    require_tick(subject.store, fork, fork.last)


@clause("S-506", "What a fork does does not show in its parent.")
def fork_goes_on(subject: StoreSubject) -> None:
    script = _parent(subject)
    fork = script.fork("fork")
    subject.store.commit([fork.tick(spots({1: 99.0}, gone={2: 2.0}), rows(MARKED, [3])), fork.tick(spots({}))])
    require_history(subject, script)
    subject.store.commit([script.tick()])
    require_history(subject, script)


@clause("S-507", "Forks of one parent do not show in each other.")
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
            require(known or found.num_rows == 0, f"{archetype.name} of a sibling shows in {fork}")


@clause("S-508", "A fork of a fork carries its whole ancestry.")
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


@clause("S-509", "A fork in the past shares nothing after its point.", needs=_TRAVEL)
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


@clause("S-510", "A fork of a fork may grow from a tick that lies before the first fork.", needs=_TRAVEL)
def fork_before_a_fork(subject: StoreSubject) -> None:
    script = _parent(subject, ticks=4)
    fork = script.fork("fork")
    subject.store.commit([fork.tick(mottos({3: ("a", b"", 1)}))])
    second = fork.fork("second", at=1)
    subject.store.commit([second.tick(), second.tick(spots({1: -1.0}))])
    for each in (script, fork, second):
        require_history(subject, each)


@clause("S-511", "A new run goes on from where the run before ended, tables and ids included.")
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


@clause("S-512", "A fork's own segment holds its own ticks only; its ancestors' are read from theirs.", needs=_TRAVEL)
def segments_hold_their_own(subject: StoreSubject) -> None:
    script = _parent(subject)
    fork = script.fork("fork", at=1)
    subject.store.commit([fork.tick(spots({1: 9.0}))])
    scan = scan_of(SPOT, fork.segment, 1)
    require_refusal(TickNotFound, lambda: read(subject.store, scan), tick=1)
    require_tick(subject.store, fork, 1)


@clause("S-513", "Forks of several worlds, grown in turns, keep apart.", needs=_TRAVEL)
def forest(subject: StoreSubject) -> None:
    trees = [Script(f"tree {index}") for index in range(2)]
    for index, tree in enumerate(trees):
        subject.store.commit([tree.tick(spots({1: float(index)}))])
    grown = list(trees)
    for round_ in range(3):
        for script in list(grown):
            fork = script.fork(f"{script.name}.{round_}", at=script.first)
            subject.store.commit([fork.tick(spots({1: float(len(grown))}))])
            grown.append(fork)
    require_worlds(subject.store, *grown)
    for script in grown:
        require_history(subject, script)


@clause("S-514", "A world that was never committed is not found.")
def unknown_world(subject: StoreSubject) -> None:
    script = _parent(subject)
    fork = script.fork("fork")
    for world_id in ("nobody", "", script.segment.run_id, fork.segment.world_id):
        require_refusal(WorldNotFound, subject.store.timeline, world_id, world=world_id)
        require_refusal(WorldNotFound, subject.store.head, world_id, world=world_id)
        require_refusal(WorldNotFound, partial(subject.store.head, world_id, at=0), world=world_id)
