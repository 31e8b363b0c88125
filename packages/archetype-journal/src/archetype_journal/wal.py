"""SQLite's log: has it written, and looks at it before SQLite does.

SQLite reads its log up to the first frame that does not check and takes the rest for a torn tail. Where the log was synced
with every commit only the last transaction can be torn; if others stand behind it, the log is damaged, and what SQLite
opens has silently lost ticks.
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


def is_cut(path: Path) -> bool:
    """Whether whole transactions follow the place in the log at which SQLite will stop reading it."""
    while True:
        try:
            data = path.read_bytes()
            # A log that was begun anew while it was read says nothing.
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
    if magic not in _MAGIC or not (_sums(head, np.zeros((1, 2), np.uint32)) == (first, second)).all():
        # SQLite ignores the log altogether.
        return len(data) > _HEADER.size
    size = _FRAME_WORDS + page // 4
    count = (len(data) - _HEADER.size) // (4 * size)
    raw = np.frombuffer(data, np.uint8, count * 4 * size, _HEADER.size).reshape(count, 4 * size)
    told: _Words = raw[:, : 4 * _FRAME_WORDS].copy().view(">u4").astype(np.uint32)
    before = np.vstack([np.array([[first, second]], np.uint32), told[:-1, 4:]]) if count else told[:, 4:]
    checked = np.hstack([raw[:, :8], raw[:, 4 * _FRAME_WORDS :]]).copy().view(words).astype(np.uint32)
    # A frame belongs where it is if it was written after the one before it.
    belongs = (told[:, 2:4] == salts).all(axis=1) & (_sums(checked, before) == told[:, 4:]).all(axis=1)
    if belongs.all():
        return False
    cut = int(np.argmin(belongs))
    ends = (told[:, 2:4] == salts).all(axis=1) & (told[:, 1] != 0)
    return bool((ends[cut:-1] & belongs[cut + 1 :]).any())


def _sums(words: _Words, start: _Words) -> _Words:
    """SQLite's two running sums over rows of words, each from its own start.

    ``a += x[0] + b; b += x[1] + a`` is linear, so a row's sums are products with weights that depend on its length only.
    """
    weights, growth = _weights(words.shape[1])
    return words @ weights + start @ growth


@cache
def _weights(length: int) -> tuple[_Words, _Words]:
    step = np.array([[1, 1], [1, 2]], np.uint32)
    power = np.eye(2, dtype=np.uint32)
    weights = np.zeros((length, 2), np.uint32)
    for index in range(length - 2, -1, -2):
        # The pair enters as (x0, x0 + x1), and every later pair multiplies what is there by the step.
        weights[index : index + 2] = np.array([[1, 1], [0, 1]], np.uint32) @ power
        power = power @ step
    return weights, power


def use_wal(connection: sqlite3.Connection, patience_s: float) -> bool:
    """Have a database write a log, and say whether it does. SQLite does not wait for another who does the same."""
    until = time.monotonic() + patience_s
    while True:
        try:
            (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
        except sqlite3.OperationalError as failure:
            if failure.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.005)
        else:
            return bool(mode == "wal")
