"""What a script prints when a processor fails, and what wrong arguments of a handle say."""

from __future__ import annotations

import asyncio
import inspect
import json
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from daft import DataFrame
from runtime_scene import Position

from archetype import (
    ActorCtx,
    ArchetypeRuntime,
    Component,
    Despawn,
    EntityNotFound,
    PostTick,
    Processor,
    RolloutConfig,
    RunConfig,
    Spawn,
    TickNotFound,
    Update,
)

MOST_LINES = 25

HEAD = """
import asyncio
from archetype import ArchetypeRuntime, Component, Processor, PreTick

class Position(Component):
    x: float = 0.0

def helper():
    raise ValueError("boom")

class Bad(Processor):
    components = (Position,)

    def process(self, df):
        helper()

def observe(event):
    helper()
"""
ASYNC = """
async def main():
    async with ArchetypeRuntime() as runtime:
        world = runtime.world("demo", storage="memory:", processors=[Bad()])
        await world.spawn(Position())
        await world.step()
        HOOK
        await world.CALL

asyncio.run(main())
"""
SYNC = """
def main():
    with ArchetypeRuntime.sync() as runtime:
        world = runtime.world("demo", storage="memory:", processors=[Bad()])
        world.spawn(Position())
        world.step()
        HOOK
        world.CALL

main()
"""


@pytest.mark.parametrize(
    ("tail", "call", "hook", "last"),
    [
        (ASYNC, "step()", "", "ARC-T002"),
        (SYNC, "run(3)", "", "ARC-T002"),
        (ASYNC, "run(3)", "await world.add_hook(PreTick, observe, fail_fast=True)", "ARC-T005"),
        (SYNC, "step()", "world.add_hook(PreTick, observe, fail_fast=True)", "ARC-T005"),
        (SYNC, "run_episode().raise_if_failed()", "", "ARC-T002"),
    ],
)
def test_a_script_prints_a_short_traceback(tail: str, call: str, hook: str, last: str, tmp_path: Path) -> None:
    """At most 25 lines: the call, the user's own lines, and a last line with the code and what to do (T7)."""
    script = tmp_path / "model.py"
    script.write_text(HEAD + tail.replace("CALL", call).replace("HOOK", hook))
    ran = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120, check=False)
    printed = ran.stderr[ran.stderr.index("ValueError: boom\n\n") :].rstrip().splitlines()
    assert ran.returncode == 1
    assert len(printed) <= MOST_LINES
    assert printed[-1].endswith(f"[{last}]")
    own = [one.rsplit(" ", 1)[1] for one in printed if f'"{script}"' in one]
    assert own == ["<module>", "main", "observe" if hook else "process", "helper"]
    foreign = [one for one in printed if one.startswith("  File ") and f'"{script}"' not in one]
    assert all("/asyncio/" in one for one in foreign)
    assert bool(foreign) == ("asyncio.run" in tail)


ENDING = """
import asyncio, sys
from archetype import ArchetypeRuntime, Component, Processor

class Position(Component):
    x: float = 0.0

class Bad(Processor):
    components = (Position,)

    PROCESS
"""
WORKS = "def process(self, df):\n        raise ENDING"
AWAITS = "async def process(self, df):\n        await asyncio.sleep(0)\n        raise ENDING"


@pytest.mark.parametrize("tail", [ASYNC, SYNC], ids=["async", "sync"])
@pytest.mark.parametrize("process", [WORKS, AWAITS], ids=["works", "awaits"])
@pytest.mark.parametrize(
    ("ending", "code", "last"), [("SystemExit(3)", 3, []), ("KeyboardInterrupt", -signal.SIGINT, ["KeyboardInterrupt"])]
)
def test_a_processor_may_end_the_program(  # noqa: PLR0917  # reason: the ways to write and to end one
    tail: str, process: str, ending: str, code: int, last: list[str], tmp_path: Path
) -> None:
    """``SystemExit`` ends the program with its code and no word, an interrupt with a short traceback (T7)."""
    script = tmp_path / "model.py"
    head = ENDING.replace("PROCESS", process.replace("ENDING", ending))
    script.write_text(head + tail.replace("CALL", "step()").replace("HOOK", ""))
    ran = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == code
    shown = ran.stderr.splitlines()
    assert len(shown) <= MOST_LINES
    assert shown[-1:] == last
    assert shown[-2:-1] == [f"    raise {one}" for one in last]
    assert "archetype_core" not in ran.stderr


class Mark(Component):
    pass


class Blow(Processor):
    components = (Position,)

    def process(self, df: DataFrame, wind: float = 0.0) -> DataFrame:
        return df.with_columns({"position__x": Position.c.x + wind})


NO_ID: Any = 1.5
CALLS: dict[str, tuple[Callable[[Any, Any], object], type[BaseException], str]] = {
    "get": (lambda _, world: world.get(1, "Position"), TypeError, "pass the class Position"),
    "submit": (lambda _, world: world.submit(Position()), TypeError, "wrap it, Spawn((Position(…),))"),
    "submit a class": (lambda _, world: world.submit(Spawn), TypeError, "a command is an object such as Spawn"),
    "submit_batch": (lambda _, world: world.submit_batch(Spawn((Position(),))), TypeError, "commands must be a list"),
    "hooks": (lambda runtime, _: runtime.world("a", hooks=[print]), TypeError, "a hook is a pair"),
    "one hook": (lambda runtime, _: runtime.open("a", hooks=(PostTick, print)), TypeError, "a hook is a pair"),
    "one processor": (lambda runtime, _: runtime.world("a", processors=Blow()), TypeError, "processors must be a list"),
    "resources by type": (
        lambda runtime, _: runtime.world("a", resources={int: 3}),
        TypeError,
        "not the mapping {<class 'int'>: 3}: list its values",
    ),
    "a condition as text": (
        lambda _, world: world.update("position__x > 1", Position(x=1.0)),
        TypeError,
        "a condition is an expression, such as Position.c.x > 1",
    ),
    "more seeds than episodes": (
        lambda _, world: world.run_rollout(RolloutConfig(seeds=[1, 2])),
        ValueError,
        "2 seeds for 1 episodes: give one each, or num_episodes=2",
    ),
    "one resource": (lambda runtime, _: runtime.world("a", resources=3), TypeError, "resources must be a list"),
    "a keyword": (lambda runtime, _: runtime.world("a", procesors=[]), TypeError, "processors"),
    "rollout": (lambda _, world: world.run_rollout(3), TypeError, "RolloutConfig(…), not 3"),
    "episode": (lambda _, world: world.run_episode(RolloutConfig()), TypeError, "EpisodeConfig(…), not"),
    "actor": (lambda _, world: world.as_actor(None), TypeError, "actor is an ActorCtx, such as"),
    "query an id": (lambda _, world: world.query(entity_ids=10**30), ValueError, "entity_ids holds"),
    "query": (lambda _, world: world.query(Position, tick=3), TypeError, "ticks"),
    "a hook by name": (lambda _, world: world.add_hook("PostTick", print), TypeError, "give the class PostTick"),
    "a processor": (lambda _, world: world.add_processor(object()), TypeError, "object has no process method"),
    "spawn": (lambda _, world: world.spawn("x"), TypeError, "an entity is made of component instances, not 'x'"),
    "spawn_many": (lambda _, world: world.spawn_many([Position(), "x"]), TypeError, "component instances, not 'x'"),
    "spawn a class": (lambda _, world: world.spawn(Position), TypeError, ": make one, Position(…)"),
    "spawn_many of one": (lambda _, world: world.spawn_many(Position()), TypeError, "bundles must be a list"),
    "spawn_many of classes": (lambda _, world: world.spawn_many([Position]), TypeError, ": make one, Position(…)"),
    "despawn a mask": (lambda _, world: world.despawn(np.array([True])), TypeError, "ids[mask]"),
    "despawn floats": (lambda _, world: world.despawn(np.array([1.0])), TypeError, "a flat array of ints"),
    "despawn nested lists": (
        lambda _, world: world.despawn([[1], [2]]),
        TypeError,
        "an entity id must be an int, not [1]",
    ),
    "update a list with text": (lambda _, world: world.update([1, "2"], Position(x=1.0)), TypeError, "not '2'"),
    "despawn a text": (lambda _, world: world.despawn("1"), TypeError, "an entity id must be an int, not '1'"),
    "despawn an entity": (lambda _, world: world.despawn(Position()), TypeError, "an entity id must be an int, not"),
    "update a bool": (lambda _, world: world.update(True, Position(x=1.0)), TypeError, "an int, not True"),
    "update a float": (lambda _, world: world.update(1.0, Position(x=1.0)), TypeError, "an int, not 1.0"),
    "update None": (lambda _, world: world.update(None, Position(x=1.0)), TypeError, "an int, not None"),
    "update with a class": (lambda _, world: world.update(1, Position), TypeError, ": make one, Position(…)"),
    "update by keyword": (lambda _, world: world.update(1, x=1.0), TypeError, "it takes entities, *components"),
    "remove an instance": (
        lambda _, world: world.remove_components(1, Position()),
        TypeError,
        "pass the class Position",
    ),
    "send to a list": (lambda _, world: world.send([1], {}), ValueError, "expected an entity id (int), got [1]"),
    "send to a class": (
        lambda _, world: world.send(Position, {}),
        ValueError,
        "expected an entity id (int), got <class",
    ),
    "submit a mask": (lambda _, world: world.submit(Despawn(np.array([True]))), TypeError, "ids[mask]"),
    "submit an update": (lambda _, world: world.submit(Update(NO_ID, ())), TypeError, "an int, not 1.5"),
    "update": (lambda _, world: world.update(1, "x"), TypeError, "an entity is made of component instances, not 'x'"),
    "remove_components": (
        lambda _, world: world.remove_components(1, "x"),
        TypeError,
        "a component is named by its class",
    ),
    "an input": (lambda _, world: world.step(wnd=3.0), TypeError, "they name wind; did you mean wind?"),
    "an input of a run": (
        lambda _, world: world.run(2, actions=3),
        TypeError,
        "no processor takes the input 'actions'",
    ),
    "step": (lambda _, world: world.step(RunConfig(steps=3)), ValueError, "step runs one tick"),
    "run": (lambda _, world: world.run(3, config=RunConfig(steps=2)), ValueError, "steps is 3 and config.steps is 2"),
    "run a number": (lambda _, world: world.run(config=3), TypeError, "RunConfig(…), not 3"),
    "no hook": (lambda _, world: world.remove_hook(3), TypeError, "takes the handle that add_hook returned"),
    "no entity": (lambda _, world: world.update(99, Position(x=1.0)), EntityNotFound, "entity 99 is not alive"),
    "no tick": (lambda _, world: world.snapshot(at=99), TickNotFound, "has no tick 99"),
    "the next tick": (lambda _, world: world.snapshot(at=1), TickNotFound, "tick 1 is the next one to run"),
    "a fact": (lambda _, world: world.tick, AttributeError, "a handle has no 'tick', which a call reads"),
    "a misspelt method": (lambda _, world: world.snapshoot(), AttributeError, "no attribute 'snapshoot'"),
    "a condition on types": (
        lambda _, world: world.query(Position, where=Position.c.x > "a"),
        TypeError,
        "cannot be a condition: Cannot perform comparison on types: Float64, String",
    ),
    "a number as a condition": (
        lambda _, world: world.snapshot(Position, where=Position.c.x),
        TypeError,
        "a condition is true or false, and col(position__x) is Float64",
    ),
    "a mean as a condition": (
        lambda _, world: world.query(Position, where=Position.c.x > Position.c.x.mean()),
        TypeError,
        "cannot be a condition: Aggregation expressions",
    ),
    "update by types": (
        lambda _, world: world.update(Position.c.x > "a", Position(x=1.0)),
        TypeError,
        "cannot be a condition",
    ),
    "update_where with a component": (
        lambda _, world: world.update_where(Position.c.x > 1, Position(x=1.0)),
        TypeError,
        "columns are given as a mapping",
    ),
    "spawn_table of one value": (
        lambda _, world: world.spawn_table({"x": 1.0}, Position),
        TypeError,
        "column x is a single value, 1.0: pass a list",
    ),
    "spawn_table of a matrix": (
        lambda _, world: world.spawn_table({"x": np.zeros((2, 2))}, Position),
        TypeError,
        "column x: only handle 1-dimensional arrays",
    ),
    "spawn_table of large ints": (
        lambda _, world: world.spawn_table({"x": [2**70]}, Position),
        TypeError,
        "column x: ",
    ),
    "spawn_table with an instance": (
        lambda _, world: world.spawn_table({"x": [1.0]}, Position()),
        TypeError,
        "pass the class Position",
    ),
    "fork with a word": (lambda _, world: world.fork(rng="new"), ValueError, "rng is 'same', 'fresh' or a seed"),
    "fork with a list": (lambda _, world: world.fork(resources=[3]), ValueError, "such as {Wind: Wind(2.0)}"),
    "history by a misspelt status": (
        lambda _, world: world.history(status="reject"),
        ValueError,
        "status is applied, queued, rejected, failed or None",
    ),
    "send NaN": (lambda _, world: world.send(1, {"a": float("nan")}), ValueError, "Send.body: not JSON"),
    "step with a number": (lambda _, world: world.step(steps=3), TypeError, "for several ticks, run(3)"),
    "a component that it lacks": (lambda _, world: world.get(1, Mark), KeyError, "entity 1 has no Mark; it has Pos"),
    "a fork": (lambda _, world: world.fork(3), ValueError, "name must be a non-empty string, not 3"),
}


async def outcome(call: Callable[..., object], *arguments: object) -> object:
    """What a call gives, awaited if it is a coroutine."""
    result = call(*arguments)
    return await result if inspect.isawaitable(result) else result


def check(error: BaseException, text: str) -> None:
    """A refusal says what is wrong, and shows no line but the user's."""
    assert text in str(error)
    here = [one for one in traceback.extract_tb(error.__traceback__) if one.filename != __file__]
    assert [one for one in here if "archetype" in one.filename and "/tests/" not in one.filename] == []


@pytest.mark.parametrize(("call", "kind", "text"), CALLS.values(), ids=CALLS)
def test_a_wrong_argument_is_refused_by_name(
    call: Callable[[Any, Any], object], kind: type[BaseException], text: str
) -> None:
    """The refusal of a handle says what to pass, in the user's own frames, and the world goes on."""

    async def main() -> None:
        async with ArchetypeRuntime(progress=False) as runtime:
            world = runtime.world("demo", storage="memory:", processors=[Blow()])
            await world.spawn(Position())
            await world.step()
            with pytest.raises(kind) as caught:
                await outcome(call, runtime, world)
            check(caught.value, text)
            assert (await world.step(wind=2.0)).tick == 1
            assert await world.get(1, Position) == Position(x=2.0)

    asyncio.run(main())


def test_an_id_of_numpy_is_an_id() -> None:
    """Ids that come from an array are taken as they are, recorded and queued like ints."""
    one, two = np.array([1, 2])
    with ArchetypeRuntime.sync(progress=False) as runtime:
        world = runtime.world("demo", storage="memory:", processors=[Blow()])
        world.spawn_many([Position(), Position()])
        world.step()
        world.update(one, Position(x=5.0))
        world.add_components(one, Mark())
        world.send(two, {"text": "hello"}, sender=one)
        world.submit(Update(two, (Position(x=7.0),)))
        world.step()
        assert world.get(one, Position) == Position(x=5.0)
        assert world.get(two, Position) == Position(x=7.0)
        world.remove_components(one, Mark)
        world.despawn(two)
        world.step()
        assert world.get(one, Position) == Position(x=5.0)
        with pytest.raises(EntityNotFound):
            world.get(two, Position)
        recorded = world.history(oldest_first=True).to_pydict()
        by_kind = dict(zip(recorded["type"], recorded["payload"], strict=True))
        assert json.loads(by_kind["message"]) == {"recipient": 2, "body": {"text": "hello"}, "sender": 1, "kind": ""}
        assert json.loads(by_kind["despawn"]) == {"entity_id": 2}
        assert json.loads(by_kind["remove_component"])["entity_id"] == 1


def test_the_sync_twin_refuses_alike() -> None:
    """Every refusal is the same without ``await``."""
    with ArchetypeRuntime.sync(progress=False) as runtime:
        world = runtime.world("demo", storage="memory:", processors=[Blow()])
        world.spawn(Position())
        world.step()
        for call, kind, text in CALLS.values():
            with pytest.raises(kind) as caught:
                call(runtime, world)
            check(caught.value, text)
        assert world.step(wind=2.0).tick == 1


def test_a_refused_argument_has_an_audit_row() -> None:
    """A refusal inside the gate is recorded with its reason, whatever was passed (G4)."""

    async def main() -> list[tuple[str, str]]:
        async with ArchetypeRuntime(progress=False) as runtime:
            world = runtime.world("demo", storage="memory:", processors=[Blow()])
            await world.spawn(Position())
            await world.step()
            calls: list[Callable[[Any], Any]] = [
                lambda world: world.get(1, "Position"),
                lambda world: world.query("Position"),
                lambda world: world.remove_components(1, "x"),
                lambda world: world.add_hook("PostTick", print),
                lambda world: world.remove_hook(3),
                lambda world: world.step(wnd=3.0),
            ]
            for call in calls:
                with pytest.raises(TypeError):
                    await call(world)
            rows = (await world.history(status="failed", oldest_first=True)).to_pydict()
            return list(zip(rows["type"], rows["reason"], strict=True))

    found = asyncio.run(main())
    assert [kind for kind, _ in found] == [
        "query_world",
        "query_world",
        "remove_component",
        "add_hook",
        "remove_hook",
        "step",
    ]
    assert all(why.startswith("TypeError: ") for _, why in found)


def test_actors_may_be_any_context() -> None:
    """``as_actor`` takes an ``ActorCtx``, also one without roles."""
    with ArchetypeRuntime.sync(progress=False) as runtime:
        world = runtime.world("demo", storage="memory:").as_actor(ActorCtx("nobody", set()))
        assert world.actor.id == "nobody"
