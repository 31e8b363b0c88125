"""Names of columns that a command line gives."""

from __future__ import annotations

from collections.abc import Sequence

from archetype_cli.exit_code import ExitCode
from archetype_cli.failure import Failure, meant


def unknown_column(name: str, known: Sequence[str]) -> Failure:
    """Return the error for a column that is not there."""
    return Failure(
        f"there is no column {name!r}", meant(name, known, f"the columns are {', '.join(known)}"), ExitCode.NOT_FOUND
    )


def chosen_columns(wanted: Sequence[str], known: Sequence[str]) -> list[str]:
    """Return the columns that are wanted, each once, or all; a `Failure` names one that is not there."""
    for name in wanted:
        if name not in known:
            raise unknown_column(name, known)
    return list(dict.fromkeys(wanted)) or list(known)
