"""Encodes entity commands as bytes, so that another process can apply them."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from copy import deepcopy
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import cache, lru_cache, partial
from types import NoneType
from typing import Any
from uuid import UUID

import pyarrow as pa
from pydantic_core import to_json as pydantic_to_json

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
    UpdateTable,
    described,
)
from archetype_core.engine import Changes, bundles_as_table, conformed
from archetype_core.errors import PayloadError, ValueRejected
from archetype_core.schema import Archetype, Component, fields_of, owned, resolve

Encoded = bytes | Callable[[], bytes]
"""The bytes of a command, or a function that returns them: tables and many bundles are encoded when they are written."""
_ROWS = "__rows"
"""A column of nulls that keeps the row count of a table without columns."""


def encode(command: EntityCommand[Any]) -> bytes:
    """Encode a command: a bulk spawn as Arrow IPC, others as JSON; ``ValueRejected`` for data that JSON cannot hold."""
    if isinstance(command, UpdateTable):
        return _ipc(command.data.to_arrow() if isinstance(command.data, Changes) else command.data)
    if isinstance(command, SpawnTable):
        columns = {name: command.table.column(name) for name in command.table.column_names}
        table = pa.table({**columns, _ROWS: pa.nulls(command.table.num_rows)})
        table = table.replace_schema_metadata(command.archetype.schema.metadata)
        return _ipc(table)
    try:
        return to_json(command.describe(), type(command).__name__).encode()
    except UnicodeEncodeError as failure:
        raise ValueRejected("command", "*", f"text that is not valid UTF-8: {failure}") from failure


def _ipc(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def staged_encoding(command: EntityCommand[Any]) -> Encoded:
    """Return a command of checked components as bytes, or what encodes it; many bundles keep their values as they are now."""
    describe = _DESCRIBED.get(type(command))
    if describe is not None:
        # At once: the audit needs it anyway, and bytes are nothing that the garbage collector has to look at.
        return pydantic_to_json(describe(command))
    if isinstance(command, SpawnMany):
        return _lazy_bundles([[_held(one) for one in bundle] for bundle in command.bundles])
    return checked_encoding(command)


def checked_encoding(command: EntityCommand[Any]) -> Encoded:
    """Return a command as bytes, or as a function that encodes a table; ``ValueRejected`` if it cannot be encoded."""
    return partial(encode, command) if isinstance(command, SpawnTable | UpdateTable) else encode(command)


_IMMUTABLE = frozenset({bool, int, float, str, bytes, NoneType, datetime, date, timedelta, Decimal, UUID})
"""Types whose values need no copy."""

Held = tuple[type[Component], dict[str, Any]]
"""The class of a component, and its values at one moment."""


def _held(component: Component) -> Held:
    values = component.__dict__.copy()
    for name, value in values.items():
        if type(value) not in _IMMUTABLE:
            values[name] = deepcopy(value)
    return type(component), values


def _lazy_bundles(bundles: list[list[Held]]) -> Callable[[], bytes]:
    """Return a function that encodes bundles on the first call, and returns the same bytes afterwards."""
    return cache(lambda: pydantic_to_json({"bundles": [[_payload(*one) for one in bundle] for bundle in bundles]}))


def _payloads(components: Iterable[Component]) -> list[dict[str, Any]]:
    return [_payload(type(one), one.__dict__) for one in components]


# Encoded values of checked components are JSON, so that the fast encoder can take them.
_DESCRIBED: Mapping[type, Callable[[Any], dict[str, Any]]] = {
    Spawn: lambda command: {"components": _payloads(command.components)},
    Update: lambda command: {
        **described(command.entities),
        "components": [_payload(type(one), one.__dict__, one.model_fields_set) for one in command.components],
    },
    AddComponents: lambda command: {**described(command.entities), "components": _payloads(command.components)},
    Despawn: lambda command: described(command.entities),
}


def _payload(cls: type[Component], values: Mapping[str, Any], names: Collection[str] | None = None) -> dict[str, Any]:
    made = {"type": cls.__name__}
    for name, to_json in _encoders(cls):
        if names is None or name in names:
            made[name] = to_json(values[name])
    return made


@lru_cache(maxsize=1024)
def _encoders(cls: type[Component]) -> list[tuple[str, Callable[[Any], Any]]]:
    return [(field.name, field.codec.to_json) for field in fields_of(cls.component_type())]


def with_own_values(command: SpawnMany | SpawnTable) -> SpawnMany | SpawnTable:
    """Return a bulk spawn as a table that is cast and copied, so that the caller cannot change it.

    Few bundles stay bundles, and so do those of several archetypes. ``SchemaMismatch`` if columns do not fit the archetype.
    """
    if isinstance(command, SpawnMany):
        made = bundles_as_table(command.bundles)
        return command if made is None else SpawnTable(*made)
    table = conformed(command.table, command.archetype)
    own = [owned(table.column(field.name)) for field in table.schema]
    if not own:
        return command
    return SpawnTable(pa.Table.from_arrays(own, schema=table.schema), command.archetype)


_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def to_json(description: Mapping[str, Any], command: str = "command") -> str:
    """Encode a command's description as JSON; ``ValueRejected`` names the part of it that JSON cannot hold."""
    try:
        return _ENCODER.encode(description)
    except (TypeError, ValueError, RecursionError) as failure:
        part = next((name for name, value in description.items() if not _is_json(value)), "*")
        raise ValueRejected(command, part, f"not JSON: {failure}") from None


def _is_json(value: Any) -> bool:
    try:
        _ENCODER.encode(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def decode(class_name: str, payload: bytes) -> EntityCommand[Any]:
    """Decode a command, given the name of its class; ``PayloadError`` if a component is not defined in this process."""
    try:
        return _DECODERS[class_name](payload)
    except (KeyError, ValueError, TypeError, pa.ArrowException) as failure:
        if isinstance(failure, PayloadError):
            raise
        raise PayloadError(f"a stored {class_name} command cannot be read: {failure}") from failure


def _components(given: list[dict[str, Any]]) -> tuple[Component, ...]:
    return tuple(Component.from_payload(one) for one in given)


def _entities(data: Mapping[str, Any]) -> int | pa.Array:
    return pa.array(data["entity_ids"], pa.int64()) if "entity_ids" in data else int(data["entity_id"])


def _spawn_table(payload: bytes) -> SpawnTable:
    table = pa.ipc.open_stream(payload).read_all()
    return SpawnTable(table.drop_columns([_ROWS]), Archetype.from_schema(table.schema))


def _json(make: Callable[[Any], EntityCommand[Any]]) -> Callable[[bytes], EntityCommand[Any]]:
    return lambda payload: make(json.loads(payload))


_DECODERS: dict[str, Callable[[bytes], EntityCommand[Any]]] = {
    "Spawn": _json(lambda data: Spawn(_components(data["components"]))),
    "SpawnMany": _json(lambda data: SpawnMany(tuple(map(_components, data["bundles"])))),
    "SpawnTable": _spawn_table,
    "Despawn": _json(lambda data: Despawn(_entities(data))),
    "Update": _json(lambda data: Update(_entities(data), _components(data["components"]))),
    "UpdateTable": lambda payload: UpdateTable(pa.ipc.open_stream(payload).read_all()),
    "AddComponents": _json(lambda data: AddComponents(_entities(data), _components(data["components"]))),
    "RemoveComponents": _json(lambda data: RemoveComponents(_entities(data), tuple(map(resolve, data["components"])))),
    "Send": _json(lambda data: Send(data["recipient"], data["body"], data["sender"], data["kind"])),
    "Custom": _json(lambda data: Custom(data["name"], data["data"])),
}
"""By the name of the command's class, as stored."""
