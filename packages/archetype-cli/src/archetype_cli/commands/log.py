"""``archetype log``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from archetype_cli.answer import Answer
from archetype_cli.connection import Connection
from archetype_cli.options import at_place, with_format
from archetype_cli.output import write

_COLUMNS = ("name", "world_id", "parent", "forked_at", "last_tick")


@click.command()
@click.argument("words", nargs=-1, metavar="[PLACE]")
@with_format()
@at_place
def log(*, words: tuple[str, ...], form: str, connection: Connection) -> None:
    """Show the worlds of a place as a tree of branches.

    A fork is below the world that it was forked from, with the last tick that both share.

    \b
    archetype log ./data
    """
    place, _ = connection.split(words, [])
    with connection.open(place) as source:
        branches = source.branches()
    if form != "table":
        write(Answer("branches", _COLUMNS, branches), form)
        return
    rows = [
        {
            "world": prefix + str(one["name"]),
            "last_tick": one["last_tick"],
            "forked_at": one["forked_at"],
            "world_id": one["world_id"],
        }
        for prefix, one in _tree(branches)
    ]
    write(Answer("branches", ("world", "last_tick", "forked_at", "world_id"), rows), form)


def _tree(branches: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every world with the lines that lead to it, a world before its forks. Forks of a world that is gone are roots."""
    known = {one["world_id"] for one in branches}
    below: dict[str | None, list[Mapping[str, Any]]] = {}
    for one in branches:
        below.setdefault(one["parent"] if one["parent"] in known else None, []).append(one)
    has_lines = (sys.stdout.encoding or "").lower().startswith("utf")
    fork, last, line = ("├─ ", "└─ ", "│  ") if has_lines else ("|- ", "`- ", "|  ")
    waiting = [("", "", one) for one in reversed(below.get(None, []))]
    while waiting:
        prefix, inner, one = waiting.pop()
        yield prefix, one
        forks = below.get(one["world_id"], [])
        for place, child in reversed(list(enumerate(forks))):
            is_last = place == len(forks) - 1
            waiting.append((inner + (last if is_last else fork), inner + ("   " if is_last else line), child))
