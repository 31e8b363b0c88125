"""Edits of a ledger's file by somebody without its key: any combination is found, and no gate applies an edited command."""
# ruff: noqa: S608  # reason: the statements have names of our own tables

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from edited_ledger import COLUMNS, NOON, ROWS, change, entry_for, filled_ledger
from hypothesis import given
from hypothesis import strategies as st
from stage import (
    ADMIN,
    PLAYER,
    Position,
    create_world,
    journal_at,
    open_gate,
    open_world,
    run_scenario,
    run_steps,
    x_history,
)

from archetype_core.command import GetAuditHead, Spawn
from archetype_core.errors import CorruptStore, LedgerError
from archetype_gate import SqliteLedger, verify
from archetype_gate.ledger import Settlement
from archetype_gate.quota import Usage

Rows = dict[str, list[tuple[Any, ...]]]

INVALID = "CAST(x'ff41' AS TEXT)"
VALUES = ("NULL", "0", "1", "7", "-1", "''", "'x'", "'w'", "'{}'", "x''", "x'00'", "zeroblob(32)", INVALID)
"""SQL of what an edit puts into a column, whatever the column's type is."""


def write_more(ledger: SqliteLedger) -> None:
    """Write to the rows of every table that a gate writes to again."""
    ledger.record([entry_for("later", usage=Usage("ada", date(2026, 1, 1), 7, "w", 3, 2))])
    ledger.settle([Settlement(one, "w", "applied", NOON, 1) for one in "bg"])
    ledger.release(["held-f"])
    ledger.settle_tick("w", 20)
    ledger.reserve_ids("w", 1, 10)
    ledger.finish_episode("id-first", 0, "[]")
    ledger.sync()


def stored(path: Path, *, with_hashes: bool = True) -> Rows:
    """Everything that the tables of a ledger have, text told from bytes."""
    with closing(sqlite3.connect(path)) as other:
        other.text_factory = lambda raw: ("text", raw)
        return {
            table: other.execute(
                f"SELECT {', '.join(one for one in found if with_hashes or one != 'hash' or table == 'chain')} "
                f"FROM {table} ORDER BY 1, 2"
            ).fetchall()
            for table, found in COLUMNS.items()
        }


@pytest.fixture(scope="module")
def template() -> Iterator[tuple[Path, Rows]]:
    """A closed ledger, and the rows that its tables had at an earlier time."""
    with TemporaryDirectory() as directory:
        path = Path(directory) / "ledger.sqlite"
        ledger = filled_ledger(path)
        with closing(sqlite3.connect(path)) as other:
            earlier = {table: other.execute(f"SELECT * FROM {table}").fetchall() for table in COLUMNS}
        write_more(ledger)
        ledger.close()
        yield path, earlier


Edit = Callable[[sqlite3.Connection, Rows], object]


def _edit(place: tuple[str, str], row: int, value: str) -> Edit:
    table, column = place
    return lambda other, _: other.execute(f"UPDATE {table} SET {column} = {value} {_nth(table, row)}")


def _delete(table: str, row: int) -> Edit:
    return lambda other, _: other.execute(f"DELETE FROM {table} {_nth(table, row)}")


def _insert(table: str, row: int, key: str) -> Edit:
    """Insert a copy of a row with another key."""

    def edit(other: sqlite3.Connection, _: Rows) -> None:
        columns = list(COLUMNS[table])
        copied = ", ".join("?" if one in _key(table) else one for one in columns)
        values = [900 + row if one == "seq" else key for one in columns if one in _key(table)]
        other.execute(f"INSERT INTO {table} SELECT {copied} FROM {table} {_nth(table, row)}", values)

    return edit


def _swap(place: tuple[str, str], one: int, two: int) -> Edit:
    """Exchange the values of a column between two rows."""
    table, column = place

    def edit(other: sqlite3.Connection, _: Rows) -> None:
        found = [other.execute(f"SELECT {column} FROM {table} {_nth(table, row)}").fetchone() for row in (one, two)]
        where = [_nth(table, row) for row in (one, two)]
        if None not in found:
            for (value,), condition in zip(reversed(found), where, strict=True):
                other.execute(f"UPDATE {table} SET {column} = ? {condition}", (value,))

    return edit


def _restore(table: str, row: int) -> Edit:
    """Put an earlier copy of a row, with the hash that it had then, in place of the row."""

    def edit(other: sqlite3.Connection, earlier: Rows) -> None:
        copy = earlier[table][row % len(earlier[table])]
        other.execute(f"INSERT OR REPLACE INTO {table} VALUES ({', '.join('?' * len(copy))})", copy)

    return edit


def _nth(table: str, row: int) -> str:
    """The condition for one row of a table, counted by its key."""
    keys = ", ".join(_primary(table))
    return f"WHERE ({keys}) = (SELECT {keys} FROM {table} ORDER BY {keys} LIMIT 1 OFFSET {row})"


def _primary(table: str) -> list[str]:
    return {
        "worlds": ["world_id"],
        "rollouts": ["world_id", "name"],
        "episodes": ["rollout_id", "episode"],
        "tokens": ["actor", "day"],
        "ticks": ["actor", "world_id"],
        "chain": ["only_row"],
    }.get(table, ["seq"])


def _key(table: str) -> list[str]:
    return [*_primary(table), *(one for one in ("command_id", "name") if one in COLUMNS[table])]


PLACES = st.sampled_from([(table, one) for table, found in COLUMNS.items() for one in found if one != "only_row"])
TABLES, ROW = st.sampled_from(ROWS), st.integers(0, 4)
EDITS = st.one_of(
    st.builds(_edit, PLACES, ROW, st.sampled_from(VALUES)),
    st.builds(_delete, TABLES, ROW),
    st.builds(_insert, TABLES, ROW, st.sampled_from(["a", "new"])),
    st.builds(_swap, PLACES, ROW, ROW),
    st.builds(_restore, st.sampled_from([*ROWS, "chain"]), ROW),
)


@given(edits=st.lists(EDITS, min_size=1, max_size=6), is_written_after=st.booleans())
def test_verify_reports_any_combination_of_edits(
    template: tuple[Path, Rows], edits: list[Edit], *, is_written_after: bool
) -> None:
    """Edited, deleted, inserted, swapped and restored rows of all tables are reported, also after more writes (G4)."""
    original, earlier = template
    with TemporaryDirectory() as directory:
        path = Path(directory) / "ledger.sqlite"
        for suffix in (".sqlite", ".key"):
            shutil.copy(original.with_suffix(suffix), path.with_suffix(suffix))
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            for edit in edits:
                # What the database itself refuses changes nothing.
                with suppress(sqlite3.Error):
                    edit(other, earlier)
        # A write computes the hash of what it writes anew: a hash that was edited alone is right again then.
        is_changed = stored(path, with_hashes=not is_written_after) != stored(
            original, with_hashes=not is_written_after
        )
        has_odd_hash = stored(path) != stored(original)
        found = reports(path, is_written_after=is_written_after)
        if is_changed:
            assert found
        elif not has_odd_hash:
            assert not found


def reports(path: Path, *, is_written_after: bool) -> bool:
    """Whether a changed ledger is reported: by verify, or by a refusal to open or to write it."""
    try:
        ledger = SqliteLedger(path)
    except (CorruptStore, LedgerError):
        return True
    try:
        if is_written_after:
            write_more(ledger)
        return bool(ledger.verify())
    except (CorruptStore, LedgerError):
        return True
    finally:
        # A ledger that cannot be written says so again.
        with suppress(LedgerError):
            ledger.close()


@pytest.mark.parametrize(
    ("table", "column"), [(table, one) for table in ROWS for one, kind in COLUMNS[table].items() if kind == "TEXT"]
)
def test_text_that_is_no_utf8_is_damage(tmp_path: Path, table: str, column: str) -> None:
    """Invalid UTF-8 in any text column is reported by verify like every other edit, in text that can be printed (G4)."""
    path = tmp_path / "ledger.sqlite"
    filled_ledger(path).close()
    key = ", ".join(_primary(table))
    change(path, f"UPDATE {table} SET {column} = {INVALID} WHERE ({key}) = (SELECT {key} FROM {table} LIMIT 1)")
    ledger = SqliteLedger(path)
    found = ledger.verify()
    assert found
    assert all(str(one).encode() for one in found)
    ledger.close()


def test_reading_text_that_is_no_utf8_is_corruption(tmp_path: Path) -> None:
    """A row whose text cannot be decoded is refused as damaged wherever it is read (G4)."""
    path = tmp_path / "ledger.sqlite"
    filled_ledger(path).close()
    change(path, f"UPDATE worlds SET kernel = {INVALID} WHERE world_id = 'w'")
    ledger = SqliteLedger(path)
    with pytest.raises(CorruptStore):
        ledger.find_world("w")
    ledger.close()


def ledger_at(place: Path) -> Path:
    """The ledger's file of the storage that the tests use."""
    return place / "data" / "ledger.sqlite"


def test_an_edit_while_a_gate_runs_stays_evident(tmp_path: Path) -> None:
    """A waiting command that is edited under a running gate leaves damage after that gate settled it (G4).

    The gate applies what it accepted, not what was put into the file.
    """

    async def scenario() -> None:
        async with open_gate() as gate:
            world_id = await create_world(gate, journal_at(tmp_path))
            entity = await gate.submit_spawn(PLAYER, world_id, Position(x=1.0), tick=2)
            change(ledger_at(tmp_path), "UPDATE commands SET payload = x'00', due = 0")
            await run_steps(gate, world_id, 4)
            assert (await x_history(gate, world_id))[entity, 2] == 1.0
        found = verify(journal_at(tmp_path))
        assert [one.place for one in found] == ["table commands"]

    run_scenario(scenario)


@pytest.mark.parametrize(
    ("edit", "mends"),
    [
        ("payload = CAST(replace(CAST(payload AS TEXT), '1.0', '9.0') AS BLOB)", "payload = (SELECT payload FROM old)"),
        ("due = 0", "due = (SELECT due FROM old)"),
        ("first_id = first_id + 5", "first_id = (SELECT first_id FROM old)"),
        (f"form = {INVALID}", "form = (SELECT form FROM old)"),
    ],
)
def test_opening_a_world_with_an_edited_command_applies_nothing(tmp_path: Path, edit: str, mends: str) -> None:
    """A world with an edited command is not opened: CorruptStore names the command, and no tick is made (G4, G5).

    Once the ledger is put back, the world opens with the command as it was accepted.
    """

    async def scenario() -> None:
        async with open_gate() as gate:
            world_id = await create_world(gate, journal_at(tmp_path))
            await gate.execute(ADMIN, Spawn((Position(x=5.0),)), world_id)
            await run_steps(gate, world_id, 1)
            ticket = await gate.submit(PLAYER, Spawn((Position(x=1.0),)), world_id, tick=3)
        path = ledger_at(tmp_path)
        change(path, f"CREATE TABLE old AS SELECT * FROM commands; UPDATE commands SET {edit}")
        async with open_gate() as gate:
            with pytest.raises(CorruptStore, match=f"command {ticket.command_id}"):
                await open_world(gate, journal_at(tmp_path))
        assert f"command {ticket.command_id}" in [one.place for one in verify(journal_at(tmp_path))]
        change(path, f"UPDATE commands SET {mends}; DROP TABLE old")
        async with open_gate() as gate:
            info = await open_world(gate, journal_at(tmp_path))
            assert (info.tick, info.queued) == (1, 1)
            await run_steps(gate, world_id, 3)
            assert (await x_history(gate, world_id))[ticket.entity_ids.start, 3] == 1.0
        assert verify(journal_at(tmp_path)) == []

    run_scenario(scenario)


def test_an_exported_head_finds_a_whole_ledger_put_back(tmp_path: Path) -> None:
    """A ledger put back to an older copy, key and all, fits its own hashes, but not a head that was exported since (G4)."""

    async def scenario() -> None:
        storage, copy = journal_at(tmp_path), tmp_path / "copy.sqlite"
        async with open_gate() as gate:
            world_id = await create_world(gate, storage)
            await gate.submit_spawn(PLAYER, world_id, Position(x=1.0), tick=9)
            change(ledger_at(tmp_path), f"VACUUM INTO '{copy}'")
            await gate.submit_spawn(PLAYER, world_id, Position(x=2.0), tick=9)
            head = await gate.execute(ADMIN, GetAuditHead())
            assert head.at.tzinfo is not None
        assert verify(storage, head=head) == []
        for suffix in ("-wal", "-shm"):
            Path(f"{ledger_at(tmp_path)}{suffix}").unlink(missing_ok=True)
        shutil.copy(copy, ledger_at(tmp_path))
        assert verify(storage) == []
        assert [one.place for one in verify(storage, head=head)] == ["the end of the audit"]

    run_scenario(scenario)
