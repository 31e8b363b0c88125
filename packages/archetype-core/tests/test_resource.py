"""Resources: objects by type."""

from __future__ import annotations

from typing import Any

import pytest
from daft import DataFrame, lit
from scene import Calls, Position, drive, world, xs

from archetype_core.engine import Resources


class Config:
    def __init__(self, speed: float = 1.0) -> None:
        self.speed = speed


class FastConfig(Config):
    pass


class Stubborn:
    def __deepcopy__(self, memo: Any) -> Stubborn:
        raise RuntimeError("one of a kind")


def test_objects_are_found_by_their_own_type() -> None:
    """A resource is found by its own class, not by a base class; a later one replaces it."""
    first, second, fast = Config(), Config(2.0), FastConfig()
    resources = Resources(first, fast)
    resources.insert(second)
    assert resources[Config] is resources.require(Config) is resources.get(Config) is second
    assert resources[FastConfig] is fast
    assert (len(resources), set(resources), Config in resources, int in resources) == (2, {second, fast}, True, False)


def test_missing_resources_say_what_is_there() -> None:
    """A missing resource is None for get and remove; require raises a LookupError that lists the present ones."""
    resources = Resources(Config())
    assert resources.get(FastConfig) is None
    assert resources.remove(FastConfig) is None
    with pytest.raises(LookupError, match=r"FastConfig.*Config"):
        resources.require(FastConfig)
    with pytest.raises(LookupError, match="nothing"):
        Resources()[Config]


def test_classes_are_refused() -> None:
    """Inserting a class instead of an instance is an error."""
    with pytest.raises(TypeError, match="Config"):
        Resources(Config)


def test_falsy_resources_are_resources() -> None:
    """A false object, or None, can be a resource."""
    resources = Resources(0, "", None)
    assert (resources[int], resources[str], len(resources)) == (0, "", 3)
    assert type(None) in resources


def test_removal_during_iteration() -> None:
    """A resource can be removed during iteration."""
    resources = Resources(Config(), FastConfig(), 1)
    for one in resources:
        assert resources.remove(type(one)) is one
    assert len(resources) == 0


def test_processors_share_their_worlds_resources() -> None:
    """A processor can change a resource, and sees the change in the next tick (T9, T15)."""

    async def scenario() -> None:
        def act(df: DataFrame, resources: Resources, **_: Any) -> DataFrame:
            resources[Config].speed *= 2
            return df.with_column("position__x", Position.c.x + lit(resources[Config].speed))

        there = world(Calls(act), resources=[Config()])
        there.spawn(Position())
        await there.run(3)
        assert xs(there) == {1: 6.0}

    drive(scenario)


def test_copies_that_fail_leave_the_source_alone() -> None:
    """A resource that cannot be copied fails the fork, and nothing else (R3)."""

    async def scenario() -> None:
        there = world(resources=[Stubborn()])
        with pytest.raises(RuntimeError, match="one of a kind"):
            await there.fork(resources="copy")
        assert Stubborn in (await there.fork()).resources
        await there.step()

    drive(scenario)
