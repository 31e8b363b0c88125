"""Payloads as audit rows keep them: whole while they are short, and told by size and hash when they are not."""

from __future__ import annotations

import hashlib
import json

_LONG = 16_384


def summary(payload: str) -> str:
    """A payload for the record."""
    if len(payload) <= _LONG:
        return payload
    data = payload.encode()
    return json.dumps({"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), "start": payload[:256]})
