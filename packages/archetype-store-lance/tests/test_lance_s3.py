"""The Lance store keeps the store contract in an object store: moto's server on this machine."""

from __future__ import annotations

import hashlib
import random
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bucket import BUCKET, emptied, served
from hooked_files import Gate, HookedLogFiles
from obstore.exceptions import AlreadyExistsError
from small_limits import SMALL

from archetype_contracts import Capability, StoreContract
from archetype_contracts.sample import SPOT, spots
from archetype_contracts.script import Script
from archetype_core import StorageConfig, open_store
from archetype_core.errors import CommitUncertain, TickConflict
from archetype_core.store import IS_ACTIVE, Scan, Store
from archetype_journal import JournaledStore
from archetype_store_lance import Address, LanceStore, Limits, LogFiles, RemoteLogFiles, verify
from archetype_store_lance.log_files import connect, log_files_of

EVERYTHING = frozenset({Capability.TIME_TRAVEL, Capability.PERSISTENCE, Capability.SHARED, Capability.SEARCH})
OPTIONS: dict[str, str] = {}


@pytest.fixture(scope="module", autouse=True)
def server() -> Iterator[None]:
    """Start one server for all tests of this module."""
    with served() as options:
        OPTIONS.update(options)
        yield
        OPTIONS.clear()


@pytest.fixture(autouse=True)
def empty() -> None:
    """Empty the bucket before each test."""
    emptied(OPTIONS["aws_endpoint"])


def prefix(place: Path) -> str:
    """The address that stands for a directory."""
    return f"s3://{BUCKET}/{hashlib.sha256(str(place).encode()).hexdigest()[:16]}"


def everything(script: Script, last: int) -> Scan:
    """A scan of all ticks of the one table, with all its columns."""
    columns = ("entity_id", "tick", "world_id", "run_id", IS_ACTIVE, "spot__x")
    return Scan(SPOT.name, script.segment, 0, last, columns)


class TestLanceOnS3(StoreContract):
    """Without lock and journal: writers meet in the log."""

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


def test_a_journal_seals_into_an_object_store(tmp_path: Path) -> None:
    """Ticks are durable in the local journal, move to the object store, and are read from both (S4, S5)"""
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
        found = opened.scan(everything(script, 5)).read_all()
        assert found.column("spot__x").to_pylist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
        opened.close()
    assert [record.tick for record in beneath.worlds()] == [5]
    beneath.close()


class ForgetfulClient:
    """A client that creates an object, loses the answer, sends the request again, and learns that the object exists."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def put(self, name: str, data: bytes, **how: Any) -> Any:
        """Send the request twice."""
        self._client.put(name, data, **how)
        return self._client.put(name, data, **how)


def test_a_lost_answer_is_not_a_conflict(tmp_path: Path) -> None:
    """A commit whose request was sent twice counts once; another writer's commit of that tick is a conflict."""
    address = Address.parse(prefix(tmp_path), OPTIONS)
    files = RemoteLogFiles(address, ForgetfulClient(connect(address)))
    store, script = LanceStore(address.root, OPTIONS, log_files=files), Script()
    ticks = [script.tick(spots({1: 0.0})), script.tick()]
    for tick in ticks:
        store.commit([tick])
    other = LanceStore(address.root, OPTIONS)
    with pytest.raises(TickConflict):
        other.commit([ticks[1]])
    assert [record.tick for record in other.worlds()] == [1]
    assert files.create("x", b"1")
    assert not files.create("x", b"2")
    other.close()
    store.close()


class FaultyClient:
    """A client whose requests fail while ``fails`` is set; objects that it was to create are kept in ``late``."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.fails = self.arrives = self.is_silent = False
        self.late: list[tuple[str, bytes]] = []

    def __getattr__(self, name: str) -> Any:
        if self.is_silent and name in ("get", "list"):
            raise OSError("the connection timed out")
        return getattr(self._client, name)

    def put(self, name: str, data: bytes, **how: Any) -> Any:
        """Send a request, or fail before it arrives, or after."""
        if not self.fails or not name.endswith(".commit"):
            return self._client.put(name, data, **how)
        self.late.append((name, data))
        if self.arrives:
            self._client.put(name, data, **how)
            self.is_silent = True
        raise OSError("the connection timed out")

    def deliver(self) -> None:
        """Let the requests arrive late."""
        for name, data in self.late:
            self._client.put(name, data, mode="create")


class Doubtful:
    """A store with a faulty client, with one tick, and two versions of the next."""

    def __init__(self, place: Path) -> None:
        address = Address.parse(prefix(place), OPTIONS)
        self.place, self.client = address.root, FaultyClient(connect(address))
        self.script = Script()
        log_files = RemoteLogFiles(address, self.client)
        self.store = LanceStore(address.root, OPTIONS, background=False, log_files=log_files)
        self.store.commit([self.script.tick(spots({1: 0.0}))])
        self.tried = self.script.draft(spots({1: 1.0}), attempt="tried")
        self.other = self.script.draft(spots({1: -1.0}), attempt="other")

    def commit_in_doubt(self, *, arrives: bool) -> None:
        """Commit the first version, whose answer never comes."""
        self.client.fails, self.client.arrives = True, arrives
        with pytest.raises(CommitUncertain) as caught:
            self.store.commit([self.tried])
        assert (caught.value.world_id, caught.value.tick) == (self.tried.segment.world_id, 1)
        self.client.fails = self.client.is_silent = False

    def check(self, attempt: str, value: float) -> None:
        """Every handle has this version of the tick, and takes no other."""
        for store in (self.store, LanceStore(self.place, OPTIONS), LanceStore(self.place, OPTIONS)):
            head = store.head(self.script.segment.world_id)
            rows = store.scan(everything(self.script, 1)).read_all()
            assert (head.tick, head.attempt, rows.column("spot__x").to_pylist()) == (1, attempt, [0.0, value])
            for commit in (self.tried, self.other):
                with pytest.raises(TickConflict):
                    store.commit([commit])
            store.close()
        report = verify(self.place, storage_options=OPTIONS)
        assert report.is_sound, str(report)


def test_a_record_that_never_arrived_is_repeated(tmp_path: Path) -> None:
    """A commit whose request was lost is uncertain; the tick is not there and can be committed with other rows (T7)"""
    case = Doubtful(tmp_path)
    case.commit_in_doubt(arrives=False)
    assert case.store.head(case.script.segment.world_id).tick == 0
    case.store.commit([case.other])
    with pytest.raises(AlreadyExistsError):
        case.client.deliver()
    case.check("other", -1.0)


def test_a_record_that_arrived_without_an_answer_counts(tmp_path: Path) -> None:
    """A commit that no answer and no later request could confirm is uncertain; the head names its attempt (T7)"""
    case = Doubtful(tmp_path)
    case.commit_in_doubt(arrives=True)
    case.check("tried", 1.0)


def test_a_record_that_arrives_late_wins_or_loses(tmp_path: Path) -> None:
    """A request that arrives after its writer read the head makes the repeat a conflict: one version stays (T7, S3)"""
    case = Doubtful(tmp_path)
    case.commit_in_doubt(arrives=False)
    assert case.store.head(case.script.segment.world_id).tick == 0
    case.client.deliver()
    case.check("tried", 1.0)


def hooked(place: str) -> HookedLogFiles:
    """The log files of an object store, with hooks."""
    return HookedLogFiles(log_files_of(Address.parse(place, OPTIONS)))


def test_a_writer_that_a_checkpoint_overtook_commits_again(tmp_path: Path) -> None:
    """A record whose number was used and removed by a checkpoint does not count, and its writer notices and repeats it."""
    files = hooked(prefix(tmp_path))
    slow = LanceStore(prefix(tmp_path), OPTIONS, log_files=files)
    fast, reader = (LanceStore(prefix(tmp_path), OPTIONS) for _ in range(2))
    scripts = Script("a"), Script("b")
    slow.commit([scripts[0].tick(spots({1: 0.0}))])
    assert [record.tick for record in reader.worlds()] == [0]
    created: list[str] = []

    def overtake(method: str, name: str) -> None:
        if method == "create":
            if not created:
                fast.commit([scripts[1].tick(spots({1: 5.0}))])
                fast.compact()
            created.append(name)

    files.before = overtake
    slow.commit([scripts[0].tick(spots({1: 1.0}))])
    assert len(set(created)) == 2
    for store in (slow, fast, reader):
        assert sorted((record.name, record.tick) for record in store.worlds()) == [("a", 1), ("b", 0)]
        found = store.scan(everything(scripts[0], 1)).read_all()
        assert found.column("spot__x").to_pylist() == [0.0, 1.0]
        store.close()
    report = verify(prefix(tmp_path), storage_options=OPTIONS)
    assert report.is_sound, str(report)


# With these, ``compact(whole=False)`` makes a checkpoint whenever there is a new record, and does nothing else.
CHECKPOINTS = Limits(checkpoint_records=1, merge_fragments=1_000_000)


class Meeting:
    """Writers of one place without background tasks, and one world."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.files = hooked(place), hooked(place)
        self.first, self.second = (self.open(files) for files in self.files)
        self.writer = self.open(None)
        self.script = Script()

    def open(self, files: LogFiles | None, limits: Limits = CHECKPOINTS) -> LanceStore:
        """A handle that compacts only when it is asked to."""
        return LanceStore(self.place, OPTIONS, background=False, limits=limits, log_files=files)

    def commit(self) -> None:
        """One more tick."""
        self.writer.commit([self.script.tick(spots({1: float(self.script.last + 1)}))])

    def overtake(self, pool: ThreadPoolExecutor, kind: str) -> tuple[Future[int], Gate]:
        """Hold the first writer during a checkpoint that builds on one that the second then replaces."""
        self.commit()
        gate = Gate(self.files[1], "create", ".state")
        slow = pool.submit(self.second.compact, whole=False)
        assert gate.reached.wait(60)
        self.commit()
        held = Gate(self.files[0], "create", kind)
        slower = pool.submit(self.first.compact, whole=False)
        assert held.reached.wait(60)
        gate.opened.set()
        slow.result()
        return slower, held

    def check(self) -> None:
        """Every tick is there for every handle, and checkpoints still keep the log short."""
        self.commit()
        self.first.compact(whole=False)
        assert not any(name.endswith(".commit") for name in self.files[0].names())
        report = verify(self.place, storage_options=OPTIONS)
        assert report.is_sound, str(report)
        last = self.script.last
        for store in (self.first, self.second, self.writer, self.open(None)):
            found = store.scan(everything(self.script, last)).read_all()
            assert found.column("spot__x").to_pylist() == [float(tick) for tick in range(last + 1)]
            store.close()


def test_a_late_checkpoint_removes_nothing_that_a_newer_one_uses(tmp_path: Path) -> None:
    """Of two checkpoints that build on different ones, the slower one removes no file that is in use."""
    meeting = Meeting(prefix(tmp_path))
    with ThreadPoolExecutor(2) as pool:
        slower, gate = meeting.overtake(pool, ".state")
        meeting.commit()
        newer = Gate(meeting.files[1], "create", ".state")
        slow = pool.submit(meeting.second.compact, whole=False)
        assert newer.reached.wait(60)
        looked = Gate(meeting.files[0], "names", after=True)
        gate.opened.set()
        wait([slower], 1.0)
        newer.opened.set()
        slow.result()
        looked.opened.set()
        slower.result()
    meeting.check()


def test_a_checkpoint_under_a_free_number_removes_nothing(tmp_path: Path) -> None:
    """A checkpoint whose number was used, and removed by the next one, keeps the row indexes that the newest needs."""
    meeting = Meeting(prefix(tmp_path))
    meeting.commit()
    meeting.second.compact(whole=False)
    meeting.commit()
    # It merges the row index of the first checkpoint, which the other writer keeps.
    merging = meeting.open(meeting.files[0], replace(CHECKPOINTS, merge_indexes=2))
    gate = Gate(meeting.files[0], "create", ".state")
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(merging.compact, whole=False)
        assert gate.reached.wait(60)
        meeting.second.compact(whole=False)
        meeting.commit()
        meeting.second.compact(whole=False)
        gate.opened.set()
        slow.result()
    merging.close()
    assert sum(name.endswith(".state") for name in meeting.files[0].names()) == 2
    meeting.check()
    assert sum(name.endswith(".state") for name in meeting.files[0].names()) == 1


def test_a_late_row_index_replaces_none_that_is_in_use(tmp_path: Path) -> None:
    """Two writers that merge different records at one number write files of different names."""
    meeting = Meeting(prefix(tmp_path))
    with ThreadPoolExecutor(2) as pool:
        slower, gate = meeting.overtake(pool, ".index")
        meeting.second.compact(whole=False)
        gate.opened.set()
        slower.result()
    meeting.check()


def test_writers_meet_during_compaction(tmp_path: Path) -> None:
    """Two handles append to one table and compact it, without a lock between them, and no row changes."""
    scripts = Script("a"), Script("b")
    draw = random.Random(1)
    sizes = {script.segment.world_id: [draw.choice([1, 3, 7, 20]) for _ in range(12)] for script in scripts}

    def write(script: Script) -> None:
        store = LanceStore(prefix(tmp_path), OPTIONS, limits=SMALL)
        for tick, size in enumerate(sizes[script.segment.world_id]):
            commit = script.tick(spots({number: tick + number / 32 for number in range(1, size + 1)}))
            store.commit([commit])
            store.compact(whole=tick % 5 == 0)
        store.close()

    with ThreadPoolExecutor(2) as pool:
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
