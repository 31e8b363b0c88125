"""Components, archetypes, and the columns and rows that store them."""

from archetype_core.schema.archetype import BASE_COLUMNS, Archetype
from archetype_core.schema.component import Component, ComponentType, checked_components, fields_of, resolve
from archetype_core.schema.entity import Entity
from archetype_core.schema.evolution import Evolution, each
from archetype_core.schema.message import Letter, Letters, Mailbox, Message
from archetype_core.schema.payload_table import payload_table
from archetype_core.schema.snapshot import ENTITY_ID, Column, Snapshot, contiguous, owned, stack
from archetype_core.schema.stored_payload import stored_payload
from archetype_core.schema.vector import Vector

__all__ = [
    "BASE_COLUMNS",
    "ENTITY_ID",
    "Archetype",
    "Column",
    "Component",
    "ComponentType",
    "Entity",
    "Evolution",
    "Letter",
    "Letters",
    "Mailbox",
    "Message",
    "Snapshot",
    "Vector",
    "checked_components",
    "contiguous",
    "each",
    "fields_of",
    "owned",
    "payload_table",
    "resolve",
    "stack",
    "stored_payload",
]
