"""Text that cannot move a terminal, and JSON that stays JSON."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archetype_cli.exit_code import ExitCode, exit_code_of
from archetype_cli.json_value import encoded
from archetype_cli.safe_text import shown
from archetype_cli.table import table_lines
from archetype_core import errors

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=20) | st.text(
    st.sampled_from("a\x1b[31m\x9b\u202e\u2066\n\t\r\x7f\u200b\ud800\U000e0041é漢"), max_size=20
)


VISIBLE = "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd"
"""Signs around digits that Unicode counts among the format characters."""


def is_harmless(text: str) -> bool:
    """Whether a terminal only prints it."""
    return all(unicodedata.category(one) not in ("Cc", "Cf", "Cs", "Zl", "Zp") or one in VISIBLE for one in text)


@given(ANY_TEXT)
def test_shown_text_is_harmless(text: str) -> None:
    """No control, format or separator character is left, and plain text is as it was."""
    assert is_harmless(shown(text))
    if is_harmless(text):
        assert shown(text) == text


@given(st.recursive(ANY_TEXT | st.integers() | st.none() | st.booleans(), lambda inner: st.lists(inner, max_size=3)))
def test_json_means_the_same(value: object) -> None:
    """JSON on one line has no character that a terminal acts on, and decodes to the value."""
    line = encoded(value)
    assert "\n" not in line
    assert json.loads(line) == value


@given(st.floats())
def test_floats(value: float) -> None:
    """Every float is strict JSON: NaN and infinities are their names."""
    found = json.loads(encoded(value), parse_constant=lambda name: 1 / 0)
    assert found == value or str(found) in ("NaN", "Infinity", "-Infinity")


@given(st.lists(st.fixed_dictionaries({"a": ANY_TEXT, "b": st.integers() | st.none()}), max_size=5))
def test_a_row_is_a_line(rows: list[dict[str, object]]) -> None:
    """A table has a line for its header and one for each row, whatever the text is."""
    lines = list(table_lines(["a", "b"], rows, is_terminal=False))
    assert len(lines) == 1 + len(rows)
    assert not any("\n" in line or "\x1b" in line for line in lines)


@given(st.integers(1, 60), st.lists(st.text(max_size=12), min_size=1, max_size=8))
def test_a_row_fits_into_a_narrow_terminal(room: int, cells: list[str]) -> None:
    """Columns are cut and left out until a row is a line; the header says so. One column is always there."""
    names = [f"column{place}" for place in range(len(cells))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(room))
        patch.setenv("NO_COLOR", "1")
        header, *lines = table_lines(names, [dict(zip(names, cells, strict=True))], is_terminal=True)
    assert all(len(line) <= max(room, 6) for line in (header, *lines))
    heads = header.split()
    if len(heads) < len(names):
        assert header.endswith(("…", "~"))
    else:
        assert all(head == name or head[:-1] == name[: len(head) - 1] for head, name in zip(heads, names, strict=True))


def test_a_table_is_not_held_in_memory() -> None:
    """Rows are printed as they come: only the first ones decide the widths."""
    taken = 0

    def rows() -> Iterator[dict[str, object]]:
        nonlocal taken
        for number in range(20_000):
            taken += 1
            yield {"a": number}

    lines = table_lines(["a"], rows(), is_terminal=True)
    assert next(lines)
    assert taken <= 200
    assert sum(1 for _ in lines) == 20_000


def test_every_error_of_ours_has_an_exit_code() -> None:
    """Errors that are lookups, refusals or wrong arguments in Python are so for a script that calls the command."""
    for name in errors.__all__:
        kind = getattr(errors, name)
        code = exit_code_of(kind.code)
        if issubclass(kind, LookupError | FileNotFoundError):
            assert code is ExitCode.NOT_FOUND, name
        elif issubclass(kind, PermissionError):
            assert code is ExitCode.NOT_ALLOWED, name
        elif issubclass(kind, ImportError):
            assert code is ExitCode.NOT_INSTALLED, name
