"""Messages between entities: sent in one tick, delivered in the next, and part of history (G7).

They are rows of their own table, with the recipient's ``entity_id`` and never active, so no query of entities returns them;
a query of ``Message`` does.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from archetype_core.argument import whole_number
from archetype_core.errors import ValueRejected
from archetype_core.schema.archetype import Archetype
from archetype_core.schema.component import Component
from archetype_core.schema.scalar import clip
from archetype_core.schema.snapshot import ENTITY_ID, Column, Snapshot

if TYPE_CHECKING:
    import numpy as np


class Message(Component):
    """The stored form of a message; ``entity_id`` is its recipient, ``body`` is JSON."""

    sender: int | None = None
    kind: str = ""
    body: str = "null"


LETTER_COLUMNS = ("tick", ENTITY_ID, "message__sender", "message__kind", "message__body")


@dataclass(frozen=True, slots=True)
class Letter:
    """A message that was sent."""

    recipient: int
    sender: int | None
    kind: str
    body: Any
    tick: int
    """The tick that it was sent in; the next one delivers it."""


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


def delivery(sent: Snapshot, tick: int) -> pa.Table:
    """Return the messages of a tick in the form of ``Letters``."""
    table = sent.to_arrow()
    return table.add_column(0, "tick", pa.repeat(pa.scalar(tick, pa.int64()), sent.num_rows)).select(LETTER_COLUMNS)


class Letters:
    """Messages in the order of sending. Bodies are decoded when they are read, each once."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    @cached_property
    def _letters(self) -> tuple[Letter, ...]:
        columns = [self._table.column(name).to_pylist() for name in LETTER_COLUMNS]
        return tuple(
            Letter(to, by, kind, json.loads(body), tick) for tick, to, by, kind, body in zip(*columns, strict=True)
        )

    @cached_property
    def _by_recipient(self) -> Mapping[int, tuple[Letter, ...]]:
        found: dict[int, list[Letter]] = {}
        for letter in self._letters:
            found.setdefault(letter.recipient, []).append(letter)
        return MappingProxyType({recipient: tuple(letters) for recipient, letters in found.items()})

    def to(self, recipient: int) -> tuple[Letter, ...]:
        """Return the messages to one entity, in the order of sending."""
        return self._by_recipient.get(recipient, ())

    def by_recipient(self) -> Mapping[int, tuple[Letter, ...]]:
        """Return the messages of every entity that has some, in the order of sending."""
        return self._by_recipient

    def to_arrow(self) -> pa.Table:
        """Return all messages: ``tick``, ``entity_id`` of the recipient, and the columns of ``Message``."""
        return self._table

    def __iter__(self) -> Iterator[Letter]:
        return iter(self._letters)

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __repr__(self) -> str:
        what = "message" if len(self) == 1 else "messages"
        return f"<{type(self).__name__}: {len(self)} {what}>"


class Mailbox(Letters):
    """A processor's messages: those sent in the tick before to entities of its frame, and ``send`` for the next one."""

    def __init__(
        self, table: pa.Table, entity_ids: pa.Array, send: Callable[[tuple[int, tuple[Any, ...]]], None]
    ) -> None:
        super().__init__(table)
        self._entity_ids = entity_ids
        self._send = send

    @cached_property
    def rows(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The row of each message's recipient in the frame, to combine messages with its columns."""
        import numpy as np

        found = pc.index_in(self._table.column(ENTITY_ID), value_set=self._entity_ids)
        return np.asarray(found.to_numpy(), np.int64)

    @cached_property
    def counts(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The number of messages to each row of the frame."""
        import numpy as np

        return np.bincount(self.rows, minlength=len(self._entity_ids))

    def of_kind(self, kind: str) -> Mailbox:
        """Return the messages of one kind only."""
        return Mailbox(self._table.filter(pc.field("message__kind") == kind), self._entity_ids, self._send)

    def send(self, recipient: int, body: Any, *, sender: int | None = None, kind: str = "") -> None:
        """Send a message; the next tick delivers it if this one commits. ``UnknownRecipient`` if there is no such entity."""
        self._send(encode(recipient, body, sender, kind))
