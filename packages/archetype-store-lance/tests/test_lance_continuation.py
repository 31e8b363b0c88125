"""Continuations in a Lance store: where their bytes lie, and what the head of a store that was just opened costs (T7)."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hooked_files import HookedLogFiles
from small_limits import SMALL

from archetype_contracts.sample import spots
from archetype_contracts.script import Script
from archetype_core.errors import CorruptStore
from archetype_store_lance import LanceStore, LocalLogFiles, verify

LARGE = random.Random(1).randbytes(2 * 2**20)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return a directory for a store."""
    return tmp_path / "store"


def committed(place: Path, continuations: list[bytes], *, whole: bool) -> Script:
    """Commit ticks that differ in their continuations alone, one by one; ``whole`` merges row indexes after each."""
    store, script = LanceStore(place, background=False, limits=SMALL), Script()
    for one in continuations:
        store.commit([script.tick(attempt="same", continuation=one)])
        if whole:
            store.compact()
    store.close()
    return script


@pytest.mark.parametrize("whole", [False, True])
def test_every_tick_keeps_its_continuation(place: Path, whole: bool) -> None:
    """Ticks that differ in nothing else have entries of their own, also where row indexes were merged."""
    continuations = [b"", b"a", b"a", b"", b"", LARGE, LARGE[:-1], LARGE[:-1], b"\0", b"\0\0"]
    script = committed(place, continuations, whole=whole)
    store = LanceStore(place)
    found = [store.head(script.segment.world_id, at=tick).continuation for tick in range(len(continuations))]
    assert found == continuations
    store.close()
    assert verify(place).is_sound


def test_checkpoints_hold_no_continuations(place: Path) -> None:
    """Only the row index has the bytes, so a checkpoint stays small however long they are. (T11)"""
    committed(place, [LARGE, b"", LARGE], whole=True)
    (state,) = (place / "_log").glob("*.state")
    assert state.stat().st_size < 2000


def opening_reads(place: Path, world_id: str) -> tuple[int, int]:
    """How many of the log's files opening reads, and how many more the newest head then does."""
    names: list[str] = []
    files = HookedLogFiles(LocalLogFiles(place / "_log"))
    files.before = lambda method, name: names.append(name) if method == "read" else None
    store = LanceStore(place, background=False, log_files=files)
    opened = len(names)
    store.head(world_id)
    store.close()
    return opened, len(names) - opened


def test_the_newest_head_reads_at_most_one_more_file(place: Path) -> None:
    """Records that opening reads have the newest entries; after a checkpoint they are in one row index."""
    store, script = LanceStore(place, background=False), Script()
    for number in range(5):
        store.commit([script.tick(spots({1: float(number)}))])
    # The newest record's number, the first checkpoint, and five records.
    assert opening_reads(place, script.segment.world_id) == (7, 0)
    store.compact()
    assert opening_reads(place, script.segment.world_id) == (2, 1)
    store.commit([script.tick(spots({1: 5.0}))])
    assert opening_reads(place, script.segment.world_id) == (3, 0)
    store.close()


def test_a_damaged_row_index_serves_no_head(place: Path) -> None:
    """A flipped byte of a continuation raises where the head is read. (S4)"""
    script = committed(place, [b"first", LARGE], whole=True)
    (index,) = (place / "_log").glob("*.index")
    data = bytearray(index.read_bytes())
    data[len(data) // 2] ^= 1
    index.write_bytes(data)
    store = LanceStore(place)
    with pytest.raises(CorruptStore, match="checksum"):
        store.head(script.segment.world_id)
    store.close()
    assert not verify(place).is_sound
