"""``archetype tail``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import click

from archetype_cli.connection import Connection
from archetype_cli.json_value import encoded
from archetype_cli.options import SOME, at_place, with_format
from archetype_cli.table import fact_lines


@click.command()
@click.argument("words", nargs=-1, metavar="[PLACE] WORLD")
@click.option("--count", "-n", type=SOME, metavar="N", help="Stop after so many ticks.")
@with_format(formats=("table", "jsonl"))
@at_place
def tail(*, words: tuple[str, ...], count: int | None, form: str, connection: Connection) -> None:
    """Print a line for each tick that a world commits.

    The first line is the last committed tick. It goes on until Ctrl-C.

    \b
    archetype tail http://localhost:8000 demo
    """
    place, (world,) = connection.split(words, ["WORLD"])
    with connection.open(place) as source:
        for row in islice(source.new_ticks(world), count):
            for line in _lines(row, form):
                click.echo(line)


def _lines(row: Mapping[str, Any], form: str) -> Iterator[str]:
    if form == "jsonl":
        yield encoded(row)
        return
    yield "  ".join(line.replace("  ", " ", 1) for line in fact_lines(row, frozenset({"world_id", "run_id"})))
