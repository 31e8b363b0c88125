"""``archetype me``."""

from __future__ import annotations

import click

from archetype_cli.answer import Facts
from archetype_cli.connection import Connection
from archetype_cli.options import at_place, with_format
from archetype_cli.output import write


@click.command()
@click.argument("words", nargs=-1, metavar="[URL]")
@with_format()
@at_place
def me(*, words: tuple[str, ...], form: str, connection: Connection) -> None:
    """Show who you are to a server, and what you have used.

    The quotas are those of a day, and count by actor.
    """
    place, _ = connection.split(words, [])
    with connection.server(place) as server:
        write(Facts("me", server.me()), form)
