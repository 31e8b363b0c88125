"""`help()` of everything public says something."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator

import pytest

ROOMS = (
    "archetype",
    "archetype_cli",
    "archetype_contracts",
    "archetype_core",
    "archetype_core.clock",
    "archetype_core.command",
    "archetype_core.config",
    "archetype_core.engine",
    "archetype_core.errors",
    "archetype_core.read",
    "archetype_core.schema",
    "archetype_core.store",
    "archetype_gate",
    "archetype_journal",
    "archetype_server",
    "archetype_store_lance",
)


def undocumented(room: str) -> Iterator[str]:
    """Public names of a room, and public methods and properties of its classes, that help() has nothing for."""
    module = importlib.import_module(room)
    for name in getattr(module, "__all__", [one for one in vars(module) if not one.startswith("_")]):
        thing = getattr(module, name)
        if not str(getattr(thing, "__module__", "")).startswith("archetype"):
            continue
        if (inspect.isclass(thing) or inspect.isroutine(thing)) and not inspect.getdoc(thing):
            yield name
        if not inspect.isclass(thing):
            continue
        for attribute, member in inspect.getmembers(thing):
            code = member.fget if isinstance(member, property) else member
            is_ours = inspect.isroutine(code) and str(getattr(code, "__module__", "")).startswith("archetype")
            if is_ours and not attribute.startswith("_") and not inspect.getdoc(member):
                yield f"{name}.{attribute}"


@pytest.mark.parametrize("room", ROOMS)
def test_everything_public_has_a_docstring(room: str) -> None:
    """Every exported name has a docstring, and so has every public method and property of an exported class."""
    assert sorted(set(undocumented(room))) == []
