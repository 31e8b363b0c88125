"""``read_segments`` and ``has_journal``: what adapters learn about a journal without opening it."""

from __future__ import annotations

from pathlib import Path

import pytest
from journal_worlds import drive, journal_over_journal, three_table_world

from archetype_core import RunConfig
from archetype_core.errors import CorruptStore
from archetype_journal import SegmentStatus, has_journal, read_segments


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
