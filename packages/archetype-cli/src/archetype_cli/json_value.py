"""Values as JSON."""

from __future__ import annotations

import base64
import datetime as dt
import json
import math
import re
from decimal import Decimal
from typing import Any

from archetype_cli.safe_text import json_safe


def encoded(value: Any) -> str:
    """Return a value as one line of JSON. NaN and infinities are strings, as JSON has no numbers for them."""
    return json_safe(json.dumps(jsonable(value), ensure_ascii=False, allow_nan=False))


def jsonable(value: Any) -> Any:
    """Return a value made of what JSON has: bytes as base64, times as ISO 8601, NaN and infinities as strings."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return re.sub(r"\+00:00$", "Z", value.isoformat())
    if isinstance(value, dt.timedelta):
        return _duration(value)
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, dict) or hasattr(value, "items"):
        return {str(key): jsonable(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [jsonable(one) for one in value]
    return str(value)


def _duration(value: dt.timedelta) -> str:
    """A span of time as ISO 8601 has it, such as P1DT2.5S."""
    whole = abs(value)
    sign = "-" if value < dt.timedelta(0) else ""
    seconds = f"{whole.seconds}.{whole.microseconds:06}".rstrip("0").rstrip(".")
    if seconds == "0":
        return f"{sign}P{whole.days}D"
    return f"{sign}P{f'{whole.days}D' if whole.days else ''}T{seconds}S"
