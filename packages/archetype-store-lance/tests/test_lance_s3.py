"""The Lance store keeps the store contract in an object store: moto's, over HTTP on this machine."""

from __future__ import annotations

import hashlib
import random
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import asynccontextmanager
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from bucket import BUCKET, emptied, served
from cramped import cramped

from archetype_contracts import Capability, StoreContract
from archetype_contracts.sample import SPOT, spots
from archetype_contracts.script import Script
from archetype_contracts.store import scan_of
from archetype_core import StorageConfig, open_store
from archetype_core.errors import TickConflict
from archetype_core.store import Scan, Store
from archetype_journal import JournaledStore
from archetype_store_lance import LanceStore, verify
from archetype_store_lance.log_files import RemoteShelf

EVERYTHING = frozenset({Capability.TIME_TRAVEL, Capability.PERSISTENCE, Capability.SHARED, Capability.SEARCH})
OPTIONS: dict[str, str] = {}


@pytest.fixture(scope="module", autouse=True)
def server() -> Iterator[None]:
    """One server for all tests of this module."""
    with served() as options:
        OPTIONS.update(options)
        yield
        OPTIONS.clear()


@pytest.fixture(autouse=True)
def empty() -> None:
    """Nothing of earlier tests."""
    emptied(OPTIONS["aws_endpoint"])


def prefix(place: Path) -> str:
    """An address of its own for every place."""
    return f"s3://{BUCKET}/{hashlib.sha256(str(place).encode()).hexdigest()[:16]}"


class TestLanceOnS3(StoreContract):
    """No lock and no journal: writers meet in the log."""

    capabilities = EVERYTHING
    examples = 3

    @asynccontextmanager
    async def open_store(self, place: Path) -> AsyncIterator[Store]:
        """Tables and log under a prefix."""
        store = LanceStore(prefix(place), OPTIONS)
        try:
            yield store
        finally:
            store.close()


def test_a_journal_hands_over_to_an_object_store(tmp_path: Path) -> None:
    """What an address opens keeps ticks on this machine, moves them to the object store, and finds them in both (S4, S5)."""
    options = {"storage_options": OPTIONS, "journal": str(tmp_path / "journal")}
    config = StorageConfig(prefix(tmp_path), backend="lance", options=options)
    script = Script()
    store = open_store(config)
    assert isinstance(store, JournaledStore)
    store.commit([script.tick(spots({1: float(tick)})) for tick in range(5)])
    store.seal()
    store.commit([script.tick(spots({1: 5.0}))])
    beneath = LanceStore(prefix(tmp_path), OPTIONS)
    assert [record.tick for record in beneath.worlds()] == [4]
    for opened in (store, open_store(config)):
        found = opened.scan(scan_of(SPOT, script.segment, 0, 5)).read_all()
        assert found.column("spot__x").to_pylist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
        opened.close()
    assert [record.tick for record in beneath.worlds()] == [5]
    beneath.close()


class Forgetful:
    """A client that makes an object, loses the answer, asks again, and is told that it is there."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def put(self, name: str, data: bytes, **how: Any) -> Any:
        """Make it twice."""
        self._client.put(name, data, **how)
        return self._client.put(name, data, **how)


def test_an_answer_that_is_lost_is_no_conflict(tmp_path: Path) -> None:
    """A commit whose request had to be made again is made once, and another's under the same number is still another's."""
    store, script = LanceStore(prefix(tmp_path), OPTIONS), Script()
    shelf = store._log.shelf
    assert isinstance(shelf, RemoteShelf)
    shelf._store = Forgetful(shelf._store)
    ticks = [script.tick(spots({1: 0.0})), script.tick()]
    for tick in ticks:
        store.commit([tick])
    other = LanceStore(prefix(tmp_path), OPTIONS)
    with pytest.raises(TickConflict):
        other.commit([ticks[1]])
    assert [record.tick for record in other.worlds()] == [1]
    assert shelf.create("x", b"1")
    assert not shelf.create("x", b"2")
    other.close()
    store.close()


def test_a_writer_that_was_overtaken_by_a_checkpoint_commits_again(tmp_path: Path) -> None:
    """Where its number was taken, written down whole and removed since it looked, its record counts for nobody, and it knows."""
    slow, fast, reader = (LanceStore(prefix(tmp_path), OPTIONS) for _ in range(3))
    scripts = Script("a"), Script("b")
    slow.commit([scripts[0].tick(spots({1: 0.0}))])
    assert [record.tick for record in reader.worlds()] == [0]
    create = slow._log.shelf.create
    made: list[str] = []

    def late(name: str, data: bytes) -> bool:
        if not made:
            fast.commit([scripts[1].tick(spots({1: 5.0}))])
            fast.compact()
        made.append(name)
        return create(name, data)

    slow._log.shelf.create = late  # type: ignore[method-assign]  # reason: a slow one
    slow.commit([scripts[0].tick(spots({1: 1.0}))])
    assert len(set(made)) == 2
    for store in (slow, fast, reader):
        assert sorted((record.name, record.tick) for record in store.worlds()) == [("a", 1), ("b", 0)]
        found = store.scan(scan_of(SPOT, scripts[0].segment, 0, 1)).read_all()
        assert found.column("spot__x").to_pylist() == [0.0, 1.0]
        store.close()
    report = verify(prefix(tmp_path), storage_options=OPTIONS)
    assert report.is_sound, str(report)


class Gate:
    """Holds the first call of a shelf's method on a file of some kind, before it is made or after, until it is opened."""

    def __init__(self, store: LanceStore, method: str, kind: str = "", *, after: bool = False) -> None:
        self.reached, self.opened = Event(), Event()
        shelf = store._log.shelf
        call = getattr(shelf, method)

        def held(*given: Any) -> Any:
            if self.reached.is_set() or not (given[0] if given else "").endswith(kind):
                return call(*given)
            found = call(*given) if after else None
            self.reached.set()
            assert self.opened.wait(60)
            return found if after else call(*given)

        setattr(shelf, method, held)


class Meeting:
    """Writers of one place that keep no upkeep of their own, and one world."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.first, self.second, self.writer = (LanceStore(place, OPTIONS) for _ in range(3))
        self.script = Script()
        for store in (self.first, self.second, self.writer):
            store._upkeep.stop()

    def commit(self) -> None:
        """One more tick."""
        self.writer.commit([self.script.tick(spots({1: float(len(self.script.ticks))}))])

    def overtake(self, pool: ThreadPoolExecutor, kind: str) -> tuple[Future[None], Gate]:
        """The first writer is held while it writes the state down, over a beginning that the second then replaces."""
        self.commit()
        gate = Gate(self.second, "create", ".state")
        slow = pool.submit(self.second._log.checkpoint)
        assert gate.reached.wait(60)
        self.commit()
        held = Gate(self.first, "create", kind)
        slower = pool.submit(self.first._log.checkpoint)
        assert held.reached.wait(60)
        gate.opened.set()
        slow.result()
        return slower, held

    def check(self) -> None:
        """Everything is there, and the log is still kept short."""
        self.commit()
        self.first._log.checkpoint()
        report = verify(self.place, storage_options=OPTIONS)
        assert report.is_sound, str(report)
        last = len(self.script.ticks) - 1
        for store in (self.first, self.second, self.writer, LanceStore(self.place, OPTIONS)):
            found = store.scan(scan_of(SPOT, self.script.segment, 0, last)).read_all()
            assert found.column("spot__x").to_pylist() == [float(tick) for tick in range(last + 1)]
            store.close()


def test_a_late_checkpoint_removes_nothing_that_a_newer_one_uses(tmp_path: Path) -> None:
    """Of two that write the state down from different beginnings, the slower one leaves all that is in use."""
    meeting = Meeting(prefix(tmp_path))
    first, second = meeting.first, meeting.second
    with ThreadPoolExecutor(2) as pool:
        slower, gate = meeting.overtake(pool, ".state")
        meeting.commit()
        newer = Gate(second, "create", ".state")
        slow = pool.submit(second._log.checkpoint)
        assert newer.reached.wait(60)
        looked = Gate(first, "names", after=True)
        gate.opened.set()
        wait([slower], 1.0)
        newer.opened.set()
        slow.result()
        looked.opened.set()
        slower.result()
    meeting.check()


def test_a_late_block_replaces_none_that_is_in_use(tmp_path: Path) -> None:
    """Two that merge other records at one number write files of other names."""
    meeting = Meeting(prefix(tmp_path))
    with ThreadPoolExecutor(2) as pool:
        slower, gate = meeting.overtake(pool, ".block")
        meeting.second._log.checkpoint()
        gate.opened.set()
        slower.result()
    meeting.check()


def test_writers_that_meet_while_rows_are_brought_together(tmp_path: Path) -> None:
    """Two handles add to one table and bring its pieces together, with no lock between them: each row stays what it was."""
    scripts = Script("a"), Script("b")
    draw = random.Random(1)
    sizes = {script.segment.world_id: [draw.choice([1, 3, 7, 20]) for _ in range(12)] for script in scripts}

    def write(script: Script) -> None:
        store = LanceStore(prefix(tmp_path), OPTIONS)
        for tick, size in enumerate(sizes[script.segment.world_id]):
            commit = script.tick(spots({number: tick + number / 32 for number in range(1, size + 1)}))
            store.commit([commit])
            store._upkeep.run(whole=tick % 5 == 0)
        store.close()

    with cramped(), ThreadPoolExecutor(2) as pool:
        list(pool.map(write, scripts))
    reader = LanceStore(prefix(tmp_path), OPTIONS)
    for script in scripts:
        found = reader.scan(Scan(SPOT.name, script.segment, 0, 11, ("tick", "entity_id", "spot__x"))).read_all()
        expected = [
            (tick, number, tick + number / 32)
            for tick, size in enumerate(sizes[script.segment.world_id])
            for number in range(1, size + 1)
        ]
        assert list(zip(*(column.to_pylist() for column in found.columns), strict=True)) == expected
    reader.close()
    report = verify(prefix(tmp_path), storage_options=OPTIONS)
    assert report.is_sound, str(report)
