"""SQLite's write-ahead log: turns it on, and checks it for damage that SQLite does not report.

SQLite reads its log up to the first frame with a wrong checksum and ignores the rest as a torn tail. If every commit was
synced, only the last transaction can be torn. Whole transactions after a wrong frame mean that the log is damaged, and that
SQLite would silently lose them.
"""

from __future__ import annotations

import sqlite3
import struct
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

_HEADER = struct.Struct(">8I")
_FRAME_WORDS = 6
_MAGIC = (0x377F0682, 0x377F0683)

_Words = np.ndarray[Any, np.dtype[np.uint32]]


def has_lost_transactions(path: Path) -> bool:
    """Whether whole transactions follow the frame at which SQLite stops reading the log."""
    while True:
        try:
            data = path.read_bytes()
            # Read again if the log was restarted meanwhile.
            with path.open("rb") as file:
                if file.read(_HEADER.size) == data[: _HEADER.size]:
                    break
        except FileNotFoundError:
            return False
    if len(data) < _HEADER.size:
        return False
    magic, _, page, _, *salts, first, second = _HEADER.unpack_from(data)
    words = ">u4" if magic == _MAGIC[1] else "<u4"
    head = np.frombuffer(data, words, 6).astype(np.uint32)[None, :]
    if magic not in _MAGIC or not (_checksums(head, np.zeros((1, 2), np.uint32)) == (first, second)).all():
        # SQLite ignores the whole log.
        return len(data) > _HEADER.size
    size = _FRAME_WORDS + page // 4
    count = (len(data) - _HEADER.size) // (4 * size)
    raw = np.frombuffer(data, np.uint8, count * 4 * size, _HEADER.size).reshape(count, 4 * size)
    # A frame's header: page number, database size after a commit (else 0), two salts, two checksums.
    headers: _Words = raw[:, : 4 * _FRAME_WORDS].copy().view(">u4").astype(np.uint32)
    start = np.vstack([np.array([[first, second]], np.uint32), headers[:-1, 4:]]) if count else headers[:, 4:]
    content = np.hstack([raw[:, :8], raw[:, 4 * _FRAME_WORDS :]]).copy().view(words).astype(np.uint32)
    # A frame's checksum continues that of the frame before, so it also says that the order is right.
    is_salted = (headers[:, 2:4] == salts).all(axis=1)
    is_valid = is_salted & (_checksums(content, start) == headers[:, 4:]).all(axis=1)
    if is_valid.all():
        return False
    stop = int(np.argmin(is_valid))
    is_commit = is_salted & (headers[:, 1] != 0)
    return bool((is_commit[stop:-1] & is_valid[stop + 1 :]).any())


def _checksums(words: _Words, start: _Words) -> _Words:
    """SQLite's two running checksums over rows of words, each row from its own start.

    ``a += x[0] + b; b += x[1] + a`` is linear, so a row's checksums are products with weights that depend on its length only.
    """
    weights, growth = _weights(words.shape[1])
    return words @ weights + start @ growth


@cache
def _weights(length: int) -> tuple[_Words, _Words]:
    step = np.array([[1, 1], [1, 2]], np.uint32)
    power = np.eye(2, dtype=np.uint32)
    weights = np.zeros((length, 2), np.uint32)
    for index in range(length - 2, -1, -2):
        # The pair enters as (x0, x0 + x1), and every later pair multiplies the sums by the step.
        weights[index : index + 2] = np.array([[1, 1], [0, 1]], np.uint32) @ power
        power = power @ step
    return weights, power


def use_wal(connection: sqlite3.Connection, timeout_s: float) -> bool:
    """Switch a database to write-ahead logging; False if SQLite stays in another mode.

    Retries while another connection does the same, which SQLite does not; ``sqlite3.OperationalError`` after the timeout.
    """
    until = time.monotonic() + timeout_s
    while True:
        try:
            (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
        except sqlite3.OperationalError as failure:
            if failure.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.005)
        else:
            return bool(mode == "wal")
