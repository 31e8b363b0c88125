"""A program over a runtime's door, as data, and what its mutations mean to the model of the tick."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from tick_model import (
    Add,
    Despawn,
    Held,
    ModelWorld,
    Mutation,
    Op,
    Refused,
    Remove,
    Send,
    Spawn,
    Update,
    Where,
    checked,
    placed,
)
from tick_scene import whole


@dataclass(frozen=True)
class Ids:
    """Some entities; in the form of one id, of a Python sequence, or of an array."""

    entities: tuple[int, ...]
    form: Literal["one", "list", "tuple", "numpy", "arrow"] = "list"


@dataclass(frozen=True)
class Below:
    """A condition: a field is below a number. Null meets no condition."""

    part: str
    field: str
    bound: int

    def is_met(self, held: Held) -> bool:
        value = held[self.part][self.field] if self.part in held else None
        return value is not None and value < self.bound


Whom = Ids | Below


@dataclass(frozen=True)
class Write:
    """``update``."""

    whom: Whom
    parts: Held


@dataclass(frozen=True)
class WriteTable:
    """``update_table``: columns by part and field, each with a value for every row or one for all."""

    entities: tuple[int, ...]
    columns: tuple[tuple[str, str, tuple[int, ...] | int], ...]
    form: Literal["mapping", "keys", "arrow", "entities"] = "mapping"


@dataclass(frozen=True)
class WriteWhere:
    """``update_where``: one field gets a number, or a number more than it has."""

    where: Below
    part: str
    field: str
    number: int
    is_more: bool


@dataclass(frozen=True)
class Give:
    """``add_components``."""

    whom: Whom
    parts: Held


@dataclass(frozen=True)
class Take:
    """``remove_components``."""

    whom: Whom
    parts: tuple[str, ...]


@dataclass(frozen=True)
class End:
    """``despawn``."""

    whom: Whom


Ask = Spawn | Write | WriteTable | WriteWhere | Give | Take | End | Send


def meant(model: ModelWorld, whom: Whom, expected: Where, parts: Iterable[str] = ()) -> tuple[int, ...]:
    """The entities: of a condition those that met it at the end of the last tick, and have some parts then and now."""
    if isinstance(whom, Ids):
        return whom.entities
    needed = set(parts)
    return tuple(
        entity
        for table, rows in model.live.items()
        for entity, held in rows.items()
        if whom.is_met(held) and needed <= table and entity in expected and needed <= expected[entity]
    )


def concrete(ask: Ask, model: ModelWorld, expected: Where) -> tuple[Op, ...]:
    """What is asked for, as mutations of entities that are known by their ids; all of them or none."""
    match ask:
        case Spawn() | Send():
            return (ask,)
        case Write(whom, parts):
            return (Update(meant(model, whom, expected, parts), parts),)
        case Give(whom, parts):
            return (Add(meant(model, whom, expected), parts),)
        case Take(whom, parts):
            return (Remove(meant(model, whom, expected), parts),)
        case End(whom):
            return (Despawn(meant(model, whom, expected)),)
        case WriteTable(entities, columns):
            made = []
            for row, entity in enumerate(entities):
                written: Held = {}
                for part, field, values in columns:
                    written.setdefault(part, {})[field] = values if isinstance(values, int) else values[row]
                made.append(Update((entity,), written))
            return tuple(made)
        case WriteWhere(where, part, field, number, is_more):
            found = []
            for entity in meant(model, where, expected, [part]):
                value: int | None = model.live[model.where[entity]][entity][part][field] if is_more else 0
                found.append(Update((entity,), {part: {field: None if value is None else value + number}}))
            return tuple(found)


def mutations(ops: Iterable[Op], expected: Where, ids: tuple[int, ...]) -> list[Mutation]:
    """The mutations of some operations one after the other; ``Refused`` if one of them is an error."""
    made: list[Mutation] = []
    for op in ops:
        if isinstance(op, Send):
            made.append(("send", op.to, op.body))
        elif not (isinstance(op, Update) and not op.parts):
            made += checked(op, placed(expected, made), ids, whole)
        elif missing := [one for one in op.entities if one not in expected]:
            raise Refused("EntityNotFound" if len(missing) == 1 else "")
    return made


@dataclass(frozen=True)
class Call:
    branch: int
    ask: Ask


@dataclass(frozen=True)
class Submit:
    """Commands that are queued together, for a tick so many after the next one."""

    branch: int
    asks: tuple[Ask, ...]
    later: int | None = None
    priority: int = 0


@dataclass(frozen=True)
class Tick:
    """A tick that fails so often before it succeeds; in between there may be calls, and the runtime may be opened again."""

    branch: int
    failures: int = 0
    reopens: bool = False
    between: tuple[Ask, ...] = ()


@dataclass(frozen=True)
class Run:
    branch: int
    steps: int


@dataclass(frozen=True)
class Fork:
    branch: int
    at: int | None = None
    pending: Literal["refuse", "copy"] = "refuse"


@dataclass(frozen=True)
class Declare:
    """Declare a world again with other processors, while it is up or after it was shut down."""

    branch: int
    rules: str
    is_shut_down: bool


@dataclass(frozen=True)
class Roll:
    """A rollout with a name, run twice."""

    branch: int
    name: str


@dataclass(frozen=True)
class Look:
    """Queries and snapshots; ticks are counted from the first and may be past the last."""

    branch: int
    part: str
    first: int
    count: int
    where: Below
    with_inactive: bool


@dataclass(frozen=True)
class Compare:
    """The difference of two ticks, of one world or of two."""

    branch: int
    other: int
    before: int
    after: int
    part: str
    field: str


@dataclass(frozen=True)
class Seal:
    branch: int = 0


@dataclass(frozen=True)
class Reopen:
    branch: int = 0


Line = Call | Submit | Tick | Run | Fork | Declare | Roll | Look | Compare | Seal | Reopen
