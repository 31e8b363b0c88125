"""Wrong arguments of a world are refused by name, with what to pass instead."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import pytest
from daft import DataFrame
from hypothesis import given
from hypothesis import strategies as st
from scene import Position, Velocity

from archetype_core.argument import nearest
from archetype_core.config import RunConfig
from archetype_core.engine import PostTick, Processor, World
from archetype_core.store import MemoryStore


class Blow(Processor):
    components = (Position,)

    def process(self, df: DataFrame, wind: float = 0.0) -> DataFrame:
        return df.with_columns({"position__x": Position.c.x + wind})


class TakesAny(Processor):
    components = (Position,)

    def process(self, df: DataFrame, **_: Any) -> DataFrame:
        return df


def made(**parts: Any) -> World:
    """A world with these parts."""
    return World(MemoryStore(), **parts)


async def outcome(call: Callable[..., object], *arguments: object) -> object:
    """What a call gives, awaited if it is a coroutine."""
    result = call(*arguments)
    return await result if inspect.isawaitable(result) else result


def refusal(call: Callable[[World], object], *processors: Processor) -> tuple[type[BaseException], str]:
    """The class and text of what a call on a world with entity 1 raises; the world has not moved."""

    async def main() -> tuple[type[BaseException], str]:
        world = World(MemoryStore(), processors=processors)
        world.spawn(Position())
        await world.step()
        with pytest.raises((TypeError, ValueError)) as caught:
            await outcome(call, world)
        assert (world.tick, world.pending) == (1, 0)
        return caught.type, str(caught.value)

    return asyncio.run(main())


CALLS: dict[str, tuple[Callable[[Any], object], type[BaseException], str]] = {
    "get a name": (lambda world: world.get(1, "Position"), TypeError, "not 'Position': pass the class Position"),
    "get a near name": (lambda world: world.get(1, "Positon"), TypeError, "not 'Positon'; did you mean Position?"),
    "get an instance": (lambda world: world.get(1, Position()), TypeError, "pass the class Position"),
    "get_components": (lambda world: world.get_components(1, "Position"), TypeError, "pass the class Position"),
    "entity_ids": (lambda world: world.entity_ids("Position"), TypeError, "pass the class Position"),
    "query a name": (lambda world: world.query("Position"), TypeError, "pass the class Position"),
    "query an id": (lambda world: world.query(entity_ids=10**30), ValueError, "entity_ids holds 1000000"),
    "query ids": (lambda world: world.query(entity_ids=[1, -(10**30)]), ValueError, "entity_ids holds -1000000"),
    "query where": (
        lambda world: world.query(where="x > 1"),
        TypeError,
        "where is an expression, such as Position.c.x > 1",
    ),
    "snapshot": (lambda world: world.snapshot("Position"), TypeError, "pass the class Position"),
    "remove_components": (lambda world: world.remove_components(1, Position()), TypeError, "pass the class Position"),
    "spawn": (lambda world: world.spawn("x"), TypeError, "an entity is made of component instances, not 'x'"),
    "spawn_many": (lambda world: world.spawn_many(3), TypeError, "bundles must be a list or another iterable, not 3"),
    "update": (
        lambda world: world.update(1, "x"),
        TypeError,
        "an entity is made of component instances, not 'x'",
    ),
    "a hook by name": (lambda world: world.add_hook("PostTick", print), TypeError, "give the class PostTick"),
    "a hook of nothing": (lambda world: world.add_hook(int, print), TypeError, "give a class such as PreTick"),
    "a hook without function": (lambda world: world.add_hook(PostTick, 3), TypeError, "3 cannot be called"),
    "hooks": (
        lambda _: made(hooks=[print]),
        TypeError,
        "a hook is a pair of an event type and a function",
    ),
    "one hook": (lambda _: made(hooks=(PostTick, print)), TypeError, "a hook is a pair"),
    "one processor": (lambda _: made(processors=Blow()), TypeError, "processors must be a list"),
    "resources": (lambda _: made(resources="wind"), TypeError, "resources must be a list"),
    "a processor": (
        lambda world: world.add_processor(object()),
        TypeError,
        "object has no process method: define process(self, df)",
    ),
    "no processor": (lambda world: world.remove_processor(3), TypeError, "takes a processor or its class, not 3"),
    "no handle": (lambda world: world.remove_hook(print), TypeError, "takes the handle that add_hook returned"),
    "no resource": (lambda world: world.resources.remove("Wind"), TypeError, "a resource is named by its type"),
    "step of a number": (lambda world: world.step(3), TypeError, "config must be a configuration, RunConfig(…), not 3"),
    "run of a number": (
        lambda world: world.run(config=3),
        TypeError,
        "config must be a configuration, RunConfig(…), not 3",
    ),
    "steps of a step": (
        lambda world: world.step(RunConfig(steps=3)),
        ValueError,
        "step runs one tick, and config.steps is 3: use run(config=config)",
    ),
    "no steps of a step": (lambda world: world.step(RunConfig(steps=0)), ValueError, "config.steps is 0"),
    "two numbers of steps": (
        lambda world: world.run(3, config=RunConfig(steps=2)),
        ValueError,
        "steps is 3 and config.steps is 2: pass one of them",
    ),
    "inputs": (lambda _: RunConfig(inputs=3), TypeError, "inputs must be a mapping"),  # type: ignore[arg-type]  # reason: the mistake
}


@pytest.mark.parametrize(("call", "kind", "text"), CALLS.values(), ids=CALLS)
def test_a_wrong_argument_is_refused_by_name(
    call: Callable[[World], object], kind: type[BaseException], text: str
) -> None:
    """The refusal is a ``TypeError`` or ``ValueError`` that says what to pass, and nothing is staged."""
    found, said = refusal(call)
    assert issubclass(found, kind)
    assert text in said


def test_agreeing_numbers_of_steps_are_no_conflict() -> None:
    """``steps`` and a configuration may both be given where they do not differ."""

    async def main() -> None:
        world = World(MemoryStore())
        await world.run(3, config=RunConfig(steps=3))
        await world.run(2, config=RunConfig(run_id="second"))
        assert (world.tick, world.run_id) == (5, "second")

    asyncio.run(main())


@pytest.mark.parametrize(
    ("inputs", "processors", "text"),
    [
        ({"wnd": 1}, (Blow(),), "no processor takes the input 'wnd': they name wind; did you mean wind?"),
        ({"actions": 1}, (Blow(),), "no processor takes the input 'actions': they name wind"),
        ({"actions": 1}, (), "no processor takes the input 'actions': they name no input"),
    ],
)
def test_an_input_that_no_processor_takes_is_refused(
    inputs: dict[str, Any], processors: tuple[Processor, ...], text: str
) -> None:
    """It would have no effect: ``step``, ``run`` and configurations refuse it and list the inputs there are (T9)."""
    calls: list[Callable[[World], object]] = [
        lambda world: world.step(**inputs),
        lambda world: world.run(2, **inputs),
        lambda world: world.step(RunConfig(inputs=inputs)),
        lambda world: world.advance(1, inputs=inputs),
    ]
    for call in calls:
        assert refusal(call, *processors) == (TypeError, text)


def test_a_processor_with_any_keyword_takes_every_input() -> None:
    """``**kwargs`` accepts what it is given, even if ``process`` never reads it."""

    async def main() -> None:
        world = World(MemoryStore(), processors=[Blow(), TakesAny()])
        world.spawn(Position(), Velocity())
        await world.step()
        await world.step(anything=3, wind=2.0)
        assert world.get(1, Position).x == 2.0

    asyncio.run(main())


@given(st.sampled_from(["wind", "actions", "max_speed"]), st.data())
def test_a_near_name_is_suggested(name: str, data: st.DataObject) -> None:
    """A name with one letter left out, or in other case, suggests the right one; one like none suggests nothing."""
    at = data.draw(st.integers(0, len(name) - 1))
    known = ["wind", "actions", "max_speed"]
    for misspelt in (name[:at] + name[at + 1 :], name.upper(), name.title()):
        assert nearest(misspelt, known) == f"; did you mean {name}?"
    assert nearest("qqqqqq", known) == ""


def test_a_misspelt_field_lists_the_fields() -> None:
    """``Position.X`` and ``Position.c.xx`` name the fields and the nearest one (M6)."""
    for owner, name in ((Position, "X"), (Position.c, "xx")):
        with pytest.raises(
            AttributeError, match=r"Position has no field 'Xx?'; it has y, x; did you mean x\?|'xx'; it has"
        ):
            getattr(owner, name)
    with pytest.raises(AttributeError, match=r"Velocity has no field 'zzz'; it has dx, dy$"):
        getattr(Velocity, "zzz")  # noqa: B009  # reason: unknown to type checkers
