"""Nested models, lists and dicts follow their class as top-level fields do (M8)."""

from __future__ import annotations

import asyncio
import itertools
from types import GenericAlias
from typing import Annotated, Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, create_model
from scene import drive, history
from versions import INT32, stored, version

from archetype_core.engine import World
from archetype_core.errors import SchemaMismatch
from archetype_core.schema import Evolution, each

FLOAT32: Any = Annotated[float, pa.float32()]


def model(name: str, **fields: tuple[Any, Any]) -> Any:
    """A model; each field is its annotation and its default, `...` for none."""
    make: Any = create_model
    return make(name, **fields)


class Spot(BaseModel):
    """The model of the first version."""

    x: INT32 = 1
    y: FLOAT32 = 0.5


class Place(BaseModel):
    """The model of the second: another order, a wider type, and two more fields."""

    y: FLOAT32
    name: str = "here"
    x: int
    tags: list[str] = Field(default_factory=lambda: ["new"])


WRAPPINGS: dict[str, tuple[Any, Any]] = {
    "a model": (lambda kind: kind, lambda value: value),
    "an optional one": (lambda kind: kind | None, lambda value: value),
    "a list": (lambda kind: GenericAlias(list, kind), lambda value: [value, value]),
    "a dict": (lambda kind: GenericAlias(dict, (str, kind)), lambda value: {"a": value}),
    "an optional list of optional ones": (
        lambda kind: GenericAlias(list, kind | None) | None,
        lambda value: [None, value],
    ),
    "a model in a model": (lambda kind: model("Outer", spot=(kind, ...)), None),
}


@pytest.mark.parametrize("name", WRAPPINGS)
def test_a_field_added_inside_a_model_has_its_default(name: str) -> None:
    """An added field with a default and a wider type inside a model go by themselves, at every depth (M8)."""
    wrap, put = WRAPPINGS[name]
    before, after = wrap(Spot), wrap(Place)
    put = put or (lambda value: (before if type(value) is Spot else after)(spot=value))
    one, other = version("Stop", at=(before, ...)), version("Stop", at=(after, ...))

    async def scenario() -> None:
        store = await stored((one(at=put(Spot(x=7, y=0.25))),), (one(at=put(Spot(x=8))),))
        there = await World.open(store, "w", components=[other])
        for _ in range(2):
            assert there.get(1, other).at == put(Place(x=7, y=0.25))
            assert there.get(2, other).at == put(Place(x=8, y=0.5))
            await there.step()
        assert len(history(there, other)) == 6

    drive(scenario)


def test_null_lists_and_models_stay_null() -> None:
    """Null models, lists and dicts stay null beside those that follow (M8)."""
    one = version("Stop", at=(Spot | None, None), all=(list[Spot] | None, None), by=(dict[str, Spot] | None, None))
    other = version("Stop", at=(Place | None, None), all=(list[Place] | None, None), by=(dict[str, Place] | None, None))

    async def scenario() -> None:
        full, new = Spot(x=2), Place(x=2, y=0.5)
        rows = [one(), one(at=full, all=[full, full], by={"a": full}), one(all=[], by={}), one(by={"b": full})]
        store = await stored(*[(row,) for row in rows])
        there = await World.open(store, "w", components=[other])
        expected = [other(), other(at=new, all=[new, new], by={"a": new}), other(all=[], by={}), other(by={"b": new})]
        assert [there.get(entity, other) for entity in (1, 2, 3, 4)] == expected
        await there.step()
        assert (await World.open(store, "w")).get(2, other) == expected[1]

    drive(scenario)


def test_reads_give_null_or_the_default_inside_a_model() -> None:
    """What an older model lacks is null in a read, or its default on request, and `where` sees it (M8, Q2)."""
    one, other = version("Stop", at=(Spot, ...)), version("Stop", at=(Place, ...))

    async def scenario() -> None:
        store = await stored((one(at=Spot(x=7)),))
        there = await World.open(store, "w", components=[other])
        await there.step()
        old, new = there.query(other).sort("tick").to_pydict()["stop__at"]
        assert old == {"y": 0.5, "name": None, "x": 7, "tags": None}
        assert new == {"y": 0.5, "name": "here", "x": 7, "tags": ["new"]}
        filled = there.query(other, missing="default").sort("tick").to_pydict()["stop__at"]
        assert filled == [new, new]
        assert there.snapshot(other, at=0, missing="default").to_pydict()["stop__at"] == [new]
        name: Any = other.c.at["name"]
        assert there.query(other, where=name == "here").to_pydict()["tick"] == [1]
        assert there.query(other, where=name == "here", missing="default").count_rows() == 2
        # The older class reads what it knows of newer rows, as wide as they are.
        assert there.query(one).sort("tick").to_pydict()["stop__at"] == [{"x": 7, "y": 0.5}] * 2
        assert there.get(1, one).at == Spot(x=7)

    drive(scenario)


def test_a_default_factory_inside_a_model_runs_once_per_row() -> None:
    """A default factory inside a model is called for each row, and what it gave is recorded (M8)."""
    count = itertools.count(100)
    stamped = model("Stamped", x=(INT32, ...), stamp=(int, Field(default_factory=lambda: next(count))))
    small = model("Small", x=(INT32, ...))
    one, other = version("Stop", at=(small, ...)), version("Stop", at=(stamped, ...))

    async def scenario() -> None:
        store = await stored((one(at=small(x=1)),), (one(at=small(x=2)),))
        there = await World.open(store, "w", components=[other])
        await there.run(2)
        assert [there.get(entity, other).at.stamp for entity in (1, 2)] == [100, 101]
        assert next(count) == 102

    drive(scenario)


def test_other_changes_inside_a_model_need_a_converter() -> None:
    """A field without a default, and one that is gone or retyped, is `SchemaMismatch` with the line to write (M8)."""
    bare = model("Bare", x=(INT32, ...), y=(FLOAT32, ...), z=(int, ...))
    less, other_type = model("Less", x=(INT32, ...)), model("Text", x=(str, ...), y=(FLOAT32, ...))
    one = version("Stop", at=(Spot, ...))

    async def scenario() -> None:
        store = await stored((one(at=Spot(x=7)),))
        for changed in (bare, less, other_type):
            with pytest.raises(SchemaMismatch, match="field 'at' is stored as struct") as caught:
                await World.open(store, "w", components=[version("Stop", at=(changed, ...))])
            assert 'evolution = Evolution(convert={"at": ...})' in caught.value.remedy
            is_enough = (
                "If Bare.z is new, a default for it is enough: 'at' then needs no converter." in caught.value.remedy
            )
            assert is_enough is (changed is bare)
        convert = Evolution(convert={"at": each(lambda spot: less(x=spot["x"]))})
        there = await World.open(store, "w", components=[version("Stop", convert, at=(less, ...))])
        await there.step()
        assert there.query(one, ticks=1, include_inactive=True).count_rows() == 2

    drive(scenario)


KINDS: dict[str, tuple[Any, Any]] = {
    "int32": (INT32, st.integers(-(2**31), 2**31 - 1)),
    "int64": (int, st.integers(-(2**63), 2**63 - 1)),
    "float32": (FLOAT32, st.floats(width=32, allow_nan=False)),
    "float64": (float, st.floats(allow_nan=False)),
    "text": (str, st.text(max_size=3)),
}
WIDER = {"int32": "int64", "float32": "float64"}


@st.composite
def two_models(draw: Any) -> tuple[type[BaseModel], type[BaseModel], list[dict[str, Any]], dict[str, Any]]:
    """A model, a later one that may have more, wider and moved fields, values of the first, and what the second adds."""
    first = draw(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=3))
    names = {f"f{index}": kind for index, kind in enumerate(first)}
    later: dict[str, tuple[Any, Any]] = {
        name: (KINDS[WIDER.get(kind, kind) if draw(st.booleans()) else kind][0], ...) for name, kind in names.items()
    }
    added = {
        f"g{index}": draw(KINDS[kind][1])
        for index, kind in enumerate(draw(st.lists(st.sampled_from(first), max_size=2)))
    }
    later.update({name: (type(value), value) for name, value in added.items()})
    order = draw(st.permutations(sorted(later)))
    rows = st.lists(st.fixed_dictionaries({name: KINDS[kind][1] for name, kind in names.items()}), max_size=4)
    one = model("One", **{name: (KINDS[kind][0], ...) for name, kind in names.items()})
    other = model("Other", **{name: later[name] for name in order})
    return one, other, draw(rows), added


@given(two_models())
def test_any_model_follows(
    drawn: tuple[type[BaseModel], type[BaseModel], list[dict[str, Any]], dict[str, Any]],
) -> None:
    """Lists of models evolve to any later model with added, wider and moved fields, value by value (M8)."""
    first, later, rows, added = drawn
    one, other = version("Stop", all=(list[first], ...)), version("Stop", all=(list[later], ...))  # type: ignore[valid-type]  # reason: drawn models

    async def scenario() -> None:
        store = await stored((one(all=[first(**row) for row in rows]),), (one(all=[]),))
        there = await World.open(store, "w", components=[other])
        await there.step()
        assert [dict(item) for item in there.get(1, other).all] == [{**row, **added} for row in rows]
        assert there.get(2, other).all == []
        filled = there.query(other, missing="default", ticks=0).sort("entity_id").to_pydict()["stop__all"]
        assert filled == [[{**row, **added} for row in rows], []]

    asyncio.run(scenario())
