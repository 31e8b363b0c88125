"""What is wrong with what a processor returned."""

from __future__ import annotations

from archetype_core.schema.snapshot import Snapshot


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
