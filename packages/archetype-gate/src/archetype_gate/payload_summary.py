"""What an audit row keeps of a long payload."""

from __future__ import annotations

import hashlib
import json

_MAX_CHARACTERS = 16_384


def summarize(payload: str) -> str:
    """Return a payload as it is if it is short, else JSON with its size, its SHA-256 and its first characters."""
    if len(payload) <= _MAX_CHARACTERS:
        return payload
    data = payload.encode()
    return json.dumps({"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), "start": payload[:256]})
