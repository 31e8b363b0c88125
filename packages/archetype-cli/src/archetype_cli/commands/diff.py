"""``archetype diff``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import click

from archetype_cli.answer import Answer
from archetype_cli.connection import Connection
from archetype_cli.exit_code import ExitCode
from archetype_cli.failure import Failure
from archetype_cli.options import OUTPUT, at_place, with_format
from archetype_cli.output import write
from archetype_cli.source import Moment


@click.command()
@click.argument("words", nargs=-1, metavar="[PLACE] BEFORE AFTER")
@click.option("--component", "-c", "components", multiple=True, metavar="NAME", help="Only columns of this component.")
@click.option("--where", "-w", metavar="SQL", help="A condition on the columns op, entity_id, column, before, after.")
@click.option("--stat", is_flag=True, help="Count the differences by column.")
@click.option("--exit-code", is_flag=True, help="Exit with 1 if there is a difference.")
@with_format()
@OUTPUT
@at_place
def diff(
    *,
    words: tuple[str, ...],
    components: tuple[str, ...],
    where: str | None,
    stat: bool,
    exit_code: bool,
    form: str,
    output: str | None,
    connection: Connection,
) -> int:
    """Compare two worlds, or two ticks of one.

    Each row is an entity or a value that was added, removed or changed. BEFORE and AFTER are WORLD or WORLD@TICK; AFTER
    may be @TICK alone. Without a tick, it is the last one.

    \b
    archetype diff ./data race what-if
    archetype diff ./data race@3 @9 --stat
    """
    place, (first, second) = connection.split(words, ["BEFORE", "AFTER"])
    before = _moment(first)
    after = _moment(second, before.world)
    with connection.open(place) as source:
        answer = source.diff(before, after, components, where)
        counted = _Counted(answer)
        if stat:
            answer = _stat(answer)
        else:
            answer.rows = counted
        if exit_code and answer.batches is not None:
            # To count them they are read as rows.
            answer.batches = None
        write(answer, form, output)
    return ExitCode.FAILED if exit_code and (counted.count or (stat and answer.rows)) else ExitCode.OK


class _Counted:
    """Rows that are counted while they are written."""

    def __init__(self, answer: Answer) -> None:
        self._rows = answer.rows
        self.count = 0

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        for row in self._rows:
            self.count += 1
            yield row


def _stat(answer: Answer) -> Answer:
    counts = Counter((row["op"], row["column"]) for row in answer.rows)
    rows = [
        {"op": op, "column": column, "entities": count}
        for (op, column), count in sorted(counts.items(), key=lambda one: (one[0][1] or "", one[0][0]))
    ]
    return Answer("difference_counts", ("op", "column", "entities"), rows)


def _moment(text: str, otherwise: str = "") -> Moment:
    world, at, tick = text.rpartition("@")
    if not at:
        return Moment(text)
    if not tick.isascii() or not tick.isdecimal():
        raise Failure(f"{text!r} has no tick after the @", "write WORLD@TICK, such as race@3", ExitCode.USAGE)
    if not (world or otherwise):
        raise Failure(f"{text!r} names no world", "write WORLD@TICK, such as race@3", ExitCode.USAGE)
    return Moment(world or otherwise, int(tick))
