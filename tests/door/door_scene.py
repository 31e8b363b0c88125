"""The real side of a door program: places, processors, and calls and commands for what is asked."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import tick_scene
from door_program import Ask, Below, End, Give, Ids, Take, Whom, Write, WriteTable, WriteWhere
from tick_model import Rule, Send, Spawn
from tick_scene import PARTS, RULES, Advance, Body, Double, whole

from archetype import CacheConfig, Processor, StorageConfig
from archetype_core.command import (
    AddComponents,
    Despawn,
    EntityCommand,
    RemoveComponents,
    SpawnMany,
    Update,
    UpdateTable,
    UpdateWhere,
)
from archetype_core.command import Send as SendCommand
from archetype_core.command import Spawn as SpawnCommand
from archetype_gate import verify
from archetype_journal import verify as verify_journal


@dataclass
class Script(tick_scene.Script):
    """What processors note of a tick, and whether it fails."""

    is_failing: bool = False
    letters: list[tuple[int, int, Any]] = field(default_factory=list)
    """Tick, recipient and body of every letter that was delivered."""
    ticks: list[int] = field(default_factory=list)
    """The ticks that a processor was called in, in any world; one call for each table with a body."""


class Postman(Processor):
    """Notes the letters that it is given, and fails on demand after that."""

    components = (Body,)
    priority = 90

    def __init__(self, script: Script) -> None:
        self.script = script

    def process(self, messages: Any, tick: int) -> None:
        self.script.ticks.append(tick)
        self.script.letters += [(tick, letter.recipient, letter.body) for letter in messages]
        if self.script.is_failing:
            raise tick_scene.Boom


SETS: Mapping[str, tuple[str, ...]] = {"all": ("Roll", "Advance", "Double"), "few": ("Advance",), "none": ()}
"""Sets of processors that worlds are declared with; all of them have a postman too."""


def processors(script: Script, rules: str) -> list[Processor]:
    """The processors of a set."""
    made = {"Roll": lambda: tick_scene.Roll(script), "Advance": Advance, "Double": Double}
    return [*(made[name]() for name in SETS[rules]), Postman(script)]


def rules_of(rules: str) -> tuple[Rule, ...]:
    """What these processors do, as the model is told."""
    return tuple(one for one in RULES if one.name in SETS[rules])


def condition(where: Below) -> Any:
    """A condition as an expression."""
    return getattr(PARTS[where.part].c, where.field) < where.bound


def entities(whom: Whom) -> Any:
    """Entities in the form that they are asked for."""
    if isinstance(whom, Below):
        return condition(whom)
    ids = whom.entities
    forms: dict[str, Callable[[], Any]] = {
        "one": lambda: ids[0] if len(ids) == 1 else ids,
        "list": lambda: list(ids),
        "tuple": lambda: ids,
        "numpy": lambda: np.array(ids, np.int64),
        "arrow": lambda: pa.array(ids, pa.int64()),
    }
    return forms[whom.form]()


def components(parts: Any) -> tuple[Any, ...]:
    """Components of some parts, with the fields that are given."""
    return tuple(PARTS[name](**given) for name, given in parts.items())


def table(ask: WriteTable) -> tuple[Any, Any]:
    """The arguments of ``update_table``."""
    columns: dict[Any, Any] = {}
    for part, name, values in ask.columns:
        key = getattr(PARTS[part].c, name) if ask.form == "keys" else f"{part.lower()}__{name}"
        columns[key] = values if isinstance(values, int) else list(values)
    if ask.form == "entities":
        return columns, np.array(ask.entities, np.int64)
    if ask.form == "arrow":
        count = len(ask.entities)
        whole_columns = {k: pa.array([v] * count if isinstance(v, int) else v, pa.int64()) for k, v in columns.items()}
        return pa.table({**whole_columns, "entity_id": pa.array(ask.entities, pa.int64())}), None
    return {**columns, "entity_id": list(ask.entities)}, None


def values_of(ask: WriteWhere) -> dict[Any, Any]:
    """The values of ``update_where``."""
    column = getattr(PARTS[ask.part].c, ask.field)
    return {column: column + ask.number if ask.is_more else ask.number}


def command_of(ask: Ask) -> EntityCommand[Any]:
    """The command that a call sends."""
    match ask:
        case Spawn(bundles, "one") if len(bundles) == 1:
            return SpawnCommand(components(bundles[0]))
        case Spawn(bundles):
            return SpawnMany(tuple(components(bundle) for bundle in bundles))
        case Write(whom, parts):
            return Update(entities(whom), components(parts))
        case WriteTable():
            return UpdateTable(*table(ask))
        case WriteWhere(where):
            return UpdateWhere(condition(where), values_of(ask))
        case Give(whom, parts):
            return AddComponents(entities(whom), components(parts))
        case Take(whom, parts):
            return RemoveComponents(entities(whom), tuple(PARTS[name] for name in parts))
        case End(whom):
            return Despawn(entities(whom))
        case Send(to, body):
            return SendCommand(to, body)


async def call(world: Any, ask: Ask) -> Any:
    """Do with a world's handle what is asked for."""
    match ask:
        case Spawn(bundles, "one") if len(bundles) == 1:
            return await world.spawn(*components(bundles[0]))
        case Spawn(bundles, "table") if bundles:
            kinds = [PARTS[name] for name in sorted(bundles[0])]
            rows = [whole(bundle) for bundle in bundles]
            columns = {
                f"{kind.__name__.lower()}__{name}": [row[kind.__name__][name] for row in rows]
                for kind in kinds
                for name in kind.model_fields
            }
            return await world.spawn_table(columns, *kinds)
        case Spawn(bundles):
            return await world.spawn_many([components(bundle) for bundle in bundles])
        case Write(whom, parts):
            return await world.update(entities(whom), *components(parts))
        case WriteTable():
            data, ids = table(ask)
            return await world.update_table(data, entities=ids)
        case WriteWhere(where):
            return await world.update_where(condition(where), values_of(ask))
        case Give(whom, parts):
            return await world.add_components(entities(whom), *components(parts))
        case Take(whom, parts):
            return await world.remove_components(entities(whom), *(PARTS[name] for name in parts))
        case End(Ids(ids, "one")) if ids:
            return await world.despawn(*ids)
        case End(whom):
            return await world.despawn(entities(whom))
        case Send(to, body):
            return await world.send(to, body)


class Memory:
    """A storage that ends with its runtime."""

    is_durable = False
    cache: CacheConfig | None = None

    def __init__(self) -> None:
        self.storage = "memory:"

    def defects(self) -> list[str]:
        """What is wrong with the store and the ledger."""
        return []

    def remove(self) -> None:
        """Delete it."""


class Journal(Memory):
    is_durable = True
    scheme = "journal:"

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="archetype-door-"))
        self.storage = f"{self.scheme}{self.path / 'data'}"

    def defects(self) -> list[str]:
        return [*map(str, verify(StorageConfig(self.storage))), *map(str, self.damage())]

    def damage(self) -> list[Any]:
        return list(verify_journal(self.path / "data").findings)

    def remove(self) -> None:
        shutil.rmtree(self.path)


class Lance(Journal):
    """A store that seals after every few ticks, so that most rows are read from tables."""

    scheme = "lance:"
    cache = CacheConfig(rows=8)

    def damage(self) -> list[Any]:
        from archetype_store_lance import verify as verify_lance

        return list(verify_lance(self.path / "data").findings)
