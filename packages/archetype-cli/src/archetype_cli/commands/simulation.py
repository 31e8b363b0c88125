"""``archetype run``, ``step``, ``episode`` and ``rollout``."""

from __future__ import annotations

from typing import Any

import click

from archetype_cli.answer import Answer, Facts
from archetype_cli.connection import Connection
from archetype_cli.options import COUNT, QUIET, SOME, at_place, with_format, with_terms
from archetype_cli.output import write
from archetype_cli.progress import ticking
from archetype_cli.source import Terms


@click.command()
@click.argument("words", nargs=-1, metavar="[URL] WORLD")
@click.option("--steps", "-n", type=COUNT, default=1, metavar="N", help="How many ticks. [1]")
@click.option("--run-id", metavar="ID", help="Begin or continue this run. [the active one]")
@with_terms
@QUIET
@with_format()
@at_place
def run(
    *,
    words: tuple[str, ...],
    steps: int,
    run_id: str | None,
    is_quiet: bool,
    form: str,
    terms: Terms,
    connection: Connection,
) -> None:
    """Run ticks of a world at a server.

    On a terminal, the ticks are counted while they are committed. After Ctrl-C the server runs on to the end; the
    command says how to wait for it again.

    \b
    archetype run demo --steps 100
    """
    place, (world,) = connection.split(words, ["WORLD"])
    with connection.server(place) as server, ticking(server, world, steps, is_quiet=is_quiet):
        done = server.simulate("run", world, {"steps": steps, "run_id": run_id}, terms)
    write(Facts("run", done), form)


@click.command()
@click.argument("words", nargs=-1, metavar="[URL] WORLD")
@click.option("--run-id", metavar="ID", help="Begin or continue this run. [the active one]")
@with_terms
@with_format()
@at_place
def step(*, words: tuple[str, ...], run_id: str | None, form: str, terms: Terms, connection: Connection) -> None:
    """Run one tick of a world at a server."""
    place, (world,) = connection.split(words, ["WORLD"])
    with connection.server(place) as server:
        done = server.simulate("step", world, {"run_id": run_id}, terms)
    write(Facts("step", done), form)


@click.command()
@click.argument("words", nargs=-1, metavar="[URL] WORLD")
@click.option("--max-steps", type=SOME, required=True, metavar="N", help="The most ticks that it runs.")
@click.option("--terminal-component", metavar="NAME", help="End once an entity has this component.")
@with_terms
@QUIET
@with_format()
@at_place
def episode(
    *,
    words: tuple[str, ...],
    max_steps: int,
    terminal_component: str | None,
    is_quiet: bool,
    form: str,
    terms: Terms,
    connection: Connection,
) -> None:
    """Run a world until something ends the episode.

    That is a number of ticks, or a component that an entity gets.

    \b
    archetype episode demo --max-steps 100 --terminal-component Done
    """
    place, (world,) = connection.split(words, ["WORLD"])
    with connection.server(place) as server, ticking(server, world, max_steps, is_quiet=is_quiet):
        done = server.simulate(
            "episode", world, {"max_steps": max_steps, "terminal_component": terminal_component}, terms
        )
    write(Facts("episode", done), form)


@click.command()
@click.argument("words", nargs=-1, metavar="[URL] WORLD")
@click.option("--num-episodes", type=SOME, required=True, metavar="N", help="How many forks to run.")
@click.option("--max-steps", type=SOME, required=True, metavar="N", help="The most ticks of each.")
@click.option("--terminal-component", metavar="NAME", help="End an episode once an entity has this component.")
@click.option("--parallel", type=SOME, metavar="N", help="How many run at a time. [1]")
@click.option("--name", metavar="NAME", help="A name: a rollout that was cut off is resumed by it.")
@click.option("--keep-forks", is_flag=True, help="Keep the forks when their episodes end.")
@with_terms
@QUIET
@with_format()
@at_place
def rollout(
    *,
    words: tuple[str, ...],
    num_episodes: int,
    max_steps: int,
    terminal_component: str | None,
    parallel: int | None,
    name: str | None,
    keep_forks: bool,
    is_quiet: bool,
    form: str,
    terms: Terms,
    connection: Connection,
) -> None:
    """Fork a world into episodes and run them all.

    There is a row for each episode, with its score and why it ended.

    \b
    archetype rollout demo --num-episodes 8 --max-steps 100 --parallel 2
    """
    place, (world,) = connection.split(words, ["WORLD"])
    body: dict[str, Any] = {
        "num_episodes": num_episodes,
        "max_steps": max_steps,
        "terminal_component": terminal_component,
        "parallel": parallel,
        "name": name,
        "keep_forks": keep_forks or None,
    }
    with connection.server(place) as server, ticking(server, None, None, is_quiet=is_quiet):
        done = server.simulate("rollout", world, body, terms)
    if form == "json":
        write(Facts("rollout", done), form)
        return
    columns = ("episode", "name", "seed", "steps", "final_tick", "reason", "score", "error", "duration_s", "world_id")
    write(Answer("episodes", columns, done["episodes"], frozenset({"world_id"})), form)
