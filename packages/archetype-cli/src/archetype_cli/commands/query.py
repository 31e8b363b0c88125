"""``archetype query``."""

from __future__ import annotations

from dataclasses import replace

import click

from archetype_cli.connection import Connection
from archetype_cli.options import OUTPUT, at_place, with_format, with_selection
from archetype_cli.output import BINARY, write
from archetype_cli.source import Selection


@click.command()
@click.argument("words", nargs=-1, metavar="[PLACE] WORLD")
@with_selection(ticks="last")
@with_format()
@OUTPUT
@at_place
def query(
    *,
    words: tuple[str, ...],
    selection: Selection,
    form: str,
    output: str | None,
    connection: Connection,
) -> None:
    """Read rows of a world, at one tick or over many.

    Without options these are all entities and components after the last tick. Rows come by tick and entity.

    \b
    archetype query ./data race
    archetype query ./data race -c Position --ticks all --format csv
    archetype query http://localhost:8000 race --entity 7 --ticks 0:10
    """
    place, (world,) = connection.split(words, ["WORLD"])
    with connection.open(place) as source:
        write(source.rows(world, replace(selection, is_arrow=form in BINARY)), form, output)
