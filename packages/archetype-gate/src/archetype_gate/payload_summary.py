"""What an audit row keeps of a long payload."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from archetype_core.command import Command
from archetype_gate import command_codec
from archetype_gate.live_world import failure_reason

_MAX_CHARACTERS = 16_384


def summarize(payload: str) -> str:
    """Return a payload as it is if it is short, else JSON with its size, its SHA-256 and its first characters."""
    if len(payload) <= _MAX_CHARACTERS:
        return payload
    data = payload.encode()
    return json.dumps({"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), "start": payload[:256]})


def describe_payload(command: Command[Any]) -> str:
    """Return the JSON that describes a command, also of one that cannot be described."""
    try:
        return summarize(command_codec.to_json(command.describe()))
    # The row of a refused command is written whatever the command contains.
    except Exception as failure:  # noqa: BLE001  # reason: reported in the row
        return command_codec.to_json({"unreadable": failure_reason(failure)})
