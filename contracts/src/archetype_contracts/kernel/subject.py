"""The kernel under test, and its rows as plain Python: one tuple of values per entity."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from archetype_contracts.assertion import ClauseFailed, require, require_equal
from archetype_contracts.sample import BOTH, snapshot
from archetype_contracts.store.model import bits_of
from archetype_core.engine import Kernel, Patch, Staged
from archetype_core.schema import Archetype, Snapshot
from archetype_core.store import Rows

Values = tuple[Any, ...]
PatchRows = Sequence[tuple[int, Mapping[str, Any]]]
Tables = Mapping[Archetype, Snapshot]


@dataclass(slots=True)
class KernelSubject:
    """One kernel, called only through ``materialize``."""

    kernel: Kernel
    examples: int | None = None

    def fold(self, prior: Snapshot, processed: Snapshot | None = None, staged: Staged | None = None) -> Rows:
        """Call ``materialize`` for one table; ``processed`` is left out if no processor changed it."""
        archetype = prior.archetype
        after = {} if processed is None and staged is not None else {archetype: processed or prior}
        mutations = {} if staged is None else {archetype: staged}
        return self.fold_all({archetype: prior}, after, mutations)[archetype]

    def fold_all(self, prior: Tables, processed: Tables, staged: Mapping[Archetype, Staged]) -> dict[Archetype, Rows]:
        """Call ``materialize`` and require one answer, with the columns of its table, for each table that it was about."""
        found = self.kernel.materialize(prior, processed, staged)
        require(isinstance(found, Mapping), f"expected a mapping from materialize, got {type(found).__name__}")
        wanted = {one.name for one in (*processed, *staged)}
        require_equal(wanted, {one.name for one in found}, "tables of the answer")
        for archetype, rows in found.items():
            require(isinstance(rows, Rows), f"expected Rows for each table, got {type(rows).__name__}")
            for part in (rows.live, rows.tombstones):
                if part is not None:
                    _require_form(archetype, part)
        return dict(found)


def both(values: Mapping[int, Values] | None = None) -> Snapshot:
    """Rows of the table of text, bytes, rank and x."""
    return snapshot(BOTH, values or {})


def row(number: int) -> Values:
    """Values that contain their number."""
    return (f"text {number}", bytes([number % 256]), number % 1000, float(number))


def staged(
    entering: Iterable[tuple[int, Values]] = (),
    patches: Sequence[PatchRows] = (),
    leaving: Iterable[int] = (),
    archetype: Archetype = BOTH,
) -> Staged:
    """Make mutations from plain Python. Entities may repeat; all rows of one patch name the same columns."""
    ids = list(leaving)
    made = [patch(rows, archetype) for rows in patches]
    return Staged(rows_of(list(entering), archetype), patches=made, leaving=pa.array(ids, pa.int64()) if ids else None)


def rows_of(entering: Sequence[tuple[int, Values]], archetype: Archetype = BOTH) -> Snapshot | None:
    """A snapshot in which an entity may repeat."""
    if not entering:
        return None
    once = snapshot(archetype, {index: values for index, (_, values) in enumerate(entering)}).to_arrow()
    ids = pa.array([entity for entity, _ in entering], pa.int64())
    return Snapshot.from_arrow(archetype, once.set_column(0, archetype.schema.field(0), ids))


def patch(rows: PatchRows, archetype: Archetype = BOTH) -> Patch:
    """A patch of the columns that its first row names."""
    names = list(rows[0][1]) if rows else []
    columns = {
        name: pa.array([values[name] for _, values in rows], archetype.schema.field(name).type) for name in names
    }
    return Patch(pa.array([entity for entity, _ in rows], pa.int64()), columns)


def plain_rows(part: Snapshot | None) -> list[tuple[Any, ...]]:
    """Rows as tuples, with the id first and floats as bits."""
    if part is None:
        return []
    columns = [part.columns[name].arrow.to_pylist() for name in part.archetype.schema.names]
    return [tuple(map(bits_of, values)) for values in zip(*columns, strict=True)]


def require_rows(
    result: Rows, live: Mapping[int, Values], gone: Mapping[int, Values] | None = None, what: str = "rows"
) -> None:
    """Compare active rows and tombstones with the expected ones, in order and bit by bit."""
    for part, expected, kind in ((result.live, live, "active"), (result.tombstones, gone or {}, "tombstone")):
        wanted = [(entity, *map(bits_of, values)) for entity, values in expected.items()]
        require_equal(wanted, plain_rows(part), f"{kind} {what}")


def _require_form(archetype: Archetype, part: Snapshot) -> None:
    require_equal(archetype.name, part.archetype.name, "table of the answer")
    require_equal(set(archetype.schema.names), set(part.columns), "columns of the answer")
    for field in archetype.schema:
        array = part.columns[field.name].arrow
        require_equal(field.type, array.type, f"type of {field.name}")
        if len(array) != part.num_rows:
            raise ClauseFailed(
                f"values of {field.name}\n  expected: {part.num_rows}, the rows of the answer\n  actual:   {len(array)}"
            )
