"""Whatever is changed in a ledger's file is found: the keyed chain covers every row of every table."""
# ruff: noqa: S608  # reason: the statements have names of our own tables

from __future__ import annotations

import sqlite3
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from edited_ledger import COLUMNS, NOON, ROWS, change, entry_for, filled_ledger

from archetype_core.errors import CorruptStore, LedgerError
from archetype_gate import SqliteLedger
from archetype_gate.ledger import Settlement
from archetype_gate.quota import Usage


@pytest.mark.parametrize(
    ("table", "column"), [(table, one) for table, found in COLUMNS.items() for one in found if one != "only_row"]
)
def test_verify_finds_an_edit_of_any_column_of_any_table(tmp_path: Path, table: str, column: str) -> None:
    """Whatever column is changed in the last row of whatever table, verify reports it (G4)."""
    path = tmp_path / "ledger.sqlite"
    ledger = filled_ledger(path)
    kind, key = COLUMNS[table][column], next(iter(COLUMNS[table]))
    edit = {
        "BLOB": f"cast({column} || x'01' AS BLOB)",
        "INTEGER": f"coalesce({column}, 0) + 7",
        "TEXT": f"coalesce({column}, '') || 'x'",
    }[kind]
    change(path, f"UPDATE {table} SET {column} = {edit} WHERE {key} = (SELECT max({key}) FROM {table})")
    assert ledger.verify()
    ledger.close()


@pytest.mark.parametrize("table", ROWS)
def test_verify_finds_a_hash_that_is_none(tmp_path: Path, table: str) -> None:
    """A hash that was emptied is damage and nothing worse; text in its place is refused by the database (G4)."""
    path = tmp_path / "ledger.sqlite"
    ledger = filled_ledger(path)
    with pytest.raises(sqlite3.IntegrityError):
        change(path, f"UPDATE {table} SET hash = 'text'")
    change(path, f"UPDATE {table} SET hash = x''")
    assert ledger.verify()
    ledger.close()


@pytest.mark.parametrize("table", [one for one in ROWS if one != "audit"])
def test_verify_finds_removed_and_copied_rows(tmp_path: Path, table: str) -> None:
    """Verify reports rows that are removed, and copies of a row under another key (G4)."""
    path = tmp_path / "ledger.sqlite"
    ledger = filled_ledger(path)
    change(path, f"CREATE TABLE old AS SELECT * FROM {table}; DELETE FROM {table}")
    assert f"table {table}" in [one.place for one in ledger.verify()]
    change(path, f"INSERT INTO {table} SELECT * FROM old")
    assert ledger.verify() == []
    keys = ("seq", "command_id", "world_id", "name", "actor", "rollout_id")
    names = [one for one in COLUMNS[table] if one in keys]
    changes = ", ".join(f"{one} = {'99' if one == 'seq' else one + '||2'}" for one in names)
    change(path, f"DELETE FROM old WHERE rowid > 1; UPDATE old SET {changes}; INSERT INTO {table} SELECT * FROM old")
    assert f"table {table}" in [one.place for one in ledger.verify()]
    ledger.close()


def test_a_missing_end_of_the_chain_is_corruption(tmp_path: Path) -> None:
    """A ledger whose chain has no end is refused as damaged (G4)."""
    path = tmp_path / "ledger.sqlite"
    filled_ledger(path).close()
    change(path, "DELETE FROM chain")
    with pytest.raises(CorruptStore, match="end of the audit chain"):
        SqliteLedger(path)


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE tokens SET used = 1",
        "UPDATE ticks SET used = 0",
        "DELETE FROM tokens",
        "DELETE FROM ticks",
        "UPDATE worlds SET ids_to = 0 WHERE world_id = 'w'",
        "UPDATE worlds SET settled_tick = 9 WHERE world_id = 'w'",
        "DELETE FROM held",
        "DELETE FROM commands WHERE command_id = 'a'",
        "UPDATE chain SET sums = zeroblob(160)",
        "UPDATE rollouts SET config = '[]'",
        "UPDATE episodes SET result = '{\"score\": 9}'",
        "DELETE FROM episodes",
        "DELETE FROM staged WHERE seq = 7",
        "UPDATE staged SET members = '[]'",
        "UPDATE staged SET payloads = x'7b7d7b7e'",
        "UPDATE audit SET span = 1 WHERE settles",
        "DELETE FROM audit WHERE seq = 11; UPDATE chain SET count = 10, hash = (SELECT hash FROM audit WHERE seq = 10)",
    ],
)
def test_later_writes_do_not_cover_up_a_change(tmp_path: Path, edit: str) -> None:
    """What was changed stays evident after the gate wrote more, to the same rows too (G4)."""
    path = tmp_path / "ledger.sqlite"
    ledger = filled_ledger(path)
    change(path, edit)
    usage = Usage("ada", date(2026, 1, 1), 7, "w", 3, 2)
    ledger.record([entry_for("later", usage=usage)])
    ledger.settle([Settlement(one, "w", "applied", NOON, 1) for one in "bgh"])
    ledger.settle_tick("w", 20)
    ledger.reserve_ids("w", 1, 10)
    ledger.begin_episode("id-first", 0, "w")
    ledger.finish_episode("id-second", 0, "[]")
    ledger.sync()
    assert ledger.verify()
    ledger.close()


@pytest.mark.parametrize(
    ("edit", "names"),
    [
        ("UPDATE commands SET payload = x'00' WHERE command_id = 'a'", "command a"),
        ("UPDATE commands SET due = 9 WHERE command_id = 'b'", "command b"),
        ("UPDATE commands SET seq = 77 WHERE command_id = 'a'", "command a"),
        ("DELETE FROM commands WHERE command_id = 'a'", "table commands"),
        ("UPDATE staged SET payloads = x'7b7d7b7e' WHERE seq = 7", "staged commands from audit event 7 on"),
        ("UPDATE staged SET members = '[]' WHERE seq = 7", "staged commands from audit event 7 on"),
        ("DELETE FROM staged WHERE seq = 7", "table staged"),
        ("UPDATE worlds SET ids_to = 0 WHERE world_id = 'w'", "world w"),
        ("UPDATE chain SET seal = zeroblob(32)", "the seal"),
    ],
)
def test_a_changed_command_is_not_applied(tmp_path: Path, edit: str, names: str) -> None:
    """Reading the waiting commands of a world raises what was changed, by name (G4, G5)."""
    path = tmp_path / "ledger.sqlite"
    filled_ledger(path).close()
    change(path, edit)
    ledger = SqliteLedger(path)
    with pytest.raises(CorruptStore, match=names):
        ledger.waiting_commands("w")
    ledger.close()


def test_a_changed_held_command_is_not_released(tmp_path: Path) -> None:
    """Reading what is held raises what was changed, by name (G4, G5)."""
    path = tmp_path / "ledger.sqlite"
    filled_ledger(path).close()
    change(path, "UPDATE held SET payload = x'00' WHERE command_id = 'held-e'")
    ledger = SqliteLedger(path)
    with pytest.raises(CorruptStore, match="held command held-e"):
        ledger.held_entries()
    ledger.close()


def test_a_head_tells_whether_the_audit_was_cut_back(tmp_path: Path) -> None:
    """A ledger that was put back to an older copy does not fit a head that was taken later; a longer one does (G4)."""
    path, copy = tmp_path / "ledger.sqlite", tmp_path / "copy" / "ledger.sqlite"
    ledger = filled_ledger(path)
    copy.parent.mkdir()
    change(path, f"VACUUM INTO '{copy}'")
    before = ledger.audit_head(datetime(2026, 1, 1, tzinfo=UTC))
    ledger.record([entry_for("later")])
    after = ledger.audit_head(datetime(2026, 1, 2, tzinfo=UTC))
    assert (before.count, after.count) == (11, 12)
    assert ledger.verify(before) == ledger.verify(after) == []
    assert [one.place for one in ledger.verify(replace(before, hash="00" * 32))] == ["audit event 11"]
    ledger.close()
    older = SqliteLedger(copy, key=path.with_suffix(".key"))
    assert older.verify() == older.verify(before) == []
    assert [one.place for one in older.verify(after)] == ["the end of the audit"]
    older.close()


def test_the_key_is_made_once_for_its_user_only(tmp_path: Path) -> None:
    """A new ledger makes its key's file with access for its user; a missing or other key is refused, never replaced (G4)."""
    path, key = tmp_path / "ledger.sqlite", tmp_path / "ledger.key"
    SqliteLedger(path).close()
    assert key.stat().st_mode & 0o777 == 0o600
    SqliteLedger(path).close()
    secret = key.read_text()
    key.write_text("00" * 32)
    with pytest.raises(LedgerError, match="another key"):
        SqliteLedger(path)
    key.write_text("no key")
    with pytest.raises(LedgerError, match="cannot be read"):
        SqliteLedger(path)
    key.unlink()
    with pytest.raises(LedgerError, match="missing"):
        SqliteLedger(path)
    assert not key.exists()
    SqliteLedger(path, key=bytes.fromhex(secret)).close()
    with pytest.raises(LedgerError, match="16 to 64 bytes"):
        SqliteLedger(path, key=b"short")


def test_a_ledger_whose_key_check_was_removed_is_refused(tmp_path: Path) -> None:
    """Removing the check of the key does not make a ledger with rows start anew (G4)."""
    path = tmp_path / "ledger.sqlite"
    filled_ledger(path).close()
    change(path, "UPDATE chain SET key_check = NULL, count = 0")
    with pytest.raises(CorruptStore, match="key"):
        SqliteLedger(path)
