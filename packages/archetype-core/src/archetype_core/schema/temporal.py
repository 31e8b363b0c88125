"""Codecs of dates, durations and datetimes.

A plain `datetime` field holds naive and aware values, and Arrow has no such type. It is stored in two parts: `at`, the UTC
instant of an aware value or the wall time of a naive one, and `zone`: null (naive), "fold=1" (naive, the second of two equal
wall times), "UTC", an offset ("+05:30") or an IANA key ("Europe/Berlin").
"""

from __future__ import annotations

import datetime as dt
import functools
import re
from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pyarrow as pa

from archetype_core.schema.scalar import Codec, Refusal, clip, wrong_type

SECOND = "fold=1"
"""The stored zone of a naive value whose ``fold`` is 1."""
UNIT_US = {"s": 1_000_000, "ms": 1_000, "us": 1}
_MICROSECOND = dt.timedelta(microseconds=1)
_EPOCH = dt.datetime(1970, 1, 1)
_DURATION_FORM = re.compile(r"(-?)PT(\d+)(?:\.(\d{1,6}))?S")
_OFFSET = re.compile(r"([+-])(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{6}))?)?$")
_BRACKETED = re.compile(r"([^\[\]]+)\[([^\[\]]+)\]")


@functools.lru_cache(maxsize=1024)
def zone_named(name: str) -> dt.tzinfo:
    """Return the zone of a stored name; `Refusal` if it is unknown here."""
    if name == "UTC":
        return dt.UTC
    if name[:1] in "+-":
        try:
            return _offset(_OFFSET.fullmatch(name))
        except ValueError:
            pass
    else:
        try:
            return ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            pass
    raise Refusal(f"{clip(name)} is not a known time zone: use 'UTC', '+05:30' or an IANA key, or install tzdata")


def _offset(form: re.Match[str] | None) -> dt.timezone:
    # CPython's own parser reads an offset below a second as UTC (seen in 3.11)
    if form is None:
        raise ValueError
    hours, minutes, seconds, micros = (int(part or 0) for part in form.groups()[1:])
    size = dt.timedelta(hours=hours, minutes=minutes, seconds=seconds, microseconds=micros)
    return dt.timezone(-size if form[1] == "-" else size)


def _zone_of(form: re.Match[str]) -> dt.tzinfo:
    offset = _offset(form)
    return offset if offset.utcoffset(None) else dt.UTC


def _offset_name(offset: dt.timedelta) -> str:
    return dt.datetime(2000, 1, 1, tzinfo=dt.timezone(offset)).isoformat()[19:] if offset else "UTC"


def split(value: Any) -> tuple[dt.datetime, str | None]:
    """Return the stored `at` and `zone` of a datetime."""
    if not isinstance(value, dt.datetime):
        raise wrong_type("datetime", value)
    offset = value.utcoffset()
    wall = value.replace(tzinfo=None, fold=0)
    if offset is None:
        return wall, SECOND if value.fold else None
    try:
        at = wall - offset
    except OverflowError:
        raise Refusal(f"{value.isoformat()} is out of range as a UTC instant") from None
    key = value.tzinfo.key if isinstance(value.tzinfo, ZoneInfo) else None
    return at, key if key and _leads_back(at, key, wall) else _offset_name(offset)


def _leads_back(at: dt.datetime, key: str, wall: dt.datetime) -> bool:
    # a wall time that the zone skips cannot be computed from its instant; its offset keeps both
    try:
        return join(at, key).replace(tzinfo=None, fold=0) == wall
    except Refusal:
        return False


def join(at: dt.datetime, zone: str | None) -> dt.datetime:
    """Undo `split`."""
    if zone is None or zone == SECOND:
        return at if zone is None else at.replace(fold=1)
    tz = zone_named(zone)
    return at.replace(tzinfo=dt.UTC).astimezone(tz)


def to_iso(value: dt.datetime) -> str:
    """Return RFC 9557 text: ISO 8601, with the IANA key in brackets where there is one."""
    at, zone = split(value)
    aware = join(at, zone)
    if zone == SECOND:
        return f"{aware.isoformat()}[{SECOND}]"
    return aware.isoformat() if zone is None or zone == "UTC" or zone[0] in "+-" else f"{aware.isoformat()}[{zone}]"


def from_iso(raw: Any) -> Any:
    """Undo `to_iso`; reads other ISO text too, and passes anything else through."""
    if not isinstance(raw, str):
        return raw
    form = _BRACKETED.fullmatch(raw)
    try:
        value = dt.datetime.fromisoformat(raw if form is None else form[1])
        if form is not None and form[2] == SECOND:
            return value.replace(fold=1)
        if form is not None:
            return value.astimezone(zone_named(form[2]))
        offset = _OFFSET.search(raw)
        return value if offset is None else value.replace(tzinfo=_zone_of(offset))
    except (ValueError, OverflowError) as exc:
        if isinstance(exc, Refusal):
            raise
        return raw


class Moment(Codec):
    """A plain `datetime`, naive or aware: a struct of `at` and `zone`, or two columns as a field of a component."""

    def __init__(self) -> None:
        super().__init__(pa.struct([pa.field("at", pa.timestamp("us")), pa.field("zone", pa.large_string())]))

    @staticmethod
    def at(value: Any) -> Any:
        """Return the instant or wall time."""
        return split(value)[0]

    @staticmethod
    def zone(value: Any) -> Any:
        """Return the zone's name; None for a naive value."""
        return split(value)[1]

    def encode(self, value: Any) -> Any:
        at, zone = split(value)
        return {"at": at, "zone": zone}

    def decode(self, stored: Any) -> Any:
        return join(stored["at"], stored["zone"])

    def to_json(self, value: Any) -> Any:
        return to_iso(value)

    def from_json(self, raw: Any) -> Any:
        if isinstance(raw, Mapping) and raw.keys() == {"at", "zone"} and isinstance(raw["at"], dt.datetime):
            return join(raw["at"], raw["zone"])
        return from_iso(raw)


class Instant(Codec):
    """A `datetime` in one timestamp column: aware values, converted to its zone, or naive ones if it has none."""

    def __init__(self, arrow_type: pa.DataType) -> None:
        super().__init__(arrow_type)
        self._zone = None if arrow_type.tz is None else zone_named(arrow_type.tz)
        self._unit_us = UNIT_US[arrow_type.unit]

    def encode(self, value: Any) -> Any:
        at, _ = split(value)
        if (value.utcoffset() is None) is not (self._zone is None):
            kinds = ("a naive", "an aware") if self._zone is None else ("an aware", "a naive")
            raise Refusal(f"expected {kinds[0]} datetime, got {kinds[1]} one ({value.isoformat()})")
        if (at - _EPOCH) // _MICROSECOND % self._unit_us:
            raise Refusal(f"{value.isoformat()} is finer than {self.type}")
        if self._zone is None:
            return at
        aware = at.replace(tzinfo=dt.UTC)
        try:
            aware.astimezone(self._zone)
        except OverflowError:
            raise Refusal(f"{value.isoformat()} is out of range in {self.type}") from None
        return aware

    def decode(self, stored: Any) -> Any:
        return stored if self._zone is None else stored.astimezone(self._zone)

    def to_json(self, value: Any) -> Any:
        return to_iso(value)

    def from_json(self, raw: Any) -> Any:
        return from_iso(raw)


class Date(Codec):
    """`date`."""

    def encode(self, value: Any) -> Any:
        if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
            return value
        raise wrong_type("date", value)

    def to_json(self, value: Any) -> Any:
        return value.isoformat()


class Duration(Codec):
    """`timedelta`, in JSON as ISO 8601 seconds ("-PT1.500000S")."""

    def __init__(self, arrow_type: pa.DataType) -> None:
        super().__init__(arrow_type)
        self._unit_us = UNIT_US[arrow_type.unit]

    def encode(self, value: Any) -> Any:
        if not isinstance(value, dt.timedelta):
            raise wrong_type("timedelta", value)
        count, rest = divmod(value // _MICROSECOND, self._unit_us)
        if rest:
            raise Refusal(f"{value} is finer than {self.type}")
        # Arrow and NumPy use the least int64 as "not a time"
        if not -(2**63) < count < 2**63:
            raise Refusal(f"{value} is out of range of {self.type}")
        return value

    def to_json(self, value: Any) -> Any:
        count = value // _MICROSECOND
        seconds, micros = divmod(abs(count), 1_000_000)
        return f"{'-' if count < 0 else ''}PT{seconds}.{micros:06d}S"

    def from_json(self, raw: Any) -> Any:
        form = _DURATION_FORM.fullmatch(raw) if isinstance(raw, str) else None
        if form is None:
            return raw
        try:
            size = dt.timedelta(seconds=int(form[2]), microseconds=int((form[3] or "0").ljust(6, "0")))
        except OverflowError:
            return raw
        return -size if form[1] else size
