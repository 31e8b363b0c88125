"""Commands that change entities. They are staged for the next tick, or queued for a later one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sized
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa

from archetype_core.argument import checked_id
from archetype_core.command.command import Command, R, names
from archetype_core.engine.selection import Entities, is_condition
from archetype_core.engine.table_update import Changes
from archetype_core.schema.archetype import Archetype
from archetype_core.schema.component import Component, no_component
from archetype_core.schema.message import checked_entity
from archetype_core.schema.snapshot import ENTITY_ID

if TYPE_CHECKING:
    from daft.expressions import Expression


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
class EntitiesCommand(EntityCommand[R]):
    """A command for one entity or many: an id, a sequence or array of ids, or a condition on the last completed tick.

    A gate evaluates conditions when the command is sent, so that a queued command is for the entities that met it then.
    """

    entities: Entities

    @property
    def weight(self) -> int:
        return max(1, len(self.entities)) if isinstance(self.entities, Sized) else 1


@dataclass(frozen=True, slots=True)
class Despawn(EntitiesCommand[None]):
    """Despawn entities; one that is not alive is skipped."""

    kind: ClassVar[str] = "despawn"

    def describe(self) -> Mapping[str, Any]:
        return described(self.entities)


@dataclass(frozen=True, slots=True)
class Update(EntitiesCommand[None]):
    """Change components that entities have: the given fields; all others stay."""

    kind: ClassVar[str] = "update"
    components: tuple[Component, ...]

    def describe(self) -> Mapping[str, Any]:
        return {**described(self.entities), "components": [given_payload(one) for one in self.components]}


@dataclass(frozen=True, slots=True)
class UpdateTable(EntityCommand[None]):
    """Change columns of many entities: a mapping, Arrow table or DataFrame with a value for each of them, or one for all."""

    kind: ClassVar[str] = "update"
    data: Any
    entities: Entities | None = None
    """In the order of the rows; by default the column ``entity_id`` of the data."""

    @property
    def weight(self) -> int:
        return max(1, int(self.data.num_rows)) if isinstance(self.data, pa.Table | Changes) else 1

    def describe(self) -> Mapping[str, Any]:
        if isinstance(self.data, pa.Table | Changes):
            columns = [name for name in self.data.column_names if name != ENTITY_ID]
            return {"entities": self.data.num_rows, "columns": columns}
        return {"columns": [str(one) for one in self.data] if isinstance(self.data, Mapping) else repr(self.data)[:200]}


@dataclass(frozen=True, slots=True)
class UpdateWhere(EntityCommand[int]):
    """Change columns of all entities that meet a condition and have them; the result is how many they are.

    A value is one for all, or an expression over the entity's columns.
    """

    kind: ClassVar[str] = "update"
    where: Expression
    values: Mapping[Any, Any]

    def describe(self) -> Mapping[str, Any]:
        return {"where": str(self.where), "columns": [str(one) for one in self.values]}


@dataclass(frozen=True, slots=True)
class AddComponents(EntitiesCommand[None]):
    """Add components to entities; those that they have already stay unchanged."""

    kind: ClassVar[str] = "add_component"
    components: tuple[Component, ...]

    def describe(self) -> Mapping[str, Any]:
        return {**described(self.entities), "components": [payload(one) for one in self.components]}


@dataclass(frozen=True, slots=True)
class RemoveComponents(EntitiesCommand[None]):
    """Remove components from entities; the last one cannot be removed."""

    kind: ClassVar[str] = "remove_component"
    components: tuple[type[Component], ...]

    def describe(self) -> Mapping[str, Any]:
        return {**described(self.entities), "components": names(self.components)}


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


def described(entities: object) -> dict[str, Any]:
    """Entities as JSON-able data: one id, many, or a condition."""
    if type(entities) is int:
        return {"entity_id": checked_id(entities)}
    if isinstance(entities, pa.Array):
        return {"entity_ids": entities.to_pylist()}
    if isinstance(entities, Iterable) and not isinstance(entities, str):
        return {"entity_ids": [checked_id(one) for one in entities]}
    return {"where": str(entities)} if is_condition(entities) else {"entity_id": checked_id(entities)}


def payload(component: object) -> dict[str, Any]:
    """A component as JSON-able data; ``SignatureError`` for anything else, such as the class."""
    if not isinstance(component, Component):
        raise no_component(component)
    return component.to_payload()


def given_payload(component: Component) -> dict[str, Any]:
    """The payload of the fields that were given to a component: those that an update changes."""
    whole, given = payload(component), component.model_fields_set
    return {key: value for key, value in whole.items() if key == "type" or key in given}
