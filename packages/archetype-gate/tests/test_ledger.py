"""The SQLite ledger: what is noted is kept, in order, and nobody changes it unseen."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archetype_core.command import AuditFilter
from archetype_core.errors import CorruptStore, LedgerError, WorldExists
from archetype_core.store import Segment
from archetype_gate import Ledger, SqliteLedger
from archetype_gate.ledger import AcceptedCommand, AuditEntry, Settlement, WorldEntry
from archetype_gate.quota import Usage
from archetype_gate.timestamp import to_micros

_: type[Ledger] = SqliteLedger

NOON = to_micros(datetime(2026, 1, 1, 12, tzinfo=UTC))


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqliteLedger]:
    """An empty ledger."""
    there = SqliteLedger(tmp_path / "ledger.sqlite")
    yield there
    there.close()


def note(name: str, world: str = "w", **given: object) -> Note:
    """A command on record."""
    made = Note(name, world, "ada", ("admin",), "spawn", "{}", "queued" if "accepted" in given else "applied", NOON)
    return replace(made, **given)


def accepted(name: str, world: str = "w", **given: object) -> Accepted:
    """A command that waits."""
    return replace(Accepted(name, world, "Spawn", lambda: b"{}", range(1, 2)), **given)


def entry(name: str, world: str | None = None, **given: object) -> WorldEntry:
    """A world."""
    return replace(WorldEntry(Segment(world or name, "run", 0, None, name, 1)), **given)


def test_what_is_noted_is_there_when_it_is_opened_again(tmp_path: Path) -> None:
    """Rows, commands and usage survive the handle that wrote them (G4, G5)."""
    first = SqliteLedger(tmp_path / "ledger.sqlite")
    usage = Usage("ada", date(2026, 1, 1), 7, "w", 3, 2)
    first.note([note("a", accepted=accepted("a", due=4, priority=-1), usage=usage), note("b", status="applied")])
    first.close()
    second = SqliteLedger(tmp_path / "ledger.sqlite")
    (waiting,) = second.accepted("w")
    assert (waiting.command_id, waiting.due, waiting.priority, waiting.payload()) == ("a", 4, -1, b"{}")
    assert [row.status for row in second.history(AuditFilter(oldest_first=True))] == ["queued", "applied"]
    assert set(second.used(date(2026, 1, 1))) == {
        Usage("ada", date(2026, 1, 1), 7, None, 0, 0),
        Usage("ada", date(2026, 1, 1), 0, "w", 3, 2),
    }
    assert second.verify() == []
    second.close()


def test_notes_are_written_without_being_asked_for(ledger: SqliteLedger, tmp_path: Path) -> None:
    """What is noted reaches the file by itself (G5)."""
    ledger.note([note("a")])
    other = sqlite3.connect(tmp_path / "ledger.sqlite")
    seen = threading.Event()

    def watch() -> None:
        while not seen.wait(0.01):
            if other_count():
                seen.set()

    def other_count() -> int:
        with sqlite3.connect(tmp_path / "ledger.sqlite") as mine:
            (count,) = mine.execute("SELECT count(*) FROM audit").fetchone()
        mine.close()
        return int(count)

    watcher = threading.Thread(target=watch)
    watcher.start()
    assert seen.wait(30)
    watcher.join()
    other.close()


@given(st.permutations(["note", "settle", "sync"]))
@settings(max_examples=6)
def test_one_row_for_each_command_whenever_it_is_written(order: list[str]) -> None:
    """A command that is settled before or after it was written has one row, with what became of it (G4)."""
    ledger = SqliteLedger(None)
    ledger.note([note("a", accepted=accepted("a"))])
    for verb in order:
        if verb == "settle":
            ledger.settle([Settled("a", "w", "applied", NOON + 5, 9)])
        elif verb == "sync":
            ledger.sync()
        else:
            ledger.note([note("b")])
    (row,) = [one for one in ledger.history(AuditFilter()) if one.command_id == "a"]
    assert (row.status, row.tick, row.duration_s) == ("applied", 9, 5e-6)
    assert ledger.accepted("w") == []
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
def test_an_edited_removed_or_moved_row_is_found(ledger: SqliteLedger, tmp_path: Path, damage: str, where: str) -> None:
    """Whatever is done to the rows of the audit, verifying names the place (G4)."""
    ledger.note([note(f"c{number}") for number in range(6)])
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
def test_any_edit_of_any_column_is_found(row: int, column: str) -> None:
    """No column of any audit row can be changed unseen (G4)."""
    ledger = SqliteLedger(None)
    ledger.note([note(f"c{number}") for number in range(6)])
    ledger.sync()
    edit = f"UPDATE audit SET {column} = {column} || 'x' WHERE seq = ?"  # noqa: S608  # reason: names of our own columns
    ledger._connection.execute(edit, (row + 1,))
    assert [one.place for one in ledger.verify()] == [f"audit event {row + 1}"]
    ledger.close()


def test_two_handles_write_one_chain(tmp_path: Path) -> None:
    """Two processes that share a ledger write one unbroken chain (G4)."""
    handles = [SqliteLedger(tmp_path / "ledger.sqlite") for _ in range(2)]

    def write(handle: SqliteLedger, name: str) -> None:
        for number in range(50):
            handle.note([note(f"{name}{number}")])
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


def test_opening_at_once_is_nobodys_error(tmp_path: Path) -> None:
    """However many open one ledger at the same moment, from before it is there on, all can (G4)."""

    def come_and_go(place: Path) -> None:
        start.wait()
        for _ in range(10):
            SqliteLedger(place).close()

    for place in (tmp_path / f"place {number}" / "ledger.sqlite" for number in range(60)):
        start = threading.Barrier(4)
        with ThreadPoolExecutor(4) as pool:
            for one in [pool.submit(come_and_go, place) for _ in range(4)]:
                one.result()


def test_names_are_unique_among_worlds_that_are_not_destroyed(ledger: SqliteLedger) -> None:
    """A name is taken until its world is destroyed, an id for ever (G8)."""
    ledger.enter(entry("a"))
    with pytest.raises(WorldExists):
        ledger.enter(entry("a", "other"))
    with pytest.raises(WorldExists):
        ledger.enter(entry("b", "a"))
    ledger.destroyed("a")
    ledger.enter(entry("a", "second"))
    with pytest.raises(WorldExists):
        ledger.reopened("a")
    found = ledger.world("a")
    assert found is not None
    assert (found.segment.world_id, found.is_open) == ("a", False)


def test_ids_are_given_to_one_alone(ledger: SqliteLedger) -> None:
    """Blocks of ids do not overlap, and are given back only by who took the last of them (G5)."""
    ledger.enter(entry("a"))
    assert ledger.reserve("a", 1, 100) == 1
    assert ledger.reserve("a", 1, 100) == 101
    assert ledger.reserve("a", 500, 10) == 500
    ledger.release("a", 20, 101)
    assert [one.ids_to for one in ledger.worlds()] == [510]
    ledger.release("a", 505, 510)
    assert [one.ids_to for one in ledger.worlds()] == [505]
    with pytest.raises(LedgerError):
        ledger.reserve("unknown", 1, 1)


def test_a_full_disk_refuses_and_forgets_nothing(ledger: SqliteLedger) -> None:
    """When nothing can be written, what was noted waits, nothing more is accepted, and it is written once it can be (G5)."""
    ledger.sync()
    (pages,) = ledger._connection.execute("PRAGMA page_count").fetchone()
    ledger._connection.execute(f"PRAGMA max_page_count = {pages}")
    ledger.note([note(f"c{number}", payload='"' + "x" * 4000 + '"') for number in range(100)])
    with pytest.raises(LedgerError, match="full"):
        ledger.sync()
    with pytest.raises(LedgerError, match="accepted"):
        ledger.check()
    ledger._connection.execute("PRAGMA max_page_count = 1000000")
    ledger.sync()
    ledger.check()
    assert len(ledger.history(AuditFilter(limit=1000))) == 100
    assert ledger.verify() == []


def test_withdrawn_commands_were_never_there(ledger: SqliteLedger) -> None:
    """A command that could not be accepted leaves nothing to apply (G5)."""
    ledger.note([note("a", accepted=accepted("a"))])
    assert ledger.withdraw(["a"])
    assert not ledger.withdraw(["a"])
    assert ledger.accepted("w") == []


def test_history_is_filtered_and_paged(ledger: SqliteLedger) -> None:
    """Rows are found by world, actor, type, status and time, and read page by page (G4)."""
    ledger.note(
        [
            note(f"c{n}", world=f"w{n % 2}", actor=f"a{n % 3}", type=f"t{n % 5}", at_us=NOON + n * 1_000_000)
            for n in range(30)
        ]
    )
    ledger.settle([Settled("c4", "w0", "failed", NOON, None, "because")])
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
    """A ledger of a later release is refused by name, and not touched."""
    SqliteLedger(tmp_path / "ledger.sqlite").close()
    with sqlite3.connect(tmp_path / "ledger.sqlite") as other:
        other.execute("PRAGMA user_version = 99")
    other.close()
    with pytest.raises(LedgerError, match="99"):
        SqliteLedger(tmp_path / "ledger.sqlite")


def test_another_database_is_refused(tmp_path: Path) -> None:
    """A database of something else is not made into a ledger."""
    with sqlite3.connect(tmp_path / "ledger.sqlite") as other:
        other.execute("CREATE TABLE mine (x)")
    other.close()
    with pytest.raises(LedgerError, match="something else"):
        SqliteLedger(tmp_path / "ledger.sqlite")


def test_garbage_is_corrupt(tmp_path: Path) -> None:
    """A file that is no database is damage, not a crash of SQLite."""
    (tmp_path / "ledger.sqlite").write_bytes(b"not a database at all, but long enough to be taken for one" * 100)
    with pytest.raises(CorruptStore):
        SqliteLedger(tmp_path / "ledger.sqlite")


def test_closing_twice_is_closing_once(ledger: SqliteLedger) -> None:
    """Close is idempotent, and use after it is refused."""
    ledger.close()
    ledger.close()
    with pytest.raises(LedgerError, match="closed"):
        ledger.check()


@pytest.mark.parametrize("column", ["actor", "payload", "reason", "type", "world_id"])
def test_text_that_cannot_be_stored_takes_nothing_along(ledger: SqliteLedger, column: str) -> None:
    """A row with half a surrogate pair is written with that spelled out, and so is everything noted with it (G4)."""
    ledger.note([note("a", accepted=accepted("a")), note("b", **{column: "caf\udce9"}), note("c", roles=("\ud800",))])
    ledger.settle([Settled("a", "w", "failed", NOON, None, "\ud800")])
    assert len(ledger.history(AuditFilter())) == 3
    assert "udce9" in str(ledger.history(AuditFilter()))
    assert ledger.verify() == []
    with pytest.raises(ValueError, match="surrogate"):
        ledger.history(AuditFilter(actor="\ud800"))


def test_a_waiting_command_that_was_taken_out_is_found(ledger: SqliteLedger, tmp_path: Path) -> None:
    """A command that is on record as queued, and is not there to be applied, is damage (G4, G5)."""
    ledger.note([note("a", accepted=accepted("a")), note("b", accepted=accepted("b"))])
    ledger.sync()
    ledger.settle([Settled("b", "w", "applied", NOON, 1)])
    assert ledger.verify() == []
    with sqlite3.connect(tmp_path / "ledger.sqlite") as other:
        other.execute("DELETE FROM commands WHERE command_id = 'a'")
    other.close()
    assert [one.place for one in ledger.verify()] == ["command a"]
