"""Mistakes that a type checker must find. Each line says which: what mypy calls it | what pyright calls it."""

from __future__ import annotations

from typing import Annotated

from components import Agent, Memory, Position, Velocity
from daft import DataFrame
from hooks import after, before
from processors import Move

from archetype_core import Arrays, Component, MemoryStore, PostTick, PreTick, Processor, Store, Vector, World

world = World(MemoryStore())

Position(x="a")  # E: arg-type | reportArgumentType
Position(z=1.0)  # E: call-arg | reportCallIssue
Position(1.0)  # E: call-arg | reportCallIssue
Agent()  # E: call-arg | reportCallIssue
Agent(name=None)  # E: arg-type | reportArgumentType
Agent(name="ada", team="green")  # E: arg-type | reportArgumentType
Memory(embedding="abc")  # E: arg-type | reportArgumentType
Memory(embedding=[None])  # E: list-item | reportArgumentType
Position().x = "a"  # E: assignment | reportAttributeAccessIssue
print(Position().c)  # E: attr-defined | reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownArgumentType
print(Position.z)  # E: attr-defined | reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownArgumentType


class Wrong(Component):
    embedding: Annotated[list[float], Vector(2)] = "ab"  # E: assignment | reportAssignmentType


moved = Position.c.x + before  # E: operator | reportOperatorIssue, reportUnknownVariableType
later = Position.c.x > before  # E: operator | reportOperatorIssue, reportUnknownVariableType
world.query(Position, where="position__x > 0")  # E: arg-type | reportArgumentType
world.query(Position(), where=Position.c.x > 0)  # E: arg-type | reportArgumentType
world.spawn(Position)  # E: arg-type | reportArgumentType
speed: Velocity = world.get(1, Position)  # E: assignment | reportAssignmentType
speed = world.get(1)[Position]  # E: assignment | reportAssignmentType

world.add_hook(PreTick, after)  # E: arg-type | reportArgumentType
world.add_hook(PreTick, Move())  # E: arg-type | reportArgumentType
World(MemoryStore(), hooks=[(PreTick, after)])  # E: list-item | reportArgumentType
World(MemoryStore(), hooks=[(PreTick, before), (PostTick, before)])  # E: list-item | reportArgumentType
World(MemoryStore(), processors=[Move])  # E: list-item | reportArgumentType


class Number(Processor):
    def process(self, df: DataFrame) -> int:  # E: override | reportIncompatibleMethodOverride
        return df.count_rows()


class Indexed(Processor):
    def process(self, arrays: Arrays) -> dict[int, float]:  # E: override | reportIncompatibleMethodOverride
        return {len(arrays): float(arrays[1][0])}  # E: index | reportArgumentType


class Awaited(Processor):
    async def process(self, arrays: Arrays) -> str:  # E: override | reportIncompatibleMethodOverride
        arrays[Position.c.x] = 1.0  # E: index | reportIndexIssue
        return ""


class Shelf:
    def close(self) -> None: ...


store: Store = Shelf()  # E: assignment | reportAssignmentType
