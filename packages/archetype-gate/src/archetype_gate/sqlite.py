"""A ledger in one SQLite file: a thread writes what was collected in memory, many rows to a transaction."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import threading
from collections.abc import Collection, Iterable, Sequence
from datetime import date, datetime
from pathlib import Path

from archetype_core.command import AuditFilter, AuditHead, AuditRow
from archetype_core.errors import LedgerError
from archetype_gate import held_table, record_reader
from archetype_gate.answer_table import AnswerTable
from archetype_gate.database import Connect, LedgerDatabase, connect
from archetype_gate.ledger import (
    AcceptedCommand,
    AttemptRef,
    AuditEntry,
    Damage,
    HeldEntry,
    LedgerAnswer,
    LedgerRollout,
    LedgerWorld,
    Settlement,
)
from archetype_gate.ledger_key import LedgerKey
from archetype_gate.quota import Usage
from archetype_gate.record_writer import write_records
from archetype_gate.rollout_table import RolloutTable
from archetype_gate.world_table import WorldTable, forget_told

WRITE_INTERVAL_S = 0.08
"""How long an entry waits before it is written. The promise is 0.1 s, which includes the write."""
_MAX_WAITING = 20_000
"""How many entries may wait. A caller who adds more writes them."""
_MAX_RETRY_S = 2.0

log = logging.getLogger("archetype.gate")


class SqliteLedger:
    """The ledger in the file ``path``, or in memory for ``None``. Thread-safe; several processes may share a file.

    Opening creates the directory and the file. ``LedgerError`` if the file cannot be opened, is of a newer release or
    of another program; ``CorruptStore`` if it is damaged. A write waits up to 30 s for another process's write.
    ``key`` is the secret of its hashes, or the key's file; by default ``ledger.key`` beside it, made with the ledger and
    readable by its user only. ``LedgerError`` if the key is missing or another one.
    ``connect`` opens the SQLite connection, for tests that make writes fail; with ``is_copy`` it opens one in memory, with a
    copy of the file, of which nothing is written.
    """

    def __init__(
        self, path: Path | None, *, key: LedgerKey | None = None, connect: Connect = connect, is_copy: bool = False
    ) -> None:
        self._path = ":memory:" if path is None else str(path)
        self._lock = threading.Lock()
        self._awake = threading.Event()
        self._closing = threading.Event()
        self._entries: dict[str, AuditEntry] = {}
        self._released: set[str] = set()
        self._settlements: list[Settlement] = []
        self._settled_ticks: dict[str, int] = {}
        self._usage: list[Usage] = []
        self._forgets: dict[str, int] = {}
        self._write_failure: Exception | None = None
        self._is_open = True
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        if key is None:
            key = secrets.token_bytes(32) if path is None else path.with_suffix(".key")
        self._database = LedgerDatabase(self._path, key, connect, is_shared=not is_copy and path is not None)
        self._worlds = WorldTable(self._database)
        self._rollouts = RolloutTable(self._database)
        self._answers = AnswerTable(self._database)

    def __repr__(self) -> str:
        return f"SqliteLedger({self._path!r})"

    def check_writable(self) -> None:
        """Raise ``LedgerError`` if the last write failed or the ledger is closed; does no I/O."""
        if not self._is_open:
            raise LedgerError(f"{self._path} is closed: open the ledger again")
        if self._write_failure is not None:
            raise LedgerError(
                f"{self._path} cannot be written ({self._write_failure}): no command is accepted until it can; "
                "free the disk or restore access, writing is retried"
            ) from self._write_failure

    def record(self, entries: Sequence[AuditEntry]) -> None:
        """Collect audit rows to be written within 100 ms; writes them now if 20 000 wait already."""
        with self._lock:
            for one in entries:
                self._entries[one.command_id] = one
            waiting = len(self._entries)
        if waiting > _MAX_WAITING and self._write_failure is None:
            with contextlib.suppress(LedgerError):
                self.sync()
        self._wake()

    def add_usage(self, usage: Usage) -> None:
        """Collect usage that belongs to no command, to be written within 100 ms."""
        with self._lock:
            self._usage.append(usage)
        self._wake()

    def withdraw(self, command_ids: Iterable[str]) -> bool:
        """Drop entries that are not written yet; returns whether all of them were dropped."""
        with self._lock:
            dropped = [self._entries.pop(one, None) is not None for one in command_ids]
            return all(dropped)

    def hold(self, entries: Sequence[AuditEntry], attempt: AttemptRef) -> None:
        """Store entries that count only once they are released, in one synced transaction."""
        with self._database.transaction() as tables:
            held_table.insert_held(tables, entries, attempt)

    def release(self, command_ids: Collection[str], entries: Sequence[AuditEntry] = ()) -> None:
        """Collect held entries to be deleted, and ``entries`` to be recorded in the same write, within 100 ms."""
        with self._lock:
            self._released.update(command_ids)
            self._entries.update((one.command_id, one) for one in entries)
        self._wake()

    def settle(self, settlements: Iterable[Settlement]) -> None:
        """Collect the final statuses of accepted commands, to be written within 100 ms."""
        with self._lock:
            for one in settlements:
                entry = self._entries.get(one.command_id)
                if entry is None:
                    self._settlements.append(one)
                else:
                    # The entry is not written yet, so one row with the final status is enough.
                    entry.status, entry.tick, entry.reason = one.status, one.tick, one.reason
                    entry.duration_us = max(0, one.at_us - entry.at_us)
                    entry.accepted = None
        self._wake()

    def settle_tick(self, world_id: str, tick: int, *, forgets_to: int | None = None) -> None:
        """Note that the commands of a world's ticks up to this one are settled, to be written within 100 ms.

        With ``forgets_to`` also undo ``mark_told``, unless ids after this one are reserved.
        """
        with self._lock:
            self._settled_ticks[world_id] = tick
            if forgets_to is not None:
                self._forgets[world_id] = forgets_to
        self._wake()

    def _wake(self) -> None:
        if self._thread is None:
            self._start()
        # Asking costs less than setting it. The thread clears it before it takes what was collected.
        if not self._awake.is_set():
            self._awake.set()

    def _start(self) -> None:
        with self._lock:
            if self._thread is None and self._is_open:
                self._thread = threading.Thread(target=self._keep_writing, name="archetype-ledger", daemon=True)
                self._thread.start()

    def _keep_writing(self) -> None:
        pause = WRITE_INTERVAL_S
        while self._is_open:
            self._awake.wait()
            self._awake.clear()
            self._closing.wait(pause)
            try:
                self.sync()
                pause = WRITE_INTERVAL_S
            except LedgerError as failure:
                log.warning("%s", failure)
                pause = min(_MAX_RETRY_S, pause * 2)
                self._awake.set()

    def sync(self) -> None:
        """Write everything collected; returns when it is on disk. ``LedgerError`` if that fails: everything is kept."""
        with self._database.lock:
            with self._lock:
                entries, settlements, ticks = self._entries, self._settlements, self._settled_ticks
                released, usage = self._released, self._usage
                self._entries, self._settlements, self._settled_ticks = {}, [], {}
                forgets, self._forgets = self._forgets, {}
                self._released, self._usage = set(), []
            if not (entries or settlements or ticks or released or usage):
                return
            try:
                with self._database.transaction() as tables:
                    write_records(tables, list(entries.values()), settlements, ticks, released, usages=usage)
                    forget_told(tables, forgets)
            # Whatever failed, put everything back.
            except Exception as failure:
                with self._lock:
                    # Before what was collected meanwhile, because it is older.
                    self._entries = {**entries, **self._entries}
                    self._settlements = [*settlements, *self._settlements]
                    self._settled_ticks = {**ticks, **self._settled_ticks}
                    self._released |= released
                    self._usage = [*usage, *self._usage]
                    self._forgets = {**forgets, **self._forgets}
                self._write_failure = failure
                if isinstance(failure, LedgerError):
                    raise
                raise LedgerError(f"{self._path}: {type(failure).__name__}: {failure}") from failure
            self._write_failure = None

    def add_world(self, entry: LedgerWorld) -> None:
        """Store a world durably; ``WorldExists`` if its id is taken, or its name by a world that is not destroyed."""
        self._worlds.add(entry)

    def mark_destroyed(self, world_id: str) -> None:
        """Free a world's name and delete the commands that wait for it, durably."""
        self.sync()
        self._worlds.mark_destroyed(world_id)

    def mark_reopened(self, world_id: str) -> None:
        """Give a destroyed world its name back, durably; ``WorldExists`` if another world has it now."""
        self._worlds.mark_reopened(world_id)

    def find_world(self, id_or_name: str) -> LedgerWorld | None:
        """Return the world with that id, else the world with that name that is not destroyed, else ``None``."""
        return self._worlds.find(id_or_name)

    def worlds(self) -> list[LedgerWorld]:
        """Return all worlds by id, destroyed ones too."""
        return self._worlds.all()

    def reserve_ids(self, world_id: str, first: int, count: int, *, is_told: bool = False) -> int:
        """Reserve a block of entity ids durably and return its first: ``first``, or later if that is reserved already.

        Costs one synced transaction. ``LedgerError`` for an unknown world.
        """
        return self._worlds.reserve_ids(world_id, first, count, is_told=is_told)

    def mark_told(self, world_id: str) -> None:
        """Note durably that callers may know ids of a world that no committed tick has; costs one synced transaction."""
        with self._database.lock:
            # No write is under way, so what undoes an earlier mark is either written or dropped here.
            with self._lock:
                self._forgets.pop(world_id, None)
            self._worlds.mark_told(world_id)

    def may_reuse_ids(self, world_id: str) -> bool:
        """Whether reserved ids that no tick has can be given out: no caller knows them, and nobody else has this file open.

        ``False`` in memory, where a ledger may have several gates.
        """
        self.sync()
        return self._worlds.may_reuse_ids(world_id)

    def release_ids(self, world_id: str, first_unused: int, reserved_to: int) -> None:
        """Give back the unused end of the last reserved block, durably; does nothing if it is not the last."""
        self._worlds.release_ids(world_id, first_unused, reserved_to)

    def begin_rollout(self, rollout: LedgerRollout) -> LedgerRollout:
        """Store a named rollout durably, and return it; if its world has one of that name, return that with its episodes."""
        return self._rollouts.begin(rollout)

    def begin_episode(self, rollout_id: str, episode: int, world_id: str) -> None:
        """Store durably in which world an episode will run; it replaces an earlier one of that number."""
        self._rollouts.begin_episode(rollout_id, episode, world_id)

    def finish_episode(self, rollout_id: str, episode: int, result: str) -> None:
        """Store the encoded result of an episode durably."""
        self._rollouts.finish_episode(rollout_id, episode, result)

    def find_answer(self, key: str) -> LedgerAnswer | None:
        """Return the command with a key, if one was sent, as written so far."""
        return self._answers.find(key)

    def count_answers(self, actor: str, since_us: int) -> int:
        """Return how many keys an actor has used since a moment, as written so far."""
        return self._answers.count(actor, since_us)

    def begin_answer(self, answer: LedgerAnswer) -> None:
        """Store a command with a key durably; those older than a day are dropped."""
        self._answers.begin(answer)

    def drop_answer(self, key: str) -> None:
        """Forget a command with a key durably."""
        self._answers.drop(key)

    # Reads. Those of commands and audit rows write first, so that they see everything collected.

    def waiting_commands(self, world_id: str) -> list[AcceptedCommand]:
        """Return the commands that wait for a world, in the order they were accepted.

        ``CorruptStore`` if any was changed after it was written, or is missing.
        """
        self.sync()
        return record_reader.waiting_commands(self._database, world_id)

    def held_entries(self) -> list[HeldEntry]:
        """Return everything that is held, in the order it was stored; ``CorruptStore`` if any of it was changed."""
        self.sync()
        return held_table.held_entries(self._database)

    def recorded_ids(self, command_ids: Iterable[str]) -> set[str]:
        """Return those of the command ids that have an audit row; one query for each."""
        self.sync()
        return record_reader.recorded_ids(self._database, command_ids)

    def usage_since(self, since: date) -> Sequence[Usage]:
        """Return the credits used since a day, and the commands used in each world's latest tick, as written so far."""
        return record_reader.usage_since(self._database, since)

    def history(self, which: AuditFilter) -> tuple[AuditRow, ...]:
        """Return audit rows, one per command; ``ValueError`` for a filter with text that is not valid UTF-8."""
        self.sync()
        return record_reader.audit_rows(self._database, which)

    def audit_head(self, at: datetime) -> AuditHead:
        """Return the end of the audit, to be kept elsewhere and given to ``verify``; ``at`` is the time it notes."""
        self.sync()
        return record_reader.audit_head(self._database, at)

    def verify(self, head: AuditHead | None = None) -> list[Damage]:
        """Check all hashes and list what was edited, removed, added or moved, since ``head`` was taken too.

        Reads every row and blocks this ledger's writes meanwhile.
        """
        self.sync()
        return record_reader.damages(self._database, head)

    def close(self) -> None:
        """Write everything collected and close; idempotent. In a forked process it only marks the ledger closed."""
        if not self._is_open:
            return
        if os.getpid() != self._pid:
            # The connection belongs to the parent process, and the thread exists only there.
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
            self._database.close()
