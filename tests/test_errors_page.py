"""``docs/errors.md`` and the error tree say the same."""

from __future__ import annotations

import builtins
import dis
import inspect
import re
from pathlib import Path

from archetype_core import errors
from archetype_core.errors import ArchetypeError

PAGE = Path(__file__).resolve().parent.parent / "docs" / "errors.md"
ROW = re.compile(
    r"^\| `(?P<code>ARC-\w+)` \| `(?P<name>\w+)` \| `(?P<builtin>\w+)` \| (?P<attributes>[^|]*)\|", re.MULTILINE
)


def row(kind: type[ArchetypeError]) -> tuple[str, str, str, tuple[str, ...]]:
    """The code, the name, the built-in and the attributes of an error, as its constructor assigns them."""
    builtin = next(base.__name__ for base in kind.__mro__ if vars(builtins).get(base.__name__) is base)
    made = dis.get_instructions(kind.__init__) if "__init__" in vars(kind) else ()
    assigned = sorted(one.argval for one in made if one.opname == "STORE_ATTR")
    return kind.code, kind.__name__, builtin, tuple(assigned)


def test_page_lists_every_error() -> None:
    """Each error is on the page once, with its code, its built-in and its attributes."""
    kinds = [one for _, one in inspect.getmembers(errors, inspect.isclass) if issubclass(one, ArchetypeError)]
    expected = sorted(row(kind) for kind in kinds if kind is not ArchetypeError)
    found = [
        (one["code"], one["name"], one["builtin"], tuple(sorted(re.findall(r"`(\w+)`", one["attributes"]))))
        for one in ROW.finditer(PAGE.read_text())
    ]
    assert sorted(found) == expected
