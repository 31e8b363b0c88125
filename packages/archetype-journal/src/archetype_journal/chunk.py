"""Columns as bytes with a checksum, and the chunk files that large columns are appended to."""

from __future__ import annotations

import os
import threading
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa

from archetype_core.errors import CorruptStore
from archetype_journal.disk import sync_directory

MAX_FILE_BYTES = 256 * 1024 * 1024
"""A file of this size gets a successor, so that space is freed in pieces."""


IPC_MESSAGE, RAW_VALUES = 0, 1
"""The encodings of a column: one Arrow IPC message, or its values alone."""


def encode(array: pa.Array, field: pa.Field) -> tuple[int, pa.Buffer]:
    """The encoding of a column and its bytes. The table's schema keeps the type.

    Numbers and instants without nulls, which most columns are, are neither copied nor wrapped.
    """
    kind = field.type
    if pa.types.is_primitive(kind) and kind.bit_width % 8 == 0 and array.null_count == 0:
        width = kind.bit_width // 8
        return RAW_VALUES, array.buffers()[1].slice(array.offset * width, len(array) * width)
    return IPC_MESSAGE, pa.RecordBatch.from_arrays([array], schema=pa.schema([field])).serialize()


def decode(data: pa.Buffer, encoding: int, crc: int, field: pa.Field, place: str) -> pa.Array:
    """The column that ``encode`` was given; ``CorruptStore`` if these are not its bytes."""
    if checksum(data) != crc:
        raise CorruptStore(place, "its checksum does not match")
    try:
        if encoding == RAW_VALUES:
            return pa.Array.from_buffers(field.type, data.size * 8 // field.type.bit_width, [None, data])
        return pa.ipc.read_record_batch(data, pa.schema([field])).column(0)
    # The checksum matches, so these are the bytes of another column: the reference is wrong.
    except (pa.ArrowInvalid, OSError) as failure:
        raise CorruptStore(place, str(failure)) from failure


def checksum(data: pa.Buffer | bytes | memoryview) -> int:
    """The checksum that is stored beside bytes."""
    return zlib.crc32(data)


class ChunkFile:
    """The file that one handle appends large columns to. Bytes that no tick refers to are never read."""

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
        """Write bytes and sync them. Returns the file's name, the offset of the first piece, and the pieces' checksums.

        Computes the checksums while the disk syncs.
        """
        with self._lock:
            try:
                descriptor = self._open_file()
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
                    checksums = [checksum(piece) for piece in pieces]
                finally:
                    synced.result()
            except BaseException:
                # After a failed sync the file's content on disk is unknown: the next bytes go into a new file.
                self._close_file()
                raise
            return self.name, begin, checksums

    def _open_file(self) -> int:
        if self._descriptor is not None and self._end >= MAX_FILE_BYTES:
            self._close_file()
        if self._descriptor is None:
            self._count += 1
            self.name = f"{self._prefix}-{self._count}.chunk"
            path = self._directory / self.name
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            self._end = 0
            sync_directory(self._directory)
        return self._descriptor

    def _close_file(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def close(self) -> None:
        """Close the file; idempotent."""
        with self._lock:
            self._close_file()
            if self._syncer is not None:
                self._syncer.shutdown()
                self._syncer = None


def read_chunk(path: Path, offset: int, length: int) -> pa.Buffer:
    """Some bytes of a chunk file; ``CorruptStore`` if the file does not have them."""
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
