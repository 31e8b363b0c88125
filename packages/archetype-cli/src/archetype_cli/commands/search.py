"""``archetype search``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal, cast

import click

from archetype_cli.connection import Connection
from archetype_cli.exit_code import ExitCode
from archetype_cli.failure import Failure
from archetype_cli.options import OUTPUT, SOME, TICK, at_place, with_format
from archetype_cli.output import write
from archetype_cli.source import Likeness


@click.command()
@click.argument("words", nargs=-1, metavar="[PLACE] WORLD COLUMN QUERY")
@click.option(
    "--limit", "-n", type=SOME, default=10, metavar="N", help="How many rows; for several vectors, for each. [10]"
)
@click.option("--tick", type=TICK, metavar="N", help="At this tick. [the last one]")
@click.option(
    "--metric", type=click.Choice(["cosine", "dot", "l2"]), default="cosine", help="How vectors are compared. [cosine]"
)
@with_format()
@OUTPUT
@at_place
def search(
    *,
    words: tuple[str, ...],
    limit: int,
    tick: int | None,
    metric: Literal["cosine", "dot", "l2"],
    form: str,
    output: str | None,
    connection: Connection,
) -> None:
    """Find the entities whose text or vector is most like a query.

    QUERY is words for a column of text, and a JSON list of numbers for one of vectors. The best row comes first, with its score.

    \b
    archetype search ./data town memory__text "who owns the mill"
    archetype search ./data town memory__place "[0.5, 1.5]" --metric l2
    """
    place, (world, column, query) = connection.split(words, ["WORLD", "COLUMN", "QUERY"])
    likeness = Likeness(column, _asked(query), limit, tick, metric)
    with connection.open(place) as source:
        write(source.search(world, likeness), form, output)


def _asked(text: str) -> str | Sequence[Any]:
    """Words, or the vectors that a text is as JSON."""
    if not text.lstrip().startswith("["):
        return text
    try:
        found = json.loads(text)
        parts = found if all(isinstance(one, list) for one in found) else [found]
        if found and all(isinstance(one, int | float) for part in parts for one in part):
            return cast("Sequence[Any]", found)
    except (ValueError, TypeError):
        pass
    raise Failure(f"{text!r} is no vector", "write it as a JSON list of numbers, such as [0.5, 1.5]", ExitCode.USAGE)
