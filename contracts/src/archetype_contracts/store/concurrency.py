"""Clauses on threads: any thread may call any verb at any time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import replace
from functools import partial

import pyarrow.compute as pc

from archetype_contracts.assertion import ClauseFailed, require, require_equal
from archetype_contracts.sample import MOTTO, SPOT, mottos, spots
from archetype_contracts.script import Script
from archetype_contracts.store.observation import (
    read,
    require_history,
    require_nothing,
    require_tick,
    require_worlds,
    scan_of,
)
from archetype_contracts.store.registry import clause
from archetype_contracts.store.subject import StoreSubject
from archetype_core.errors import TickConflict, TickNotFound, UnsupportedCapability, WorldNotFound
from archetype_core.store import Capability, Rows, Store, TickCommit, Timeline, WorldRecord

_TIMEOUT_S = 120.0
"""After this time a call counts as deadlocked. A correct store never takes that long."""
_EARLY_READ_S = 0.25
"""How long S-807 waits for a read during a commit. A longer wait finds no more and only takes time."""


def run_together(*acts: Callable[[], object]) -> list[BaseException | None]:
    """Start the calls at the same moment, each in its own thread; return their errors in order."""
    barrier = threading.Barrier(len(acts))

    def started(act: Callable[[], object]) -> None:
        barrier.wait(_TIMEOUT_S)
        act()

    with ThreadPoolExecutor(len(acts)) as pool:
        futures: list[Future[None]] = [pool.submit(started, act) for act in acts]
        return [future.exception(_TIMEOUT_S) for future in futures]


def require_one_winner(errors: Sequence[BaseException | None]) -> int:
    """Require that one call succeeded and the others raised ``TickConflict``; return the index of that one."""
    winners = [index for index, error in enumerate(errors) if error is None]
    others = [error for error in errors if error is not None and not isinstance(error, TickConflict)]
    if others:
        raise ClauseFailed(
            f"a writer that lost a race\n  expected: TickConflict\n  actual:   {type(others[0]).__name__}: {others[0]}"
        ) from others[0]
    require_equal(1, len(winners), "number of writers that committed one tick")
    return winners[0]


def _race(subject: StoreSubject, stores: Sequence[Store], rounds: int) -> None:
    script = Script()
    stores[0].commit([script.tick(spots({1: 0.0}))])
    for _ in range(rounds):
        writes = [(spots({1: float(index)}), mottos({2: ("writer", b"", index)})) for index in range(len(stores))]
        drafts = [script.draft(*write) for write in writes]
        winner = require_one_winner(
            run_together(*(partial(store.commit, [draft]) for store, draft in zip(stores, drafts, strict=True)))
        )
        script.add(drafts[winner])
        require_tick(stores[0], script, script.last)
    for store in set(stores):
        require_history(subject, script, store)


@clause("S-801", "If two threads commit one tick through one handle, one wins and the other gets TickConflict.")
def race_on_one_handle(subject: StoreSubject) -> None:
    _race(subject, [subject.store] * 2, rounds=20)


@clause(
    "S-802",
    "If three handles commit one tick at once, one wins and the others get TickConflict.",
    needs=[Capability.SHARED],
)
def race_of_handles(subject: StoreSubject) -> None:
    _race(subject, [subject.store, subject.open(), subject.open()], rounds=10)


@clause("S-803", "If two threads open one world or one run, exactly one wins.")
def race_to_open(subject: StoreSubject) -> None:
    opened = [_raced(subject.store, [Script(f"world {number}", seed=seed) for seed in (1, 2)]) for number in range(5)]
    script = opened[-1]
    for _ in range(10):
        run, other = script.new_run(), script.new_run()
        other.segment = replace(other.segment, run_id=f"rival of {run.segment.run_id}")
        script = opened[-1] = _raced(subject.store, [run, other])
        require_worlds(subject.store, *opened)
    for script in opened:
        require_history(subject, script)


def _raced(store: Store, scripts: Sequence[Script]) -> Script:
    """Let the scripts race to commit their first tick, with different rows; return the winner."""
    writes = [spots({1: float(number)}) for number, _ in enumerate(scripts)]
    drafts = [script.draft(write) for script, write in zip(scripts, writes, strict=True)]
    winner = require_one_winner(run_together(*(partial(store.commit, [draft]) for draft in drafts)))
    scripts[winner].add(drafts[winner])
    return scripts[winner]


@clause("S-804", "Threads that write different worlds all succeed.")
def writers_of_different_worlds(subject: StoreSubject) -> None:
    scripts = [Script(f"world {index}") for index in range(4)]
    commits = [
        [script.tick(spots({1: float(tick)}), mottos({2: ("a", b"", tick)})) for tick in range(8)] for script in scripts
    ]

    def write(ticks: list[TickCommit]) -> None:
        for commit in ticks:
            subject.store.commit([commit])

    for error in run_together(*(partial(write, ticks) for ticks in commits)):
        if error is not None:
            raise ClauseFailed(
                f"a thread that writes its own world\n  expected: no error\n  actual:   {type(error).__name__}: {error}"
            ) from error
    require_worlds(subject.store, *scripts)
    for script in scripts:
        require_history(subject, script)


@clause("S-805", "While another thread commits, a reader sees all ticks of a commit or none.")
def heads_while_writing(subject: StoreSubject) -> None:
    store, script, step = subject.store, Script(), 3
    store.commit([script.tick(spots({1: 0.0})) for _ in range(step)])
    batches = [[script.tick(spots({1: 0.0})) for _ in range(step)] for _ in range(15)]
    done = threading.Event()

    def watch() -> None:
        seen = -1
        while True:
            ended = done.is_set()
            for tick in (store.head(script.segment.world_id).tick, store.worlds()[0].tick):
                require(
                    (tick + 1) % step == 0,
                    f"expected all {step} ticks of a commit or none, but the newest visible tick is {tick}",
                )
                require(tick >= seen, f"expected the head to stay at {seen} or grow, but it is {tick}")
                seen = tick
            if ended:
                return

    _while_writing(store, batches, done, watch)


@clause(
    "S-806", "While another thread commits, a reader sees all tables of a tick or none.", needs=[Capability.TIME_TRAVEL]
)
def ticks_while_writing(subject: StoreSubject) -> None:
    store, script = subject.store, Script()
    stamped = [
        script.tick(spots(dict.fromkeys(range(1, 50), float(tick))), mottos({60: ("a", b"", tick)}))
        for tick in range(40)
    ]
    store.commit(stamped[:2])
    batches = [stamped[begin : begin + 2] for begin in range(2, 40, 2)]
    done = threading.Event()

    def watch() -> None:
        while True:
            ended = done.is_set()
            tick = store.head(script.segment.world_id).tick
            for due in (tick, tick + 1):
                _require_stamp(store, script, due, must=due == tick)
            if ended:
                return

    _while_writing(store, batches, done, watch)


def _require_stamp(store: Store, script: Script, tick: int, *, must: bool) -> None:
    try:
        found = read(store, scan_of(SPOT, script.segment, tick, columns=("spot__x",)))
    except TickNotFound:
        require(not must, f"expected rows of tick {tick}, which is the head, but scan raised TickNotFound")
        return
    require_equal(
        (49, [float(tick)]),
        (found.num_rows, pc.unique(found.column(0)).to_pylist()),
        f"rows and values of the first table at tick {tick}",
    )
    # If one table is visible, the other table and the rest of the commit must be too.
    for other in (tick, tick | 1):
        found = read(store, scan_of(MOTTO, script.segment, other, columns=("motto__rank",)))
        require_equal([other], found.column(0).to_pylist(), f"second table at tick {other}, whose commit is visible")


def _while_writing(
    store: Store,
    batches: Sequence[Sequence[TickCommit]],
    done: threading.Event,
    watch: Callable[[], None],
    other: Callable[[], None] | None = None,
) -> None:
    def write() -> None:
        try:
            for batch in batches:
                store.commit(batch)
        finally:
            done.set()

    for error in run_together(write, watch, other or watch):
        if error is not None:
            raise error


class _BlockingTables(Mapping[str, Rows]):
    """Tables that signal the first read and then block until they are released."""

    def __init__(self, tables: Mapping[str, Rows]) -> None:
        self.tables, self.reached, self.released = tables, threading.Event(), threading.Event()

    def _wait(self) -> None:
        self.reached.set()
        self.released.wait(_TIMEOUT_S)

    def __len__(self) -> int:
        return len(self.tables)

    def __iter__(self) -> Iterator[str]:
        self._wait()
        return iter(self.tables)

    def __getitem__(self, name: str) -> Rows:
        self._wait()
        return self.tables[name]


@clause("S-807", "Nothing of a commit is readable before it returns; readers may wait for it, but not forever.")
def nothing_before_acknowledgement(subject: StoreSubject) -> None:
    store, script = subject.store.inner, Script()
    store.commit([script.tick(spots({1: 0.0}), mottos({2: ("a", b"", 0)}))])
    known, world = script.last, script.segment.world_id
    ticks = [script.tick(spots({1: float(tick)}), mottos({2: ("a", b"", tick)})) for tick in (1, 2)]
    blocking = _BlockingTables(ticks[1].written)
    ticks[1] = replace(ticks[1], written=blocking)
    with ThreadPoolExecutor(3) as pool:
        writer = pool.submit(store.commit, ticks)
        try:
            require(
                blocking.reached.wait(_TIMEOUT_S),
                f"expected commit to read the tables of its second tick within {_TIMEOUT_S:.0f} s, but it did not",
            )
            reads = [pool.submit(lambda: store.head(world).tick), pool.submit(lambda: store.worlds()[0].tick)]
            early = [one.result() for one in wait(reads, _EARLY_READ_S).done if not writer.done()]
        finally:
            blocking.released.set()
        writer.result(_TIMEOUT_S)
        late = [one.result(_TIMEOUT_S) for one in reads]
    require_equal([known] * len(early), early, "newest tick during a commit")
    require(
        set(late) <= {known, known + 2},
        f"expected readers that waited for the commit to see tick {known} or {known + 2}, but they saw {late}",
    )
    require_history(subject, script)


@clause("S-808", "A commit through one handle is visible through the others at once.", needs=[Capability.SHARED])
def handles_see_each_other(subject: StoreSubject) -> None:
    handles, script = [subject.store, subject.open()], Script()
    observer = subject.open()
    require_nothing(observer)
    for tick in range(6):
        writer, reader = handles[tick % 2], handles[1 - tick % 2]
        table = spots({1: float(tick)}) if tick % 3 else mottos({2: ("a", b"", tick)})
        writer.commit([script.tick(table)])
        for each in (reader, observer):
            require_worlds(each, script)
            require_history(subject, script, each)
    late = subject.open()
    require_history(subject, script, late)
    fork = script.fork("fork")
    late.commit([fork.tick()])
    for store in handles:
        require_history(subject, fork, store)


@clause("S-809", "Threads that scan at the same time all get the same answer.")
def readers(subject: StoreSubject) -> None:
    script = Script()
    subject.store.commit([script.tick(spots({n: float(n) for n in range(1, 500)}), mottos({501: ("a", b"", 1)}))])
    subject.store.commit([script.tick(mottos({501: ("b", b"", 2)}))])

    def look() -> None:
        for _ in range(5):
            require_tick(subject.store, script, 1)

    for error in run_together(*[look] * 4):
        if error is not None:
            raise error


@clause("S-810", "While another thread opens a world, a fork or a run, a reader sees it complete or not at all.")
def opening_while_reading(subject: StoreSubject) -> None:
    store, root = subject.store, Script("root")
    store.commit([root.tick(spots({1: 0.0}))])
    worlds = [Script(f"world {number}") if number % 2 else root.fork(f"fork {number}") for number in range(12)]
    batches = [[script.tick(spots({1: 1.0}))] for script in worlds]
    runs = [script.new_run() for script in worlds]
    batches += [[script.tick(spots({1: 2.0}))] for script in runs]
    done = threading.Event()

    def watch() -> None:
        seen: dict[str, tuple[int, str]] = {}
        while True:
            ended = done.is_set()
            records = store.worlds()
            require(
                len(records) >= len(seen),
                f"expected at least the {len(seen)} worlds seen before, but there are {len(records)}",
            )
            for record in records:
                known = (record.tick, record.run_id)
                if seen.get(record.world_id) != known:
                    _require_open(store, record)
                    seen[record.world_id] = known
            if ended:
                return

    def wait_for_worlds() -> None:
        for script in worlds:
            world, is_there = script.segment.world_id, False
            while not is_there:
                ended = done.is_set()
                with suppress(WorldNotFound):
                    _require_open(store, _record_of(store.timeline(world)))
                    is_there = True
                require(
                    is_there or not ended, f"expected world {script.name}, which was committed, but it is not found"
                )

    _while_writing(store, batches, done, watch, wait_for_worlds)
    require_worlds(store, root, *runs)
    for script in runs:
        require_history(subject, script)


def _record_of(timeline: Timeline) -> WorldRecord:
    newest = timeline.spans[-1]
    return WorldRecord(newest.segment.world_id, newest.segment.name, newest.segment.run_id, newest.last)


def _require_open(store: Store, record: WorldRecord) -> None:
    """Require that a listed world can be read at the listed tick or a later one."""
    head, now = store.head(record.world_id), _record_of(store.timeline(record.world_id))
    for tick in (head.tick, now.tick):
        require(
            tick >= record.tick,
            f"expected {record.name} at tick {record.tick} or later, as worlds() said, but it is at {tick}",
        )
    require_equal((record.world_id, record.name), (now.world_id, now.name), "world and name")
    try:
        rows = read(store, scan_of(SPOT, head.segment, head.tick, columns=("spot__x",)))
    except UnsupportedCapability:
        # A store that reads its newest tick alone cannot read this one once another thread has committed the next.
        if Capability.TIME_TRAVEL in store.capabilities or store.head(record.world_id).tick == head.tick:
            raise
        return
    require_equal(1, rows.num_rows, f"number of rows of {record.name} at its head, tick {head.tick}")
