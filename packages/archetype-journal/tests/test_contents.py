"""``read_segments`` and ``has_journal``: what adapters learn about a journal without opening it."""

from __future__ import annotations

from pathlib import Path

import pytest
from journal_worlds import drive, journal_over_journal, three_table_world

from archetype_core import RunConfig, open_store
from archetype_core.errors import CorruptStore, StorageNotFound
from archetype_journal import JournalStore, SegmentStatus, has_journal, read_segments


def test_segments_say_what_is_sealed(tmp_path: Path) -> None:
    """Every segment is listed with its last tick and its last sealed one, while the journal is open and after. (Q3)"""

    async def scenario() -> None:
        store = journal_over_journal(tmp_path)
        world = await three_table_world(store, 5)
        first = store.head(world.world_id).segment
        assert read_segments(tmp_path / "journal") == (SegmentStatus(first, 4, -1),)
        store.seal()
        await world.run(2)
        await world.run(3, config=RunConfig(run_id="second"))
        second = store.head(world.world_id).segment
        expected = (SegmentStatus(first, 6, 4), SegmentStatus(second, 9, 6))
        assert read_segments(tmp_path / "journal") == expected
        assert store.unsealed_ticks == 5
        await world.close()
        store.close()
        assert [(one.last, one.sealed) for one in read_segments(tmp_path / "journal")] == [(6, 6), (9, 9)]

    drive(scenario())


def test_missing_or_damaged_journal_is_an_error(tmp_path: Path) -> None:
    """A directory without a journal, and one whose database is damaged, raise. (S4)"""
    assert not has_journal(tmp_path)
    with pytest.raises(CorruptStore):
        read_segments(tmp_path)
    (tmp_path / "journal.sqlite").write_bytes(b"not a database" * 100)
    assert has_journal(tmp_path)
    with pytest.raises(CorruptStore):
        read_segments(tmp_path)


def test_opening_without_creating_leaves_a_place_as_it_is(tmp_path: Path) -> None:
    """A place without a journal is an error with its path, and nothing appears there. A lost database is damage. (S7)"""
    empty, file, place = (tmp_path / name for name in ("empty", "file", "journal"))
    empty.mkdir()
    file.write_text("a file")
    for path in (tmp_path / "missing" / "below", empty, file):
        with pytest.raises(StorageNotFound, match=str(path)) as caught:
            open_store(f"journal:{path}", create=False)
        assert caught.value.place == str(path)
    assert sorted(tmp_path.rglob("*")) == [empty, file]
    JournalStore(place).close()
    open_store(f"journal:{place}", create=False).close()
    (place / "journal.sqlite").unlink()
    with pytest.raises(CorruptStore, match="restore it"):
        open_store(f"journal:{place}", create=False)
