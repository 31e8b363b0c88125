"""Entity commands as bytes, so that they survive the process that accepted them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from datetime import date, datetime, timedelta
from decimal import Decimal
from types import NoneType
from typing import Any
from uuid import UUID

import pyarrow as pa

from archetype_core.command import (
    AddComponents,
    Custom,
    Despawn,
    EntityCommand,
    RemoveComponents,
    Send,
    Spawn,
    SpawnMany,
    SpawnTable,
    Update,
)
from archetype_core.engine import conformed
from archetype_core.errors import PayloadError, SignatureError, ValueRejected
from archetype_core.schema import Archetype, Component, fields_of, owned, resolve

_ROWS = "__rows"


def encode(command: EntityCommand[Any]) -> bytes:
    """A command's data; ``ValueRejected`` for what cannot be written down."""
    if isinstance(command, SpawnTable):
        # A table of tags has no column that could tell how many rows it has.
        columns = {name: command.table.column(name) for name in command.table.column_names}
        table = pa.table({**columns, _ROWS: pa.nulls(command.table.num_rows)})
        table = table.replace_schema_metadata(command.archetype.schema.metadata)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return bytes(sink.getvalue())
    try:
        return text(command.describe()).encode()
    except UnicodeEncodeError as failure:
        raise ValueRejected("command", "*", f"text that cannot be stored: {failure}") from failure


def recorded(command: EntityCommand[Any]) -> Callable[[], bytes]:
    """What gives the data of a command that is staged now, encoded once and only when the ledger writes it.

    Components are captured as they are at this moment; other data is encoded at once, and refused if it is not JSON.
    """
    match command:
        case Spawn(components):
            made = _captured(components)
            return _Later(lambda: {"components": made()})
        case SpawnMany(bundles):
            kept = [_captured(bundle) for bundle in bundles]
            return _Later(lambda: {"bundles": [held() for held in kept]})
        case Update(entity_id, components):
            held = _captured(components, given_only=True)
            return _Later(lambda: {"entity_id": entity_id, "components": held()})
        case AddComponents(entity_id, components):
            added = _captured(components)
            return _Later(lambda: {"entity_id": entity_id, "components": added()})
    return deferred(command)


def deferred(command: EntityCommand[Any]) -> Callable[[], bytes]:
    """What gives a command's data; refuses now what cannot be written down later."""
    if isinstance(command, SpawnTable):
        return lambda: encode(command)
    payload = encode(command)
    return lambda: payload


class _Later:
    """A description as JSON, encoded when it is first called for."""

    __slots__ = ("_data", "_describe")

    def __init__(self, describe: Callable[[], Mapping[str, Any]]) -> None:
        self._describe = describe
        self._data: bytes | None = None

    def __call__(self) -> bytes:
        if self._data is None:
            self._data = text(self._describe()).encode()
        return self._data


_PLAIN = frozenset({bool, int, float, str, bytes, NoneType, datetime, date, timedelta, Decimal, UUID})
"""Types whose values nobody can change."""


def _captured(components: Iterable[Component], *, given_only: bool = False) -> Callable[[], list[dict[str, Any]]]:
    """The payloads of components as they are now."""
    kept: list[tuple[type[Component], dict[str, Any], frozenset[str] | None]] = []
    given: Iterable[object] = components
    for one in given:
        if not isinstance(one, Component):
            hint = " (the class: call it)" if isinstance(one, type) else ""
            raise SignatureError(f"an entity is made of component instances, not {one!r}{hint}")
        held = dict(one.__dict__)
        for name, value in held.items():
            if type(value) not in _PLAIN:
                held[name] = deepcopy(value)
        kept.append((type(one), held, frozenset(one.model_fields_set) if given_only else None))

    def payloads() -> list[dict[str, Any]]:
        return [
            {
                "type": cls.__name__,
                **{
                    field.name: field.codec.to_json(held[field.name])
                    for field in fields_of(cls.component_type())
                    if given is None or field.name in given
                },
            }
            for cls, held, given in kept
        ]

    return payloads


def settled(command: EntityCommand[Any]) -> EntityCommand[Any]:
    """A command with data of its own, that nobody goes on changing while it waits."""
    if not isinstance(command, SpawnTable):
        return command
    table = conformed(command.table, command.archetype)
    own = [owned(table.column(field.name)) for field in table.schema]
    if not own:
        return command
    return SpawnTable(pa.Table.from_arrays(own, schema=table.schema), command.archetype)


_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def text(described: Mapping[str, Any]) -> str:
    """A description as JSON; ``ValueRejected`` where it is none."""
    try:
        return _ENCODER.encode(described)
    except (TypeError, ValueError, RecursionError) as failure:
        raise ValueRejected("command", "*", f"not JSON: {failure}") from failure


def decode(form: str, payload: bytes) -> EntityCommand[Any]:
    """The command that was encoded; ``PayloadError`` where its components are not defined (any more)."""
    try:
        return _DECODERS[form](payload)
    except (KeyError, ValueError, TypeError, pa.ArrowException) as failure:
        if isinstance(failure, PayloadError):
            raise
        raise PayloadError(f"a stored {form} command cannot be read: {failure}") from failure


def _components(given: list[dict[str, Any]]) -> tuple[Component, ...]:
    return tuple(Component.from_payload(one) for one in given)


def _spawn_table(payload: bytes) -> SpawnTable:
    table = pa.ipc.open_stream(payload).read_all()
    return SpawnTable(table.drop_columns([_ROWS]), Archetype.from_schema(table.schema))


def _json(make: Callable[[Any], EntityCommand[Any]]) -> Callable[[bytes], EntityCommand[Any]]:
    return lambda payload: make(json.loads(payload))


_DECODERS: dict[str, Callable[[bytes], EntityCommand[Any]]] = {
    "Spawn": _json(lambda data: Spawn(_components(data["components"]))),
    "SpawnMany": _json(lambda data: SpawnMany(tuple(map(_components, data["bundles"])))),
    "SpawnTable": _spawn_table,
    "Despawn": _json(lambda data: Despawn(tuple(data["entity_ids"]))),
    "Update": _json(lambda data: Update(data["entity_id"], _components(data["components"]))),
    "AddComponents": _json(lambda data: AddComponents(data["entity_id"], _components(data["components"]))),
    "RemoveComponents": _json(
        lambda data: RemoveComponents(data["entity_id"], tuple(map(resolve, data["components"])))
    ),
    "Send": _json(lambda data: Send(data["recipient"], data["body"], data["sender"], data["kind"])),
    "Custom": _json(lambda data: Custom(data["name"], data["data"])),
}
"""By the name of the command's class."""
