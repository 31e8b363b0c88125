"""The record of a tick: what it wrote and where the bytes are, as one blob with a checksum that covers its row's id."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from archetype_core.errors import CorruptStore
from archetype_journal.attempt import pack_attempt, unpack_attempt
from archetype_journal.chunk import checksum

TICK_BITS = 40
"""A row's id is ``segment_id << TICK_BITS | (tick - first_tick)``."""

_HEAD = struct.Struct("<IqqqIIII")
_WRITE = struct.Struct("<IqqI")
_PLACE = struct.Struct("<qqqIB")
_SPAN = struct.Struct("<Iqq")
_INLINE, _ELSEWHERE = b"i", b"p"

Place = tuple[int, int, int, int, int]
"""Where the bytes of a column or continuation are: source, offset, length, checksum, encoding.

The source is the id of the tick row that holds them, or the negative id of a chunk file.
"""

Continuation = bytes | Place
"""A continuation, or where its bytes are if they are many."""

WriteSpans = Mapping[int, tuple[int, int]]
"""For each table of a segment, by id: the ticks of its first and its newest write."""


def row_id(segment: int, tick: int) -> int:
    """The id of a tick's row; ``tick`` counts from the segment's first."""
    return segment << TICK_BITS | tick


@dataclass(frozen=True, slots=True)
class TableWrite:
    """What a tick wrote to one table: how many rows of either kind, and the places of the live columns, then the tombstones'."""

    live: int
    tombstones: int
    places: tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class TickRecord:
    """What the journal stores about a tick; ticks count from the segment's first.

    Only some records list ``write_spans``. ``listed_at`` is the newest tick, this one or an earlier one, that does.
    """

    next_entity_id: int
    applied: tuple[str, ...]
    attempt: str
    continuation: Continuation
    listed_at: int
    writes: Mapping[int, TableWrite]
    write_spans: WriteSpans | None


def pack(number: int, record: TickRecord) -> bytes:
    """A record as the blob that goes into the row with that id."""
    applied = json.dumps(record.applied).encode() if record.applied else b""
    attempt = pack_attempt(record.attempt)
    spans = record.write_spans or {}
    counts = (len(record.writes), len(spans), len(applied), len(attempt))
    # Without its first field, the checksum of everything after it.
    pieces = [_HEAD.pack(0, number, record.next_entity_id, record.listed_at, *counts)[4:]]
    for table, write in record.writes.items():
        pieces.append(_WRITE.pack(table, write.live, write.tombstones, len(write.places)))
        pieces += [_PLACE.pack(*place) for place in write.places]
    pieces += [_SPAN.pack(table, *ticks) for table, ticks in spans.items()]
    pieces += [applied, attempt, _pack_continuation(record.continuation)]
    body = b"".join(pieces)
    return checksum(body).to_bytes(4, "little") + body


def unpack(number: int, blob: object, where: str) -> TickRecord:
    """The record in the row with that id; ``CorruptStore`` if the blob is damaged or another row's."""
    if not isinstance(blob, bytes) or len(blob) < _HEAD.size:
        raise CorruptStore(where, "its row is missing" if blob is None else "its row has no record")
    crc, found, next_entity_id, listed_at, write_count, span_count, applied, attempt = _HEAD.unpack_from(blob)
    if checksum(memoryview(blob)[4:]) != crc or found != number:
        raise CorruptStore(where, "the checksum of its row does not match")
    at = _HEAD.size
    writes: dict[int, TableWrite] = {}
    for _ in range(write_count):
        table, live, tombstones, count = _WRITE.unpack_from(blob, at)
        at += _WRITE.size
        end = at + count * _PLACE.size
        writes[table] = TableWrite(live, tombstones, tuple(_PLACE.iter_unpack(blob[at:end])))
        at = end
    end = at + span_count * _SPAN.size
    spans = {table: (first, newest) for table, first, newest in _SPAN.iter_unpack(blob[at:end])}
    ids = tuple(json.loads(blob[end : end + applied])) if applied else ()
    at, end = end + applied, end + applied + attempt
    by, continuation = unpack_attempt(blob[at:end]), _unpack_continuation(blob[end:])
    tick = number & ((1 << TICK_BITS) - 1)
    return TickRecord(next_entity_id, ids, by, continuation, listed_at, writes, spans if listed_at == tick else None)


def _pack_continuation(continuation: Continuation) -> bytes:
    if not continuation:
        return b""
    return _INLINE + continuation if isinstance(continuation, bytes) else _ELSEWHERE + _PLACE.pack(*continuation)


def _unpack_continuation(data: bytes) -> Continuation:
    if data[:1] == _ELSEWHERE:
        source, offset, length, crc, encoding = _PLACE.unpack_from(data, 1)
        return source, offset, length, crc, encoding
    return data[1:]
