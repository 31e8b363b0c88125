"""Attempts: what one costs, and who names it once its tick is sealed (T7)."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from journal_worlds import journal_over_journal

from archetype_contracts.sample import spots
from archetype_contracts.script import Script, identifier
from archetype_core import CacheConfig
from archetype_core.errors import TickConflict
from archetype_journal import JournaledStore, JournalStore, pack_attempt, unpack_attempt


@given(st.one_of(st.uuids().map(str), st.text(), st.text(st.characters(codec=None), min_size=15, max_size=17)))
def test_an_attempt_is_packed_and_unpacked(attempt: str) -> None:
    """Every text comes back, and a UUID takes 17 bytes. (T7)"""
    packed = pack_attempt(attempt)
    assert unpack_attempt(packed) == attempt
    assert len(packed) <= 1 + len(attempt.encode(errors="surrogatepass"))


def test_an_attempt_costs_seventeen_bytes_per_tick(tmp_path: Path) -> None:
    """A UUID is stored as its bytes. (T11)"""
    sizes = []
    for attempt in (identifier("an attempt"), ""):
        store, script = JournalStore(tmp_path / (attempt or "none")), Script()
        store.commit([script.tick(spots({1: 1.0}), attempt=attempt)])
        store.close()
        with closing(sqlite3.connect(store.path / "journal.sqlite")) as database:
            sizes += [size for (size,) in database.execute("SELECT length(record) FROM tick")]
    assert sizes[0] - sizes[1] == 17


def test_a_sealed_head_names_its_attempt(tmp_path: Path) -> None:
    """The attempt is there once the head is sealed, and its rows are in the store beneath alone, here and reopened. (T7)"""
    store, script = journal_over_journal(tmp_path), Script()
    for _ in range(2):
        ticks = [script.tick(spots({1: float(number)})) for number in range(3)]
        store.commit(ticks)
        store.seal()
        assert store.unsealed_ticks == 0
        for handle in (store, journal_over_journal(tmp_path), store.beneath):
            for tick in ticks:
                assert handle.head(script.segment.world_id, at=tick.tick).attempt == tick.attempt
            assert handle.head(script.segment.world_id).attempt == ticks[-1].attempt
            if handle not in (store, store.beneath):
                handle.close()
        store.close()
        # Alone, the journal has the record of the last sealed tick.
        alone = JournalStore(tmp_path / "journal")
        alone.commit([tick := script.tick(spots({1: 9.0}))])
        assert alone.head(script.segment.world_id).attempt == tick.attempt
        alone.close()
        store = journal_over_journal(tmp_path)
    store.close()


def test_another_attempt_of_the_same_rows_is_a_conflict(tmp_path: Path) -> None:
    """Two journals that continue a world with equal ticks are two writers: the second to seal is told. (S3)"""
    script, cache = Script(), CacheConfig(idle_s=3600.0)
    first, second = (
        JournaledStore(JournalStore(tmp_path / "beneath"), tmp_path / name, cache) for name in ("first", "second")
    )
    first.commit([script.tick(spots({1: 1.0}), attempt="first")])
    second.commit([script.draft(spots({1: 1.0}), tick=0, attempt="second")])
    first.seal()
    with pytest.raises(TickConflict):
        second.seal()
    first.close()
    second.close()


def test_a_commit_stands_without_background_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the system starts no more threads, a tick that is stored is acknowledged, and the log says what does not run. (T7)"""

    def refuse(thread: Thread) -> Any:
        raise RuntimeError("can't start new thread")

    store, script = JournalStore(tmp_path, durability="interval", interval_s=0.01), Script()
    monkeypatch.setattr(Thread, "start", refuse)
    store.commit([script.tick(spots({1: 1.0}))])
    assert store.head(script.segment.world_id).attempt == script.tick_at(0).commit.attempt
    monkeypatch.undo()
    store.commit([script.tick(spots({1: 2.0}))])
    store.close()
    again = JournalStore(tmp_path)
    assert again.head(script.segment.world_id).tick == 1
    again.close()
