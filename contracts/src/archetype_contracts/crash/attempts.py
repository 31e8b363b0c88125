"""The attempts that may have committed each tick, as processes report them; a store must not name any other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Attempts:
    """For every world and tick, the attempts that its head may name: one, once the tick was acknowledged or read."""

    possible: dict[str, dict[int, list[str]]] = field(default_factory=dict)

    def note(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Take in reports, in their order; other lines have no effect.

        ``tried`` comes before a commit, ``refused`` after it failed for certain, ``ack`` after it succeeded or was adopted,
        and ``read`` says which attempt a head named.
        """
        for line in lines:
            for key in line.keys() & {"tried", "refused", "ack", "read"}:
                world, tick, what = line[key]
                known = self.possible.setdefault(world, {}).setdefault(tick, [])
                if key == "tried":
                    known.append(what)
                elif key == "refused" and what in known:
                    known.remove(what)
                elif key == "ack":
                    del known[:-1]
                elif key == "read":
                    known[:] = [what]

    def of(self, world: str, tick: int) -> list[str]:
        """The attempts that the head at a tick of a world may name."""
        return self.possible.get(world, {}).get(tick, [])

    def copy(self) -> Attempts:
        """A copy that later reports do not change."""
        return Attempts(deepcopy(self.possible))

    def to_json(self) -> dict[str, dict[str, list[str]]]:
        """The attempts as JSON data."""
        return {
            world: {str(tick): list(known) for tick, known in ticks.items()} for world, ticks in self.possible.items()
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Mapping[str, list[str]]]) -> Attempts:
        """The attempts that ``to_json`` returned."""
        return cls({world: {int(tick): list(known) for tick, known in ticks.items()} for world, ticks in data.items()})
