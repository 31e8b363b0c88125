"""What people do to journals that nobody foresaw; each of these was done once."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from journaling import Drift, Line, Place, Speed

from archetype_core import CacheConfig, TickCommit, World, open_store
from archetype_core.errors import CommitError, CorruptStore
from archetype_journal import JournaledStore, JournalStore, repair, verify

OPEN_AND_CLOSE = "import sys; from archetype_journal import JournalStore; JournalStore(sys.argv[1]).close()"


async def begun(store: JournalStore, name: str = "w") -> World:
    """A world with a few ticks."""
    world = World(store, name, seed=1, processors=[Drift()])
    world.spawn(Place(), Speed())
    await world.run(3)
    return world


def test_files_that_were_replaced_are_not_written_to(tmp_path: Path) -> None:
    """Copying an open journal in its own process takes SQLite's locks away; no tick is acknowledged into the void. (S4)"""

    async def scenario() -> None:
        store = JournalStore(tmp_path / "j")
        world = await begun(store)
        shutil.copytree(tmp_path / "j", tmp_path / "copy")
        await asyncio.to_thread(subprocess.run, [sys.executable, "-c", OPEN_AND_CLOSE, tmp_path / "j"], check=True)
        acknowledged = world.tick
        try:
            await world.run(3)
        except CommitError as failure:
            assert "open it anew" in str(failure)  # noqa: PT017  # reason: it may also have gone well
        acknowledged = world.tick
        again = JournalStore(tmp_path / "j")
        assert again.worlds()[0].tick == acknowledged - 1
        again.close()
        store.close()

    asyncio.run(scenario())


def test_directory_that_was_removed_takes_no_more_ticks(tmp_path: Path) -> None:
    """A journal whose files are gone refuses the next tick. (S2)"""

    async def scenario() -> None:
        store = JournalStore(tmp_path / "j")
        world = await begun(store)
        shutil.rmtree(tmp_path / "j")
        with pytest.raises(CommitError, match="removed"):
            await world.step()
        store.close()

    asyncio.run(scenario())


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_forked_process_leaves_the_journal_to_its_parent(tmp_path: Path) -> None:
    """A child that closes its copy of a handle, or ends, takes nothing away from its parent. (S3)"""
    store = JournalStore(tmp_path)
    child = os.fork()
    if child == 0:
        try:
            store.worlds()
        except Exception as failure:  # noqa: BLE001  # reason: whatever it is, the parent is to hear of it
            code = 0 if type(failure).__name__ == "StoreClosed" else 1
        else:
            code = 2
        store.close()
        os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(verify(tmp_path).owners) == 1
    with pytest.raises(CommitError, match="while it is open"):
        repair(tmp_path)
    asyncio.run(begun(store))
    store.close()


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_forked_process_hands_nothing_over(tmp_path: Path) -> None:
    """A child that closes its copy of a journal before a store leaves both, and what waits, to its parent. (S3)"""
    store = JournaledStore(JournalStore(tmp_path / "beneath"), tmp_path / "j", CacheConfig(idle_s=3600))
    asyncio.run(begun(store))
    child = os.fork()
    if child == 0:
        store.close()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert not store.beneath.worlds()
    assert store.seal() == 3
    store.close()


def test_journal_in_front_of_itself_is_refused(tmp_path: Path) -> None:
    """It would find every tick beneath, and let go of it. (S4)"""
    store = JournalStore(tmp_path)
    asyncio.run(begun(store))
    with pytest.raises(ValueError, match="in front of itself"):
        JournaledStore(store, tmp_path / ".." / tmp_path.name)
    assert store.worlds()[0].tick == 2
    store.close()


def test_journal_whose_ticks_are_elsewhere_says_so(tmp_path: Path) -> None:
    """Opened without the store that has its ticks, a journal names what is missing. (Q3)"""
    store = JournaledStore(JournalStore(tmp_path / "beneath"), tmp_path / "j")
    asyncio.run(begun(store))
    store.close()
    alone = JournalStore(tmp_path / "j")
    with pytest.raises(CommitError, match="open it with JournaledStore"):
        alone.head(alone.worlds()[0].world_id)
    alone.close()


def test_waiting_for_ever_is_possible(tmp_path: Path) -> None:
    """An idle time beyond what clocks can count is just that; hand-overs go on. (S2)"""

    async def scenario() -> None:
        beneath = JournalStore(tmp_path / "beneath")
        store = JournaledStore(beneath, tmp_path / "j", CacheConfig(idle_s=1e12, rows=5))
        world = World(store, "w", seed=1, processors=[Drift()])
        world.spawn_many([(Place(), Speed()) for _ in range(10)])
        await world.run(30)
        store.close()

    asyncio.run(scenario())


def test_world_that_the_store_beneath_refuses_keeps_no_other(tmp_path: Path) -> None:
    """Other worlds are handed over, and the failure is told. (S4)"""

    class Picky(JournalStore):
        def commit(self, ticks: Sequence[TickCommit]) -> None:
            if ticks and ticks[0].segment.name == "bad":
                raise OSError("not that one")
            super().commit(ticks)

    async def scenario() -> None:
        store = JournaledStore(Picky(tmp_path / "beneath"), tmp_path / "j", CacheConfig(idle_s=3600))
        for name in ("bad", "good"):
            await begun(store, name)
        with pytest.raises(CommitError, match="not that one"):
            store.seal()
        assert [one.name for one in store.beneath.worlds()] == ["good"]
        store.close()

    asyncio.run(scenario())


def test_one_commit_that_cannot_be_stored_spoils_no_other(tmp_path: Path) -> None:
    """Of commits that share a transaction only the one to blame fails. (S2)"""

    async def scenario() -> None:
        store = JournalStore(tmp_path)
        worlds = [World(store, f"w{index}", seed=1) for index in range(5)]
        for world in worlds:
            world.spawn(Place())
        # Past what a column of whole numbers takes; nothing checks it before.
        worlds[2]._state.next_entity_id = 2**70
        store._waiting = line = Line(5)
        with store._handle.database.writing:
            steps = [asyncio.create_task(world.step()) for world in worlds]
            assert await asyncio.to_thread(line.is_full.wait, 60)
        results = await asyncio.gather(*steps, return_exceptions=True)
        assert [isinstance(result, Exception) for result in results] == [False, False, True, False, False]
        store.close()

    asyncio.run(scenario())


def test_relative_path_stays_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that goes to another directory keeps its journal. (S1)"""

    async def scenario() -> None:
        monkeypatch.chdir(tmp_path)
        store = open_store("journal:./j")
        world = World(store, "w", seed=1)
        world.spawn(Place())
        await world.step()
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        world.spawn_table({"x": [0.5] * 100_000}, Place)
        await world.step()
        assert len(world.snapshot(Place).to_pydict()["place__x"]) == 100_001
        assert not list((tmp_path / "elsewhere").iterdir())
        store.close()

    asyncio.run(scenario())


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    """A directory that holds other things keeps them. (S1)"""
    for name in ("mine.chunk", "x.owner", "notes"):
        (tmp_path / name).write_text("mine")
    (tmp_path / "dir.owner").mkdir()
    (tmp_path / "dir.chunk").mkdir()
    JournalStore(tmp_path).close()
    assert {one.name for one in tmp_path.iterdir()} > {"mine.chunk", "x.owner", "notes", "dir.owner", "dir.chunk"}


def test_opening_at_once_is_nobodys_error(tmp_path: Path) -> None:
    """However many open, look at and leave one directory at the same moment, from before it is there on, all can. (S1)"""

    def come_and_go(place: Path) -> None:
        start.wait()
        for _ in range(10):
            with closing(JournalStore(place)):
                verify(place)

    for place in (tmp_path / f"place {number}" for number in range(10)):
        start = threading.Barrier(4)
        with ThreadPoolExecutor(4) as pool:
            for one in [pool.submit(come_and_go, place) for _ in range(4)]:
                one.result()


def test_somebody_who_opens_between_two_looks_is_nobodys_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever another makes the journal that is opened, it is not taken for one that lost its database. (S1)"""
    look, place, guests = Path.exists, tmp_path / "journal", ["another"]

    def exists(path: Path) -> bool:
        seen = look(path)
        if guests:
            guests.pop()
            JournalStore(place).close()
        return seen

    monkeypatch.setattr(Path, "exists", exists)
    JournalStore(place).close()
    assert not guests


def test_places_that_cannot_be_a_journal_are_typed_errors(tmp_path: Path) -> None:
    """A file, a name that is too long, no name at all, nothing to repair. (S1)"""
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / ("x" * 300)):
        with pytest.raises(CommitError):
            JournalStore(place)
    with pytest.raises(ValueError, match="names no directory"):
        open_store("journal:")
    with pytest.raises(TypeError, match="CacheConfig"):
        open_store(f"journal:{tmp_path}", {"durability": "tick"})  # type: ignore[arg-type]  # reason: that is the point
    for place in (tmp_path / "missing", tmp_path / "file"):
        with pytest.raises(CorruptStore):
            repair(place)
    assert {one.name for one in tmp_path.iterdir()} == {"file"}


def test_readers_do_not_pile_up_connections(tmp_path: Path) -> None:
    """However many read at once, few connections stay open. (S1)"""

    async def scenario() -> None:
        store = JournalStore(tmp_path)
        world = await begun(store)
        await asyncio.gather(*(World.open(store, world.world_id) for _ in range(100)))
        assert 0 < len(store._handle.database._idle) <= 16
        store.close()

    asyncio.run(scenario())


def test_name_that_no_text_can_be_is_refused(tmp_path: Path) -> None:
    """Half a character is no name. (M7)"""
    store = JournalStore(tmp_path)
    with pytest.raises(ValueError, match="can be stored"):
        World(store, "\ud800")
    store.close()
