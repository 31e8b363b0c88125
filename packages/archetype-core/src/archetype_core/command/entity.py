"""Commands that change entities. They are staged for the next tick, or queued for a later one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from archetype_core.argument import DESPAWN_SEVERAL, checked_id
from archetype_core.command.command import Command, R, names
from archetype_core.errors import SignatureError
from archetype_core.schema.archetype import Archetype
from archetype_core.schema.component import Component
from archetype_core.schema.message import checked_entity


@dataclass(frozen=True, slots=True)
class EntityCommand(Command[R]):
    """A command that a world's next tick can apply."""

    is_deferrable: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class Spawn(EntityCommand[int]):
    """Spawn an entity; the result is its id."""

    kind: ClassVar[str] = "spawn"
    components: tuple[Component, ...]

    def describe(self) -> Mapping[str, Any]:
        return {"components": [payload(one) for one in self.components]}


@dataclass(frozen=True, slots=True)
class SpawnMany(EntityCommand[range]):
    """Spawn one entity per bundle of components, all or none; the result is their ids in order."""

    kind: ClassVar[str] = "spawn"
    bundles: tuple[tuple[Component, ...], ...]

    @property
    def weight(self) -> int:
        return max(1, len(self.bundles))

    def describe(self) -> Mapping[str, Any]:
        return {"bundles": [[payload(one) for one in bundle] for bundle in self.bundles]}


@dataclass(frozen=True, slots=True)
class SpawnTable(EntityCommand[range]):
    """Spawn one entity per row of an Arrow table with the archetype's columns; the result is their ids in order."""

    kind: ClassVar[str] = "spawn"
    table: pa.Table
    archetype: Archetype

    @property
    def weight(self) -> int:
        return max(1, int(self.table.num_rows))

    def describe(self) -> Mapping[str, Any]:
        return {"rows": self.table.num_rows, "components": [kind.name for kind in self.archetype.components]}


@dataclass(frozen=True, slots=True)
class Despawn(EntityCommand[None]):
    """Despawn entities; one that is not alive is skipped."""

    kind: ClassVar[str] = "despawn"
    entity_ids: tuple[int, ...]

    @property
    def weight(self) -> int:
        return max(1, len(self.entity_ids))

    def describe(self) -> Mapping[str, Any]:
        return {"entity_ids": [checked_id(one, DESPAWN_SEVERAL) for one in self.entity_ids]}


@dataclass(frozen=True, slots=True)
class Update(EntityCommand[None]):
    """Change components that an entity has: the given fields; all others stay."""

    kind: ClassVar[str] = "update"
    entity_id: int
    components: tuple[Component, ...]

    def describe(self) -> Mapping[str, Any]:
        return {"entity_id": checked_id(self.entity_id), "components": [given_payload(one) for one in self.components]}


@dataclass(frozen=True, slots=True)
class AddComponents(EntityCommand[None]):
    """Add components to an entity; those it already has stay unchanged."""

    kind: ClassVar[str] = "add_component"
    entity_id: int
    components: tuple[Component, ...]

    def describe(self) -> Mapping[str, Any]:
        return {"entity_id": checked_id(self.entity_id), "components": [payload(one) for one in self.components]}


@dataclass(frozen=True, slots=True)
class RemoveComponents(EntityCommand[None]):
    """Remove components from an entity; the last one cannot be removed."""

    kind: ClassVar[str] = "remove_component"
    entity_id: int
    components: tuple[type[Component], ...]

    def describe(self) -> Mapping[str, Any]:
        return {"entity_id": checked_id(self.entity_id), "components": names(self.components)}


@dataclass(frozen=True, slots=True)
class Send(EntityCommand[None]):
    """Send a message to an entity: sent with the next tick, delivered to processors in the one after."""

    kind: ClassVar[str] = "message"
    recipient: int
    body: Any
    sender: int | None = None
    message_kind: str = ""

    def describe(self) -> Mapping[str, Any]:
        recipient = checked_entity("recipient", self.recipient)
        sender = None if self.sender is None else checked_entity("sender", self.sender)
        return {"recipient": recipient, "body": self.body, "sender": sender, "kind": self.message_kind}


@dataclass(frozen=True, slots=True)
class Custom(EntityCommand[None]):
    """Call the world's handler of that name with JSON data."""

    kind: ClassVar[str] = "custom"
    name: str
    data: Any = None

    def describe(self) -> Mapping[str, Any]:
        return {"name": self.name, "data": self.data}


def payload(component: object) -> dict[str, Any]:
    """A component as JSON-able data; ``SignatureError`` for anything else, such as the class."""
    if not isinstance(component, Component):
        hint = " (the class: call it)" if isinstance(component, type) else ""
        raise SignatureError(f"an entity is made of component instances, not {component!r}{hint}")
    return component.to_payload()


def given_payload(component: Component) -> dict[str, Any]:
    """The payload of the fields that were given to a component: those that an update changes."""
    whole, given = payload(component), component.model_fields_set
    return {key: value for key, value in whole.items() if key == "type" or key in given}
