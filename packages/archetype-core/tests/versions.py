"""Versions of a component class, as a program that changes over time defines them."""

from __future__ import annotations

from typing import Any

from archetype_core.schema import Component, Evolution


def version(name: str, declared: Evolution | None = None, /, **fields: tuple[Any, Any]) -> Any:
    """Return a component class of that name; each field is its annotation and its default, `...` for none."""
    body: dict[str, Any] = {"__module__": __name__, "__annotations__": {one: kind for one, (kind, _) in fields.items()}}
    body.update({one: default for one, (_, default) in fields.items() if default is not ...})
    if declared is not None:
        body["evolution"] = declared
    return type(name, (Component,), body)
