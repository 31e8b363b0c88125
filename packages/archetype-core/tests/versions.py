"""Versions of a component class, as a program that changes over time defines them, and worlds that hold them."""

from __future__ import annotations

from typing import Annotated, Any

import pyarrow as pa
from daft import DataFrame

from archetype_core.engine import Processor, World
from archetype_core.schema import Archetype, Component, Evolution
from archetype_core.store import MemoryStore


def version(name: str, declared: Evolution | None = None, /, **fields: tuple[Any, Any]) -> Any:
    """Return a component class of that name; each field is its annotation and its default, `...` for none."""
    body: dict[str, Any] = {"__module__": __name__, "__annotations__": {one: kind for one, (kind, _) in fields.items()}}
    body.update({one: default for one, (_, default) in fields.items() if default is not ...})
    if declared is not None:
        body["evolution"] = declared
    return type(name, (Component,), body)


INT32: Any = Annotated[int, pa.int32()]

Old = version("Health", hp=(int, 10), note=(str, "n"))
New = version("Health", hp=(int, 10), note=(str, "n"), armor=(int, 5))


class Heal(Processor):
    """Adds one to the hp of a version of Health."""

    def __init__(self, health: Any, *more: Any) -> None:
        self.health = health
        self.components = (health, *more)  # type: ignore[misc]  # reason: the class of each test

    def process(self, df: DataFrame) -> DataFrame:
        return df.with_column("health__hp", self.health.c.hp + 1)


def heal(health: Any, *more: Any) -> Processor:
    """A processor of a version of Health, and of other components."""
    return Heal(health, *more)


async def stored(*entities: tuple[Any, ...], steps: int = 1) -> MemoryStore:
    """A store with a world "w" that has these entities."""
    store = MemoryStore()
    there = World(store, "w", seed=1)
    there.spawn_many(entities)
    await there.run(steps)
    return store


def tables(view: World, at: int | None = None) -> dict[Archetype, list[dict[str, Any]]]:
    """The live rows of every table, now or at a tick."""
    return {archetype: rows.to_arrow().to_pylist() for archetype, rows in view.tables(at).items()}
