"""Conditions that clients write as text: those of SQL on the columns of an answer, and nothing that could read or do more."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from archetype_core.errors import UnknownColumn
from archetype_core.schema import BASE_COLUMNS
from archetype_server.problem import Unprocessable

if TYPE_CHECKING:
    from daft import DataFrame
    from daft.expressions import Expression

MOST = 1000
"""Characters of a condition."""
FUNCTIONS = frozenset(
    {"abs", "and", "between", "ceil", "coalesce", "floor", "in", "length", "lower", "not", "or", "round"}
)
"""What may stand before a parenthesis."""
_TOKENS = re.compile(
    r"(?:'(?:[^'\\]|'')*+'|[A-Za-z_][A-Za-z0-9_]*+|[0-9]++(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?|[-+*/%=<>!(),]|\s)*+"
)
_TEXT = re.compile(r"'(?:[^'\\]|'')*+'")
_CALL = re.compile(r"([A-Za-z_][A-Za-z0-9_]*|'|\))\s*\(")
_WORDS = re.compile(r"\b(?:select|with|exists|over|from|case)\b|--|/\*", re.IGNORECASE)


def matching(frame: DataFrame, where: str) -> DataFrame:
    """Return the rows of a frame that match; ``UnknownColumn`` or ``Unprocessable`` for what is no condition on them."""
    import daft

    condition, names = condition_of(where), frame.column_names
    try:
        # Evaluated on no rows, so that what cannot be evaluated is told before anything is read.
        daft.from_arrow(frame.schema().to_pyarrow_schema().empty_table()).where(condition).to_arrow()
    # Daft has no one error for what cannot be evaluated.
    except Exception as failure:
        for word in re.findall(r"[A-Za-z_]\w*__\w+", _TEXT.sub("''", where)):
            if word not in names:
                raise UnknownColumn(word, names) from failure
        reason = " ".join(str(failure).split())[:200]
        raise Unprocessable(f"where cannot be used on the columns {', '.join(names)[:500]}: {reason}") from failure
    return frame.where(condition)


def condition_of(where: str) -> Expression:
    """Return a condition as an expression; ``Unprocessable`` for anything but comparisons, arithmetic and a few functions."""
    import daft

    if len(where) > MOST:
        raise Unprocessable(f"where has more than {MOST} characters")
    bare = _TEXT.sub("''", where)
    calls = {one for one in _CALL.findall(bare) if one.lower() not in FUNCTIONS}
    if _TOKENS.fullmatch(where) is None or _WORDS.search(bare) or calls:
        raise Unprocessable(
            "where is a comparison of columns, numbers and 'texts', such as position__x > 3 and entity_id in (1, 2), "
            f"with {', '.join(sorted(FUNCTIONS))} and nothing else"
        )
    try:
        return daft.sql_expr(where)
    except Exception as failure:
        raise Unprocessable(f"where is no condition: {' '.join(str(failure).split())[:200]}") from failure


def chosen(frame: DataFrame, columns: list[str]) -> DataFrame:
    """Return a frame with the base columns and some others; ``UnknownColumn`` for one that it does not have."""
    names = frame.column_names
    for one in columns:
        if one not in names:
            raise UnknownColumn(one, names)
    return frame.select(*(one for one in names if one in BASE_COLUMNS or one in columns))
