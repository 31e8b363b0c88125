"""Line plots in a terminal: braille dots if the terminal can show them, otherwise letters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.text import Text

# The dots of a braille character, by column and row from the top.
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
_EMPTY = 0x2800
STYLES = ("bold red", "bold cyan", "bold yellow", "bold magenta")


def curves(
    series: Mapping[str, Sequence[float]], *, width: int, height: int = 10, is_plain: bool = False
) -> list[Text]:
    """Return lines of text that plot some series on one axis, and a legend. Where they overlap, the last one gives the colour."""
    top = max((max(values, default=0.0) for values in series.values()), default=0.0) or 1.0
    label = max(len(f"{top:.0f}"), 1)
    columns = max(1, width - label - 2)
    cells = [[(_EMPTY, "")] * columns for _ in range(height)]
    wide, high = (columns, height) if is_plain else (columns * 2, height * 4)
    for number, values in enumerate(series.values()):
        style = STYLES[number % len(STYLES)]
        for x, y in _points(values, wide, high, top):
            column, row = (x, y) if is_plain else (x // 2, y // 4)
            mark, _ = cells[row][column]
            bits = ord("a") + number - _EMPTY if is_plain else (mark - _EMPTY) | _DOTS[x % 2][y % 4]
            cells[row][column] = (_EMPTY + bits, style)
    lines = [
        Text.assemble((f"{axis:>{label}}", "dim"), (" |", "dim"), *_drawn(row))
        for axis, row in zip(_axis(top, height), cells, strict=True)
    ]
    return [*lines, _legend(series, label, is_plain)]


def _legend(series: Mapping[str, object], label: int, is_plain: bool) -> Text:
    legend = Text(" " * (label + 2))
    for number, name in enumerate(series):
        mark = chr(ord("a") + number) if is_plain else "\u28ff"
        legend.append(f"{mark} {name}  ", STYLES[number % len(STYLES)])
    return legend


def _points(values: Sequence[float], wide: int, high: int, top: float) -> set[tuple[int, int]]:
    """Return the dots of a series: one per column, and those between where it is steep."""
    if not values:
        return set()
    found: set[tuple[int, int]] = set()
    before: int | None = None
    for x in range(wide):
        place = x * (len(values) - 1) / max(1, wide - 1)
        left = int(place)
        right = min(left + 1, len(values) - 1)
        value = values[left] + (values[right] - values[left]) * (place - left)
        y = high - 1 - round(max(0.0, value) / top * (high - 1))
        # From the end of the previous column, without the dot that it drew itself.
        low, up = (y, y) if before is None or before == y else (y, before - 1) if y < before else (before + 1, y)
        found.update((x, between) for between in range(low, up + 1))
        before = y
    return found


def _axis(top: float, height: int) -> list[str]:
    marks = [""] * height
    marks[0], marks[-1] = f"{top:.0f}", "0"
    return marks


def _drawn(row: Sequence[tuple[int, str]]) -> list[tuple[str, str]]:
    return [(" " if mark == _EMPTY else chr(mark), style) for mark, style in row]
