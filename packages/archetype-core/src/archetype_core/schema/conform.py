"""Casts and checks whole Arrow columns against a component's fields, with their defaults and constraints.

A column that has its type is not copied.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic.fields import FieldInfo

from archetype_core.errors import ValueRejected
from archetype_core.schema.cast import is_bytes, is_list, is_text
from archetype_core.schema.component import ComponentField, ComponentType, fields_of, is_moment
from archetype_core.schema.fit import Misfit, fit, fit_moment, refuse_where
from archetype_core.schema.scalar import Refusal

_COMPARISONS: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "ge": (pc.greater_equal, "at least"),
    "gt": (pc.greater, "greater than"),
    "le": (pc.less_equal, "at most"),
    "lt": (pc.less, "less than"),
}


def columns_of(component_type: ComponentType, data: pa.Table) -> Iterator[pa.ChunkedArray]:
    """Yield the component's columns in order, from `data` or from the fields' defaults."""
    for field in fields_of(component_type):
        try:
            yield from field_columns(field, data)
        except Misfit as exc:
            raise ValueRejected(component_type.name, field.name, str(exc), row=exc.row) from None
        except Refusal as exc:
            raise ValueRejected(component_type.name, field.name, str(exc)) from None


def field_columns(field: ComponentField, data: pa.Table) -> list[pa.ChunkedArray]:
    """Return a field's one or two columns, from `data` or from its default; a `Refusal` gives the reason."""
    name = field.columns[0].name
    present = set(data.column_names)
    if name not in present:
        if len(field.columns) == 2 and field.columns[1].name in present:
            raise Refusal(f"column {field.columns[1].name} has no meaning without column {name}")
        return defaults(field, data.num_rows)
    column = data.column(name)
    if is_moment(field.codec):
        zone = field.columns[1].name
        return fit_moment(column, data.column(zone) if zone in present else None, nullable=field.nullable)
    column = fit(column, field.codec)
    for mark in field.info.metadata:
        _check_constraint(column, mark)
    return [column]


def defaults(field: ComponentField, size: int) -> list[pa.ChunkedArray]:
    """Return a field's columns filled with its default; a default factory runs once per row."""
    if not has_default(field.info):
        raise Refusal(f"column {field.columns[0].name} is missing, and the field has no default")
    encoders = zip(field.columns, field.encoders(), strict=True)
    filled = filled_with_default(field.info, size, [(column.type, encode) for column, (_, _, encode) in encoders])
    return [pa.chunked_array([array]) for array in filled]


def filled_with_default(
    info: FieldInfo, size: int, forms: Iterable[tuple[pa.DataType, Callable[[Any], Any]]]
) -> list[pa.Array]:
    """Return arrays of a default, one for each type and encoder; a default factory runs once per row."""
    count = 1 if info.default_factory is None else size
    values = [info.get_default(call_default_factory=True) for _ in range(count)]
    arrays = [pa.array([encode(value) for value in values], kind) for kind, encode in forms]
    if info.default_factory is None:
        arrays = [array.take(pa.array(np.zeros(size, np.int64))) for array in arrays]
    return arrays


def has_default(info: FieldInfo) -> bool:
    """Return whether a field has a default that needs no other field's value."""
    return not info.is_required() and not info.default_factory_takes_validated_data


def _check_constraint(column: pa.ChunkedArray, mark: Any) -> None:
    """Check a simple pydantic constraint, found by its attribute: its package is not a dependency."""
    for name, (compare, words) in _COMPARISONS.items():
        bound = getattr(mark, name, None)
        if bound is not None:
            refuse_where(pc.invert(_compare(column, bound, name, compare)), column, f"is not {words} {bound}")
    for name, reaches in (("min_length", pc.greater_equal), ("max_length", pc.less_equal)):
        length = getattr(mark, name, None)
        if length is not None and (lengths := _lengths(column)) is not None:
            words = "at least" if name == "min_length" else "at most"
            refuse_where(pc.invert(reaches(lengths, length)), column, f"is not {words} {length} long")


def _compare(column: pa.ChunkedArray, bound: Any, name: str, compare: Callable[[Any, Any], Any]) -> Any:
    try:
        return compare(column, pa.scalar(bound, column.type))
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        # the bound does not fit the column, such as 0.5 or 2**70 for an int
        check = getattr(operator, name)
        return pa.chunked_array([[None if value is None else check(value, bound) for value in column.to_pylist()]])


def _lengths(column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    if is_text(column.type):
        return pc.utf8_length(column)
    if is_bytes(column.type):
        return pc.binary_length(column)
    return pc.list_value_length(column) if is_list(column.type) else None
