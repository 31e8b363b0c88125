"""Debug output of a tick: its phases, and the first rows of every live table."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from archetype_core.engine.tick import Outcome
    from archetype_core.engine.view import WorldView
    from archetype_core.schema.snapshot import Snapshot

_ROWS = 5
_WIDTH = 24


def show(world: WorldView, outcome: Outcome) -> None:
    """Write a committed tick's debug output to standard error."""
    sys.stderr.write("\n".join(described(world, outcome)) + "\n")


def described(world: WorldView, outcome: Outcome) -> list[str]:
    """The debug output as lines."""
    phases = ", ".join(f"{name} {seconds * 1e3:.2f} ms" for name, seconds in outcome.phases)
    lines = [f"{world.name} tick {outcome.tick}: {outcome.duration_s * 1e3:.2f} ms ({phases})"]
    if outcome.applied:
        lines.append(f"  applied {len(outcome.applied)} commands")
    for archetype, rows in world.tables().items():
        names = " + ".join(kind.name for kind in archetype.components)
        note = f", {outcome.written[archetype.name]} written" if archetype.name in outcome.written else ", unchanged"
        lines.append(f"  {names}: {rows.num_rows} rows{note}")
        lines.extend(f"    {line}" for line in _table(rows))
    return lines


def _table(rows: Snapshot) -> list[str]:
    head = rows.slice(0, min(_ROWS, rows.num_rows)).to_arrow()
    columns = [[name, *map(_clipped, head.column(name).to_pylist())] for name in head.column_names]
    widths = [max(map(len, column)) for column in columns]
    lines = [
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in zip(*columns, strict=True)
    ]
    return lines if rows.num_rows <= _ROWS else [*lines, f"… {rows.num_rows - _ROWS} more"]


def _clipped(value: object) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= _WIDTH else text[: _WIDTH - 1] + "…"
