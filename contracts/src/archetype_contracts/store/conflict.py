"""Clauses on conflicts: a commit follows the head or is refused."""

from __future__ import annotations

from dataclasses import replace

from archetype_contracts.assertion import require_refusal
from archetype_contracts.sample import mottos, spots
from archetype_contracts.script import Script
from archetype_contracts.store.observation import require_history, require_nothing, require_worlds
from archetype_contracts.store.registry import clause
from archetype_contracts.store.subject import StoreSubject
from archetype_core.errors import CommitError, TickConflict
from archetype_core.store import Capability, Point, Store, TickCommit


def require_conflict(store: Store, commit: TickCommit, expected: int) -> None:
    """Require a ``TickConflict`` that names the expected tick."""
    require_refusal(
        TickConflict,
        lambda: store.commit([commit]),
        world_id=commit.segment.world_id,
        expected=expected,
        got=commit.tick,
    )


@clause("S-101", "A tick that exists already is refused, and the error names the expected tick.")
def duplicate_tick(subject: StoreSubject) -> None:
    store, script = subject.store, Script()
    store.commit([script.tick(spots({1: float(tick)})) for tick in range(3)])
    require_conflict(store, script.draft(spots({1: 9.0}), tick=2), expected=3)
    require_history(subject, script)


@clause("S-102", "A tick older than the newest is refused.")
def stale_tick(subject: StoreSubject) -> None:
    store, script = subject.store, Script()
    store.commit([script.tick(spots({1: float(tick)})) for tick in range(3)])
    for tick in (1, 0):
        require_conflict(store, script.draft(spots({1: 9.0}), tick=tick), expected=3)
    require_history(subject, script)


@clause("S-103", "A tick that skips another is refused.")
def skipped_tick(subject: StoreSubject) -> None:
    store, script = subject.store, Script()
    store.commit([script.tick(spots({1: 1.0}))])
    require_conflict(store, script.draft(spots({1: 9.0}), tick=2), expected=1)
    require_history(subject, script)


@clause("S-104", "A new world starts with the first tick of its segment.")
def world_without_its_first_tick(subject: StoreSubject) -> None:
    store, script = subject.store, Script(first_tick=3)
    require_conflict(store, script.draft(spots({1: 1.0}), tick=4), expected=3)
    require_nothing(store)
    require_refusal(CommitError, lambda: store.commit([script.draft(spots({1: 1.0}), tick=2)]))
    require_nothing(store)


@clause("S-105", "A commit of several ticks is refused as a whole unless it starts right after the head.")
def overlapping_ticks(subject: StoreSubject) -> None:
    store, script = subject.store, Script()
    store.commit([script.tick(spots({1: float(tick)})) for tick in range(2)])
    ticks = [script.draft(spots({1: 9.0}), tick=tick) for tick in (1, 2, 3)]
    require_refusal(TickConflict, lambda: store.commit(ticks), expected=2, got=1)
    require_history(subject, script)


@clause("S-106", "If two handles commit the same tick, the second is refused.", needs=[Capability.SHARED])
def second_handle(subject: StoreSubject) -> None:
    first, second, script = subject.store, subject.open(), Script()
    first.commit([script.tick(spots({1: 1.0}))])
    lost = script.draft(spots({1: 9.0}))
    second.commit([script.tick(spots({1: 2.0}))])
    require_conflict(first, lost, expected=2)
    for store in (first, second):
        require_history(subject, script, store)
    first.commit([script.tick(spots({1: 3.0}))])
    require_history(subject, script, second)


@clause("S-107", "A new run starts at the head of its world, neither before nor after it.")
def run_elsewhere(subject: StoreSubject) -> None:
    store, script = subject.store, Script()
    store.commit([script.tick(spots({1: float(tick)})) for tick in range(3)])
    run = script.new_run()
    for tick in (1, 3):
        segment = replace(run.segment, first_tick=tick + 1, parent=replace(_end(script), tick=tick))
        require_conflict(store, replace(run.draft(spots({1: 9.0}), tick=tick + 1), segment=segment), expected=3)
    require_worlds(store, script)
    require_history(subject, script)


@clause("S-108", "A new run names the run that it follows.")
def run_after_another(subject: StoreSubject) -> None:
    store, script, other = subject.store, Script(), Script("b")
    for each in (script, other):
        store.commit([each.tick(spots({1: 1.0}))])
    run = script.new_run()
    for parent in (_end(other), replace(_end(script), run_id="another"), None):
        commit = replace(run.draft(spots({1: 9.0})), segment=replace(run.segment, parent=parent))
        require_refusal(TickConflict, store.commit, [commit], world_id=script.segment.world_id, got=1)
    require_worlds(store, script, other)
    require_history(subject, script)


@clause("S-109", "A run that ended accepts no more ticks and cannot be started again.")
def ended_run(subject: StoreSubject) -> None:
    store, script = subject.store, Script()
    store.commit([script.tick(spots({1: 1.0}))])
    run = script.new_run()
    store.commit([run.tick(spots({1: 2.0}))])
    require_conflict(store, script.draft(spots({1: 9.0}), tick=1), expected=2)
    again = script.draft(spots({1: 9.0}), tick=2)
    reopened = replace(again, segment=replace(script.segment, first_tick=2, parent=_end(run)))
    for commit in (again, reopened):
        require_refusal(TickConflict, store.commit, [commit], world_id=script.segment.world_id)
    require_worlds(store, run)
    require_history(subject, run)


@clause("S-110", "The name and the seed of a segment never change.")
def altered_segment(subject: StoreSubject) -> None:
    store, script = subject.store, Script(seed=1)
    store.commit([script.tick(spots({1: 1.0}))])
    for segment in (replace(script.segment, seed=2), replace(script.segment, name="other")):
        commit = replace(script.draft(spots({1: 9.0})), segment=segment)
        require_refusal(TickConflict, store.commit, [commit], world_id=segment.world_id)
    require_worlds(store, script)
    require_history(subject, script)


@clause("S-111", "A fork starts right after the tick that it forks from.")
def fork_with_a_gap(subject: StoreSubject) -> None:
    store, script = subject.store, Script()
    store.commit([script.tick(spots({1: 1.0}))])
    fork = script.fork("fork")
    require_conflict(store, fork.draft(spots({1: 9.0}), tick=2), expected=1)
    for first in (0, 2):
        commit = replace(
            fork.draft(spots({1: 9.0}), tick=max(first, 1)), segment=replace(fork.segment, first_tick=first)
        )
        require_refusal(CommitError, store.commit, [commit])
    require_worlds(store, script)


@clause("S-112", "A fork from a world or a tick that the store does not hold is refused.")
def fork_from_nowhere(subject: StoreSubject) -> None:
    store, script = subject.store, Script()
    store.commit([script.tick(spots({1: 1.0}))])
    fork = script.fork("fork")
    for parent, first in (
        (Point("nobody", "nothing", 0), 1),
        (replace(_end(script), run_id="nothing"), 1),
        (replace(_end(script), tick=5), 6),
    ):
        segment = replace(fork.segment, parent=parent, first_tick=first)
        commit = replace(fork.draft(spots({1: 9.0}), tick=first), segment=segment)
        require_refusal(CommitError, store.commit, [commit])
    require_worlds(store, script)
    require_history(subject, script)


@clause("S-113", "A new run starts right after the tick that it follows.")
def run_with_a_gap(subject: StoreSubject) -> None:
    store, script = subject.store, Script()
    store.commit([script.tick(spots({1: float(tick)})) for tick in range(2)])
    run = script.new_run()
    require_conflict(store, run.draft(spots({1: 9.0}), tick=3), expected=2)
    early = replace(run.draft(spots({1: 9.0})), segment=replace(run.segment, first_tick=1))
    require_refusal(CommitError, lambda: store.commit([early]))
    require_worlds(store, script)
    require_history(subject, script)


@clause("S-114", "A tick that exists is refused also with the same rows, and with the same attempt.")
def same_tick_again(subject: StoreSubject) -> None:
    store, script = subject.store, Script()
    first = script.tick(spots({1: 1.0}), mottos({2: ("a", b"", 1)}), applied=("command",))
    second = script.tick(spots({1: 2.0}))
    for each in (first, second):
        store.commit([each])
        require_conflict(store, each, expected=each.tick + 1)
        require_conflict(store, replace(each, attempt="another"), expected=each.tick + 1)
        require_conflict(store, replace(each, continuation=b"another"), expected=each.tick + 1)
        require_conflict(store, script.draft(spots({1: 9.0}), tick=each.tick, attempt=each.attempt), each.tick + 1)
    require_refusal(TickConflict, store.commit, [first, second], expected=2, got=0)
    require_worlds(store, script)
    require_history(subject, script)


def _end(script: Script) -> Point:
    return Point(script.segment.world_id, script.segment.run_id, script.last)
