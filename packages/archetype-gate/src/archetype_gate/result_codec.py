"""Encodes the results of commands that change something as text, so that they can be given again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any

from archetype_core.command import EpisodeResult, RolloutResult, RunResult, StepResult, Ticket, WorldInfo

_KINDS: Mapping[str, type] = {
    one.__name__: one for one in (EpisodeResult, RolloutResult, RunResult, StepResult, Ticket, WorldInfo)
}
_NOT_STORED = frozenset({"exception"})
"""What an episode raised cannot be stored; its text is."""


def encode(result: Any) -> str:
    """Encode a result."""
    return json.dumps(_plain(result))


def decode(text: str) -> Any:
    """Decode a result."""
    return _made(json.loads(text))


def _plain(value: Any) -> Any:
    kind = type(value).__name__
    if kind in _KINDS:
        named = {one.name: getattr(value, one.name) for one in fields(value) if one.name not in _NOT_STORED}
        return {kind: {name: _plain(one) for name, one in named.items()}}
    if isinstance(value, range):
        return {"range": [value.start, value.stop]}
    if isinstance(value, datetime):
        return {"datetime": value.isoformat()}
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return {"dict": dict(value)} if isinstance(value, Mapping) else value


def _made(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_made(one) for one in value)
    if not isinstance(value, dict):
        return value
    ((kind, inner),) = value.items()
    match kind:
        case "range":
            return range(*inner)
        case "datetime":
            return datetime.fromisoformat(inner)
        case "dict":
            return inner
    return _KINDS[kind](**{name: _made(one) for name, one in inner.items()})
