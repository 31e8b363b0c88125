"""The files of the log: a header, where rows lie, and what ticks left behind, under one checksum."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from archetype_core.errors import CommitError, CorruptStore

_MAGIC = b"ARCLANCE"
FORMAT = 2

TILES = pa.schema(
    [
        pa.field("branch", pa.int64(), nullable=False),
        pa.field("table", pa.int64(), nullable=False),
        pa.field("first", pa.int64(), nullable=False),
        pa.field("ticks", pa.int64(), nullable=False),
        pa.field("start", pa.int64(), nullable=False),
        pa.field("live", pa.int64(), nullable=False),
        pa.field("gone", pa.int64(), nullable=False),
        pa.field("ids", pa.int64(), nullable=False),
    ]
)
MARKS = pa.schema(
    [
        pa.field("branch", pa.int64(), nullable=False),
        pa.field("tick", pa.int64(), nullable=False),
        pa.field("next_entity_id", pa.int64(), nullable=False),
        pa.field("applied", pa.list_(pa.large_string()), nullable=False),
    ]
)
"""What the world needs to go on after a tick; one row holds for the ticks after it as well, until the next row."""


@dataclass(frozen=True, slots=True)
class CommitRecord:
    """One file of the log."""

    header: Mapping[str, Any]
    tiles: pa.Table
    marks: pa.Table

    @classmethod
    def plain(cls, header: Mapping[str, Any]) -> CommitRecord:
        """A record that is about no ticks."""
        return cls(header, TILES.empty_table(), MARKS.empty_table())


def encode(record: CommitRecord) -> bytes:
    """The bytes of a file."""
    sink = pa.BufferOutputStream()
    header = json.dumps({"format": FORMAT, **record.header}, separators=(",", ":")).encode()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    sink.write(len(header).to_bytes(8, "little") + header)
    for table in (record.tiles, record.marks):
        with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
            writer.write_table(table)
    payload: bytes = sink.getvalue().to_pybytes()
    return _MAGIC + hashlib.sha256(payload).digest() + payload


def digest_of(data: bytes) -> str:
    """The checksum that the next record names."""
    return data[8:40].hex()


def decode(data: bytes, where: str) -> CommitRecord:
    """What a file says; ``CorruptStore`` unless it is as it was written."""
    payload = data[40:]
    if data[:8] != _MAGIC or hashlib.sha256(payload).digest() != data[8:40]:
        raise CorruptStore(where, "its checksum does not fit its bytes")
    size = int.from_bytes(payload[:8], "little")
    header = json.loads(payload[8 : 8 + size])
    if header["format"] > FORMAT:
        raise CommitError(f"{where} is of format {header['format']}, this version knows {FORMAT}: install a newer one")
    source = pa.BufferReader(pa.py_buffer(payload)[8 + size :])
    tiles, marks = (pa.ipc.open_stream(source).read_all() for _ in range(2))
    return CommitRecord(header, tiles, marks)
