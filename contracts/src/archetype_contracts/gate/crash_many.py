"""What mutations of many entities leave behind when their process is killed: all of their entities changed, or none."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from archetype_contracts.assertion import require, require_equal
from archetype_contracts.gate.sample import Coin
from archetype_contracts.gate.session import ADMIN_ACTOR
from archetype_core.command import CommandGate, Query, QuerySnapshot


@dataclass(slots=True)
class ManyAnswers:
    """Changes of many coins over one place: each sets its own number, which its coins had not before and keep."""

    tried: dict[tuple[str, int], list[int]] = field(default_factory=dict)
    """The coins of each change, by world and number."""
    changed: set[tuple[str, int]] = field(default_factory=set)
    """The changes that must exist."""
    ending: set[tuple[str, int]] = field(default_factory=set)
    """The changes whose coins may be despawned."""
    ended: set[tuple[str, int]] = field(default_factory=set)
    """The changes whose coins must be despawned."""

    def add(self, line: dict[str, Any]) -> None:
        """Add a line that a process reported."""
        if "changing" in line:
            world, number, ids = line["changing"]
            self.tried[world, number] = ids
        if "ending" in line:
            world, number = line["ending"]
            self.ending.add((world, number))
        match line.get("ack"):
            case ["changed", world, number]:
                self.changed.add((world, number))
            case ["ended", world, number]:
                self.ended.add((world, number))

    async def inspect(self, gate: CommandGate, world: str, name: str) -> None:
        """Raise ``ClauseFailed`` if a change is missing, partly there, or was made more than once."""
        rows: Any = await gate.execute(ADMIN_ACTOR, Query((Coin,), lineage=False), world)
        columns = rows.select("entity_id", "tick", "coin__number").sort(["entity_id", "tick"]).to_pydict()
        numbers: dict[int, list[tuple[int, int]]] = {}
        """By coin: each number that it got, with the tick."""
        for entity, tick, number in zip(columns["entity_id"], columns["tick"], columns["coin__number"], strict=True):
            known = numbers.setdefault(entity, [])
            if not known or known[-1][1] != number:
                known.append((tick, number))
        coins: Any = await gate.execute(ADMIN_ACTOR, QuerySnapshot((Coin,)), world)
        alive = [number for number in coins.to_pydict()["coin__number"] if number]
        for (where, number), ids in self.tried.items():
            if where != world:
                continue
            what = f"change {number} of {len(ids)} coins of {name}"
            found = [tick for one in ids for tick, each in numbers.get(one, ()) if each == number]
            require(
                len(found) in (0, len(ids)) and len(set(found)) <= 1,
                f"expected {what} to change all or none, once and in one tick, but it did in the ticks {found}",
            )
            require(bool(found) or (where, number) not in self.changed, f"expected {what}, which was answered")
            left = alive.count(number)
            if (where, number) not in self.ending:
                require_equal(len(found), left, f"coins of {what} that are alive, as none was despawned")
            require(left in (0, len(found)), f"expected a despawn of all or none of {what}, but {left} are alive")
            if (where, number) in self.ended:
                require_equal(0, left, f"coins of {what} that are alive after their despawn")
