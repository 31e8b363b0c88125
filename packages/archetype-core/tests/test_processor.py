"""What a processor is called with, and when."""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import numpy as np
import pytest
from daft import DataFrame, lit
from scene import (
    Calls,
    Flagged,
    Frozen,
    Move,
    Name,
    Position,
    Velocity,
    Watches,
    drive,
    world,
    xs,
)

from archetype_core.config import RunConfig
from archetype_core.engine import AsyncProcessor, Processor, Resources, WorldView
from archetype_core.engine.processor import RESERVED_ARGUMENTS, System
from archetype_core.errors import ProcessorError
from archetype_core.schema import Mailbox


def test_process_gets_what_it_names() -> None:
    """Process is passed the arguments that it names, and all with **kwargs (T9)."""
    got: list[dict[str, Any]] = []

    class Named(Processor):
        components = (Position,)

        def process(self, df: DataFrame, tick: int, gravity: float, absent: str = "default") -> DataFrame:
            got.append({"tick": tick, "gravity": gravity, "absent": absent})
            return df

    class Keyword(Processor):
        components = (Position,)

        async def process(self, df: DataFrame, *, world: Any) -> DataFrame:
            got.append({"world": world})
            return df

    class Everything(Processor):
        components = (Position,)

        def process(self, df: DataFrame, **kwargs: Any) -> DataFrame:
            got.append(kwargs)
            return df

    class Nothing(Processor):
        components = (Position,)

        def process(self, df: DataFrame) -> DataFrame:
            got.append({})
            return df

    async def scenario() -> None:
        there = world(Named(), Keyword(), Everything(), Nothing())
        there.spawn(Position())
        await there.step()
        await there.step(RunConfig(inputs={"gravity": 1.0, "wind": 2}), gravity=9.81)
        named, keyword, everything, nothing = got
        assert named == {"tick": 1, "gravity": 9.81, "absent": "default"}
        assert keyword.keys() == {"world"}
        assert type(keyword["world"]) is WorldView
        assert everything.keys() == {
            "arrays",
            "tick",
            "resources",
            "world",
            "rng",
            "messages",
            "commands",
            "gravity",
            "wind",
        }
        assert isinstance(everything["resources"], Resources)
        assert isinstance(everything["messages"], Mailbox)
        assert isinstance(everything["rng"], np.random.Generator)
        assert nothing == {}

    drive(scenario)


@pytest.mark.parametrize("name", sorted(RESERVED_ARGUMENTS))
def test_reserved_input_names_are_refused(name: str) -> None:
    """An input cannot take the place of what the engine passes (T9)."""

    async def scenario() -> None:
        there = world()
        inputs: dict[str, Any] = {name: 1}
        with pytest.raises(TypeError, match=name):
            await there.step(**inputs)
        with pytest.raises(TypeError, match=name):
            await there.step(RunConfig(inputs=inputs))
        assert there.tick == 0

    drive(scenario)


def test_missing_input_is_the_processors_error() -> None:
    """A missing input is the error of the processor that needs it (T9)."""

    class Needs(Processor):
        components = (Position,)

        def process(self, df: DataFrame, wind: float) -> DataFrame:
            return df

    async def scenario() -> None:
        there = world(Needs())
        there.spawn(Position())
        await there.step()
        with pytest.raises(ProcessorError, match="wind"):
            await there.step()

    drive(scenario)


def test_any_kind_of_process_works() -> None:
    """Process may be plain, a coroutine, decorated, delegating, or of a class that is not a Processor (T9)."""

    def plus_one(df: DataFrame) -> DataFrame:
        return df.with_column("position__x", Position.c.x + lit(1.0))

    def traced(process: Any) -> Any:
        @functools.wraps(process)
        def wrapper(self: Any, df: DataFrame, **given: Any) -> Any:
            return process(self, df, **given)

        return wrapper

    class Plain(Processor):
        components = (Position,)

        def process(self, df: DataFrame) -> DataFrame:
            return plus_one(df)

    class Coroutine(AsyncProcessor):
        components = (Position,)

        async def process(self, df: DataFrame) -> DataFrame:
            return plus_one(df)

    class Awaits(AsyncProcessor):
        components = (Position,)

        async def process(self, df: DataFrame) -> DataFrame:
            await asyncio.sleep(0)
            return plus_one(df)

    class Decorated(Processor):
        components = (Position,)

        @traced
        async def process(self, df: DataFrame, tick: int) -> DataFrame:
            await asyncio.sleep(0)
            assert tick == 1
            return plus_one(df)

    class Delegates(Processor):
        components = (Position,)

        def process(self, df: DataFrame) -> Any:
            return Awaits().process(df)

    class Comprehends(Processor):
        components = (Position,)

        async def process(self, df: DataFrame) -> DataFrame:
            async def steps() -> Any:
                await asyncio.sleep(0)
                yield plus_one

            for step in [step async for step in steps()]:
                df = step(df)
            return df

    class Duck:
        components = (Position,)

        def process(self, df: DataFrame) -> DataFrame:
            return plus_one(df)

    async def scenario() -> None:
        kinds = [Plain(), Coroutine(), Awaits(), Decorated(), Delegates(), Comprehends(), Duck()]
        there = world(*kinds)  # type: ignore[arg-type]  # reason: this is what is refused
        there.spawn(Position())
        await there.run(2)
        assert xs(there) == {1: float(len(kinds))}

    drive(scenario)


def test_failure_of_a_duck_is_a_processor_error() -> None:
    """A failing object that is not a Processor is a ProcessorError too (T7)."""

    class Duck:
        components = (Position,)

        def process(self, df: DataFrame) -> DataFrame:
            raise ValueError("quack")

    async def scenario() -> None:
        there = world(Duck())  # type: ignore[arg-type]  # reason: this is what is refused
        there.spawn(Position())
        await there.step()
        with pytest.raises(ProcessorError, match="quack"):
            await there.step()

    drive(scenario)


def test_processors_run_by_priority_then_registration() -> None:
    """Lower priorities run first, equal ones in the order they were added, also after removals (T12)."""
    ran: list[str] = []

    def named(name: str, level: int) -> Calls:
        class Ordered(Watches):
            priority = level

        return Ordered(lambda df, **_: ran.append(name))

    async def scenario() -> None:
        first, second = named("first", 5), named("second", 5)
        there = world(named("last", 10), first, second, named("early", -3))
        there.spawn(Position())
        await there.run(2)
        assert ran == ["early", "first", "second", "last"]
        there.remove_processor(first)
        there.add_processor(first)
        ran.clear()
        await there.step()
        assert ran == ["early", "second", "first", "last"]

    drive(scenario)


def test_class_that_was_defined_again_removes_processors_of_the_earlier_definition() -> None:
    """A notebook's cell that runs again makes another class; removing it removes the processors of the one before."""

    def cell() -> type[Move]:
        class Defined(Move):
            pass

        return Defined

    async def scenario() -> None:
        before, again = cell(), cell()
        there = world(before(), Move())
        mover = there.spawn(Position(), Velocity(dx=1))
        await there.run(2)
        assert xs(there) == {mover: 2}
        assert there.remove_processor(again) == 1
        await there.step()
        assert xs(there) == {mover: 3}

    drive(scenario)


def test_processor_runs_on_every_table_that_has_its_components() -> None:
    """A processor runs on every table that has its components, and on no other."""
    ran: list[frozenset[str]] = []

    class Anywhere(Processor):
        components = (Position,)

        def process(self, df: DataFrame) -> DataFrame:
            ran.append(frozenset(df.column_names))
            return df

    async def scenario() -> None:
        there = world(Move(), Anywhere())
        there.spawn_many(
            [(Position(), Velocity()), (Position(), Velocity(), Frozen()), Position(), (Name(), Flagged()), Frozen()]
        )
        await there.run(2)
        assert xs(there) == {1: 1.0, 2: 1.0, 3: 0.0}
        assert len(ran) == 3

    drive(scenario)


def test_registration_refuses_what_could_never_run() -> None:
    """A class, an object without process, odd components or an odd on_error are refused when they are added."""

    class Empty(Processor):
        components = (Position,)

    class Nowhere(Processor):
        def process(self, df: DataFrame) -> DataFrame:
            return df

    class Emptied(Move):
        components = ()  # type: ignore[assignment]  # reason: this is what is refused

    class Odd(Move):
        components = (int,)  # type: ignore[assignment]  # reason: this is what is refused

    class One(Move):
        components = Position  # type: ignore[assignment]  # reason: this is what is refused

    class Loud(Move):
        on_error = "shout"  # type: ignore[assignment]  # reason: this is what is refused

    system = System()
    for wrong in (Move, object(), Empty(), Odd(), One()):
        with pytest.raises(TypeError):
            system.add(wrong)  # type: ignore[arg-type]  # reason: this is what is refused
    for wrong in (Nowhere(), Emptied()):
        with pytest.raises(TypeError, match="name at least one component"):
            system.add(wrong)
    with pytest.raises(ValueError, match="on_error"):
        system.add(Loud())
    assert system.slots == ()


def test_names_tell_processors_of_one_class_apart() -> None:
    """The second instance of a class has a number in its name, and both can be removed (T7)."""
    system = System()
    names = [system.add(Move()).name for _ in range(3)]
    assert names == ["Move", "Move#2", "Move#3"]
    assert system.remove(Move) == 3
    assert system.remove(Move) == 0


def test_fractional_priorities_are_kept_or_refused() -> None:
    """0.5 sorts between 0 and 1, or is an error; it is not 0."""

    class Half(Move):
        priority = 0.5  # type: ignore[assignment]  # reason: this is what is refused

    class Zero(Move):
        priority = 0

    system = System()
    try:
        system.add(Half())
    except (TypeError, ValueError):
        return
    system.add(Zero())
    assert [slot.name.rpartition(".")[2] for slot in system.slots] == ["Zero", "Half"]
