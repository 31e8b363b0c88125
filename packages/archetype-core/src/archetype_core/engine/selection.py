"""Which entities a mutation is for: one id, a sequence or array of ids, or a condition on the last completed tick."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
import pyarrow as pa

from archetype_core.argument import checked_id
from archetype_core.errors import EntityNotFound
from archetype_core.schema.archetype import Archetype
from archetype_core.schema.component import types_with_column
from archetype_core.schema.snapshot import ENTITY_ID, Column, Snapshot

if TYPE_CHECKING:
    from daft.expressions import Expression

Ids: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"


class IdArray(Protocol):
    """An array or series of entity ids, of Arrow or pandas; arrays of numpy are iterable over ids as they are."""

    def to_numpy(self) -> Any:
        """The ids as an array of numpy."""


Entities: TypeAlias = "int | Iterable[int] | IdArray | Expression"
"""One entity id, a sequence or array of ids, or a condition such as ``Health.c.hp <= 0``."""


class Places:
    """The archetypes of many entities, in the order of their ids; ``None`` for one that is not alive."""

    __slots__ = ("archetypes", "codes", "ids")

    def __init__(self, ids: Ids, archetypes: Iterable[Archetype] = ()) -> None:
        self.ids = ids
        self.codes: np.ndarray[Any, np.dtype[np.int32]] = np.full(len(ids), -1, np.int32)
        self.archetypes = list(archetypes)

    def put(self, chosen: np.ndarray[Any, np.dtype[np.bool_]], archetype: Archetype) -> None:
        """Set the archetype of the chosen entities."""
        if archetype not in self.archetypes:
            self.archetypes.append(archetype)
        self.codes[chosen] = self.archetypes.index(archetype)

    def overlay(self, changes: Mapping[int, Archetype | None]) -> None:
        """Set the archetypes of those entities that have one in a mapping."""
        if not changes:
            return
        codes = {archetype: code for code, archetype in enumerate(self.archetypes)}
        positions = np.arange(len(self.ids))
        if len(changes) < len(positions):
            positions = np.flatnonzero(np.isin(self.ids, np.fromiter(changes, np.int64, len(changes))))
        for position, entity_id in zip(positions.tolist(), self.ids[positions].tolist(), strict=True):
            if entity_id in changes:
                archetype = changes[entity_id]
                self.codes[position] = -1 if archetype is None else codes.setdefault(archetype, len(codes))
        self.archetypes = list(codes)

    def among(self, is_meant: Callable[[Archetype], bool]) -> Places:
        """Those of the entities that are alive and of an archetype that is meant."""
        known = np.isin(self.codes, [code for code, one in enumerate(self.archetypes) if is_meant(one)])
        kept = Places(self.ids[known], self.archetypes)
        kept.codes = self.codes[known]
        return kept

    def first_missing(self) -> int | None:
        """The first entity that is not alive, if there is one."""
        missing = np.flatnonzero(self.codes < 0)
        return int(self.ids[missing[0]]) if len(missing) else None

    def groups(self) -> list[tuple[Archetype, np.ndarray[Any, Any]]]:
        """Each archetype that has some of the entities, with their positions, ascending."""
        if not len(self.codes):
            return []
        if (self.codes == self.codes[0]).all():
            return [(self.archetypes[self.codes[0]], np.arange(len(self.codes)))] if self.codes[0] >= 0 else []
        order = np.argsort(self.codes, kind="stable")
        present, starts = np.unique(self.codes[order], return_index=True)
        parts = zip(present.tolist(), np.split(order, starts[1:]), strict=True)
        return [(self.archetypes[code], positions) for code, positions in parts if code >= 0]


def is_condition(entities: object) -> bool:
    """Whether entities are given as a condition. Does not import Daft: who has an expression has imported it."""
    return type(entities).__name__ == "Expression"


def ids_of(entities: object, world: str) -> Ids:
    """One entity id or many as an array; ``TypeError`` for what is no id, ``EntityNotFound`` for one past the last id."""
    if isinstance(entities, pa.Array | pa.ChunkedArray):
        if entities.null_count:
            raise TypeError("an entity id must be an int, and there are nulls among them: drop them first")
        entities = (
            entities.to_numpy() if isinstance(entities, pa.ChunkedArray) else entities.to_numpy(zero_copy_only=False)
        )
    elif not isinstance(entities, np.ndarray) and hasattr(entities, "to_numpy"):
        entities = entities.to_numpy()
    if isinstance(entities, np.ndarray) and entities.ndim:
        return _of_array(entities, world)
    if isinstance(entities, range):
        return np.arange(entities.start, entities.stop, entities.step, dtype=np.int64)
    if isinstance(entities, Iterable) and not isinstance(entities, str | bytes | Mapping):
        given = [checked_id(one) for one in entities]
    else:
        given = [checked_id(entities)]
    try:
        return np.array(given, np.int64)
    except OverflowError:
        raise EntityNotFound(next(one for one in given if not -(2**63) <= one < 2**63), world) from None


def _of_array(ids: np.ndarray[Any, Any], world: str) -> Ids:
    if ids.ndim != 1 or ids.dtype.kind not in "iu":
        if ids.dtype == object or not len(ids):
            return ids_of(ids.tolist(), world)
        remedy = "select them with the mask first, ids[mask]" if ids.dtype.kind == "b" else "pass a flat array of ints"
        raise TypeError(f"entity ids are ints, not an array of {ids.dtype} with {ids.ndim} dimensions: {remedy}")
    if ids.dtype == np.uint64 and len(ids) and int(ids.max()) >= 2**63:
        raise EntityNotFound(int(ids.max()), world)
    return ids.astype(np.int64)


def matching(condition: Expression, live: Mapping[Archetype, Snapshot], is_meant: Callable[[Archetype], bool]) -> Ids:
    """The entities of live tables that meet a condition, table by table, of the archetypes that are meant.

    Tables without a column that the condition names are left out. ``UnknownColumn`` if no component has such a column,
    ``TypeError`` if it is not true or false.
    """
    from archetype_core.read.condition import columns_of, unknown

    names = columns_of(condition) - {ENTITY_ID}
    for name in sorted(names):
        if not types_with_column(name) and not any(name in archetype.column_names for archetype in live):
            known = dict.fromkeys(column for archetype in live for column in archetype.column_names)
            raise unknown(name, [ENTITY_ID, *known], live)
    found = [
        rows.entity_ids.to_numpy(zero_copy_only=False)[_mask(condition, rows, names)]
        for archetype, rows in live.items()
        if names <= set(archetype.column_names) and is_meant(archetype)
    ]
    return np.concatenate(found) if found else np.empty(0, np.int64)


def evaluated(expression: Expression, rows: Snapshot, names: Iterable[str]) -> pa.Array:
    """The value of an expression for each row."""
    import daft

    from archetype_core.engine.daft.expression import evaluate, read

    columns: dict[str, Column] = {name: rows.columns[name] for name in (ENTITY_ID, *names)}
    reading = read(expression)
    if reading is not None and reading.is_rowwise:
        return evaluate({"value": expression}, columns, reading.skipped)["value"].arrow
    frame = daft.from_arrow(pa.table({name: column.arrow for name, column in columns.items()}))
    # The runner may change the order of rows.
    table = frame.select(ENTITY_ID, expression.alias("value")).to_arrow()
    from archetype_core.engine.table_result import aligned

    return aligned(table, rows).column("value").combine_chunks()


def _mask(condition: Expression, rows: Snapshot, names: Iterable[str]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    try:
        array = evaluated(condition, rows, names)
    except ValueError as failure:
        if not type(failure).__module__.startswith("daft"):
            raise
        from archetype_core.read.condition import unfit

        raise unfit(condition, failure) from None
    if not pa.types.is_boolean(array.type):
        raise TypeError(f"a condition is true or false, and {condition} is {array.type}: compare it with something")
    return np.asarray(array.fill_null(False).to_numpy(zero_copy_only=False), bool)
