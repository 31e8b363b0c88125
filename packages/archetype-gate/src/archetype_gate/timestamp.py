"""Moments as whole microseconds since 1970 in UTC, which is how they are kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def micros(moment: datetime) -> int:
    """A moment as it is kept."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def moment(micros: int) -> datetime:
    """What was kept, as a moment."""
    return _EPOCH + timedelta(microseconds=micros)
