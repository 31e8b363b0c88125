"""Conditions of ``--where``, on Arrow tables with the columns that rows have for commands."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from archetype_cli.column import unknown_column
from archetype_cli.exit_code import ExitCode
from archetype_cli.failure import Failure
from archetype_cli.source import BASE_COLUMNS


def expression(where: str) -> Any:
    """Return a condition as a Daft expression."""
    import daft

    return daft.sql_expr(where)


def check_condition(where: str, schema: pa.Schema) -> None:
    """Refuse a condition that cannot be evaluated, before anything is read."""
    import daft

    # Daft has no one error for a text that is no condition, or names what is not there.
    try:
        daft.from_arrow(schema.empty_table()).where(expression(where)).to_arrow()
    except Exception as failure:
        words = re.sub(r"'[^']*'", "", where)
        for word in re.findall(r"[^\W\d]\w*__\w+", words):
            if word not in schema.names:
                raise unknown_column(word, schema.names) from failure
        missing = re.search(r'Column col\("?([^")]*)"?\) not found', str(failure))
        if missing is not None and f'"{missing[1]}"' not in where:
            raise unknown_column(missing[1], schema.names) from failure
        if missing is not None:
            raise Failure(
                f"--where {where!r} has double quotes, which are for names, and there is no column {missing[1]!r}",
                f"text is written in single quotes: '{missing[1]}'",
                ExitCode.USAGE,
            ) from failure
        raise Failure(
            f"--where {where!r} cannot be used: {_reason(failure)}",
            'write it as in SQL, such as --where "position__x > 3 and entity_id in (1, 2)"',
            ExitCode.USAGE,
        ) from failure


def _reason(failure: Exception) -> str:
    """The part of Daft's text that says why."""
    text = " ".join(str(failure).split())
    found = re.search(r"(?:REASON: |DaftError::\w+ )(.*)", text)
    return (found[1] if found else text)[:200]


@dataclass(frozen=True)
class Condition:
    """A condition with what a store may skip for it."""

    expression: Any
    schema: pa.Schema
    pushdown: Any
    columns: frozenset[str]

    @classmethod
    def of(cls, where: str, schema: pa.Schema) -> Condition:
        """Return a condition on rows with the columns of a schema."""
        from archetype_core.read import pushdown_of

        condition = expression(where)
        return cls(condition, schema, *pushdown_of(condition, schema))

    def of_rows(self, table: pa.Schema) -> Any:
        """Return what a store may skip rows of a table by; ``None`` if the condition names a column that it has not as it is."""
        for name in self.columns - frozenset(BASE_COLUMNS):
            if name not in table.names or table.field(name).type != self.schema.field(name).type:
                return None
        return self.pushdown.rows

    def matching(self, table: pa.Table) -> pa.Table:
        """Return the rows that match."""
        return matching(table, self.expression)


def matching(table: pa.Table, condition: Any) -> pa.Table:
    """Return the rows that match, in the order that they had."""
    if not table.num_rows:
        return table
    import daft

    place = "archetype_place"
    numbered = table.append_column(place, pa.array(range(table.num_rows), pa.int64()))
    found = daft.from_arrow(numbered).where(condition).select(place).to_arrow()
    return table.take(found.column(0).combine_chunks().cast(pa.int64()).sort())
