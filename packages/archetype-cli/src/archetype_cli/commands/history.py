"""``archetype history``."""

from __future__ import annotations

import datetime as dt
from typing import Any, Literal

import click

from archetype_cli.answer import Answer
from archetype_cli.connection import Connection
from archetype_cli.options import COUNT, at_place, with_format
from archetype_cli.output import write
from archetype_cli.source import AuditQuery

_COLUMNS = (
    "seq",
    "submitted_at",
    "actor",
    "roles",
    "type",
    "status",
    "tick",
    "reason",
    "payload",
    "world_id",
    "command_id",
    "settled_at",
    "duration_s",
)


class Time(click.ParamType[str]):
    """A time in ISO 8601, such as ``2026-05-01`` or ``2026-05-01T12:00:00Z``; without a zone, that of this machine."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            moment = dt.datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a time such as 2026-05-01T12:00:00Z", param, ctx)
        return (moment if moment.tzinfo else moment.astimezone()).isoformat()


@click.command()
@click.argument("words", nargs=-1, metavar="[PLACE] [WORLD]")
@click.option("--actor", metavar="ID", help="Only what this actor sent.")
@click.option("--type", "kind", metavar="TYPE", help="Only commands of this type, such as spawn.")
@click.option("--status", type=click.Choice(["applied", "queued", "rejected", "failed"]), help="Only with this status.")
@click.option("--since", type=Time(), metavar="TIME", help="Only what was sent then or later.")
@click.option("--until", type=Time(), metavar="TIME", help="Only what was sent before.")
@click.option("--limit", "-n", type=COUNT, default=100, metavar="N", help="At most so many rows. [100]")
@click.option("--oldest-first", is_flag=True, help="In the order of sending. Otherwise the newest comes first.")
@with_format()
@at_place
def history(
    *,
    words: tuple[str, ...],
    actor: str | None,
    kind: str | None,
    status: Literal["applied", "queued", "rejected", "failed"] | None,
    since: str | None,
    until: str | None,
    limit: int,
    oldest_first: bool,
    form: str,
    connection: Connection,
) -> None:
    """Show the audit log: who sent which command.

    Without WORLD, the commands to all worlds of a directory. A server wants a WORLD.

    \b
    archetype history demo --status rejected --since 2026-05-01
    """
    place, rest = connection.split(words, ["WORLD"], least=0)
    asked = AuditQuery(rest[0] if rest else None, actor, kind, status, since, until, limit, oldest_first)
    hidden = frozenset({"world_id", "command_id", "settled_at", "duration_s"})
    with connection.open(place) as source:
        write(Answer("commands", _COLUMNS, source.history(asked), hidden), form)
