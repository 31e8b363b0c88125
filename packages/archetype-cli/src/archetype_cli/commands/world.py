"""``archetype world``."""

from __future__ import annotations

import click

from archetype_cli.answer import Answer, Facts
from archetype_cli.command_group import SubGroup
from archetype_cli.connection import Connection
from archetype_cli.exit_code import ExitCode
from archetype_cli.failure import Failure
from archetype_cli.options import KEY, SEED, TICK, at_place, with_format, with_terms
from archetype_cli.output import write
from archetype_cli.source import WORLD_FACTS, Terms

_HIDDEN = frozenset({"run_id", "seed", "archetypes"})


@click.group(cls=SubGroup)
def world() -> None:
    """Create, list, show, fork and destroy worlds."""


@world.command("list")
@click.argument("words", nargs=-1, metavar="[PLACE]")
@with_format()
@at_place
def list_worlds(*, words: tuple[str, ...], form: str, connection: Connection) -> None:
    """List the worlds of a server or a directory.

    `tick` is the next one that a world runs.
    """
    place, _ = connection.split(words, [])
    with connection.open(place) as source:
        write(Answer("worlds", WORLD_FACTS, source.worlds(), _HIDDEN), form)


@world.command()
@click.argument("words", nargs=-1, metavar="[PLACE] WORLD")
@click.option("--live", is_flag=True, help="Also what only a server knows: its queue, its template, its processors.")
@with_format()
@at_place
def show(*, words: tuple[str, ...], live: bool, form: str, connection: Connection) -> None:
    """Show one world, by name or id.

    `tick` is the next one that it runs.
    """
    place, (name,) = connection.split(words, ["WORLD"])
    if live:
        with connection.server(place) as server:
            write(Facts("live_world", server.live_world(name)), form)
        return
    with connection.open(place) as source:
        write(Facts("world", source.world(name)), form)


@world.command()
@click.argument("words", nargs=-1, metavar="[URL] NAME")
@click.option("--template", metavar="NAME", help="Which of the server's templates declares its processors.")
@click.option("--seed", type=SEED, metavar="N", help="The seed of its random numbers.")
@click.option("--world-id", metavar="ID", help="An id of your own: creating it twice is the same world.")
@KEY
@with_format()
@at_place
def create(
    *,
    words: tuple[str, ...],
    template: str | None,
    seed: int | None,
    world_id: str | None,
    idempotency_key: str | None,
    form: str,
    connection: Connection,
) -> None:
    """Create a world at a server.

    \b
    archetype world create demo --seed 7
    """
    place, (name,) = connection.split(words, ["NAME"])
    body = {"name": name, "template": template, "seed": seed, "world_id": world_id}
    with connection.server(place) as server:
        made = server.create_world(body, Terms(key=idempotency_key))
        write(Facts("world", made), form)


@world.command()
@click.argument("words", nargs=-1, metavar="[URL] WORLD")
@click.option("--name", metavar="NAME", help="The name of the fork; the server chooses one otherwise.")
@click.option("--at-tick", type=TICK, metavar="N", help="The last tick that both share. [the last one]")
@click.option("--rng", type=click.Choice(["same", "fresh"]), help="Whether it draws the same random numbers. [same]")
@click.option("--pending", type=click.Choice(["refuse", "copy"]), help="What to do with staged mutations. [refuse]")
@with_terms
@with_format()
@at_place
def fork(
    *,
    words: tuple[str, ...],
    name: str | None,
    at_tick: int | None,
    rng: str | None,
    pending: str | None,
    form: str,
    terms: Terms,
    connection: Connection,
) -> None:
    """Fork a world, from its last tick or an earlier one.

    \b
    archetype world fork demo --name what-if --at-tick 10
    """
    place, (world_name,) = connection.split(words, ["WORLD"])
    body = {"name": name, "at_tick": at_tick, "rng": rng, "pending": pending}
    with connection.server(place) as server:
        made = server.fork_world(world_name, body, terms)
        write(Facts("world", made), form)


@world.command()
@click.argument("words", nargs=-1, metavar="[URL] WORLD")
@with_terms
@with_format()
@at_place
def destroy(*, words: tuple[str, ...], form: str, terms: Terms, connection: Connection) -> None:
    """Drop a live world and its queue; its history and audit log stay."""
    place, (name,) = connection.split(words, ["WORLD"])
    with connection.server(place) as server:
        done = server.destroy_world(name, terms)
    if not done["destroyed"]:
        raise Failure(f"there is no live world {name!r}", "`archetype world list` shows the worlds", ExitCode.NOT_FOUND)
    write(Facts("destroyed", done), form)
