"""Components with fields of every kind that type checkers look at."""

from __future__ import annotations

import datetime as dt
import enum
from typing import Annotated, Generic, Literal, TypeVar

import pyarrow as pa
from daft.expressions import Expression
from pydantic import Field

from archetype import Component, Evolution, Vector, each

T = TypeVar("T")


class Position(Component):
    x: float = 0.0
    y: float = 0.0


class Velocity(Component):
    dx: float = 0.0
    dy: float = 0.0


class Mood(enum.Enum):
    CALM = "calm"
    ANGRY = "angry"


class Agent(Component):
    name: str
    mood: Mood = Mood.CALM
    team: Literal["red", "blue"] = "red"
    born: dt.datetime | None = None
    level: Annotated[int, pa.int16()] = 1
    tags: list[str] = Field(default_factory=list)


class Memory(Component):
    embedding: Annotated[list[float], Vector(3)] = [0.0, 0.0, 0.0]
    older: Annotated[list[float], Vector(3)] | None = None


class Badge(Component):
    rank: int = 1
    note: str | None = None

    evolution = Evolution(
        rename={"rank": ("level", "grade")},
        drop=("owner",),
        convert={"rank": each(int), "note": lambda column: column.cast(pa.large_string())},
        previous="Medal",
    )


class Captain(Agent):
    ship: str = ""


class Box(Component, Generic[T]):
    item: T


class Crate(Box[int]):
    pass


agent = Agent(name="ada", mood=Mood.ANGRY, born=dt.datetime(2000, 1, 1), tags=["new"])
captain = Captain(name="bo", ship="Argo", level=3)
memory = Memory(embedding=[1.0, 0.0, 0.0])
crate = Crate(item=3)
where_it_is: tuple[float, float] = (Position(x=1.0).x, Position(x=1, y=2.5).y)
embedding: list[float] = memory.embedding
older: list[float] | None = memory.older
item: int = crate.item

column: Expression = Position.c.x
moved: Expression = Position.c.x + Velocity.c.dx * 2 - 1
is_near: Expression = (Position.c.x * Position.c.x + Position.c.y * Position.c.y <= 4.0) & (Captain.c.ship == "Argo")
is_late: Expression = Agent.c.born >= dt.datetime(2001, 1, 1)
changed: dict[Expression, float] = {Position.c.x: 1.0, Position.c.y: 2.0}
by_class: dict[type[Component], int] = {Position: 1, Agent: 2}
rebuilt: Position = Position.from_payload(Position().to_payload())
