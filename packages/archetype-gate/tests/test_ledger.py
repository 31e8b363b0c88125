"""The SQLite ledger keeps what is recorded, in order, and detects changes to it."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stage import LimitedDisk

from archetype_core.command import AuditFilter, Status
from archetype_core.errors import CorruptStore, LedgerError, WorldExists
from archetype_core.store import Segment
from archetype_gate import Ledger, SqliteLedger
from archetype_gate.ledger import AcceptedCommand, AuditEntry, LedgerWorld, Settlement
from archetype_gate.quota import Usage
from archetype_gate.timestamp import to_micros

_: type[Ledger] = SqliteLedger

NOON = to_micros(datetime(2026, 1, 1, 12, tzinfo=UTC))


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqliteLedger]:
    """An empty ledger."""
    opened = SqliteLedger(tmp_path / "ledger.sqlite")
    yield opened
    opened.close()


def entry_for(command_id: str, world: str = "w", **given: Any) -> AuditEntry:
    """An audit row for a command."""
    status: Status = "queued" if "accepted" in given else "applied"
    return replace(AuditEntry(command_id, world, "ada", ("admin",), "spawn", "{}", status, NOON), **given)


def accepted_command(command_id: str, world: str = "w", **given: Any) -> AcceptedCommand:
    """A command that waits."""
    return AcceptedCommand(command_id, world, "Spawn", lambda: b"{}", range(1, 2))._replace(**given)


def world_entry(name: str, world: str | None = None) -> LedgerWorld:
    """A world."""
    return LedgerWorld(Segment(world or name, "run", 0, None, name, 1))


def test_records_survive_reopening(tmp_path: Path) -> None:
    """Audit rows, waiting commands and usage are read by the next handle (G4, G5)."""
    first = SqliteLedger(tmp_path / "ledger.sqlite")
    usage = Usage("ada", date(2026, 1, 1), 7, "w", 3, 2)
    first.record(
        [
            entry_for("a", accepted=accepted_command("a", due=4, priority=-1), usage=usage),
            entry_for("b", status="applied"),
        ]
    )
    first.close()
    second = SqliteLedger(tmp_path / "ledger.sqlite")
    (waiting,) = second.waiting_commands("w")
    assert (waiting.command_id, waiting.due, waiting.priority, waiting.payload()) == ("a", 4, -1, b"{}")
    assert [row.status for row in second.history(AuditFilter(oldest_first=True))] == ["queued", "applied"]
    assert set(second.usage_since(date(2026, 1, 1))) == {
        Usage("ada", date(2026, 1, 1), 7, None, 0, 0),
        Usage("ada", date(2026, 1, 1), 0, "w", 3, 2),
    }
    assert second.verify() == []
    second.close()


def test_records_are_written_without_sync(ledger: SqliteLedger, tmp_path: Path) -> None:
    """A recorded entry reaches the file by itself (G5)."""
    ledger.record([entry_for("a")])
    deadline = time.monotonic() + 30
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as other:
        while other.execute("SELECT count(*) FROM audit").fetchone() == (0,):
            assert time.monotonic() < deadline
            time.sleep(0.01)


@given(st.permutations(["record", "settle", "sync"]))
@settings(max_examples=6)
def test_each_command_has_one_row(order: list[str]) -> None:
    """A command that is settled before or after its entry is written has one row with its final status (G4)."""
    ledger = SqliteLedger(None)
    ledger.record([entry_for("a", accepted=accepted_command("a"))])
    for verb in order:
        if verb == "settle":
            ledger.settle([Settlement("a", "w", "applied", NOON + 5, 9)])
        elif verb == "sync":
            ledger.sync()
        else:
            ledger.record([entry_for("b")])
    (row,) = [one for one in ledger.history(AuditFilter()) if one.command_id == "a"]
    assert (row.status, row.tick, row.duration_s) == ("applied", 9, 5e-6)
    assert ledger.waiting_commands("w") == []
    assert ledger.verify() == []
    ledger.close()


@pytest.mark.parametrize(
    ("damage", "where"),
    [
        ("UPDATE audit SET payload = '{\"x\":1}' WHERE seq = 3", "audit event 3"),
        ("UPDATE audit SET status = 'failed' WHERE seq = 2", "audit event 2"),
        ("UPDATE audit SET tick = 99 WHERE seq = 5", "audit event 5"),
        ("DELETE FROM audit WHERE seq = 4", "audit event 4"),
        ("DELETE FROM audit WHERE seq = 1", "audit event 1"),
        ("DELETE FROM audit WHERE seq = 6", "the end of the audit"),
        (
            "UPDATE audit SET seq = CASE seq WHEN 2 THEN -3 WHEN 3 THEN 2 ELSE seq END; UPDATE audit SET seq = 3 WHERE seq = -3",
            "audit event 2",
        ),
        ("DELETE FROM audit WHERE seq = 6; UPDATE chain SET count = 5", "the end of the audit"),
        ("UPDATE chain SET count = 7", "the end of the audit"),
    ],
)
def test_verify_finds_an_edited_removed_or_moved_row(
    ledger: SqliteLedger, tmp_path: Path, damage: str, where: str
) -> None:
    """Verify names the place of any change to the audit rows or their count (G4)."""
    ledger.record([entry_for(f"c{number}") for number in range(6)])
    ledger.sync()
    assert ledger.verify() == []
    with sqlite3.connect(tmp_path / "ledger.sqlite") as other:
        other.executescript(damage)
    other.close()
    found = ledger.verify()
    assert found
    assert found[0].place == where


@given(st.integers(0, 5), st.sampled_from(["command_id", "actor", "roles", "type", "payload", "status", "reason"]))
@settings(max_examples=40)
def test_verify_finds_an_edit_of_any_column(row: int, column: str) -> None:
    """Verify finds an edit of any text column of any audit row (G4)."""
    with TemporaryDirectory() as directory:
        path = Path(directory) / "ledger.sqlite"
        ledger = SqliteLedger(path)
        ledger.record([entry_for(f"c{number}") for number in range(6)])
        ledger.sync()
        edit = f"UPDATE audit SET {column} = {column} || 'x' WHERE seq = ?"  # noqa: S608  # reason: names of our own columns
        with closing(sqlite3.connect(path)) as other, other:
            other.execute(edit, (row + 1,))
        assert [one.place for one in ledger.verify()] == [f"audit event {row + 1}"]
        ledger.close()


def test_two_handles_write_one_chain(tmp_path: Path) -> None:
    """Two handles of one file write one unbroken hash chain (G4)."""
    handles = [SqliteLedger(tmp_path / "ledger.sqlite") for _ in range(2)]

    def write(handle: SqliteLedger, name: str) -> None:
        for number in range(50):
            handle.record([entry_for(f"{name}{number}")])
            handle.sync()

    threads = [threading.Thread(target=write, args=(handle, str(n))) for n, handle in enumerate(handles)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(handles[0].history(AuditFilter(limit=1000))) == 100
    assert handles[1].verify() == []
    for handle in handles:
        handle.close()


def test_a_ledger_can_be_opened_by_many_at_once(tmp_path: Path) -> None:
    """Threads that create, open and close one ledger at the same time all succeed (G4)."""

    def open_and_close(place: Path) -> None:
        start.wait()
        for _ in range(10):
            SqliteLedger(place).close()

    for place in (tmp_path / f"place {number}" / "ledger.sqlite" for number in range(60)):
        start = threading.Barrier(4)
        with ThreadPoolExecutor(4) as pool:
            for one in [pool.submit(open_and_close, place) for _ in range(4)]:
                one.result()


def test_names_are_unique_among_worlds_that_are_not_destroyed(ledger: SqliteLedger) -> None:
    """A name is free again when its world is destroyed; an id never is (G8)."""
    ledger.add_world(world_entry("a"))
    with pytest.raises(WorldExists):
        ledger.add_world(world_entry("a", "other"))
    with pytest.raises(WorldExists):
        ledger.add_world(world_entry("b", "a"))
    ledger.mark_destroyed("a")
    ledger.add_world(world_entry("a", "second"))
    with pytest.raises(WorldExists):
        ledger.mark_reopened("a")
    found = ledger.find_world("a")
    assert found is not None
    assert (found.segment.world_id, found.is_open) == ("a", False)


def test_reserved_blocks_of_ids_do_not_overlap(ledger: SqliteLedger) -> None:
    """Blocks of ids do not overlap, and only the last block can be given back (G5)."""
    ledger.add_world(world_entry("a"))
    assert ledger.reserve_ids("a", 1, 100) == 1
    assert ledger.reserve_ids("a", 1, 100) == 101
    assert ledger.reserve_ids("a", 500, 10) == 500
    ledger.release_ids("a", 20, 101)
    assert [one.reserved_to for one in ledger.worlds()] == [510]
    ledger.release_ids("a", 505, 510)
    assert [one.reserved_to for one in ledger.worlds()] == [505]
    with pytest.raises(LedgerError):
        ledger.reserve_ids("unknown", 1, 1)


def test_a_full_disk_loses_no_record(tmp_path: Path) -> None:
    """While the disk is full, sync and check_writable raise and records wait; they are written once there is room (G5)."""
    disk = LimitedDisk()
    ledger = SqliteLedger(tmp_path / "ledger.sqlite", connect=disk.connect)
    disk.fill()
    ledger.record([entry_for(f"c{number}", payload='"' + "x" * 4000 + '"') for number in range(100)])
    with pytest.raises(LedgerError, match="full"):
        ledger.sync()
    with pytest.raises(LedgerError, match="accepted"):
        ledger.check_writable()
    disk.free()
    ledger.sync()
    ledger.check_writable()
    assert len(ledger.history(AuditFilter(limit=1000))) == 100
    assert ledger.verify() == []
    ledger.close()


def test_a_withdrawn_command_does_not_wait(ledger: SqliteLedger) -> None:
    """A withdrawn command is neither recorded nor waiting, and can be withdrawn once (G5)."""
    ledger.record([entry_for("a", accepted=accepted_command("a"))])
    assert ledger.withdraw(["a"])
    assert not ledger.withdraw(["a"])
    assert ledger.waiting_commands("w") == []


def test_history_is_filtered_and_paged(ledger: SqliteLedger) -> None:
    """History filters by world, actor, type, status and time, and pages in both directions (G4)."""
    ledger.record(
        [
            entry_for(f"c{n}", world=f"w{n % 2}", actor=f"a{n % 3}", type=f"t{n % 5}", at_us=NOON + n * 1_000_000)
            for n in range(30)
        ]
    )
    ledger.settle([Settlement("c4", "w0", "failed", NOON, None, "because")])
    assert {row.command_id for row in ledger.history(AuditFilter(world_id="w1", actor="a1"))} == {
        "c1",
        "c7",
        "c13",
        "c19",
        "c25",
    }
    assert [row.reason for row in ledger.history(AuditFilter(status="failed"))] == ["because"]
    since, until = (datetime(2026, 1, 1, 12, 0, second, tzinfo=UTC) for second in (10, 12))
    assert [row.command_id for row in ledger.history(AuditFilter(since=since, until=until))] == ["c11", "c10"]
    for oldest_first in (True, False):
        seen: list[str] = []
        after = None
        while page := ledger.history(AuditFilter(limit=7, after=after, oldest_first=oldest_first)):
            seen += [row.command_id for row in page]
            after = page[-1].seq
        assert seen == [f"c{n}" for n in (range(30) if oldest_first else range(29, -1, -1))]


def test_a_newer_ledger_is_refused(tmp_path: Path) -> None:
    """Opening a ledger of a newer release raises and names its version."""
    SqliteLedger(tmp_path / "ledger.sqlite").close()
    with sqlite3.connect(tmp_path / "ledger.sqlite") as other:
        other.execute("PRAGMA user_version = 99")
    other.close()
    with pytest.raises(LedgerError, match="99"):
        SqliteLedger(tmp_path / "ledger.sqlite")


def test_another_database_is_refused(tmp_path: Path) -> None:
    """Opening the database of another program raises."""
    with sqlite3.connect(tmp_path / "ledger.sqlite") as other:
        other.execute("CREATE TABLE mine (x)")
    other.close()
    with pytest.raises(LedgerError, match="another program"):
        SqliteLedger(tmp_path / "ledger.sqlite")


def test_garbage_is_corrupt(tmp_path: Path) -> None:
    """Opening a file that is no database raises CorruptStore."""
    (tmp_path / "ledger.sqlite").write_bytes(b"not a database, but longer than the header of one " * 100)
    with pytest.raises(CorruptStore):
        SqliteLedger(tmp_path / "ledger.sqlite")


def test_close_is_idempotent(ledger: SqliteLedger) -> None:
    """A second close does nothing; check_writable raises after it."""
    ledger.close()
    ledger.close()
    with pytest.raises(LedgerError, match="closed"):
        ledger.check_writable()


@pytest.mark.parametrize("column", ["actor", "payload", "reason", "type", "world_id"])
def test_text_that_is_not_utf8_is_escaped(ledger: SqliteLedger, column: str) -> None:
    """A lone surrogate in an audit row is written as an escape, and the other rows as they are (G4)."""
    ledger.record(
        [
            entry_for("a", accepted=accepted_command("a")),
            entry_for("b", **{column: "caf\udce9"}),
            entry_for("c", roles=("\ud800",)),
        ]
    )
    ledger.settle([Settlement("a", "w", "failed", NOON, None, "\ud800")])
    assert len(ledger.history(AuditFilter())) == 3
    assert "udce9" in str(ledger.history(AuditFilter()))
    assert ledger.verify() == []
    with pytest.raises(ValueError, match="surrogate"):
        ledger.history(AuditFilter(actor="\ud800"))


def test_verify_finds_a_missing_queued_command(ledger: SqliteLedger, tmp_path: Path) -> None:
    """Verify reports a command whose row says queued and whose stored command is missing (G4, G5)."""
    ledger.record([entry_for("a", accepted=accepted_command("a")), entry_for("b", accepted=accepted_command("b"))])
    ledger.sync()
    ledger.settle([Settlement("b", "w", "applied", NOON, 1)])
    assert ledger.verify() == []
    with sqlite3.connect(tmp_path / "ledger.sqlite") as other:
        other.execute("DELETE FROM commands WHERE command_id = 'a'")
    other.close()
    assert [one.place for one in ledger.verify()] == ["table commands", "command a"]
