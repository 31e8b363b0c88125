"""The clause on conditions: pushing one down to the store never changes the answer of a query."""

from __future__ import annotations

import operator
from functools import cache
from typing import Any

import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archetype_contracts.assertion import require_equal
from archetype_contracts.sample import spots
from archetype_contracts.sample_columns import SampleColumn, every_sample
from archetype_contracts.script import Script
from archetype_contracts.store.registry import clause
from archetype_contracts.store.subject import StoreSubject
from archetype_core.read import HistoryQuery, query
from archetype_core.store import Capability, Rows

_COMPARED = (operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge)
_TEXT = ("contains", "startswith", "endswith")
_MORE: dict[type, tuple[Any, ...]] = {
    int: (-2, 2, 0.5, (1 << 53) + 1, (1 << 63) - 1, 1 << 63),
    float: (-1.5, 1, 0, 1e300, -1e-310, 0.1),
    str: ("p", "ain", "~"),
    bytes: (b"a", b"\x80"),
}
"""Constants that no row has, by the type of the column's values."""


@clause("S-419", "A query with a condition returns the rows that the condition keeps of the query without it.")
def conditions(subject: StoreSubject) -> None:
    script = _history(subject)
    every = every_sample()
    # Half of the conditions are on the types that are pushed down today.
    pushed = [number for number, one in enumerate(every) if one.kind in ("int64", "float64", "text")]
    ticks = None if subject.claimed(Capability.TIME_TRAVEL) else script.last

    def ask(sample: SampleColumn, *, inactive: bool) -> Any:
        cls = sample.archetype.components[0].cls
        asked = HistoryQuery((cls,), ticks, include_inactive=inactive)
        return query(subject.store, subject.store.timeline(script.segment.world_id), asked, script.name)

    @cache
    def whole(number: int, *, inactive: bool) -> Any:
        return ask(every[number], inactive=inactive).collect()

    def agrees(number: int, condition: Any, *, inactive: bool) -> None:
        try:
            expected = _keys(whole(number, inactive=inactive).where(condition))
        except (ValueError, TypeError, NotImplementedError):
            # Daft has no such comparison, and says so when it plans or runs it. Other errors are those of the read.
            return
        about = f"tick, entity and is_active of the rows of {every[number].kind} values where {condition}"
        require_equal(expected, _keys(ask(every[number], inactive=inactive).where(condition)), about)

    for number in pushed:
        column = whole(number, inactive=True)[every[number].name]
        ends = every[number].column.to_pylist()[:-1:5]
        for condition in (
            column.is_null(),
            column.not_null(),
            *(how(column, one) for how in _COMPARED for one in ends),
        ):
            agrees(number, condition, inactive=True)

    @given(data=st.data(), number=st.sampled_from(pushed) | st.integers(0, len(every) - 1), inactive=st.booleans())
    def any_condition(data: st.DataObject, number: int, inactive: bool) -> None:
        drawn = data.draw(_conditions(whole(number, inactive=inactive), every[number]), label="condition")
        agrees(number, drawn, inactive=inactive)

    chosen = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck))
    if subject.examples is not None:
        chosen = settings(chosen, max_examples=subject.examples)
    chosen(any_condition)()


def _history(subject: StoreSubject) -> Script:
    """Every value of every type, at a tick, carried, and as tombstones."""
    script, wholes = Script(), [one.snapshot() for one in every_sample()]
    subject.store.commit([script.tick(*map(Rows, wholes))])
    subject.store.commit([script.tick(spots({1000: 1.0}))])
    cuts = [(one, one.num_rows // 2) for one in wholes]
    subject.store.commit(
        [script.tick(*(Rows(one.slice(0, cut), one.slice(cut, one.num_rows - cut)) for one, cut in cuts))]
    )
    return script


def _keys(frame: Any) -> list[tuple[int, int, bool]]:
    found = frame.select("tick", "entity_id", "is_active").to_arrow()
    return sorted(zip(*(column.to_pylist() for column in found.columns), strict=True))


def _conditions(frame: Any, sample: SampleColumn) -> st.SearchStrategy[Any]:
    """Conditions on the sample's column, the tick and the entity."""
    one = _leaves(frame[sample.name], _constants(sample))
    for name, most in (("tick", 3), ("entity_id", len(sample.column) + 1)):
        one |= _leaves(frame[name], st.integers(-1, most))
    return st.recursive(
        one,
        lambda part: st.one_of(
            st.builds(operator.and_, part, part), st.builds(operator.or_, part, part), st.builds(operator.invert, part)
        ),
        max_leaves=4,
    )


def _leaves(column: Any, constants: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    found = [st.just(column.is_null()), st.just(column.not_null())]
    if not constants.is_empty:
        found += [
            st.builds(lambda how, value: how(column, value), st.sampled_from(_COMPARED), constants),
            st.lists(constants, min_size=1, max_size=3).map(column.is_in),
            st.builds(column.between, constants, constants),
            st.builds(lambda how, text: getattr(column, how)(text), st.sampled_from(_TEXT), constants),
        ]
    return st.one_of(found)


def _constants(sample: SampleColumn) -> st.SearchStrategy[Any]:
    if pa.types.is_nested(sample.column.type):
        return st.nothing()
    values = [one for one in sample.column.to_pylist() if not isinstance(one, str | bytes) or len(one) < 100]
    more = _MORE.get(type(values[0]), ())
    return st.sampled_from([*values, *more])
