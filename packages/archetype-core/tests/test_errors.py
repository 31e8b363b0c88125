"""The error tree."""

from __future__ import annotations

import builtins
import inspect

import pytest

from archetype_core import errors
from archetype_core.errors import ArchetypeError

TREE = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, ArchetypeError)]


def test_codes_are_unique() -> None:
    """A code names one error."""
    codes = [kind.code for kind in TREE]
    assert sorted(set(codes)) == sorted(codes)


@pytest.mark.parametrize("kind", [kind for kind in TREE if kind is not ArchetypeError])
def test_error_is_a_builtin_too(kind: type[ArchetypeError]) -> None:
    """An error is also the built-in exception that a caller would catch."""
    standard = [base for base in kind.__mro__ if vars(builtins).get(base.__name__) is base]
    assert standard[0] not in {Exception, BaseException}
