"""``archetype export``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from archetype_cli.connection import Connection
from archetype_cli.exit_code import ExitCode
from archetype_cli.failure import Failure
from archetype_cli.options import at_place, with_selection
from archetype_cli.output import BINARY, write
from archetype_cli.source import Selection

_FORMATS = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".arrow": "arrow",
    ".arrows": "arrow",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}


@click.command()
@click.argument("words", nargs=-1, metavar="[PLACE] WORLD")
@click.option("--output", "-o", required=True, metavar="FILE", help="Where to; - is standard output.")
@click.option(
    "--format", "-f", "form", type=click.Choice(sorted(set(_FORMATS.values()))), help="By default what FILE ends with."
)
@with_selection(ticks="all")
@at_place
def export(
    *,
    words: tuple[str, ...],
    output: str,
    form: str | None,
    selection: Selection,
    connection: Connection,
) -> None:
    """Write a history to a Parquet, CSV, Arrow or JSONL file.

    Rows are written while they are read, so a history need not fit into memory. The file appears when it is complete.

    \b
    archetype export ./data race -o race.parquet
    archetype export ./data race -c Position --ticks last -o positions.csv
    """
    place, (world,) = connection.split(words, ["WORLD"])
    form = form or _FORMATS.get(Path(output).suffix.lower())
    if form is None:
        known = ", ".join(_FORMATS)
        raise Failure(f"{output} does not say which format", f"add --format, or end it with {known}", ExitCode.USAGE)
    with connection.open(place) as source:
        write(source.rows(world, replace(selection, is_arrow=form in BINARY)), form, output)
    if output != "-":
        click.echo(f"wrote {output}", err=True)
