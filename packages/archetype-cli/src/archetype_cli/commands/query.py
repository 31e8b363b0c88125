"""``archetype query``."""

from __future__ import annotations

import click

from archetype_cli.connection import Connection
from archetype_cli.options import COUNT, ENTITY, TickRange, at_place, with_format
from archetype_cli.output import BINARY, write
from archetype_cli.source import Selection


@click.command()
@click.argument("words", nargs=-1, metavar="[PLACE] WORLD")
@click.option(
    "--component",
    "-c",
    "components",
    multiple=True,
    metavar="NAME",
    help="Only entities that have it, and its columns.",
)
@click.option("--column", "columns", multiple=True, metavar="NAME", help="Only this column, such as position__x.")
@click.option("--ticks", "-t", type=TickRange(), default="last", help="Such as 5, 0:10, 3:, last or all. [last]")
@click.option("--entity", "-e", "entity_ids", type=ENTITY, multiple=True, metavar="ID", help="Only this entity.")
@click.option("--where", "-w", metavar="SQL", help='A condition, such as "position__x > 3".')
@click.option("--limit", "-n", type=COUNT, metavar="N", help="At most so many rows.")
@click.option("--include-inactive", is_flag=True, help="Also the last rows of entities that were despawned or moved.")
@with_format()
@click.option("--output", "-o", metavar="FILE", help="Write to a file; it appears when it is complete.")
@at_place
def query(
    *,
    words: tuple[str, ...],
    components: tuple[str, ...],
    columns: tuple[str, ...],
    ticks: tuple[int | None, int | None] | None,
    entity_ids: tuple[int, ...],
    where: str | None,
    limit: int | None,
    include_inactive: bool,
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
    selection = Selection(components, columns, ticks, entity_ids, where, limit, include_inactive, form in BINARY)
    with connection.open(place) as source:
        write(source.rows(world, selection), form, output)
