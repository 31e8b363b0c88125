"""One entity with its components, as it was when it was read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

import pyarrow as pa

from archetype_core.argument import NoSuchKey
from archetype_core.schema.archetype import Archetype
from archetype_core.schema.component import Component, ComponentType
from archetype_core.schema.version import projected, version_in
from archetype_core.user_traceback import door

C = TypeVar("C", bound=Component)


class Entity(Mapping[type[Component], Component]):
    """An entity's components by class, as they were when it was read.

    Any class that is stored like the component, or is another version of it, will do as a key, and is what comes back.
    """

    __slots__ = ("_held", "_row", "_values", "archetype", "entity_id")

    def __init__(self, entity_id: int, archetype: Archetype, row: pa.Table) -> None:
        self.entity_id = entity_id
        self.archetype = archetype
        self._row = row
        self._values: dict[str, Any] | None = None
        self._held: Mapping[ComponentType, Component] = {}

    @classmethod
    def of(cls, entity_id: int, components: Iterable[Component]) -> Entity:
        """The entity with these components, which were read before."""
        held = {component.component_type(): component for component in components}
        kinds = [(kind, kind.arrays([kind.values(component)])) for kind, component in held.items()]
        columns = {
            field.name: array for kind, arrays in kinds for field, array in zip(kind.fields, arrays, strict=True)
        }
        entity = cls(entity_id, Archetype.of(*held), pa.table(columns))
        entity._held = held
        return entity

    def __getitem__(self, component: type[C]) -> C:
        version = version_in(self.archetype, component)
        if version is None:
            has = ", ".join(one.name for one in self.archetype.components)
            raise NoSuchKey(f"entity {self.entity_id} has no {component.__name__}; it has {has}")
        kind = component.component_type()
        if version != kind:
            return cast("C", kind.decode(_values(projected(version, component, self._row)), component))
        held = self._held.get(kind)
        if isinstance(held, component):
            return held
        if self._values is None:
            self._values = _values(self._row)
        return cast("C", kind.decode(self._values, component))

    if not TYPE_CHECKING:  # with it, type checkers would accept any attribute

        @door
        def __getattr__(self, name: str) -> Any:
            if not name.startswith("_") and name not in self.__slots__:
                for kind in self.archetype.components:
                    if name in kind.cls.__pydantic_fields__:
                        owner = kind.name
                        raise AttributeError(
                            f"an entity has components, and {name!r} is a field of one: entity[{owner}].{name}, "
                            f"or get(id, {owner}).{name}"
                        )
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)

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
        return (
            isinstance(component, type)
            and issubclass(component, Component)
            and version_in(self.archetype, component) is not None
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mapping):
            return NotImplemented
        return len(self) == len(other) and all(one in self and self[one] == value for one, value in other.items())

    __hash__ = None  # type: ignore[assignment]  # reason: mappings are compared by value

    def __repr__(self) -> str:
        return f"Entity({self.entity_id}: {', '.join(repr(one) for one in self.values())})"


def _values(row: pa.Table) -> dict[str, Any]:
    found: dict[str, Any] = row.to_pylist(maps_as_pydicts="strict")[0]
    return found
