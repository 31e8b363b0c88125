"""Payloads of stored rows, without the classes of their components."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Annotated
from zoneinfo import ZoneInfo

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from archetype_core import Component, Vector
from archetype_core.schema import stored_payload


class Many(Component):
    """A field of each type."""

    truth: bool = False
    whole: int = 0
    real: float = 0.0
    text: str = ""
    raw: bytes = b""
    moment: dt.datetime = dt.datetime(2026, 1, 1)
    day: dt.date = dt.date(2026, 1, 1)
    span: dt.timedelta = dt.timedelta(0)
    exact: Decimal = Decimal(0)
    place: Annotated[list[float], Vector(2)] = [0.0, 0.0]
    tags: list[str] = []
    counts: dict[str, int] = {}
    maybe: float | None = None


ZONES: st.SearchStrategy[dt.tzinfo] = st.sampled_from(
    [dt.UTC, ZoneInfo("Europe/Berlin"), dt.timezone(dt.timedelta(hours=5, minutes=30))]
)
MANY = st.builds(
    Many,
    truth=st.booleans(),
    whole=st.integers(-(2**63), 2**63 - 1),
    real=st.floats(),
    text=st.text(max_size=5),
    raw=st.binary(max_size=5),
    moment=st.datetimes(dt.datetime(1980, 1, 1), dt.datetime(2100, 1, 1))
    | st.datetimes(dt.datetime(1980, 1, 1), dt.datetime(2100, 1, 1), timezones=ZONES, allow_imaginary=False),
    day=st.dates(),
    span=st.timedeltas(dt.timedelta(-1000), dt.timedelta(1000)),
    tags=st.lists(st.text(max_size=3), max_size=2),
    counts=st.dictionaries(st.text(max_size=3), st.integers(0, 9), max_size=2),
    maybe=st.none() | st.floats(),
)


@given(MANY)
def test_a_stored_row_has_the_payload_of_its_class(one: Many) -> None:
    """Whatever the values are, a row without its class has the payload that its class gives it."""
    kind = Many.component_type()
    columns = dict(zip([field.name for field in kind.fields], kind.columns([one]), strict=True))
    (row,) = pa.table(columns).to_pylist(maps_as_pydicts="strict")
    assert stored_payload(kind, row) == kind.decode(row).to_payload()
