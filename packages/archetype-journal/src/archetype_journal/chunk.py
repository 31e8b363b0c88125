"""Columns as bytes with a checksum, and the files that large ones are appended to."""

from __future__ import annotations

import os
import threading
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa

from archetype_core.errors import CorruptStore
from archetype_journal.database import sync_directory

FILE_BYTES = 256 * 1024 * 1024
"""A file that has grown to this gets a successor, so that space comes free in pieces."""


MESSAGE, VALUES = 0, 1
"""The forms in which a column is stored: as one Arrow IPC message, or as its bare values."""


def encode(array: pa.Array, field: pa.Field) -> tuple[int, pa.Buffer]:
    """A column as bytes, and the form that they have; its type is known from the table's schema.

    Numbers and instants without nulls, which most columns are, are neither copied nor wrapped.
    """
    kind = field.type
    if pa.types.is_primitive(kind) and kind.bit_width % 8 == 0 and array.null_count == 0:
        width = kind.bit_width // 8
        return VALUES, array.buffers()[1].slice(array.offset * width, len(array) * width)
    return MESSAGE, pa.RecordBatch.from_arrays([array], schema=pa.schema([field])).serialize()


def decode(data: pa.Buffer, form: int, crc: int, field: pa.Field, place: str) -> pa.Array:
    """What ``encode`` was given, if these are the bytes that it gave."""
    if checksum(data) != crc:
        raise CorruptStore(place, "its checksum does not match")
    try:
        if form == VALUES:
            return pa.Array.from_buffers(field.type, data.size * 8 // field.type.bit_width, [None, data])
        return pa.ipc.read_record_batch(data, pa.schema([field])).column(0)
    # The checksum matched, so these are the bytes of another column: the reference is wrong.
    except (pa.ArrowInvalid, OSError) as failure:
        raise CorruptStore(place, str(failure)) from failure


def checksum(data: pa.Buffer | bytes | memoryview) -> int:
    """The checksum under which bytes are stored."""
    return zlib.crc32(data)


class ChunkFile:
    """The file that one handle appends large columns to. Bytes that nothing refers to are never looked at."""

    def __init__(self, directory: Path, prefix: str) -> None:
        self._directory = directory
        self._prefix = prefix
        self._lock = threading.Lock()
        self._syncer: ThreadPoolExecutor | None = None
        self._descriptor: int | None = None
        self._count = 0
        self._end = 0
        self.name = ""

    def append(self, pieces: Sequence[pa.Buffer]) -> tuple[str, int, list[int]]:
        """Write bytes and sync them; the name of their file, where in it they begin, and their checksums.

        The sums are made while the disk is at work.
        """
        with self._lock:
            try:
                descriptor = self._opened()
                begin = self._end
                for piece in pieces:
                    view = memoryview(piece)
                    while view:
                        written = os.pwrite(descriptor, view, self._end)
                        self._end += written
                        view = view[written:]
                if self._syncer is None:
                    self._syncer = ThreadPoolExecutor(1, "archetype-chunk")
                synced = self._syncer.submit(os.fdatasync, descriptor)
                try:
                    sums = [checksum(piece) for piece in pieces]
                finally:
                    synced.result()
            except BaseException:
                # After a failed sync nobody knows what of the file is on disk: what follows goes into another.
                self._leave()
                raise
            return self.name, begin, sums

    def _opened(self) -> int:
        if self._descriptor is not None and self._end >= FILE_BYTES:
            self._leave()
        if self._descriptor is None:
            self._count += 1
            self.name = f"{self._prefix}-{self._count}.chunk"
            path = self._directory / self.name
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            self._end = 0
            sync_directory(self._directory)
        return self._descriptor

    def _leave(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def close(self) -> None:
        """Let go of the file; idempotent."""
        with self._lock:
            self._leave()
            if self._syncer is not None:
                self._syncer.shutdown()
                self._syncer = None


def read_file(path: Path, offset: int, length: int) -> pa.Buffer:
    """Some bytes of a chunk's file."""
    try:
        with path.open("rb", buffering=0) as file:
            data = os.pread(file.fileno(), length, offset)
            while len(data) < length and (more := os.pread(file.fileno(), length - len(data), offset + len(data))):
                data += more
    except OSError as failure:
        raise CorruptStore(str(path), str(failure)) from failure
    if len(data) != length:
        raise CorruptStore(str(path), f"it ends at {offset + len(data)}, before {offset + length}")
    return pa.py_buffer(data)
