"""What a command is: one typed request to a gate, and what answers it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

R = TypeVar("R")
"""What a gate answers a command with."""


@dataclass(frozen=True, slots=True)
class Command(Generic[R]):
    """A request to a world, or to the gate itself; ``R`` is the type of the answer. It says what, never who."""

    kind: ClassVar[str] = ""
    """The name that policies, cost tables and audit rows know it by."""
    is_deferrable: ClassVar[bool] = False
    """Whether it may wait in a queue for a tick; only what survives being written down can."""

    @property
    def weight(self) -> int:
        """How many times the cost of its kind it takes."""
        return 1

    def describe(self) -> Mapping[str, Any]:
        """What an audit row keeps of it: plain data that JSON holds."""
        return {}


def spelled(thing: object) -> str:
    """How an audit row names a class, or the class of an object."""
    kind = thing if isinstance(thing, type) else type(thing)
    return f"{kind.__module__}.{kind.__qualname__}"
