"""Labels: simple values that tell the histories of several worlds apart, as columns of one frame."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from archetype_core.store.request import BASE_FIELDS

Label = str | int | float | bool | None
Labels = Mapping[str, Label]

RESERVED = frozenset({*BASE_FIELDS, "branch", "seed", "episode", "name", "reason", "steps", "score", "error"})
"""Columns of queries and results that a label must not hide."""


def checked_labels(labels: Any) -> dict[str, Label]:
    """Return labels as plain values; ``TypeError`` or ``ValueError`` for a name or value that cannot be a column."""
    if not isinstance(labels, Mapping):
        raise TypeError(f"labels must be a mapping from names to values, not {labels!r}")
    checked: dict[str, Label] = {}
    for name, value in labels.items():
        if not isinstance(name, str) or not name.isidentifier() or "__" in name:
            raise ValueError(f"a label's name must be an identifier without '__', not {name!r}")
        if name in RESERVED:
            raise ValueError(f"label {name!r} is the name of a column that results have already: choose another name")
        if not is_simple(value := _plain(value)):
            raise TypeError(f"label {name!r} must be a str, a 64-bit int, a float, a bool or None, not {value!r}")
        checked[name] = value
    return checked


def is_simple(value: object) -> bool:
    """Whether a value can be a label."""
    if isinstance(value, int) and not isinstance(value, bool):
        return -(2**63) <= value < 2**63
    return value is None or isinstance(value, str | float | bool)


def simple_fields(thing: object) -> dict[str, Label]:
    """Return the public fields of an object whose values can be labels."""
    if dataclasses.is_dataclass(thing):
        names = [one.name for one in dataclasses.fields(thing)]
    else:
        names = list(getattr(thing, "__dict__", ()))
    found = {name: _plain(getattr(thing, name)) for name in names if not name.startswith("_")}
    return {name: value for name, value in found.items() if is_simple(value)}


def label_columns(rows: Sequence[Labels]) -> tuple[pa.Field, ...]:
    """Return the columns for the labels of several histories; ``TypeError`` if one label has values of several types.

    Ints and floats together are floats; a history without a label has null.
    """
    found: dict[str, dict[pa.DataType, Label]] = {}
    for row in rows:
        for name, value in row.items():
            types = found.setdefault(name, {})
            if value is not None:
                types.setdefault(_type(value), value)
    return tuple(pa.field(name, _common(name, types)) for name, types in found.items())


def _common(name: str, types: Mapping[pa.DataType, Label]) -> pa.DataType:
    if types.keys() == {pa.int64(), pa.float64()}:
        return pa.float64()
    if len(types) > 1:
        given = " and ".join(repr(one) for one in types.values())
        raise TypeError(f"the values of {name!r} must be of one type, not {given}")
    return next(iter(types), pa.large_string())


def _type(value: Label) -> pa.DataType:
    match value:
        case bool():
            return pa.bool_()
        case int():
            return pa.int64()
        case float():
            return pa.float64()
        case _:
            return pa.large_string()


def _plain(value: Any) -> Any:
    """Return the Python value of a numpy scalar; anything else as it is."""
    return value.item() if type(value).__module__ == "numpy" and getattr(value, "ndim", 1) == 0 else value
