"""``archetype tail``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import click

from archetype_cli.connection import Connection
from archetype_cli.exit_code import ExitCode
from archetype_cli.failure import Failure
from archetype_cli.json_value import encoded
from archetype_cli.options import SOME, at_place, with_format
from archetype_cli.table import fact_lines

_HIDDEN = frozenset({"world_id", "run_id", "command_id", "settled_at", "duration_s"})


@click.command()
@click.argument("words", nargs=-1, metavar="[PLACE] [WORLD]")
@click.option("--commands", "is_of_commands", is_flag=True, help="Commands that are settled, in place of ticks.")
@click.option("--type", "types", multiple=True, metavar="TYPE", help="Only commands of this type, such as spawn.")
@click.option("--count", "-n", type=SOME, metavar="N", help="Stop after so many lines.")
@with_format(formats=("table", "jsonl"))
@at_place
def tail(
    *,
    words: tuple[str, ...],
    is_of_commands: bool,
    types: tuple[str, ...],
    count: int | None,
    form: str,
    connection: Connection,
) -> None:
    """Print a line for each tick that a world commits.

    The first line is the last committed tick. It goes on until Ctrl-C. With --commands there is a line for each command that
    is settled from now on: of the world or, without WORLD, of all; without --type, all but reads.

    \b
    archetype tail http://localhost:8000 demo
    archetype tail demo --commands --type spawn
    """
    place, rest = connection.split(words, ["WORLD"], least=0 if is_of_commands else 1)
    if types and not is_of_commands:
        raise Failure("--type is of commands", "add --commands", ExitCode.USAGE)
    with connection.open(place) as source:
        coming = source.new_commands(rest[0] if rest else None, types) if is_of_commands else source.new_ticks(rest[0])
        for row in islice(coming, count):
            for line in _lines(row, form):
                click.echo(line)


def _lines(row: Mapping[str, Any], form: str) -> Iterator[str]:
    if form == "jsonl":
        yield encoded(row)
        return
    yield "  ".join(" ".join(line.split(None, 1)) for line in fact_lines(row, _HIDDEN))
