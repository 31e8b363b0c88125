"""The catalog: what readers of older states see, and who a world's row names."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from journal_worlds import Drift, drive, two_table_world

from archetype_core import World
from archetype_journal import JournalStore
from archetype_journal.catalog import Catalog


def test_reader_of_an_older_state_sees_nothing_newer(tmp_path: Path) -> None:
    """A reader that began before a world was created does not find it, and does not report damage. (Q3)"""

    async def scenario(older: sqlite3.Connection, newer: sqlite3.Connection) -> None:
        first = await two_table_world(store, 1)
        catalog = Catalog(str(tmp_path))
        older.execute("BEGIN")
        counts = catalog.counts(older)
        second = await two_table_world(store, 1)
        assert catalog.worlds(catalog.counts(newer)) == (first.world_id, second.world_id)
        run_id = store.head(second.world_id).segment.run_id
        assert catalog.worlds(counts) == (first.world_id,)
        assert catalog.world(older, counts, second.world_id) is None
        assert catalog.find_segment(older, counts, second.world_id, run_id) is None
        assert catalog.world(older, counts, first.world_id) is not None

    store = JournalStore(tmp_path)
    file = tmp_path / "journal.sqlite"
    with (
        closing(sqlite3.connect(file, isolation_level=None)) as older,
        closing(sqlite3.connect(file, isolation_level=None)) as newer,
    ):
        drive(scenario(older, newer))
    store.close()


def test_epoch_counts_the_writers_of_a_world(tmp_path: Path) -> None:
    """A world's row says which handle wrote it last, and how often that changed. (S3)"""

    async def scenario() -> None:
        first = JournalStore(tmp_path)
        (older,) = tmp_path.glob("*.owner")
        second = JournalStore(tmp_path)
        (newer,) = set(tmp_path.glob("*.owner")) - {older}
        await two_table_world(first, 3)
        other = await World.open(second, "w", processors=[Drift()])
        await other.run(2)
        with closing(sqlite3.connect(tmp_path / "journal.sqlite")) as connection:
            assert connection.execute("SELECT epoch, token FROM world").fetchall() == [(2, newer.stem)]
        first.close()
        second.close()

    drive(scenario())
