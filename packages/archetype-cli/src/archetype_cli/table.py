"""Tables for people: aligned columns, cut to the width of a terminal."""

from __future__ import annotations

import math
import os
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any

from archetype_cli.answer import Row
from archetype_cli.json_value import jsonable
from archetype_cli.safe_text import shown

_MEASURED = 200
"""How many rows decide the widths of columns; later ones are printed as they come."""
_WIDEST = 60
_NARROWEST = 4


def table_lines(columns: Sequence[str], rows: Iterable[Row], *, is_terminal: bool) -> Iterator[str]:
    """Yield the lines of a table. On a terminal, cells are cut so that a row is a line; elsewhere they are whole."""
    remaining = iter(rows)
    first = [[cell_text(row.get(name)) for name in columns] for row in islice(remaining, _MEASURED)]
    numeric = [all(_is_number(row[place]) for row in first if row[place]) for place in range(len(columns))]
    widths = [
        max([_width(name), *(_width(row[place]) for row in first)]) for place, name in enumerate(map(shown, columns))
    ]
    names = [shown(name) for name in columns]
    more = ""
    if is_terminal:
        widths = _fitted(widths, shutil.get_terminal_size().columns)
        more = f" {_ellipsis()}" if len(widths) < len(names) else ""
    # A narrow terminal has no room for the last columns; the header says so.
    yield _styled(_line(names, widths, numeric, cut=is_terminal) + more, is_terminal)
    later = ([cell_text(row.get(name)) for name in columns] for row in remaining)
    for cells in chain(first, later):
        yield _line(cells, widths, numeric, cut=is_terminal)


def fact_lines(facts: Mapping[str, Any], hidden: frozenset[str]) -> Iterator[str]:
    """Yield a line for each fact, its name first."""
    kept = {name: value for name, value in facts.items() if name not in hidden}
    width = max((len(name) for name in kept), default=0)
    for name, value in kept.items():
        yield f"{shown(name):<{width}}  {cell_text(value)}".rstrip()


def cell_text(value: Any) -> str:
    """Return a value as a table shows it."""
    if value is None:
        return ""
    if isinstance(value, str):
        return shown(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and math.isfinite(value):
        return repr(value) if len(repr(value)) <= 12 else f"{value:.10g}"
    plain = jsonable(value)
    if isinstance(plain, dict):
        return shown(", ".join(f"{name}={_inner(one)}" for name, one in plain.items()))
    if isinstance(plain, list):
        return shown(", ".join(map(_inner, plain)))
    return shown(str(plain))


def _inner(value: Any) -> str:
    return value if isinstance(value, str) else cell_text(value)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _line(cells: Sequence[str], widths: Sequence[int], numeric: Sequence[bool], *, cut: bool) -> str:
    parts = []
    for text, width, is_number in zip(cells, widths, numeric, strict=False):
        kept = _cut(text, width) if cut else text
        space = " " * max(0, width - _width(kept))
        parts.append(space + kept if is_number else kept + space)
    return "  ".join(parts).rstrip()


def _fitted(widths: list[int], room: int) -> list[int]:
    """Widths that fit into a line: the widest columns give way first, and then the last ones are left out."""
    widths = [min(width, _WIDEST) for width in widths]
    while _taken(widths) > room and max(widths, default=0) > _NARROWEST:
        widths[widths.index(max(widths))] -= 1
    if _taken(widths) > room:
        while len(widths) > 1 and _taken(widths) > room - 2:
            widths.pop()
    return widths


def _taken(widths: Sequence[int]) -> int:
    return sum(widths) + 2 * (len(widths) - 1)


def _cut(text: str, width: int) -> str:
    if _width(text) <= width:
        return text
    kept, room = "", width - 1
    for character in text:
        room -= _width(character)
        if room < 0:
            break
        kept += character
    return kept + _ellipsis()


def _ellipsis() -> str:
    return "…" if (sys.stdout.encoding or "").lower().startswith("utf") else "~"


def _width(text: str) -> int:
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(one) else 2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text
    )


def _styled(line: str, is_terminal: bool) -> str:
    """A header in bold, where that is wanted: on a terminal, unless ``NO_COLOR`` is set or it is a dumb one."""
    if is_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb":
        return f"\x1b[1m{line}\x1b[0m"
    return line
