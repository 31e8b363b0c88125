"""The real side of the tick model: components, processors that act by script, and a store that fails on demand."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from typing import Any, ClassVar, Literal

from tick_model import Add, Assign, Despawn, Held, Op, Remove, Rule, Send, Spawn, Table, Update

from archetype_core.engine import Commands, Processor, World
from archetype_core.engine.context import TickContext
from archetype_core.engine.executor import LocalExecutor
from archetype_core.engine.hook import PreTick
from archetype_core.engine.processor import Slot
from archetype_core.errors import ArchetypeError, CommitError, TickConflict
from archetype_core.schema import Archetype, Component
from archetype_core.schema.snapshot import Snapshot
from archetype_core.store import MemoryStore, Segment, Store, TickCommit


class Body(Component):
    x: int = 0
    y: int = 0


class Drive(Component):
    dx: int = 1


class Purse(Component):
    gold: int | None = 5
    note: str = ""
    due: datetime | None = None


class Marked(Component):
    pass


PARTS: Mapping[str, type[Component]] = {one.__name__: one for one in (Body, Drive, Purse, Marked)}


def whole(parts: Held) -> Held:
    """Components with their defaults where no value is given."""
    return {name: values_of(PARTS[name](**given)) for name, given in parts.items()}


def values_of(component: Component) -> dict[str, Any]:
    """The fields of a component."""
    return {name: getattr(component, name) for name in type(component).model_fields}


def values_in(row: dict[str, Any], parts: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The components of a row as it is stored."""
    return exact({name: values_of(PARTS[name].component_type().decode(row)) for name in parts})


def exact(held: Held) -> dict[str, dict[str, Any]]:
    """Values in a form that tells a time's zone."""
    return {
        name: {
            each: (value.isoformat(), str(value.tzinfo)) if isinstance(value, datetime) else value
            for each, value in values.items()
        }
        for name, values in sorted(held.items())
    }


def table_name(table: Table) -> str:
    """The name under which the table is stored."""
    return Archetype.of(*(PARTS[name] for name in table)).name


Route = Literal["commands", "thread", "messages", "handle", "task", "to_thread", "outside", "foreign"]
"""How a processor stages something: ``thread`` is ``commands`` and ``outside`` a handle in a thread of its own, ``foreign``
is the handle of another world, and the rest are a world's own handle."""
Key = tuple[str, Table, int]
Result = tuple[int, ...] | ArchetypeError | KeyError


def perform(  # noqa: PLR0912  # reason: a case per operation
    target: Any, op: Op, read: Callable[..., Any], *, sends: Any = None
) -> Result:
    """Do an operation with a handle or ``commands``; the ids that it gives, or the error."""
    try:
        match op:
            case Spawn(bundles, "table"):
                names = sorted(bundles[0])
                rows = [whole(bundle) for bundle in bundles]
                columns = {
                    f"{name.lower()}__{each}": [row[name][each] for row in rows]
                    for name in names
                    for each in PARTS[name].model_fields
                }
                return tuple(int(one) for one in target.spawn_table(columns, *(PARTS[name] for name in names)))
            case Spawn(bundles):
                made = [[PARTS[name](**given) for name, given in bundle.items()] for bundle in bundles]
                if op.how == "one" and len(made) == 1:
                    return (target.spawn(*made[0]),)
                return tuple(int(one) for one in target.spawn_many(made))
            case Assign(entity, part, values):
                component = read(entity, PARTS[part])
                for name, value in values.items():
                    setattr(component, name, value)
                target.update(entity, component)
            case Update(entities, parts):
                target.update(_whom(target, entities), *(PARTS[name](**given) for name, given in parts.items()))
            case Add(entities, parts):
                target.add_components(_whom(target, entities), *(PARTS[name](**given) for name, given in parts.items()))
            case Remove(entities, parts):
                target.remove_components(_whom(target, entities), *(PARTS[name] for name in parts))
            case Despawn(entities):
                if isinstance(target, Commands):
                    target.despawn(entities)
                else:
                    target.despawn(*entities)
            case Send(to, body):
                (sends or target).send(to, body)
    except (ArchetypeError, KeyError) as failure:
        return failure
    return ()


def _whom(target: Any, entities: tuple[int, ...]) -> Any:
    return list(entities) if isinstance(target, Commands) and len(entities) > 1 else entities[0]


@dataclass
class Plan:
    """What processors and hooks do in one attempt of a tick, and what came of it."""

    tables: Mapping[str, Table] = field(default_factory=dict)
    hook: tuple[Op, ...] = ()
    late: tuple[Op, ...] = ()
    acts: dict[tuple[str, Table], tuple[tuple[Route, Op], ...]] = field(default_factory=dict)
    skips: frozenset[Table] = frozenset()
    fails: tuple[str, Table, Literal["before", "after"]] | None = None
    watches: bool = False
    other: Any = None
    results: dict[Key, Result] = field(default_factory=dict)
    frames: dict[tuple[str, Table], list[dict[str, Any]]] = field(default_factory=dict)
    mail: dict[tuple[str, Table], list[tuple[int, Any]]] = field(default_factory=dict)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)


class Boom(Exception):
    """What a processor of the script raises."""


@dataclass
class Script:
    """The plan of the running tick, for all worlds of a program, and the random numbers that were drawn."""

    plan: Plan = field(default_factory=Plan)
    world: Any = None
    draws: dict[tuple[int, int, str], int] = field(default_factory=dict)

    def processors(self) -> list[Processor]:
        return [Roll(self), Advance(), Agent(self), Fickle(self), Double(), Actor(self)]

    async def pre_tick(self, event: PreTick) -> None:
        """Do what the plan has for the hook, and start the task that outlives the attempt."""
        plan = self.plan
        for index, op in enumerate(plan.hook):
            plan.results["hook", frozenset(), index] = perform(event.world, op, self.world.get)

        async def later() -> None:
            await plan.over.wait()
            for index, op in enumerate(plan.late):
                plan.results["late", frozenset(), index] = perform(event.world, op, self.world.get)

        if plan.late:
            plan.tasks.append(asyncio.get_running_loop().create_task(later()))


class Advance(Processor):
    components = (Body, Drive)
    priority = 10

    def process(self, df: Any) -> Any:
        return df.with_column("body__x", Body.c.x + Drive.c.dx)


class Double(Processor):
    components = (Body,)
    priority = 20

    def process(self, df: Any) -> Any:
        return df.with_column("body__y", Body.c.y * 2 + Body.c.x)


class Roll(Processor):
    """Adds the tick and a random number, and notes which it drew."""

    components = (Purse,)
    priority = 5

    def __init__(self, script: Script) -> None:
        self.script = script

    def process(self, df: Any, tick: int, rng: Any, world: Any, commands: Any) -> Any:
        drawn, key = int(rng.integers(100)), (world.seed, tick, _table_of(commands))
        assert self.script.draws.setdefault(key, drawn) == drawn, "another random number"
        return df.with_column("purse__gold", Purse.c.gold + (tick + drawn))


def _table_of(commands: Any) -> str:
    """The table that a processor runs on; nothing public says it, and its frame lacks components without fields."""
    return str(commands._staging._table)


class _Acts(Processor):
    """Notes what it is called with, and does what the script says for its table."""

    def __init__(self, script: Script) -> None:
        self.script = script

    def frame_of(self, df: Any, commands: Commands, messages: Any) -> tuple[Plan, Table | None]:
        plan, name = self.script.plan, type(self).__name__
        table = plan.tables.get(_table_of(commands))
        if table is not None and plan.watches:
            plan.frames[name, table] = df.to_arrow().to_pylist()
            plan.mail[name, table] = [(letter.recipient, letter.body) for letter in messages]
        if table is not None and plan.fails == (name, table, "before"):
            raise Boom
        return plan, table

    def act(self, plan: Plan, table: Table, commands: Commands, messages: Any, routes: Sequence[str] = ()) -> None:
        """Do all that needs no event loop, or only what goes the given routes."""
        name, world = type(self).__name__, self.script.world
        for index, (route, op) in enumerate(plan.acts.get((name, table), ())):
            if routes and route not in routes:
                continue

            def run(target: Any, key: Key = (name, table, index), op: Op = op, sends: Any = None) -> None:
                plan.results[key] = perform(target, op, world.get, sends=sends)

            if route in ("commands", "messages"):
                run(commands, sends=messages if route == "messages" else None)
            elif route in ("thread", "outside"):
                thread = threading.Thread(target=run, args=(commands if route == "thread" else world,))
                thread.start()
                thread.join()
            else:
                run(plan.other if route == "foreign" else world)

    def end(self, plan: Plan, table: Table) -> None:
        if plan.fails == (type(self).__name__, table, "after"):
            raise Boom


class Actor(_Acts):
    components = (Body,)
    priority = 30

    def process(self, df: Any, commands: Commands, messages: Any) -> Any:
        plan, table = self.frame_of(df, commands, messages)
        if table is not None:
            self.act(plan, table, commands, messages)
            self.end(plan, table)
        return df


class Fickle(_Acts):
    """Adds 100, unless it fails after it has acted; then the tick goes on without it."""

    components = (Body,)
    priority = 15
    on_error: ClassVar[Literal["raise", "skip"]] = "skip"

    def process(self, df: Any, commands: Commands, messages: Any) -> Any:
        plan, table = self.frame_of(df, commands, messages)
        if table is not None:
            self.act(plan, table, commands, messages)
            if table in plan.skips:
                raise Boom
        return df.with_column("body__x", Body.c.x + 100)


class Agent(_Acts):
    """Acts on the event loop: in tasks that it starts and in threads that its context is copied to."""

    components = (Purse,)
    priority = 12

    async def process(self, df: Any, commands: Commands, messages: Any) -> Any:
        await asyncio.sleep(0)
        plan, table = self.frame_of(df, commands, messages)
        if table is not None:
            self.act(
                plan, table, commands, messages, ("commands", "thread", "messages", "foreign", "handle", "outside")
            )

            async def in_task() -> None:
                self.act(plan, table, commands, messages, ("task",))

            await asyncio.get_running_loop().create_task(in_task())
            await asyncio.to_thread(self.act, plan, table, commands, messages, ("to_thread",))
            self.end(plan, table)
        return df


def _advance(held: Held, _tick: int, _draw: int) -> None:
    held["Body"]["x"] += held["Drive"]["dx"]


def _double(held: Held, _tick: int, _draw: int) -> None:
    held["Body"]["y"] = held["Body"]["y"] * 2 + held["Body"]["x"]


def _roll(held: Held, tick: int, draw: int) -> None:
    if held["Purse"]["gold"] is not None:
        held["Purse"]["gold"] += tick + draw


def _fickle(held: Held, _tick: int, _draw: int) -> None:
    held["Body"]["x"] += 100


_BODY, _PURSE = frozenset({"Body"}), frozenset({"Purse"})
RULES = (
    Rule("Roll", _PURSE, 5, _roll, draws=True),
    Rule("Advance", frozenset({"Body", "Drive"}), 10, _advance),
    Rule("Agent", _PURSE, 12, acts=True),
    Rule("Fickle", _BODY, 15, _fickle, skips=True, acts=True),
    Rule("Double", _BODY, 20, _double),
    Rule("Actor", _BODY, 30, acts=True),
)
"""What the processors do, as the model is told."""

Fault = Literal["conflict", "refused", "lost", "stored"]
"""What a commit does: another writer was first, the disk is full, or the answer is lost before or after it was stored."""


class FaultyStore:
    """A store whose next commit fails on demand."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.fault: Fault | None = None

    def commit(self, ticks: Sequence[TickCommit]) -> None:
        fault, self.fault = self.fault, None
        if fault == "conflict":
            raise TickConflict(ticks[0].segment.world_id, ticks[0].tick + 1, ticks[0].tick)
        if fault == "refused":
            raise CommitError("the disk is full")
        if fault != "lost":
            self.inner.commit(ticks)
        if fault is not None:
            raise OSError("the connection is lost")

    def reopen(self, place: Place) -> None:
        """Close the store and open it again, as another process would."""
        self.inner.close()
        self.inner = place.open()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class Backwards:
    """Runs the tables of a tick one after the other, last first: the order of threads that decides nothing."""

    def __init__(self) -> None:
        self.inner = LocalExecutor()

    def run(
        self, live: Mapping[Archetype, Snapshot], work: Mapping[Archetype, tuple[Slot, ...]], context: TickContext
    ) -> Mapping[Archetype, Snapshot]:
        made: dict[Archetype, Snapshot] = {}
        for table in sorted(work, key=lambda one: one.name, reverse=True):
            made |= self.inner.run(live, {table: work[table]}, context)
        return made

    def close(self) -> None:
        self.inner.close()


class Place:
    """Where a store is kept: it can be opened, closed and opened again, and is gone after ``remove``."""

    _numbers = count()

    def __init__(self) -> None:
        self.name = f"tick model {next(self._numbers)}"

    def open(self) -> Store:
        return MemoryStore(self.name)

    def remove(self) -> None:
        MemoryStore.forget(self.name)


def opened(store: Any, world: str, script: Script, executor: Any, segment: Segment | None) -> Any:
    """A coroutine that opens a world again, with the code that it had."""
    hooks = [(PreTick, script.pre_tick)]
    return World.open(store, world, branch=segment, processors=script.processors(), hooks=hooks, executor=executor)
