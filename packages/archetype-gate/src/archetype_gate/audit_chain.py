"""The keyed chain over a ledger: hashes by which edited, removed, added, moved and restored rows are found.

Audit rows are a chain: each row's hash covers the row and the hash before it. A row that settles many commands has as
many numbers, of which the last is stored. The rows of the other tables come and go,
so each has a hash of its own, and the sum of a table's hashes is kept. The seal covers the end of the chain and the sums.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from archetype_core.command import AuditHead
from archetype_core.errors import CorruptStore, LedgerError
from archetype_gate.ledger import Damage

Row = tuple[Any, ...]
"""The columns of a row in order, without its hash."""

START = bytes(32)
"""The hash before the first row."""
SEALED = ("worlds", "commands", "staged", "held", "rollouts", "episodes", "answers", "tokens", "ticks")
"""The tables whose hashes are summed."""
_MODULUS = 1 << 256
_CHUNKS = (512, 64, 8, 1)
_SEAL_DAMAGE = Damage(
    "the seal", "the end of the audit or the sums of the tables were edited, or are from different moments"
)


class Hasher:
    """Hashes rows with a ledger's key."""

    def __init__(self, key: bytes) -> None:
        # Copies of these begin with the key, so that it is not taken in for each row.
        self._chain = hashlib.blake2b(digest_size=32, key=key)
        self._tables = {
            table: hashlib.blake2b(digest_size=32, key=key, person=table.encode()) for table in (*SEALED, "seal", "key")
        }
        self.key_check = self.row_hash("key", ())

    def chain_hash(self, previous: bytes, row: str) -> bytes:
        """Return the hash of an audit row, given as ASCII text, that follows a row with the hash ``previous``."""
        found = self._chain.copy()
        found.update(previous + row.encode())
        return found.digest()

    def row_hash(self, table: str, row: Sequence[Any]) -> bytes:
        """Return the hash of a row of a table."""
        # Long bytes are hashed first, because their text has four times their size.
        plain = [hashlib.sha256(one).digest() if type(one) is bytes else one for one in row]
        found = self._tables[table].copy()
        found.update(ascii(tuple(plain)).encode())
        return found.digest()


class SealedTables:
    """The tables of a ledger inside one transaction: every change keeps chain, sums and seal true. ``close`` stores these."""

    def __init__(self, connection: sqlite3.Connection, hasher: Hasher) -> None:
        self.connection = connection
        self._hasher = hasher
        count, last, sums, seal, _ = _chain_end(connection)
        self._count: int = count
        self._last: bytes = last
        self._sums = unpack_sums(sums)
        # A seal that is broken stays broken: a new one would hide what was changed before.
        self._is_sealed: bool = hasher.row_hash("seal", (count, last, sums)) == seal

    def append(self, rows: Iterable[Row]) -> range:
        """Append audit rows, each without its number, beginning with how many numbers it has; returns the numbers."""
        chain_hash = self._hasher.chain_hash
        first, seq, last, written = self._count + 1, self._count, self._last, []
        for rest in rows:
            seq += rest[0]
            row: Row = (seq, *rest)
            text = ascii(row)
            if "\\ud" in text:
                row = tuple(without_surrogates(one) if isinstance(one, str) else one for one in row)
                text = ascii(row)
            last = chain_hash(last, text)
            written.append((*row, last))
        insert_rows(self.connection, "audit", written)
        self._count, self._last = seq, last
        return range(first, self._count + 1)

    def insert(self, table: str, rows: Iterable[Row]) -> None:
        """Insert rows into a table."""
        written = [(*row, self._hasher.row_hash(table, row)) for row in rows]
        insert_rows(self.connection, table, written)
        self._add(table, (row[-1] for row in written), 1)

    def remove(self, table: str, column: str, values: Iterable[Any]) -> list[Row]:
        """Delete the rows with these values in a column, and return them."""
        gone: list[Row] = []
        for chunk in chunks(list(values)):
            gone += self.take(table, f"{column} IN ({', '.join('?' * len(chunk))})", chunk)
        return gone

    def take(self, table: str, condition: str, values: Sequence[Any]) -> list[Row]:
        """Delete the rows that meet a condition and return them, to be changed and inserted again."""
        query = f"DELETE FROM {table} WHERE {condition} RETURNING *"  # noqa: S608  # reason: names of our own tables
        rows = [tuple(row[:-1]) for row in self.connection.execute(query, values).fetchall()]
        # What is stored as their hash may have been exchanged together with the row: then the sum must not fit any more.
        self._add(table, (self._hasher.row_hash(table, row) for row in rows), -1)
        return rows

    def _add(self, table: str, hashes: Iterable[bytes], sign: int) -> None:
        self._sums[table] = (self._sums[table] + sign * _total(hashes)) % _MODULUS

    def close(self) -> None:
        """Store the end of the chain, the sums and the seal."""
        end = (self._count, self._last, pack_sums(self._sums))
        seal = self._hasher.row_hash("seal", end) if self._is_sealed else START
        self.connection.execute("UPDATE chain SET count = ?, hash = ?, sums = ?, seal = ?", (*end, seal))


def start_chain(connection: sqlite3.Connection, hasher: Hasher, path: str) -> None:
    """Note a new ledger's key, or check that a ledger was written with it.

    ``LedgerError`` if it was written with another; ``CorruptStore`` if it has rows, but the check of its key is gone.
    """
    *_, stored = _chain_end(connection)
    if stored is None:
        if not is_new(connection):
            raise CorruptStore(path, "the check of its key was removed")
        end = (0, START, bytes(32 * len(SEALED)))
        connection.execute(
            "UPDATE chain SET count = ?, hash = ?, sums = ?, seal = ?, key_check = ?",
            (*end, hasher.row_hash("seal", end), hasher.key_check),
        )
    elif stored != hasher.key_check:
        raise LedgerError(f"{path} was written with another key: pass the key that it was made with (ledger_key=…)")


def _chain_end(connection: sqlite3.Connection) -> tuple[int, bytes, bytes, bytes, bytes | None]:
    """Return count, last hash, sums, seal and the check of the key as stored."""
    found = connection.execute("SELECT count, hash, sums, seal, key_check FROM chain").fetchone()
    if found is None or not isinstance(found[0], int) or not all(isinstance(one, bytes) for one in found[1:4]):
        raise sqlite3.DatabaseError("the end of the audit chain is missing or was edited")
    return found  # type: ignore[no-any-return]  # reason: the types of its columns are those of the table


def is_new(connection: sqlite3.Connection) -> bool:
    """Whether a ledger has no key yet: nothing is written in it."""
    return _chain_end(connection)[-1] is None and not any(
        connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone()  # noqa: S608  # reason: names of our own tables
        for table in ("audit", *SEALED)
    )


def insert_rows(connection: sqlite3.Connection, table: str, rows: Sequence[Row]) -> None:
    """Insert rows, many by one statement: SQLite gives the interpreter up for each, and getting it back may take 5 ms."""
    for chunk in chunks(rows):
        row = f"({', '.join('?' * len(chunk[0]))})"
        query = f"INSERT INTO {table} VALUES {', '.join([row] * len(chunk))}"  # noqa: S608  # reason: names of our own tables
        connection.execute(query, [value for one in chunk for value in one])


def chunks(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Split values into few lengths, so that few statements are prepared."""
    start = 0
    for size in _CHUNKS:
        while len(values) - start >= size:
            yield values[start : start + size]
            start += size


def find_damage(connection: sqlite3.Connection, hasher: Hasher, head: AuditHead | None) -> Iterator[Damage]:
    """Check every row, every sum and the seal, and what is known of an earlier head."""
    count, last, sums, seal, key_check = _chain_end(connection)
    if key_check != hasher.key_check:
        yield Damage("the key", "what the ledger notes of its key was edited")
    rows = connection.execute("SELECT * FROM audit ORDER BY seq")
    yield from _chain_damage(rows, hasher, count, last)
    yield from (one for table in SEALED for one in _table_damage(connection, hasher, table, unpack_sums(sums)[table]))
    if hasher.row_hash("seal", (count, last, sums)) != seal:
        yield _SEAL_DAMAGE
    if head is not None:
        yield from _head_damage(connection, head, count)


def _chain_damage(rows: Iterable[Row], hasher: Hasher, count: int, last: bytes) -> Iterator[Damage]:
    previous, expected = START, 1
    for *columns, stored in rows:
        row = tuple(columns)
        if (first := row[0] - row[1] + 1) > expected:
            # The row after a gap cannot be checked: the hash that it follows is missing.
            yield Damage(f"audit event {expected}", f"{first - expected} rows are missing before row {first}")
        elif hasher.chain_hash(previous, ascii(row)) != stored:
            yield Damage(f"audit event {row[0]}", "the row was edited or moved after it was written")
        previous = stored if isinstance(stored, bytes) else START
        expected = row[0] + 1
    if expected - 1 != count:
        yield Damage("the end of the audit", f"{count} rows were written, {expected - 1} are present")
    elif previous != last:
        yield Damage("the end of the audit", "the last row is not the row that was written last")


def _table_damage(connection: sqlite3.Connection, hasher: Hasher, table: str, total: int) -> Iterator[Damage]:
    hashes = []
    for *row, stored in connection.execute(f"SELECT * FROM {table}"):  # noqa: S608  # reason: names of our own tables
        hashes.append(stored)
        if hasher.row_hash(table, row) != stored:
            yield Damage(without_surrogates(_name(table, row)), "the row was edited after it was written")
    if _total(hashes) != total:
        yield Damage(f"table {table}", "rows were edited, removed, added or put back after they were written")


def _name(table: str, row: Sequence[Any]) -> str:
    match table:
        case "worlds":
            return f"world {row[0]}"
        case "commands":
            return f"command {row[1]}"
        case "staged":
            return f"staged commands from audit event {row[0]} on"
        case "held":
            return f"held command {row[1]}"
        case "rollouts":
            return f"rollout {row[1]} of world {row[0]}"
        case "episodes":
            return f"episode {row[1]} of rollout {row[0]}"
        case "answers":
            return f"answer to a key of {row[1]}"
        case _:
            return f"usage of {row[0]}, {row[1]}"


def _head_damage(connection: sqlite3.Connection, head: AuditHead, count: int) -> Iterator[Damage]:
    if head.count > count:
        yield Damage("the end of the audit", f"the head was taken after {head.count} rows, and {count} are left")
        return
    found = connection.execute("SELECT hash FROM audit WHERE seq = ?", (head.count,)).fetchone()
    if (found[0] if found else START).hex() != head.hash:
        yield Damage(f"audit event {head.count}", "the row or one before it was written anew after the head was taken")


def check_tables(connection: sqlite3.Connection, hasher: Hasher, path: str, tables: Sequence[str]) -> None:
    """Check the seal and the rows of a few tables; ``CorruptStore`` names the first that was changed."""
    count, last, sums, seal, _ = _chain_end(connection)
    found = [one for table in tables for one in _table_damage(connection, hasher, table, unpack_sums(sums)[table])]
    if not found and hasher.row_hash("seal", (count, last, sums)) != seal:
        found = [_SEAL_DAMAGE]
    if found:
        raise CorruptStore(path, f"{found[0]}; nothing that it changed is applied: verify() lists all, restore a copy")


def pack_sums(sums: dict[str, int]) -> bytes:
    """Encode the sums of the tables."""
    return b"".join(sums[table].to_bytes(32) for table in SEALED)


def unpack_sums(packed: bytes) -> dict[str, int]:
    """Decode the sums of the tables."""
    return {table: int.from_bytes(packed[32 * n : 32 * n + 32]) for n, table in enumerate(SEALED)}


def _total(hashes: Iterable[object]) -> int:
    # What is no hash any more does not count, so that the sum does not fit.
    return sum(int.from_bytes(one) for one in hashes if isinstance(one, bytes)) % _MODULUS


def without_surrogates(text: str) -> str:
    """Spell out lone surrogates, which a database cannot store."""
    return text.encode("utf-8", "backslashreplace").decode()
