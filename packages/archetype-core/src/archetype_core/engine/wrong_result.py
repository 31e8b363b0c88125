"""What is wrong with what a processor returned."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from archetype_core.schema.snapshot import Snapshot

if TYPE_CHECKING:
    from daft.expressions import Expression

_FAILING = "__archetype_failing__"


class WrongResult(ValueError):
    """A processor's result does not fit its table; the executor adds the processor and raises ``ProcessorError``."""

    def __init__(self, reason: str, column: str | None = None, entity_id: int | None = None) -> None:
        self.column, self.entity_id = column, entity_id
        place = "" if column is None else f"column {column}: "
        if column is not None and entity_id is not None:
            place = f"column {column} of entity {entity_id}: "
        super().__init__(f"{place}{reason}")

    @classmethod
    def at(cls, rows: Snapshot, row: int | None, column: str, reason: str) -> WrongResult:
        """A value that is wrong in a row."""
        return cls(reason, column, None if row is None else rows.entity_ids[row].as_py())


class Failing(NamedTuple):
    """The column whose expression failed."""

    column: str
    expression: Expression


def mark_failing(failure: Exception, column: str, expression: Expression) -> None:
    """Note on an exception which column's expression raised it."""
    failure.__dict__[_FAILING] = Failing(column, expression)


def failing_of(failure: BaseException) -> Failing | None:
    """The column whose expression raised an exception, if that was noted."""
    found: Failing | None = failure.__dict__.get(_FAILING)
    return found
