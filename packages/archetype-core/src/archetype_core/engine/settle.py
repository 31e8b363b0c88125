"""Casts and checks the columns that a processor changed: nothing that its field cannot hold reaches a commit (T8)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import pyarrow as pa

from archetype_core.engine.wrong_result import WrongResult
from archetype_core.errors import UnknownComponent
from archetype_core.schema.archetype import Archetype
from archetype_core.schema.component import fields_of, is_moment
from archetype_core.schema.fit import Misfit, fit, fit_moment
from archetype_core.schema.nested import Nullable
from archetype_core.schema.scalar import Codec, Text
from archetype_core.schema.snapshot import Column, Snapshot


@dataclass(frozen=True, slots=True)
class ColumnField:
    """What a column stores. A plain ``datetime`` has two columns: ``at`` is the first, and ``zone`` the second."""

    type: pa.DataType
    codec: Codec
    at: str | None = None
    zone: str | None = None

    @property
    def nullable(self) -> bool:
        """Whether null is one of the field's values."""
        return isinstance(self.codec, Nullable)


@lru_cache(maxsize=4096)
def fields_of_columns(archetype: Archetype) -> Mapping[str, ColumnField]:
    """Return what each column of a table stores."""
    found: dict[str, ColumnField] = {}
    for kind in archetype.components:
        try:
            fields = fields_of(kind)
        except UnknownComponent:
            # Only a class knows more than the Arrow type of a column.
            for column in kind.fields:
                codec = Codec(column.type)
                found[column.name] = ColumnField(column.type, Nullable(codec) if column.nullable else codec)
            continue
        for field in fields:
            names = [column.name for column in field.columns]
            if is_moment(field.codec):
                found[names[0]] = ColumnField(field.columns[0].type, field.codec, *names)
                found[names[1]] = ColumnField(field.columns[1].type, Nullable(Text(field.columns[1].type)), *names)
            else:
                found[names[0]] = ColumnField(field.columns[0].type, field.codec)
    return found


def settle(rows: Snapshot, changed: Mapping[str, Column]) -> Snapshot:
    """Return the rows with the changed columns, cast to the table's types; ``WrongResult`` for the first wrong value."""
    fields = fields_of_columns(rows.archetype)
    kept: dict[str, Column] = {}
    for name, column in changed.items():
        if column is rows.columns[name]:
            continue
        field = fields[name]
        try:
            if field.at is None:
                array = column.arrow
                fitted = fit(array, field.codec)
                kept[name] = column if fitted is array else Column(fitted)
            elif name not in kept:
                kept.update(_moment(rows, field, changed))
        except Misfit as misfit:
            raise WrongResult.at(rows, misfit.row, name, str(misfit)) from None
    return rows.with_columns(kept) if kept else rows


def _moment(rows: Snapshot, field: ColumnField, changed: Mapping[str, Column]) -> dict[str, Column]:
    assert field.at is not None
    assert field.zone is not None
    fields = fields_of_columns(rows.archetype)
    at = changed.get(field.at, rows.columns[field.at]).arrow
    zone = changed.get(field.zone)
    if zone is None and getattr(at.type, "tz", None) is None:
        zone = rows.columns[field.zone]
    arrays = fit_moment(at, None if zone is None else zone.arrow, nullable=fields[field.at].nullable)
    columns = zip((field.at, field.zone), arrays, strict=True)
    return {name: Column(array) for name, array in columns if array is not rows.columns[name].arrow}
