"""The row of a tick: what it wrote and where the bytes are, as one blob that knows whether it is whole and in its place."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from archetype_core.errors import CorruptStore
from archetype_journal.chunk import checksum

TICK_BITS = 40
"""A row's id is its segment's id and the tick, counted from the segment's first; one b-tree, no index to disagree with."""

_HEAD = struct.Struct("<IqqqIII")
_PART = struct.Struct("<IqqI")
_PLACE = struct.Struct("<qqqIB")
_ENTRY = struct.Struct("<Iqq")

Place = tuple[int, int, int, int, int]
"""Where a column's values are: a source, an offset and a length in it, their checksum, and the form of the bytes.

The source is the id of the tick's row that holds them, or the negative id of a file.
"""

Entries = Mapping[int, tuple[int, int]]
"""The tables of a segment, by form: the ticks of their first and their newest write, counted from the segment's first."""


def row_id(segment: int, tick: int) -> int:
    """The id of the row of a tick, counted from its segment's first."""
    return segment << TICK_BITS | tick


@dataclass(frozen=True, slots=True)
class Part:
    """What a tick wrote to one table: places of the active rows' columns, then of the tombstones'."""

    live: int
    gone: int
    places: tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class TickRecord:
    """A tick as it is stored. ``base`` is the newest tick, this one or an earlier, that carries ``entries``."""

    next_entity_id: int
    applied: tuple[str, ...]
    base: int
    parts: Mapping[int, Part]
    entries: Entries | None


def pack(number: int, record: TickRecord) -> bytes:
    """The blob of a record that goes into the row of that id."""
    applied = json.dumps(record.applied).encode() if record.applied else b""
    entries = record.entries or {}
    pieces = [
        _HEAD.pack(0, number, record.next_entity_id, record.base, len(record.parts), len(entries), len(applied))[4:]
    ]
    for form, part in record.parts.items():
        pieces.append(_PART.pack(form, part.live, part.gone, len(part.places)))
        pieces += [_PLACE.pack(*place) for place in part.places]
    pieces += [_ENTRY.pack(form, *ticks) for form, ticks in entries.items()]
    pieces.append(applied)
    body = b"".join(pieces)
    return checksum(body).to_bytes(4, "little") + body


def unpack(number: int, blob: object, where: str) -> TickRecord:
    """The record in the row of that id; ``CorruptStore`` if it is another row's, or not what was packed."""
    if not isinstance(blob, bytes) or len(blob) < _HEAD.size:
        raise CorruptStore(where, "its row is missing" if blob is None else "its row has no record")
    crc, found, next_entity_id, base, parts, entries, applied = _HEAD.unpack_from(blob)
    if checksum(memoryview(blob)[4:]) != crc or found != number:
        raise CorruptStore(where, "the checksum of its row does not match")
    at = _HEAD.size
    read: dict[int, Part] = {}
    for _ in range(parts):
        form, live, gone, count = _PART.unpack_from(blob, at)
        at += _PART.size
        end = at + count * _PLACE.size
        read[form] = Part(live, gone, tuple(_PLACE.iter_unpack(blob[at:end])))
        at = end
    end = at + entries * _ENTRY.size
    listed = {form: (first, last) for form, first, last in _ENTRY.iter_unpack(blob[at:end])}
    ids = tuple(json.loads(blob[end : end + applied])) if applied else ()
    tick = number & ((1 << TICK_BITS) - 1)
    return TickRecord(next_entity_id, ids, base, read, listed if base == tick else None)
