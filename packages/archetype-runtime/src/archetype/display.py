"""How a world is displayed in a terminal and in a notebook."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from archetype_core.command import WorldInfo


def text(kind: str, name: str, info: WorldInfo | None, status: str) -> str:
    """Return one line with tick, entities per archetype, parent and last tick time, or the status if there is no info."""
    if info is None:
        return f"{kind}({name!r}, {status})"
    facts = ", ".join(f"{label} {value}" if label != "entities" else value for label, value in _facts(info))
    return f"{kind}({name!r}, {facts})"


def html(name: str, info: WorldInfo | None, status: str) -> str:
    """Return the same facts as a small table."""
    facts = [("state", status)] if info is None else list(_facts(info))
    rows = "".join(
        f"<tr><th style='text-align:left'>{escape(label)}</th><td style='text-align:left'>{escape(value)}</td></tr>"
        for label, value in facts
    )
    return f"<table><caption>world <b>{escape(name)}</b></caption>{rows}</table>"


def _facts(info: WorldInfo) -> Iterator[tuple[str, str]]:
    yield "tick", str(info.tick)
    tables = ", ".join(f"{name}: {count}" for name, count in (info.archetypes or {}).items())
    counted = f"{info.entities} {'entity' if info.entities == 1 else 'entities'}"
    yield "entities", f"{counted} ({tables})" if tables else counted
    if info.parent is not None:
        yield "branch of", info.parent
    if info.stepped_at is not None:
        yield "last tick", f"{info.stepped_at.astimezone():%H:%M:%S}"
    if info.pending:
        yield "staged", str(info.pending)
    if info.queued:
        yield "queued", str(info.queued)
