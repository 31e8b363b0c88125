"""Payloads of stored components whose classes are not there."""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from archetype_core.schema.component import ZONE_SUFFIX, ComponentType
from archetype_core.schema.scalar import Float
from archetype_core.schema.temporal import Duration, join, to_iso

_DURATION = Duration(pa.duration("us"))
_FLOAT = Float(pa.float64())


def stored_payload(kind: ComponentType, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a component of a stored row as JSON data, as ``Component.to_payload`` of its class would.

    ``row`` has the values as Arrow gives them. A datetime that is stored in two columns is one value.
    """
    start = len(kind.prefix) + 2
    names = [field.name for field in kind.fields]
    zones = {name for name in names if name.endswith(ZONE_SUFFIX) and name.removesuffix(ZONE_SUFFIX) in names}
    payload: dict[str, Any] = {"type": kind.name}
    for name in names:
        if name in zones:
            continue
        value, zone = row[name], name + ZONE_SUFFIX
        payload[name[start:]] = to_iso(join(value, row[zone])) if zone in zones and value is not None else _json(value)
    return payload


def _json(value: Any) -> Any:
    match value:
        case float():
            return _FLOAT.to_json(value)
        case None | bool() | int() | str():
            return value
        case bytes():
            return base64.b64encode(value).decode()
        case dt.datetime():
            return to_iso(value)
        case dt.date():
            return value.isoformat()
        case dt.timedelta():
            return _DURATION.to_json(value)
        case {"at": dt.datetime() as at, "zone": zone, **others} if not others:
            return to_iso(join(at, zone))
        case Mapping():
            return {name: _json(one) for name, one in value.items()}
        case list():
            return [_json(one) for one in value]
    return str(value)
