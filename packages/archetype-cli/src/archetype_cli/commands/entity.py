"""``archetype entity``."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from archetype_cli.answer import Answer, Facts
from archetype_cli.command_group import SubGroup
from archetype_cli.connection import Connection
from archetype_cli.exit_code import ExitCode
from archetype_cli.failure import Failure
from archetype_cli.options import TICK, at_place, with_format
from archetype_cli.output import write

_JSON = "A JSON list of components, @FILE or - for standard input."


@click.group(cls=SubGroup)
def entity() -> None:
    """Spawn, update, despawn and read entities."""


@entity.command()
@click.argument("words", nargs=-1, metavar="[PLACE] WORLD ID")
@click.option("--tick", type=TICK, metavar="N", help="At this tick. [the last one]")
@with_format()
@at_place
def get(*, words: tuple[str, ...], tick: int | None, form: str, connection: Connection) -> None:
    """Show the components of one entity."""
    place, (world, number) = connection.split(words, ["WORLD", "ID"])
    with connection.open(place) as source:
        found = source.entity(world, _id(number), tick)
    if form in ("json", "jsonl"):
        write(Facts("entity", found), form)
        return
    rows = [
        {"component": one["type"], "field": name, "value": value}
        for one in found["components"]
        for name, value in (list(one.items())[1:] or [("", None)])
    ]
    write(Answer("fields", ("component", "field", "value"), rows), form)


@entity.command()
@click.argument("words", nargs=-1, metavar="[URL] WORLD")
@click.option("--components", "-c", required=True, metavar="JSON", help=_JSON)
@with_format()
@at_place
def spawn(*, words: tuple[str, ...], components: str, form: str, connection: Connection) -> None:
    """Spawn an entity at the next tick.

    \b
    archetype entity spawn demo --components '[{"type": "Position", "x": 0, "y": 0}]'
    """
    place, (world,) = connection.split(words, ["WORLD"])
    payload = _components(components)
    with connection.server(place) as server:
        write(Facts("entity", server.spawn(world, payload)), form)


@entity.command()
@click.argument("words", nargs=-1, metavar="[URL] WORLD ID")
@click.option("--components", "-c", required=True, metavar="JSON", help=f"{_JSON} Fields that are left out stay.")
@with_format()
@at_place
def update(*, words: tuple[str, ...], components: str, form: str, connection: Connection) -> None:
    """Change fields of an entity's components at the next tick."""
    place, (world, number) = connection.split(words, ["WORLD", "ID"])
    payload = _components(components)
    with connection.server(place) as server:
        write(Facts("entity", server.update(world, _id(number), payload)), form)


@entity.command()
@click.argument("words", nargs=-1, metavar="[URL] WORLD ID")
@with_format()
@at_place
def despawn(*, words: tuple[str, ...], form: str, connection: Connection) -> None:
    """Remove an entity at the next tick; its history stays."""
    place, (world, number) = connection.split(words, ["WORLD", "ID"])
    with connection.server(place) as server:
        write(Facts("entity", server.despawn(world, _id(number))), form)


def _id(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise Failure(f"{text!r} is not an entity's id", "it is a number, such as 7", ExitCode.USAGE) from None


def _components(text: str) -> Sequence[Mapping[str, Any]]:
    """The components that an option gives, as they are sent."""
    source = "--components"
    if text == "-":
        source, text = "standard input", sys.stdin.read()
    elif text.startswith("@"):
        source, text = text[1:], Path(text[1:]).read_text(encoding="utf-8")
    example = """write it as '[{"type": "Position", "x": 0}]'"""
    try:
        given = json.loads(text)
    except ValueError as failure:
        raise Failure(f"{source} is not JSON: {failure}", example, ExitCode.USAGE) from failure
    given = [given] if isinstance(given, dict) else given
    if not isinstance(given, list) or not all(isinstance(one, dict) and "type" in one for one in given):
        raise Failure(f"{source} is not a list of components with a type each", example, ExitCode.USAGE)
    return given
