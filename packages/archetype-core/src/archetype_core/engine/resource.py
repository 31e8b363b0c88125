"""Shared objects that a world's processors and hooks look up by type."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, TypeVar, cast

T = TypeVar("T")


class Resources:
    """At most one object per type. An object of a subclass is not found under its parent class."""

    def __init__(self, *resources: object) -> None:
        self._by_type: dict[type, object] = {}
        for resource in resources:
            self.insert(resource)

    def insert(self, resource: object) -> None:
        """Add an object under its type; replaces an earlier one."""
        if isinstance(resource, type):
            raise TypeError(f"insert an instance of {resource.__name__}, not the class")
        self._by_type[type(resource)] = resource

    def get(self, kind: type[T]) -> T | None:
        """The object of a type, or ``None``."""
        return cast("T | None", self._by_type.get(kind))

    def require(self, kind: type[T]) -> T:
        """The object of a type; ``LookupError`` names the available types if it is missing."""
        try:
            return cast("T", self._by_type[kind])
        except KeyError:
            known = ", ".join(sorted(one.__name__ for one in self._by_type)) or "nothing"
            raise LookupError(f"no resource of type {kind.__name__}; there is {known}") from None

    __getitem__ = require

    def remove(self, kind: type[T]) -> T | None:
        """Remove and return the object of a type; ``None`` if there is none."""
        given: object = kind
        if not isinstance(given, type):
            raise TypeError(f"a resource is named by its type, not {kind!r}")
        return cast("T | None", self._by_type.pop(kind, None))

    def __contains__(self, kind: type) -> bool:
        return kind in self._by_type

    def __iter__(self) -> Iterator[object]:
        return iter(tuple(self._by_type.values()))

    def __len__(self) -> int:
        return len(self._by_type)

    def replaced(self, old: Iterable[object], new: Iterable[object]) -> Resources:
        """The resources with new ones in place of old ones; those that were replaced since by others of their types stay."""
        gone = tuple(old)
        made = Resources(*(one for one in self if not any(one is other for other in gone)))
        for resource in new:
            made.insert(resource)
        return made

    def adopt(self, other: Resources) -> None:
        """Take over the resources of another collection."""
        self._by_type = dict(other._by_type)

    def forked(self, how: Literal["share", "copy"] | Mapping[type, object]) -> Resources:
        """The resources of a fork: the same objects, deep copies, or the same with some replaced."""
        if how == "share":
            return Resources(*self)
        if how == "copy":
            return Resources(*(copy.deepcopy(resource) for resource in self))
        if not isinstance(how, Mapping):
            raise ValueError(  # noqa: TRY004  # reason: usually a misspelt word
                f"resources is 'share', 'copy' or a mapping of types to objects, such as {{Wind: Wind(2.0)}}, not {how!r}"
            )
        mixed: dict[type, Any] = {**self._by_type, **how}
        forked = Resources()
        for kind, resource in mixed.items():
            if not isinstance(resource, kind):
                raise TypeError(f"{resource!r} is no {kind.__name__}")
            forked._by_type[kind] = resource
        return forked
