"""``archetype entity``."""

from __future__ import annotations

import click

from archetype_cli.answer import Answer, Facts
from archetype_cli.command_group import SubGroup
from archetype_cli.connection import Connection
from archetype_cli.exit_code import ExitCode
from archetype_cli.failure import Failure
from archetype_cli.options import TICK, at_place, with_format, with_terms
from archetype_cli.output import write
from archetype_cli.payload import components_of
from archetype_cli.source import Terms

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
@with_terms
@with_format()
@at_place
def spawn(*, words: tuple[str, ...], components: str, form: str, terms: Terms, connection: Connection) -> None:
    """Spawn an entity at the next tick.

    \b
    archetype entity spawn demo --components '[{"type": "Position", "x": 0, "y": 0}]'
    """
    place, (world,) = connection.split(words, ["WORLD"])
    payload = components_of(components)
    with connection.server(place) as server:
        write(Facts("entity", server.spawn(world, payload, terms)), form)


@entity.command()
@click.argument("words", nargs=-1, metavar="[URL] WORLD ID")
@click.option("--components", "-c", required=True, metavar="JSON", help=f"{_JSON} Fields that are left out stay.")
@with_terms
@with_format()
@at_place
def update(*, words: tuple[str, ...], components: str, form: str, terms: Terms, connection: Connection) -> None:
    """Change fields of an entity's components at the next tick.

    \b
    archetype entity update demo 7 --components '{"type": "Position", "x": 5}'
    """
    place, (world, number) = connection.split(words, ["WORLD", "ID"])
    payload = components_of(components)
    with connection.server(place) as server:
        write(Facts("entity", server.update(world, _id(number), payload, terms)), form)


@entity.command()
@click.argument("words", nargs=-1, metavar="[URL] WORLD ID")
@with_terms
@with_format()
@at_place
def despawn(*, words: tuple[str, ...], form: str, terms: Terms, connection: Connection) -> None:
    """Remove an entity at the next tick; its history stays."""
    place, (world, number) = connection.split(words, ["WORLD", "ID"])
    with connection.server(place) as server:
        write(Facts("entity", server.despawn(world, _id(number), terms)), form)


def _id(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 0 < int(text) < 2**63:
        raise Failure(f"{text!r} is not an entity's id", "it is a number from 1 on, such as 7", ExitCode.USAGE)
    return int(text)
