"""Messages between entities: sent in one tick, delivered in the next, and part of history (G7).

They are rows of their own table, with the recipient's ``entity_id`` and never active, so no query of entities returns them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from archetype_core.argument import whole_number
from archetype_core.errors import ValueRejected
from archetype_core.schema.archetype import Archetype
from archetype_core.schema.component import Component
from archetype_core.schema.scalar import clip
from archetype_core.schema.snapshot import ENTITY_ID, Column, Snapshot


class Message(Component):
    """The stored form of a message; ``entity_id`` is its recipient, ``body`` is JSON."""

    sender: int | None = None
    kind: str = ""
    body: str = "null"


@dataclass(frozen=True, slots=True)
class Letter:
    """A delivered message."""

    recipient: int
    sender: int | None
    kind: str
    body: Any


def encode(recipient: int, body: Any, sender: int | None, kind: str) -> tuple[int, tuple[Any, ...]]:
    """Return the staged form of a message; ``ValueRejected`` for a body that is not JSON."""
    recipient = checked_entity("recipient", recipient)
    sender = None if sender is None else checked_entity("sender", sender)
    if not isinstance(kind, str):
        raise ValueRejected("Message", "kind", f"expected str, got {type(kind).__name__}")
    try:
        text = json.dumps(body, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as failure:
        raise ValueRejected("Message", "body", f"not JSON: {failure}") from failure
    row = Message.component_type().values(Message(sender=sender, kind=kind, body=text))
    return recipient, row


def checked_entity(field: str, entity_id: Any) -> int:
    """Return the id of a recipient or sender as a plain int; ``ValueRejected`` if it is none."""
    try:
        checked = whole_number(entity_id, field)
    except TypeError:
        raise ValueRejected("Message", field, f"expected an entity id (int), got {clip(entity_id)}") from None
    if not -(2**63) <= checked < 2**63:
        raise ValueRejected("Message", field, f"{checked} does not fit int64")
    return checked


def rows(staged: Sequence[tuple[int, tuple[Any, ...]]]) -> Snapshot:
    """Return staged messages as rows of the message table, in the order of sending."""
    archetype = Archetype.of(Message)
    kind = Message.component_type()
    arrays = [pa.array([to for to, _ in staged], pa.int64()), *kind.arrays([row for _, row in staged])]
    names = [ENTITY_ID, *(field.name for field in kind.fields)]
    return Snapshot(archetype, {name: Column(array) for name, array in zip(names, arrays, strict=True)}, len(staged))


class Mailbox:
    """A processor's messages: those sent in the tick before, and ``send`` for the next one."""

    def __init__(self, delivered: Snapshot | None, send: Callable[[tuple[int, tuple[Any, ...]]], None]) -> None:
        self._delivered = delivered
        self._letters: tuple[Letter, ...] | None = None
        self._send = send

    def send(self, recipient: int, body: Any, *, sender: int | None = None, kind: str = "") -> None:
        """Send a message; the next tick delivers it if this one commits."""
        self._send(encode(recipient, body, sender, kind))

    def to(self, recipient: int) -> tuple[Letter, ...]:
        """Return the messages to one entity, in the order of sending."""
        return tuple(letter for letter in self if letter.recipient == recipient)

    def to_arrow(self) -> pa.Table:
        """Return all messages: ``entity_id`` of the recipient, ``message__sender``, ``message__kind``, ``message__body``."""
        return (self._delivered or Snapshot.empty(Archetype.of(Message))).to_arrow()

    def __iter__(self) -> Iterator[Letter]:
        if self._letters is None:
            names = (ENTITY_ID, "message__sender", "message__kind", "message__body")
            columns = [self.to_arrow().column(name).to_pylist() for name in names]
            self._letters = tuple(
                Letter(to, by, kind, json.loads(body)) for to, by, kind, body in zip(*columns, strict=True)
            )
        return iter(self._letters)

    def __len__(self) -> int:
        return self._delivered.num_rows if self._delivered is not None else 0
