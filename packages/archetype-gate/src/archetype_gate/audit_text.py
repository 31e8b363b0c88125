"""The texts of an audit row: what a command says, shortened if it is long, and why it failed."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from archetype_core.command import Command
from archetype_core.telemetry import error_text
from archetype_gate import command_codec

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


def failure_reason(failure: BaseException) -> str:
    """Return the type and text of an exception, for an audit row or a result."""
    return f"{type(failure).__name__}: {error_text(failure)}"
