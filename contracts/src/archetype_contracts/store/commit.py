"""Clauses on commits: what becomes visible, and that a commit is atomic."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from archetype_contracts.assertion import require_equal, require_failure, require_refusal
from archetype_contracts.sample import MARKED, MOTTO, SPOT, mottos, rows, spots
from archetype_contracts.script import Script
from archetype_contracts.store.observation import (
    require_head,
    require_history,
    require_nothing,
    require_tick,
    require_timeline,
    require_worlds,
)
from archetype_contracts.store.registry import clause
from archetype_contracts.store.subject import StoreSubject
from archetype_core.errors import CommitError, TickConflict, WorldNotFound
from archetype_core.store import Capability, Rows, TickCommit


class TornTables(Mapping[str, Rows]):
    """Tables of which only the first can be read, as if the process died between two writes."""

    def __init__(self, tables: Mapping[str, Rows]) -> None:
        self._tables = dict(tables)

    def __len__(self) -> int:
        return len(self._tables)

    def __iter__(self) -> Iterator[str]:
        yield next(iter(self._tables))
        raise OSError("the disk went away between two tables")

    def __getitem__(self, name: str) -> Rows:
        if name != next(iter(self._tables)):
            raise OSError("the disk went away between two tables")
        return self._tables[name]


class UnreadableRows(Rows):
    """Rows that raise when they are read, like a column whose evaluation fails."""

    __slots__ = ()

    def __getattribute__(self, name: str) -> object:
        if name in ("live", "tombstones", "num_rows", "to_arrow"):
            raise OSError("the rows of a table cannot be read")
        return super().__getattribute__(name)


def torn(commit: TickCommit) -> TickCommit:
    """The same tick, but reading it breaks after its first table."""
    return replace(commit, written=TornTables(commit.written))


@clause("S-001", "An empty sequence of ticks is accepted and changes nothing, also in an empty store.")
def empty_commit(subject: StoreSubject) -> None:
    store, script = subject.store, Script()
    store.commit([])
    require_nothing(store)
    store.commit([script.tick(spots({1: 1.0}))])
    store.commit(())
    require_worlds(store, script)
    require_history(subject, script)


@clause("S-002", "When commit returns, the tick is visible with every table that it wrote.")
def whole_tick(subject: StoreSubject) -> None:
    script = Script()
    subject.store.commit([script.tick(spots({1: 1.0, 2: 2.0}), mottos({3: ("a", b"b", 3)}), rows(MARKED, [4]))])
    require_worlds(subject.store, script)
    require_tick(subject.store, script, 0)
    subject.store.commit([script.tick(spots({1: 1.5}, gone={2: 2.0}), mottos({3: ("c", None, 4)}))])
    require_worlds(subject.store, script)
    require_tick(subject.store, script, 1)


@clause("S-003", "A tick may write no table.")
def tick_without_tables(subject: StoreSubject) -> None:
    script = Script()
    subject.store.commit([script.tick()])
    require_history(subject, script)
    subject.store.commit([script.tick(applied=("command",), next_entity_id=9)])
    require_worlds(subject.store, script)
    require_history(subject, script)


@clause("S-004", "Several ticks in one commit give the same history as one commit per tick.")
def several_ticks(subject: StoreSubject) -> None:
    one, many = Script("one"), Script("many")
    for script in (one, many):
        commits = [script.tick(spots({1: float(tick)})) for tick in range(3)]
        commits += [script.tick(mottos({2: ("t", b"", 1)})), script.tick(spots({}, gone={1: 2.0})), script.tick()]
        for batch in [commits] if script is many else [[commit] for commit in commits]:
            subject.store.commit(batch)
    for script in (one, many):
        require_history(subject, script)


@clause(
    "S-005", "A commit that breaks between two tables leaves nothing of its tick, and the tick can be committed again."
)
def torn_tick(subject: StoreSubject) -> None:
    store, script = subject.store, Script()
    store.commit([script.tick(spots({1: 1.0}), mottos({2: ("a", b"", 1)}))])
    second = spots({1: 2.0}), mottos({2: ("b", b"", 2)})
    require_failure(lambda: store.commit([torn(script.draft(*second))]))
    require_history(subject, script)
    store.commit([script.tick(*second)])
    require_history(subject, script)


@clause("S-006", "A commit of several ticks that breaks in a later tick leaves nothing of the earlier ones.")
def torn_ticks(subject: StoreSubject) -> None:
    store, script = subject.store, Script()
    store.commit([script.tick(spots({1: 1.0}), mottos({2: ("a", b"", 1)}))])
    broken = [script.draft(spots({1: float(tick)}), mottos({2: ("b", b"", tick)}), tick=tick) for tick in (1, 2, 3)]
    require_failure(lambda: store.commit([*broken[:2], torn(broken[2])]))
    require_worlds(store, script)
    require_history(subject, script)
    store.commit([script.tick(spots({1: 5.0}))])
    require_history(subject, script)


@clause("S-007", "A first commit that breaks creates no world.")
def torn_world(subject: StoreSubject) -> None:
    store, script = subject.store, Script()
    first = spots({1: 1.0}), mottos({2: ("a", b"", 1)})
    require_failure(lambda: store.commit([torn(script.draft(*first))]))
    require_nothing(store)
    require_refusal(WorldNotFound, lambda: store.head(script.segment.world_id), world=script.segment.world_id)
    require_refusal(WorldNotFound, lambda: store.timeline(script.segment.world_id), world=script.segment.world_id)
    store.commit([script.tick(*first)])
    require_history(subject, script)


@clause("S-008", "A commit that breaks while it opens a fork or a new run leaves nothing of the new segment.")
def torn_segment(subject: StoreSubject) -> None:
    store, script = subject.store, Script()
    store.commit([script.tick(spots({1: 1.0}), mottos({2: ("a", b"", 1)}))])
    fork, run = script.fork("fork"), script.new_run()
    for opening in (fork, run):
        require_failure(store.commit, [torn(opening.draft(spots({1: 2.0}), mottos({})))])
    require_worlds(store, script)
    require_timeline(store, script)
    store.commit([script.tick(spots({1: 3.0}))])
    require_history(subject, script)
    if subject.claimed(Capability.TIME_TRAVEL):
        store.commit([fork.tick(spots({1: 4.0}))])
        require_history(subject, fork)


@clause("S-009", "A commit is refused as a whole unless its ticks are consecutive ticks of one segment.")
def scattered_ticks(subject: StoreSubject) -> None:
    store, script, other = subject.store, Script(), Script("b")
    store.commit([script.tick(spots({1: 1.0}))])
    store.commit([other.tick(spots({1: 1.0}))])
    drafts = {tick: script.draft(spots({1: float(tick)}), tick=tick) for tick in (1, 2, 3)}
    foreign = other.draft(spots({1: 2.0}), tick=2)
    for ticks in ([1, 3], [1, 1], [1, 2, 2], [2, 1]):
        require_refusal(CommitError, store.commit, [drafts[tick] for tick in ticks])
    require_refusal(CommitError, lambda: store.commit([drafts[1], foreign]))
    for each in (script, other):
        require_history(subject, each)


@clause("S-010", "A table that was written without rows exists and is empty.")
def table_without_rows(subject: StoreSubject) -> None:
    script = Script()
    subject.store.commit([script.tick(spots({}), mottos({1: ("a", None, None)}))])
    require_history(subject, script)
    subject.store.commit([script.tick(mottos({}))])
    require_history(subject, script)


@clause("S-011", "A change to the caller's mappings after commit does not change the store.")
def caller_keeps_its_mappings(subject: StoreSubject) -> None:
    script = Script()
    written = {SPOT.name: spots({1: 1.0})}
    commit = replace(script.tick(*written.values()), written=written)
    subject.store.commit([commit])
    written[SPOT.name] = spots({1: 9.0})
    written[MOTTO.name] = mottos({2: ("late", b"", 1)})
    require_history(subject, script)


@clause("S-012", "A world may start at any tick.")
def late_first_tick(subject: StoreSubject) -> None:
    script = Script(first_tick=7)
    subject.store.commit([script.tick(spots({1: 1.0}))])
    subject.store.commit([script.tick(mottos({2: ("a", b"", 1)})), script.tick()])
    require_worlds(subject.store, script)
    require_history(subject, script)


@clause("S-014", "A commit that breaks while it reads the rows of a table leaves nothing of any of its ticks.")
def unreadable_rows(subject: StoreSubject) -> None:
    store, script = subject.store, Script()
    store.commit([script.tick(spots({1: 1.0}))])
    good = script.draft(spots({1: 2.0}), tick=1)
    bad = script.draft(spots({1: 3.0}), mottos({2: ("a", b"", 1)}), tick=2)
    bad = replace(bad, written={**bad.written, MARKED.name: UnreadableRows(rows(MARKED, [3]).live)})
    require_failure(store.commit, [good, bad])
    require_worlds(store, script)
    require_history(subject, script)
    store.commit([script.tick(spots({1: 2.0}), mottos({2: ("a", b"", 1)}))])
    require_history(subject, script)


@clause(
    "S-013", "A tick whose commit broke does not exist after the place is opened again.", needs=[Capability.PERSISTENCE]
)
def torn_tick_after_reopening(subject: StoreSubject) -> None:
    script = Script()
    subject.store.commit([script.tick(spots({1: 1.0}), mottos({2: ("a", b"", 1)}))])
    second = spots({1: 2.0}), mottos({2: ("b", b"", 2)})
    broken = [script.draft(*second, tick=1), torn(script.draft(*second, tick=2))]
    for act in (subject.reopen, subject.abandon):
        store = subject.store
        require_failure(store.commit, broken)
        act()
        require_worlds(subject.store, script)
        require_history(subject, script)
    subject.store.commit([script.tick(*second)])
    require_head(subject.store, script)
    require_history(subject, script)


def _repeat(subject: StoreSubject, script: Script, act: Callable[[], object]) -> None:
    """Commit a tick that breaks, act, and repeat the tick with other rows under another attempt."""
    rows_of = spots({1: float(script.last)}), mottos({2: ("a", b"", script.last + 1)})
    broken = script.draft(*rows_of)
    require_failure(subject.store.commit, [torn(broken)])
    act()
    other = spots({1: -1.0, 3: 3.0}), rows(MARKED, [4])
    head = subject.store.head(script.segment.world_id)
    if head.tick > script.last:
        # The commit counts although it raised.
        script.add(broken)
        require_equal(broken.attempt, head.attempt, "attempt of a tick whose commit raised")
        require_refusal(TickConflict, subject.store.commit, [script.draft(*other, tick=script.last)])
    else:
        subject.store.commit([script.tick(*other)])
    require_refusal(TickConflict, subject.store.commit, [broken])
    require_history(subject, script)


@clause(
    "S-015",
    "A tick whose commit raised has that attempt's rows or does not exist; a repeat with other rows is refused or served.",
)
def repeat_after_failure(subject: StoreSubject) -> None:
    script = Script()
    subject.store.commit([script.tick(spots({1: 1.0}))])
    for _ in range(3):
        _repeat(subject, script, lambda: None)


@clause(
    "S-016",
    "What became of a commit that raised stays so after reopening, also once the tick was repeated.",
    needs=[Capability.PERSISTENCE],
)
def repeat_after_reopening(subject: StoreSubject) -> None:
    script = Script()
    subject.store.commit([script.tick(spots({1: 1.0}))])
    for act in (subject.reopen, subject.abandon, lambda: None):
        _repeat(subject, script, act)
        for again in (subject.reopen, subject.abandon):
            again()
            require_worlds(subject.store, script)
            require_history(subject, script)
