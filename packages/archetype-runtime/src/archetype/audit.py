"""The audit log as a DataFrame."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import fields
from typing import TYPE_CHECKING

import pyarrow as pa

from archetype_core.command import AuditFilter, AuditRow, GetHistory

if TYPE_CHECKING:
    from daft import DataFrame

_TIME = pa.timestamp("us", "UTC")
_TYPES = {
    "seq": pa.int64(),
    "roles": pa.list_(pa.string()),
    "tick": pa.int64(),
    "submitted_at": _TIME,
    "settled_at": _TIME,
    "duration_s": pa.float64(),
}
_SCHEMA = pa.schema([(field.name, _TYPES.get(field.name, pa.string())) for field in fields(AuditRow)])


async def audit_frame(
    wanted: AuditFilter, execute: Callable[[GetHistory], Awaitable[tuple[AuditRow, ...]]]
) -> DataFrame:
    """Read the audit rows that match a filter as a DataFrame, with a column for each field of ``AuditRow``."""
    import daft

    rows = await execute(GetHistory(wanted))
    columns = {name: [getattr(row, name) for row in rows] for name in _SCHEMA.names}
    columns["roles"] = [list(roles) for roles in columns["roles"]]
    return daft.from_arrow(pa.table(columns, schema=_SCHEMA))
