"""One entity with its components, as it was when it was read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar, cast

from archetype_core.schema.archetype import Archetype
from archetype_core.schema.component import Component, ComponentType, type_of_class

C = TypeVar("C", bound=Component)


class Entity(Mapping[type[Component], Component]):
    """An entity's components by class, as they were when it was read.

    Any class that is stored like the component will do as a key, and is what comes back.
    """

    __slots__ = ("_held", "_row", "archetype", "entity_id")

    def __init__(self, entity_id: int, archetype: Archetype, row: Mapping[str, Any]) -> None:
        self.entity_id = entity_id
        self.archetype = archetype
        self._row = row
        self._held: Mapping[ComponentType, Component] = {}

    @classmethod
    def of(cls, entity_id: int, components: Iterable[Component]) -> Entity:
        """The entity with these components, which were read before."""
        held = {component.component_type(): component for component in components}
        entity = cls(entity_id, Archetype.of(*held), {})
        entity._held = held
        return entity

    def __getitem__(self, component: type[C]) -> C:
        kind = type_of_class(component)
        if kind not in self.archetype:
            has = ", ".join(one.name for one in self.archetype.components)
            raise KeyError(f"entity {self.entity_id} has no {component.__name__}; it has {has}")
        held = self._held.get(kind)
        if isinstance(held, component):
            return held
        row = (
            self._row
            if held is None
            else dict(zip((field.name for field in kind.fields), kind.values(held), strict=True))
        )
        return cast("C", kind.decode(row, component))

    def pick(self, *components: type[Component]) -> Any:
        """What a read that named these components gives: the entity for none, one component, or a tuple of several."""
        if not components:
            return self
        found = tuple(self[component] for component in components)
        return found if len(found) > 1 else found[0]

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
