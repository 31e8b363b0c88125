"""What the first mistakes of a newcomer are told: the remedy, in the words of the call that they made."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from daft import DataFrame
from runtime_scene import Position

from archetype import (
    ArchetypeRuntime,
    Component,
    EpisodeConfig,
    Processor,
    ProcessorError,
    RolloutConfig,
    RolloutConflict,
    TickConflict,
)


class Mark(Component):
    """A component that the entities of these tests lack."""


def test_the_wrong_with_says_which_one_is_right() -> None:
    """``with`` on the async runtime and ``async with`` on the sync one name each other."""
    plain: Any = ArchetypeRuntime("memory:")
    with pytest.raises(TypeError, match=r"use async with .* or with ArchetypeRuntime.sync"), plain:
        pass

    async def main() -> None:
        sync: Any = ArchetypeRuntime.sync("memory:")
        async with sync:
            pass

    with pytest.raises(TypeError, match=r"use with ArchetypeRuntime.sync.* or async with"):
        asyncio.run(main())


async def forgets_to_await(df: DataFrame) -> object:
    """Return a coroutine in place of what it would give."""
    return asyncio.sleep(0)


FIRST_PROCESSORS: dict[str, tuple[Callable[..., object], str]] = {
    "an input that nobody passes": (lambda df, push: df, "an input is passed with the step, such as step(push=…)"),
    "a misspelt argument": (lambda df, rgn: df, "missing 1 required positional argument: 'rgn'; did you mean rng?"),
    "a write in place": (
        lambda arrays: arrays[Position.c.x].fill(1.0),
        "read-only: make a new one, or change a copy()",
    ),
    "a bare field": (lambda arrays: {"x": arrays[Position.c.x]}, "has no such column; did you mean position__x?"),
    "a bare field that is read": (
        lambda arrays: {Position.c.x: arrays["x"]},
        "did you mean position__x?",
    ),
    "a coroutine": (forgets_to_await, "did it forget to await?"),
    "a view that is to spawn": (lambda df, world: world.spawn(Position()), "names commands and calls commands.spawn"),
    "a field of an entity": (lambda df, world: world.get(1).x, "is a field of one: entity[Position].x, or get(id, Pos"),
}


@pytest.mark.parametrize(("process", "text"), FIRST_PROCESSORS.values(), ids=FIRST_PROCESSORS)
def test_a_first_processor_is_told_what_to_write(process: Callable[..., object], text: str) -> None:
    """The usual mistakes of a first processor are told with their remedy."""
    kind = type("First", (Processor,), {"components": (Position,), "process": staticmethod(process)})
    with ArchetypeRuntime.sync("memory:", progress=False) as runtime:
        world = runtime.world("demo", processors=[kind()])
        world.spawn(Position())
        world.step()
        with pytest.raises(ProcessorError) as caught:
            world.step()
        assert text in caught.value.reason


def test_keys_that_are_missing_are_shown_without_quotes() -> None:
    """The text of a ``KeyError`` of ours reads as a sentence."""
    with ArchetypeRuntime.sync("memory:", progress=False) as runtime:
        world = runtime.world("demo")
        world.spawn(Position())
        world.step()
        with pytest.raises(KeyError) as caught:
            world.get(1, Mark)
    assert str(caught.value).startswith("entity 1 has no Mark; it has Position")


def test_numpy_ints_are_seeds(tmp_path: Path) -> None:
    """Seeds that come from an array are taken, kept as ints, and resume a rollout like ints."""
    with ArchetypeRuntime.sync(f"journal:{tmp_path / 'history'}", progress=False) as runtime:
        world = runtime.world("demo", seed=3)
        world.spawn(Position())
        world.step()
        four: Any = np.int64(4)
        assert world.fork(rng=four).info().seed == 4
        given: list[Any] = [np.arange(3), list(np.arange(3)), range(3)]
        episode = EpisodeConfig(max_steps=1, score=lambda view: 1.0)
        made = [RolloutConfig(num_episodes=3, seeds=one, episode_config=episode, name="one") for one in given]
        assert made[0].seeds == made[1].seeds == made[2].seeds == (0, 1, 2)
        first, *again = [world.run_rollout(one) for one in made]
        assert all(one.episodes == first.episodes for one in again)


def test_a_changed_rollout_says_what_is_different(tmp_path: Path) -> None:
    """Of long lists the conflict shows the first episode that differs, not two equal beginnings."""
    with ArchetypeRuntime.sync(f"journal:{tmp_path / 'history'}", progress=False) as runtime:
        world = runtime.world("demo")
        world.spawn(Position())
        world.step()

        def study(last: str) -> None:
            labels = [{"variant": "calm"}] * 9 + [{"variant": last}]
            episode = EpisodeConfig(max_steps=1)
            world.run_rollout(RolloutConfig(num_episodes=10, labels=labels, name="one", episode_config=episode))

        study("windy")
        with pytest.raises(
            RolloutConflict, match=r'its labels of episode 9 was \{"variant": "windy"\} and is now .*stormy'
        ):
            study("stormy")


def test_a_conflict_says_how_to_go_on(tmp_path: Path) -> None:
    """Whoever steps second is told to close the world and declare it again, and can."""
    place = f"journal:{tmp_path / 'history'}"
    with ArchetypeRuntime.sync(place) as first, ArchetypeRuntime.sync(place) as second:
        world = first.world("demo")
        world.spawn(Position())
        world.step()
        second.world("demo").step()
        with pytest.raises(TickConflict, match=r"moved it on. Close this one with shutdown\(\), then declare"):
            world.step()
        world.shutdown()
        assert first.world("demo").step().tick == 2
