"""Payloads of many entities become the columns that their components have, or none at all."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, field_validator

from archetype_core.errors import ArchetypeError
from archetype_core.schema import Archetype, Component, Vector, payload_table


class Plain(Component):
    x: float
    n: int = 7
    name: str = "nobody"
    is_open: bool = False


class Narrow(Component):
    share: Annotated[float, Field(ge=0, le=1)] = 0.5
    place: Annotated[list[float], Vector(2)] = [0.0, 0.0]
    seen: datetime | None = None
    data: bytes = b""


class Even(Component):
    n: int

    @field_validator("n")
    @classmethod
    def halved(cls, value: int) -> int:
        """Validators may refuse a value, and change it."""
        if value % 2:
            raise ValueError("odd")
        return value // 2


class Tag(Component):
    pass


def expected(bundles: list[list[dict[str, Any]]]) -> pa.Table | None:
    """What the components that are made one by one have in their columns; ``None`` if one cannot be made."""
    try:
        made = [[Component.from_payload(one) for one in bundle] for bundle in bundles]
        archetype = Archetype.of(*map(type, made[0]))
    except ArchetypeError:
        return None
    columns: dict[str, pa.Array] = {}
    for each in zip(*made, strict=True):
        if len(set(map(type, each))) != 1:
            return None
        kind = type(each[0]).component_type()
        columns |= dict(zip((field.name for field in kind.fields), kind.columns(each), strict=True))
    if not columns:
        return None
    return pa.table({name: columns[name] for name in archetype.column_names})


NUMBERS: st.SearchStrategy[Any] = st.one_of(
    st.floats(width=64),
    st.integers(-3, 3),
    st.sampled_from([0, 1, 0.0, -0.0, 2**53 + 1, 2**63, -(2**63), 10**400, "NaN", "-Infinity", "1", True, None, []]),
)
TEXTS = st.one_of(st.text(max_size=3), st.sampled_from(["\ud800", 5, None, "2026-01-31T12:00:00+01:00[Europe/Berlin]"]))
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "x": NUMBERS,
    "n": NUMBERS,
    "share": NUMBERS,
    "place": st.one_of(st.lists(NUMBERS, max_size=3), st.just([1.0, 2.0])),
    "name": TEXTS,
    "seen": TEXTS,
    "data": TEXTS,
    "is_open": st.sampled_from([True, False, 1, "yes", None]),
    "more": st.just(1),
}
KEYS: dict[Any, tuple[str, ...]] = {
    Plain: ("x", "n", "name", "is_open"),
    Narrow: ("share", "place", "seen", "data"),
    Even: ("n",),
    Tag: (),
}
GOOD = {
    "x": st.floats(),
    "n": st.integers(-8, 8).map(lambda one: one * 2),
    "share": st.floats(0, 1),
    "name": st.text(max_size=3),
}


@st.composite
def many(draw: st.DrawFn) -> list[list[dict[str, Any]]]:
    """Payloads of some entities of one archetype, most of them right."""
    classes = draw(st.lists(st.sampled_from(list(KEYS)), min_size=1, max_size=2, unique=True))
    is_good = draw(st.booleans())

    def payload(cls: Any) -> st.SearchStrategy[dict[str, Any]]:
        values = {key: GOOD[key] if is_good and key in GOOD else FIELDS[key] for key in KEYS[cls]}
        if is_good:
            values = {key: one for key, one in values.items() if key in GOOD}
        needed = {key: values.pop(key) for key in ("x",) if key in values and is_good}
        optional = values if is_good else {**values, "more": FIELDS["more"]}
        if cls is Even and is_good:
            needed, optional = values, {}
        return st.fixed_dictionaries({"type": st.just(cls.__name__), **needed}, optional=optional)

    rows = st.tuples(*map(payload, classes)).map(list)
    return draw(st.lists(rows, min_size=1, max_size=4))


@given(many())
def test_the_same_as_one_by_one(bundles: list[list[dict[str, Any]]]) -> None:
    """A table has what the components have, bit by bit; if one of them cannot be made, there is none."""
    found, wanted = payload_table(bundles), expected(bundles)
    assert (found is None) == (wanted is None)
    if found is not None and wanted is not None:
        table, archetype = found
        assert table.column_names == list(archetype.column_names)
        for name in table.column_names:
            assert table.column(name).type == wanted.column(name).type
            # Bit by bit: NaN too, and the sign of zero.
            assert [b.to_pybytes() if b else b for c in table.column(name).chunks for b in c.buffers()] == [
                b.to_pybytes() if b else b for c in wanted.column(name).chunks for b in c.buffers()
            ]


@pytest.mark.parametrize(
    "bundles",
    [
        [],
        [[]],
        [[{"type": "Tag"}]],
        [[{"type": "Nothing"}]],
        [[{"type": ["Plain"]}]],
        [[{"x": 1.0}]],
        [[{"type": "Plain"}]],
        [[{"type": "Plain", "x": 1.0}], [{"type": "Narrow"}]],
        [[{"type": "Plain", "x": 1.0}], [{"type": "Plain", "x": 1.0}, {"type": "Narrow"}]],
        [[{"type": "Plain", "x": 1.0}, {"type": "Plain", "x": 1.0}]],
        [[{"type": "Plain", "x": 1.0, "more": 1}]],
        [[{"type": "Even", "n": 3}]],
    ],
)
def test_what_is_no_table(bundles: list[list[dict[str, Any]]]) -> None:
    """Entities of other archetypes, and payloads that do not fit, are left to be checked one by one."""
    assert payload_table(bundles) is None


def test_validators_run() -> None:
    """What a validator makes of a value is in the column."""
    found = payload_table([[{"type": "Even", "n": 4}], [{"type": "Even", "n": 6}]])
    assert found is not None
    assert found[0].column("even__n").to_pylist() == [2, 3]
