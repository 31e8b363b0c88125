"""Columns as bytes with a checksum, inline in the database when small, in a synced file when large."""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from archetype_core.errors import CorruptStore

INLINE_BYTES = 512 * 1024
"""Above this a file, written and synced first, is cheaper than a blob in the transaction."""


def encode(array: pa.Array, field: pa.Field) -> pa.Buffer:
    """A column as one Arrow IPC message; its type is known from the table's schema."""
    return pa.RecordBatch.from_arrays([array], schema=pa.schema([field])).serialize()


def decode(data: pa.Buffer, crc: int, field: pa.Field, place: str) -> pa.Array:
    """What ``encode`` was given, if these are the bytes that it gave."""
    if checksum(data) != crc:
        raise CorruptStore(place, "its checksum does not match")
    try:
        return pa.ipc.read_record_batch(data, pa.schema([field])).column(0)
    # The checksum matched, so these are the bytes of another column: the reference is wrong.
    except (pa.ArrowInvalid, OSError) as failure:
        raise CorruptStore(place, str(failure)) from failure


def checksum(data: pa.Buffer | bytes) -> int:
    """The checksum under which bytes are stored."""
    return zlib.crc32(data)


def write_file(path: Path, pieces: Sequence[pa.Buffer]) -> None:
    """Write and sync a file that nothing refers to yet."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        for piece in pieces:
            view = memoryview(piece)
            while view:
                view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_file(path: Path, offset: int, length: int) -> pa.Buffer:
    """Some bytes of a chunk's file."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read(length)
    except OSError as failure:
        raise CorruptStore(str(path), str(failure)) from failure
    if len(data) != length:
        raise CorruptStore(str(path), f"it ends at {offset + len(data)}, before {offset + length}")
    return pa.py_buffer(data)
