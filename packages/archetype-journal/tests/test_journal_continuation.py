"""Continuations: what one costs, how large it may be, and where it is once its tick is sealed (T7)."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from journal_worlds import journal_over_journal

from archetype_contracts.sample import spots
from archetype_contracts.script import Script
from archetype_core import CacheConfig, TickCommit
from archetype_core.errors import CorruptStore, TickConflict
from archetype_journal import JournaledStore, JournalStore, repair, verify

LARGE = random.Random(1).randbytes(3 * 2**20)


def record_sizes(path: Path) -> list[int]:
    """The size of every tick's record."""
    with closing(sqlite3.connect(path / "journal.sqlite")) as database:
        return [size for (size,) in database.execute("SELECT length(record) FROM tick ORDER BY id")]


def test_a_small_continuation_costs_its_bytes(tmp_path: Path) -> None:
    """A tick without a continuation pays nothing for it, one with it a byte more than its length. (T11)"""
    store, script = JournalStore(tmp_path), Script()
    store.commit([script.tick(attempt="", continuation=one) for one in (b"", b"sixty bytes".ljust(60, b"."))])
    store.close()
    none, some = record_sizes(tmp_path)
    assert some - none == 61


@pytest.mark.parametrize("size", [1023, 1024, 1025, 256 * 1024 - 1, 256 * 1024, 256 * 1024 + 1, len(LARGE)])
def test_a_continuation_may_have_any_size(tmp_path: Path, size: int) -> None:
    """It comes back byte for byte, after reopening too, and a long one lies outside the record. (S2)"""
    store, script = JournalStore(tmp_path), Script()
    ticks = [script.tick(spots({1: float(number)}), continuation=LARGE[number : number + size]) for number in range(3)]
    store.commit(ticks[:2])
    store.commit(ticks[2:])
    for _ in range(2):
        for tick in ticks:
            head = store.head(script.segment.world_id, at=tick.tick)
            assert head.continuation == tick.continuation
        store.close()
        store = JournalStore(tmp_path)
    store.close()
    assert max(record_sizes(tmp_path)) < 1400
    assert verify(tmp_path).is_sound


def test_a_sealed_continuation_is_in_the_store_beneath(tmp_path: Path) -> None:
    """The journal removes the bytes of sealed ticks, and every head still has its continuation, here and reopened. (T7)"""
    store, script = journal_over_journal(tmp_path), Script()
    for turn in range(2):
        ticks = [script.tick(spots({1: 1.0}), continuation=one) for one in (LARGE, b"", b"\0", LARGE[turn:])]
        store.commit(ticks)
        before = [store.head(script.segment.world_id, at=tick.tick) for tick in ticks]
        store.seal()
        for handle in (store, journal_over_journal(tmp_path), store.beneath):
            assert [handle.head(script.segment.world_id, at=tick.tick) for tick in ticks] == before
            assert handle.head(script.segment.world_id).continuation == ticks[-1].continuation
            if handle not in (store, store.beneath):
                handle.close()
        store.close()
        store = journal_over_journal(tmp_path)
    store.seal()
    assert not list((tmp_path / "journal").glob("*.chunk"))
    store.close()


def test_the_journal_alone_has_the_newest_sealed_continuation(tmp_path: Path) -> None:
    """The record that stays of a sealed tick holds its continuation, so that no handle reports another one. (T7)"""
    store, script = journal_over_journal(tmp_path), Script()
    store.commit([script.tick(continuation=LARGE)])
    store.close()
    alone = JournalStore(tmp_path / "journal")
    assert alone.head(script.segment.world_id).continuation == LARGE
    alone.close()


def test_a_world_of_the_store_beneath_keeps_its_continuation(tmp_path: Path) -> None:
    """A journal that continues a world of another store has the continuations of the ticks before. (T7)"""
    script, beneath = Script(), JournalStore(tmp_path / "beneath")
    beneath.commit([script.tick(spots({1: 1.0}), continuation=one) for one in (b"first", LARGE)])
    beneath.close()
    store = journal_over_journal(tmp_path)
    store.commit([script.tick(continuation=b"third")])
    found = [store.head(script.segment.world_id, at=tick).continuation for tick in range(3)]
    assert found == [b"first", LARGE, b"third"]
    store.close()


def test_another_continuation_of_the_same_tick_is_a_conflict(tmp_path: Path) -> None:
    """Two journals whose ticks differ in nothing else are two writers: the second to seal is told. (S3)"""
    script, cache = Script(), CacheConfig(idle_s=3600.0)
    first, second = (
        JournaledStore(JournalStore(tmp_path / "beneath"), tmp_path / name, cache) for name in ("first", "second")
    )
    first.commit([script.tick(spots({1: 1.0}), attempt="one", continuation=b"first")])
    second.commit([script.draft(spots({1: 1.0}), tick=0, attempt="one", continuation=b"second")])
    first.seal()
    with pytest.raises(TickConflict):
        second.seal()
    first.close()
    second.close()


class Counted(JournalStore):
    """Counts the ticks of each commit."""

    sizes: tuple[int, ...] = ()

    def commit(self, ticks: Sequence[TickCommit]) -> None:
        super().commit(ticks)
        self.sizes = (*self.sizes, len(ticks))


def test_sealing_takes_few_large_continuations_at_once(tmp_path: Path) -> None:
    """Ticks without rows are sealed in several commits if their continuations are long, which bounds the memory. (T11)"""
    beneath, script = Counted(tmp_path / "beneath"), Script()
    store = JournaledStore(beneath, tmp_path / "journal", CacheConfig(idle_s=3600.0, megabytes=4))
    for _ in range(4):
        store.commit([script.tick(continuation=LARGE)])
    store.seal()
    assert sum(beneath.sizes) == 4
    assert max(beneath.sizes) == 2
    store.close()


def test_a_damaged_continuation_is_not_served(tmp_path: Path) -> None:
    """A flipped byte raises where it is read, ``verify`` names the tick, and ``repair`` can go back to the one before. (S4)"""
    store, script = JournalStore(tmp_path), Script()
    store.commit([script.tick(spots({1: 1.0}))])
    store.commit([script.tick(spots({1: 2.0}), continuation=LARGE)])
    store.close()
    (file,) = tmp_path.glob("*.chunk")
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    store = JournalStore(tmp_path)
    with pytest.raises(CorruptStore, match="checksum"):
        store.head(script.segment.world_id)
    assert store.head(script.segment.world_id, at=0).continuation == script.tick_at(0).commit.continuation
    store.close()
    (finding,) = verify(tmp_path).findings
    assert (finding.world, finding.tick, finding.loses_only_values) == (script.name, 1, True)
    assert "the continuation" in finding.place
    assert repair(tmp_path).kept_in is None
    assert len(repair(tmp_path, roll_back=True).removed) == 1
    store = JournalStore(tmp_path)
    assert store.head(script.segment.world_id).tick == 0
    store.close()


def test_a_head_is_read_while_its_tick_is_sealed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader whose file is removed at that moment finds the continuation in the store beneath. (S4)"""
    writer, script = JournalStore(tmp_path / "journal"), Script()
    writer.commit([script.tick(spots({1: 1.0}), continuation=LARGE)])
    writer.close()
    store, opened = journal_over_journal(tmp_path), Path.open
    files = list((tmp_path / "journal").glob("*.chunk"))

    def seal_first(path: Path, *how: Any, **more: Any) -> Any:
        if path in files:
            files.remove(path)
            store.seal()
            assert not path.exists()
        return opened(path, *how, **more)

    monkeypatch.setattr(Path, "open", seal_first)
    assert store.head(script.segment.world_id).continuation == LARGE
    assert not files
    store.close()
