"""The format of a log file: a JSON header, row groups and tick entries under one checksum."""

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

ROW_GROUPS = pa.schema(
    [
        pa.field("segment", pa.int64(), nullable=False),
        pa.field("table", pa.int64(), nullable=False),
        pa.field("first", pa.int64(), nullable=False),
        pa.field("ticks", pa.int64(), nullable=False),
        pa.field("start", pa.int64(), nullable=False),
        pa.field("live", pa.int64(), nullable=False),
        pa.field("tombstones", pa.int64(), nullable=False),
        pa.field("ids_hash", pa.int64(), nullable=False),
    ]
)
"""A row per row group: its segment and table by number, then the fields of ``RowGroup``."""
TICKS = pa.schema(
    [
        pa.field("segment", pa.int64(), nullable=False),
        pa.field("tick", pa.int64(), nullable=False),
        pa.field("next_entity_id", pa.int64(), nullable=False),
        pa.field("applied", pa.list_(pa.large_string()), nullable=False),
        pa.field("attempt", pa.binary(), nullable=False),
        pa.field("continuation", pa.large_binary(), nullable=False),
    ]
)
"""What a tick has beside rows. An entry also holds for the ticks after it, up to the segment's next entry.

The attempt is packed by ``archetype_journal.pack_attempt``.
"""


@dataclass(frozen=True, slots=True)
class CommitRecord:
    """The contents of one log file."""

    header: Mapping[str, Any]
    row_groups: pa.Table
    ticks: pa.Table

    @classmethod
    def of_header(cls, header: Mapping[str, Any]) -> CommitRecord:
        """A record without ticks."""
        return cls(header, ROW_GROUPS.empty_table(), TICKS.empty_table())


def encode(record: CommitRecord) -> bytes:
    """Encode a record as the bytes of a file."""
    sink = pa.BufferOutputStream()
    header = json.dumps({"format": FORMAT, **record.header}, separators=(",", ":")).encode()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    sink.write(len(header).to_bytes(8, "little") + header)
    for table in (record.row_groups, record.ticks):
        with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
            writer.write_table(table)
    payload: bytes = sink.getvalue().to_pybytes()
    return _MAGIC + hashlib.sha256(payload).digest() + payload


def checksum(data: bytes) -> str:
    """The checksum that a file carries, by which the next record refers to it."""
    return data[8:40].hex()


def decode(data: bytes, where: str) -> CommitRecord:
    """Decode the bytes of a file; ``CorruptStore`` if they were changed, ``CommitError`` if the format is not ours."""
    payload = data[40:]
    if data[:8] != _MAGIC or hashlib.sha256(payload).digest() != data[8:40]:
        raise CorruptStore(where, "its checksum does not match its bytes")
    size = int.from_bytes(payload[:8], "little")
    header = json.loads(payload[8 : 8 + size])
    if header["format"] != FORMAT:
        raise CommitError(
            f"{where} has log format {header['format']}; this version of archetype-store-lance reads format {FORMAT}: "
            "open the store with the version that wrote it"
        )
    source = pa.BufferReader(pa.py_buffer(payload)[8 + size :])
    row_groups, ticks = (pa.ipc.open_stream(source).read_all() for _ in range(2))
    return CommitRecord(header, row_groups, ticks)
