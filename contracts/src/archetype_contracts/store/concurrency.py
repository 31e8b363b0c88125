"""Clauses on threads: verbs may be called from any of them at any time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import replace
from functools import partial

import pyarrow.compute as pc

from archetype_contracts.sample import MOTTO, SPOT, mottos, spots
from archetype_contracts.script import Script
from archetype_contracts.store.book import clause
from archetype_contracts.store.observation import (
    read,
    require_history,
    require_nothing,
    require_tick,
    require_worlds,
    scan_of,
)
from archetype_contracts.store.subject import StoreSubject
from archetype_contracts.verdict import Broken, require, require_equal
from archetype_core.errors import TickConflict, TickNotFound, WorldNotFound
from archetype_core.store import Capability, Rows, Store, TickCommit, Timeline, WorldRecord

_PATIENCE_S = 120.0
"""After this long a call counts as deadlocked; a correct store never waits for it."""
_GLANCE_S = 0.25
"""How long a reader may hold up a commit that waits for it; longer only costs time."""


def together(*acts: Callable[[], object]) -> list[BaseException | None]:
    """Run the acts at one moment, each in its thread; their errors, in order."""
    barrier = threading.Barrier(len(acts))

    def started(act: Callable[[], object]) -> None:
        barrier.wait(_PATIENCE_S)
        act()

    with ThreadPoolExecutor(len(acts)) as pool:
        futures: list[Future[None]] = [pool.submit(started, act) for act in acts]
        return [future.exception(_PATIENCE_S) for future in futures]


def require_one_winner(errors: Sequence[BaseException | None]) -> int:
    """Require that all but one act ended in a conflict; the index of the one."""
    winners = [index for index, error in enumerate(errors) if error is None]
    others = [error for error in errors if error is not None and not isinstance(error, TickConflict)]
    if others:
        raise Broken(f"a writer that lost a race got {type(others[0]).__name__}: {others[0]}") from others[0]
    require_equal(1, len(winners), "writers that won one tick")
    return winners[0]


def _race(subject: StoreSubject, stores: Sequence[Store], rounds: int) -> None:
    script = Script()
    stores[0].commit([script.tick(spots({1: 0.0}))])
    for _ in range(rounds):
        writes = [(spots({1: float(index)}), mottos({2: ("writer", b"", index)})) for index in range(len(stores))]
        drafts = [script.draft(*write) for write in writes]
        winner = require_one_winner(
            together(*(partial(store.commit, [draft]) for store, draft in zip(stores, drafts, strict=True)))
        )
        script.tick(*writes[winner])
        require_tick(stores[0], script, script.last)
    for store in set(stores):
        require_history(subject, script, store)


@clause("S-801", "Of two threads that commit one tick through one handle exactly one wins, the other is told.")
def race_on_one_handle(subject: StoreSubject) -> None:
    _race(subject, [subject.store] * 2, rounds=20)


@clause(
    "S-802",
    "Of three handles that commit one tick at once exactly one wins, the others are told.",
    needs=[Capability.SHARED],
)
def race_of_handles(subject: StoreSubject) -> None:
    _race(subject, [subject.store, subject.open(), subject.open()], rounds=10)


@clause("S-803", "Of two threads that open a world, or a run, exactly one wins.")
def race_to_open(subject: StoreSubject) -> None:
    opened = [_raced(subject.store, [Script(f"world {number}", seed=seed) for seed in (1, 2)]) for number in range(5)]
    script = opened[-1]
    for _ in range(10):
        run, rival = script.new_run(), script.new_run()
        rival.segment = replace(rival.segment, run_id=f"rival of {run.segment.run_id}")
        script = opened[-1] = _raced(subject.store, [run, rival])
        require_worlds(subject.store, *opened)
    for script in opened:
        require_history(subject, script)


def _raced(store: Store, rivals: Sequence[Script]) -> Script:
    """The one of these that is first to commit its first tick; they differ in what they write."""
    writes = [spots({1: float(number)}) for number, _ in enumerate(rivals)]
    drafts = [rival.draft(write) for rival, write in zip(rivals, writes, strict=True)]
    winner = require_one_winner(together(*(partial(store.commit, [draft]) for draft in drafts)))
    rivals[winner].tick(writes[winner])
    return rivals[winner]


@clause("S-804", "Threads that write different worlds all get through.")
def writers_of_different_worlds(subject: StoreSubject) -> None:
    scripts = [Script(f"world {index}") for index in range(4)]
    commits = [
        [script.tick(spots({1: float(tick)}), mottos({2: ("a", b"", tick)})) for tick in range(8)] for script in scripts
    ]

    def write(ticks: list[TickCommit]) -> None:
        for commit in ticks:
            subject.store.commit([commit])

    for error in together(*(partial(write, ticks) for ticks in commits)):
        if error is not None:
            raise Broken(f"a writer of a world of its own failed: {error}") from error
    require_worlds(subject.store, *scripts)
    for script in scripts:
        require_history(subject, script)


@clause("S-805", "A reader sees a commit of several ticks whole or not at all, while a writer is at work.")
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
                require((tick + 1) % step == 0, f"tick {tick} shows, and the rest of its commit does not")
                require(tick >= seen, f"the head went back from {seen} to {tick}")
                seen = tick
            if ended:
                return

    _while_writing(store, batches, done, watch)


@clause(
    "S-806", "A reader sees every table of a tick or none, while a writer is at work.", needs=[Capability.TIME_TRAVEL]
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
        require(not must, f"tick {tick} is the head and cannot be scanned")
        return
    require_equal(
        (49, [float(tick)]), (found.num_rows, pc.unique(found.column(0)).to_pylist()), f"first table of tick {tick}"
    )
    # Where one table shows, so do the other and the rest of the commit.
    for other in (tick, tick | 1):
        found = read(store, scan_of(MOTTO, script.segment, other, columns=("motto__rank",)))
        require_equal([other], found.column(0).to_pylist(), f"second table of tick {other}, whose commit shows")


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

    for error in together(write, watch, other or watch):
        if error is not None:
            raise error


class _Gate(Mapping[str, Rows]):
    """Tables that say when they are read, and then wait."""

    def __init__(self, tables: Mapping[str, Rows]) -> None:
        self.tables, self.reached, self.open = tables, threading.Event(), threading.Event()

    def _wait(self) -> None:
        self.reached.set()
        self.open.wait(_PATIENCE_S)

    def __len__(self) -> int:
        return len(self.tables)

    def __iter__(self) -> Iterator[str]:
        self._wait()
        return iter(self.tables)

    def __getitem__(self, name: str) -> Rows:
        self._wait()
        return self.tables[name]


@clause("S-807", "While a commit is being made nothing of it can be read; readers may wait for it, and never for ever.")
def nothing_before_acknowledgement(subject: StoreSubject) -> None:
    store, script = subject.store.inner, Script()
    store.commit([script.tick(spots({1: 0.0}), mottos({2: ("a", b"", 0)}))])
    known, world = script.last, script.segment.world_id
    ticks = [script.tick(spots({1: float(tick)}), mottos({2: ("a", b"", tick)})) for tick in (1, 2)]
    gate = _Gate(ticks[1].written)
    ticks[1] = replace(ticks[1], written=gate)
    with ThreadPoolExecutor(3) as pool:
        writer = pool.submit(store.commit, ticks)
        try:
            require(gate.reached.wait(_PATIENCE_S), "commit never read the tables of its second tick")
            looks = [pool.submit(lambda: store.head(world).tick), pool.submit(lambda: store.worlds()[0].tick)]
            early = [look.result() for look in wait(looks, _GLANCE_S).done if not writer.done()]
        finally:
            gate.open.set()
        writer.result(_PATIENCE_S)
        late = [look.result(_PATIENCE_S) for look in looks]
    require_equal([known] * len(early), early, "newest tick while a commit was being made")
    require(set(late) <= {known, known + 2}, f"a reader that waited for a commit of two ticks saw ticks {late}")
    require_history(subject, script)


@clause("S-808", "What one handle commits, another one shows at once.", needs=[Capability.SHARED])
def handles_see_each_other(subject: StoreSubject) -> None:
    handles, script = [subject.store, subject.open()], Script()
    onlooker = subject.open()
    require_nothing(onlooker)
    for tick in range(6):
        writer, reader = handles[tick % 2], handles[1 - tick % 2]
        table = spots({1: float(tick)}) if tick % 3 else mottos({2: ("a", b"", tick)})
        writer.commit([script.tick(table)])
        for each in (reader, onlooker):
            require_worlds(each, script)
            require_history(subject, script, each)
    late = subject.open()
    require_history(subject, script, late)
    fork = script.fork("fork")
    late.commit([fork.tick()])
    for store in handles:
        require_history(subject, fork, store)


@clause("S-809", "Many threads that scan at once all get the same answer.")
def readers(subject: StoreSubject) -> None:
    script = Script()
    subject.store.commit([script.tick(spots({n: float(n) for n in range(1, 500)}), mottos({501: ("a", b"", 1)}))])
    subject.store.commit([script.tick(mottos({501: ("b", b"", 2)}))])

    def look() -> None:
        for _ in range(5):
            require_tick(subject.store, script, 1)

    for error in together(*[look] * 4):
        if error is not None:
            raise error


@clause("S-810", "A reader sees a world, a fork or a run that is opened meanwhile whole, or not at all.")
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
            require(len(records) >= len(seen), f"{len(records)} worlds are there, and were {len(seen)}")
            for record in records:
                known = (record.tick, record.run_id)
                if seen.get(record.world_id) != known:
                    _require_open(store, record)
                    seen[record.world_id] = known
            if ended:
                return

    def look_ahead() -> None:
        for script in worlds:
            world, is_there = script.segment.world_id, False
            while not is_there:
                ended = done.is_set()
                with suppress(WorldNotFound):
                    _require_open(store, _record_of(store.timeline(world)))
                    is_there = True
                require(is_there or not ended, f"{script.name} is not found, and was committed")

    _while_writing(store, batches, done, watch, look_ahead)
    require_worlds(store, root, *runs)
    for script in runs:
        require_history(subject, script)


def _record_of(timeline: Timeline) -> WorldRecord:
    newest = timeline.spans[-1]
    return WorldRecord(newest.segment.world_id, newest.segment.name, newest.segment.run_id, newest.last)


def _require_open(store: Store, record: WorldRecord) -> None:
    """Require that a world that was seen can be read, as it was or as it has become since."""
    head, now = store.head(record.world_id), _record_of(store.timeline(record.world_id))
    for tick in (head.tick, now.tick):
        require(tick >= record.tick, f"{record.name} is shown to be at tick {record.tick}, and read at {tick}")
    require_equal((record.world_id, record.name), (now.world_id, now.name), "world and name")
    rows = read(store, scan_of(SPOT, head.segment, head.tick, columns=("spot__x",)))
    require_equal(1, rows.num_rows, f"rows of {record.name} at tick {head.tick}, which is its head")
