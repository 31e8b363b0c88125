"""The difference of two ticks or branches, as a lazy DataFrame of added, removed and changed values."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from archetype_core.errors import UnknownColumn
from archetype_core.read.diff_side import JSON, Side, Tables, texts
from archetype_core.read.equality import Mask, same
from archetype_core.read.position import Ids, positions
from archetype_core.read.request import column_name
from archetype_core.schema.cast import widens, wider
from archetype_core.schema.component import Component, type_of_class, types_with_column
from archetype_core.schema.snapshot import ENTITY_ID

if TYPE_CHECKING:
    from daft import DataFrame
    from daft.expressions import Expression

T = TypeVar("T")
R = TypeVar("R")

SCHEMA = pa.schema(
    [
        ("op", pa.large_string()),
        (ENTITY_ID, pa.int64()),
        ("column", pa.large_string()),
        ("before", pa.large_string()),
        ("after", pa.large_string()),
    ]
)
_KEPT_BYTES = 64 << 20
"""Columns up to this size in total are kept between finding the rows that differ and giving them; others are read again."""
_FEW_ROWS, _MANY_ROWS = 20_000, 2_000_000
"""Between so many rows, columns are compared by several threads: of fewer it costs more, of more they need too much memory."""
_THREADS = min(4, os.cpu_count() or 1)
# From buffers: `pa.array` would import pandas where it is installed.
_OPS = pa.LargeStringArray.from_buffers(
    3, pa.py_buffer(np.array([0, 7, 12, 19]).tobytes()), pa.py_buffer(b"changedaddedremoved")
)
"""``changed``, ``added``, ``removed``."""


def diff(
    before: Tables,
    after: Tables,
    classes: Iterable[type[Component]] = (),
    columns: Iterable[Any] = (),
    where: Expression | None = None,
) -> DataFrame:
    """What differs between two moments, by entity id. Nothing is read before the frame is collected.

    Without ``columns`` there is one row per entity and column: ``op``, ``entity_id``, ``column``, ``before`` and ``after``,
    with values as JSON. An entity that was added, removed or moved to another archetype has one more row with a null
    ``column`` and its component names.

    One column gives ``entity_id``, ``op``, ``before`` and ``after`` of its type. Several columns or a component give one row
    per entity that differs in any of them, with ``x__before`` and ``x__after`` for each column ``x``. Values are null where
    an entity lacks the column. ``UnknownColumn`` for a column that neither a table nor a class has.

    Values are compared bit by bit: NaN equals itself, 0.0 differs from -0.0. Rows of all versions of ``classes`` are compared
    as the class has them, with renamed and converted fields (M8); what it has no field for is compared as well. Versions of
    other components are matched by name, and values of types without a common one are compared as JSON.
    """
    from archetype_core.read.condition import filtered
    from archetype_core.read.source import TableSource

    asked = tuple(columns)
    components = [one for one in asked if isinstance(one, type) and issubclass(one, Component)]
    named = tuple(dict.fromkeys([*components, *classes]))
    both = _Both(Side(before, named), Side(after, named))
    if not asked:
        return filtered(TableSource(SCHEMA, both.long).read(), where, None)
    chosen: dict[str, str] = {}
    for one in asked:
        if isinstance(one, type) and issubclass(one, Component):
            kind = type_of_class(one)
            chosen.update(dict.fromkeys(both.types_of(kind.name, kind.fields), kind.name))
        else:
            name = column_name(one, "diff compares columns such as Position.c.x and components such as Position")
            chosen[name] = both.component_with(name)
    is_one = len(asked) == 1 and not components
    types = {name: both.types_of(component, _fields_of(name))[name] for name, component in chosen.items()}
    given = {name: pa.large_string() if kind == JSON else kind for name, kind in types.items()}
    fields = [
        pa.field(side if is_one else f"{name}__{side}", kind)
        for name, kind in given.items()
        for side in ("before", "after")
    ]
    schema = pa.schema([(ENTITY_ID, pa.int64()), ("op", pa.large_string()), *fields])
    return filtered(TableSource(schema, partial(both.wide, chosen, types, schema)).read(), where, None)


def _fields_of(column: str) -> tuple[pa.Field, ...]:
    """The columns of the class that has a column, so that it has a type where no table has it."""
    return next((kind.fields for kind in types_with_column(column)), ())


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Rows of two sides with the same entity: positions on both, ``None`` where the rows are the same; and the others."""

    left: Ids | None
    right: Ids | None
    gone: Ids
    come: Ids

    @classmethod
    def of(cls, left: Ids, right: Ids) -> _Pairs:
        places = positions(right, left)
        if places is None:
            none = np.empty(0, np.int64)
            return cls(None, None, none, none)
        found = places >= 0
        there = places[found]
        is_new = np.ones(len(right), np.bool_)
        is_new[there] = False
        return cls(np.flatnonzero(found), there, np.flatnonzero(~found), np.flatnonzero(is_new))

    def differing(self, values: Sequence[pa.Array]) -> Mask:
        """A mask of the pairs whose values, a column of each side, differ."""
        left, right = values
        if self.left is not None:
            left, right = left.take(pa.array(self.left)), right.take(pa.array(self.right))
        return ~same(left, right)


@dataclass(frozen=True, slots=True)
class _Both:
    """The two sides of a difference."""

    before: Side
    after: Side

    def component_with(self, column: str) -> str:
        """The name of the component that has a column on either side, or else of the class that has it."""
        has: dict[str, None] = {}
        for side in (self.before, self.after):
            for name, parts in side.parts.items():
                for part in parts:
                    if column in part.types:
                        return name
                    has.update(dict.fromkeys(part.types))
        for kind in types_with_column(column):
            return kind.name
        raise UnknownColumn(column, sorted(has))

    def types_of(self, component: str, fields: Iterable[pa.Field] = ()) -> dict[str, pa.DataType]:
        """The columns of all versions of a component, each with a type that holds the values of all versions."""
        types: dict[str, pa.DataType] = {}
        parts = [*self.before.parts.get(component, ()), *self.after.parts.get(component, ())]
        for found in (one.types for one in parts):
            for name, kind in found.items():
                known = types.get(name, kind)
                is_kin = widens(known, kind) or widens(kind, known)
                types[name] = wider(known, kind) if is_kin else JSON
        return {**{one.name: types.get(one.name, one.type) for one in fields}, **types}

    def wide(self, chosen: Mapping[str, str], types: Mapping[str, pa.DataType], schema: pa.Schema) -> pa.Table:
        """One row per entity that differs in any of some columns, with the values of all of them on both sides."""
        both = (self.before, self.after)
        kept: dict[str, list[pa.Array]] = {}
        room = _KEPT_BYTES
        differing = []
        moved = False
        owners = list(dict.fromkeys(chosen.values()))
        for component in owners:
            old, new = self.before.ids_of(component), self.after.ids_of(component)
            pairs = _Pairs.of(old, new)
            moved = moved or bool(len(pairs.gone) or len(pairs.come))
            changed: Mask = np.zeros(len(old) if pairs.left is None else len(pairs.left), np.bool_)
            names = [name for name, owner in chosen.items() if owner == component]
            rows = len(old) + len(new)
            at_once = _THREADS if rows <= _MANY_ROWS else 1
            for several in (names[start : start + at_once] for start in range(0, len(names), at_once)):
                sides = [[one.column(component, name, types[name]) for one in both] for name in several]
                for mask in _each(pairs.differing, sides, rows):
                    changed |= mask
                for name, two in zip(several, sides, strict=True):
                    room -= sum(one.nbytes for one in two)
                    if room >= 0:
                        kept[name] = two
            common = old if pairs.left is None else old[pairs.left]
            differing += [common if changed.all() else common[changed], old[pairs.gone], new[pairs.come]]
        ids = _ascending(differing)
        arrays = [pa.array(ids), self._ops(ids) if moved else _repeated("changed", len(ids))]
        for component in owners:
            places = [_rows_of(side.ids_of(component), ids) for side in both]
            wanted: list[tuple[str, Side, pa.Array | None, pa.Array | None]] = []
            for name in (name for name, owner in chosen.items() if owner == component):
                found = kept.pop(name, [None, None])
                wanted += [(name, *one) for one in zip(both, found, places, strict=True)]

            def taken(one: tuple[str, Side, pa.Array | None, pa.Array | None], component: str = component) -> pa.Array:
                name, side, column, rows = one
                values = side.column(component, name, types[name]) if column is None else column
                values = values if rows is None else values.take(rows)
                return values.cast(pa.large_string()) if types[name] == JSON else values

            arrays += _each(taken, wanted, len(ids))
        return pa.Table.from_arrays(arrays, schema=schema)

    def _ops(self, ids: Ids) -> pa.Array:
        was, now = _is_among(ids, self.before.all_ids()), _is_among(ids, self.after.all_ids())
        return _OPS.take(pa.array(np.where(~was, 1, np.where(~now, 2, 0))))

    def long(self) -> pa.Table:
        """One row per entity and column that differs, one column of both sides in memory at a time."""
        parts = [self._moves()]
        for component in dict.fromkeys([*self.before.parts, *self.after.parts]):
            old, new = self.before.ids_of(component), self.after.ids_of(component)
            pairs = _Pairs.of(old, new)
            for name, kind in self.types_of(component).items():
                left = self.before.column(component, name, kind)
                right = self.after.column(component, name, kind)
                changed = np.flatnonzero(pairs.differing((left, right)))
                here = changed if pairs.left is None else pairs.left[changed]
                there = changed if pairs.right is None else pairs.right[changed]
                parts.append(_rows(old[here], name, texts(left.take(here)), texts(right.take(there))))
                parts.append(self._others(old[pairs.gone], name, left.take(pairs.gone), is_before=True))
                parts.append(self._others(new[pairs.come], name, right.take(pairs.come), is_before=False))
        return _sorted(pa.concat_tables(parts))

    def _others(self, ids: Ids, name: str, values: pa.Array, *, is_before: bool) -> pa.Table:
        """The values of entities that have a column on one side only."""
        if not len(ids):
            return SCHEMA.empty_table()
        known, none = texts(values), pa.nulls(len(ids), pa.large_string())
        before, after = (known, none) if is_before else (none, known)
        return _rows(ids, name, before, after, self._ops(ids))

    def _moves(self) -> pa.Table:
        """The entities that were added, removed or moved to another archetype, with their component names."""
        (old, was), (new, now) = self.before.archetypes(), self.after.archetypes()
        pairs = _Pairs.of(old, new)
        moved = np.flatnonzero(pairs.differing((was, now)))
        here = moved if pairs.left is None else pairs.left[moved]
        there = moved if pairs.right is None else pairs.right[moved]
        none = pa.nulls(len(pairs.gone), pa.large_string()), pa.nulls(len(pairs.come), pa.large_string())
        found = [
            _rows(old[here], None, was.take(here), now.take(there)),
            _rows(old[pairs.gone], None, was.take(pairs.gone), none[0], _repeated("removed", len(pairs.gone))),
            _rows(new[pairs.come], None, none[1], now.take(pairs.come), _repeated("added", len(pairs.come))),
        ]
        return pa.concat_tables(found)


def _each(work: Callable[[T], R], items: Sequence[T], rows: int) -> list[R]:
    """The results of some work, in order; Arrow and numpy let other threads run meanwhile."""
    if not _FEW_ROWS <= rows <= _MANY_ROWS or len(items) < 2:
        return [work(one) for one in items]
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(work, items))


def _ascending(parts: list[Ids]) -> Ids:
    """The ids of some parts, each once."""
    filled = [one for one in parts if len(one)]
    ids = np.concatenate(filled) if len(filled) > 1 else filled[0] if filled else np.empty(0, np.int64)
    if np.all(ids[1:] > ids[:-1]):
        return ids
    # A stable sort merges parts that are in order, which `np.unique` does not.
    ids = np.sort(ids, kind="stable")
    once: Ids = ids[np.concatenate([[True], ids[1:] != ids[:-1]])]
    return once


def _rows_of(has: Ids, ids: Ids) -> pa.Array | None:
    """The rows of some ids, null for those that are not there; `None` if they are all the rows in order."""
    places = positions(has, ids)
    return None if places is None else pa.array(places, mask=places < 0)


def _is_among(ids: Ids, has: Ids) -> Mask:
    places = positions(has, ids)
    return np.ones(len(ids), np.bool_) if places is None else places >= 0


def _rows(ids: Ids, name: str | None, before: pa.Array, after: pa.Array, ops: pa.Array | None = None) -> pa.Table:
    ops = _repeated("changed", len(ids)) if ops is None else ops
    column = _repeated(name, len(ids))
    return pa.Table.from_arrays([ops, pa.array(ids), column, before, after], schema=SCHEMA)


def _repeated(text: str | None, count: int) -> pa.Array:
    return pa.repeat(pa.scalar(text, pa.large_string()), count)


def _sorted(table: pa.Table) -> pa.Table:
    """The rows by entity and column, that of the components last."""
    names = sorted(name for name in pc.unique(table.column("column")).to_pylist() if name is not None)
    ranks = pc.fill_null(pc.index_in(table.column("column"), value_set=pa.array(names, pa.large_string())), len(names))
    return table.take(pa.array(np.lexsort((ranks.to_numpy(), table.column(ENTITY_ID).to_numpy()))))
