"""The base of all commands: one typed request to a gate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

R = TypeVar("R")
"""The type of a command's result."""


@dataclass(frozen=True, slots=True)
class Command(Generic[R]):
    """A request to a world or to the gate itself; ``R`` is the type of its result. The actor is not part of it."""

    kind: ClassVar[str] = ""
    """Its name in policies, cost tables and audit rows."""
    is_deferrable: ClassVar[bool] = False
    """Whether it can be queued for a tick; only commands that can be serialized can."""

    @property
    def weight(self) -> int:
        """The factor by which its kind's cost is multiplied."""
        return 1

    def describe(self) -> Mapping[str, Any]:
        """Its payload in the audit row: JSON-able data."""
        return {}


def names(classes: Iterable[object]) -> list[str]:
    """The names of classes for audit rows; whatever else was passed is spelled, because its refusal has a row too."""
    return [one.__name__ if isinstance(one, type) else repr(one) for one in classes]


def spelled(thing: object) -> str:
    """The qualified name of a class, or of an object's class, for audit rows."""
    kind = thing if isinstance(thing, type) else type(thing)
    return f"{kind.__module__}.{kind.__qualname__}"
