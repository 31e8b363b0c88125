"""Worlds whose component classes change over and over, on every store, against a plain model (M8)."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archetype_core import Component, Evolution, Processor, World, each, open_store

LADDER = ("int16", "int32", "int64", "text")
TYPES: dict[str, Any] = {
    "int16": Annotated[int, pa.int16()],
    "int32": Annotated[int, pa.int32()],
    "int64": int,
    "text": str,
}
MOST = {"int16": 2**15 - 1, "int32": 2**31 - 1, "int64": 2**63 - 1}


@dataclass(frozen=True)
class FieldModel:
    """A field through all versions of the class: its names, newest first, and its type now."""

    key: int
    names: tuple[str, ...]
    rung: int
    default: int
    is_optional: bool = False

    @property
    def type(self) -> str:
        return LADDER[self.rung]

    def seen(self, value: Any) -> Any:
        """A value of an older version as this version has it."""
        return str(value) if self.type == "text" and value is not None else value

    @property
    def filled(self) -> Any:
        return self.seen(self.default)


@dataclass(frozen=True)
class ClassModel:
    """A version of the class."""

    fields: tuple[FieldModel, ...]
    dropped: tuple[str, ...] = ()

    def define(self) -> Any:
        evolution = Evolution(
            rename={one.names[0]: one.names[1:] for one in self.fields if len(one.names) > 1},
            drop=self.dropped,
            convert={one.names[0]: each(str) for one in self.fields if one.type == "text"},
        )
        body: dict[str, Any] = {"__module__": __name__, "evolution": evolution}
        kinds = {one.names[0]: TYPES[one.type] for one in self.fields}
        body["__annotations__"] = {
            one.names[0]: kinds[one.names[0]] | None if one.is_optional else kinds[one.names[0]] for one in self.fields
        }
        body.update({one.names[0]: one.filled for one in self.fields})
        return type("Thing", (Component,), body)


@dataclass
class Model:
    """What the world holds, by entity and field key, now and at every tick."""

    live: dict[int, dict[int, Any]] = field(default_factory=dict)
    history: list[dict[int, dict[int, Any]]] = field(default_factory=list)

    def rows(self, version: ClassModel, held: dict[int, dict[int, Any]], *, missing: str) -> dict[int, dict[str, Any]]:
        """Entities as a version of the class has them."""
        return {
            entity: {
                one.names[0]: one.seen(values[one.key])
                if one.key in values
                else (one.filled if missing == "default" else None)
                for one in version.fields
            }
            for entity, values in held.items()
        }


CHANGES = st.sampled_from(["add", "drop", "rename", "widen", "optional"])
MUTATIONS = st.one_of(
    st.tuples(st.just("spawn"), st.integers(-5, 5)),
    st.tuples(st.just("despawn"), st.integers(0, 9)),
    st.tuples(st.just("update"), st.integers(0, 99)),
)
REOPEN = st.tuples(st.just("reopen"), st.lists(st.tuples(CHANGES, st.integers(0, 99)), min_size=1, max_size=3))
ROUND = st.tuples(st.lists(MUTATIONS, max_size=4), st.integers(0, 2), REOPEN)
"""Mutations, then steps, then the program with a changed class; without steps what was staged is lost."""


class Idle(Processor):
    """Names a version of the class."""

    def __init__(self, thing: Any) -> None:
        self.components = (thing,)  # type: ignore[misc]  # reason: another class with each version

    def process(self, df: Any) -> Any:
        return df


def changed(version: ClassModel, change: str, pick: int, fresh: Iterator[int]) -> ClassModel:
    """The version after one change; the same one if there is nothing to change."""
    fields = list(version.fields)
    if change == "add":
        key = next(fresh)
        return replace(version, fields=(*fields, FieldModel(key, (f"f{key}",), pick % 3, pick)))
    if not fields or (change == "drop" and len(fields) == 1):
        return version
    at = pick % len(fields)
    one = fields.pop(at)
    match change:
        case "drop":
            return ClassModel(tuple(fields), (*version.dropped, *one.names))
        case "rename":
            one = replace(one, names=(f"f{next(fresh)}", *one.names))
        case "widen":
            one = replace(one, rung=min(one.rung + 1, len(LADDER) - 1))
        case _:
            one = replace(one, is_optional=True)
    fields.insert(at, one)
    return replace(version, fields=tuple(fields))


async def play(program: list[tuple[str, Any]], address: str) -> None:
    """Run a program on a store and on the model, and compare all that both can say."""
    fresh = itertools.count(1)
    version = ClassModel((FieldModel(0, ("f0",), 0, 7),))
    thing, model, digests = version.define(), Model(), []
    store = open_store(address)
    world = World(store, "w", seed=1, processors=[Idle(thing)])
    spawned: list[tuple[int, dict[int, Any]]] = []
    ended: set[int] = set()
    updates: dict[int, dict[int, Any]] = {}
    try:
        for what, how in [("spawn", 1), ("step", 1), *program, ("step", 1)]:
            alive = [one for one in model.live if one not in ended]
            if what == "spawn":
                values = {one.key: one.seen(how) for one in version.fields}
                made = thing(**{one.names[0]: values[one.key] for one in version.fields})
                spawned.append((world.spawn(made), values))
            elif what == "despawn" and alive:
                ended.add(alive[how % len(alive)])
                world.despawn(alive[how % len(alive)])
            elif what == "update" and alive:
                one = version.fields[how % len(version.fields)]
                value = None if one.is_optional and how % 2 else one.seen(how % 100)
                entity = alive[how % len(alive)]
                world.update(entity, thing(**{one.names[0]: value}))
                updates.setdefault(entity, {})[one.key] = value
            elif what == "step":
                for _ in range(how):
                    await world.step()
                    # Evolution records the defaults of fields that were added since.
                    current = {
                        entity: {
                            one.key: one.seen(values[one.key]) if one.key in values else one.filled
                            for one in version.fields
                        }
                        for entity, values in model.live.items()
                        if entity not in ended
                    }
                    for entity, values in updates.items():
                        if entity in current:
                            current[entity].update(values)
                    current.update(spawned)
                    model.live = current
                    model.history.append({entity: dict(values) for entity, values in current.items()})
                    digests.append(world.digest())
                    spawned, ended, updates = [], set(), {}
            elif what == "reopen" and model.history:
                spawned, ended, updates = [], set(), {}
                for change, pick in how:
                    version = changed(version, change, pick, fresh)
                await world.close()
                store.close()
                store = open_store(address)
                thing = version.define()
                world = await World.open(store, "w", processors=[Idle(thing)])
                check(world, thing, version, model, digests)
        check(world, thing, version, model, digests)
    finally:
        store.close()


def check(world: World, thing: Any, version: ClassModel, model: Model, digests: list[str]) -> None:
    """Live rows, history in both forms, a condition, and the digests of all ticks."""
    names = [one.names[0] for one in version.fields]

    def rows(frame: Any) -> dict[tuple[int, int], dict[str, Any]]:
        table = frame.select("tick", "entity_id", *(f"thing__{name}" for name in names)).to_arrow().to_pylist()
        return {(row["tick"], row["entity_id"]): {name: row[f"thing__{name}"] for name in names} for row in table}

    def seen(held: dict[int, dict[int, Any]], tick: int, missing: str) -> dict[tuple[int, int], dict[str, Any]]:
        return {(tick, entity): row for entity, row in model.rows(version, held, missing=missing).items()}

    last = len(model.history) - 1
    assert rows(world.snapshot(thing)) == seen(model.live, last, "default")
    assert [world.digest(tick) for tick in range(len(digests))] == digests
    one = version.fields[last % len(version.fields)]
    for missing in ("null", "default"):
        expected: dict[tuple[int, int], dict[str, Any]] = {}
        for tick, held in enumerate(model.history):
            expected.update(seen(held, tick, missing))
        assert rows(world.query(thing, missing=missing)) == expected
        found = rows(world.query(thing, missing=missing, where=getattr(thing.c, one.names[0]) == one.filled))
        assert found == {at: row for at, row in expected.items() if row[one.names[0]] == one.filled}


@contextmanager
def place(scheme: str) -> Iterator[str]:
    """The address of an empty store that can be opened again."""
    if scheme == "memory":
        yield f"memory:{next(_NUMBERS)}"
        return
    directory = Path(tempfile.mkdtemp())
    try:
        yield f"{scheme}:{directory / 'w'}"
    finally:
        shutil.rmtree(directory)


_NUMBERS = itertools.count()


def play_on(scheme: str) -> Callable[[list[Any]], None]:
    """A runner of programs on new stores of a kind."""

    def run(rounds: list[Any]) -> None:
        program = [one for mutations, steps, reopen in rounds for one in (*mutations, ("step", steps), reopen)]
        with place(scheme) as address:
            asyncio.run(play(program, address))

    return run


@pytest.mark.parametrize(("scheme", "examples"), [("memory", 40), ("journal", 10), ("lance", 4)])
def test_any_series_of_changes(scheme: str, examples: int) -> None:
    """After any series of schema changes live rows, history and digests are what a plain model says (M8)."""
    run = play_on(scheme)
    settled = settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    settled(given(st.lists(ROUND, max_size=5))(run))()


@pytest.mark.parametrize("scheme", ["memory", "journal", "lance"])
def test_where_is_not_pushed_to_a_converted_column(scheme: str) -> None:
    """A condition on a column whose converter rounds or fills nulls is not answered from what is stored (M8, Q2)."""

    class Gauge(Component):
        v: float = 0.0
        w: int | None = None

    old = Gauge

    class Gauge(Component):  # type: ignore[no-redef]  # reason: the next version
        v: int = 0
        w: int = 0

        evolution = Evolution(
            convert={"v": lambda column: pc.round(column).cast(pa.int64()), "w": lambda column: column.fill_null(3)}
        )

    async def scenario(address: str) -> None:
        store = open_store(address)
        there = World(store, "w")
        there.spawn(old(v=4.7))
        there.spawn(old(v=5.0, w=4))
        await there.step()
        # Closing moves what a journal holds into the tables behind it, where conditions are applied.
        store.close()
        store = open_store(address)
        there = await World.open(store, "w")
        columns: Any = Gauge.c
        for where, expected in (
            (columns.v == 5, [1, 2]),
            (columns.v < 5, []),
            (columns.w == 3, [1]),
            (columns.w.not_null(), [1, 2]),
            (columns.w.is_null(), []),
        ):
            found = there.query(Gauge, where=where).select("entity_id").to_pydict()["entity_id"]
            assert sorted(found) == expected
        store.close()

    with place(scheme) as address:
        asyncio.run(scenario(address))


_WRITER = """
import asyncio, sys
from archetype import ArchetypeRuntime, AsyncProcessor
from health import Health

class Heal(AsyncProcessor):
    components = (Health,)
    def process(self, df):
        return df.with_column("health__hp", Health.c.hp + 1)

async def main():
    async with ArchetypeRuntime(storage=sys.argv[1]) as runtime:
        world = runtime.world("w", processors=[Heal()], seed=1)
        await world.info()
        if not (await world.info()).entities:
            await world.spawn(Health())
            await world.step()
        else:
            print(await world.get(1, Health))
            await world.update(1, *UPDATE)
        await world.run(2)
        print(await world.get(1, Health))
        frame = await world.query(Health, missing="default")
        print(frame.sort("tick").to_pydict()["health__hp"])

asyncio.run(main())
"""


def run_with(place: Path, source: str, update: str, address: str) -> subprocess.CompletedProcess[str]:
    """Run the program in a process of its own, with a version of the module that defines the class."""
    (place / "health.py").write_text(f"from archetype import Component, Evolution, each\n\n{source}")
    program = _WRITER.replace("*UPDATE", update)
    return subprocess.run(
        [sys.executable, "-c", program, address], cwd=place, capture_output=True, text=True, check=False, timeout=120
    )


@pytest.mark.parametrize("scheme", ["journal", "lance"])
def test_another_process_with_another_version_of_the_module(tmp_path: Path, scheme: str) -> None:
    """A world that one process left goes on in another one whose module changed; an old module may not step it (M8, R5)."""
    address = f"{scheme}:{tmp_path / 'store'}"
    first = "class Health(Component):\n    hp: int = 1\n    note: str = 'n'\n"
    second = (
        "class Health(Component):\n    hp: int = 1\n    armor: int = 5\n    evolution = Evolution(drop=('note',))\n"
    )
    one = run_with(tmp_path, first, "Health(hp=0)", address)
    assert one.stdout.splitlines() == ["hp=3 note='n'", "[1, 2, 3]"], one.stderr
    undeclared = run_with(tmp_path, second.replace("evolution =", "# evolution ="), "Health(armor=9)", address)
    assert 'evolution = Evolution(drop=("note",))' in undeclared.stderr
    two = run_with(tmp_path, second, "Health(armor=9)", address)
    assert two.stdout.splitlines() == ["hp=3 armor=5", "hp=5 armor=9", "[1, 2, 3, 4, 5]"], two.stderr
    old = run_with(tmp_path, first, "Health(hp=0)", address)
    assert "SchemaMismatch" in old.stderr
    assert "'armor' is not in the class" in old.stderr
