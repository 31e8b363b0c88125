"""One entity with its components, as it was when it was read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from archetype_core.schema.archetype import Archetype
from archetype_core.schema.component import Component


class Entity(Mapping[type[Component], Component]):
    """An entity's components by class, as they were when it was read.

    Any class that is stored like the component will do as a key, and is what comes back.
    """

    __slots__ = ("_row", "archetype", "entity_id")

    def __init__(self, entity_id: int, archetype: Archetype, row: Mapping[str, Any]) -> None:
        self.entity_id = entity_id
        self.archetype = archetype
        self._row = row

    def __getitem__(self, component: type[Component]) -> Component:
        kind = component.component_type()
        if kind not in self.archetype:
            has = ", ".join(one.name for one in self.archetype.components)
            raise KeyError(f"entity {self.entity_id} has no {component.__name__}; it has {has}")
        return kind.decode(self._row, component)

    def __iter__(self) -> Iterator[type[Component]]:
        return (kind.cls for kind in self.archetype.components)

    def __len__(self) -> int:
        return len(self.archetype.components)

    def __contains__(self, component: object) -> bool:
        return isinstance(component, type) and issubclass(component, Component) and component in self.archetype

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mapping):
            return NotImplemented
        return len(self) == len(other) and all(one in self and self[one] == value for one, value in other.items())

    __hash__ = None  # type: ignore[assignment]  # reason: mappings are compared by value

    def __repr__(self) -> str:
        return f"Entity({self.entity_id}: {', '.join(repr(one) for one in self.values())})"
