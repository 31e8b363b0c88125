"""A ledger in one SQLite file. What is noted waits in memory and is written by a thread, many rows to a transaction."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from archetype_core.command import AuditFilter, AuditRow
from archetype_core.errors import CorruptStore, LedgerError, WorldExists
from archetype_core.store import Point, Segment
from archetype_gate import audit_chain, schema
from archetype_gate.ledger import Accepted, Damage, Note, Settled, WorldEntry
from archetype_gate.quota import Usage
from archetype_gate.timestamp import micros, moment
from archetype_journal import use_wal

INTERVAL_S = 0.08
"""How long a note waits at most before it is written; what is promised is 0.1, the writing itself included."""
_CROWD = 20_000
"""Notes that may wait; whoever brings more writes them."""
_PATIENCE_S = 30.0
"""How long somebody else may keep the database to himself."""
_WORLD = "world_id, name, run_id, seed, first_tick, parent_world, parent_run, parent_tick, kernel, ids_to, settled_tick, is_open"

log = logging.getLogger("archetype.gate")


class SqliteLedger:
    """The ledger at a path, or one in memory that ends with its handle. Several processes may use one file."""

    def __init__(self, path: Path | None) -> None:
        self._place = ":memory:" if path is None else str(path)
        self._lock = threading.Lock()
        self._writing = threading.RLock()
        self._awake = threading.Event()
        self._closing = threading.Event()
        self._notes: dict[str, Note] = {}
        self._settled: list[Settled] = []
        self._ticks: dict[str, int] = {}
        self._trouble: Exception | None = None
        self._is_open = True
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = _connect(self._place)

    def __repr__(self) -> str:
        return f"SqliteLedger({self._place!r})"

    # Noting.

    def check(self) -> None:
        if not self._is_open:
            raise LedgerError(f"{self._place} is closed")
        if self._trouble is not None:
            raise LedgerError(
                f"{self._place} cannot be written ({self._trouble}): nothing more is accepted until it can"
            ) from self._trouble

    def note(self, notes: Sequence[Note]) -> None:
        with self._lock:
            self._notes.update((one.command_id, one) for one in notes)
            crowd = len(self._notes)
        if crowd > _CROWD and self._trouble is None:
            with contextlib.suppress(LedgerError):
                self.sync()
        self._wake()

    def withdraw(self, command_ids: Iterable[str]) -> bool:
        with self._lock:
            gone = [self._notes.pop(one, None) is not None for one in command_ids]
            return all(gone)

    def settle(self, settled: Iterable[Settled]) -> None:
        with self._lock:
            for one in settled:
                waiting = self._notes.get(one.command_id)
                if waiting is None:
                    self._settled.append(one)
                else:
                    # Nobody has seen it wait, so it needs no event of its own.
                    waiting.status, waiting.tick, waiting.reason = one.status, one.tick, one.reason
                    waiting.duration_us = max(0, one.at_us - waiting.at_us)
                    waiting.accepted = None
        self._wake()

    def ticked(self, world_id: str, tick: int) -> None:
        with self._lock:
            self._ticks[world_id] = tick
        self._wake()

    def _wake(self) -> None:
        if self._thread is None:
            self._start()
        self._awake.set()

    def _start(self) -> None:
        with self._lock:
            if self._thread is None and self._is_open:
                self._thread = threading.Thread(target=self._write_on, name="archetype-ledger", daemon=True)
                self._thread.start()

    def _write_on(self) -> None:
        pause = INTERVAL_S
        while self._is_open:
            self._awake.wait()
            self._awake.clear()
            self._closing.wait(pause)
            try:
                self.sync()
                pause = INTERVAL_S
            except LedgerError as failure:
                log.warning("%s", failure)
                pause = min(2.0, pause * 2)
                self._awake.set()

    def sync(self) -> None:
        with self._writing:
            with self._lock:
                notes, settled, ticks = self._notes, self._settled, self._ticks
                self._notes, self._settled, self._ticks = {}, [], {}
            if not (notes or settled or ticks):
                return
            try:
                with self._transaction() as connection:
                    self._write(connection, list(notes.values()), settled, ticks)
            # Whatever it is, what was noted is not forgotten for it.
            except Exception as failure:
                with self._lock:
                    # In the order they came: what was noted since is later.
                    self._notes = {**notes, **self._notes}
                    self._settled = [*settled, *self._settled]
                    self._ticks = {**ticks, **self._ticks}
                self._trouble = failure
                if isinstance(failure, LedgerError):
                    raise
                raise LedgerError(f"{self._place}: {type(failure).__name__}: {failure}") from failure
            self._trouble = None

    def _write(
        self, connection: sqlite3.Connection, notes: list[Note], settled: list[Settled], ticks: dict[str, int]
    ) -> None:
        count, last = connection.execute("SELECT count, hash FROM chain").fetchone()
        rows: list[tuple[object, ...]] = []

        def add(event: audit_chain.ChainedRow) -> None:
            nonlocal count, last
            event = audit_chain.ChainedRow._make(
                storable(value) if isinstance(value, str) else value for value in event
            )
            count, last = event.seq, audit_chain.link(last, event)
            rows.append((*event, last))

        for note in notes:
            add(_event_of(note, count + 1))
        for one in settled:
            add(
                audit_chain.ChainedRow(
                    count + 1,
                    one.command_id,
                    0,
                    one.world_id,
                    "",
                    "",
                    "",
                    "",
                    one.status,
                    one.reason,
                    one.tick,
                    one.at_us,
                    0,
                )
            )
        connection.executemany("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
        connection.execute("UPDATE chain SET count = ?, hash = ?", (count, last))
        connection.executemany(
            "INSERT INTO commands (command_id, world_id, form, payload, first_id, id_count, due, priority, is_direct) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [_row_of(note.accepted) for note in notes if note.accepted is not None],
        )
        connection.executemany("DELETE FROM commands WHERE command_id = ?", [(one.command_id,) for one in settled])
        connection.executemany(
            "UPDATE worlds SET settled_tick = max(settled_tick, ?) WHERE world_id = ?",
            [(tick, world_id) for world_id, tick in ticks.items()],
        )
        _use(connection, [note.usage for note in notes if note.usage is not None])

    # Worlds and ids.

    def enter(self, entry: WorldEntry) -> None:
        segment, parent = entry.segment, entry.segment.parent
        row = (
            segment.world_id,
            segment.name,
            segment.run_id,
            segment.seed,
            segment.first_tick,
            parent.world_id if parent else None,
            parent.run_id if parent else None,
            parent.tick if parent else None,
            entry.kernel,
            entry.ids_to,
            entry.settled_tick,
            int(entry.is_open),
        )
        with self._transaction() as connection:
            self._check_free(connection, segment.world_id, segment.name)
            connection.execute(f"INSERT INTO worlds ({_WORLD}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)

    def _check_free(self, connection: sqlite3.Connection, world_id: str, name: str) -> None:
        taken = connection.execute(
            "SELECT name, world_id FROM worlds WHERE world_id = ? OR (name = ? AND is_open)", (world_id, name)
        ).fetchone()
        if taken is not None:
            raise WorldExists(*taken)

    def destroyed(self, world_id: str) -> None:
        self.sync()
        with self._transaction() as connection:
            connection.execute("UPDATE worlds SET is_open = 0 WHERE world_id = ?", (world_id,))
            connection.execute("DELETE FROM commands WHERE world_id = ?", (world_id,))

    def reopened(self, world_id: str) -> None:
        with self._transaction() as connection:
            found = connection.execute("SELECT name, is_open FROM worlds WHERE world_id = ?", (world_id,)).fetchone()
            if found is not None and not found[1]:
                self._check_free(connection, "", found[0])
                connection.execute("UPDATE worlds SET is_open = 1 WHERE world_id = ?", (world_id,))

    def world(self, world: str) -> WorldEntry | None:
        for condition in ("world_id = ?", "name = ? AND is_open"):
            rows = self._read(f"SELECT {_WORLD} FROM worlds WHERE {condition}", (world,))
            if rows:
                return _entry_of(rows[0])
        return None

    def worlds(self) -> list[WorldEntry]:
        return [_entry_of(row) for row in self._read(f"SELECT {_WORLD} FROM worlds ORDER BY world_id")]

    def reserve(self, world_id: str, first: int, count: int) -> int:
        with self._transaction() as connection:
            found = connection.execute("SELECT ids_to FROM worlds WHERE world_id = ?", (world_id,)).fetchone()
            if found is None:
                raise LedgerError(f"{self._place} does not know world {world_id}")
            first = max(first, found[0])
            connection.execute("UPDATE worlds SET ids_to = ? WHERE world_id = ?", (first + count, world_id))
        return int(first)

    def release(self, world_id: str, ids_to: int, reserved: int) -> None:
        with self._transaction() as connection:
            connection.execute(
                "UPDATE worlds SET ids_to = ? WHERE world_id = ? AND ids_to = ?", (ids_to, world_id, reserved)
            )

    # Reading.

    def accepted(self, world_id: str) -> list[Accepted]:
        self.sync()
        rows = self._read(
            "SELECT command_id, form, payload, first_id, id_count, due, priority, is_direct FROM commands "
            "WHERE world_id = ? ORDER BY seq",
            (world_id,),
        )
        return [
            Accepted(
                command_id,
                world_id,
                form,
                _constant(payload),
                range(first, first + count),
                due,
                priority,
                bool(direct),
            )
            for command_id, form, payload, first, count, due, priority, direct in rows
        ]

    def known(self, command_ids: Iterable[str]) -> set[str]:
        self.sync()
        return {
            one
            for one in command_ids
            if self._read("SELECT 1 FROM audit WHERE command_id = ? AND is_new LIMIT 1", (one,))
        }

    def used(self, since: date) -> Sequence[Usage]:
        tokens = self._read("SELECT actor, day, used FROM tokens WHERE day >= ?", (since.isoformat(),))
        ticks = self._read("SELECT actor, world_id, tick, used FROM ticks")
        return [
            *(Usage(actor, date.fromisoformat(day), used, None, 0, 0) for actor, day, used in tokens),
            *(Usage(actor, since, 0, world_id, tick, used) for actor, world_id, tick, used in ticks),
        ]

    def history(self, which: AuditFilter) -> tuple[AuditRow, ...]:
        self.sync()
        conditions: list[str] = ["a.is_new"]
        values: list[object] = []
        wanted: list[tuple[str, object]] = [
            ("a.world_id = ?", which.world_id),
            ("a.actor = ?", which.actor),
            ("a.type = ?", which.type),
            ("coalesce(s.status, a.status) = ?", which.status),
            ("a.at_us >= ?", which.since and micros(which.since)),
            ("a.at_us < ?", which.until and micros(which.until)),
            ("a.seq > ?" if which.oldest_first else "a.seq < ?", which.after),
        ]
        for condition, value in wanted:
            if value is not None:
                conditions.append(condition)
                values.append(value)
        order = "ASC" if which.oldest_first else "DESC"
        rows = self._read(
            "SELECT a.seq, a.command_id, a.world_id, a.actor, a.roles, a.type, a.payload, a.status, a.reason, a.tick, a.at_us, "
            "a.duration_us, s.status, s.reason, s.tick, s.at_us FROM audit a "
            "LEFT JOIN audit s ON s.command_id = a.command_id AND NOT s.is_new "
            f"WHERE {' AND '.join(conditions)} ORDER BY a.seq {order} LIMIT ?",
            (*values, which.limit),
        )
        return tuple(map(_audit_row, rows))

    def verify(self) -> list[Damage]:
        self.sync()
        with self._writing, self._told():
            count, last = self._connection.execute("SELECT count, hash FROM chain").fetchone()
            rows = self._connection.execute("SELECT * FROM audit ORDER BY seq")
            found = list(
                audit_chain.damages(((audit_chain.ChainedRow(*row[:-1]), row[-1]) for row in rows), count, last)
            )
            lost = self._connection.execute(
                "SELECT command_id FROM audit a WHERE is_new AND status = 'queued' "
                "AND NOT EXISTS (SELECT 1 FROM audit s WHERE s.command_id = a.command_id AND NOT s.is_new) "
                "AND NOT EXISTS (SELECT 1 FROM commands c WHERE c.command_id = a.command_id)"
            )
            found += [Damage(f"command {one}", "it is queued, and what it would do is gone") for (one,) in lost]
            return found

    # Ends.

    def close(self) -> None:
        if not self._is_open:
            return
        if os.getpid() != self._pid:
            # A copy that fork made has neither the thread nor a right to the connection.
            self._is_open = False
            return
        try:
            self.sync()
        finally:
            self._is_open = False
            if self._thread is not None:
                self._closing.set()
                self._awake.set()
                self._thread.join()
            with self._writing:
                self._connection.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._writing, self._told():
            connection = self._connection
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    with contextlib.suppress(sqlite3.Error):
                        connection.execute("ROLLBACK")
                raise

    def _read(self, query: str, values: Sequence[object] = ()) -> list[Any]:
        with self._writing, self._told():
            return self._connection.execute(query, values).fetchall()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """The one place where SQLite's errors become ours."""
        try:
            yield
        except (UnicodeEncodeError, OverflowError) as failure:
            raise ValueError(f"a value that cannot be stored: {failure}") from failure
        except sqlite3.DatabaseError as failure:
            if isinstance(failure, sqlite3.OperationalError | sqlite3.ProgrammingError):
                raise LedgerError(f"{self._place}: {failure}") from failure
            raise CorruptStore(self._place, str(failure)) from failure


def _connect(place: str) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(place, isolation_level=None, check_same_thread=False, timeout=_PATIENCE_S)
        try:
            use_wal(connection, _PATIENCE_S)
            connection.execute("PRAGMA synchronous = FULL")
            schema.migrate(connection, place)
        except BaseException:
            connection.close()
            raise
    except sqlite3.OperationalError as failure:
        raise LedgerError(f"{place} cannot be opened: {failure}") from failure
    except sqlite3.DatabaseError as failure:
        raise CorruptStore(place, str(failure)) from failure
    return connection


def storable(text: str) -> str:
    """Text that a database takes: half a surrogate pair is spelled out."""
    return text.encode("utf-8", "backslashreplace").decode() if not text.isascii() else text


def _event_of(note: Note, seq: int) -> audit_chain.ChainedRow:
    return audit_chain.ChainedRow(
        seq,
        note.command_id,
        1,
        note.world_id,
        note.actor,
        json.dumps(note.roles),
        note.type,
        note.payload if isinstance(note.payload, str) else note.payload(),
        note.status,
        note.reason,
        note.tick,
        note.at_us,
        note.duration_us,
    )


def _row_of(one: Accepted) -> tuple[object, ...]:
    ids = one.entity_ids
    return (
        one.command_id,
        one.world_id,
        one.form,
        one.payload(),
        ids.start,
        len(ids),
        one.due,
        one.priority,
        int(one.is_direct),
    )


def _constant(payload: bytes) -> Callable[[], bytes]:
    return lambda: payload


def _use(connection: sqlite3.Connection, usages: Iterable[Usage]) -> None:
    tokens: dict[tuple[str, str], int] = {}
    ticks: dict[tuple[str, str], tuple[int, int]] = {}
    for one in usages:
        key = (one.actor, one.day.isoformat())
        tokens[key] = tokens.get(key, 0) + one.tokens
        if one.world_id is not None:
            tick, used = ticks.get((one.actor, one.world_id), (one.tick, 0))
            ticks[one.actor, one.world_id] = (one.tick, one.commands + (used if tick == one.tick else 0))
    connection.executemany(
        "INSERT INTO tokens VALUES (?, ?, ?) ON CONFLICT (actor, day) DO UPDATE SET used = used + excluded.used",
        [(*key, used) for key, used in tokens.items()],
    )
    connection.executemany(
        "INSERT INTO ticks VALUES (?, ?, ?, ?) ON CONFLICT (actor, world_id) DO UPDATE SET "
        "used = excluded.used + iif(tick = excluded.tick, used, 0), tick = excluded.tick",
        [(*key, *used) for key, used in ticks.items()],
    )


def _entry_of(row: Sequence[Any]) -> WorldEntry:
    world_id, name, run_id, seed, first_tick, *parent, kernel, ids_to, settled_tick, is_open = row
    origin = None if parent[0] is None else Point(*parent)
    return WorldEntry(
        Segment(world_id, run_id, first_tick, origin, name, seed), kernel, ids_to, settled_tick, bool(is_open)
    )


def _audit_row(row: Sequence[Any]) -> AuditRow:
    seq, command_id, world_id, actor, roles, kind, payload, status, reason, tick, at_us, duration_us, *settled = row
    end_us = at_us + duration_us
    if settled[0] is not None:
        status, reason, tick, end_us = settled
    return AuditRow(
        seq=seq,
        command_id=command_id,
        world_id=world_id,
        actor=actor,
        roles=tuple(json.loads(roles)),
        type=kind,
        payload=payload,
        status=status,
        reason=reason,
        tick=tick,
        submitted_at=moment(at_us),
        settled_at=None if status == "queued" else moment(end_us),
        duration_s=(end_us - at_us) / 1e6,
    )
